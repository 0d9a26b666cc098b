"""The loop of chapter 13 in PyTorch, on any device: all heads of a tile at once. Memory linear in n and m."""

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations import contract
from selfattention.implementations.contract import before_cap, capped, per_group, summed_over_group
from selfattention.implementations.torch_autograd import differentiable
from selfattention.masks import Says

ROWS, COLUMNS = 128, 512  # a tile of the scores of all heads


@contract.forward
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; differentiable in all four."""
    return _differentiable(Q, K, V, rule, bias, scale, softcap)


def _states(Q, K, rule, bias, scale, softcap):
    """c and Z of every row: what L = c + ln Z can no longer tell where c is large."""
    Q = Q * scale
    c, Z = Q.new_full(Q.shape[:-1], -torch.inf), Q.new_zeros(Q.shape[:-1])
    for rows, columns, mask in _tiles(rule, Q, K):  # any c near the largest score will do: no slope in it
        S = _masked(_scores(Q.detach(), K.detach(), rows, columns, softcap), bias, rows, columns, mask)
        c[:, :, rows] = torch.maximum(c[:, :, rows], S.amax(-1))
    for rows, columns, mask in _tiles(rule, Q, K):
        S = _masked(_scores(Q, K, rows, columns, softcap), bias, rows, columns, mask)
        Z[:, :, rows] += torch.exp(S - _finite(c[:, :, rows])[..., None]).sum(-1)
    return c, Z


@contract.backward_from(_states)
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    """The scores of a tile are computed again, and L turns them into weights: A = e^{S − L}."""
    return _gradients(dO, None, Q, K, V, O, L, rule, bias, scale, softcap)


def _forward(Q, K, V, rule, bias, scale, softcap):
    """A state (c, Z, Õ) for every query, merged with that of each tile: c only ever rises."""
    Q = Q * scale
    O = Q.new_zeros(*Q.shape[:-1], V.shape[-1])
    c, Z = Q.new_full(Q.shape[:-1], -torch.inf), Q.new_zeros(Q.shape[:-1])
    for rows, columns, mask in _tiles(rule, Q, K):
        S = _masked(_scores(Q, K, rows, columns, softcap), bias, rows, columns, mask)
        highest = torch.maximum(c[:, :, rows], S.amax(-1))
        shift = _finite(highest)
        E, earlier = torch.exp(S - shift[..., None]), torch.exp(c[:, :, rows] - shift)
        c[:, :, rows] = highest
        Z[:, :, rows] = earlier * Z[:, :, rows] + E.sum(-1)
        O[:, :, rows] = earlier[..., None] * O[:, :, rows] + per_group(E, V[:, :, columns])
    return O / torch.where(Z > 0, Z, 1)[..., None], torch.log(Z) + _finite(c)


def _gradients(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap):
    """The gradients of a loss that depends on O by dO and, where it does, on L by dL."""
    Q = Q * scale
    dQ, dK, dV = torch.zeros_like(Q), torch.zeros_like(K), torch.zeros_like(V)
    delta = (dO * O).sum(-1)
    if dL is not None:
        delta = delta - dL  # ∂L/∂S is A as well
    for rows, columns, mask in _tiles(rule, Q, K):
        S = _scores(Q, K, rows, columns, softcap)
        A = torch.exp(_masked(S, bias, rows, columns, mask) - _finite(L[:, :, rows])[..., None])
        dA = per_group(dO[:, :, rows], V[:, :, columns].transpose(-1, -2))
        dS = before_cap(A * (dA - delta[:, :, rows, None]), S, softcap)
        dQ[:, :, rows] += per_group(dS, K[:, :, columns]) * scale
        dK[:, :, columns] += summed_over_group(dS, Q[:, :, rows], K)  # this Q has the scale in it
        dV[:, :, columns] += summed_over_group(A, dO[:, :, rows], V)
    return dQ, dK, dV


_differentiable = differentiable(_forward, contract.sent_back(_gradients, _states))


def _tiles(rule, Q, K):
    """(rows, columns, mask) of every tile that somebody may see; None where everybody sees all of it."""
    for i in range(0, Q.shape[2], ROWS):
        rows = range(i, min(i + ROWS, Q.shape[2]))
        for j in range(0, K.shape[2], COLUMNS):
            columns = range(j, min(j + COLUMNS, K.shape[2]))
            says = rule.says(rows, columns)
            if says is not Says.NOBODY:
                some = says is Says.SOMEBODY
                mask = torch.as_tensor(rule.tile(rows, columns), device=Q.device) if some else None
                yield slice(rows.start, rows.stop), slice(columns.start, columns.stop), mask


def _scores(Q, K, rows, columns, softcap):
    """S of one tile; Q has the scale in it."""
    return capped(per_group(Q[:, :, rows], K[:, :, columns].transpose(-1, -2)), softcap)


def _masked(S, bias, rows, columns, mask):
    """With the bias, and −inf where the rule forbids."""
    if bias is not None:
        S = S + bias[..., rows, columns].to(S.dtype)
    return S if mask is None else S.masked_fill(~mask, -torch.inf)


def _finite(x):
    """0 for −inf, the mark of a row that has seen nothing: −inf − (−inf) is not a number."""
    return x.masked_fill(x.isneginf(), 0)
