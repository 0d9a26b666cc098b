"""Exercises of chapter 01."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import fits, no_average, numbers, show
from selfattention.mutants.attention import (
    no_scale,
    scale_by_the_number_of_keys,
    softmax_over_the_queries,
)
from selfattention.recipes.tiles import ATTENTION


def in_one_row(answer):
    """The weights of *cats*, then its hunger, then its sound."""
    return np.hstack(answer)


def sum_of_the_weights(trial):
    return f"Your weights sum to {show(trial.given[0][:-2].sum())}; a row of attention sums to one."


def number_of_the_weights(trial):
    return f"You gave {len(trial.given[0]) - 2} weights; {show(len(trial.wanted[0]) - 2)} words were said."


def hungry_beside_cats(trial):
    (given,), (wanted,) = trial.given, trial.wanted
    yours, as_before = given[0] / given[2], wanted[0] / wanted[2]
    return (
        f"Your first hungry weighs {show(yours)} times as much as cats; with the key and the query that "
        f"they had before, it is still {show(as_before)} times."
    )


def what_your_weights_carry(trial):
    a, (hunger, sound) = trial.given[0][:-2], trial.given[0][-2:]
    return (
        f"From your own weights come a hunger of {show(7 * (a[0] + a[1]))} and a sound of "
        f"{show(7 * a[-1])}; you gave {show(hunger)} and {show(sound)}."
    )


@exercise(
    seen_as=in_one_row,
    evidence=what_your_weights_carry,
    worth_trying="hungry a thousand times. Where do the hunger and the sound of the cats go?",
)
def hungry_twice():
    """The exponentials are 4, 4, 1 and 2: a copy of a key gets a copy of its exponential."""
    E = np.array([4.0, 4.0, 1.0, 2.0])
    a = E / E.sum()
    return a, 7 * (a[0] + a[1]), 7 * a[3]


@hungry_twice.mistake_shown_by(sum_of_the_weights)
def sum_of_three_words():
    """You still divide by 7, the sum for three words."""
    a = np.array([4, 4, 1, 2]) / 7
    return a, 7 * (a[0] + a[1]), 7 * a[3]


@hungry_twice.mistake_shown_by(sum_of_the_weights)
def exponentials_for_weights():
    """These are the exponentials: nothing has been divided yet."""
    return np.array([4.0, 4.0, 1.0, 2.0]), 56.0, 14.0


@hungry_twice.mistake_shown_by(hungry_beside_cats)
def copies_share():
    """The two copies divide between them what one had: but a key does not know of its copy."""
    return np.array([2, 2, 1, 2]) / 7, 4.0, 2.0


@hungry_twice.mistake_shown_by(number_of_the_weights)
def copies_added():
    """The two copies are counted as one key, with the weight of both."""
    return np.array([8, 1, 2]) / 11, 56 / 11, 14 / 11


@hungry_twice.mistake
def hunger_of_one_copy():
    """The hunger is that of one copy: both are values, and both are weighed."""
    a, _, sound = hungry_twice.solution()
    return a, 7 * a[0], sound


@hungry_twice.mistake
def sound_as_before():
    """Nothing about purr changed, and yet its share did: the sound is not what it was."""
    a, hunger, _ = hungry_twice.solution()
    return a, hunger, 2.0


def outside_the_values(trial):
    if not isinstance(trial.given, tuple) or not fits(trial.given, trial.wanted):
        return numbers(trial)
    return no_average(trial.given[0], trial.inputs["V"]) or numbers(trial)


def outside_the_columns(trial):
    if not isinstance(trial.given, tuple) or not fits(trial.given, trial.wanted):
        return numbers(trial)
    return no_average(trial.given[0].T, trial.inputs["V"].T) or numbers(trial)


def _in_columns(d_k, n, m, d_v):
    rng = np.random.default_rng(0)
    return rng.normal(size=(d_k, n)), rng.normal(size=(d_k, m)), rng.normal(size=(d_v, m))


@exercise(
    cases=[
        (np.log([[1.0, 2.0]]), np.array([[0.0, 1.0, 2.0]]), np.array([[0.0, 7.0, 14.0]])),
        _in_columns(d_k=5, n=3, m=7, d_v=2),
        _in_columns(d_k=2, n=7, m=3, d_v=5),
    ],
    evidence=outside_the_columns,
    worth_trying="keys a thousand times as long. What does the exponential do, and what would you subtract?",
)
def column_attention(Q, K, V):
    """V E / (its column sums): the scores KᵀQ have the keys first."""
    E = np.exp(K.T @ Q / len(K) ** 0.5)
    return V @ (E / E.sum(axis=0))


@column_attention.mistake
def sums_along_the_rows(Q, K, V):
    """The sums run along the rows of KᵀQ, over the queries: here a query has a column."""
    E = np.exp(K.T @ Q / len(K) ** 0.5)
    return V @ (E / E.sum(axis=1, keepdims=True))


@column_attention.mistake
def last_axis_for_the_width(Q, K, V):
    """Divided by the root of the last axis: in columns that is the number of keys, not d_k."""
    E = np.exp(K.T @ Q / K.shape[-1] ** 0.5)
    return V @ (E / E.sum(axis=0))


@column_attention.mistake
def number_of_queries_for_the_width(Q, K, V):
    """Divided by the root of Q's last axis: in columns that is the number of queries, not d_k."""
    E = np.exp(K.T @ Q / Q.shape[1] ** 0.5)
    return V @ (E / E.sum(axis=0))


@column_attention.mistake
def columns_not_scaled(Q, K, V):
    """Not divided by √d_k."""
    E = np.exp(K.T @ Q)
    return V @ (E / E.sum(axis=0))


@column_attention.mistake
def softmax_left_out(Q, K, V):
    """The softmax is left out."""
    return V @ (K.T @ Q) / len(K) ** 0.5


@column_attention.mistake
def not_turned_back(Q, K, V):
    """The right numbers, a token per row: turned on the way in, and not on the way out."""
    return column_attention.solution(Q, K, V).T


@column_attention.mistake
def formula_of_the_rows(Q, K, V):
    """QKᵀ belongs to tokens in rows: with tokens in columns it multiplies features that do not fit."""
    E = np.exp(Q @ K.T / len(K) ** 0.5)
    return E / E.sum(axis=1, keepdims=True) @ V


def _in_rows(n, m, d_k, d_v):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d_k)), rng.normal(size=(m, d_k)), rng.normal(size=(m, d_v))


@exercise(
    cases=[
        (np.array([[0.0], [1.0]]), np.log([[1.0], [3.0]]), np.array([[8.0, 1.0], [4.0, 5.0]])),
        _in_rows(n=5, m=7, d_k=3, d_v=2),
        _in_rows(n=3, m=2, d_k=5, d_v=7),
    ],
    evidence=outside_the_values,
    recipe=ATTENTION,
    worth_trying="the shortest list of calls that exposes each of the three mistakes alone.",
)
def suspicious_attention(Q, K, V):
    """The width of the keys, the sum of each row, and a product of matrices."""
    E = np.exp(Q @ K.T / K.shape[1] ** 0.5)
    A = E / E.sum(axis=1, keepdims=True)
    return A @ V


@suspicious_attention.as_found
def suspicious(Q, K, V):
    """Three mistakes in three lines."""
    E = np.exp(Q @ K.T / len(K) ** 0.5)
    A = E / E.sum(axis=0)
    return A * V


suspicious_attention.mistake(softmax_over_the_queries)
suspicious_attention.mistake(scale_by_the_number_of_keys)
suspicious_attention.mistake(no_scale)


@suspicious_attention.mistake
def scaled_by_the_number_of_queries(Q, K, V):
    """Scores divided by √n: the number of queries, where the width of the keys belongs."""
    E = _exponentials(Q, K, len(Q))
    return E / E.sum(axis=1, keepdims=True) @ V


def _exponentials(Q, K, width):
    return np.exp(Q @ K.T / width**0.5)


@suspicious_attention.mistake
def only_the_product_mended(Q, K, V):
    """The product of matrices is mended, the axis and the scale are not."""
    E = _exponentials(Q, K, len(K))
    return E / E.sum(axis=0) @ V


@suspicious_attention.mistake
def only_the_axis_mended(Q, K, V):
    """The axis is mended; the star and the scale are not."""
    E = _exponentials(Q, K, len(K))
    return E / E.sum(axis=1, keepdims=True) * V


@suspicious_attention.mistake
def only_the_scale_mended(Q, K, V):
    """The scale is mended; the star and the axis are not."""
    E = _exponentials(Q, K, K.shape[1])
    return E / E.sum(axis=0) * V


@suspicious_attention.mistake
def star_left(Q, K, V):
    """Scale and axis are mended; the star still multiplies entry by entry."""
    E = _exponentials(Q, K, K.shape[1])
    return E / E.sum(axis=1, keepdims=True) * V


@suspicious_attention.mistake
def sums_lying_down(Q, K, V):
    """The right sums in the wrong place: without keepdims they lie down, and divide the columns."""
    E = _exponentials(Q, K, K.shape[1])
    return E / E.sum(axis=1) @ V


def scores_overflow(trial):
    Q, V = trial.inputs["Q"], trial.inputs["V"]
    return (
        f"With {show(Q[0, 0])} everywhere in Q and K and {show(V[0, 0])} in V, every entry of QKᵀ is too "
        f"large for its format, and so is your output; Q(KᵀV) is {show(trial.wanted[0][0, 0])}."
    )


@exercise(
    cases=[
        (
            np.array([[1.0, 2.0]]),
            np.array([[3.0, 1.0], [0.0, 2.0], [5.0, 4.0]]),
            np.array([[1.0], [4.0], [2.0]]),
        ),
        _in_rows(n=5, m=7, d_k=3, d_v=2),
        (np.full((3, 1), 1e200), np.full((5, 1), 1e200), np.full((5, 2), 1e-300)),
    ],
    worth_trying=(
        "a causal version: token i may use the first i keys only. Which matrix must be carried from token "
        "to token?"
    ),
)
def linear_attention(Q, K, V):
    """Q(KᵀV): the matrix in the middle is d_k × d_v."""
    return Q @ (K.T @ V)


@linear_attention.mistake_shown_by(scores_overflow)
def printed_order(Q, K, V):
    """The right numbers in the printed order: Q meets K first, in n · m pairs."""
    return Q @ K.T @ V


@linear_attention.mistake
def softmax_kept(Q, K, V):
    """The softmax is still there."""
    E = np.exp(Q @ K.T / K.shape[1] ** 0.5)
    return E / E.sum(axis=1, keepdims=True) @ V


@linear_attention.mistake
def root_kept(Q, K, V):
    """Divided by √d_k: with the softmax its scale has gone, too."""
    return Q @ (K.T @ V) / K.shape[1] ** 0.5


@linear_attention.mistake
def divided_by_the_row_sums(Q, K, V):
    """Divided by the sums of the scores: without an exponential they need not be positive."""
    return Q @ (K.T @ V) / (Q @ K.sum(axis=0))[:, None]


@linear_attention.mistake
def turned_round(Q, K, V):
    """The matrix in the middle is turned round: VᵀK, where KᵀV fits."""
    return Q @ (V.T @ K)


def entries_and_sums(trial):
    m, d = 1000, 10
    return f"KᵀV has {show(d * d)} entries, and each is a sum of {show(m)} products."


@exercise(
    worth_trying="the length n = m at which both orders cost the same, for d_k = d_v = 10.",
)
def two_orders():
    """n m d_k + n m d_v as printed; m d_k d_v + n d_k d_v the other way."""
    n = m = 1000
    d_k = d_v = 10
    return n * m * d_k + n * m * d_v, m * d_k * d_v + n * d_k * d_v


@two_orders.mistake
def first_product_only():
    """That is the first product of each order; there is a second."""
    return 1000 * 1000 * 10, 1000 * 10 * 10


@two_orders.mistake
def additions_too():
    """Additions are counted as well, which doubles both."""
    return 2 * 20_000_000, 2 * 200_000


@two_orders.mistake
def entries_counted():
    """That is the size of the matrix in the middle; each of its entries takes a sum of products."""
    return 1000 * 1000, 10 * 10


@two_orders.mistake_shown_by(entries_and_sums)
def same_cost():
    """The result is the same in both orders, the cost is not."""
    return 20_000_000, 20_000_000
