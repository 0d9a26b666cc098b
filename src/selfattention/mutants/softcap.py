"""Wrong `attention(Q, K, V, *, mask, bias, softcap) -> (O, L)`: where the cap stands, and what it does."""

import numpy as np

from selfattention.implementations.numpy_direct import attention


def _scores(Q, K):
    return Q @ K.swapaxes(-1, -2) * Q.shape[-1] ** -0.5


def _hidden(Q, K, mask, bias):
    """What is added to the scores: the bias, and −∞ where the mask forbids."""
    n, m = Q.shape[-2], K.shape[-2]
    added = np.zeros((n, m)) if bias is None else bias
    return added if mask is None else np.where(mask.tile(range(n), range(m)), added, -np.inf)


def _of(S, V):
    """O and L from scores."""
    L = np.logaddexp.reduce(S, axis=-1)
    return np.exp(S - L[..., None]) @ V, L


def cap_behind_the_mask(Q, K, V, *, mask=None, bias=None, softcap=1.0):
    """The cap behind the mask: −∞ becomes −C, and a hidden key has a weight again. Chapter 04."""
    S = _scores(Q, K) + _hidden(Q, K, mask, bias)
    return _of(softcap * np.tanh(S / softcap), V)


def bias_under_the_cap(Q, K, V, *, mask=None, bias=None, softcap=1.0):
    """The bias under the cap: it moves no score beyond C. Chapter 04."""
    S = _scores(Q, K) + _hidden(Q, K, None, bias)
    return _of(softcap * np.tanh(S / softcap) + _hidden(Q, K, mask, None), V)


def cap_before_the_scale(Q, K, V, *, mask=None, bias=None, softcap=1.0):
    """The products capped, and then divided by √d_k: scores stay within C / √d_k. Chapter 04."""
    narrower = softcap * Q.shape[-1] ** -0.5
    return attention(Q, K, V, mask=mask, bias=bias, softcap=narrower)


def factor_forgotten(Q, K, V, *, mask=None, bias=None, softcap=1.0):
    """tanh(S / C) without the factor C: all scores within ±1. Chapter 04."""
    return attention(Q / softcap, K, V, mask=mask, bias=bias, softcap=1.0)


def clipped(Q, K, V, *, mask=None, bias=None, softcap=1.0):
    """Scores clipped at ±C, not bent: two large ones weigh the same. Chapter 04."""
    S = np.clip(_scores(Q, K), -softcap, softcap)
    return _of(S + _hidden(Q, K, mask, bias), V)


def cap_forgotten(Q, K, V, *, mask=None, bias=None, softcap=1.0):
    """No cap at all, as in a path that ignores the argument. Chapter 04."""
    return attention(Q, K, V, mask=mask, bias=bias)
