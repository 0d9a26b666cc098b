"""Chapter 01: the whole formula, by hand, in loops, in matrices, and against PyTorch."""

from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from selfattention.formulas import attention, multi_head_attention, scaled_scores, self_attention, softmax

# The chapter's example, "hungry cats purr": quality, thing, action, plural, hunger, sound.
X = np.array([[1, 0, 0, 0, 7, 0], [0, 1, 0, 1, 0, 0], [0, 0, 1, 1, 0, 7.0]])
W_Q = np.zeros((6, 4))
W_Q[:4] = np.log(4) * np.array([[2, 1, 0, 0], [2, -1, 0, 0], [1, 1, -1, 0], [0, 0, 0, 1]])
W_K, W_V, W_O = np.eye(6)[:, :4], np.eye(6)[:, 4:], np.eye(6)[4:]

lengths = st.tuples(*[st.integers(1, 7)] * 4)  # n, m, d_k, d_v
seeds = st.integers(0, 2**32 - 1)


def random_QKV(rng, n, m, d_k, d_v):
    return rng.normal(size=(n, d_k)), rng.normal(size=(m, d_k)), rng.normal(size=(m, d_v))


def in_loops(Q, K, V):
    """The index form in decimals of 28 digits: exact for our purposes, no code shared with the formula."""
    Q, K, V = ([[Decimal(x) for x in row] for row in M.tolist()] for M in (Q, K, V))
    O = np.zeros((len(Q), len(V[0])))
    for i, q in enumerate(Q):
        s = [sum(x * y for x, y in zip(q, k, strict=True)) / Decimal(len(q)).sqrt() for k in K]
        E = [s_j.exp() for s_j in s]
        for l in range(len(V[0])):
            O[i, l] = sum(E[j] * V[j][l] for j in range(len(V))) / sum(E)
    return O


def test_attention_by_hand():
    """Scores of ln 2 times 2, 1, 0 and so on: weights of 4, 2 and 1 sevenths."""
    Q = np.log(4) * np.array([[2, 1, 0, 0], [2, -1, 0, 1], [1, 1, -1, 1]])
    K = np.array([[1.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]])
    V = np.array([[7.0, 0], [0, 0], [0, 7]])
    np.testing.assert_allclose(attention(Q, K, V), [[4, 1], [4, 2], [2, 1]])


def test_attention_to_one_key_is_its_value(rng):
    """A softmax over one key is 1: the query does not matter, nor does the key."""
    Q, K, V = random_QKV(rng, 5, 1, 3, 2)
    np.testing.assert_array_equal(attention(Q, K, V), np.repeat(V, 5, axis=0))


@given(lengths, seeds)
def test_attention_loops_equal_matrices(lengths, seed):
    """Claim: the matrices are the index form, and a row of O needs one row of Q only."""
    Q, K, V = random_QKV(np.random.default_rng(seed), *lengths)
    O = attention(Q, K, V)
    np.testing.assert_allclose(O, in_loops(Q, K, V), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(attention(Q[:1], K, V), O[:1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attention_agrees_with_torch(rng, dtype):
    """Against exact decimals: at most twice PyTorch's error, plus 4 eps max|O| for rounding."""
    Q, K, V = (array.astype(dtype) for array in random_QKV(rng, 101, 67, 13, 7))
    exact = in_loops(Q, K, V)
    theirs = functional.scaled_dot_product_attention(*map(torch.from_numpy, (Q, K, V))).numpy()
    assert theirs.dtype == dtype
    budget = 2 * np.abs(theirs - exact).max() + 4 * np.finfo(dtype).eps * np.abs(exact).max()
    assert np.abs(attention(Q, K, V) - exact).max() <= budget


@given(lengths, seeds)
def test_attention_column_convention(lengths, seed):
    """Claim: with a token per column, Oᵀ = Vᵀ softmax(K Qᵀ / √d_k), the softmax down the columns."""
    Q, K, V = random_QKV(np.random.default_rng(seed), *lengths)
    Q_bar, K_bar, V_bar = Q.T, K.T, V.T
    E = np.exp(K_bar.T @ Q_bar / len(Q_bar) ** 0.5)
    np.testing.assert_allclose(V_bar @ (E / E.sum(0)), attention(Q, K, V).T, rtol=1e-10, atol=1e-12)


def test_attention_unindexed_heads_repeat(rng):
    """Claim: heads that share their matrices are one head, with the blocks of W_O summed."""
    h, d_model, d_k, d_v = 3, 11, 5, 2
    X = rng.normal(size=(13, d_model))
    W_Q, W_K = rng.normal(size=(2, d_model, d_k))
    W_V, W_O = rng.normal(size=(d_model, d_v)), rng.normal(size=(h * d_v, d_model))
    printed = multi_head_attention(X, *(np.tile(W, h) for W in (W_Q, W_K, W_V)), W_O, h)
    summed = W_O[0:2] + W_O[2:4] + W_O[4:6]
    np.testing.assert_allclose(printed, self_attention(X, W_Q, W_K, W_V, summed), atol=1e-10)
    assert np.linalg.matrix_rank(printed) == d_v
    other_keys = [np.tile(W_Q, h), rng.normal(size=(d_model, h * d_k)), np.tile(W_V, h)]
    assert np.linalg.matrix_rank(multi_head_attention(X, *other_keys, W_O, h)) == h * d_v


def test_attention_weights_are_not_a_correlation(rng):
    """Claim: rows sum to one, nothing is negative, and even symmetric scores give no symmetry."""
    Q = rng.normal(size=(7, 3))
    S = scaled_scores(Q, Q)
    A = softmax(S)
    np.testing.assert_allclose(S, S.T)
    np.testing.assert_allclose(A.sum(1), 1)
    assert A.min() >= 0
    assert S.min() < 0
    assert np.abs(A - A.T).max() > 0.1


def test_self_attention_by_hand():
    """The cats get a hunger of 4 and a sound of 2; grammar is not written back."""
    Y = [[0, 0, 0, 0, 4, 1], [0, 0, 0, 0, 4, 2], [0, 0, 0, 0, 2, 1]]
    np.testing.assert_allclose(self_attention(X, W_Q, W_K, W_V, W_O), Y, atol=1e-12)


def test_self_attention_attends_to_itself_without_a_memory(rng):
    np.testing.assert_array_equal(
        self_attention(X, W_Q, W_K, W_V, W_O), self_attention(X, W_Q, W_K, W_V, W_O, memory=X)
    )


@given(lengths, st.integers(1, 7), st.integers(1, 7), seeds)
def test_self_attention_cross_shapes(lengths, d_model, d_memory, seed):
    """Claim: Y has the shape of X for any m, d_k, d_v, d_memory; keys and values pair off."""
    n, m, d_k, d_v = lengths
    rng = np.random.default_rng(seed)
    shapes = [(n, d_model), (d_model, d_k), (d_memory, d_k), (d_memory, d_v), (d_v, d_model)]
    arrays = [rng.normal(size=shape) for shape in shapes]
    assert self_attention(*arrays, memory=rng.normal(size=(m, d_memory))).shape == (n, d_model)


@pytest.mark.parametrize(("Q", "K", "V"), [((7, 3), (5, 2), (5, 2)), ((7, 3), (5, 3), (11, 2))])
def test_self_attention_cross_shapes_that_do_not_compose(Q, K, V):
    """Unequal widths of query and key; unequal numbers of keys and values."""
    with pytest.raises(ValueError, match="wanted"):
        attention(np.ones(Q), np.ones(K), np.ones(V))


@pytest.mark.parametrize("lengths", [(7, 5, 11, 13, 3, 2), (3, 3, 3, 3, 3, 3)], ids=["primes", "squares"])
def test_self_attention_agrees_with_torch(rng, lengths):
    """nn.Linear keeps its weight (out, in), the formula (in, out): four transposes.

    Square ones too, for a line that transposes only where the shape does not fit.
    """
    n, m, d_model, d_memory, d_k, d_v = lengths
    X, memory = rng.normal(size=(2, n, d_model)), rng.normal(size=(2, m, d_memory))
    W_Q, W_K = rng.normal(size=(d_model, d_k)), rng.normal(size=(d_memory, d_k))
    W_V, W_O = rng.normal(size=(d_memory, d_v)), rng.normal(size=(d_v, d_model))
    Q, K, V = (
        functional.linear(torch.from_numpy(source), torch.from_numpy(W.T.copy()))
        for source, W in ((X, W_Q), (memory, W_K), (memory, W_V))
    )
    O = functional.scaled_dot_product_attention(Q, K, V)
    Y = functional.linear(O, torch.from_numpy(W_O.T.copy()))
    np.testing.assert_allclose(self_attention(X, W_Q, W_K, W_V, W_O, memory=memory), Y, rtol=1e-9, atol=1e-12)
