"""Wrong `attention(Q, K, V, *, mask) -> (O, L)` by the contract of the implementations."""

import numpy as np

from selfattention.implementations.numpy_direct import attention


def _scores(Q, K, mask):
    S = Q @ np.repeat(K, Q.shape[-3] // K.shape[-3], axis=-3).swapaxes(-1, -2) * Q.shape[-1] ** -0.5
    if mask is None:
        return S
    return np.where(mask.tile(range(Q.shape[-2]), range(K.shape[-2])), S, -np.inf)


def groups_tiled(Q, K, V, *, mask=None):
    """Grouped heads dealt out one after another: head i reads group i mod g. Chapter 08, pitfall 19."""
    h, g = Q.shape[-3], K.shape[-3]
    order = np.arange(h) % g
    return attention(Q, K[..., order, :, :], V[..., order, :, :], mask=mask)


def hidden_values_leak(Q, K, V, *, mask=None):
    """Hidden values multiplied by a weight of zero: 0 · NaN is NaN. Chapter 10, pitfall 16."""
    clean = np.nan_to_num(V)
    O, L = attention(Q, K, clean, mask=mask)
    group = np.arange(Q.shape[-3]) // (Q.shape[-3] // K.shape[-3])
    return O + 0 * (V - clean)[..., group, :, :].sum(-2, keepdims=True), L


def shift_forgotten_in_the_log_sum_exp(Q, K, V, *, mask=None):
    """L = ln Z without the row's maximum c. Chapter 05."""
    O, L = attention(Q, K, V, mask=mask)
    return O, L - _scores(Q, K, mask).max(-1)


def log_sum_exp_in_base_two(Q, K, V, *, mask=None):
    """L in base two, as kernels that use exp2 keep it. Chapter 05."""
    O, L = attention(Q, K, V, mask=mask)
    return O, L / np.log(2)


def mask_by_the_first_member(Q, K, V, *, mask=None):
    """The first sequence's padding used for the whole batch. Chapter 10, pitfall 12."""
    if mask is None:
        return attention(Q, K, V)
    visible = mask.tile(range(Q.shape[-2]), range(K.shape[-2]))
    return attention(Q, K, V, mask=visible[:1] if visible.ndim > 2 else visible)


def last_keys_dropped(Q, K, V, *, mask=None):
    """A loop over whole tiles of keys only: the rest is dropped. Chapter 13."""
    whole = slice(K.shape[-2] // 4 * 4)
    return attention(Q, K[..., whole, :], V[..., whole, :], mask=mask)


def last_tile_padded(Q, K, V, *, mask=None):
    """The last tile filled up with zeros, and not masked: keys that do not exist score 0. Chapter 13."""
    pads = [(0, 0)] * (K.ndim - 2) + [(0, -K.shape[-2] % 4), (0, 0)]
    return attention(Q, np.pad(K, pads), np.pad(V, pads), mask=mask)


def hidden_keys_in_the_maximum(Q, K, V, *, mask=None):
    """The maximum taken before the mask: a hidden key can make all visible ones underflow. Chapter 13."""
    O, L = attention(Q, K, V, mask=mask)
    Z = np.exp(_scores(Q, K, mask) - _scores(Q, K, None).max(-1, keepdims=True)).sum(-1)
    return np.where(Z[..., None] > 0, O, 0), np.where(Z > 0, L, -np.inf)
