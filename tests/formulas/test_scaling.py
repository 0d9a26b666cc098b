"""Chapter 04: the variance of a score, the division by its root, and what the softmax makes of it.

Several claims are about random numbers. Their seeds are fixed, and their tolerance is five standard
errors of the mean, measured on the same draws: a true claim would fail once in a million seeds.
`assert_mean` also asks that this tolerance be small enough to tell the claim from its rivals.
"""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from selfattention.formulas import (
    cosine_scores,
    dot_scores,
    effective_keys,
    entropy,
    scaled_scores,
    score_variance,
    softcap,
    softmax,
    softmax_jacobian,
)

score_rows = arrays(np.float64, array_shapes(max_dims=3, max_side=7), elements=st.floats(-30, 30))


def assert_mean(samples, expected, *, sharpness):
    """The mean of independent samples is `expected`, and known to within a share `sharpness` of it."""
    five_errors = 5 * np.std(samples, ddof=1) / len(samples) ** 0.5
    assert five_errors < sharpness * expected
    np.testing.assert_allclose(np.mean(samples), expected, rtol=0, atol=five_errors)


def strangers(rng, d_k, *, n=1, m, batch):
    """Queries and keys with independent standard normal entries, `batch` pairs of them."""
    return rng.normal(size=(batch, n, d_k)), rng.normal(size=(batch, m, d_k))


def test_score_variance_by_hand():
    """Three coins against three coins: 8 pairs score 3, 24 score 1, 24 score −1, 8 score −3."""
    assert score_variance(3) == (8 * 9 + 24 * 1 + 24 * 1 + 8 * 9) / 64


def test_score_variance_counts_both_standard_deviations():
    """Entries twice as large, in query and key: a variance 2⁴ times as large."""
    assert score_variance(5, 2.0**2, 2.0**2) == 2**4 * score_variance(5)
    assert score_variance(5, 2.0**2) == 2**2 * score_variance(5)


ENTRIES = {  # all equally likely, with mean zero
    "coin": [-1.0, 1.0],
    "lopsided": [-1.0, -1.0, 2.0],
    "mostly nothing": [-3.0, 0.0, 0.0, 3.0],
}


@pytest.mark.parametrize("d_k", [1, 2, 3])
@pytest.mark.parametrize("of_q", ENTRIES)
@pytest.mark.parametrize("of_k", ENTRIES)
def test_score_variance_any_distribution(of_q, of_k, d_k):
    """Claim: Var(q·k) = d_k σ_q² σ_k² whatever the distribution; every pair there is, none drawn."""
    Q, K = (np.array(list(product(ENTRIES[of], repeat=d_k))) for of in (of_q, of_k))
    expected = score_variance(d_k, np.var(ENTRIES[of_q]), np.var(ENTRIES[of_k]))
    np.testing.assert_allclose(dot_scores(Q, K).var(), expected)


def test_score_variance_needs_a_mean_of_zero():
    """Entries 0 and 2 have variance 1, and their scores a variance of 3 d_k, not d_k."""
    Q = np.array(list(product([0.0, 2.0], repeat=3)))
    np.testing.assert_allclose(dot_scores(Q, Q).var(), 3 * score_variance(3))


def test_scaled_scores_by_hand():
    """(1, 2, 3, 4) · (1, 1, 1, 1) = 10, over √4."""
    np.testing.assert_allclose(scaled_scores(np.array([[1.0, 2, 3, 4]]), np.ones((1, 4))), [[5]])


def test_scaled_scores_agree_with_torch(rng):
    """With the identity for V, torch's attention returns its weights."""
    Q, K = rng.normal(size=(2, 3, 7)), rng.normal(size=(2, 5, 7))
    V = np.broadcast_to(np.eye(5), (2, 5, 5)).copy()
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, (Q, K, V)))
    np.testing.assert_allclose(softmax(scaled_scores(Q, K)), expected, rtol=1e-12)


@pytest.mark.parametrize("d_k", [1, 2, 3, 5])
def test_scaled_scores_variance(d_k):
    """Claim: between entries of unit variance, scaled scores have variance 1 at every width."""
    coins = np.array(list(product([-1.0, 1.0], repeat=d_k)))
    np.testing.assert_allclose(scaled_scores(coins, coins).var(), 1)


def test_entropy_by_hand():
    """(½, ¼, ¼): half of ln 2 and twice a quarter of ln 4."""
    np.testing.assert_allclose(entropy(np.array([1 / 2, 1 / 4, 1 / 4])), 1.5 * np.log(2))


def test_entropy_of_one_key_is_zero_without_a_warning():
    np.testing.assert_array_equal(entropy(np.eye(3)), [0, 0, 0])


def test_entropy_agrees_with_torch(rng):
    A = softmax(rng.normal(scale=3, size=(2, 3, 5)))
    expected = torch.distributions.Categorical(probs=torch.from_numpy(A)).entropy()
    np.testing.assert_allclose(entropy(A), expected, rtol=1e-12)


def test_effective_keys_by_hand():
    """One key; two halves; a half and two quarters: 1, 2 and 2√2 keys."""
    A = np.array([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 2, 1 / 4, 1 / 4]])
    np.testing.assert_allclose(effective_keys(A), [1, 2, 8**0.5])


def test_effective_keys_in_half_precision(rng):
    """Rounded once, at the end, and not the entropy as well, whose exponential would be off by more."""
    A = softmax(rng.normal(size=(50, 300))).astype(np.float16)
    wide = effective_keys(A.astype(np.float32))
    np.testing.assert_array_equal(effective_keys(A), wide.astype(np.float16))


@given(score_rows)
def test_effective_keys_bounds(S):
    """Claim: between 1 and m keys …"""
    N = effective_keys(softmax(S))
    assert N.min() >= 1 - 1e-12
    assert N.max() <= S.shape[-1] * (1 + 1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_effective_keys_bounds_are_reached(k):
    """… and exactly k where k keys share a row equally."""
    np.testing.assert_allclose(effective_keys(np.repeat([1 / k, 0], [k, 7 - k])), k)


def test_effective_keys_gaussian(rng):
    """Claim: m e^{−τ²/2} for many keys of variance τ².

    The formula is a limit: it is off by a share that falls as 1/m, about 0.1 % at 4096 keys.
    """
    for tau in 1 / 3, 1 / 2, 1.0:
        N = effective_keys(softmax(tau * rng.normal(size=(300, 4096))))
        np.testing.assert_allclose(N.mean(), 4096 * np.exp(-(tau**2) / 2), rtol=5e-3)
        assert abs(N.mean() / (4096 * np.exp(-(tau**2))) - 1) > 0.05  # e^{−τ²} would be seen


def test_scaling_width(rng):
    """Claim: scaled, concentration is the same from a width of 4 on; unscaled, it goes to one key."""
    keys, largest = [], []
    for d_k in 4, 16, 64, 256:
        Q, K = strangers(rng, d_k, m=64, batch=1000)
        unscaled, scaled = softmax(dot_scores(Q, K)), softmax(scaled_scores(Q, K))
        assert_mean(effective_keys(scaled), 42.6 if d_k == 4 else 40.3, sharpness=0.06)
        assert_mean(scaled.max(-1), 0.107, sharpness=0.12)
        keys.append(effective_keys(unscaled).mean())
        largest.append(unscaled.max(-1).mean())
    assert 22 > keys[0] > keys[1] > keys[2] > keys[3] > 1
    assert 0.25 < largest[0] < largest[1] < largest[2] < largest[3] < 1


@pytest.mark.parametrize(("d_k", "keys"), [(1, 46.7), (2, 44.2)])
def test_scaling_width_narrower_than_four(rng, d_k, keys):
    """… Narrower, the products of normal numbers are too often near zero: more keys count."""
    Q, K = strangers(rng, d_k, m=64, batch=4000)
    assert_mean(effective_keys(softmax(scaled_scores(Q, K)))[:, 0], keys, sharpness=0.04)


def fresh_projections(kind, d):
    """W_Q and W_K, (in, out), as a new torch layer of width d has them."""
    if kind == "Linear":
        W_Q, W_K = (torch.nn.Linear(d, d).weight for _ in "QK")
    else:
        W_Q, W_K, _ = torch.nn.MultiheadAttention(d, num_heads=1).in_proj_weight.chunk(3)
    return (W.detach().double().numpy().T for W in (W_Q, W_K))


@pytest.mark.parametrize("d", [32, 128])
@pytest.mark.parametrize(("kind", "of_entry"), [("Linear", 1 / 3), ("MultiheadAttention", 1 / 2)])
def test_scaling_initialisation(rng, kind, of_entry, d):
    """Claim: scaled scores start with variance 1/9 (Linear) or 1/4 (MultiheadAttention).

    One sample per layer: its mean squared score between two independent tokens (the mean is 0).
    """
    expected = score_variance(d, of_entry, of_entry) / d
    assert expected == pytest.approx({"Linear": 1 / 9, "MultiheadAttention": 1 / 4}[kind])
    samples = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(200):
            W_Q, W_K = fresh_projections(kind, d)
            X, memory = rng.normal(size=(2, 50, d))
            samples.append((scaled_scores(X @ W_Q, memory @ W_K) ** 2).mean())
    assert_mean(samples, expected, sharpness=0.1)


def jacobian_norms(rng, d_k, m):
    """‖J‖ of 200 rows of strangers, without and with the division."""
    Q, K = strangers(rng, d_k, m=m, batch=200)
    scores = dot_scores(Q, K), scaled_scores(Q, K)
    return (np.array([np.linalg.norm(softmax_jacobian(a)) for a in softmax(S)[:, 0]]) for S in scores)


def test_scaling_jacobian(rng):
    """Claim: with 512 keys and d_k = 64, ‖J‖ is on average more than 3 times smaller when scaled …"""
    unscaled, scaled = jacobian_norms(rng, 64, m=512)
    assert_mean(unscaled, 0.24, sharpness=0.3)
    assert_mean(scaled, 0.071, sharpness=0.05)
    assert unscaled.mean() > 3 * scaled.mean()


def test_scaling_jacobian_turns_round_with_the_width(rng):
    """… with 64 keys smaller at widths from 4 to 64, larger at 256 and 1024, the median by far."""
    for d_k in 4, 16, 64, 256, 1024:
        unscaled, scaled = jacobian_norms(rng, d_k, m=64)
        assert (scaled.mean() < unscaled.mean()) == (d_k <= 64), d_k
        assert (np.median(scaled) > 3 * np.median(unscaled)) == (d_k > 64), d_k


@given(score_rows)
def test_scaling_dead_rows(S):
    """Claim: ‖J‖_F ≤ 2 (1 − max a), so that a row with max a > 0.99 hardly answers …"""
    A = softmax(S)
    norms = np.linalg.norm(softmax_jacobian(A), axis=(-2, -1))
    assert (norms <= 2 * (1 - A.max(-1)) + 1e-14).all()  # 1 − max a rounds to within 1e-16


def test_scaling_dead_rows_come_with_width(rng):
    """… and their share grows with d_k unscaled, while scaled there is none."""
    shares = []
    for d_k in 16, 64, 256, 1024:
        Q, K = strangers(rng, d_k, m=64, batch=500)
        shares.append((softmax(dot_scores(Q, K)).max(-1) > 0.99).mean())
        assert softmax(scaled_scores(Q, K)).max() < 0.99
    assert (np.diff(shares) > 0.1).all()


@given(score_rows)
def test_scaling_dead_keys(S):
    """Claim: the weight of a key answers to the scores by at most √2 times itself."""
    A = softmax(S)
    assert (np.linalg.norm(softmax_jacobian(A), axis=-1) <= 2**0.5 * A * (1 + 1e-12)).all()


def test_scaling_dead_keys_pull_on_the_query(rng):
    """∂a_t/∂q = a_t (k_t − Σ_j a_j k_j) / √d_k, against autograd."""
    q, K = torch.from_numpy(rng.normal(size=7)), rng.normal(size=(5, 7))

    def weights(q):
        return torch.softmax(torch.from_numpy(K) @ q / 7**0.5, -1)

    a = weights(q).numpy()
    expected = torch.autograd.functional.jacobian(weights, q)
    np.testing.assert_allclose(a[:, None] * (K - a @ K) / 7**0.5, expected, atol=1e-15)


def test_scaling_relatives(rng):
    """Claim: the scaled score of a query with itself has mean √d_k, with a stranger 0."""
    for d_k in 16, 64, 256:
        q = rng.normal(size=(1000, 1, d_k))
        assert_mean(scaled_scores(q, q).ravel(), d_k**0.5, sharpness=0.1)
        strange = scaled_scores(q, rng.normal(size=q.shape)).ravel()
        assert abs(strange.mean()) < 5 / 1000**0.5  # five standard errors of a unit variance


def test_scaling_qk_norm(rng):
    """Claim: at length √d_k scores are √d_k cos θ, at most √d_k, and lengths before do not matter."""
    rms_norm = torch.nn.functional.rms_norm
    Q, K = rng.normal(size=(3, 7)), rng.normal(size=(5, 7))
    stretched = Q * np.array([[0.1], [1.0], [100.0]])
    normed = [rms_norm(torch.from_numpy(M), (7,), eps=0.0).numpy() for M in (Q, stretched, K)]
    S, S_stretched = (scaled_scores(M, normed[2]) for M in normed[:2])
    np.testing.assert_allclose(S, 7**0.5 * cosine_scores(Q, K), atol=1e-13)
    np.testing.assert_allclose(S_stretched, S, atol=1e-13)
    alike = scaled_scores(normed[2], normed[2])
    np.testing.assert_allclose(np.diag(alike), 7**0.5)  # the bound is reached
    assert np.abs(np.vstack([S, alike])).max() <= 7**0.5 + 1e-13


def test_softcap_by_hand():
    """tanh(ln 3 / 2) = 1/2, of both signs; a hidden key has the lowest score there is, and it is finite."""
    S = np.array([[5 * np.log(3), 0, -5 * np.log(3), -np.inf]])
    np.testing.assert_allclose(softcap(S, 10.0), [[5, 0, -5, -10]], atol=1e-15)


def test_softcap_refuses_a_cap_that_is_none():
    for C in 0, -50.0, np.inf, np.nan:
        with pytest.raises(ValueError, match=r"^C is .*; wanted a positive number$"):
            softcap(np.ones((2, 3)), C)


@given(arrays(np.float64, 7, elements=st.floats(-1e3, 1e3), unique=True), st.floats(0.5, 50))
def test_scaling_softcap(s, C):
    """Claim: C tanh(s/C) rises, stays within ±C, has slope 1 − tanh²; weights within e^{2C}."""
    s = torch.from_numpy(np.sort(s)).requires_grad_()
    (slopes,) = torch.autograd.grad((C * torch.tanh(s / C)).sum(), s)
    capped = softcap(s.detach().numpy()[None], C)[0]
    assert (np.diff(capped) >= 0).all()  # equal only where tanh has rounded to one
    assert np.abs(capped).max() <= C
    np.testing.assert_allclose(slopes, 1 - np.tanh(s.detach().numpy() / C) ** 2, atol=1e-12)
    A = softmax(capped)
    assert A.max() <= A.min() * np.exp(2 * C) * (1 + 1e-9)
