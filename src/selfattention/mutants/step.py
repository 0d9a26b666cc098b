"""Wrong `step(Q, K, V, past_K, past_V) -> (O, K, V)`."""

import numpy as np

from selfattention import formulas


def _appended(K, V, past_K, past_V):
    return np.concatenate([past_K, K], axis=-2), np.concatenate([past_V, V], axis=-2)


def _read(Q, K, V, visible):
    """O of heads that read keys and values of their own or of their group, side by side."""
    times = Q.shape[-3] // K.shape[-3]
    K, V = (np.repeat(x, times, axis=-3) for x in (K, V))
    return formulas.masked_attention(Q, K, V, visible)


def _seen(Q, K, past=None):
    """j ≤ i + past: bottom-right, unless another `past` is given."""
    n, m = Q.shape[-2], K.shape[-2]
    return np.tri(n, m, m - n if past is None else past, dtype=bool)


def top_left_mask(Q, K, V, past_K, past_V):
    """The causal mask lies top left: the first new token sees the oldest key, and no more. Chapter 15."""
    K, V = _appended(K, V, past_K, past_V)
    return _read(Q, K, V, _seen(Q, K, past=0)), K, V


def itself_not_seen(Q, K, V, past_K, past_V):
    """The new token sees the cache, and not itself. Chapter 15."""
    past = past_K.shape[-2]
    K, V = _appended(K, V, past_K, past_V)
    return _read(Q, K, V, _seen(Q, K, past=past - 1)), K, V


def future_seen(Q, K, V, past_K, past_V):
    """No mask: of several new tokens the first sees the last. Chapter 15."""
    K, V = _appended(K, V, past_K, past_V)
    return _read(Q, K, V, np.ones((Q.shape[-2], K.shape[-2]), dtype=bool)), K, V


def groups_tiled(Q, K, V, past_K, past_V):
    """Heads dealt out one after another: head i reads group i mod g. Chapter 15, chapter 08."""
    K, V = _appended(K, V, past_K, past_V)
    copies = (Q.shape[-3] // K.shape[-3], 1, 1)
    return formulas.masked_attention(Q, np.tile(K, copies), np.tile(V, copies), _seen(Q, K)), K, V


def groups_averaged(Q, K, V, past_K, past_V):
    """All heads read the mean of the groups. Chapter 15."""
    K, V = _appended(K, V, past_K, past_V)
    one = (x.mean(-3, keepdims=True) for x in (K, V))
    return _read(Q, *one, _seen(Q, K)), K, V


def not_scaled(Q, K, V, past_K, past_V):
    """Scores without the 1/√d_k, which the layer was trained with. Chapter 15, chapter 04."""
    return formulas.step(Q * Q.shape[-1] ** 0.5, K, V, past_K, past_V)


def scaled_twice(Q, K, V, past_K, past_V):
    """Scores divided by d_k and not by its root. Chapter 15, chapter 04."""
    return formulas.step(Q * Q.shape[-1] ** -0.5, K, V, past_K, past_V)


def cache_never_read(Q, K, V, past_K, past_V):
    """The cache grows and is not read: new tokens see one another only. Chapter 15."""
    return _read(Q, K, V, _seen(Q, K)), *_appended(K, V, past_K, past_V)


def cache_never_grows(Q, K, V, past_K, past_V):
    """The output is right, and the cache is handed on as it came. Chapter 15."""
    return formulas.step(Q, K, V, past_K, past_V)[0], past_K.copy(), past_V.copy()


def values_not_appended(Q, K, V, past_K, past_V):
    """New values are read once and not kept: the cache repeats its last one in their place. Chapter 15."""
    O, K, V = formulas.step(Q, K, V, past_K, past_V)
    last = past_V.shape[-2] - 1
    return O, K, V[..., np.minimum(np.arange(V.shape[-2]), max(last, 0)), :]


def newest_first(Q, K, V, past_K, past_V):
    """New keys and values are put before the old ones. Chapter 15."""
    K, V = _appended(past_K, past_V, K, V)
    return _read(Q, K, V, _seen(Q, K)), K, V


def last_overwritten(Q, K, V, past_K, past_V):
    """The cache is written one place too early: the last cached token is lost. Chapter 15."""
    return formulas.step(Q, K, V, past_K[..., :-1, :], past_V[..., :-1, :])


def oldest_forgotten(Q, K, V, past_K, past_V):
    """A full cache drops its oldest row before the new tokens have read it. Chapter 15."""
    return formulas.step(Q, K, V, past_K[..., 1:, :], past_V[..., 1:, :])


def written_into_the_cache(Q, K, V, past_K, past_V):
    """The arrays that were given are written to: whoever keeps an earlier cache has lost it. Chapter 15."""
    result = formulas.step(Q, K, V, past_K, past_V)
    past_K[..., -1:, :], past_V[..., -1:, :] = K[..., -1:, :], V[..., -1:, :]
    return result


def kept_in_half_precision(Q, K, V, past_K, past_V):
    """Keys and values are rounded to float16 on their way into the cache. Chapter 15."""
    rounded = (x.astype(np.float16).astype(x.dtype) for x in (K, V))
    return formulas.step(Q, *rounded, past_K, past_V)
