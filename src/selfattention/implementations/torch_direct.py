"""The formula as it is written, in PyTorch, on any device: the yardstick on a GPU. Memory n·m per head."""

import torch

from selfattention.implementations import contract


@contract.forward
def attention(Q, K, V, rule, bias, scale):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; differentiable in Q, K, V."""
    return _Attention.apply(Q, K, V, rule, bias, scale)


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    return _gradients(dO, None, Q, K, V, O, L, rule, bias, scale)


class _Attention(torch.autograd.Function):
    """Forward keeps O and L only; backward computes the weights again from L."""

    @staticmethod
    def forward(ctx, Q, K, V, rule, bias, scale):
        S = _scores(Q, K, rule, bias, scale)
        L = torch.logsumexp(S, dim=-1)
        O = _per_group(_weights(S, L), V)
        ctx.save_for_backward(Q, K, V, O, L)
        ctx.rest = rule, bias, scale
        return O, L

    @staticmethod
    def backward(ctx, dO, dL):
        return *_gradients(dO, dL, *ctx.saved_tensors, *ctx.rest), None, None, None


def _gradients(dO, dL, Q, K, V, O, L, rule, bias, scale):
    """The gradients of a loss that depends on O by dO and, where it does, on L by dL."""
    A = _weights(_scores(Q, K, rule, bias, scale), L)
    delta = (dO * O).sum(-1, keepdim=True)
    if dL is not None:
        delta = delta - dL[..., None]  # ∂L/∂S is A as well
    dS = A * (_per_group(dO, V.transpose(-1, -2)) - delta) * scale
    return _per_group(dS, K), _summed_over_group(dS, Q, K), _summed_over_group(A, dO, V)


def _scores(Q, K, rule, bias, scale):
    """S (b, h, n, m), −inf where the rule forbids."""
    S = _per_group(Q, K.transpose(-1, -2)) * scale
    if bias is not None:
        S = S + torch.as_tensor(bias, dtype=S.dtype, device=S.device)
    visible = torch.as_tensor(rule.tile(range(S.shape[-2]), range(S.shape[-1])), device=S.device)
    return S.masked_fill(~visible, -torch.inf)


def _weights(S, L):
    """exp(S − L); a row that may see nothing, L = −inf, has weights 0."""
    return torch.exp(S - L.masked_fill(L.isneginf(), 0)[..., None])


def _per_group(left, right):
    """left (b, h, n, p) times right (b, g, p, q), a group's heads stacked as rows."""
    b, h, n, p = left.shape
    g = right.shape[1]
    return (left.reshape(b, g, h // g * n, p) @ right).reshape(b, h, n, right.shape[-1])


def _summed_over_group(left, right, like):
    """Σ over a group's heads of leftᵀ right: (b, h, n, p), (b, h, n, q) to (b, g, p, q)."""
    b, h, n, _ = left.shape
    g = like.shape[1]
    left, right = (array.reshape(b, g, h // g * n, array.shape[-1]) for array in (left, right))
    return left.transpose(-1, -2) @ right
