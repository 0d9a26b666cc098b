"""Attention with heads and tokens changing places, twice: each rank computes some heads of all tokens.

Before, all ranks have some tokens of every head, and afterwards they do again. Two messages from everybody
to everybody, and between them a rank computes as if it were alone.
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

from selfattention.masks import Rule
from selfattention.parallel.agreement import agreed
from selfattention.parallel.arguments import Share
from selfattention.parallel.links import Link
from selfattention.parallel.ring import packed, unpacked
from selfattention.parallel.shards import OfHeads, checked, contiguous, places, tokens
from selfattention.parallel.sums import shared


def all_to_all(
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

    Arguments, answers and errors are those of `ring.ring`. Rank r computes the groups of heads that
    `shards.contiguous(g, p)` gives it, so there may be no more ranks than groups: ValueError, naming K.
    A bias changes places as well, which adds its own bytes.
    Source: Jacobs et al. 2023.
    """
    link = Link.of(group)
    call = link.call()

    def share():
        queries = checked("shards", shards, link.size)
        keys = queries if key_shards is None else checked("key_shards", key_shards, link.size)
        rest = mask, bias, scale, softcap, sink, implementation
        own = Share("all_to_all", link.rank, Q, K, V, queries, keys, *rest)
        groups = (1, *K.shape)[-3]
        if groups < link.size:
            raise ValueError(f"K has {groups} heads for {link.size} ranks; wanted a head for every rank")
        return own

    own, _ = agreed(link, call, "all_to_all", share)
    return _attend(own, link, call)


def _attend(own, link, call):
    Q, K, V, bias = (_with_heads(array) for array in (own.Q, own.K, own.V, own.bias))
    swap = _Swap(link, call, own, Q.shape[-3], K.shape[-3])
    by_query, by_key = (own.shards, swap.heads), (own.key_shards, swap.groups)
    Q, K, V = _ToHeads.apply(swap, "Q, K and V", (by_query, by_key, by_key), Q, K, V)
    if bias is not None:
        (bias,) = _ToHeads.apply(swap, "bias", (by_query,), bias)
    heads = swap.heads[link.rank]
    sink = own.sink
    if sink is not None:
        sink = shared(sink, link, link.call(), "the sink")[_of(heads)]
    with link.telling("the attention of all_to_all"):
        scores = {"mask": OfHeads(own.rule, heads), "bias": bias, "scale": own.scale}
        O, L = own.module.attention(Q, K, V, **scores, softcap=own.softcap, sink=sink)
    O, L = _ToTokens.apply(swap, "O and L", (by_query, by_query), O, L[..., None])
    return O.reshape(*own.Q.shape[:-1], O.shape[-1]), L.reshape(own.Q.shape[:-1])


def _with_heads(array):
    return array if array is None or array.dim() > 2 else array[None]


class _Swap:
    """Who has which heads and which tokens, before and after."""

    def __init__(self, link, call, own, h, g):
        self.link, self.call, self.ranks = link, call, range(link.size)
        self.groups = [block for (block,) in contiguous(g, link.size)]
        each = h // g
        self.heads = [range(block.start * each, block.stop * each) for block in self.groups]

    def to_heads(self, name, plans, arrays):
        """From (…, heads, n_r, d) to (…, heads_r, n, d); a plan says who has which tokens and which heads."""
        mine = self.link.rank
        pieces = self._exchanged(
            name,
            [
                [_heads(a, heads[peer]) for (_, heads), a in zip(plans, arrays, strict=True)]
                for peer in self.ranks
            ],
            [
                [
                    _shape(a, heads[mine], shards[peer])
                    for (shards, heads), a in zip(plans, arrays, strict=True)
                ]
                for peer in self.ranks
            ],
        )
        return tuple(in_order(came, shards) for came, (shards, _) in zip(pieces, plans, strict=True))

    def to_tokens(self, name, plans, arrays):
        """From (…, heads_r, n, d) to (…, heads, n_r, d)."""
        mine = self.link.rank
        pieces = self._exchanged(
            name,
            [
                [rows_of(a, shards[peer]) for (shards, _), a in zip(plans, arrays, strict=True)]
                for peer in self.ranks
            ],
            [
                [
                    _shape(a, heads[peer], shards[mine])
                    for (shards, heads), a in zip(plans, arrays, strict=True)
                ]
                for peer in self.ranks
            ],
        )
        return tuple(torch.cat(came, dim=-3) for came in pieces)

    def _exchanged(self, name, parts, shapes):
        """For every array what all ranks have for this one; one message of each dtype to and from each."""
        pieces = [None] * len(parts[self.link.rank])
        for dtype in dict.fromkeys(part.dtype for part in parts[self.link.rank]):
            alike = [i for i, part in enumerate(parts[self.link.rank]) if part.dtype == dtype]
            came = self._of_one_dtype(
                name, *([[of[i] for i in alike] for of in lists] for lists in (parts, shapes))
            )
            for i, piece in zip(alike, came, strict=True):
                pieces[i] = piece
        return pieces

    def _of_one_dtype(self, name, parts, shapes):
        mine, step = self.link.rank, f"the message of {name} in all_to_all"
        others = [peer for peer in self.ranks if peer != mine]
        send = {peer: packed(*parts[peer]) for peer in others}
        receive = {peer: (sum(torch.Size(shape).numel() for shape in shapes[peer]),) for peer in others}
        came = self.link.start(step, self.call, send, receive, parts[mine][0]).wait()
        by_rank = [parts[mine] if peer == mine else unpacked(came[peer], shapes[peer]) for peer in self.ranks]
        return [list(pieces) for pieces in zip(*by_rank, strict=True)]


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swap, name, plans, *arrays):
        ctx.rest = swap, f"the gradients of {name}", plans
        return swap.to_heads(name, plans, arrays)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients):
        swap, name, plans = ctx.rest
        return None, None, None, *swap.to_tokens(name, plans, gradients)


class _ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swap, name, plans, *arrays):
        ctx.rest = swap, f"the gradients of {name}", plans
        return swap.to_tokens(name, plans, arrays)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients):
        swap, name, plans = ctx.rest
        return None, None, None, *swap.to_heads(name, plans, gradients)


def in_order(pieces: Sequence[Tensor], shards: Sequence[Sequence[range]]) -> Tensor:
    """The rows (…, n_r, d) of all ranks in one array (…, n, d), in the order of their positions."""
    spans = [
        (span.start, piece[..., rows, :])
        for piece, shard in zip(pieces, shards, strict=True)
        for rows, span in zip(places(shard), shard, strict=True)
    ]
    ordered = [part for _, part in sorted(spans, key=lambda pair: pair[0])]
    return torch.cat(ordered, dim=-2) if ordered else pieces[0]


def rows_of(array: Tensor, shard: Sequence[range]) -> Tensor:
    """The rows (…, n_r, d) of a shard, out of all of them (…, n, d)."""
    parts = [array[..., _of(span), :] for span in shard]
    return torch.cat(parts, dim=-2) if parts else array[..., :0, :]


def _heads(array, heads):
    return array[..., _of(heads), :, :]


def _shape(array, heads, shard):
    return *array.shape[:-3], len(heads), tokens(shard), array.shape[-1]


def _of(span):
    return slice(span.start, span.stop)
