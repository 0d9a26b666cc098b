"""Chapter 12: covariance, the backward pass step by step, and the judges that check it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention.formulas import (
    attention,
    attention_backward,
    central_difference,
    group_sum,
    product_backward,
    projections,
    query_derivative,
    scaled_scores,
    self_attention,
    self_attention_backward,
    softmax,
    softmax_backward,
    softmax_jacobian,
    weighted_covariance,
    weighted_sum,
)
from selfattention.implementations import numpy_direct

# The chapter's example: an eighth, two eighths, five eighths; the output should be (4, 2).
A = np.array([[1.0, 2.0, 5.0]]) / 8
V = np.array([[0.0, 8.0], [0.0, 0.0], [8.0, 0.0]])
DO = np.array([[1.0, -1.0]])

numbers = st.floats(-100, 100)
PARAMETERS = [(13, 3), (13, 3), (13, 11), (11, 13)]  # W_Q, W_K, W_V, W_O


@pytest.fixture
def heads(rng):
    """dO, Q, K, V, every axis a prime of its own."""
    return [rng.normal(size=axes) for axes in [(5, 11), (5, 3), (7, 3), (7, 11)]]


@pytest.fixture
def layer(rng):
    """dY, X and the four matrices."""
    return [rng.normal(size=axes) / axes[0] ** 0.5 for axes in [(5, 13), (5, 13), *PARAMETERS]]


def slope(f, X, U, step=1e-5):
    """How fast f grows along U: a central difference, exact to about 1e-10."""
    return (f(X + step * U) - f(X - step * U)) / (2 * step)


def test_weighted_covariance_by_hand():
    """Keys 1, 2, 3: the mean of v k is (15, 1), the product of the means (12.5, 2.5)."""
    C = weighted_covariance(A, V, np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_allclose(C, [[[2.5], [-1.5]]])


def test_weighted_covariance_agrees_with_numpy(rng):
    a, V, K = softmax(rng.normal(size=(5, 7))), rng.normal(size=(7, 2)), rng.normal(size=(7, 3))
    for row, C in zip(a, weighted_covariance(a, V, K), strict=True):
        joint = np.cov(np.hstack([V, K]).T, aweights=row, ddof=0)
        np.testing.assert_allclose(C, joint[:2, 2:], atol=1e-14)


def test_weighted_covariance_far_from_zero(rng):
    """A million away from zero, values and keys vary together as before: each is centred on its own.

    The mean of v k less the product of the means, or one centred factor, would lose 1e12 · eps.
    """
    a, V, K = softmax(rng.normal(size=(5, 7))), rng.normal(size=(7, 2)), rng.normal(size=(7, 3))
    C = weighted_covariance(a, V + 1e6, K + 1e6)
    np.testing.assert_allclose(C, weighted_covariance(a, V, K), atol=1e-8)


def test_query_derivative_by_hand():
    """With one-hot keys every score has a coordinate of the query to itself: Vᵀ J / √3."""
    Q = 3**0.5 * np.log([[1.0, 2.0, 5.0]])
    expected = np.array([[-5, -10, 15], [7, -2, -5]]) / 8 / 3**0.5
    np.testing.assert_allclose(query_derivative(Q, np.eye(3), V)[0], expected)
    np.testing.assert_allclose(query_derivative(Q[None], np.eye(3)[None], V[None])[0, 0], expected)


def test_query_derivative_of_a_batch(heads):
    """The width is the last axis of K, however many stand before it."""
    _, Q, K, V = heads
    together = query_derivative(*(np.stack([X, -X]) for X in (Q, K, V)))
    np.testing.assert_allclose(together, [query_derivative(Q, K, V), query_derivative(-Q, -K, -V)])


def test_query_derivative_covariance(heads, rng):
    """Claim: to first order a step u of the query moves the output by Cov_a(v, k) u / √d_k."""
    _, Q, K, V = heads
    D = query_derivative(Q, K, V)
    for u in rng.normal(size=(10, 3)):
        np.testing.assert_allclose(D @ u, slope(lambda Q: attention(Q, K, V), Q, u), atol=1e-9)


@given(arrays(np.float64, (3, 2), elements=numbers), st.integers(2, 7), st.integers(0, 100))
def test_query_derivative_bound(Q, m, seed):
    """Claim: ‖∂o/∂q‖ ≤ ε D_v D_k / √d_k where the largest weight is 1 − ε; zero for equal values or keys."""
    rng = np.random.default_rng(seed)
    K, V = rng.normal(size=(m, 2)), rng.normal(size=(m, 3))
    apart = [np.linalg.norm(M[:, None] - M, axis=-1).max() for M in (K, V)]
    weights = np.sort(softmax(scaled_scores(Q, K)))
    epsilon = weights[:, :-1].sum(-1)  # 1 − max, without its rounding
    norms = np.linalg.norm(query_derivative(Q, K, V), 2, axis=(-2, -1))
    # 1e-15: the means o and k̄ are rounded, and so is what is left of a difference from them.
    assert (norms <= epsilon * apart[0] * apart[1] / 2**0.5 * (1 + 1e-9) + 1e-15).all()
    same = np.ones((m, 2))
    np.testing.assert_allclose(query_derivative(Q, K, same), 0, atol=1e-13)
    np.testing.assert_allclose(query_derivative(Q, same, V), 0, atol=1e-13)


def test_query_derivative_two_keys(rng):
    """Claim: for two keys it is σ (1 − σ) (v_1 − v_2)ᵀ (k_1 − k_2) / √d_k, largest where they tie."""
    q, K, V = rng.normal(size=(1, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 5))
    K_apart, V_apart = K[0] - K[1], V[0] - V[1]
    sigma = 1 / (1 + np.exp(-q[0] @ K_apart / 3**0.5))
    expected = sigma * (1 - sigma) * np.outer(V_apart, K_apart) / 3**0.5
    D = query_derivative(q, K, V)[0]
    np.testing.assert_allclose(D, expected, rtol=1e-12)
    assert np.linalg.matrix_rank(D) == 1
    tied = query_derivative(np.zeros((1, 3)), K, V)[0]
    np.testing.assert_allclose(tied, np.outer(V_apart, K_apart) / 4 / 3**0.5)
    assert np.linalg.norm(tied) > np.linalg.norm(D)


def test_product_backward_by_hand():
    """O = A V in the example: dA_j = dO · v_j, dV_j = a_j dO."""
    dA, dV = product_backward(DO, A, V)
    np.testing.assert_allclose(dA, [[-8, 0, 8]])
    np.testing.assert_allclose(dV * 8, [[1, -1], [2, -2], [5, -5]])


def test_product_backward_agrees_with_trying(rng):
    B, C, dM = rng.normal(size=(5, 3)), rng.normal(size=(3, 7)), rng.normal(size=(5, 7))
    dB, dC = product_backward(dM, B, C)
    np.testing.assert_allclose(dB, central_difference(lambda B: ((B @ C) * dM).sum(), B, 0.5), atol=1e-12)
    np.testing.assert_allclose(dC, central_difference(lambda C: ((B @ C) * dM).sum(), C, 0.5), atol=1e-12)


def test_softmax_backward_by_hand():
    """dA = (−8, 0, 8) has the average δ = 4: the second score should rise, by two thirds of the first."""
    np.testing.assert_allclose(softmax_backward(np.array([[-8.0, 0, 8]]), A), [[-1.5, -1, 2.5]])


def test_softmax_backward_is_the_jacobian(rng):
    a, dA = softmax(rng.normal(size=(5, 7))), rng.normal(size=(5, 7))
    expected = np.einsum("ijl,il->ij", softmax_jacobian(a), dA)
    np.testing.assert_allclose(softmax_backward(dA, a), expected, atol=1e-15)


@given(arrays(np.float64, (3, 5), elements=numbers), arrays(np.float64, (3, 5), elements=numbers))
def test_softmax_backward_rows_sum_to_zero(S, dA):
    """Claim: raising all scores of a row together changes nothing, so the rows of dS sum to zero."""
    # Five products of at most 200, each with a few roundings: 1e-12 is 20 eps · 200.
    np.testing.assert_allclose(softmax_backward(dA, softmax(S)).sum(-1), 0, atol=1e-12)


def test_softmax_backward_empty_row(rng):
    """Claim: a row of zero weights sends nothing back, and leaves the other rows alone."""
    S = rng.normal(size=(3, 5))
    S[1] = -np.inf
    dA = rng.normal(size=(3, 5)) * 1e200
    dS = softmax_backward(dA, softmax(S))
    np.testing.assert_array_equal(dS[1], 0)
    np.testing.assert_array_equal(dS[[0, 2]], softmax_backward(dA[[0, 2]], softmax(S[[0, 2]])))


def test_attention_backward_by_hand():
    """One-hot keys: dQ = dS / √3, and dK is dS times the query, ln 1, ln 2, ln 5 after the scale."""
    q = np.log([[1.0, 2.0, 5.0]])
    dQ, dK, dV = attention_backward(DO, 3**0.5 * q, np.eye(3), V)
    np.testing.assert_allclose(dQ * 3**0.5, [[-1.5, -1, 2.5]])
    np.testing.assert_allclose(dK, np.outer([-1.5, -1, 2.5], q), atol=1e-15)
    np.testing.assert_allclose(dV * 8, [[1, -1], [2, -2], [5, -5]])


def test_attention_backward_agrees_with_torch(heads):
    dO, *arrays = heads
    leaves = [torch.from_numpy(M)[None].requires_grad_() for M in arrays]
    O = F.scaled_dot_product_attention(*leaves)
    expected = torch.autograd.grad(O, leaves, torch.from_numpy(dO)[None])
    for ours, theirs in zip(attention_backward(*heads), expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0], rtol=1e-12, atol=1e-13)


def test_attention_backward_is_the_covariance(heads):
    """dQ_i = dO_i ∂o_i/∂q_i: the two formulas of the chapter, one from the other."""
    dO, Q, K, V = heads
    expected = np.einsum("iv,ivk->ik", dO, query_derivative(Q, K, V))
    np.testing.assert_allclose(attention_backward(*heads)[0], expected, atol=1e-13)


def test_attention_backward_ignores_a_shift_of_the_values(heads, rng):
    """A vector added to all values shifts each row of dA, and δ with it."""
    dO, Q, K, V = heads
    for ours, shifted in zip(
        attention_backward(*heads), attention_backward(dO, Q, K, V + rng.normal(size=11)), strict=True
    ):
        np.testing.assert_allclose(ours, shifted, atol=1e-12)


def test_attention_backward_delta(heads):
    """Claim: the row sums of A ∘ dA are those of dO ∘ O."""
    dO, Q, K, V = heads
    a = softmax(scaled_scores(Q, K))
    over_keys, over_features = (a * (dO @ V.T)).sum(-1), (dO * weighted_sum(a, V)).sum(-1)
    np.testing.assert_allclose(over_keys, over_features, atol=1e-13)


def test_attention_backward_recompute(heads):
    """Claim: O and L are enough; no weight has to be kept from the forward pass."""
    dO, Q, K, V = heads
    O, L = numpy_direct.attention(Q, K, V)
    recomputed = numpy_direct.attention_backward(dO, Q, K, V, O, L)
    for ours, theirs in zip(attention_backward(*heads), recomputed, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_self_attention_backward_by_hand():
    """One token attends to itself alone: Y = X W_V W_O, and queries and keys get nothing."""
    X, W_V, W_O = np.array([[2.0]]), np.array([[3.0]]), np.array([[5.0]])
    dX, dW_Q, dW_K, dW_V, dW_O = self_attention_backward(np.ones((1, 1)), X, W_V, W_V, W_V, W_O)
    assert [dX.item(), dW_Q.item(), dW_K.item(), dW_V.item(), dW_O.item()] == [15, 0, 0, 10, 6]


def test_self_attention_backward_shared(layer, rng):
    """Claim: what is used in several places gets the sum of the gradients of all of them."""
    dY, X, *W = layer
    dX = self_attention_backward(*layer)[0]
    at_heads = attention_backward(dY @ W[3].T, *projections(X, *W[:3]))
    roads = [dM @ M.T for dM, M in zip(at_heads, W, strict=False)]
    np.testing.assert_allclose(sum(roads), dX, atol=1e-13)
    assert min(abs(road).max() for road in roads) > 1e-2  # none of the three is idle

    U = rng.normal(size=X.shape)
    measured = slope(lambda X: ((X + self_attention(X, *W)) * dY).sum(), X, U)
    np.testing.assert_allclose(measured, ((dX + dY) * U).sum(), rtol=1e-7)

    X, dY = rng.normal(size=(2, 3, 5, 13))
    for place, dW in enumerate(self_attention_backward(dY, X, *W)[1:]):
        assert dW.shape == (3, *PARAMETERS[place])

        def loss(M, place=place):
            return (self_attention(X, *W[:place], M, *W[place + 1 :]) * dY).sum()

        U = rng.normal(size=PARAMETERS[place])
        np.testing.assert_allclose((dW.sum(0) * U).sum(), slope(loss, W[place], U), rtol=1e-6)


def test_self_attention_backward_matches_torch(layer):
    """Claim: the five gradients are those of autograd on the same formula."""
    dY, *leaves = (torch.from_numpy(M).requires_grad_() for M in layer)
    X, W_Q, W_K, W_V, W_O = leaves
    Y = F.scaled_dot_product_attention((X @ W_Q)[None], (X @ W_K)[None], (X @ W_V)[None])[0] @ W_O
    expected = torch.autograd.grad(Y, leaves, dY)
    for ours, theirs in zip(self_attention_backward(*layer), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_self_attention_backward_training(layer, rng):
    """Claim: gradient descent with these gradients and with autograd's goes the same way, step by step."""
    X, wanted, rate = rng.normal(size=(3, 5, 13)), rng.normal(size=(3, 5, 13)), 0.03
    ours = layer[2:]
    theirs = [torch.from_numpy(M.copy()).requires_grad_() for M in ours]
    optimiser, losses = torch.optim.SGD(theirs, lr=rate), []  # a rate at which roundings do not grow
    for _ in range(50):
        excess = self_attention(X, *ours) - wanted
        _, *dW = self_attention_backward(excess / 15, X, *ours)
        ours = [M - rate * dM.sum(0) for M, dM in zip(ours, dW, strict=True)]

        x, (W_Q, W_K, W_V, W_O) = torch.from_numpy(X), theirs
        Y = F.scaled_dot_product_attention(x @ W_Q, x @ W_K, x @ W_V) @ W_O
        loss = (Y - torch.from_numpy(wanted)).square().sum() / 30
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b.detach(), atol=1e-10)
    assert losses[-1] < 0.9 * losses[0]  # it went somewhere


def test_group_sum_by_hand():
    """Four heads, two groups: neighbours are added, heads 0 + 1 and 2 + 3."""
    dK = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(4, 1, 1)
    np.testing.assert_array_equal(group_sum(dK, 2).ravel(), [11, 1100])
    np.testing.assert_array_equal(group_sum(dK, 4), dK)


def test_group_sum_shared_keys(rng):
    """Claim: copied keys and values, summed gradients, as autograd finds them for grouped heads."""
    Q, dO = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(2, 6, 5, 11))
    K, V = rng.normal(size=(2, 3, 7, 3)), rng.normal(size=(2, 3, 7, 11))
    copies = [np.repeat(M, 2, axis=-3) for M in (K, V)]
    dQ, dK, dV = attention_backward(dO, Q, *copies)
    leaves = [torch.from_numpy(M).requires_grad_() for M in (Q, K, V)]
    O = F.scaled_dot_product_attention(*leaves, enable_gqa=True)
    expected = torch.autograd.grad(O, leaves, torch.from_numpy(dO))
    for ours, theirs in zip((dQ, group_sum(dK, 3), group_sum(dV, 3)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("g", [4, 5, 12])
def test_group_sum_refuses_what_does_not_divide(g):
    wanted = "a positive integer that divides the heads of dK, 6"
    with pytest.raises(ValueError, match=f"^g is {g}; wanted {wanted}$"):
        group_sum(np.ones((6, 7, 3)), g)


def test_group_sum_of_one_group_is_the_sum_of_all_heads():
    """Multi-query attention: one key for everybody."""
    dK = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(4, 1, 1)
    np.testing.assert_array_equal(group_sum(dK, 1), [[[1111]]])


def test_central_difference_by_hand():
    """x³ at 2 with step 1: (27 − 1) / 2 = 13, where the derivative is 12 and the error ε² f'''/6 = 1."""
    assert central_difference(lambda X: (X**3).sum(), np.array([2.0]), 1.0) == [13]


def test_central_difference_of_a_quadratic_is_exact(rng):
    X, C = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    G = central_difference(lambda X: (C * X * X).sum(), X, 0.5)
    np.testing.assert_allclose(G, 2 * C * X, atol=1e-12)


def test_central_difference_divides_by_the_step_as_rounded():
    """In float32, 1 + 1e-6 and 1 − 1e-6 are not 2e-6 apart, by 2 %; the slope of x is 1 all the same."""
    assert central_difference(np.sum, np.ones(1, dtype=np.float32), 1e-6) == [1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_central_difference_best_step(dtype):
    """Claim: the best step is near eps^(1/3), with an error near eps^(2/3); ε² beyond it, 1/ε below."""
    X, eps = np.linspace(0.3, 0.9, 31, dtype=dtype), np.finfo(dtype).eps

    def error(step):
        G = central_difference(lambda X: np.exp(X).sum(dtype=dtype), X, step)
        return np.abs(G - np.exp(X)).mean()

    best = eps ** (1 / 3)
    assert error(best) < 100 * best**2  # the loss is a sum of 31 terms near 2
    assert error(best / 50) > 5 * error(best)
    assert error(best * 50) > 50 * error(best)
    np.testing.assert_allclose(error(0.2) / error(0.1), 4, rtol=0.05)


@pytest.mark.parametrize("step", [0.0, -1e-5, np.nan, np.inf, 1e-17])
def test_central_difference_refuses_a_step_that_is_none(step):
    with pytest.raises(ValueError, match=r"^step is .*; wanted a positive number"):
        central_difference(np.sum, np.ones(3), step)


def test_central_difference_refuses_a_step_that_one_entry_swallows():
    """Beside 1 a step of 1e-10 is seen, beside 10⁹ it is not."""
    assert central_difference(lambda X: X[0], np.array([1.0, 1.0]), 1e-10).tolist() == [1, 0]
    message = "^step is 1e-10; wanted a positive number, and not too small beside X$"
    with pytest.raises(ValueError, match=message):
        central_difference(np.sum, np.array([1.0, 1e9]), 1e-10)


@pytest.mark.parametrize("x", [1.7e308, -1.7e308])
def test_central_difference_refuses_a_step_out_of_the_range(x):
    with pytest.raises(ValueError, match=r"^step is 5e\+307; wanted one that stays in the range of"):
        central_difference(np.sum, np.array([x]), 5e307)
