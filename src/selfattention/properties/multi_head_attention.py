"""Properties of `multi_head_attention(X, W_Q, W_K, W_V, W_O, h)`."""

import numpy as np

from selfattention import formulas
from selfattention.extras import needed
from selfattention.properties.single_precision import agree

_rng = np.random.default_rng(0)
X = _rng.normal(size=(2, 5, 12))
WEIGHTS = [_rng.normal(size=shape) / 3 for shape in [(12, 6), (12, 6), (12, 9), (9, 12)]]  # three heads
SQUARE = list(_rng.normal(size=(4, 12, 12)) / 3)


def shape(function):
    """Y has the shape of X."""
    np.testing.assert_(function(X, *WEIGHTS, 3).shape == X.shape)


def finite(function):
    """Tokens a hundred times as long give numbers, not NaN."""
    np.testing.assert_(np.isfinite(function(100 * X, *SQUARE, 3)).all())


def all_ones(function):
    """Weights and tokens of ones give the formula's numbers: an input that hides most mistakes."""
    ones = [np.ones((12, 12))] * 4
    agree(function(np.ones((2, 5, 12)), *ones, 3), np.full((2, 5, 12), 144.0))


def tokens_permuted(function):
    """Tokens in another order give the outputs in that order."""
    order = [3, 0, 4, 1, 2]
    agree(function(X[:, order], *SQUARE, 3), function(X, *SQUARE, 3)[:, order])


def one_sequence_at_a_time(function):
    """A sequence alone gets what it gets in a batch."""
    agree(function(X[1], *SQUARE, 3), function(X, *SQUARE, 3)[1])


def one_head_is_attention(function):
    """With h = 1 it is self-attention: a test that cannot see how heads are split."""
    agree(function(X, *SQUARE, 1), formulas.self_attention(X, *SQUARE))


def one_token(function):
    """A single token attends to itself, Y = X W_V W_O: a test that cannot see the scores."""
    one = X[:, :1]
    agree(function(one, *SQUARE, 3), one @ SQUARE[2] @ SQUARE[3])


def heads_permuted(function):
    """Heads renamed in all four matrices change nothing."""
    W_Q, W_K, W_V, W_O = SQUARE
    order = np.arange(12).reshape(3, 4)[[2, 0, 1]].ravel()
    renamed = W_Q[:, order], W_K[:, order], W_V[:, order], W_O[order]
    agree(function(X, *renamed, 3), function(X, *SQUARE, 3))


def sum_of_heads(function):
    """Y is the sum of what each head writes alone, the other heads' rows of W_O being zero."""
    W_Q, W_K, W_V, W_O = SQUARE
    alone = [np.where(np.arange(12)[:, None] // 4 == i, W_O, 0) for i in range(3)]
    total = sum(function(X, W_Q, W_K, W_V, rows, 3) for rows in alone)
    agree(total, function(X, *SQUARE, 3))


def formula_on_squares(function):
    """Equal to the formula where all four matrices are square."""
    agree(function(X, *SQUARE, 3), formulas.multi_head_attention(X, *SQUARE, 3))


def formula(function):
    """Equal to the formula where no matrix is square."""
    agree(function(X, *WEIGHTS, 3), formulas.multi_head_attention(X, *WEIGHTS, 3))


def torch_layer(function):
    """Equal to torch.nn.MultiheadAttention with the same matrices."""
    with needed():
        import torch

    layer = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.tensor(np.hstack(SQUARE[:3]).T))
        layer.out_proj.weight.copy_(torch.tensor(SQUARE[3].T))
        tokens = torch.tensor(X)
        expected = layer(tokens, tokens, tokens)[0].numpy()
    agree(function(X, *SQUARE, 3), expected)
