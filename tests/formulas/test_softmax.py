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
    np.testing.assert_allclose(softmax(EXAMPLE), [1 / 8, 2 / 8, 5 / 8], rtol=1e-15)


@given(score_rows)
def test_softmax_rows_sum_to_one(S):
    A = softmax(S)
    assert (A >= 0).all()
    np.testing.assert_allclose(A.sum(-1), 1)


def test_softmax_one_query(rng):
    """Claim: row i of A depends on row i of S alone; no other query changes it."""
    S, company = rng.normal(size=(2, 2, 3, 5))
    for i in range(3):
        np.testing.assert_array_equal(softmax(S)[:, i], softmax(S[:, i]))
        others_changed = np.where(np.arange(3)[:, None] == i, S, company)
        np.testing.assert_array_equal(softmax(S)[:, i], softmax(others_changed)[:, i])


@given(score_rows, st.floats(-1e3, 1e3))
def test_softmax_shift(S, t):
    """Claim: adding one number to every score of a row changes nothing."""
    np.testing.assert_allclose(softmax(S + t), softmax(S), atol=1e-12)


def test_softmax_maximum_entropy(rng):
    """Claim: another weighting b with the mean score of a falls short by Σ b ln(b/a) > 0.

    From a in 50 directions that keep sum and mean score, halfway to the edge and all the way to it.
    """
    s = rng.normal(size=5)
    a = softmax(s)
    kept, _ = np.linalg.qr(np.stack([np.ones(5), s], axis=1))
    for direction in rng.normal(size=(50, 5)):
        step = direction - kept @ (kept.T @ direction)
        step *= (a[step < 0] / -step[step < 0]).min()  # to where the first weight is zero
        for b in a + step / 2, np.maximum(a + step, 0):  # 0: the edge, without its rounding
            np.testing.assert_allclose([b.sum(), b @ s], [1, a @ s], rtol=1e-12)
            short = (b * np.log(np.where(b > 0, b, 1) / a)).sum()
            np.testing.assert_allclose(entropy(a) - entropy(b), short, atol=1e-14)
            assert short > 1e-6


def test_softmax_temperature():
    """Claim: a cold softmax shares the unit among the best keys, a hot one among all finite ones."""
    scores = np.array([EXAMPLE, [2.0, 7.0, 7.0], [3.0, -np.inf, 1.0]])
    cold, hot = softmax(scores / 1e-3), softmax(scores / 1e9)
    np.testing.assert_allclose(cold, [[0, 0, 1], [0, 1 / 2, 1 / 2], [1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(hot, [[1 / 3] * 3, [1 / 3] * 3, [1 / 2, 0, 1 / 2]], atol=1e-8)


def test_softmax_temperature_entropy(rng):
    """Claim: dμ/dT = −Var/T² and dH/dT = Var/T³: the mean score falls, the entropy rises.

    The central difference errs by a share of about h² = 1e-8 and by eps/h = 1e-12 from rounding.
    """
    s, h = rng.normal(size=7), 1e-4
    T = np.geomspace(0.2, 50, 31)
    lower, a, upper = (softmax(s / (T + t)[:, None]) for t in (-h, 0, h))
    variances = (a * (s - (a @ s)[:, None]) ** 2).sum(1)
    np.testing.assert_allclose((upper - lower) @ s / (2 * h), -variances / T**2, rtol=1e-5)
    np.testing.assert_allclose((entropy(upper) - entropy(lower)) / (2 * h), variances / T**3, rtol=1e-5)
    assert (np.diff(a @ s) < 0).all()
    assert (np.diff(entropy(a)) > 0).all()


def test_softmax_of_huge_scores_is_finite():
    np.testing.assert_allclose(softmax(np.array([1e38, 0, -1e38], dtype=np.float32)), [1, 0, 0])


def test_softmax_of_an_empty_row_is_zero():
    S = np.array([[-np.inf, -np.inf], [-np.inf, 0.0]])
    np.testing.assert_array_equal(softmax(S), [[0, 0], [0, 1]])


def test_softmax_agrees_with_torch(rng):
    S = rng.normal(scale=10, size=(2, 3, 5))
    np.testing.assert_allclose(softmax(S), torch.softmax(torch.from_numpy(S), -1), rtol=1e-12)


def test_softmax_of_one_key_and_of_none():
    np.testing.assert_array_equal(softmax(np.array([[-7.0], [1e300]])), [[1], [1]])
    assert softmax(np.zeros((3, 0))).shape == (3, 0)


def test_softmax_of_the_largest_and_the_smallest_number():
    """Their difference is beyond the range; e^−∞ is 0 all the same, and nobody is warned."""
    for dtype in np.float16, np.float32, np.float64:
        largest = np.finfo(dtype).max
        np.testing.assert_array_equal(softmax(np.array([largest, -largest], dtype)), [1, 0])
        assert log_sum_exp(np.array([largest, -largest], dtype)) == largest


def test_log_sum_exp_by_hand():
    """ln(1 + 2 + 5)."""
    np.testing.assert_allclose(log_sum_exp(EXAMPLE), np.log(8))


@given(score_rows)
def test_log_sum_exp_normalises(S):
    """exp(S − L) is A; below 1e-300 no format of ours keeps a relative precision."""
    np.testing.assert_allclose(np.exp(S - log_sum_exp(S)[..., None]), softmax(S), rtol=1e-9, atol=1e-300)


def test_log_sum_exp_gradient(rng):
    """Claim: max ≤ L ≤ max + ln m, and the gradient of L is the softmax."""
    s = rng.normal(scale=3, size=7)
    assert s.max() <= log_sum_exp(s) <= s.max() + np.log(7)
    h = 1e-6
    slopes = [(log_sum_exp(s + h * e) - log_sum_exp(s - h * e)) / (2 * h) for e in np.eye(7)]
    np.testing.assert_allclose(slopes, softmax(s), atol=1e-8)


def test_log_sum_exp_is_the_largest_mean_score_plus_entropy(rng):
    """L = Σ a_j s_j + H(a), and no other weighting reaches it."""
    s = rng.normal(scale=3, size=7)
    a, others = softmax(s), rng.dirichlet(np.ones(7), size=200)
    np.testing.assert_allclose(a @ s + entropy(a), log_sum_exp(s), rtol=1e-14)
    assert (others @ s + entropy(others) < log_sum_exp(s)).all()


def test_log_sum_exp_of_one_key_is_its_score():
    np.testing.assert_array_equal(log_sum_exp(np.array([[-7.0], [1e300]])), [-7, 1e300])


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
    """Claim: no eigenvalue below 0 or above ½; so weights move at most half as far as scores.

    1e-14 is for the rounding of the eigenvalues, a few eps.
    """
    eigenvalues = np.linalg.eigvalsh(softmax_jacobian(softmax(S)))
    assert eigenvalues.min() > -1e-14
    assert eigenvalues.max() < 0.5 + 1e-14
    moved = np.linalg.norm(softmax(S) - softmax(S[..., ::-1] / 2), axis=-1)
    assert (moved <= np.linalg.norm(S - S[..., ::-1] / 2, axis=-1) / 2 + 1e-14).all()


def test_softmax_jacobian_norm_is_one_half_for_two_equal_keys_only():
    """½ for two halves, in any company of zeros; less for halves that are shared or unequal."""
    rows = np.array([[1, 1, 0, 0], [0, 2, 0, 0], [1, 0.99, 0.01, 0], [0.5, 0.5, 0.5, 0.5]]) / 2
    norms = np.linalg.norm(softmax_jacobian(rows), ord=2, axis=(-2, -1))
    np.testing.assert_allclose(norms[[0, 1, 3]], [0.5, 0, 0.25], atol=1e-15)
    assert 0.49 < norms[2] < 0.4999


def test_softmax_jacobian_is_a_covariance(rng):
    """xᵀ J x is the variance of x under the weights."""
    a, x = softmax(rng.normal(size=5)), rng.normal(size=5)
    np.testing.assert_allclose(x @ softmax_jacobian(a) @ x, a @ (x - a @ x) ** 2)
