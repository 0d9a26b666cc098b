"""Properties of `attention(Q, K, V)`."""

import numpy as np

from selfattention import formulas
from selfattention.properties.single_precision import agree

_rng = np.random.default_rng(0)
Q, K, V = (_rng.normal(size=(2, *shape)) for shape in [(5, 3), (7, 3), (7, 2)])


def shape(attention):
    """One row per query, as wide as the values."""
    np.testing.assert_(attention(Q, K, V).shape == (2, 5, 2))


def finite(attention):
    """Queries ten thousand times as long give numbers, not NaN."""
    np.testing.assert_(np.isfinite(attention(1e4 * Q, K, V)).all())


def constant_values(attention):
    """Equal values come out unchanged: an input that hides most mistakes."""
    agree(attention(Q, K, np.ones((2, 7, 2))), np.ones((2, 5, 2)))


def weights_sum_to_one(attention):
    """With the identity for values the output is the weights, and their rows sum to one."""
    agree(attention(Q, K, np.eye(7) * np.ones((2, 1, 1))).sum(-1), 1)


def convex_hull(attention):
    """No output lies outside the box of the values."""
    O = attention(Q, K, V)
    np.testing.assert_((O <= V.max(-2, keepdims=True) + 1e-12).all())
    np.testing.assert_((O >= V.min(-2, keepdims=True) - 1e-12).all())


def queries_permuted(attention):
    """Queries in another order give the outputs in that order."""
    order = [3, 0, 4, 1, 2]
    agree(attention(Q[:, order], K, V), attention(Q, K, V)[:, order])


def keys_permuted(attention):
    """Keys and values in another common order change nothing."""
    order = [6, 2, 0, 5, 1, 4, 3]
    agree(attention(Q, K[:, order], V[:, order]), attention(Q, K, V))


def one_query_at_a_time(attention):
    """A query alone gets what it gets in company."""
    agree(attention(Q[:, 3:4], K, V), attention(Q, K, V)[:, 3:4])


def one_sequence_at_a_time(attention):
    """A sequence alone gets what it gets in a batch."""
    agree(attention(Q[1], K[1], V[1]), attention(Q, K, V)[1])


def values_scaled(attention):
    """Twice the values, twice the output."""
    np.testing.assert_allclose(attention(Q, K, 2 * V), 2 * attention(Q, K, V))


def queries_for_keys(attention):
    """Queries doubled and keys halved leave the scores as they were."""
    agree(attention(2 * Q, K / 2, V), attention(Q, K, V))


def width_padded(attention):
    """Nine columns of zeros change only the scale, √12 for √3; queries twice as long make up for it."""
    wide = [np.concatenate([x, np.zeros((*x.shape[:-1], 9))], -1) for x in (2 * Q, K)]
    agree(attention(*wide, V), attention(Q, K, V))


def formula_at_d_k_of_one(attention):
    """Equal to the formula where d_k = 1: a test that cannot see most mistakes of scale."""
    agree(attention(Q[..., :1], K[..., :1], V), formulas.attention(Q[..., :1], K[..., :1], V))


def formula_on_squares(attention):
    """Equal to the formula where n = m = d_k = d_v = 4: a test that cannot tell √d_k from √m."""
    q, k, v = np.random.default_rng(1).normal(size=(3, 2, 4, 4))
    agree(attention(q, k, v), formulas.attention(q, k, v))


def formula(attention):
    """Equal to the formula."""
    agree(attention(Q, K, V), formulas.attention(Q, K, V))


def by_hand(attention):
    """Scores ln 2 and 0 give weights 2/3 and 1/3, and values 3 and 0 the output 2."""
    q, k = np.array([[2 * np.log(2), 0, 0, 0]]), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    agree(attention(q, k, np.array([[3.0], [0]])), [[2.0]])
