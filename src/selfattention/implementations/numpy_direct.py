"""The formula as it is written: all scores at once, in NumPy. Memory n·m per head."""

import numpy as np

from selfattention.implementations import contract
from selfattention.implementations.contract import per_group, summed_over_group
from selfattention.implementations.stepping import stepping


@contract.forward
def attention(Q, K, V, rule, bias, scale):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    A, L = _weights(_scores(Q, K, rule, bias, scale))
    return per_group(A, V), L


def _seen(rule, n, m, dtype):
    """Who sees whom, and how many keys there are."""
    return rule.tile(range(n), range(m)), m


@stepping(attention, _seen)
def steps(Q, K, V, plan, scale):
    """The steps of decoding on a cache, checked once: see `stepping`."""
    visible, m = plan
    S = per_group(Q, K[:, :, :m].swapaxes(-1, -2)) * scale
    A, L = _weights(np.where(visible, S, -np.inf))
    return per_group(A, V[:, :, :m]), L, (np.isfinite(S) | ~visible).all()


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    A, _ = _weights(_scores(Q, K, rule, bias, scale))  # not e^{S − L}: where L is large, it has lost ln Z
    delta = (dO * O).sum(-1, keepdims=True)
    dS = A * (per_group(dO, V.swapaxes(-1, -2)) - delta) * scale
    return per_group(dS, K), summed_over_group(dS, Q, K), summed_over_group(A, dO, V)


def _weights(S):
    """A = e^{S − c} / Z and L = c + ln Z; 0 and −inf for a row that may see nothing."""
    c = S.max(-1, keepdims=True, initial=-np.inf)
    c = np.where(np.isneginf(c), 0, c)
    E = np.exp(S - c)
    Z = E.sum(-1, keepdims=True)
    seen = Z > 0
    L = np.log(Z, where=seen, out=np.full_like(Z, -np.inf)) + c
    return E / np.where(seen, Z, 1), L[..., 0]


def _scores(Q, K, rule, bias, scale):
    """S (b, h, n, m), −inf where the rule forbids."""
    S = per_group(Q, K.swapaxes(-1, -2)) * scale
    if bias is not None:
        S = S + bias
    visible = rule.tile(range(S.shape[-2]), range(S.shape[-1]))
    return np.where(visible, S, -np.inf).astype(Q.dtype, copy=False)
