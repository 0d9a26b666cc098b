"""Exercises of chapter 02."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import numbers, show, told_apart
from selfattention.formulas import dot_scores

# "it" at "cat", "cat" at "naps", "naps" at "it", and the same the other way round, all scores negative.
ONWARD = np.array([[0.0, 2.0, -1.0], [-2.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
BACK_AND_LOW = np.array([[0.0, -5.0, -3.0], [-3.0, 0.0, -5.0], [-5.0, -3.0, 0.0]])
ONWARD_BUT_VAIN = ONWARD + 9 * np.eye(3)
TWO_AND_A_THIRD = np.array([[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
# Its rows look in no circle; its columns do.
ADMIRED_IN_A_CIRCLE = np.array([[0.0, 3.0, 2.0], [3.0, 0.0, 1.0], [2.0, 4.0, 0.0]])


@exercise(
    cases=[
        (ONWARD[None],),
        (BACK_AND_LOW[None],),
        (ONWARD_BUT_VAIN[None],),
        (TWO_AND_A_THIRD[None],),
        (ADMIRED_IN_A_CIRCLE[None],),
        (np.random.default_rng(0).normal(size=(100, 3, 3)),),
    ],
    worth_trying="four tokens, and circles of four. Does one view still forbid them?",
)
def circles(S):
    """Nobody looks at themselves; then 0 at 1 at 2 at 0, or the other way round."""
    others = np.where(np.eye(3, dtype=bool), -np.inf, S)
    looks_at = others.argmax(axis=-1)
    onward = (looks_at == [1, 2, 0]).all(axis=-1)
    back = (looks_at == [2, 0, 1]).all(axis=-1)
    return (onward | back).sum()


def _looking(S, axis=-1, own=-np.inf):
    """Whom each token looks at, if its score for itself were `own`."""
    return np.where(np.eye(3, dtype=bool), own, S).argmax(axis)


def _either_way(looks_at):
    return (looks_at == [1, 2, 0]).all(-1) | (looks_at == [2, 0, 1]).all(-1)


@circles.mistake
def mirrors_allowed(S):
    """A token that scores itself highest is left to look at itself: the diagonal takes part."""
    return _either_way(S.argmax(-1)).sum()


@circles.mistake
def zero_on_the_diagonal(S):
    """A zero on the diagonal is no ban: it wins wherever the other scores are negative."""
    return _either_way(_looking(S, own=0)).sum()


@circles.mistake
def one_way_round(S):
    """Only the circle 0, 1, 2 is counted: there is another, the other way round."""
    return (_looking(S) == [1, 2, 0]).all(-1).sum()


@circles.mistake
def columns_look(S):
    """The columns are asked whom they are looked at by: the one who looks is the row."""
    return _either_way(_looking(S, axis=-2)).sum()


@circles.mistake
def circles_listed(S):
    """It says of each table whether it holds a circle, and not how many do."""
    return _either_way(_looking(S))


def scores_and_lengths(pair, W_Q, W_K):
    """What the exercise asks of a pair: its products, query with key and key with key."""
    new_Q, new_K = pair
    return np.asarray(new_Q @ new_K.T), np.asarray(new_K.T @ new_K)


def what_is_not_kept(trial):
    if not isinstance(trial.given, tuple) or trial.given[0].shape != trial.wanted[0].shape:
        return numbers(trial)
    (scores, columns), (wanted, orthonormal) = trial.given, trial.wanted
    off = np.abs(scores - wanted).max()
    if columns.shape != orthonormal.shape:
        said = f"Your new W_K has {len(columns)} columns for {len(orthonormal)}"
    elif np.allclose(columns, orthonormal):
        said = "Your new W_K is as it should be"
    else:
        i, j = np.unravel_index(np.abs(columns - orthonormal).argmax(), columns.shape)
        said = f"Columns {i} and {j} of your new W_K have the product {show(columns[i, j])}"
    kept = "is what it was" if np.allclose(scores, wanted) else f"is off by up to {show(off)}"
    return f"{said}; the product of your W_Q with its transpose {kept}."


def _two_matrices(d_model, d_k):
    return tuple(np.random.default_rng(0).normal(size=(2, d_model, d_k)))


@exercise(
    cases=[_two_matrices(3, 2), _two_matrices(7, 3), _two_matrices(11, 5)],
    seen_as=scores_and_lengths,
    evidence=what_is_not_kept,
    worth_trying="a gauge that makes both matrices equally large. The singular values of W_Q W_Kᵀ know it.",
)
def gauge_of_the_keys(W_Q, W_K):
    """W_K = UR asks for G = Rᵀ; no inverse is ever computed."""
    U, R = np.linalg.qr(W_K)
    return W_Q @ R.T, U


@gauge_of_the_keys.mistake
def keys_alone(W_Q, W_K):
    """The keys are changed alone: whatever G does to one matrix, its inverse must do to the other."""
    return W_Q, np.linalg.qr(W_K)[0]


@gauge_of_the_keys.mistake
def not_transposed(W_Q, W_K):
    """W_Q is multiplied by R: the transpose in W_Q W_Kᵀ turns it round."""
    U, R = np.linalg.qr(W_K)
    return W_Q @ R, U


@gauge_of_the_keys.mistake
def divided_twice(W_Q, W_K):
    """W_Q is divided by what W_K was divided by already: it should be multiplied."""
    U, R = np.linalg.qr(W_K)
    return W_Q @ np.linalg.inv(R).T, U


@gauge_of_the_keys.mistake
def gauge_of_the_queries(W_Q, W_K):
    """A gauge, but the other one: now the columns of W_Q are orthonormal."""
    U, R = np.linalg.qr(W_Q)
    return U, W_K @ R.T


@gauge_of_the_keys.mistake
def unit_lengths_only(W_Q, W_K):
    """The columns of W_K have length one, but they are not perpendicular to each other."""
    lengths = np.linalg.norm(W_K, axis=0)
    return W_Q * lengths, W_K / lengths


@gauge_of_the_keys.mistake
def rows_for_columns(W_Q, W_K):
    """The rows of W_K have length one: it is the columns that should be orthonormal."""
    return W_Q, W_K / np.linalg.norm(W_K, axis=1, keepdims=True)


def widths(trial):
    if not isinstance(trial.given, tuple):
        return numbers(trial)
    given, wanted = ([part.shape for part in parts] for parts in (trial.given, trial.wanted))
    if given == wanted:
        return numbers(trial)
    return f"With d_k = {trial.inputs['d_k']} your parts have shapes {given}; wanted {wanted}."


def _tokens_and_wide(n, d_model, d_k, d_v):
    draw = np.random.default_rng(0).normal
    return draw(size=(n, d_model)), draw(size=(d_model, 2 * d_k + d_v)), d_k


@exercise(
    cases=[
        _tokens_and_wide(7, 3, d_k=1, d_v=4),
        _tokens_and_wide(11, 4, d_k=2, d_v=5),
        _tokens_and_wide(13, 3, d_k=5, d_v=2),
    ],
    evidence=widths,
    worth_trying="the other packing, head by head, with d_v unlike d_k. Is there still one reshape for it?",
)
def three_views(tokens, wide, d_k):
    """np.split wants the places of the cuts: after the queries, and after the keys."""
    return np.split(tokens @ wide, [d_k, 2 * d_k], axis=1)


@three_views.as_found
def thirds(tokens, wide, d_k):
    """Three parts, equally wide."""
    return np.split(tokens @ wide, 3, axis=1)


@three_views.mistake
def sizes_for_places(tokens, wide, d_k):
    """np.split wants the places of the cuts, not the sizes of the parts."""
    return np.split(tokens @ wide, [d_k, d_k], axis=1)


@three_views.mistake
def all_sizes_for_places(tokens, wide, d_k):
    """These are the three sizes, and np.split takes each for the place of a cut: three cuts, four parts."""
    return np.split(tokens @ wide, [d_k, d_k, wide.shape[1] - 2 * d_k], axis=1)


@three_views.mistake
def values_cut_short(tokens, wide, d_k):
    """The values are cut to d_k columns, too: they have a width of their own, and take the rest."""
    views = tokens @ wide
    return [views[:, :d_k], views[:, d_k : 2 * d_k], views[:, 2 * d_k : 3 * d_k]]


@three_views.mistake
def values_in_the_middle(tokens, wide, d_k):
    """The values are taken from the middle: the order is queries, keys, values."""
    return np.split(tokens @ wide, [d_k, wide.shape[1] - d_k], axis=1)


@three_views.mistake
def keys_first(tokens, wide, d_k):
    """The right cuts, but the keys come first in your answer: the order is queries, keys, values."""
    Q, K, V = three_views.solution(tokens, wide, d_k)
    return K, Q, V


@three_views.mistake
def values_first(tokens, wide, d_k):
    """The right cuts, but the values come first in your answer: the order is queries, keys, values."""
    return three_views.solution(tokens, wide, d_k)[::-1]


@three_views.mistake
def tokens_cut(tokens, wide, d_k):
    """The cut goes between tokens: axis 0 counts those, the views lie side by side along axis 1."""
    return np.split(tokens @ wide, [d_k, 2 * d_k], axis=0)


def lengths_of_the_rows(trial):
    if not isinstance(trial.given, tuple) or trial.given[0].shape != trial.wanted[0].shape:
        return numbers(trial)
    given, wanted = (np.linalg.norm(parts[0], axis=1) for parts in (trial.given, trial.wanted))
    if np.allclose(given, wanted):
        return numbers(trial)
    row = np.abs(given - wanted).argmax()
    yours, before = told_apart(given[row], wanted[row])
    return f"Your row {row} has length {yours}; it was {before}, and turning keeps it."


@exercise(
    cases=[
        (np.array([[1.0, 0.0], [1.0, 0.0]]),),
        (np.array([[2.0, 0.0], [-1.0, -1.0], [0.0, 1.0]]),),
        (np.random.default_rng(0).normal(size=(7, 2)),),
    ],
    evidence=lengths_of_the_rows,
    worth_trying="complex numbers: (x + iy) times exp(ij) does it in one line.",
)
def turned_rows(M):
    """(x cos j − y sin j, x sin j + y cos j), anticlockwise."""
    j = np.arange(len(M))
    x, y = M.T
    return np.stack([x * np.cos(j) - y * np.sin(j), x * np.sin(j) + y * np.cos(j)], axis=-1)


def _turn(M, angles):
    (x, y), cos, sin = M.T, np.cos(angles), np.sin(angles)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


@turned_rows.mistake
def clockwise(M):
    """Turned clockwise: a positive angle turns from the first axis towards the second."""
    return _turn(M, -np.arange(len(M)))


@turned_rows.mistake
def positions_from_one(M):
    """The positions are counted from one: row 0 is not turned."""
    return _turn(M, np.arange(len(M)) + 1)


@turned_rows.mistake
def all_by_one_radian(M):
    """All rows are turned by one radian: the angle grows with the position."""
    return _turn(M, np.ones(len(M)))


@turned_rows.mistake
def degrees(M):
    """Turned by degrees: NumPy's sine and cosine want radians, and so does the exercise."""
    return _turn(M, np.radians(np.arange(len(M))))


@turned_rows.mistake
def second_from_the_new_first(M):
    """The second coordinate is made from the new first one, where the old one belongs."""
    j, out = np.arange(len(M)), M.copy()
    out[:, 0] = out[:, 0] * np.cos(j) - out[:, 1] * np.sin(j)
    out[:, 1] = out[:, 0] * np.sin(j) + out[:, 1] * np.cos(j)
    return out


@turned_rows.mistake
def stacked_below(M):
    """The two coordinates are stacked below each other: a row should be a token."""
    return _turn(M, np.arange(len(M))).T


def _scores_of_the_last_word(bias_before, bias_after):
    """What two biases on the keys add to the scores of the chapter's third word."""
    X, b = np.array([[2.0, 0.0], [-1.0, -1.0], [0.0, 1.0]]), np.array([3.0, -1.0])
    Q, turn = X @ np.array([[0.0, -1.0], [1.0, 0.0]]), turned_rows.solution
    keys = turn(X + bias_before * b) + bias_after * b
    return (dot_scores(turn(Q), keys) - dot_scores(turn(Q), turn(X)))[2]


def added_before(trial):
    return f"On our words, it adds {show(_scores_of_the_last_word(1, 0))} to the three scores of “it”."


def added_after(trial):
    return f"On our words, it adds {show(_scores_of_the_last_word(0, 1))} to the three scores of “it”."


@exercise(
    worth_trying="a bias on the queries, before and after the turn. Which of your two words changes?",
)
def bias_and_turn():
    """Before, it is turned with its key; after, it is the same vector for every key."""
    return "seen", "unseen"


def added_both_ways(trial):
    before, after = _scores_of_the_last_word(1, 0), _scores_of_the_last_word(0, 1)
    return f"To the three scores of “it”, one way adds {show(before)}, the other {show(after)}."


@bias_and_turn.mistake_shown_by(added_both_ways)
def the_other_way_round():
    """It is the other way round: what is added first is turned with its key, what is added last is not."""
    return "unseen", "seen"


@bias_and_turn.mistake_shown_by(added_before)
def turned_with_its_key():
    """Added before, the bias is turned with its key, by another angle at another position."""
    return "unseen", "unseen"


@bias_and_turn.mistake_shown_by(added_after)
def same_for_every_key():
    """Added after, the bias meets the turned query alone, and which key it is makes no difference."""
    return "seen", "seen"
