"""The formula as it is written, in PyTorch, on any device: the yardstick on a GPU. Memory n·m per head."""

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations import contract
from selfattention.implementations.contract import before_cap, capped, per_group, summed_over_group
from selfattention.implementations.torch_autograd import differentiable


@contract.forward
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; differentiable in all four."""
    return _differentiable(Q, K, V, rule, bias, scale, softcap)


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap, sink):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    return _gradients(dO, None, Q, K, V, O, L, rule, bias, scale, softcap, sink)


def _forward(Q, K, V, rule, bias, scale, softcap):
    S = _masked(_scores(Q, K, scale, softcap), rule, bias)
    return per_group(_weights(S), V), torch.logsumexp(S, dim=-1)


def _gradients(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap, sink):
    """The gradients of a loss that depends on O by dO and, where it does, on L by dL."""
    A, slopes = _weights_and_slopes(_scores(Q, K, scale, softcap), rule, bias, softcap, sink)
    delta = (dO * O).sum(-1, keepdim=True)
    if dL is not None:
        delta = delta - dL[..., None]  # ∂L/∂S is A as well
    dS = A * (per_group(dO, V.transpose(-1, -2)) - delta) * (slopes * scale)
    return per_group(dS, K), summed_over_group(dS, Q, K), summed_over_group(A, dO, V)


_differentiable = differentiable(_forward, contract.sent_back(_gradients))


def _weights_and_slopes(S, rule, bias, softcap, sink):
    """A, and the cap's slopes 1 − tanh², 1 without one."""
    slopes = before_cap(1, S, softcap)
    S = _masked(S, rule, bias)  # and those without the mask are let go
    return _weights(S, sink), slopes


def _scores(Q, K, scale, softcap):
    """S (b, h, n, m), of all pairs."""
    return capped(per_group(Q, K.transpose(-1, -2)) * scale, softcap)


def _masked(S, rule, bias):
    """With the bias, and −inf where the rule forbids."""
    if bias is not None:
        S = S + bias.to(S.dtype)
    visible = torch.as_tensor(rule.tile(range(S.shape[-2]), range(S.shape[-1])), device=S.device)
    return S.masked_fill(~visible, -torch.inf)


def _weights(S, sink=None):
    """softmax(S), and 0 in a row that may see nothing; a sink is one column more, of which nothing is kept.

    Not e^{S − L}: with L's rounding error in them, the weights would not sum to one, and O · dO would
    not be the δ that makes a row of dS sum to zero.
    """
    if sink is not None:
        column = sink[..., None].expand(*S.shape[:-1], 1)
        return _weights(torch.cat([S, column], dim=-1))[..., :-1]
    return torch.softmax(S, dim=-1).masked_fill((S == -torch.inf).all(-1, keepdim=True), 0)
