"""Chapter 02: three views of a sequence, what two of them cannot show, and the bias as a row."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention.formulas import (
    append_ones,
    attention,
    dot_scores,
    output_projection,
    projections,
    softmax,
)

# The chapter's three words, cat, naps and it: how much each names a thing, and points at one.
X = np.array([[2.0, 0.0], [-1.0, -1.0], [0.0, 1.0]])
QUARTER_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def test_projections_by_hand():
    Q, K, V = projections(X, QUARTER_TURN, np.eye(2), np.array([[1.0, 1.0], [-1.0, 1.0]]))
    np.testing.assert_array_equal(Q, [[0, -2], [-1, 1], [1, 0]])
    np.testing.assert_array_equal(K, X)
    np.testing.assert_array_equal(V, [[2, 2], [0, -2], [-1, 1]])
    np.testing.assert_array_equal(dot_scores(Q, K), [[0, 2, -2], [-2, 0, 1], [2, -1, 0]])


def test_projections_take_keys_and_values_from_the_memory(rng):
    X, memory = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 7, 11))
    W_Q, W_K, W_V = rng.normal(size=(5, 13)), rng.normal(size=(11, 13)), rng.normal(size=(11, 17))
    Q, K, V = projections(X, W_Q, W_K, W_V, memory=memory)
    np.testing.assert_allclose(Q, np.einsum("bnd,dk->bnk", X, W_Q))
    np.testing.assert_allclose(K, np.einsum("bmd,dk->bmk", memory, W_K))
    np.testing.assert_allclose(V, np.einsum("bmd,dv->bmv", memory, W_V))


def test_projections_agree_with_torch_linear(rng):
    """`nn.Linear` stores (out, in): its weight is the transpose of the book's, square or not."""
    X = rng.normal(size=(7, 5))
    layers = [torch.nn.Linear(5, out, bias=False, dtype=torch.float64) for out in (5, 5, 3)]
    views = projections(X, *(layer.weight.detach().numpy().T for layer in layers))
    for view, layer in zip(views, layers, strict=True):
        np.testing.assert_allclose(view, layer(torch.from_numpy(X)).detach(), atol=1e-14)


small = st.floats(-1e3, 1e3)


@given(arrays(np.float64, (5, 3), elements=small), arrays(np.float64, (3, 2), elements=small))
def test_projections_gram(X, W):
    """Claim: with W_Q = W_K scores are symmetric, and none exceeds the mean of two self-scores."""
    S = dot_scores(*projections(X, W, W, W)[:2])
    own = np.diag(S)
    rounding = 1e-12 * np.abs(S).max()
    np.testing.assert_allclose(S, S.T, atol=rounding)
    excess = S - (own[:, None] + own) / 2
    assert excess.max() <= rounding
    assert S.max() <= own.max() + rounding


def test_projections_self_share(rng):
    """Claim: a random W_Q lets 1/n of the tokens win their own query, whatever X and W_K are.

    Tokens of very different lengths, so that some keys win far more often than others. The
    tolerance is four standard errors. With W_Q = W_K the same tokens are far outside it.
    """
    n, trials = 5, 4000
    X = rng.normal(size=(n, 7)) * np.exp(rng.normal(size=(n, 1)))
    W_Q, W_K = rng.normal(size=(trials, 7, 3)), rng.normal(size=(7, 3))

    def share(W_K):
        S = dot_scores(*projections(X, W_Q, W_K, W_K)[:2])
        per_trial = (S.argmax(-1) == np.arange(n)).mean(-1)
        return per_trial.mean(), per_trial.std() / trials**0.5

    mean, error = share(W_K)
    assert abs(mean - 1 / n) < 4 * error
    mean, error = share(W_Q)
    assert mean - 1 / n > 40 * error


def test_projections_gauge(rng):
    """Claim: W_Q G and W_K G⁻ᵀ give the scores of W_Q and W_K, over any memory."""
    X, memory = rng.normal(size=(3, 5)), rng.normal(size=(7, 11))
    W_Q, W_K, G = rng.normal(size=(5, 2)), rng.normal(size=(11, 2)), rng.normal(size=(2, 2))
    Q, K, _ = projections(X, W_Q, W_K, W_K, memory=memory)
    Q_G, K_G, _ = projections(X, W_Q @ G, W_K @ np.linalg.inv(G).T, W_K, memory=memory)
    np.testing.assert_allclose(dot_scores(Q_G, K_G), dot_scores(Q, K), rtol=1e-10)
    assert not np.isclose(Q_G, Q).any()


def test_projections_key_bias(rng):
    """Claim: a key bias raises whole rows of scores, and softmax takes it out again."""
    Q, K, b = rng.normal(size=(3, 2)), rng.normal(size=(7, 2)), rng.normal(size=2)
    S, S_b = dot_scores(Q, K), dot_scores(Q, K + b)
    np.testing.assert_allclose(S_b - S, np.repeat(Q @ b, 7).reshape(3, 7), atol=1e-14)
    np.testing.assert_allclose(softmax(S_b), softmax(S))


def test_projections_query_bias(rng):
    """Claim: a query bias raises whole columns of scores, and the weights change."""
    Q, K, b = rng.normal(size=(3, 2)), rng.normal(size=(7, 2)), rng.normal(size=2)
    S, S_b = dot_scores(Q, K), dot_scores(Q + b, K)
    np.testing.assert_allclose(S_b - S, np.tile(K @ b, (3, 1)), atol=1e-14)
    assert np.abs(softmax(S_b) - softmax(S)).max() > 0.01


def test_projections_packed(rng):
    """Claim: one wide matrix, cut where its parts meet, gives the three projections."""
    X = rng.normal(size=(2, 3, 5))
    W_Q, W_K, W_V = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), rng.normal(size=(5, 11))
    cut = np.split(X @ np.hstack([W_Q, W_K, W_V]), [7, 14], axis=-1)
    for part, view in zip(cut, projections(X, W_Q, W_K, W_V), strict=True):
        np.testing.assert_allclose(part, view, atol=1e-14)


def test_append_ones_by_hand():
    np.testing.assert_array_equal(append_ones(X), [[2, 0, 1], [-1, -1, 1], [0, 1, 1]])


def test_append_ones_makes_the_last_row_of_a_matrix_a_bias(rng):
    X, W, b = rng.normal(size=(2, 3, 5)), rng.normal(size=(5, 7)), rng.normal(size=7)
    np.testing.assert_allclose(append_ones(X) @ np.vstack([W, b]), X @ W + b, atol=1e-14)


def test_append_ones_runs_the_biases_of_torch_attention(rng):
    """A whole layer of PyTorch's with one head, its four biases as rows of four matrices."""
    layer = torch.nn.MultiheadAttention(5, 1, dtype=torch.float64)
    for parameter in layer.parameters():
        parameter.data = torch.from_numpy(rng.normal(size=parameter.shape))
    weights = [*layer.in_proj_weight.chunk(3), layer.out_proj.weight]
    biases = [*layer.in_proj_bias.chunk(3), layer.out_proj.bias]
    W_Q, W_K, W_V, W_O = (
        np.vstack([W.detach().numpy().T, b.detach().numpy()]) for W, b in zip(weights, biases, strict=True)
    )
    X, memory = rng.normal(size=(3, 5)), rng.normal(size=(7, 5))
    views = projections(append_ones(X), W_Q, W_K, W_V, memory=append_ones(memory))
    Y = output_projection(append_ones(attention(*views)), W_O)
    expected, _ = layer(*map(torch.from_numpy, (X, memory, memory)))
    np.testing.assert_allclose(Y, expected.detach(), atol=1e-12)
