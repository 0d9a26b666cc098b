"""Attention with heads and tokens changing places: before it all ranks have some tokens of every head, in it
every token of some heads, afterwards what they had. Two messages from everybody to everybody, and between
them a rank computes as if it were alone.
"""

from collections.abc import Sequence
from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist
    from torch import Tensor
    from torch.distributed.device_mesh import DeviceMesh

from selfattention.masks import Rule
from selfattention.parallel.agreement import agreed
from selfattention.parallel.arguments import Share
from selfattention.parallel.links import Link
from selfattention.parallel.ring import packed, unpacked
from selfattention.parallel.shards import Placed, checked, contiguous, places, tokens, total


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
    implementation: str = "torch_tiled",
) -> tuple[Tensor, Tensor]:
    """O = softmax(scale · Q Kᵀ + bias) V and L of this rank's queries, over the keys of all ranks.

    Arguments, answers and errors are those of `ring.ring`. Rank r computes the groups of heads that
    `shards.contiguous(g, p)` gives it, so there may be no more ranks than groups: ValueError, naming K.
    A bias changes places as well, which adds its own bytes.
    Source: Jacobs et al. 2023, section 3.
    """
    link = Link.of(group)
    call = link.call()

    def share():
        queries = checked("shards", shards, link.size)
        keys = queries if key_shards is None else checked("key_shards", key_shards, link.size)
        own = Share("all_to_all", link.rank, Q, K, V, queries, keys, mask, bias, scale, implementation)
        groups = (1, *K.shape)[-3]
        if groups < link.size:
            raise ValueError(f"K has {groups} heads for {link.size} ranks; wanted a head for every rank")
        return own

    mine = []
    agreed(link, call, "all_to_all", lambda: (mine.append(share()), mine[0].described())[1])
    (own,) = mine
    return _attend(own, link, call)


def _attend(own, link, call):
    Q, K, V, bias = (_with_heads(array) for array in (own.Q, own.K, own.V, own.bias))
    swap = _Swap(link, call, own, Q.shape[-3], K.shape[-3])
    by_query, by_key = (own.shards, swap.heads), (own.key_shards, swap.groups)
    Q, K, V = _ToHeads.apply(swap, "Q, K and V", (by_query, by_key, by_key), Q, K, V)
    if bias is not None:
        (bias,) = _ToHeads.apply(swap, "bias", (by_query,), bias)
    with link.telling("the attention of all_to_all"):
        rule = Placed(own.rule, heads=swap.heads[link.rank])
        O, L = own.module.attention(Q, K, V, mask=rule, bias=bias, scale=own.scale)
    (O,) = _ToTokens.apply(swap, "O", (by_query,), O)
    (L,) = _ToTokens.apply(swap, "L", (by_query,), L[..., None])
    return O.reshape(*own.Q.shape[:-1], O.shape[-1]), L.reshape(own.Q.shape[:-1])


def _with_heads(array):
    return array if array is None or array.dim() > 2 else array[None]


class _Swap:
    """Who has which heads and which tokens, before and after."""

    def __init__(self, link, call, own, h, g):
        self.link, self.call = link, call
        self.groups = [block for (block,) in contiguous(g, link.size)]
        each = h // g
        self.heads = [range(block.start * each, block.stop * each) for block in self.groups]

    def to_heads(self, name, plans, arrays):
        """From (…, heads, n_r, d) to (…, heads_r, n, d)."""
        rank, everybody = self.link.rank, range(self.link.size)
        parts = [
            [array[..., _of(heads[peer]), :, :] for (_, heads), array in zip(plans, arrays, strict=True)]
            for peer in everybody
        ]
        shapes = [
            [
                (*array.shape[:-3], len(heads[rank]), tokens(shards[peer]), array.shape[-1])
                for (shards, heads), array in zip(plans, arrays, strict=True)
            ]
            for peer in everybody
        ]
        pieces = self._exchanged(f"the message of {name} in all_to_all", parts, shapes)
        return tuple(
            in_order([pieces[peer][which] for peer in everybody], shards)
            for which, (shards, _) in enumerate(plans)
        )

    def to_tokens(self, name, plans, arrays):
        """From (…, heads_r, n, d) to (…, heads, n_r, d)."""
        rank, everybody = self.link.rank, range(self.link.size)
        parts = [
            [rows_of(array, shards[peer]) for (shards, _), array in zip(plans, arrays, strict=True)]
            for peer in everybody
        ]
        shapes = [
            [
                (*array.shape[:-3], len(heads[peer]), tokens(shards[rank]), array.shape[-1])
                for (shards, heads), array in zip(plans, arrays, strict=True)
            ]
            for peer in everybody
        ]
        pieces = self._exchanged(f"the message of {name} in all_to_all", parts, shapes)
        return tuple(
            torch.cat([pieces[peer][which] for peer in everybody], dim=-3) for which in range(len(plans))
        )

    def _exchanged(self, step, parts, shapes):
        """What every rank has for this one, its own part included; one message to and from each."""
        rank = self.link.rank
        others = [peer for peer in range(self.link.size) if peer != rank]
        send = {peer: packed(*parts[peer]) for peer in others}
        receive = {peer: (sum(torch.Size(shape).numel() for shape in shapes[peer]),) for peer in others}
        came = self.link.start(step, self.call, send, receive, parts[rank][0]).wait()
        return [
            parts[rank] if peer == rank else unpacked(came[peer], shapes[peer])
            for peer in range(self.link.size)
        ]


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swap, name, plans, *arrays):
        ctx.rest = swap, f"the gradients of {name}", plans
        return swap.to_heads(name, plans, arrays)

    @staticmethod
    def backward(ctx: Any, *gradients):
        swap, name, plans = ctx.rest
        return None, None, None, *swap.to_tokens(name, plans, gradients)


class _ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swap, name, plans, *arrays):
        ctx.rest = swap, f"the gradient of {name}", plans
        return swap.to_tokens(name, plans, arrays)

    @staticmethod
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


def _of(span):
    return slice(span.start, span.stop)
