"""Chapter 06: what a weighted sum of values can be, and what it hides."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention.formulas import softmax, weighted_sum

finite = st.floats(-1e3, 1e3)
EXAMPLE = np.array([[0.0, 8.0], [0.0, 0.0], [8.0, 0.0]])  # the chapter's values
EIGHTHS = np.array([[1.0, 2.0, 5.0]]) / 8  # and its weights


def other_weights(a, V):
    """A second row of weights with the output of `a`, or None where there is none."""
    conditions = np.column_stack([V, np.ones(len(V))]).T
    _, sizes, rows = np.linalg.svd(conditions)
    rank = (sizes > 1e-9).sum()
    if rank == len(V):
        return None
    z = rows[rank]  # z @ V = 0 and sum(z) = 0
    return a + (a[z < 0] / -z[z < 0]).min() * z  # as far as the first weight of zero


def test_weighted_sum_by_hand():
    """An eighth of (0, 8), two of (0, 0), five of (8, 0)."""
    np.testing.assert_allclose(weighted_sum(EIGHTHS, EXAMPLE), [[5, 1]])


def test_weighted_sum_in_indices(rng):
    """o_i = Σ_j A_ij v_j, written out."""
    A, V = softmax(rng.normal(size=(3, 7))), rng.normal(size=(7, 5))
    O = weighted_sum(A, V)
    assert O.shape == (3, 5)
    for i in range(3):
        np.testing.assert_allclose(O[i], sum(A[i, j] * V[j] for j in range(7)))


def test_weighted_sum_agrees_with_torch(rng):
    A, V = softmax(rng.normal(size=(2, 3, 7))), rng.normal(size=(2, 7, 5))
    expected = torch.einsum("bij,bjd->bid", torch.from_numpy(A), torch.from_numpy(V))
    np.testing.assert_allclose(weighted_sum(A, V), expected, rtol=1e-12)


@given(arrays(np.float64, (1, 7), elements=st.floats(-9, 9)), arrays(np.float64, (7, 5), elements=finite))
def test_weighted_sum_least_squares(S, V):
    """Claim: elsewhere the weighted squared distance is larger, by exactly the distance to o."""
    A = softmax(S)
    o, p = weighted_sum(A, V)[0], V[0]
    regret_at_o, regret_at_p = (A[0] @ ((V - point) ** 2).sum(1) for point in (o, p))
    np.testing.assert_allclose(regret_at_p, regret_at_o + ((o - p) ** 2).sum(), rtol=1e-9, atol=1e-6)


@given(
    arrays(np.float64, (3, 7), elements=st.floats(-30, 30)),
    arrays(np.float64, (7, 5), elements=finite),
    arrays(np.float64, 5, elements=finite),
)
def test_weighted_sum_convex_hull(S, V, u):
    """Claim: along any direction, and in length, no output leaves the values."""
    O = weighted_sum(softmax(S), V)
    slack = 1e-12 * (1 + np.abs(u).max()) * (1 + np.abs(V).max())  # rounding
    assert ((V @ u).min() - slack <= O @ u).all()
    assert (O @ u <= (V @ u).max() + slack).all()
    assert (np.linalg.norm(O, axis=1) <= np.linalg.norm(V, axis=1).max() + slack).all()


@given(
    arrays(np.float64, (3, 7), elements=st.floats(-9, 9)),
    arrays(np.float64, (7, 5), elements=finite),
    st.floats(-9, 9),
)
def test_weighted_sum_sink(S, V, sink):
    """Claim: a key of value 0 and score s multiplies the output by Z / (Z + e^s), and keeps all ratios."""
    Z = np.exp(S).sum(1, keepdims=True)
    A = softmax(np.column_stack([S, np.full(3, sink)]))
    O = weighted_sum(A, np.vstack([V, np.zeros(5)]))
    less = Z / (Z + np.exp(sink))
    np.testing.assert_allclose(O, weighted_sum(softmax(S), V) * less, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(A[:, :7], softmax(S) * less, rtol=1e-12)


def test_weighted_sum_limits(rng):
    """Claim: hot, the mean of all values; cold, the value of the best key, or the mean of the best."""
    V = rng.normal(size=(5, 2))
    S = np.array([[1.0, 4.0, 2.0, 0.0, 3.0], [6.0, 0.0, 6.0, 5.0, 1.0]])
    hot, cold = (weighted_sum(softmax(S / T), V) for T in (1e9, 1e-3))
    np.testing.assert_allclose(hot, [V.mean(0)] * 2, atol=1e-7)
    np.testing.assert_allclose(cold, [V[1], V[[0, 2]].mean(0)], atol=1e-12)


@given(arrays(np.float64, (3, 7), elements=st.floats(-30, 30)), arrays(np.float64, 5, elements=finite))
def test_weighted_sum_constant_values(S, b):
    """Claim: what all values have in common passes through any weights of sum one."""
    A, V = softmax(S), np.arange(35.0).reshape(7, 5)
    np.testing.assert_allclose(weighted_sum(A, V + b), weighted_sum(A, V) + b, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weighted_sum(A, np.tile(b, (7, 1))), [b] * 3, rtol=1e-12, atol=1e-12)


def test_weighted_sum_constant_values_show_broken_row_sums(rng):
    """The mistakes that all-ones values do catch: rows that do not sum to one."""
    over_queries = softmax(rng.normal(size=(3, 7)).T).T
    assert not np.allclose(weighted_sum(over_queries, np.ones((7, 5))), 1)


def test_weighted_sum_running_average(rng):
    """Claim: row i uniform over its first i keys gives the mean of v_1 … v_i."""
    V = rng.normal(size=(11, 3))
    A = softmax(np.where(np.tri(11, dtype=bool), 0.0, -np.inf))
    np.testing.assert_allclose(weighted_sum(A, V), [V[: i + 1].mean(0) for i in range(11)])


def test_weighted_sum_not_identifiable(rng):
    """Claim: beyond the rank of [V 1] a second row of weights has the same output."""
    full, flat = rng.normal(size=(7, 3)), np.outer(np.arange(3.0), [1.0, 2.0, -1.0, 5.0, 3.0])
    for V in (full, flat):  # more keys than d_v + 1; or few keys, with values on a line
        a = softmax(rng.normal(size=len(V)))
        b = other_weights(a, V)
        assert b.min() > -1e-12
        np.testing.assert_allclose(b.sum(), 1)
        np.testing.assert_allclose(weighted_sum(b[None], V), weighted_sum(a[None], V), atol=1e-12)
        assert np.abs(a - b).max() > 0.01


def test_weighted_sum_not_identifiable_only_beyond_the_rank(rng):
    """With d_v + 1 values in general position the weights can be read back from the output."""
    V, a = rng.normal(size=(4, 3)), softmax(rng.normal(size=4))
    assert other_weights(a, V) is None
    o = weighted_sum(a[None], V)[0]
    np.testing.assert_allclose(np.linalg.solve(np.column_stack([V, np.ones(4)]).T, [*o, 1]), a)
