"""Properties of `attention_backward(dO, Q, K, V) -> (dQ, dK, dV)`."""

import numpy as np

from selfattention import formulas
from selfattention.extras import needed
from selfattention.properties.single_precision import agree

_rng = np.random.default_rng(0)
dO, Q, K, V = (_rng.normal(size=(2, *shape)) for shape in [(5, 2), (5, 3), (7, 3), (7, 2)])
SQUARE = list(_rng.normal(size=(4, 2, 4, 4)))


def shapes(function):
    """Each gradient has the shape of its array."""
    np.testing.assert_([g.shape for g in function(dO, Q, K, V)] == [x.shape for x in (Q, K, V)])


def equal_values_have_no_pull(function):
    """With equal values no query and no key can change the output."""
    dQ, dK, _ = function(dO, Q, K, np.ones_like(V))
    agree(dQ, 0)
    agree(dK, 0)


def key_gradients_cancel(function):
    """One vector added to all keys changes no weight, so the keys' gradients sum to zero."""
    agree(function(dO, Q, K, V)[1].sum(-2), 0)


def values_share_the_gradient(function):
    """Weights sum to one, so the values' gradients sum to that of the outputs."""
    agree(function(dO, Q, K, V)[2].sum(-2), dO.sum(-2))


def finite_differences(function):
    """Equal to the change of the loss when each number in turn is nudged."""
    for x, gradient in zip((Q, K, V), function(dO, Q, K, V), strict=True):
        for where in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[where] += 1e-6
            down[where] -= 1e-6
            losses = [
                (dO * formulas.attention(*(y if z is x else z for z in (Q, K, V)))).sum() for y in (up, down)
            ]
            agree(gradient[where], (losses[0] - losses[1]) / 2e-6)


def autograd_on_squares(function):
    """Equal to PyTorch's where all axes are alike."""
    with needed():
        import torch

    leaves = [torch.tensor(x, requires_grad=True) for x in SQUARE[1:]]
    O = torch.nn.functional.scaled_dot_product_attention(*leaves)
    for ours, theirs in zip(
        function(*SQUARE), torch.autograd.grad(O, leaves, torch.tensor(SQUARE[0])), strict=True
    ):
        agree(ours, theirs.numpy())
