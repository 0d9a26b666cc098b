"""What every adapter that stands on PyTorch shares: tensors out of questions, arrays out of answers."""

import numpy as np

from selfattention.dialects.asking import Asked


def tensor(X: np.ndarray):
    """A tensor with the bytes of X."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(X))


def operands(asked: Asked, turned=lambda X: X) -> dict:
    """q, k and v, which ask for gradients where the question does."""
    asks = asked.learning or asked.wants == "gradients"
    names = zip("qkv", (asked.Q, asked.K, asked.V), strict=True)
    return {name: tensor(turned(X)).requires_grad_(asks) for name, X in names}


def array(X) -> np.ndarray:
    """A NumPy array of what a tensor holds."""
    return X.detach().cpu().numpy()


def answer(asked: Asked, given: dict, O, turned=lambda X: X):
    """O with the axes of `Asked`; or the gradients of q, k and v for the question's dO."""
    if asked.wants != "gradients":
        return turned(array(O))
    import torch

    return [
        array(dX)
        for dX in torch.autograd.grad(O, [*given.values()], tensor(turned(asked.dO)).reshape(O.shape))
    ]
