"""Attention around a ring: keys and values travel, queries stay, and every rank merges what comes.

In step t rank r computes with the shard of rank r − t, while that shard goes on to rank r + 1 and the next
one arrives: what is waited for is what the computing did not cover. A rank never holds more than its own
keys and two shards that travel. On the way back keys and values go around once more, and the sums of their
gradients behind them, one step later, until each has come home.

PyTorch has an experimental `context_parallel` of its own. In 2.13, on a processor and by the plain kernel, it
is right without a mask, and raises an error for a causal one; rules it has none.
"""

from collections.abc import Sequence
from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist
    from torch import Tensor
    from torch.autograd.function import once_differentiable
    from torch.distributed.device_mesh import DeviceMesh

from selfattention.implementations.contract import LARGE
from selfattention.implementations.learned_bias import bias_backward
from selfattention.masks import Rule, Says
from selfattention.parallel.agreement import agreed
from selfattention.parallel.arguments import Share
from selfattention.parallel.links import Link
from selfattention.parallel.shards import Placed, checked, places, tokens


def ring(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    *,
    group: "Link | dist.ProcessGroup | DeviceMesh | None" = None,
    shards: Sequence[Sequence[range]],
    key_shards: Sequence[Sequence[range]] | None = None,
    mask: Rule | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    implementation: str = "torch_tiled",
) -> tuple[Tensor, Tensor]:
    """O = softmax(scale · Q Kᵀ + bias) V and L of this rank's queries, over the keys of all ranks.

    Q (…, h, n_r, d_k), K (…, g, m_r, d_k) and V (…, g, m_r, d_v) are the rows that `shards[rank]` names,
    and `key_shards[rank]` where the keys are divided otherwise, in that order: `shards.contiguous(n, p)`,
    `shards.zigzag(n, p)` or any other. `mask` is a rule, asked for the positions in the whole; `bias`
    (…, h, n_r, m) has this rank's rows and every key, in the order of positions. All else is as the
    contract of `implementations` has it; `implementation` names the one that computes a tile, which must take
    its weights from L on the way back: not `torch_direct`.

    Differentiable in Q, K, V and bias: where it is, every rank has to go backward, for the gradients of
    its keys come from all of them.
    Raises TypeError or ValueError, naming the argument that does not fit, on the rank that has it, and
    RankFailed on the others; ValueError where two ranks differ; RankFailed where a rank does not answer.
    Source: Liu et al. 2023.
    """
    link = Link.of(group)
    call = link.call()

    def share():
        queries = checked("shards", shards, link.size)
        keys = queries if key_shards is None else checked("key_shards", key_shards, link.size)
        if implementation.startswith("torch_direct"):
            raise ValueError(
                f"implementation is {implementation!r}; wanted one that takes its weights from L"
            )
        return Share("ring", link.rank, Q, K, V, queries, keys, mask, bias, scale, implementation)

    own, _ = agreed(link, call, "ring", share)
    return _Ring.apply(own.Q, own.K, own.V, own.bias, own, link, call)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, Q, K, V, bias, share, link, call):
        state = _State(Q, V, share)
        kept = []
        for step, keys in _travelling(link, call, share, K, V, "ring"):
            with link.telling(f"step {step} of ring"):
                for tile in _tiles(share, keys.rank):
                    kept.append(state.seen(tile, *tile.of(Q, keys.K, keys.V, bias, share.scale)))
                    if not any(ctx.needs_input_grad):
                        kept.clear()
        O, L = state.finished(Q.dtype)
        if not (ctx.needs_input_grad[3] or large(L).any()):
            kept = []  # L alone tells the weights
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(Q, K, V, bias, O, L, state.c, state.Z, *kept)
        ctx.rest = share, link, call
        return O, L

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dO, dL):
        Q, K, V, bias, *states = ctx.saved_tensors
        share, link, call = ctx.rest
        back = _Back(share, Q, dO, dL, states, bias if ctx.needs_input_grad[3] else None)
        home = _Homeward(link, call, share, K, V)
        for step, keys in _travelling(link, call, share, K, V, "ring backward"):
            with link.telling(f"step {step} of ring backward"):
                dK, dV = (torch.zeros_like(array, dtype=share.sums) for array in (keys.K, keys.V))
                for tile in _tiles(share, keys.rank):
                    back.add(tile, *tile.of(Q, keys.K, keys.V, bias, share.scale), dK, dV)
            home.add(step, dK, dV)
        dK, dV = home.arrived()
        return back.dQ.to(Q.dtype), dK.to(K.dtype), dV.to(V.dtype), back.dB, None, None, None


# What travels ------------------------------------------------------------------------------------------


class _Keys:
    """Keys and values of a rank, in one flat message: K (…, g, m_r, d_k), then V (…, g, m_r, d_v)."""

    def __init__(self, rank, packed, share, K, V):
        self.rank, self.packed = rank, packed
        m = tokens(share.key_shards[rank])
        shapes = [(*array.shape[:-2], m, array.shape[-1]) for array in (K, V)]
        self.K, self.V = unpacked(packed, shapes)


def _travelling(link, call, share, K, V, name):
    """(step, keys) of every rank, one's own first, each while the next one is on its way."""
    behind, ahead = (link.rank - 1) % link.size, (link.rank + 1) % link.size
    keys = _Keys(link.rank, packed(K, V), share, K, V)
    for step in range(link.size):
        last, coming = step == link.size - 1, (keys.rank - 1) % link.size
        if not last:
            shape = (_words(share, coming, K, V),)
            moving = link.start(
                f"step {step} of {name}", call, {ahead: keys.packed}, {behind: shape}, keys.packed
            )
        yield step, keys
        if not last:
            keys = _Keys(coming, moving.wait()[behind], share, K, V)
            del moving  # and with it what has been sent, before the next one needs its place


class _Homeward:
    """The sums of the gradients of each rank's keys: one's own stay, all others go on with what came."""

    def __init__(self, link, call, share, K, V):
        self.link, self.call, self.share, self.K, self.V = link, call, share, K, V
        self.behind, self.ahead = (link.rank - 1) % link.size, (link.rank + 1) % link.size
        self.moving = self.own = None

    def add(self, step, dK, dV):
        """What this rank adds in this step, to the keys that were here in it."""
        if step == 0:
            self.own = dK, dV
            return
        mine = packed(dK, dV)
        if self.moving is not None:
            mine = mine + self.moving.wait()[self.behind]
        coming = (self.link.rank - 1 - step) % self.link.size  # the shard that the rank behind has just done
        shape, name = (_words(self.share, coming, self.K, self.V),), f"step {step} of ring backward"
        self.moving = self.link.start(name, self.call, {self.ahead: mine}, {self.behind: shape}, mine)

    def arrived(self):
        """The gradients of one's own keys, from all ranks."""
        if self.moving is None:
            return self.own
        shapes = [array.shape for array in self.own]
        others = unpacked(self.moving.wait()[self.behind], shapes)
        return tuple(one + other for one, other in zip(self.own, others, strict=True))


def packed(*arrays: Tensor) -> Tensor:
    """One flat copy, array by array, each in the order of its positions, wherever they lie in memory."""
    return torch.cat([array.reshape(-1) for array in arrays])


def unpacked(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The arrays of these shapes that a flat message holds, without a copy."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    return [part.view(tuple(shape)) for part, shape in zip(flat.split(sizes), shapes, strict=True)]


def _words(share, rank, K, V):
    """How many numbers the keys and values of a rank are."""
    per_key = sum(array.shape[:-2].numel() * array.shape[-1] for array in (K, V))
    return tokens(share.key_shards[rank]) * per_key


# What is computed ---------------------------------------------------------------------------------------


class _Tile:
    """Some of this rank's queries beside some of a rank's keys: where they are here, and in the whole."""

    def __init__(self, rows, columns, span, keys, rule):
        self.rows, self.columns, self.keys, self.rule = rows, columns, keys, rule
        self.down, self.along = span.start, keys.start

    def of(self, Q, K, V, bias, scale):
        """The contract's arguments for this tile."""
        rule = None if self.rule is None else Placed(self.rule, self.down, self.along)
        if bias is not None:
            bias = bias[..., self.rows, self.keys.start : self.keys.stop]
        arrays = Q[..., self.rows, :], K[..., self.columns, :], V[..., self.columns, :]
        return *arrays, {"mask": rule, "bias": bias, "scale": scale}


def _tiles(share, rank):
    """The tiles of this rank's queries and that rank's keys in which somebody may see somebody."""
    mine, theirs = share.shards[share.rank], share.key_shards[rank]
    for rows, span in zip(places(mine), mine, strict=True):
        for columns, keys in zip(places(theirs), theirs, strict=True):
            says = share.rule.says(span, keys)
            if says is not Says.NOBODY:
                rule = share.rule if says is Says.SOMEBODY else None
                yield _Tile(rows, columns, span, keys, rule)


class _State:
    """c, Z and Õ of every query so far: the L and O of a tile are a state as well, (L, 1, O)."""

    def __init__(self, Q, V, share):
        self.attention = share.module.attention
        self.c = Q.new_full(Q.shape[:-1], -torch.inf, dtype=share.sums)
        self.Z = torch.zeros_like(self.c)
        self.O = Q.new_zeros((*Q.shape[:-1], V.shape[-1]), dtype=share.sums)

    def seen(self, tile, q, k, v, options):
        """What the tile's queries know once they have seen its keys; its L."""
        O, L = self.attention(q, k, v, **options)
        self.merge(tile.rows, O, L)
        return L

    def merge(self, rows, O, L):
        earlier = self.c[..., rows]
        c = torch.maximum(earlier, L)
        a, b = (torch.exp(x - finite(c)) for x in (earlier, L))
        self.c[..., rows] = c
        self.Z[..., rows] = a * self.Z[..., rows] + b
        self.O[..., rows, :] = a[..., None] * self.O[..., rows, :] + b[..., None] * O

    def finished(self, dtype):
        """O, in the dtype of the inputs, and L."""
        Z = torch.where(self.Z == 0, 1, self.Z)  # NaN stays
        return (self.O / Z[..., None]).to(dtype), torch.log(self.Z) + finite(self.c)


class _Back:
    """dQ and dB, and what each tile sends back to its keys, by the weights A = e^{S − L} of the whole.

    So they are where L is near enough to 0 for its rounding not to show. Where it does, the tile takes its
    own weights A_t from its scores alone, and A = A_t e^{L_t − L}: a dO that is multiplied by this factor,
    beside the O of the whole, gives dS = A ∘ (dO Vᵀ − δ). Where the loss depends on L, δ is less by dL: one
    column more, of values 0, in which dO is 1 and O is −dL.
    """

    def __init__(self, share, Q, dO, dL, states, bias):
        self.share = share
        self.O, self.L, self.c, self.Z, *kept = states
        self.kept, self.more = iter(kept), dL is not None
        self.live, self.hard = self.L.isfinite(), large(self.L)
        self.dO = torch.zeros_like(self.O) if dO is None else dO
        if self.more:
            one = torch.where(dL.isfinite(), 1.0, torch.nan)[..., None]
            self.dO = torch.cat([self.dO, one.to(self.dO.dtype)], -1)
            self.O = torch.cat([self.O, -dL[..., None].to(self.O.dtype)], -1)
        self.dQ = torch.zeros_like(Q, dtype=share.sums)
        self.dB = None if bias is None else torch.zeros_like(bias, memory_format=torch.contiguous_format)

    def add(self, tile, q, k, v, options, dK, dV):
        rows, L_t = tile.rows, next(self.kept, None)
        dO, O, L, hard = (x[..., rows, :] for x in (self.dO, self.O, self.L[..., None], self.hard[..., None]))
        L = L[..., 0]
        if self.more:
            v = torch.nn.functional.pad(v, (0, 1))
        if L_t is not None:
            scaled, own = self._by_own_weights(rows, L_t)
            if self.dB is not None:
                given = scaled, q, k, v, O, own
                self.dB[..., rows, tile.keys.start : tile.keys.stop] = bias_backward(*given, **options)
            dO, L = torch.where(hard, scaled, dO), torch.where(hard[..., 0], own, L)
        dq, dk, dv = self.share.module.attention_backward(dO, q, k, v, O, L, **options)
        self.dQ[..., rows, :] += dq
        dK[..., tile.columns, :] += dk
        dV[..., tile.columns, :] += dv[..., : dV.shape[-1]]

    def _by_own_weights(self, rows, L_t):
        """dO times the tile's share of each row, e^{L_t − c} / Z, and L_t; of a row of NaN nothing."""
        c, Z, live = (x[..., rows] for x in (self.c, self.Z, self.live))
        part = torch.exp(L_t - finite(c)) / torch.where(Z > 0, Z, 1)
        dO = torch.where(live[..., None], part[..., None] * self.dO[..., rows, :], 0)
        return dO.to(self.dO.dtype), torch.where(live, L_t, -torch.inf)


def large(L: Tensor) -> Tensor:
    """Where the rounding of L would show in the weights e^{S − L}."""
    return L.isfinite() & (abs(L) > LARGE)


def finite(x: Tensor) -> Tensor:
    """0 for −∞, the mark of a row that has seen nothing: −∞ − (−∞) is not a number."""
    return x.masked_fill(x.isneginf(), 0)
