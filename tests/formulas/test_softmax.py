"""Chapter 05: the exponential, the shift, the log-sum-exp and the Jacobian."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from selfattention.formulas import entropy, log_sum_exp, softmax, softmax_jacobian

EXAMPLE = np.log([1.0, 2.0, 5.0])  # the chapter's: weights 1/8, 2/8, 5/8
score_rows = arrays(np.float64, array_shapes(max_dims=3, max_side=7), elements=st.floats(-1e3, 1e3))


def test_softmax_by_hand():
    """e^{ln 1}, e^{ln 2}, e^{ln 5} out of 8."""
    np.testing.assert_allclose(softmax(EXAMPLE), [1 / 8, 2 / 8, 5 / 8])


@given(score_rows)
def test_softmax_rows_sum_to_one(S):
    A = softmax(S)
    assert (A >= 0).all()
    np.testing.assert_allclose(A.sum(-1), 1)


def test_softmax_goes_along_the_keys(rng):
    S = rng.normal(size=(2, 3, 5))
    for i in range(3):
        np.testing.assert_array_equal(softmax(S)[:, i], softmax(S[:, i]))


@given(score_rows, st.floats(-1e3, 1e3))
def test_softmax_shift(S, t):
    """Claim: adding one number to every score of a row changes nothing."""
    np.testing.assert_allclose(softmax(S + t), softmax(S), atol=1e-12)


def test_softmax_maximum_entropy(rng):
    """Claim: a step that keeps the sum and the mean score lowers the entropy, in any direction."""
    s = rng.normal(size=5)
    a = softmax(s)
    kept, _ = np.linalg.qr(np.stack([np.ones(5), s], axis=1))
    for direction in rng.normal(size=(50, 5)):
        step = direction - kept @ (kept.T @ direction)
        step *= 0.5 * a.min() / np.abs(step).max()
        np.testing.assert_allclose([(a + step).sum(), (a + step) @ s], [1, a @ s])
        assert entropy(a + step) < entropy(a)


def test_softmax_temperature():
    """Claim: a cold softmax picks the best key, a hot one weighs all alike."""
    np.testing.assert_allclose(softmax(EXAMPLE / 1e-3), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(softmax(EXAMPLE / 1e9), [1 / 3] * 3, atol=1e-8)


def test_softmax_of_huge_scores_is_finite():
    np.testing.assert_allclose(softmax(np.array([1e38, 0, -1e38], dtype=np.float32)), [1, 0, 0])


def test_softmax_of_an_empty_row_is_zero():
    S = np.array([[-np.inf, -np.inf], [-np.inf, 0.0]])
    np.testing.assert_array_equal(softmax(S), [[0, 0], [0, 1]])


def test_softmax_agrees_with_torch(rng):
    S = rng.normal(scale=10, size=(2, 3, 5))
    np.testing.assert_allclose(softmax(S), torch.softmax(torch.from_numpy(S), -1), rtol=1e-12)


def test_log_sum_exp_by_hand():
    """ln(1 + 2 + 5)."""
    np.testing.assert_allclose(log_sum_exp(EXAMPLE), np.log(8))


@given(score_rows)
def test_log_sum_exp_normalises(S):
    np.testing.assert_allclose(np.exp(S - log_sum_exp(S)[..., None]), softmax(S), rtol=1e-9)


def test_log_sum_exp_gradient(rng):
    """Claim: max ≤ L ≤ max + ln m, and the gradient of L is the softmax."""
    s = rng.normal(scale=3, size=7)
    assert s.max() <= log_sum_exp(s) <= s.max() + np.log(7)
    h = 1e-6
    slopes = [(log_sum_exp(s + h * e) - log_sum_exp(s - h * e)) / (2 * h) for e in np.eye(7)]
    np.testing.assert_allclose(slopes, softmax(s), atol=1e-8)


def test_log_sum_exp_of_an_empty_row_is_minus_infinity():
    np.testing.assert_array_equal(log_sum_exp(np.full((2, 3), -np.inf)), [-np.inf] * 2)


def test_softmax_jacobian_by_hand():
    """(1, 2, 5) / 8: a_j (δ − a_l), in sixty-fourths."""
    J = softmax_jacobian(np.array([1, 2, 5]) / 8)
    np.testing.assert_allclose(J * 64, [[7, -2, -5], [-2, 12, -10], [-5, -10, 15]])


def test_softmax_jacobian_agrees_with_autograd(rng):
    s = rng.normal(size=5)
    expected = torch.autograd.functional.jacobian(lambda s: torch.softmax(s, -1), torch.from_numpy(s))
    np.testing.assert_allclose(softmax_jacobian(softmax(s)), expected, atol=1e-15)


@given(score_rows)
def test_softmax_jacobian_norm(S):
    """Claim: ‖J‖₂ ≤ ½, attained by two keys of weight one half."""
    norms = np.linalg.norm(softmax_jacobian(softmax(S)), ord=2, axis=(-2, -1))
    assert (norms <= 0.5 + 1e-12).all()
    np.testing.assert_allclose(np.linalg.norm(softmax_jacobian(np.array([0.5, 0.5])), ord=2), 0.5)
