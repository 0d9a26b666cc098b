"""The formula as it is written: all scores at once, in NumPy. Memory n·m per head."""

import numpy as np

from selfattention.implementations import contract


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
    return _per_group(A, V), L[..., 0]


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    S = _scores(Q, K, rule, bias, scale)
    A = np.exp(S - np.where(np.isneginf(L), 0, L)[..., None])
    delta = (dO * O).sum(-1, keepdims=True)
    dS = A * (_per_group(dO, V.swapaxes(-1, -2)) - delta) * scale
    return _per_group(dS, K), _summed_over_group(dS, Q, K), _summed_over_group(A, dO, V)


def _scores(Q, K, rule, bias, scale):
    """S (b, h, n, m), −inf where the rule forbids."""
    S = _per_group(Q, K.swapaxes(-1, -2)) * scale
    if bias is not None:
        S = S + bias
    visible = rule.tile(range(S.shape[-2]), range(S.shape[-1]))
    return np.where(visible, S, -np.inf).astype(Q.dtype, copy=False)


def _per_group(left, right):
    """left (b, h, n, p) times right (b, g, p, q): a group's heads stacked as rows, no key copied."""
    b, h, n, p = left.shape
    g = right.shape[1]
    return (left.reshape(b, g, h // g * n, p) @ right).reshape(b, h, n, right.shape[-1])


def _summed_over_group(left, right, like):
    """Σ over a group's heads of leftᵀ right: (b, h, n, p), (b, h, n, q) to (b, g, p, q)."""
    b, h, n, _ = left.shape
    g = like.shape[1]
    left, right = (array.reshape(b, g, h // g * n, array.shape[-1]) for array in (left, right))
    return left.swapaxes(-1, -2) @ right
