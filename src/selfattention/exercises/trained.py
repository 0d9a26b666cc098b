"""Exercises of chapter 09."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.formulas import gelu, softmax


class Arrays(dict):
    """Arrays by name, as `model.encoder` has them, and short enough for a sentence."""

    def __repr__(self):
        return "{" + ", ".join(f"{name} {np.shape(value)}" for name, value in self.items()) + "}"


def _encoder():
    draw = np.random.default_rng(0).normal
    shapes = {"W_Q": (11, 7), "W_K": (11, 7), "W_1": (11, 13), "g_1": (17,)}
    return Arrays({name: draw(size=axes) for name, axes in shapes.items()}, h=1, depth=2)


def all_arrays(result, arrays, name):
    """What came back under every name, and after it what became of the caller's."""
    return tuple(np.asarray(whose[each]) for whose in (result, arrays) for each in arrays)


def what_is_not_as_wanted(trial):
    if not isinstance(trial.given, tuple):
        return f"Looking for all that an encoder needs stops with {trial.given}."
    names, name = list(trial.inputs["arrays"]), trial.inputs["name"]
    whose = [*(f"the {each} you give" for each in names), *(f"the caller's {each}" for each in names)]
    pairs = zip(whose, trial.given, trial.wanted, strict=True)
    wrong = [where for where, given, wanted in pairs if not np.array_equal(given, wanted)]
    return f"For {name}, not as they should be: {', '.join(wrong)}."


@exercise(
    cases=[(_encoder(), "W_K"), (_encoder(), "W_1")],
    seen_as=all_arrays,
    evidence=what_is_not_as_wanted,
    worth_trying="W_V and W_O. What does a bias of the values do to the output, when rows sum to one?",
)
def without_bias(arrays, name):
    """A bias is the last row of its matrix; the copy is changed, and the caller's array is not."""
    cut = arrays[name].copy()
    cut[-1] = 0
    return {**arrays, name: cut}


@without_bias.mistake
def last_column(arrays, name):
    """The last column is zero: that is an output; the matrices are (in, out), the bias is a row."""
    cut = arrays[name].copy()
    cut[:, -1] = 0
    return {**arrays, name: cut}


@without_bias.mistake
def whole_matrix(arrays, name):
    """All of the matrix is zero, and not the last row alone."""
    return {**arrays, name: 0 * arrays[name]}


@without_bias.mistake
def row_deleted(arrays, name):
    """The row is cut off, where it should be zero: the encoder appends a one to every token still."""
    return {**arrays, name: arrays[name][:-1]}


@without_bias.mistake
def callers_own(arrays, name):
    """The caller's own array is changed: the next run has lost its bias, too."""
    arrays[name][-1] = 0
    return arrays


@without_bias.mistake
def others_missing(arrays, name):
    """Only the changed matrix comes back, and an encoder needs them all."""
    return {name: without_bias.solution(arrays, name)[name]}


@without_bias.mistake
def name_not_used(arrays, name):
    """The name is not used: every matrix has lost its bias."""
    return {
        each: without_bias.solution(arrays, each)[each] if each[0] == "W" else arrays[each] for each in arrays
    }


def tanh_gelu(x):
    """The colleague's line: near to x Φ(x), and another function."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@exercise(
    cases=[(np.array([0.5, 1.0, 1.3]),), (np.array([0.5, 1.0, 2.0, 3.0]),), (np.linspace(-6, 6, 101),)],
    worth_trying="where the difference is largest beside gelu itself. Look at the negative side.",
)
def largest_difference(x):
    """Absolute values first, for the difference has both signs."""
    return np.abs(tanh_gelu(x) - gelu(x)).max()


@largest_difference.mistake
def sign_kept(x):
    """The difference has both signs, and without absolute values a negative one never is the largest."""
    return (tanh_gelu(x) - gelu(x)).max()


@largest_difference.mistake
def sign_kept_the_other_way(x):
    """The difference has both signs, ours less the colleague's as well; take absolute values first."""
    return (gelu(x) - tanh_gelu(x)).max()


@largest_difference.mistake
def mean_for_largest(x):
    """This is the mean difference; where the two agree, as far out, it hides where they do not."""
    return np.abs(tanh_gelu(x) - gelu(x)).mean()


@largest_difference.mistake
def where_for_how_much(x):
    """This is where they differ most, and not by how much."""
    return x[np.abs(tanh_gelu(x) - gelu(x)).argmax()]


@largest_difference.mistake
def all_of_them(x):
    """All differences are given, one for each number; the largest is wanted."""
    return np.abs(tanh_gelu(x) - gelu(x))


@largest_difference.mistake
def relu_for_gelu(x):
    """The colleague's function is held against max(0, x), and not against gelu."""
    return np.abs(tanh_gelu(x) - np.maximum(0, x)).max()


def shares(result, A):
    """The entries as shares of their sum: whoever points does not mind a factor."""
    return result / np.sum(result)


def both_ways(trial):
    (given,), (wanted,), A = trial.given, trial.wanted, trial.inputs["A"]
    p, r = np.unravel_index(np.abs(given - wanted).argmax(), A.shape)
    return (
        f"Token {p} gives token {r} a weight of {show(A[p, r])}, and gets one of {show(A[r, p])}; "
        f"of all that you give, that pair has {show(100 * given[p, r])} %, and should have "
        f"{show(100 * wanted[p, r])} %."
    )


def _weights(n):
    return softmax(np.random.default_rng(0).normal(size=(n, n)))


@exercise(
    cases=[(_weights(3),), (_weights(7),)],
    seen_as=shares,
    evidence=both_ways,
    worth_trying="all 96 heads at once, (12, 8, n, n). What does `.T` do to four axes?",
)
def both_directions(A):
    """A as the product asks, and its transpose as the reactants do."""
    return A + A.T


@both_directions.mistake
def one_direction(A):
    """This is one direction still: the product's atoms ask, and nobody asks them."""
    return A


@both_directions.mistake
def other_direction(A):
    """This is the other direction alone."""
    return A.T


@both_directions.mistake
def product_of_both(A):
    """The two directions are multiplied; RXNMapper adds them."""
    return A * A.T


@both_directions.mistake
def matrix_product(A):
    """A matrix product compares what two tokens look at; it does not ask whether they look at each other."""
    return A @ A.T


def how_shuffled(result, arrays, rng):
    """For each array what became of it, and whether the caller's is what it was."""
    untouched = _encoder()
    words = [_fate(np.asarray(result[name]), np.asarray(untouched[name])) for name in arrays]
    kept = all(np.array_equal(arrays[name], untouched[name]) for name in arrays)
    return np.array([*words, "caller's kept" if kept else "caller's changed"])


def _fate(after, before):
    if after.shape != before.shape:
        return "another shape"
    if np.array_equal(after, before):
        return "as it was"
    if not np.array_equal(np.sort(after, axis=None), np.sort(before, axis=None)):
        return "other numbers"
    if before.ndim < 2:
        return "shuffled"
    if {*map(tuple, after)} == {*map(tuple, before)} or {*map(tuple, after.T)} == {*map(tuple, before.T)}:
        return "whole rows or columns"
    within = any(np.array_equal(np.sort(after, axis=axis), np.sort(before, axis=axis)) for axis in (0, 1))
    return "within rows or columns" if within else "shuffled"


def what_became_of_them(trial):
    if not isinstance(trial.given, tuple):
        return f"Looking for all that an encoder needs stops with {trial.given}."
    (words,) = trial.given
    said = ", ".join(f"{name}: {word}" for name, word in zip(trial.inputs["arrays"], words, strict=False))
    return f"{said}; {words[-1]}."


@exercise(
    cases=[(_encoder(), np.random.default_rng(1))],
    seen_as=how_shuffled,
    evidence=what_became_of_them,
    worth_trying="one array shuffled at a time. Which can the network spare best, by the atoms?",
)
def shuffled(arrays, rng):
    """Flat, permuted, and back in shape; numbers that are no arrays stay."""
    return {
        name: rng.permutation(W.ravel()).reshape(W.shape) if isinstance(W, np.ndarray) else W
        for name, W in arrays.items()
    }


def _each(arrays, change):
    return {name: change(W) if isinstance(W, np.ndarray) else W for name, W in arrays.items()}


@shuffled.mistake
def whole_rows(arrays, rng):
    """`rng.permutation` of a matrix moves whole rows, or columns: each keeps what it learned."""
    return _each(arrays, rng.permutation)


@shuffled.mistake
def within_rows(arrays, rng):
    """The numbers change places within their row or column only; shuffle the matrix laid flat."""
    return _each(arrays, lambda W: rng.permuted(W, axis=-1))


@shuffled.mistake
def new_numbers(arrays, rng):
    """These are new numbers; the same ones in another order keep every mean and variance exactly."""
    return _each(arrays, lambda W: rng.normal(W.mean(), W.std(), size=W.shape))


@shuffled.mistake
def callers_shuffled(arrays, rng):
    """The caller's own arrays are shuffled, and what was learned is lost for good."""
    for W in arrays.values():
        if isinstance(W, np.ndarray):
            rng.shuffle(W.reshape(-1))
    return arrays


@shuffled.mistake
def numbers_missing(arrays, rng):
    """`h` and `depth` are gone: they are no arrays, and the encoder needs them."""
    return {name: W for name, W in shuffled.solution(arrays, rng).items() if isinstance(W, np.ndarray)}
