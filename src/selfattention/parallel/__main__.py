"""A whole multi-head block over several processes, each way, and what it cost every rank.

    torchrun --standalone --nproc-per-node 2 -m selfattention.parallel
    torchrun --standalone --nproc-per-node 4 -m selfattention.parallel --way ring --tokens 1000 --mask causal

Prints for every rank what it held, sent, received and waited for, forward and backward, and how far its
outputs and gradients are from those of one process. `--help` lists the rest.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist
    from torch import Tensor

from selfattention import masks
from selfattention.implementations import torch_tiled
from selfattention.parallel.all_to_all import all_to_all
from selfattention.parallel.blocks import by_tokens
from selfattention.parallel.head_parallel import head_parallel, heads_of
from selfattention.parallel.links import Link
from selfattention.parallel.processes import joined
from selfattention.parallel.ring import ring
from selfattention.parallel.shards import contiguous, zigzag

WAYS = ("heads", "ring", "all-to-all")
NAMES = ("Y", "dX", "dW_Q", "dW_K", "dW_V", "dW_O")
Answers = list[Tensor]
"""Y and the five gradients."""


def main(arguments: list[str] | None = None) -> int:
    """Run each way that was asked for; 1 where an answer is not that of one process."""
    asked = arguments_of(arguments)
    try:
        with joined() as link:
            right = [_run(link, way, asked) for way in (WAYS if asked.way == "all" else [asked.way])]
        return 0 if all(right) else 1
    except (RuntimeError, ValueError, TypeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m selfattention.parallel", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--way", choices=(*WAYS, "all"), default="all", help="what is divided")
    parser.add_argument("--tokens", type=int, default=64, metavar="N")
    parser.add_argument("--d-model", type=int, default=32, metavar="D")
    parser.add_argument("--heads", type=int, default=8, metavar="H")
    parser.add_argument("--groups", type=int, metavar="G", help="of heads that share keys; H unless given")
    parser.add_argument("--mask", choices=("none", "causal"), default="causal")
    parser.add_argument("--shards", choices=("contiguous", "zigzag"), default="zigzag")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    asked.groups = asked.groups or asked.heads
    for name in "tokens", "d_model", "heads", "groups":
        if getattr(asked, name) < (0 if name == "tokens" else 1):
            parser.error(f"argument --{name.replace('_', '-')}: it is {getattr(asked, name)}")
    if asked.d_model % asked.heads or asked.heads % asked.groups:
        parser.error("wanted --groups that divide --heads, and --heads that divide --d-model")
    return asked


def _run(link: Link, way: str, asked: argparse.Namespace) -> bool:
    """One way, measured and compared; printed by rank 0. False where some rank is off."""
    arrays = _drawn(asked, link.device)
    held, cost, answers, wanted = (_by_heads if way == "heads" else _by_tokens)(link, way, asked, *arrays)
    error = max(_error(ours, theirs) for ours, theirs in zip(answers, wanted, strict=True))
    lines: list[Any] = [None] * link.size
    dist.all_gather_object(lines, [link.rank, held, *cost, error], group=link.group)
    allowed = 64 * torch.finfo(arrays[0].dtype).eps
    if link.rank == 0:
        _show(way, asked, lines, allowed)
    return all(line[-1] <= allowed for line in lines)


def _drawn(asked, device):
    """X, the four matrices and dY, the same on every rank."""
    rng = torch.Generator().manual_seed(asked.seed)
    d = asked.d_model // asked.heads
    width, narrow = asked.heads * d, asked.groups * d
    shapes = [(asked.tokens, asked.d_model)] + [(asked.d_model, w) for w in (width, narrow, narrow)]
    shapes += [(width, asked.d_model), (asked.tokens, asked.d_model)]
    drawn = [torch.randn(*shape, generator=rng, dtype=getattr(torch, asked.dtype)) for shape in shapes]
    matrices = [W / W.shape[0] ** 0.5 for W in drawn[1:5]]
    return [array.to(device) for array in (drawn[0], *matrices, drawn[5])]


def _by_heads(link, way, asked, X, W_Q, W_K, W_V, W_O, dY):
    rule, h, g = _rule(asked), asked.heads, asked.groups
    *own, heads, groups = heads_of(W_Q, W_K, W_V, W_O, h, g, rank=link.rank, p=link.size)
    block = partial(head_parallel, h=heads, g=groups, group=link, mask=rule)
    ours, cost = _measured(link, block, X, *own, dY)
    Y, dX, *gradients = _alone(asked, X, W_Q, W_K, W_V, W_O, dY)
    cut = heads_of(*gradients, h, g, rank=link.rank, p=link.size)[:4]
    return _bytes(X, *own, ours[0]), cost, ours, [Y, dX, *cut]


def _by_tokens(link, way, asked, X, W_Q, W_K, W_V, W_O, dY):
    shards = {"contiguous": contiguous, "zigzag": zigzag}[asked.shards](asked.tokens, link.size)
    rows = torch.tensor([i for span in shards[link.rank] for i in span], dtype=torch.long, device=X.device)
    attend = {"ring": ring, "all-to-all": all_to_all}[way]
    how = {"attend": attend, "group": link, "shards": shards, "mask": _rule(asked)}
    block = partial(by_tokens, h=asked.heads, g=asked.groups, **how)
    matrices = W_Q, W_K, W_V, W_O
    ours, cost = _measured(link, block, X[rows], *matrices, dY[rows])
    Y, dX, *gradients = _alone(asked, X, *matrices, dY)
    return _bytes(X[rows], *matrices, ours[0]), cost, ours, [Y[rows], dX[rows], *gradients]


def _alone(asked, X, W_Q, W_K, W_V, W_O, dY):
    """Y and the gradients in one process."""

    def block(X, W_Q, W_K, W_V, W_O):
        Q, K, V = (
            (X @ W).unflatten(-1, (heads, W.shape[1] // heads)).transpose(-3, -2)
            for W, heads in ((W_Q, asked.heads), (W_K, asked.groups), (W_V, asked.groups))
        )
        O, _ = torch_tiled.attention(Q, K, V, mask=_rule(asked))
        return O.transpose(-3, -2).flatten(-2) @ W_O

    return _forward_and_backward(block, X, W_Q, W_K, W_V, W_O, dY)


def _measured(link, block, *arrays):
    """Bytes in flight, sent and received, seconds waited and all of them; the first run makes connections."""
    _forward_and_backward(block, *arrays)
    before, began = (link.sent, link.received, link.waited), time.monotonic()
    link.most_in_flight = link.in_flight
    answers = _forward_and_backward(block, *arrays)
    seconds, after = time.monotonic() - began, (link.sent, link.received, link.waited)
    passed = [now - then for now, then in zip(after, before, strict=True)]
    return answers, [link.most_in_flight, *passed, seconds]


def _forward_and_backward(block: Callable[..., Tensor], *arrays: Tensor) -> Answers:
    *given, dY = arrays
    leaves = [array.detach().clone().requires_grad_() for array in given]
    Y = block(*leaves)
    return [Y.detach(), *torch.autograd.grad(Y, leaves, dY)]


def _rule(asked):
    return masks.causal if asked.mask == "causal" else None


def _error(ours, theirs):
    """The largest difference, in units of the largest number."""
    if not theirs.numel():
        return 0.0
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()


def _bytes(*arrays):
    return sum(array.numel() * array.element_size() for array in arrays)


def _show(way, asked, lines, allowed):
    words = f"{asked.tokens} tokens, {asked.heads} heads, {asked.groups} groups, {asked.mask}, {asked.dtype}"
    print(f"{way}: {words}")
    print("rank      held  in flight      sent  received    waited     took     error")
    for rank, held, flight, sent, received, waited, seconds, error in lines:
        numbers = (
            f"{held:9,} {flight:10,} {sent:9,} {received:9,} {waited:8.3f}s {seconds:7.3f}s {error:9.1e}"
        )
        print(f"{rank:4} {numbers}{'' if error <= allowed else '  not that of one process'}")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
