"""Attention around a ring: keys and values travel, queries stay, and every rank merges what comes.

In step t rank r computes with keys of rank r − t, while they go on to rank r + 1 and the next ones arrive:
what is waited for is what the computing did not cover. Shards are passed around in pieces of `KEYS` keys, one
piece of every rank after the other, so that a rank holds its own shard and two pieces that travel. Of its
queries `ROWS` at a time meet them, in so many heads that these have `QUERIES` rows, and of those alone there
is another O. On the way back keys and values go around once more, and the sums of their gradients behind
them, one step later, until each has come home.

PyTorch has an experimental `context_parallel` of its own. In 2.13, on a processor and by the plain kernel, it
is right without a mask, for rows that it has put in zig-zag order, and raises an error for a causal one. It
knows no rules.
"""

from collections.abc import Iterator, Sequence
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
from selfattention.implementations.learned_sink import sink_backward
from selfattention.masks import Rule, Says
from selfattention.parallel.agreement import agreed
from selfattention.parallel.arguments import Share
from selfattention.parallel.links import Link
from selfattention.parallel.shards import (
    OfHeads,
    Placed,
    Shard,
    Shards,
    checked,
    pieces,
    places,
    places_within,
    tokens,
)
from selfattention.parallel.sums import shared

KEYS = 1024  # of a rank, that travel at a time: a message long enough to hide its latency
ROWS = 4096  # queries of a rank, that meet a piece at a time
QUERIES = 8192  # rows of all heads that do: of few rows more heads at a time, but always whole groups


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
    softcap: float | None = None,
    sink: Tensor | None = None,
    implementation: str = "torch_tiled",
) -> tuple[Tensor, Tensor]:
    """O = softmax(scale · Q Kᵀ + bias) V and L of this rank's queries, over the keys of all ranks.

    Q (…, h, n_r, d_k), K (…, g, m_r, d_k) and V (…, g, m_r, d_v) are the rows that `shards[rank]` names,
    and `key_shards[rank]` where the keys are divided otherwise, in that order: `shards.contiguous(n, p)`,
    `shards.zigzag(n, p)` or any other. `mask` is a rule, asked for the positions in the whole; `bias`
    (…, h, n_r, m) has this rank's rows and every key, in the order of positions. `sink` (h,) is the same on
    every rank. All else is as the contract of `implementations` has it; `implementation` names the one that
    computes a tile, which must take its weights from L on the way back: not `torch_direct`.

    Differentiable in Q, K, V, bias and sink: where it is, every rank has to go backward, for the gradients
    of its keys come from all of them. That of the sink is summed over the ranks, which adds bytes of its own.
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
        rest = mask, bias, scale, softcap, sink, implementation
        return Share("ring", link.rank, Q, K, V, queries, keys, *rest)

    own, _ = agreed(link, call, "ring", share)
    s = own.sink if own.sink is None else shared(own.sink, link, link.call(), "the sink")
    arrays = own.Q, own.K, own.V, own.bias
    if own.Q.dim() > 2:
        return _Ring.apply(*arrays, s, own, link, call)
    one_head = (None if array is None else array[None] for array in arrays)
    O, L = _Ring.apply(*one_head, s, own, link, call)
    return O[0], L[0]


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, Q, K, V, bias, sink, share, link, call):
        state = _State(Q, V, share)

        def meet(where, keys):
            for tile in _tiles(share, keys.spans):
                state.see(tile.mine, *tile.of(Q, keys.K, keys.V, bias))

        _around(link, call, share, K, V, "ring", meet)
        if sink is not None:
            state.see_sink(sink)
        O, L = state.finished(Q.dtype)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(Q, K, V, bias, sink, O, L, state.c, state.Z)
        ctx.rest = share, link, call
        return O, L

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dO, dL):
        Q, K, V, bias, sink, *states = ctx.saved_tensors
        share, link, call = ctx.rest
        back = _Back(share, Q, dO, dL, states, bias if ctx.needs_input_grad[3] else None)
        home = _Homeward(link, call, share, K, V)

        def meet(where, keys):
            sums = _Keys(keys.rank, keys.cut, K, V, torch.zeros_like(keys.packed, dtype=share.sums))
            for tile in _tiles(share, keys.spans):
                back.add(tile, *tile.of(Q, keys.K, keys.V, bias), sums.K, sums.V)
            home.add(where, sums)

        _around(link, call, share, K, V, "ring backward", meet)
        dK, dV = home.arrived()
        ds = sink_backward(back.dO, back.O, back.L, sink=sink) if ctx.needs_input_grad[4] else None
        return back.dQ.to(Q.dtype), dK.to(K.dtype), dV.to(V.dtype), back.dB, ds, None, None, None


# What travels ------------------------------------------------------------------------------------------


class _Keys:
    """The keys and values of a rank in a piece, `cut`, of all shards; or the gradients of both.

    In one flat message: K (…, g, m_i, d_k), then V (…, g, m_i, d_v).
    """

    def __init__(self, rank, cut: Shards, K, V, packed):
        self.rank, self.cut, self.spans, self.packed = rank, cut, cut[rank], packed
        shapes = [(*array.shape[:-2], tokens(self.spans), array.shape[-1]) for array in (K, V)]
        self.K, self.V = unpacked(self.packed, shapes)

    def places(self, shard):
        """Where each range stands here, and where in the rows of the whole shard."""
        return zip(places(self.spans), places_within(self.spans, shard), strict=True)


def _around(link, call, share, K, V, name, meet):
    """`meet(where, keys)` for every rank's keys, piece by piece, one's own first, while the next are coming.

    There is room for two pieces, which are filled by turns: `meet` must not keep what it has met.
    """
    behind, ahead = (link.rank - 1) % link.size, (link.rank + 1) % link.size
    cuts = pieces(share.key_shards, KEYS)
    longest = max(_words(spans, K, V) for cut in cuts for spans in cut)
    rooms = [K.new_empty(longest) for _ in range(min(2, link.size))]
    for i, cut in enumerate(cuts):
        piece = f", piece {i + 1} of {len(cuts)}" if len(cuts) > 1 else ""
        keys = _own(share, cut, K, V, rooms[0])
        for step in range(link.size):
            where, moving = f"step {step} of {name}{piece}", None
            if step < link.size - 1:
                coming = (keys.rank - 1) % link.size
                room = rooms[(step + 1) % 2][: _words(cut[coming], K, V)]
                moving = link.start(where, call, {ahead: keys.packed}, {behind: room}, room)
            with link.telling(where):
                meet(where, keys)
            if moving is not None:
                keys = _Keys(coming, cut, K, V, moving.wait()[behind])


def _own(share, cut, K, V, room):
    """A copy of this rank's own, in the order of its positions, wherever they lie in memory."""
    own = _Keys(share.rank, cut, K, V, room[: _words(cut[share.rank], K, V)])
    for here, there in own.places(share.key_shards[share.rank]):
        own.K[..., here, :], own.V[..., here, :] = K[..., there, :], V[..., there, :]
    return own


class _Homeward:
    """The sums of the gradients of each rank's keys: one's own stay, all others go on with what came.

    The last message of a piece, what all others add to one's own, is waited for in the next one's step 0.
    """

    def __init__(self, link, call, share, K, V):
        self.link, self.call, self.share, self.K, self.V = link, call, share, K, V
        self.behind, self.ahead = (link.rank - 1) % link.size, (link.rank + 1) % link.size
        self.dK, self.dV = (torch.zeros_like(array, dtype=share.sums) for array in (K, V))
        self.moving = self.cut = None

    def add(self, where, sums):
        """What this rank adds in this step, to the keys that were here in it."""
        if sums.rank == self.link.rank:
            self._settle()
            self._add_to_own(sums)
            return
        if self.moving is not None:
            sums.packed += self.moving.wait()[self.behind]
        coming = (sums.rank - 1) % self.link.size  # whose keys the rank behind has just done
        shape = (_words(sums.cut[coming], self.K, self.V),)
        message = {self.ahead: sums.packed}, {self.behind: shape}, sums.packed
        self.moving, self.cut = self.link.start(where, self.call, *message), sums.cut

    def arrived(self):
        """The gradients of one's own keys, from all ranks."""
        self._settle()
        return self.dK, self.dV

    def _settle(self):
        if self.moving is not None:
            came = self.moving.wait()[self.behind]
            self._add_to_own(_Keys(self.link.rank, self.cut, self.K, self.V, came))
            self.moving = None

    def _add_to_own(self, sums):
        for here, there in sums.places(self.share.key_shards[self.link.rank]):
            self.dK[..., there, :] += sums.K[..., here, :]
            self.dV[..., there, :] += sums.V[..., here, :]


def packed(*arrays: Tensor) -> Tensor:
    """One flat copy, array by array, each in the order of its positions, wherever they lie in memory."""
    return torch.cat([array.reshape(-1) for array in arrays])


def unpacked(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The arrays of these shapes that a flat message holds, without a copy."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    return [part.view(tuple(shape)) for part, shape in zip(flat.split(sizes), shapes, strict=True)]


def _words(spans, K, V):
    """How many numbers the keys and values of these positions are."""
    return tokens(spans) * sum(array.shape[:-2].numel() * array.shape[-1] for array in (K, V))


# What is computed ---------------------------------------------------------------------------------------


class _Tile:
    """Some of this rank's queries, in some heads, beside keys that are here, in one range, and their rule."""

    def __init__(self, share, rows, heads, columns, groups, keys, rule):
        self.share, self.keys, self.rule = share, keys, rule
        self.mine = ..., slice(heads.start, heads.stop), rows
        self.theirs = ..., slice(groups.start, groups.stop), columns, slice(None)

    def of(self, Q, K, V, bias):
        """The contract's arguments for this tile."""
        if bias is not None:
            bias = bias[*self.mine, self.keys.start : self.keys.stop]
        arrays = Q[*self.mine, :], K[self.theirs], V[self.theirs]
        scores = {"scale": self.share.scale, "softcap": self.share.softcap}
        return *arrays, scores | {"mask": self.rule, "bias": bias}


def _tiles(share, spans: Shard) -> Iterator[_Tile]:
    """The tiles of this rank's queries and those keys in which somebody may see somebody."""
    for rows, span in _rows(share.shards[share.rank]):
        for columns, keys in zip(places(spans), spans, strict=True):
            says = share.rule.says(span, keys)
            if says is Says.NOBODY:
                continue
            rule = Placed(share.rule, span.start, keys.start)
            for groups, heads in _heads(share.Q, share.K, len(span)):
                told = OfHeads(rule, heads) if says is Says.SOMEBODY else None
                yield _Tile(share, rows, heads, columns, groups, keys, told)


def _rows(shard):
    """A shard's rows, so many at a time: where they are, and their positions."""
    for place, span in zip(places(shard), shard, strict=True):
        for i in range(0, len(span), ROWS):
            part = span[i : i + ROWS]
            yield slice(place.start + i, place.start + i + len(part)), part


def _heads(Q, K, rows):
    """Groups and their heads, so many at a time that they have `QUERIES` rows, or one group."""
    h, g = (array.shape[-3] if array.dim() > 2 else 1 for array in (Q, K))
    if not g:
        return
    ratio = h // g
    count = max(1, QUERIES // (rows * ratio))
    for i in range(0, g, count):
        groups = range(i, min(i + count, g))
        yield groups, range(groups.start * ratio, groups.stop * ratio)


class _State:
    """c, Z and O of every query so far: the L and O of a tile are a state as well, (L, 1, O).

    Merged is their mean, O + w (O_t − O) with w = e^{L_t − c} / Z: it neither grows with Z nor drifts.
    """

    def __init__(self, Q, V, share):
        self.attention = share.module.attention
        self.c = Q.new_full(Q.shape[:-1], -torch.inf, dtype=share.sums)
        self.Z = torch.zeros_like(self.c)
        self.O = Q.new_zeros((*Q.shape[:-1], V.shape[-1]), dtype=share.sums)

    def see(self, mine, q, k, v, options):
        """What these queries know once they have seen a tile's keys."""
        self.merge(mine, *self.attention(q, k, v, **options))

    def see_sink(self, s):
        """One key more for all queries of a head, (s, 1, 0)."""
        nothing = self.O.new_zeros(()).expand(self.O.shape)
        self.merge((...,), nothing, s[:, None].expand(self.c.shape))

    def merge(self, mine, O, L):
        """In place, so that of all queries there is one O."""
        earlier = self.c[mine]
        c = torch.maximum(earlier, L)
        a, b = (torch.exp(x - finite(c)) for x in (earlier, L))
        Z = a * self.Z[mine] + b
        self.c[mine], self.Z[mine] = c, Z
        weight = b / torch.where(Z == 0, 1, Z)  # NaN stays
        self.O[*mine, :].lerp_(O.to(self.O.dtype), weight[..., None])

    def finished(self, dtype):
        """O, in the dtype of the inputs, and L."""
        return self.O.to(dtype), torch.log(self.Z) + finite(self.c)


class _Back:
    """dQ and dB, and what each tile sends back to its keys, by the weights A = e^{S − L} of the whole.

    So they are where L is near enough to 0 for its rounding not to show. Where it does, the tile takes its
    own weights A_t from its scores alone, and A = A_t e^{L_t − L}: a dO that is multiplied by this factor,
    beside the O of the whole, gives dS = A ∘ (dO Vᵀ − δ). Where the loss depends on L, δ is less by dL: one
    column more, of values 0, in which dO is 1 and O is −dL.
    """

    def __init__(self, share, Q, dO, dL, states, bias):
        self.share = share
        self.O, self.L, self.c, self.Z = states
        self.more = dL is not None
        self.live, self.hard = self.L.isfinite(), large(self.L)
        self.own_weights = bias is not None or bool(self.hard.any())
        self.dO = torch.zeros_like(self.O) if dO is None else dO
        if self.more:
            one = torch.where(dL.isfinite(), 1.0, torch.nan)[..., None]
            self.dO = torch.cat([self.dO, one.to(self.dO.dtype)], -1)
            self.O = torch.cat([self.O, -dL[..., None].to(self.O.dtype)], -1)
        self.dQ = torch.zeros_like(Q, dtype=share.sums)
        self.dB = None if bias is None else torch.zeros_like(bias, memory_format=torch.contiguous_format)

    def add(self, tile, q, k, v, options, dK, dV):
        mine = tile.mine
        (dO, O), (L, hard) = (x[*mine, :] for x in (self.dO, self.O)), (x[mine] for x in (self.L, self.hard))
        if self.more:
            v = torch.nn.functional.pad(v, (0, 1))
        if self.own_weights:
            _, L_t = self.share.module.attention(q, k, v, **options)
            scaled, own = self._by_own_weights(mine, L_t)
            if self.dB is not None:
                given = scaled, q, k, v, O, own
                self.dB[*mine, tile.keys.start : tile.keys.stop] = bias_backward(*given, **options)
            dO, L = torch.where(hard[..., None], scaled, dO), torch.where(hard, own, L)
        dq, dk, dv = self.share.module.attention_backward(dO, q, k, v, O, L, **options)
        self.dQ[*mine, :] += dq
        dK[tile.theirs] += dk
        dV[tile.theirs] += dv[..., : dV.shape[-1]]

    def _by_own_weights(self, mine, L_t):
        """dO times the tile's share of each row, e^{L_t − c} / Z, and L_t; of a row of NaN nothing."""
        c, Z, live = (x[mine] for x in (self.c, self.Z, self.live))
        part = torch.exp(L_t - finite(c)) / torch.where(Z > 0, Z, 1)
        dO = torch.where(live[..., None], part[..., None] * self.dO[*mine, :], 0)
        return dO.to(self.dO.dtype), torch.where(live, L_t, -torch.inf)


def large(L: Tensor) -> Tensor:
    """Where the rounding of L would show in the weights e^{S − L}."""
    return L.isfinite() & (abs(L) > LARGE)


def finite(x: Tensor) -> Tensor:
    """0 for −∞, the mark of a row that has seen nothing: −∞ − (−∞) is not a number."""
    return x.masked_fill(x.isneginf(), 0)
