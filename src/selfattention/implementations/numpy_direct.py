"""The formula as it is written: all scores at once, in NumPy. Memory n·m per head."""

import numpy as np

from selfattention.implementations import contract
from selfattention.implementations.contract import per_group, summed_over_group


@contract.forward
def attention(Q, K, V, rule, bias, scale):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    S = _scores(Q, K, rule, bias, scale)
    c = S.max(-1, keepdims=True, initial=-np.inf)
    c = np.where(np.isneginf(c), 0, c)
    E = np.exp(S - c)
    Z = E.sum(-1, keepdims=True)
    seen = Z > 0
    A = E / np.where(seen, Z, 1)
    L = np.log(Z, where=seen, out=np.full_like(Z, -np.inf)) + c
    return per_group(A, V), L[..., 0]


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    S = _scores(Q, K, rule, bias, scale)
    A = np.exp(S - np.where(np.isneginf(L), 0, L)[..., None])
    delta = (dO * O).sum(-1, keepdims=True)
    dS = A * (per_group(dO, V.swapaxes(-1, -2)) - delta) * scale
    return per_group(dS, K), summed_over_group(dS, Q, K), summed_over_group(A, dO, V)


def _scores(Q, K, rule, bias, scale):
    """S (b, h, n, m), −inf where the rule forbids."""
    S = per_group(Q, K.swapaxes(-1, -2)) * scale
    if bias is not None:
        S = S + bias
    visible = rule.tile(range(S.shape[-2]), range(S.shape[-1]))
    return np.where(visible, S, -np.inf).astype(Q.dtype, copy=False)
