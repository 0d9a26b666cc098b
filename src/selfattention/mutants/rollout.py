"""Wrong `rollout(A)`."""

import numpy as np


def _chained(mixed):
    """The product of all layers, the last leftmost."""
    R = mixed[..., 0, :, :]
    for layer in range(1, mixed.shape[-3]):
        R = mixed[..., layer, :, :] @ R
    return R


def _with_residual(A):
    return A.mean(-3) + np.eye(A.shape[-1], dtype=A.dtype)


def _rows_divided(X):
    return X / X.sum(-1, keepdims=True)


def columns_divided(A):
    """`a / a.sum(-1)` without keepdim: column j is divided by the sum of row j. Chapter 17."""
    mixed = _with_residual(A)
    return _chained(mixed / mixed.sum(-1)[..., None, :])


def halved_only(A):
    """(A + I) / 2 and no division: right until weights are discarded, then rows are too small. Chapter 17."""
    return _chained(_with_residual(A) / 2)


def not_divided(A):
    """A + I as it is: rows sum to 2 for every layer. Chapter 17."""
    return _chained(_with_residual(A))


def residual_forgotten(A):
    """The layers' weights alone: as if no token stayed what it was. Chapter 17."""
    return _chained(_rows_divided(A.mean(-3)))


def first_layer_leftmost(A):
    """The product in the order of reading, the first layer leftmost. Chapter 17."""
    return _chained(_rows_divided(_with_residual(A))[..., ::-1, :, :])


def last_layer_alone(A):
    """The last layer's weights, which see what earlier layers have mixed. Chapter 17."""
    return _rows_divided(_with_residual(A))[..., -1, :, :]


def largest_head(A):
    """Of the heads the largest weight and not the mean. Chapter 17."""
    return _chained(_rows_divided(A.max(-3) + np.eye(A.shape[-1], dtype=A.dtype)))


def layers_added(A):
    """The mean of the layers for their product. Chapter 17."""
    return _rows_divided(_with_residual(A)).mean(-3)
