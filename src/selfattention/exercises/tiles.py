"""Exercises of chapter 13."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import numbers, show
from selfattention.exercises.testing import exercise_in_testing
from selfattention.formulas import (
    finish_state,
    log_sum_exp,
    merge_states,
    rows_that_fit,
    softmax,
    softmax_backward,
    tile_backward,
    tile_state,
    tiled_traffic,
)
from selfattention.recipes.merge import MERGE


def state_from_zero(level):
    """Evidence: the running state after one tile of scores near `level`, started at c = 0."""

    def state(trial):
        zero = np.zeros(1, "f4"), np.zeros(1, "f4"), np.zeros((1, 1), "f4")
        S, V = np.array([[level, level + 1]], dtype=np.float32), np.array([[8], [4]], dtype=np.float32)
        c, Z, O = merge_states(*zero, *tile_state(S, V))
        output, _ = finish_state(c, Z, O)
        return (
            f"With scores {show(S[0])} and values 8 and 4 the state is c = {show(c[0])}, Z = {show(Z[0])}, "
            f"Õ = {show(O[0, 0])}, and the output {show(output[0, 0])}."
        )

    return state


@exercise(
    worth_trying="scores near −95, where float32 has numbers left, but not with all their digits.",
)
def start_at_zero():
    """0 is a shift like any other, while the exponentials last; then the row looks empty."""
    return "right", "zero"


@start_at_zero.mistake_shown_by(state_from_zero(-5))
def start_counted_as_a_key():
    """The start adds nothing to the sums, Z = 0 and Õ = 0: only the shift is another, and any will do."""
    return "off", "zero"


@start_at_zero.mistake_shown_by(state_from_zero(-5))
def small_for_zero():
    """exp(−5) is small, but numbers as small are no trouble for float32."""
    return "zero", "zero"


@start_at_zero.mistake_shown_by(state_from_zero(-200))
def any_shift_will_do():
    """Any shift will do on paper; in float32 all of these exponentials are zero."""
    return "right", "right"


@start_at_zero.mistake_shown_by(state_from_zero(-200))
def nothing_divided_by_nothing():
    """0/0 it would be, but `finish_state` takes Z = 0 for a row that may see nothing."""
    return "right", "nan"


@start_at_zero.mistake_shown_by(state_from_zero(-200))
def some_digits_lost():
    """It is not some digits that are lost, but all of the exponentials."""
    return "right", "off"


def _halves(n, d_v, L_1, L_2):
    O_1, O_2 = np.random.default_rng(0).normal(size=(2, n, d_v))
    return O_1, np.full(n, L_1), O_2, np.full(n, L_2)


def _empty(n, d_v):
    return np.zeros((n, d_v)), np.full(n, -np.inf)


@exercise(
    cases=[
        _halves(1, 2, 0.5, 1.5),
        _halves(5, 3, -1.0, 2.0),
        _halves(2, 3, 800.0, 799.0),
        (*_halves(2, 3, 0.5, 0.5)[:2], *_empty(2, 3)),
        (*_empty(2, 3), *_halves(2, 3, 0.5, 0.5)[2:]),
        (*_empty(3, 2), *_empty(3, 2)),
    ],
    edge=lambda O_1, L_1, O_2, L_2: np.isneginf([*L_1, *L_2]).any(),
    recipe=MERGE,
    worth_trying="three machines, merged two and two in any order; then a machine without a single key.",
)
def merge_outputs(O_1, L_1, O_2, L_2):
    """(L, 1, O) is a state with the output O and the log-sum-exp L."""
    one = np.ones_like(L_1)
    return finish_state(*merge_states(L_1, one, O_1, L_2, one, O_2))


@merge_outputs.mistake
def plain_mean(O_1, L_1, O_2, L_2):
    """The two outputs are averaged as equals, however much attention went to either half."""
    return (O_1 + O_2) / 2, np.logaddexp(L_1, L_2)


@merge_outputs.mistake
def outputs_added(O_1, L_1, O_2, L_2):
    """The outputs are added: each is an average already, and the sum of two averages is none."""
    return O_1 + O_2, np.logaddexp(L_1, L_2)


@merge_outputs.mistake
def weights_are_logarithms(O_1, L_1, O_2, L_2):
    """The outputs are weighted by L, the logarithm of what should weigh them."""
    O = L_1[:, None] * O_1 + L_2[:, None] * O_2
    return O / (L_1 + L_2)[:, None], np.logaddexp(L_1, L_2)


@merge_outputs.mistake
def weights_exchanged(O_1, L_1, O_2, L_2):
    """Each output has the weight of the other."""
    return merge_outputs.solution(O_1, L_2, O_2, L_1)


@merge_outputs.mistake
def never_divided(O_1, L_1, O_2, L_2):
    """Rescaled and added, but not divided by the new Z at the end."""
    _, _, O = merge_states(L_1, np.ones_like(L_1), O_1, L_2, np.ones_like(L_2), O_2)
    return O, np.logaddexp(L_1, L_2)


@merge_outputs.mistake
def logarithms_added(O_1, L_1, O_2, L_2):
    """The outputs are right; the two log-sum-exps are added, where their exponentials should be."""
    return merge_outputs.solution(O_1, L_1, O_2, L_2)[0], L_1 + L_2


@merge_outputs.mistake
def whole_exponentials(O_1, L_1, O_2, L_2):
    """The exponentials of L are taken whole: exp(800) is infinite."""
    Z_1, Z_2 = np.exp(L_1), np.exp(L_2)
    return (Z_1[:, None] * O_1 + Z_2[:, None] * O_2) / (Z_1 + Z_2)[:, None], np.log(Z_1 + Z_2)


@merge_outputs.mistake
def sigmoid_of_the_difference(O_1, L_1, O_2, L_2):
    """Right until the first machine is empty: then −∞ + ∞ stands in L, which is not a number."""
    share = 1 / (1 + np.exp(L_1 - L_2))
    return O_1 - share[:, None] * (O_1 - O_2), L_1 - np.log(1 / (1 + np.exp(L_2 - L_1)))


@merge_outputs.mistake
def weights_by_the_whole(O_1, L_1, O_2, L_2):
    """Right until both machines are empty: each weight is exp(L_t − L), and −∞ − (−∞) is not a number."""
    L = np.logaddexp(L_1, L_2)
    return np.exp(L_1 - L)[:, None] * O_1 + np.exp(L_2 - L)[:, None] * O_2, L


@merge_outputs.mistake
def nobody_twice(O_1, L_1, O_2, L_2):
    """Right until both machines are empty: −∞ − (−∞) is not a number."""
    c = np.maximum(L_1, L_2)
    a_1, a_2 = np.exp(L_1 - c), np.exp(L_2 - c)
    return (a_1[:, None] * O_1 + a_2[:, None] * O_2) / (a_1 + a_2)[:, None], c + np.log(a_1 + a_2)


def tiles_by_the_book(S, V, dO, w):
    """dS (n, m) in tiles of w keys, L and δ those of the whole rows."""
    L = log_sum_exp(S)
    delta = (dO * (softmax(S) @ V)).sum(1)
    tiles = [slice(j, j + w) for j in range(0, S.shape[1], w)]
    return np.hstack([tile_backward(S[:, j], V[j], dO, L, delta)[0] for j in tiles])


def tiles_by_the_colleague(S, V, dO, w):
    """dS (n, m) in tiles of w keys, each tile with a δ of its own."""
    A = np.exp(S - log_sum_exp(S)[:, None])
    tiles = [slice(j, j + w) for j in range(0, S.shape[1], w)]
    return np.hstack([softmax_backward(dO @ V[j].T, A[:, j]) for j in tiles])


@exercise_in_testing(
    cases=[(tiles_by_the_book,), (tiles_by_the_colleague,)],
    worth_trying="a dO orthogonal to all values. Does your test still tell the two apart, and should it?",
)
def backward_test(gradient):
    """Two keys in two tiles: the whole row's δ is 4, and a key alone has nobody to differ from."""
    S, V, dO = np.zeros((1, 2)), np.array([[8.0], [0.0]]), np.ones((1, 1))
    return np.allclose(gradient(S, V, dO, 1), [[2, -2]])


@backward_test.mistake
def suspect_passes(gradient):
    """The colleague passes, as with any tile that holds all the keys."""
    S, V = np.random.default_rng(0).normal(size=(2, 8, 8))
    A, dO = softmax(S), np.ones((8, 8))
    return np.allclose(gradient(S, V, dO, 64), softmax_backward(dO @ V.T, A))


@backward_test.mistake
def everybody_fails(gradient):
    """The right gradient does not pass either."""
    S, V, dO = np.zeros((1, 2)), np.array([[8.0], [0.0]]), np.ones((1, 1))
    return np.allclose(gradient(S, V, dO, 1), [[4, 0]])


@backward_test.mistake
def wrong_way_round(gradient):
    """The test is the wrong way round: the colleague passes, and the right gradient does not."""
    return not backward_test.solution(gradient)


WIDTHS, TOKENS, WIDTH, FAST = [1, 16, 64, 128], 16384, 128, 48 * 1024


def passes_over_the_keys(trial):
    (words,) = trial.given
    once = TOKENS * (2 * WIDTH + 1)
    if (words < once).any():
        return f"Q, O and L alone are {once:,} words; you gave {show(words)}."
    passes = (words - once) / (2 * TOKENS * WIDTH)
    return f"Without Q, O and L, your words are those of K and V read {show(passes)} times."


@exercise(
    evidence=passes_over_the_keys,
    worth_trying="the widths between 1 and 16. Does every key more cost words, and why not?",
)
def words_moved():
    """⌈n/r⌉ times K and V, and Q, O and L once; the fewer keys at a time, the larger is r."""
    rows = [rows_that_fit(FAST, WIDTH, WIDTH, w) for w in WIDTHS]
    return [tiled_traffic(TOKENS, TOKENS, WIDTH, WIDTH, r) for r in rows]


def _words(passes):
    return [TOKENS * (2 * WIDTH + 1) + turns * TOKENS * 2 * WIDTH for turns in passes]


def _rows(w, M=FAST):
    return rows_that_fit(M, WIDTH, WIDTH, w)


@words_moved.mistake
def rows_for_words():
    """These are the rows that fit, r; the words are still to be computed from them."""
    return [_rows(w) for w in WIDTHS]


@words_moved.mistake
def not_rounded_up():
    """n/r is not rounded up: for the last queries, few or not, all keys are read once more."""
    return _words(TOKENS / _rows(w) for w in WIDTHS)


@words_moved.mistake
def rounded_down():
    """n/r is rounded down: the last queries would never see a key."""
    return _words(TOKENS // _rows(w) for w in WIDTHS)


@words_moved.mistake
def keys_for_queries():
    """Here K and V are read once for every w queries; w counts keys, and r counts the queries."""
    return _words(-(-TOKENS // w) for w in WIDTHS)


@words_moved.mistake
def k_is_a_thousand():
    """48 K words are 48 · 1024, and here only 48,000."""
    return _words(-(-TOKENS // _rows(w, M=48_000)) for w in WIDTHS)


@words_moved.mistake_shown_by(numbers)
def keys_and_values_only():
    """K and V are right; Q is read once as well, and O and L are written."""
    return [-(-TOKENS // _rows(w)) * TOKENS * 2 * WIDTH for w in WIDTHS]


@words_moved.mistake_shown_by(numbers)
def log_sum_exps_not_written():
    """One word for every query is missing: L is written, too."""
    return [words - TOKENS for words in words_moved.solution()]
