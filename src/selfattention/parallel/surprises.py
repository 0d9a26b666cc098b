"""What `torch.distributed` lets pass over gloo, and what becomes of the same here: for two ranks to run.

Each function is what one rank does, `function(link)`, and gives what is there on that rank afterwards. None
of the library's messages below is an error; where one of ours is, it names what differs.
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
from selfattention.parallel.sums import all_reduced, summed

HURRY = 3  # seconds that a message may take which is not going to arrive


def heads_first(link: Link) -> list[list[float]]:
    """The head-split view of three tokens 0, 10, 20 with heads 0 and 1, broadcast by rank 0."""
    array = _view_of_rank_0(link)
    dist.broadcast(array, group=link.group, group_src=0)
    return array.tolist()


def heads_first_scattered(link: Link) -> list[list[float]]:
    """The same view, as rank 0 scatters it."""
    view, room = _split_view(), torch.zeros(2, 3)
    dist.scatter(room, [view, view] if link.rank == 0 else None, group=link.group, group_src=0)
    return room.tolist()


def heads_first_reduced(link: Link) -> list[list[float]]:
    """The view of rank 0 and zeros of rank 1, summed for rank 1."""
    array = _view_of_rank_0(link)
    dist.reduce(array, group=link.group, group_dst=1)
    return array.tolist()


def heads_first_summed(link: Link) -> list[list[float]]:
    """The same sum for both."""
    array = _view_of_rank_0(link)
    dist.all_reduce(array, group=link.group)
    return array.tolist()


def heads_first_summed_by_link(link: Link) -> list[list[float]]:
    """And by `all_reduced`."""
    return all_reduced(link, link.call(), "a view and zeros", _view_of_rank_0(link)).tolist()


def heads_first_by_link(link: Link) -> list[list[float]]:
    """The same view, sent by a `Link`."""
    view, other = _split_view(), 1 - link.rank
    send, receive = ({other: view}, {}) if link.rank == 0 else ({}, {other: view.shape})
    came = link.start("a test", link.call(), send, receive, view).wait()
    return came.get(other, view).tolist()


def _split_view():
    """(heads, tokens): entry (h, t) is 10 t + h."""
    return torch.arange(0.0, 30, 10)[:, None].add(torch.arange(2.0)).transpose(0, 1)


def _view_of_rank_0(link):
    view = _split_view()
    return view if link.rank == 0 else torch.zeros(view.shape)


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


def other_dtype(link: Link) -> list[float]:
    """The sum of four ones, floats on rank 0 and integers on rank 1."""
    array = torch.ones(4, dtype=torch.float32 if link.rank == 0 else torch.int32)
    dist.all_reduce(array, group=link.group)
    return array.tolist()


def ring_of_two_dtypes(link: Link) -> None:
    """A ring whose ranks have numbers of another size each."""
    rows = torch.ones(2, 2, 3, dtype=torch.float32 if link.rank == 0 else torch.float64)
    ring(rows, rows, rows, group=link, shards=contiguous(4, 2))


def changed_on_its_way(link: Link) -> list[float]:
    """Rank 0 begins to send four ones, makes them zeros, and only then waits; what rank 1 receives."""
    array = torch.ones(4) if link.rank == 0 else torch.full((4,), -1.0)
    if link.rank == 0:
        sending = dist.isend(array, group=link.group, group_dst=1)
        array.zero_()
        dist.barrier(link.group)
        sending.wait()
    else:
        dist.barrier(link.group)
        dist.recv(array, group=link.group, group_src=0)
    return array.tolist()


def changed_on_its_way_by_link(link: Link) -> None:
    """The same by a `Link`, both ways."""
    array, other = torch.ones(4), 1 - link.rank
    moving = link.start("a test", link.call(), {other: array}, {other: (4,)}, array)
    array.zero_()
    moving.wait()


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


def running_sum(link: Link) -> tuple[list[int], list[int]]:
    """How many tokens there are up to each of eight, four on each rank: by DTensor, along axis 0 and −1."""
    from torch.distributed.tensor import Shard, distribute_tensor  # seconds, and few of these need it

    mesh = DeviceMesh.from_group(link.group, "cpu", mesh=list(range(link.size)))
    divided = distribute_tensor(torch.tensor([1, 1, 1, 1, 1, 1, 0, 0]), mesh, [Shard(0)])
    first, last = (divided.cumsum(axis).full_tensor().tolist() for axis in (0, -1))
    return first, last


def ring_of_dtensors(link: Link) -> None:
    """A ring that is given the whole text's rows, divided by the library."""
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = DeviceMesh.from_group(link.group, "cpu", mesh=list(range(link.size)))
    rows = distribute_tensor(torch.ones(2, 8, 3), mesh, [Shard(1)])
    ring(rows, rows, rows, group=link, shards=contiguous(8, link.size))


def librarys_own(link: Link, causal: bool) -> tuple[list[int], float, float]:
    """PyTorch's `context_parallel` with its plain kernel: which rows it has given this rank, and two errors.

    How far its rows are from one process's at those positions, and at those of a contiguous shard.
    """
    from torch.distributed.tensor.experimental import context_parallel
    from torch.nn.attention import SDPBackend, sdpa_kernel

    rng = torch.Generator().manual_seed(0)
    Q, K, V = (torch.randn(1, 2, 16, 4, generator=rng) for _ in range(3))
    whole = torch.nn.functional.scaled_dot_product_attention(Q, K, V, is_causal=causal)
    positions = torch.arange(16)
    mesh = DeviceMesh.from_group(link.group, "cpu", mesh=list(range(link.size)), mesh_dim_names=("cp",))
    divided = context_parallel(mesh, buffers=[Q, K, V, positions], buffer_seq_dims=[2, 2, 2, 0])
    with sdpa_kernel(SDPBackend.MATH), divided:
        O = torch.nn.functional.scaled_dot_product_attention(Q, K, V, is_causal=causal)
        (span,) = contiguous(16, link.size)[link.rank]
        rows = positions.tolist(), list(span)
        there, in_order = ((O - whole[:, :, at]).abs().max().item() for at in rows)
        return rows[0], there, in_order
