"""Exercises of chapter 07."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import fits, numbers, show, told_apart


def matrix_that_does_so(trial):
    if not fits(trial.given, trial.wanted):
        return numbers(trial)
    added = trial.given[0] - [0.0, 2.0]
    return f"You add {show(added)} to (0, 2), as W_O = {show(added[None] / 2)} would."


def shapes_that_fit(trial):
    shape = np.broadcast_shapes((3, 2), (3, 1))
    return f"NumPy broadcasts the shapes (3, 2) and (3, 1) to {shape}."


@exercise(
    evidence=matrix_that_does_so,
    worth_trying="a head with d_v = 2 and tokens of width 4. Is that an error, in NumPy and in PyTorch?",
)
def third_token():
    """The column of O is broadcast over both places: 2 is added to each."""
    X = np.array([[8.0, 3.0], [4.0, -1.0], [0.0, 2.0]])
    O = np.array([[8.0], [6.0], [2.0]])
    return (X + O)[2]


@third_token.mistake_shown_by(shapes_that_fit)
def refused():
    """There is no error, though one would be welcome: an axis of length one fits every length."""
    return "error"


@third_token.mistake
def nothing_added():
    """Nothing is added there."""
    return np.array([0.0, 2.0])


@third_token.mistake
def where_it_was_read():
    """The 2 does not stay in the place where it was read: nothing has told NumPy of that place."""
    return np.array([2.0, 2.0])


@third_token.mistake
def where_the_chapter_writes():
    """That is what the chapter's W_O does, and it was forgotten."""
    return np.array([0.0, 4.0])


@third_token.mistake
def half_into_each():
    """The 2 is not shared out: a broadcast number arrives whole in every place."""
    return np.array([1.0, 3.0])


def two_biases(trial):
    """The bias of the values as it leaves the layer, beside the other one."""
    b_V, W_O, b_O = trial.inputs.values()
    if not isinstance(trial.given, tuple) or not fits(trial.given, trial.wanted):
        return numbers(trial)
    yours, wanted = told_apart(trial.given[0], trial.wanted[0])
    return (
        f"With b_V = {show(b_V)} and b_O = {show(b_O)}, b_V leaves the layer as {show(b_V @ W_O)}. You give "
        f"{yours}; wanted {wanted}."
    )


def _biases(d_v, d_model):
    draw = np.random.default_rng(0).normal
    return draw(size=d_v), draw(size=(d_v, d_model)), draw(size=d_model)


@exercise(
    cases=[
        (np.array([1.0, 2.0]), np.array([[3.0, 0.0], [1.0, -1.0]]), np.array([10.0, 20.0])),
        _biases(3, 5),
        _biases(7, 2),
    ],
    evidence=two_biases,
    worth_trying="a mask under which a query sees no key, and gets zeros. Does one bias still do for both?",
)
def single_bias(b_V, W_O, b_O):
    """Weights that sum to one let b_V pass, and W_O maps it."""
    return b_V @ W_O + b_O


@single_bias.mistake
def b_V_dropped(b_V, W_O, b_O):
    """b_V is dropped: it is the bias of the keys that the softmax cannot see, this one passes it by."""
    return b_O.copy()


@single_bias.mistake
def b_O_dropped(b_V, W_O, b_O):
    """b_O is dropped: the single bias replaces it, too."""
    return b_V @ W_O


@single_bias.mistake
def not_mapped(b_V, W_O, b_O):
    """The two are added as they are: b_V has d_v numbers, and W_O lies between it and the output."""
    return b_V + b_O


@single_bias.mistake
def from_the_other_side(b_V, W_O, b_O):
    """W_O stands on the wrong side: rows are multiplied from the right."""
    return W_O @ b_V + b_O


@single_bias.mistake
def both_mapped(b_V, W_O, b_O):
    """Both biases go through W_O: b_O is added behind it."""
    return (b_V + b_O) @ W_O


NAMES = ("W_Q", "W_K", "W_V", "W_O")


def _named(names):
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def which_are_turned(trial):
    if not isinstance(trial.given, tuple) or not fits(trial.given, trial.wanted):
        return numbers(trial)
    pairs = dict(zip(NAMES, zip(trial.given, trial.wanted, strict=True), strict=True))
    right = [name for name, (given, wanted) in pairs.items() if np.allclose(given, wanted)]
    turned = [name for name, (given, wanted) in pairs.items() if np.allclose(given, wanted.T)]
    strange = [name for name in NAMES if name not in right + turned]
    found = {"right": right, "the wrong way round": turned, "neither": strange}
    said = [f"{what}: {_named(names)}" for what, names in found.items() if names]
    return f"For d = {len(trial.wanted[3])}, {'; '.join(said)}."


def _stored(d):
    draw = np.random.default_rng(0).normal
    return draw(size=(3 * d, d)), draw(size=(d, d))


@exercise(
    cases=[_stored(2), _stored(5), _stored(7)],
    evidence=which_are_turned,
    worth_trying="kdim=6. Which matrices does PyTorch store now, and would the mistake still be silent?",
)
def loaded_matrices(in_proj_weight, out_proj_weight):
    """All four are stored as (out, in), so all four are turned."""
    d = len(out_proj_weight)
    W_Q, W_K, W_V = in_proj_weight.reshape(3, d, d).swapaxes(1, 2)
    return W_Q, W_K, W_V, out_proj_weight.T


@loaded_matrices.as_found
def three_turned(in_proj_weight, out_proj_weight):
    """The last one is left as it is stored."""
    d = len(out_proj_weight)
    W_Q, W_K, W_V = in_proj_weight.reshape(3, d, d).swapaxes(1, 2)
    return W_Q, W_K, W_V, out_proj_weight


@loaded_matrices.mistake
def none_turned(in_proj_weight, out_proj_weight):
    """None of the four is turned: PyTorch stores all of them as (out, in)."""
    return *np.split(in_proj_weight, 3), out_proj_weight


@loaded_matrices.mistake
def last_turned_only(in_proj_weight, out_proj_weight):
    """Now the last one is turned, and the other three are not."""
    return *np.split(in_proj_weight, 3), out_proj_weight.T


@loaded_matrices.mistake
def turned_before_it_was_cut(in_proj_weight, out_proj_weight):
    """Turned first and cut with reshape: the three stand side by side then, and the cut goes across."""
    d = len(out_proj_weight)
    return *in_proj_weight.T.reshape(3, d, d), out_proj_weight.T


@loaded_matrices.mistake
def all_axes_reversed(in_proj_weight, out_proj_weight):
    """.T reverses all three axes, the one that counts the matrices as well: it is swapaxes(1, 2)."""
    d = len(out_proj_weight)
    W_Q, W_K, W_V = in_proj_weight.reshape(3, d, d).T
    return W_Q, W_K, W_V, out_proj_weight.T


@loaded_matrices.mistake
def keys_first(in_proj_weight, out_proj_weight):
    """All four are turned, but W_Q and W_K have changed places."""
    W_Q, W_K, W_V, W_O = loaded_matrices.solution(in_proj_weight, out_proj_weight)
    return W_K, W_Q, W_V, W_O


def product_and_width(pair, M):
    """What two factors make, and how many numbers lie between them."""
    W_V, W_O = pair
    return np.asarray(W_V @ W_O), np.array([len(W_O)])


def product_beside_rank(trial):
    if not isinstance(trial.given, tuple) or trial.given[0].shape != trial.wanted[0].shape:
        return numbers(trial)
    (product, (width,)), M = trial.given, trial.inputs["M"]
    off, rank = np.abs(product - M).max(), np.linalg.matrix_rank(M)
    said = "Your product is M" if np.allclose(product, M) else f"Your product is off by up to {show(off)}"
    return f"{said}, with d_v = {width}; the rank of this M is {rank}."


def _merged(d_model, d_v):
    draw = np.random.default_rng(0).normal
    return (draw(size=(d_model, d_v)) @ draw(size=(d_v, d_model)),)


@exercise(
    cases=[(np.array([[2.0, 4.0], [1.0, 2.0]]),), _merged(7, 3), _merged(13, 5), _merged(3, 3)],
    seen_as=product_and_width,
    evidence=product_beside_rank,
    worth_trying="half the rank. Which factors lose the least of M, and how much do they lose?",
)
def thinnest_factors(M):
    """M is a sum of as many outer products as its rank."""
    U, sizes, R = np.linalg.svd(M)
    r = (sizes > 1e-10 * sizes[0]).sum()
    return U[:, :r] * sizes[:r], R[:r]


def _decomposed(M):
    U, sizes, R = np.linalg.svd(M)
    r = (sizes > 1e-10 * sizes[0]).sum()
    return U[:, :r], sizes[:r], R[:r]


@thinnest_factors.mistake
def nothing_left_out(M):
    """The product is right, but not as thin as can be: singular values that are nothing but rounding stay."""
    U, sizes, R = np.linalg.svd(M)
    return U * sizes, R


@thinnest_factors.mistake
def sizes_left_out(M):
    """The singular values are left out of the product."""
    U, _, R = _decomposed(M)
    return U, R


@thinnest_factors.mistake
def sizes_in_both(M):
    """The singular values are in both factors: once is enough, or the root of them in each."""
    U, sizes, R = _decomposed(M)
    return U * sizes, sizes[:, None] * R


@thinnest_factors.mistake
def columns_of_the_last(M):
    """The right directions are the rows of NumPy's third matrix, and you took its columns."""
    U, sizes, _ = _decomposed(M)
    return U * sizes, np.linalg.svd(M)[2][:, : len(sizes)].T


@thinnest_factors.mistake
def largest_only(M):
    """One outer product, the largest: as many as the rank are needed."""
    U, sizes, R = _decomposed(M)
    return U[:, :1] * sizes[:1], R[:1]


@thinnest_factors.mistake
def columns_and_rows_of_M(M):
    """Columns of M for one factor, rows of M for the other: their product is no part of M."""
    r = np.linalg.matrix_rank(M)
    return M[:, :r], M[:r]
