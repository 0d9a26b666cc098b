"""Chapter 08: splitting and joining heads, what they cost, and what a narrow one cannot say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention.formulas import (
    attention,
    attention_flops,
    concat_heads,
    head_for_weights,
    multi_head_attention,
    multi_head_parameters,
    scaled_scores,
    self_attention,
    softmax,
    split_heads,
    transformer_parameters,
)

D_MODEL, D_MEMORY, H, D_K, D_V = 13, 17, 3, 5, 7


@pytest.fixture
def weights(rng):
    """W_Q, W_K, W_V, W_O for cross-attention, every axis with its own length."""
    shapes = (D_MODEL, H * D_K), (D_MEMORY, H * D_K), (D_MEMORY, H * D_V), (H * D_V, D_MODEL)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.fixture
def sequences(rng):
    """X and memory."""
    return rng.normal(size=(2, 11, D_MODEL)), rng.normal(size=(2, 19, D_MEMORY))


def test_split_heads_by_hand():
    """Two tokens, two heads of width two: the addresses of the chapter's figure."""
    Q = np.array([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    np.testing.assert_array_equal(split_heads(Q, 2), [[[0, 1], [4, 5]], [[2, 3], [6, 7]]])


def test_split_heads_index(rng):
    """Claim: place [i, t, c] holds Q[t, i·d + c]; a reshape alone agrees for one head or token only."""
    Q = rng.normal(size=(5, 21))
    for i, t, c in np.ndindex(3, 5, 7):
        assert split_heads(Q, 3)[i, t, c] == Q[t, i * 7 + c]
    for n, h in (5, 3), (1, 3), (5, 1), (1, 1):
        Q = rng.normal(size=(n, h * 7))
        assert np.array_equal(Q.reshape(h, n, 7), split_heads(Q, h)) == (n == 1 or h == 1)


@pytest.mark.parametrize("h", [2, 20, 42])
def test_split_heads_refuses_what_does_not_divide(h):
    with pytest.raises(ValueError, match=f"^h is {h}; wanted a positive integer that divides the width, 21$"):
        split_heads(np.ones((5, 21)), h)


def test_concat_heads_by_hand():
    """The first token's row: head 1's columns, then head 2's."""
    H = np.array([[[0.0, 1], [4, 5]], [[2, 3], [6, 7]]])
    np.testing.assert_array_equal(concat_heads(H), [[0, 1, 2, 3], [4, 5, 6, 7]])


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_concat_heads_inverse(n, h, d):
    """Claim: joining undoes splitting, and splitting undoes joining."""
    Q = np.arange(float(2 * n * h * d)).reshape(2, n, h * d)
    H = Q.reshape(2, h, n, d)
    np.testing.assert_array_equal(concat_heads(split_heads(Q, h)), Q)
    np.testing.assert_array_equal(split_heads(concat_heads(H), h), H)


def test_multi_head_attention_with_one_head_is_self_attention(rng):
    X = rng.normal(size=(2, 11, 13))
    W = [rng.normal(size=shape) for shape in [(13, 5), (13, 5), (13, 7), (7, 13)]]
    np.testing.assert_allclose(multi_head_attention(X, *W, 1), self_attention(X, *W))


def test_multi_head_attention_agrees_with_torch(rng):
    X, memory = rng.normal(size=(2, 11, 15)), rng.normal(size=(2, 19, 15))
    layer = torch.nn.MultiheadAttention(15, 3, bias=False, batch_first=True, dtype=torch.float64)
    W = [W.T.detach().numpy() for W in (*layer.in_proj_weight.chunk(3), layer.out_proj.weight)]
    Q, M = torch.from_numpy(X), torch.from_numpy(memory)
    expected = layer(Q, M, M, need_weights=False)[0].detach()
    np.testing.assert_allclose(
        multi_head_attention(X, *W, 3, memory=memory), expected, rtol=1e-12, atol=1e-14
    )


def test_multi_head_attention_agrees_with_scaled_dot_product_attention(sequences, weights):
    X, memory = sequences
    W_Q, W_K, W_V, W_O = weights
    Q, K, V = (torch.from_numpy(split_heads(wide, H)) for wide in (X @ W_Q, memory @ W_K, memory @ W_V))
    O = torch.nn.functional.scaled_dot_product_attention(Q, K, V)
    Y = O.transpose(1, 2).flatten(2) @ torch.from_numpy(W_O)
    np.testing.assert_allclose(multi_head_attention(X, *weights, H, memory=memory), Y, rtol=1e-11)


def test_multi_head_attention_reproduces_keras():
    """`test_correctness` of Keras' MultiHeadAttention: identities in, closed forms out.

    Each query's weight on its own key is e^(1/√8) / (e^(1/√8) + 7) = 0.1691, and Keras' output
    kernel adds up the columns of each head. Its expected outputs are float16: 2e-3 at 2.4.
    """
    one, wide, V = np.eye(8), np.tile(np.eye(8), (1, 8)), np.arange(64.0).reshape(8, 8) / 100
    e = np.exp(8**-0.5)
    A = softmax(scaled_scores(split_heads(wide, 8), split_heads(wide, 8)))
    np.testing.assert_allclose(A, np.tile((1 + (e - 1) * one) / (e + 7), (8, 1, 1)))
    assert round(A[0, 0, 0], 4) == 0.1691
    O = attention(*(split_heads(M @ wide, 8) for M in (one, one, V)))
    keras = [2.406, 2.440, 2.473, 2.504, 2.535, 2.568, 2.602, 2.633]
    Y = concat_heads(O) @ np.repeat(one, 8, axis=0)
    np.testing.assert_allclose(Y, np.tile(keras, (8, 1)).T, atol=2e-3)


def test_multi_head_identical(rng):
    """Claim: heads with the same matrices are one head, whose W_O is the sum of the blocks."""
    X = rng.normal(size=(11, 13))
    W_Q, W_K, W_V = (rng.normal(size=(13, width)) for width in (5, 5, 7))
    W_O = rng.normal(size=(3, 7, 13))
    repeated = [np.tile(W, (1, 3)) for W in (W_Q, W_K, W_V)]
    Y = multi_head_attention(X, *repeated, W_O.reshape(21, 13), 3)
    np.testing.assert_allclose(Y, self_attention(X, W_Q, W_K, W_V, W_O.sum(0)), rtol=1e-10)


def test_multi_head_one_product(rng):
    """Claim: head i of X W is X times the i-th block of columns of W."""
    X, W = rng.normal(size=(2, 11, 13)), rng.normal(size=(13, 15))
    for i, head in enumerate(np.moveaxis(split_heads(X @ W, 3), 1, 0)):
        np.testing.assert_allclose(head, X @ W[:, 5 * i : 5 * i + 5], rtol=1e-12, atol=1e-14)


def test_multi_head_sum(sequences, weights):
    """Claim: Y is the sum of the heads' shares, each head by its own rows of W_O."""
    X, memory = sequences
    W_Q, W_K, W_V, W_O = weights
    Y = sum(
        self_attention(
            X,
            W_Q[:, i * D_K : (i + 1) * D_K],
            W_K[:, i * D_K : (i + 1) * D_K],
            W_V[:, i * D_V : (i + 1) * D_V],
            W_O[i * D_V : (i + 1) * D_V],
            memory=memory,
        )
        for i in range(H)
    )
    np.testing.assert_allclose(multi_head_attention(X, *weights, H, memory=memory), Y, rtol=1e-10)


def test_multi_head_permutation(sequences, weights):
    """Claim: heads renumbered together with their rows of W_O give the same Y; without them, not."""
    X, memory = sequences
    W_Q, W_K, W_V, W_O = weights
    narrow, wide = (np.arange(H * d).reshape(H, d)[[1, 2, 0]].ravel() for d in (D_K, D_V))
    Y = multi_head_attention(X, *weights, H, memory=memory)
    renamed = W_Q[:, narrow], W_K[:, narrow], W_V[:, wide]
    np.testing.assert_allclose(multi_head_attention(X, *renamed, W_O[wide], H, memory=memory), Y, rtol=1e-10)
    assert abs(multi_head_attention(X, *renamed, W_O, H, memory=memory) - Y).max() > 1


def test_multi_head_parameters_known_layers():
    """The layers of the Transformer's base model and of BERT's and ViT's."""
    assert multi_head_parameters(512, 8, bias=True) == 1_050_624
    assert multi_head_parameters(768, 12, bias=True) == 2_362_368


@pytest.mark.parametrize("bias", [True, False])
def test_multi_head_parameters_counts_the_arrays(bias):
    shapes = (D_MODEL, H * D_K), (D_MODEL, H * D_K), (D_MODEL, H * D_V), (H * D_V, D_MODEL)
    counted = sum(rows * columns + bias * columns for rows, columns in shapes)
    assert multi_head_parameters(D_MODEL, H, d_k=D_K, d_v=D_V, bias=bias) == counted
    layer = torch.nn.MultiheadAttention(15, 3, bias=bias)
    assert multi_head_parameters(15, 3, bias=bias) == sum(p.numel() for p in layer.parameters())


def test_multi_head_parameters_refuses_a_width_that_h_does_not_divide():
    with pytest.raises(ValueError, match=r"^h is 3; wanted a divisor of d_model = 13, or d_k and d_v given$"):
        multi_head_parameters(13, 3, bias=True)


def test_attention_flops_by_hand():
    """Two queries, three keys, d_k = 5, d_v = 7: 6 products of length 5, 14 of length 3."""
    assert attention_flops(2, 3, 5, 7) == 2 * (6 * 5 + 14 * 3) == 144


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 99), st.integers(1, 99))
def test_multi_head_free(h, d, n, m):
    """Claim: with heads of width d_model / h, neither parameters nor products depend on h; weights do."""
    d_model = h * d
    assert multi_head_parameters(d_model, h, bias=False) == 4 * d_model**2
    assert h * attention_flops(n, m, d, d) == 4 * n * m * d_model
    X, W = np.ones((min(n, 5), d_model)), np.ones((d_model, d_model))
    S = scaled_scores(*[split_heads(X @ W, h)] * 2)
    assert S.size == h * len(X) ** 2


def test_transformer_parameters_counts_pytorchs_layers():
    """PyTorch's attentions, three in an encoder layer and a decoder layer together, have biases."""
    layers = torch.nn.TransformerEncoderLayer(12, 3, 7), torch.nn.TransformerDecoderLayer(12, 3, 7)
    counted = sum(p.numel() for layer in layers for p in layer.parameters())
    assert 5 * counted == transformer_parameters(0, N=5, d_model=12, d_ff=7, h=3) + 5 * 3 * 4 * 12


def test_multi_head_parameters_of_width_one_by_hand():
    """Four numbers, and a bias for each; d_k = 1 is no d_k left out: 6 · (2 + 3) + 3 · 6 of width 6."""
    assert multi_head_parameters(1, 1, bias=False) == 4
    assert multi_head_parameters(1, 1, bias=True) == 8
    assert multi_head_parameters(6, 1, d_k=1, d_v=3, bias=False) == 48
    assert multi_head_parameters(6, 1, d_k=1, bias=False) == 6 * (2 + 6) + 6 * 6
    assert multi_head_parameters(6, 1, d_v=1, bias=False) == 6 * (12 + 1) + 6


def test_transformer_parameters_by_hand():
    """Width 1: three attentions of 4, two nets of 1 + 1 + 1 + 1, five norms of 2, times two layers."""
    assert transformer_parameters(3, N=2, d_model=1, d_ff=1, h=1) == 3 + 2 * (12 + 8 + 10)
    assert transformer_parameters(0, N=0, d_model=1, d_ff=1, h=1) == 0


def test_transformer_parameters_of_the_base_model():
    """With the vocabulary of the paper's text, 37,000: 63.0 million where the table prints 65."""
    assert transformer_parameters(37_000) == 63_045_632
    assert transformer_parameters(37_001) - transformer_parameters(37_000) == 512


def test_transformer_parameters_refuses_a_width_that_h_does_not_divide():
    with pytest.raises(ValueError, match=r"^h is 7; wanted a divisor of d_model = 512$"):
        transformer_parameters(37_000, h=7)


def test_transformer_parameters_table():
    """Claim: the rows of Table 3 with d_model = 512 leave 65.10 to 65.20 million for the base."""
    rows = [({}, 65), ({"d_k": 16}, 58), ({"d_k": 32}, 60), ({"N": 2}, 36), ({"N": 4}, 50), ({"N": 8}, 80)]
    rows += [({"d_ff": 1024}, 53), ({"d_ff": 4096}, 90)]

    def fits(V):
        return all(
            abs(transformer_parameters(V, **change) / 1e6 - printed) <= 0.5 for change, printed in rows
        )

    fitting = [V for V in range(30_000, 50_000) if fits(V)]
    assert (fitting[0], fitting[-1]) == (41_004, 41_208)
    assert round(transformer_parameters(fitting[0]) / 1e6, 2) == 65.10
    assert round(transformer_parameters(fitting[-1]) / 1e6, 2) == 65.20


def test_head_for_weights_by_hand():
    """ln (1, e²) / (1 + e²) less its mean is (−1, 1): one query, width one."""
    Q, K = head_for_weights(np.array([[1, np.e**2]]) / (1 + np.e**2), 1)
    np.testing.assert_allclose(Q @ K.T, [[-1, 1]])


def test_head_for_weights_finds_a_head_again(rng):
    """Weights that a head of width 3 made, a head of width 3 can make."""
    A = softmax(scaled_scores(rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 11, 3))))
    np.testing.assert_allclose(softmax(scaled_scores(*head_for_weights(A, 3))), A, rtol=1e-10)


@given(arrays(np.float64, (5, 7), elements=st.floats(-9, 9)), st.integers(1, 5))
def test_head_for_weights_is_the_nearest(S, d_k):
    """What is missed, in ln A less row means, are the singular values after the d_k-th."""
    centred = S - S.mean(-1, keepdims=True)
    Q, K = head_for_weights(softmax(S), d_k)
    missed = np.linalg.norm(centred - scaled_scores(Q, K))
    tail = np.linalg.norm(np.linalg.svd(centred, compute_uv=False)[d_k:])
    np.testing.assert_allclose(missed, tail, atol=1e-10)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
def test_head_for_weights_refuses_a_width_out_of_range(shape):
    A = np.full(shape, 1 / 7)
    assert head_for_weights(A, 5)[1].shape == (shape[1], 5)
    for weights in A, np.stack([A, A]):  # a batch of two counts for nothing here
        with pytest.raises(ValueError, match=r"^d_k is 6; wanted an integer from 1 to min\(n, m\) = 5$"):
            head_for_weights(weights, 6)


def test_multi_head_parameters_wants_both_widths_where_h_does_not_divide():
    for widths in {"d_k": 2}, {"d_v": 2}, {}:
        with pytest.raises(
            ValueError, match=r"^h is 3; wanted a divisor of d_model = 10, or d_k and d_v given$"
        ):
            multi_head_parameters(10, 3, bias=False, **widths)
    assert multi_head_parameters(10, 3, d_k=2, d_v=4, bias=False) == 3 * 10 * 8 + 3 * 4 * 10
    assert type(multi_head_parameters(12, 3, bias=True)) is int  # a count, not 576.0


def test_head_for_weights_refuses_zeros():
    with pytest.raises(ValueError, match=r"^A holds 0.0; wanted positive weights, as every softmax gives$"):
        head_for_weights(np.eye(5), 2)


def test_head_for_weights_rank(rng):
    """Claim: ln A less row means has rank ≤ d_k for every head, and width m − 1 reaches every A."""
    for d_k in 1, 2, 3, 5:
        A = softmax(scaled_scores(rng.normal(size=(11, d_k)), rng.normal(size=(13, d_k))))
        centred = np.log(A) - np.log(A).mean(-1, keepdims=True)
        assert np.linalg.matrix_rank(centred, tol=1e-9) == d_k
    A = softmax(rng.normal(size=(7, 7)))
    np.testing.assert_allclose(softmax(scaled_scores(*head_for_weights(A, 6))), A, rtol=1e-10)
    assert abs(softmax(scaled_scores(*head_for_weights(A, 5))) - A).max() > 1e-3


def test_multi_head_facts(rng):
    """Claim: h heads recover h contents' worth of variance; least squares on samples agrees."""
    for h in 1, 2, 3:
        A = softmax(rng.normal(size=(h, 7)))
        shares = (np.linalg.pinv(A) @ A).diagonal()
        np.testing.assert_allclose(shares.sum(), h)
        contents = rng.normal(size=(100_000, 7))
        heard = contents @ A.T
        guess = heard @ np.linalg.lstsq(heard, contents, rcond=None)[0]
        np.testing.assert_allclose(1 - ((contents - guess) ** 2).mean(0), shares, atol=0.02)  # 4 σ: 0.018
    same = softmax(np.tile(rng.normal(size=(1, 7)), (3, 1)))
    np.testing.assert_allclose((np.linalg.pinv(same) @ same).diagonal().sum(), 1)
