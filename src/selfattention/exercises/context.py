"""Exercises of chapter 06."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import fits, no_average, numbers, show
from selfattention.exercises.testing import exercise_in_testing
from selfattention.formulas import attention, scaled_scores, softmax, weighted_sum
from selfattention.mutants.attention import (
    keys_in_reverse,
    no_scale,
    plain_average,
    softmax_over_the_queries,
)


def _weights_and_values(n, m, d_v):
    draw = np.random.default_rng(0).normal
    return softmax(draw(size=(n, m))), draw(size=(m, d_v))


@exercise(
    cases=[
        (np.array([[3.0, 1.0], [1.0, 3.0]]) / 4, np.array([[0.0, 8.0], [16.0, 0.0]]), 2),
        (np.array([[3.0, 1.0], [1.0, 3.0]]) / 4, np.array([[0.0, 8.0], [16.0, 0.0]]), 0),
        (*_weights_and_values(5, 5, 2), 1),
        (*_weights_and_values(5, 5, 3), 3),
    ],
    worth_trying="A with one row changed to one-hot. To which value do all rows go now, and why that one?",
)
def spread_after(A, V, rounds):
    """Each round the outputs become the values."""
    for _ in range(rounds):
        V = weighted_sum(A, V)
    return np.ptp(V, axis=0)


def _rounds_later(A, V, rounds):
    return np.linalg.matrix_power(A, rounds) @ V


@spread_after.mistake
def always_the_first_values(A, V, rounds):
    """Every round starts from the first values: the outputs are not used again."""
    return np.ptp(A @ V if rounds else V, axis=0)


@spread_after.mistake
def weights_squared(A, V, rounds):
    """The weights are multiplied by themselves in each round, and grow to the power 2, 4, 8."""
    return np.ptp(_rounds_later(A, V, 2**rounds), axis=0)


@spread_after.mistake
def entries_to_the_power(A, V, rounds):
    """`**` raises each weight by itself: the rows no longer sum to one. A matrix power is wanted."""
    return np.ptp(A**rounds @ V, axis=0)


@spread_after.mistake
def one_round_short(A, V, rounds):
    """A round is missing: for one round you take none."""
    return np.ptp(_rounds_later(A, V, max(rounds - 1, 0)), axis=0)


@spread_after.mistake
def one_round_more(A, V, rounds):
    """A round too many: for no round at all you take one."""
    return np.ptp(_rounds_later(A, V, rounds + 1), axis=0)


@spread_after.mistake
def spread_of_the_rows(A, V, rounds):
    """The spread within each row: it was asked for each column, from row to row."""
    return np.ptp(_rounds_later(A, V, rounds), axis=1)


@spread_after.mistake
def spread_of_everything(A, V, rounds):
    """One spread for all columns together; each has its own."""
    return np.ptp(_rounds_later(A, V, rounds))


@spread_after.mistake
def standard_deviation_of_the_columns(A, V, rounds):
    """The standard deviation, where largest minus smallest was asked for."""
    return _rounds_later(A, V, rounds).std(axis=0)


def what_the_impostor_is(O, Q, K, V):
    """Whether an output is a weighting of the values that neither query nor key had a part in."""
    O = np.asarray(O, dtype=float)
    if np.isnan(O).any():
        return "asks"
    if O.shape != (len(Q), V.shape[1]):
        return "another shape"
    outside = (O < V.min(0) - 1e-9) | (O > V.max(0) + 1e-9)
    return "outside the values" if outside.any() else "a weighting"


def nan_for_nan(trial):
    return "Q and K hold nothing but nan here, and so your output does, too."


def shapes_of_the_outputs(trial):
    Q, V = trial.inputs["Q"], trial.inputs["V"]
    return (
        f"For {len(Q)} queries and {V.shape[1]} features you give shape {np.shape(trial.result)}. (The "
        "colleague's test does not mind: np.allclose broadcasts.)"
    )


def no_average_of_these(trial):
    O, V = np.asarray(trial.result, dtype=float), trial.inputs["V"]
    if O.shape != (len(trial.inputs["Q"]), V.shape[1]):
        return shapes_of_the_outputs(trial)
    return nan_for_nan(trial) if np.isnan(O).any() else no_average(O, V)


NOT_TO_BE_READ = np.full((5, 3), np.nan)


@exercise(
    cases=[
        (NOT_TO_BE_READ, NOT_TO_BE_READ, np.ones((5, 2))),
        (NOT_TO_BE_READ, NOT_TO_BE_READ, np.random.default_rng(0).normal(size=(5, 2))),
    ],
    seen_as=what_the_impostor_is,
    evidence=no_average_of_these,
    worth_trying="an impostor with fixed weights of both signs that sum to one. Does the test accept it?",
)
def impostor(Q, K, V):
    """The mean of the values, for every query."""
    return np.tile(V.mean(axis=0), (len(Q), 1))


@impostor.mistake_shown_by(nan_for_nan)
def queries_asked(Q, K, V):
    """It is not deaf: what Q and K hold reaches the output."""
    E = np.exp(Q @ K.T / K.shape[1] ** 0.5)
    return E / E.sum(axis=1, keepdims=True) @ V


@impostor.mistake_shown_by(numbers)
def queries_asked_of_the_package(Q, K, V):
    """The package's functions look at Q and K, and refuse them: an impostor does not look."""
    return attention(Q, K, V)


@impostor.mistake
def values_added(Q, K, V):
    """The weights do not sum to one, and the test refuses that."""
    return np.tile(V.sum(axis=0), (len(Q), 1))


@impostor.mistake
def ones_whatever_comes(Q, K, V):
    """The test accepts it, and yet it is no attention: that stays between the values."""
    return np.ones((len(Q), V.shape[1]))


@impostor.mistake_shown_by(shapes_of_the_outputs)
def one_row_for_all(Q, K, V):
    """One row for all queries: each should have its own."""
    return V.mean(axis=0)


def hides_where_it_can(Q, K, V):
    """Wrong weights that give the right output wherever the values leave a silent direction."""
    A = softmax(scaled_scores(Q, K))
    wrong = A[:, ::-1] - A
    silent = wrong - wrong @ V @ np.linalg.pinv(V)
    return (A + (silent if np.abs(silent).max() > 1e-9 else wrong)) @ V


@exercise_in_testing(
    cases=[
        (attention,),
        (no_scale,),
        (plain_average,),
        (keys_in_reverse,),
        (softmax_over_the_queries,),
        (hides_where_it_can,),
    ],
    worth_trying="the mutants of selfattention.mutants.attention. Which pass, and what would stop them?",
)
def seeing_test(suspect):
    """With V the identity, the output is the weights."""
    Q, K = np.random.default_rng(0).normal(size=(2, 5, 3))
    return np.allclose(suspect(Q, K, np.eye(5)), attention(Q, K, np.eye(5)))


def _compared_on(V, d_k=3):
    """A test that compares with `attention` on these values."""
    Q, K = np.random.default_rng(0).normal(size=(2, 5, d_k))
    return lambda suspect: bool(np.allclose(suspect(Q, K, V), attention(Q, K, V)))


@seeing_test.mistake
def equal_values(suspect):
    """Values that are all equal, or sums of rows alone, hide every mistake that leaves the row sums alone."""
    return _compared_on(np.ones((5, 2)))(suspect)


@seeing_test.mistake
def too_few_features(suspect):
    """Random values see much, but with fewer features than keys there are weights that they cannot see."""
    return _compared_on(np.random.default_rng(1).normal(size=(5, 2)))(suspect)


@seeing_test.mistake
def one_wide_queries(suspect):
    """With queries and keys of one number each, √d_k is 1: nobody can see whether it was used."""
    return _compared_on(np.eye(5), d_k=1)(suspect)


@seeing_test.mistake
def everybody_accepted(suspect):
    """Everybody passes: the candidate is not compared with anything but itself."""
    return True


@seeing_test.mistake
def nobody_accepted(suspect):
    """Nobody passes, the right one included: perhaps it is still compared with ones."""
    return False


def what_the_rows_do_to_V(trial):
    if not isinstance(trial.given, tuple) or not fits(trial.given, trial.wanted):
        return numbers(trial)
    (E,), A, V = trial.given, trial.inputs["A"], trial.inputs["V"]
    if not np.allclose(E @ V, A @ V):
        return f"Your rows give another output than A: off by up to {show(np.abs((E - A) @ V).max())}."
    cancelled = E - E @ V @ np.linalg.pinv(V)
    length = show(np.linalg.norm(cancelled, axis=1).max())
    return f"Your rows give the right output, but V cancels part of one, of length {length}."


SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@exercise(
    cases=[
        (np.array([[2.0, 0.0, 2.0, 0.0]]) / 4, SQUARE),
        (*_weights_and_values(3, 7, 2),),
        (*_weights_and_values(5, 3, 2),),
        (*_weights_and_values(5, 3, 7),),
    ],
    evidence=what_the_rows_do_to_V,
    worth_trying="values moved by (100, −7). Does the effective attention stay what it was?",
)
def effective_attention(A, V):
    """A V V⁺, where V V⁺ projects on the columns of V."""
    return A @ V @ np.linalg.pinv(V)


@effective_attention.mistake
def the_cancelled_part(A, V):
    """This is the part that V cancels: take it away from A."""
    return A - A @ V @ np.linalg.pinv(V)


@effective_attention.mistake
def rows_made_to_sum_to_one(A, V):
    """The right rows, divided by their sums: then they are weights, and the output is another."""
    E = A @ V @ np.linalg.pinv(V)
    return E / E.sum(axis=-1, keepdims=True)


@effective_attention.mistake
def sums_kept_too(A, V):
    """Projected on the columns of [V 1]: that keeps the row sums, too, and V alone does not ask for them."""
    V_1 = np.column_stack([V, np.ones(len(V))])
    return A @ V_1 @ np.linalg.pinv(V_1)


@effective_attention.mistake
def transpose_for_inverse(A, V):
    """V Vᵀ projects only where the columns of V are orthonormal: take the pseudo-inverse."""
    return A @ V @ V.T


@effective_attention.mistake
def the_output_itself(A, V):
    """This is the output; go back from it to one number per key."""
    return A @ V


@effective_attention.mistake
def projected_in_the_other_space(A, V):
    """V⁺V is the other projection: it works on the features, and they are no keys."""
    return A @ np.linalg.pinv(V) @ V


def sums_and_promises(few, a, V):
    """The output and the sum of the weights; how many are negative, and how many keys too many."""
    few = np.asarray(few, dtype=float)
    too_many = max(0, (np.abs(few) > 1e-9).sum() - V.shape[1] - 1)
    return np.append(few @ V, few.sum(-1, keepdims=True), axis=-1), np.array([(few < -1e-9).sum(), too_many])


def broken_promise(trial):
    if not isinstance(trial.given, tuple):
        return numbers(trial)
    few, (sums, (negative, _)), (wanted, _) = trial.result, trial.given, trial.wanted
    if not np.allclose(sums[:-1], wanted[:-1]):
        return f"Your output is {show(sums[:-1])}; with all keys it is {show(wanted[:-1])}."
    if not np.isclose(sums[-1], 1):
        return f"The output is right, but your weights sum to {show(sums[-1])}."
    if negative:
        return f"Output and sum are right, but your smallest weight is {show(np.min(few))}."
    used, d_v = (np.abs(few) > 1e-9).sum(), trial.inputs["V"].shape[1]
    return f"Output and sum are right, but {show(used)} keys have weight, where {d_v + 1} suffice."


def _row_of_weights(m, d_v):
    draw = np.random.default_rng(2).normal
    return softmax(draw(size=m)), draw(size=(m, d_v))


@exercise(
    cases=[
        (np.ones(5) / 5, np.array([[0.0], [1.0], [5.0], [2.0], [7.0]])),
        _row_of_weights(7, 2),
        _row_of_weights(13, 3),
        _row_of_weights(3, 5),
    ],
    seen_as=sums_and_promises,
    evidence=broken_promise,
    worth_trying="values on a line in the plane. How few keys are enough there?",
)
def fewest_keys(a, V):
    """Walk along silent directions; each walk ends where one more weight is zero."""
    a, conditions = a.copy(), np.column_stack([V, np.ones(len(V))]).T
    while True:
        kept = np.flatnonzero(a)
        _, sizes, rows = np.linalg.svd(conditions[:, kept])
        if (sizes > 1e-9).sum() == len(kept):
            return a
        z = rows[-1]
        falls = kept[z > 0]  # a step along −z lowers these weights
        limits = a[falls] / z[z > 0]
        a[kept] -= limits.min() * z
        a[falls[limits.argmin()]] = 0  # exactly, whatever the rounding


@fewest_keys.mistake
def nothing_removed(a, V):
    """All keys still have their weight."""
    return a.copy()


def _one_walk(a, V, how_far):
    """One walk along one silent direction, as far as `how_far` makes of the limits."""
    kept, conditions = np.flatnonzero(a), np.column_stack([V, np.ones(len(V))]).T
    if len(kept) <= len(conditions):
        return a.copy()
    z = np.linalg.svd(conditions[:, kept])[2][-1]
    walked = a.copy()
    walked[kept] -= how_far(a[kept][z > 0] / z[z > 0]) * z
    return walked


@fewest_keys.mistake
def one_walk_only(a, V):
    """One walk takes away one key: walk again, as long as there is a silent direction."""
    return _one_walk(a, V, np.min)


@fewest_keys.mistake
def walked_too_far(a, V):
    """The walk goes on beyond the first zero, until the last weight that falls has fallen."""
    return _one_walk(a, V, np.max)


@fewest_keys.mistake
def favourites_kept(a, V):
    """The largest weights are kept and scaled up, the others dropped: that moves the output."""
    few, kept = np.zeros_like(a), np.argsort(a)[::-1][: V.shape[1] + 1]
    few[kept] = a[kept] / a[kept].sum()
    return few


@fewest_keys.mistake
def first_keys_solved(a, V):
    """As many keys as there are conditions, picked in advance: they can be solved, with any signs."""
    conditions = np.column_stack([V, np.ones(len(V))]).T
    few, kept = np.zeros_like(a), np.arange(min(len(a), len(conditions)))
    few[kept] = np.linalg.lstsq(conditions[:, kept], conditions @ a, rcond=None)[0]
    return few


@fewest_keys.mistake
def sums_not_held(a, V):
    """The walks hold the output and forget the sum: the row of ones is missing."""
    a = a.copy()
    while True:
        kept = np.flatnonzero(a)
        _, sizes, rows = np.linalg.svd(V.T[:, kept])
        if (sizes > 1e-9).sum() == len(kept):
            return a
        z = rows[-1] * np.sign(rows[-1].sum())
        falls = kept[z > 0]
        limits = a[falls] / z[z > 0]
        a[kept] -= limits.min() * z
        a[falls[limits.argmin()]] = 0
