"""The formula as it is written, in PyTorch, on any device: the yardstick on a GPU. Memory n·m per head."""

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations import contract
from selfattention.implementations.contract import per_group, summed_over_group
from selfattention.implementations.torch_autograd import differentiable


@contract.forward
def attention(Q, K, V, rule, bias, scale):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; differentiable in all four."""
    return _differentiable(Q, K, V, rule, bias, scale)


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    return _gradients(dO, None, Q, K, V, O, L, rule, bias, scale)


def _forward(Q, K, V, rule, bias, scale):
    S = _scores(Q, K, rule, bias, scale)
    return per_group(_weights(S), V), torch.logsumexp(S, dim=-1)


def _gradients(dO, dL, Q, K, V, O, L, rule, bias, scale):
    """The gradients of a loss that depends on O by dO and, where it does, on L by dL."""
    A = _weights(_scores(Q, K, rule, bias, scale))
    delta = (dO * O).sum(-1, keepdim=True)
    if dL is not None:
        delta = delta - dL[..., None]  # ∂L/∂S is A as well
    dS = A * (per_group(dO, V.transpose(-1, -2)) - delta) * scale
    return per_group(dS, K), summed_over_group(dS, Q, K), summed_over_group(A, dO, V)


_differentiable = differentiable(_forward, contract.sent_back(_gradients))


def _scores(Q, K, rule, bias, scale):
    """S (b, h, n, m), −inf where the rule forbids."""
    S = per_group(Q, K.transpose(-1, -2)) * scale
    if bias is not None:
        S = S + bias.to(S.dtype)
    visible = torch.as_tensor(rule.tile(range(S.shape[-2]), range(S.shape[-1])), device=S.device)
    return S.masked_fill(~visible, -torch.inf)


def _weights(S):
    """softmax(S), and 0 in a row that may see nothing.

    Not e^{S − L}: with L's rounding error in them, the weights would not sum to one, and O · dO would
    not be the δ that makes a row of dS sum to zero.
    """
    return torch.softmax(S, dim=-1).masked_fill((S == -torch.inf).all(-1, keepdim=True), 0)
