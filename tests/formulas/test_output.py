"""Chapter 07: the way back to the width of the tokens."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention.formulas import (
    concat_heads,
    layer_norm,
    output_projection,
    self_attention,
    softmax,
    weighted_sum,
)


def head(rng, d_model=7, d_k=3, d_v=5):
    """Tokens and the four matrices of one head; all widths differ."""
    shapes = ((11, d_model), (d_model, d_k), (d_model, d_k), (d_model, d_v), (d_v, d_model))
    return [rng.normal(size=shape) / shape[0] ** 0.5 for shape in shapes]


def test_output_projection_by_hand():
    """The chapter's head reads the first number of a token and writes to the second."""
    X = np.array([[8.0, 3.0], [4.0, -1.0], [0.0, 2.0]])
    A = np.array([[8.0, 0.0, 0.0], [4.0, 4.0, 0.0], [1.0, 2.0, 5.0]]) / 8
    O = weighted_sum(A, X @ np.array([[1.0], [0.0]]))
    Y = output_projection(O, np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(Y, [[0, 8], [0, 6], [0, 2]])


def test_output_projection_agrees_with_torch(rng):
    """torch stores (out, in): its matrix is our W_O, transposed."""
    O, W_O = rng.normal(size=(2, 7, 3)), rng.normal(size=(3, 5))
    expected = torch.nn.functional.linear(torch.from_numpy(O), torch.from_numpy(W_O.T))
    np.testing.assert_allclose(output_projection(O, W_O), expected, rtol=1e-12)


def test_output_projection_agrees_with_torch_in_a_square_layer(rng):
    """out_proj.weight is square, so that only numbers tell whether it was transposed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = torch.nn.MultiheadAttention(5, 1, bias=False, batch_first=True).double()
    X = rng.normal(size=(7, 5))
    W_Q, W_K, W_V = layer.in_proj_weight.detach().numpy().reshape(3, 5, 5).swapaxes(1, 2)
    W_O = layer.out_proj.weight.detach().numpy().T
    expected = layer(*[torch.from_numpy(X)[None]] * 3)[0][0].detach()
    np.testing.assert_allclose(self_attention(X, W_Q, W_K, W_V, W_O), expected, atol=1e-12)
    assert not np.allclose(self_attention(X, W_Q, W_K, W_V, W_O.T), expected, atol=1e-3)


def test_output_projection_rows_stand_in_the_order_of_the_heads(rng):
    """Rows 1 … d_v belong to the first head."""
    H, W_O = rng.normal(size=(2, 7, 3)), rng.normal(size=(6, 5))
    np.testing.assert_allclose(output_projection(concat_heads(H), W_O), H[0] @ W_O[:3] + H[1] @ W_O[3:])


@given(arrays(np.float64, (5, 3), elements=st.floats(-1e3, 1e3)))
def test_output_projection_row_space(O):
    """Claim: what is added lies in the rows of W_O; along u with W_O u = 0 nothing is added."""
    W_O = np.random.default_rng(0).normal(size=(3, 7))
    Y = output_projection(O, W_O)
    untouched = np.linalg.svd(W_O)[2][3:].T
    assert untouched.shape == (7, 4)
    np.testing.assert_allclose(Y @ untouched, 0, atol=1e-14 * (1 + np.abs(Y).max()) * 7)
    np.testing.assert_allclose(np.linalg.lstsq(W_O.T, Y.T)[0].T, O, rtol=1e-9, atol=1e-9)


def test_output_projection_row_space_ends_at_a_norm_of_the_sum(rng):
    """LayerNorm(X + Y), the block of Vaswani et al., touches every direction."""
    X, W_O = rng.normal(size=(5, 7)), rng.normal(size=(3, 7))
    summed = X + output_projection(rng.normal(size=(5, 3)), W_O)
    untouched = np.linalg.svd(W_O)[2][3:].T
    normed = layer_norm(summed, np.ones(7), np.zeros(7))
    np.testing.assert_allclose(summed @ untouched, X @ untouched, atol=1e-12)
    assert (np.abs(normed @ untouched - X @ untouched).max(0) > 0.1).all()


def test_output_projection_merge(rng):
    """Claim: one head needs only W_V W_O, of rank d_v at most; mixing and mapping may swap."""
    X, W_Q, W_K, W_V, W_O = head(rng)
    Y = self_attention(X, W_Q, W_K, W_V, W_O)
    merged = W_V @ W_O
    assert merged.shape == (7, 7)
    assert np.linalg.matrix_rank(merged) == 5
    np.testing.assert_allclose(self_attention(X, W_Q, W_K, merged, np.eye(7)), Y, atol=1e-12)
    A, V = softmax(rng.normal(size=(2, 11))), X @ W_V
    mixed_first = output_projection(weighted_sum(A, V), W_O)
    np.testing.assert_allclose(weighted_sum(A, output_projection(V, W_O)), mixed_first, atol=1e-12)


def test_output_projection_gauge(rng):
    """Claim: W_V G and G⁻¹ W_O give the same Y, and other outputs O on the way."""
    X, W_Q, W_K, W_V, W_O = head(rng)
    G = rng.normal(size=(5, 5)) + 3 * np.eye(5)  # far from singular
    Y = self_attention(X, W_Q, W_K, W_V, W_O)
    np.testing.assert_allclose(self_attention(X, W_Q, W_K, W_V @ G, np.linalg.solve(G, W_O)), Y, atol=1e-12)
    assert not np.allclose(X @ W_V @ G, X @ W_V, atol=0.1)
    assert not np.allclose(self_attention(X, W_Q, W_K, W_V @ G, G @ W_O), Y, atol=0.1)


def test_output_projection_gate(rng):
    """Claim: with gates on O the only change of basis that leaves Y alone is a diagonal one.

    Gates all different; then one pair of equal gates, which leaves the plane of the two free.
    """
    W_O, g = rng.normal(size=(5, 7)), np.array([0.1, 0.3, 0.5, 0.7, 0.9])

    def moved(G, g):
        O = np.eye(5)  # whatever the output is: one row for every direction
        Y = output_projection(g * O, W_O)
        return np.abs(output_projection(g * (O @ G), np.linalg.solve(G, W_O)) - Y).max()

    assert moved(np.diag([1.0, -2.0, 3.0, 4.0, 5.0]), g) < 1e-12
    for b, c in np.argwhere(~np.eye(5, dtype=bool)):
        almost = np.eye(5)
        almost[b, c] = 0.1
        assert moved(almost, g) > 0.001
        assert moved(almost, np.where(np.arange(5) == b, g[c], g)) < 1e-12
