"""Wrong `attention(Q, K, V, *, mask) -> (O, L)` by the contract of the implementations."""

import numpy as np

from selfattention.implementations.numpy_direct import attention


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
    S = Q @ np.repeat(K, Q.shape[-3] // K.shape[-3], axis=-3).swapaxes(-1, -2) * Q.shape[-1] ** -0.5
    if mask is not None:
        S = np.where(mask.tile(range(Q.shape[-2]), range(K.shape[-2])), S, -np.inf)
    return O, L - S.max(-1)


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
