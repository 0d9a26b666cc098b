"""Chapter 03: five measures of likeness, kernel regression, ranks and costs."""

import inspect
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention.formulas import (
    additive_scores,
    bilinear_scores,
    cosine_scores,
    dot_scores,
    gaussian_scores,
    leave_one_out,
    nadaraya_watson,
    softmax,
)

# The chapter's example: a query, and as keys its twin, the twin doubled, and a stranger.
QUERY = np.array([[2.0, 1.0]])
KEYS = np.array([[2.0, 1.0], [4.0, 2.0], [3.0, 0.0]])

# Keras' example: two queries, and as keys the same two in the other order.
KERAS_Q, KERAS_K = np.eye(2), np.eye(2)[::-1].copy()

small_integers = st.integers(-50, 50).map(float)  # sums of their squares are exact


@pytest.fixture
def tokens(rng):
    """Q and K: 2 batches of 3 queries and 5 keys, of width 7."""
    return rng.normal(size=(2, 3, 7)), rng.normal(size=(2, 5, 7))


def test_dot_scores_by_hand():
    np.testing.assert_array_equal(dot_scores(QUERY, KEYS), [[5, 10, 6]])


def test_dot_scores_rows_are_queries_where_shapes_cannot_tell():
    """As many keys as queries, and scores that are not symmetric."""
    Q, K = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    np.testing.assert_array_equal(dot_scores(Q, K), [[17, 23], [39, 53]])


def test_dot_scores_known_answer():
    """Keras, attention_test.py: 0.731 and 0.269, that is e / (1 + e)."""
    A = softmax(dot_scores(KERAS_Q, KERAS_K))
    high = np.e / (1 + np.e)
    np.testing.assert_allclose(A, [[1 - high, high], [high, 1 - high]])
    assert round(high, 4) == 0.7311


def test_dot_scores_hull(rng):
    """Claim: a weighted average of other keys is never first alone; it ties only with all it is made of."""
    K = rng.normal(size=(5, 3))
    inside = rng.dirichlet(np.ones(5), size=11) @ K
    Q = rng.normal(size=(1000, 3))
    assert (dot_scores(Q, inside) <= dot_scores(Q, K).max(1, keepdims=True) + 1e-12).all()
    made_of, another = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[0.0, 0.0]])
    level = dot_scores(np.array([[1.0, 0.0]]), np.vstack([made_of.mean(0), made_of, another]))
    np.testing.assert_array_equal(level, [[1, 1, 1, 0]])
    tilted = dot_scores(np.array([[1.0, 0.1]]), np.vstack([made_of.mean(0), made_of]))
    assert tilted.argmax() == 1  # the tie is gone, and not in the mean's favour


def test_dot_scores_rank(rng):
    """Claim: rank at most d_k for dot, cosine and bilinear scores, d_k + 2 for Gaussian ones."""
    Q, K, W = rng.normal(size=(11, 3)), rng.normal(size=(13, 3)), rng.normal(size=(3, 3))
    scores = dot_scores(Q, K), cosine_scores(Q, K), bilinear_scores(Q, K, W=W)
    assert [np.linalg.matrix_rank(S) for S in scores] == [3, 3, 3]
    assert np.linalg.matrix_rank(gaussian_scores(Q, K, tau=1.0)) == 5


def test_cosine_scores_by_hand():
    np.testing.assert_allclose(cosine_scores(QUERY, KEYS), [[1, 1, 2 / 5**0.5]])


def test_cosine_scores_agree_with_torch(tokens):
    Q, K = map(torch.from_numpy, tokens)
    expected = torch.nn.functional.cosine_similarity(Q[:, :, None], K[:, None], dim=-1)
    np.testing.assert_allclose(cosine_scores(*tokens), expected, rtol=0, atol=1e-14)


def test_cosine_scores_norms(tokens, rng):
    """Claim: stretching changes nothing, and for norms of one it is the dot product."""
    Q, K = tokens
    S = cosine_scores(Q, K)
    stretch_q, stretch_k = rng.uniform(0.01, 100, size=(3, 1)), rng.uniform(0.01, 100, size=(5, 1))
    np.testing.assert_allclose(cosine_scores(Q * stretch_q, K * stretch_k), S, atol=1e-14)
    unit_q, unit_k = (R / np.linalg.norm(R, axis=-1, keepdims=True) for R in tokens)
    np.testing.assert_allclose(dot_scores(unit_q, unit_k), S, atol=1e-14)


def test_cosine_scores_ceiling(rng):
    """Claim: no weight exceeds 1 / (1 + (m − 1) e^{−2/T}), and the best case attains it."""
    K = rng.normal(size=(17, 2))
    for T in 0.1, 1.0, 10.0:
        ceiling = 1 / (1 + 16 * np.exp(-2 / T))
        A = softmax(cosine_scores(rng.normal(size=(1000, 2)), K) / T)
        assert A.max() <= ceiling
        against = np.array([[1.0, 0.0]] + [[-1.0, 0.0]] * 16)
        best = softmax(cosine_scores(against[:1], against) / T)
        np.testing.assert_allclose(best[0, 0], ceiling)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_cosine_scores_of_tiny_and_huge_vectors(size):
    """In float32 the squares of these would be 0 or infinite."""
    S = cosine_scores((QUERY * size).astype(np.float32), KEYS.astype(np.float32))
    np.testing.assert_allclose(S, cosine_scores(QUERY, KEYS), rtol=1e-6)


@pytest.mark.parametrize("name", ["Q", "K"])
def test_cosine_scores_refuse_a_vector_of_zeros(name):
    tokens = {"Q": KEYS, "K": KEYS, name: KEYS * [[1], [0], [1]]}
    with pytest.raises(
        ValueError, match=rf"^{name} is all zeros at \(1,\); wanted vectors that have a direction$"
    ):
        cosine_scores(**tokens)
    batch = {x: np.stack([KEYS, vectors]) for x, vectors in tokens.items()}
    with pytest.raises(ValueError, match=rf"^{name} is all zeros at \(1, 1\); wanted"):
        cosine_scores(**batch)
    batch = {x: np.stack([vectors, vectors]) for x, vectors in tokens.items()}
    with pytest.raises(ValueError, match=rf"^{name} is all zeros at \(0, 1\); wanted"):  # the first of two
        cosine_scores(**batch)


def test_bilinear_scores_by_hand():
    """A quarter turn takes (2, 1) to (−1, 2)."""
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(bilinear_scores(QUERY, KEYS, W=turn), [[0, 0, -3]])


@pytest.mark.parametrize(("n", "m", "d_q", "d_k"), [(3, 5, 7, 11), (3, 3, 3, 3)])
def test_bilinear_scores_agree_with_torch(rng, n, m, d_q, d_k):
    """Squares too, where no shape tells W from its transpose or queries from keys."""
    Q, K, W = rng.normal(size=(n, d_q)), rng.normal(size=(m, d_k)), rng.normal(size=(d_q, d_k))
    pairs = [torch.from_numpy(R) for R in (Q.repeat(m, axis=0), np.tile(K, (n, 1)))]
    expected = torch.nn.functional.bilinear(*pairs, torch.from_numpy(W)[None]).reshape(n, m)
    np.testing.assert_allclose(bilinear_scores(Q, K, W=W), expected, atol=1e-12)


def test_bilinear_scores_projections(rng):
    """Claim: dot scores after two projections are bilinear scores with W = W_Q W_Kᵀ."""
    X, M = rng.normal(size=(3, 7)), rng.normal(size=(5, 11))
    W_Q, W_K = rng.normal(size=(7, 2)), rng.normal(size=(11, 2))
    projected = dot_scores(X @ W_Q, M @ W_K)
    np.testing.assert_allclose(bilinear_scores(X, M, W=W_Q @ W_K.T), projected)


def test_additive_scores_by_hand():
    """One hidden unit, W_1 = 1, W_2 = −1, w = 2: twice the tanh of the difference."""
    one = np.ones((1, 1))
    S = additive_scores(np.array([[0.0], [3.0]]), np.array([[1.0]]), W_1=one, W_2=-one, w=2 * one[0])
    np.testing.assert_allclose(S, [[-2 * np.tanh(1)], [2 * np.tanh(2)]])


def test_additive_scores_known_answer():
    """Keras, additive_attention_test.py: 0.636 and 0.363."""
    I = np.eye(2)
    A = softmax(additive_scores(KERAS_Q, KERAS_K, W_1=I, W_2=I, w=np.ones(2)))
    lead = 2 * np.tanh(1) - np.tanh(2)
    high = 1 / (1 + np.exp(-lead))
    np.testing.assert_allclose(A, [[high, 1 - high], [1 - high, high]])
    assert round(high, 4) == 0.6363


@pytest.fixture
def network(rng):
    """Queries of width 7 and keys of width 11, before 13 hidden units."""
    Q, K = rng.normal(size=(2, 3, 7)), rng.normal(size=(2, 5, 11))
    return Q, K, rng.normal(size=(7, 13)), rng.normal(size=(11, 13)), rng.normal(size=13)


def test_additive_scores_concat(network):
    """Claim: the same as one hidden layer on each concatenated pair; here torch computes it."""
    Q, K, W_1, W_2, w = network
    layer = torch.nn.Linear(7 + 11, 13, bias=False, dtype=torch.float64)
    layer.weight.data = torch.from_numpy(np.concatenate([W_1, W_2]).T)  # (out, in)
    S = additive_scores(Q, K, W_1=W_1, W_2=W_2, w=w)
    for b, i, j in np.ndindex(2, 3, 5):
        hidden = torch.tanh(layer(torch.from_numpy(np.concatenate([Q[b, i], K[b, j]]))))
        np.testing.assert_allclose(S[b, i, j], (hidden @ torch.from_numpy(w)).item())


def test_additive_scores_take_weights_per_batch(network):
    """One network per head: batch axes of the weights meet batch axes of the tokens."""
    Q, K, W_1, W_2, w = network
    twice = {"W_1": np.stack([W_1, -W_1]), "W_2": np.stack([W_2, 3 * W_2]), "w": np.stack([w, 5 * w])}
    S = additive_scores(Q, K, **twice)
    for b in range(2):
        alone = additive_scores(Q[b], K[b], **{name: weight[b] for name, weight in twice.items()})
        np.testing.assert_allclose(S[b], alone)


@pytest.mark.parametrize("n", [2, 5, 11])
def test_additive_scores_rank(n):
    """Claim: width one and one hidden unit suffice for rank n."""
    keys = np.arange(n, dtype=np.float64)[:, None]
    steep = np.array([[4.0]])
    S = additive_scores(keys + 0.5, keys, W_1=steep, W_2=-steep, w=np.ones(1))
    assert np.linalg.matrix_rank(S) == n
    assert np.linalg.svd(S, compute_uv=False).min() > 0.5  # no rounding made this rank
    np.testing.assert_allclose(np.linalg.det(np.sign(S)), 2.0 ** (n - 1))


def test_gaussian_scores_by_hand():
    np.testing.assert_array_equal(gaussian_scores(QUERY, KEYS, tau=1.0), [[0, -2.5, -1]])
    np.testing.assert_array_equal(gaussian_scores(QUERY, KEYS, tau=0.5), [[0, -5, -2]])


def test_gaussian_scores_are_the_log_of_a_normal_density(tokens):
    """Up to a constant per row: torch's normal distribution of variance tau around each query."""
    Q, K = map(torch.from_numpy, tokens)
    log_density = torch.distributions.Normal(Q[:, :, None], 0.7**0.5).log_prob(K[:, None]).sum(-1)
    S = gaussian_scores(*tokens, tau=0.7)
    np.testing.assert_allclose(softmax(S), torch.softmax(log_density, -1), rtol=1e-10)


@given(arrays(np.float64, (3, 2), elements=small_integers), arrays(np.float64, 2, elements=small_integers))
def test_gaussian_scores_do_not_see_a_shift(X, shift):
    """They depend on differences alone; a dot product does not."""
    np.testing.assert_array_equal(
        gaussian_scores(X + shift, X + shift, tau=2.0), gaussian_scores(X, X, tau=2.0)
    )


def test_gaussian_scores_far_from_zero():
    """float32, the numbers of PyTorch issue 42479: the expanded square gives 0."""
    a, b = (np.array([[number]], dtype=np.float32) for number in (512695, 512804))
    assert gaussian_scores(a, b, tau=1.0).item() == -(109**2) / 2


def test_gaussian_scores_keep_float32_for_a_tau_of_numpy(rng):
    Q = rng.normal(size=(3, 2)).astype(np.float32)
    assert gaussian_scores(Q, Q, tau=np.float64(0.5)).dtype == np.float32


@pytest.mark.parametrize("tau", [0.0, -1.0, np.inf, np.nan])
def test_gaussian_scores_refuse_a_variance_that_is_none(tau):
    with pytest.raises(ValueError, match=r"^tau is .*; wanted a positive number$"):
        gaussian_scores(QUERY, KEYS, tau=tau)


def test_gaussian_scores_penalty(tokens):
    """Claim: after the softmax, dot scores over τ minus ‖k‖² / 2τ."""
    Q, K = tokens
    fined = dot_scores(Q, K) / 0.7 - (K**2).sum(-1)[:, None, :] / (2 * 0.7)
    np.testing.assert_allclose(softmax(fined), softmax(gaussian_scores(Q, K, tau=0.7)))


def test_gaussian_scores_one_norm(tokens):
    """Claim: after the softmax, dot scores over τ exactly when all keys have one norm."""
    Q, K = tokens
    K = 3 * K / np.linalg.norm(K, axis=-1, keepdims=True)
    by_dot = softmax(dot_scores(Q, K) / 0.7)
    np.testing.assert_allclose(softmax(gaussian_scores(Q, K, tau=0.7)), by_dot)
    K[:, 0] *= 1.01  # one norm of the five, by one per cent
    by_dot = softmax(dot_scores(Q, K) / 0.7)
    assert (np.abs(softmax(gaussian_scores(Q, K, tau=0.7)) - by_dot).max(-1) > 1e-9).all()


def test_nadaraya_watson_by_hand():
    """Halfway between two observations their mean; ln 3 nearer to one, weights 1/4 and 3/4."""
    K, V = np.array([[-1.0], [1.0]]), np.array([[0.0], [8.0]])
    Q = np.array([[0.0], [np.log(3) / 2]])  # scores differ by 2q/τ = ln 3 at τ = 1
    np.testing.assert_allclose(nadaraya_watson(Q, K, V, tau=1.0), [[4], [6]])


def test_nadaraya_watson_as_statistics_writes_it(rng):
    Q, K, V = rng.normal(size=(3, 2)), rng.normal(size=(5, 2)), rng.normal(size=(5, 7))
    for q, o in zip(Q, nadaraya_watson(Q, K, V, tau=0.7), strict=True):
        bells = np.exp(-((q - K) ** 2).sum(1) / (2 * 0.7))
        np.testing.assert_allclose(o, bells @ V / bells.sum())


def test_nadaraya_watson_limits(rng):
    """A narrow kernel asks the nearest observation, a wide one averages them all."""
    K, V = np.arange(5.0)[:, None], rng.normal(size=(5, 2))
    Q = np.array([[1.3], [3.6]])
    np.testing.assert_allclose(nadaraya_watson(Q, K, V, tau=1e-3), V[[1, 4]])
    np.testing.assert_allclose(nadaraya_watson(Q, K, V, tau=1e12), [V.mean(0)] * 2, atol=1e-10)


def test_nadaraya_watson_training_error(rng):
    """Claim: between distinct keys the training error vanishes with τ."""
    K, V = rng.permutation(11.0 * np.arange(13))[:, None], rng.normal(size=(13, 2))
    errors = [np.mean((V - nadaraya_watson(K, K, V, tau=tau)) ** 2) for tau in (1e4, 1e2, 1e1, 1.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < 1e-12


def test_leave_one_out_by_hand():
    """Three in a row: the middle sees both neighbours alike, e^{−1/2τ} = 1/3 at τ = 1 / (2 ln 3)."""
    K, V = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [7.0], [82.0]])
    O = leave_one_out(K, V, tau=1 / (2 * np.log(3)))  # weights of distances 1 and 2: 3^{−1}, 3^{−4}
    np.testing.assert_allclose(O, [[(27 * 7 + 82) / 28], [41], [27 * 7 / 28]])


def test_leave_one_out_leaves_out(rng):
    """Really without the observation, one at a time."""
    K, V = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    O = leave_one_out(K, V, tau=0.5)
    for i in range(7):
        rest = nadaraya_watson(K[i : i + 1], np.delete(K, i, 0), np.delete(V, i, 0), tau=0.5)
        np.testing.assert_allclose(O[i : i + 1], rest)


def test_leave_one_out_residual(rng):
    """Claim: the residual left out is the training residual over 1 − A_ii."""
    K, V = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    A = softmax(gaussian_scores(K, K, tau=0.5))
    unshrunk = (V - A @ V) / (1 - np.diag(A))[:, None]
    np.testing.assert_allclose(V - leave_one_out(K, V, tau=0.5), unshrunk)


def test_leave_one_out_of_a_single_observation_is_zero():
    np.testing.assert_array_equal(leave_one_out(np.ones((1, 2)), np.ones((1, 3)), tau=1.0), [[0, 0, 0]])


def test_scores_cost(rng):
    """Claim: n·m·d_k multiplications (d_hidden, and as many tanh, for additive), the rest per token."""
    tally = Counter()

    def counted(symbol, operation):
        def method(*numbers):
            tally[symbol] += 1
            return Counting(operation(*map(float, numbers)))

        return method

    class Counting(float):
        __mul__ = counted("×", np.multiply)
        __add__ = __radd__ = counted("+", np.add)
        __sub__ = counted("+", np.subtract)
        __truediv__ = counted("÷", np.divide)
        tanh, sqrt = counted("tanh", np.tanh), counted("√", np.sqrt)

    def count(score, *tokens, **given):
        tally.clear()
        S = inspect.unwrap(score)(*map(np.vectorize(Counting, otypes=[object]), tokens), **given)
        np.testing.assert_allclose(S.astype(np.float64), score(*tokens, **given))
        return tally["×"], tally["tanh"]

    n, m, d_k, d_q, d_hidden = 11, 13, 3, 5, 7
    Q, K, wide_Q = rng.normal(size=(n, d_k)), rng.normal(size=(m, d_k)), rng.normal(size=(n, d_q))
    W_1, W_2 = rng.normal(size=(d_q, d_hidden)), rng.normal(size=(d_k, d_hidden))
    network = {"W_1": W_1, "W_2": W_2, "w": rng.normal(size=d_hidden)}
    assert count(dot_scores, Q, K) == (n * m * d_k, 0)
    assert count(gaussian_scores, Q, K, tau=1.0) == (n * m * d_k, 0)
    assert count(cosine_scores, Q, K) == (n * m * d_k + (n + m) * d_k, 0)
    assert count(bilinear_scores, wide_Q, K, W=W_1[:, :d_k]) == (n * m * d_k + n * d_q * d_k, 0)
    per_token = n * d_q * d_hidden + m * d_k * d_hidden
    assert count(additive_scores, wide_Q, K, **network) == (n * m * d_hidden + per_token, n * m * d_hidden)
