"""What `torch.distributed` lets pass over gloo, and what becomes of the same here: for two ranks to run.

Each function is what one rank does, `function(link)`, and gives what is there on that rank afterwards. None
of the library's messages below is an error.
"""

import os
import signal
import time
from datetime import timedelta
from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import DeviceMesh

from selfattention.parallel.links import Link
from selfattention.parallel.ring import ring
from selfattention.parallel.shards import contiguous, tokens
from selfattention.parallel.sums import summed

HURRY = 3  # seconds that a message may take which is not going to arrive


def heads_first(link: Link) -> list[list[float]]:
    """The head-split view of three tokens 0, 10, 20 with heads 0 and 1, broadcast by rank 0."""
    view = _split_view()
    array = view if link.rank == 0 else torch.zeros(view.shape)
    dist.broadcast(array, group=link.group, group_src=0)
    return array.tolist()


def heads_first_by_link(link: Link) -> list[list[float]]:
    """The same view, sent by a `Link`."""
    view, other = _split_view(), 1 - link.rank
    send, receive = ({other: view}, {}) if link.rank == 0 else ({}, {other: view.shape})
    came = link.start("a test", link.call(), send, receive, view).wait()
    return came.get(other, view).tolist()


def _split_view():
    """(heads, tokens): entry (h, t) is 10 t + h."""
    return torch.arange(0.0, 30, 10)[:, None].add(torch.arange(2.0)).transpose(0, 1)


def shorter_message(link: Link) -> list[float]:
    """Rank 0 sends 4 numbers; rank 1 has room for 6, all −1."""
    if link.rank == 0:
        array = torch.arange(4.0)
        dist.send(array, group=link.group, group_dst=1)
    else:
        array = torch.full((6,), -1.0)
        dist.recv(array, group=link.group, group_src=0)
    return array.tolist()


def other_shape(link: Link) -> list[list[float]]:
    """The sum of 2 × 3 numbers on rank 0 and 3 × 2 on rank 1."""
    array = torch.arange(6.0).reshape((2, 3) if link.rank == 0 else (3, 2))
    dist.all_reduce(array, group=link.group)
    return array.tolist()


def everybody_sends_first(link: Link) -> bool:
    """A ring as one writes it down: send to the next one, then receive; whether anything arrives."""
    group = dist.new_group(timeout=timedelta(seconds=HURRY))
    array, ahead, behind = torch.ones(4), (link.rank + 1) % link.size, (link.rank - 1) % link.size
    try:
        dist.send(array, group=group, group_dst=ahead)
        dist.recv(array, group=group, group_src=behind)
    except RuntimeError:  # on one rank that time is up, on the other that the first one is gone
        return False
    return True


def gradients_of_a_sum(link: Link) -> tuple[float, float]:
    """dℓ/dx of ℓ = y on every rank, y = Σ x: where gradients are summed as well, and by `summed`."""
    x = torch.ones((), requires_grad=True)
    sums = _SummedBothWays.apply(x, link.group), summed(x, link, link.call(), "y")
    both_ways, once = (torch.autograd.grad(y, x)[0].item() for y in sums)
    return both_ways, once


class _SummedBothWays(torch.autograd.Function):
    """The derivative of all ranks' losses together, where each has a loss of its own."""

    @staticmethod
    def forward(ctx: Any, x, group):
        ctx.group = group
        return _SummedBothWays._sum(x, group)

    @staticmethod
    def backward(ctx: Any, gradient):
        return _SummedBothWays._sum(gradient, ctx.group), None

    @staticmethod
    def _sum(x, group):
        total = x.detach().clone()
        dist.all_reduce(total, group=group)
        return total


def ring_and_nobody(link: Link, absent: int) -> None:
    """A ring behind a condition that one rank does not meet."""
    group = Link(dist.new_group(timeout=timedelta(seconds=HURRY)))
    if link.rank != absent:
        _small_ring(group)


class Dying(Link):
    """A link whose process ends itself, unannounced, as it comes to the step `last`."""

    last = ""

    def start(self, step: str, *arguments: Any) -> Any:
        if step == self.last:
            time.sleep(0.5)  # the others have what was sent before, and wait
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return super().start(step, *arguments)


def ring_of_which_one_dies(link: Link, rank: int, last: str) -> None:
    """A ring in which the process of one rank is killed."""
    if link.rank == rank:
        link = Dying(link.group)
        link.last = last
    _small_ring(link)


def _small_ring(link):
    shards = contiguous(4 * link.size, link.size)
    rows = torch.ones(2, tokens(shards[link.rank]), 3)
    ring(rows, rows, rows, group=link, shards=shards)


def librarys_own(link: Link, causal: bool) -> float:
    """PyTorch's `context_parallel` with its plain kernel: how far its rows are from one process's."""
    from torch.distributed.tensor.experimental import context_parallel  # seconds, and nobody else needs it
    from torch.nn.attention import SDPBackend, sdpa_kernel

    rng = torch.Generator().manual_seed(0)
    Q, K, V = (torch.randn(1, 2, 16, 4, generator=rng) for _ in range(3))
    whole = torch.nn.functional.scaled_dot_product_attention(Q, K, V, is_causal=causal)
    mesh = DeviceMesh.from_group(link.group, "cpu", mesh=list(range(link.size)), mesh_dim_names=("cp",))
    divided = context_parallel(mesh, buffers=[Q, K, V, whole], buffer_seq_dims=[2] * 4)
    with sdpa_kernel(SDPBackend.MATH), divided:
        O = torch.nn.functional.scaled_dot_product_attention(Q, K, V, is_causal=causal)
        return (O - whole).abs().max().item()
