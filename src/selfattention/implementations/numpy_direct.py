"""The formula as it is written: all scores at once, in NumPy. Memory n·m per head."""

import numpy as np

from selfattention.implementations import contract
from selfattention.implementations.contract import before_cap, capped, per_group, summed_over_group
from selfattention.implementations.stepping import stepping


@contract.forward
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    A, L = _weights(_masked(_scores(Q, K, scale, softcap), rule, bias))
    return per_group(A, V), L


def _seen(rule, n, m, dtype):
    """Who sees whom, and how many keys there are."""
    return rule.tile(range(n), range(m)), m


@stepping(attention, _seen)
def steps(Q, K, V, plan, scale, softcap):
    """The steps of decoding on a cache, checked once: see `stepping`."""
    visible, m = plan
    S = per_group(Q, K[:, :, :m].swapaxes(-1, -2)) * scale
    A, L = _weights(np.where(visible, capped(S, softcap), -np.inf))
    return per_group(A, V[:, :, :m]), L, (np.isfinite(S) | ~visible).all()


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap, sink):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    A, slopes = _weights_and_slopes(_scores(Q, K, scale, softcap), rule, bias, softcap, sink)
    delta = (dO * O).sum(-1, keepdims=True)
    dS = A * (per_group(dO, V.swapaxes(-1, -2)) - delta) * (slopes * scale)
    return per_group(dS, K), summed_over_group(dS, Q, K), summed_over_group(A, dO, V)


def _weights_and_slopes(S, rule, bias, softcap, sink):
    """A, not from e^{S − L}, since a large L has lost ln Z; and the cap's slopes 1 − tanh², 1 without one."""
    slopes = before_cap(1, S, softcap)
    S = _masked(S, rule, bias)  # and those without the mask are let go
    return _weights(S, sink)[0], slopes


def _weights(S, sink=None):
    """A = e^{S − c} / Z and L = c + ln Z; 0 and −inf for a row that may see nothing. A sink adds to Z."""
    c = S.max(-1, keepdims=True, initial=-np.inf)
    c = c if sink is None else np.maximum(c, sink[..., None])
    c = np.where(np.isneginf(c), 0, c)
    E = np.exp(S - c)
    Z = E.sum(-1, keepdims=True)
    Z = Z if sink is None else Z + np.exp(sink[..., None] - c)
    seen = Z > 0
    L = np.log(Z, where=seen, out=np.full_like(Z, -np.inf)) + c
    return E / np.where(seen, Z, 1), L[..., 0]


def _scores(Q, K, scale, softcap):
    """S (b, h, n, m), of all pairs."""
    return capped(per_group(Q, K.swapaxes(-1, -2)) * scale, softcap)


def _masked(S, rule, bias):
    """With the bias, and −inf where the rule forbids."""
    dtype = S.dtype
    if bias is not None:
        S = S + bias
    visible = rule.tile(range(S.shape[-2]), range(S.shape[-1]))
    return np.where(visible, S, -np.inf).astype(dtype, copy=False)
