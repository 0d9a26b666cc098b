"""Sums over all ranks, piece by piece around the ring: a rank sends less than twice its array.

The library's `all_reduce` does as much. This one says which rank has failed, counts its bytes, takes views
whose memory lies in another order, and gives every rank the same bits.
"""

from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor
    from torch.autograd.function import once_differentiable

from selfattention.parallel.links import Link


def all_reduced(link: Link, call: int, name: str, array: Tensor) -> Tensor:
    """Σ over the ranks of `array`, of one shape and dtype on all of them; a new tensor.

    Raises RankFailed where a rank does not answer. Source: Patarasuk & Yuan 2009.
    """
    p, width = link.size, -(-array.numel() // link.size)
    filled = torch.nn.functional.pad(array.detach().reshape(-1), (0, p * width - array.numel()))
    pieces = list(filled.clone().split(width)) if width else []
    for step in range(2 * (p - 1) if width else 0):
        mine = (link.rank - step) % p if step < p - 1 else (link.rank + 1 - (step - p + 1)) % p
        came = _passed_on(link, call, f"step {step} of {name}", pieces[mine])
        behind = (mine - 1) % p
        pieces[behind] = pieces[behind] + came if step < p - 1 else came
    return torch.cat(pieces)[: array.numel()].view(array.shape) if width else array.detach().clone()


def _passed_on(link, call, step, piece):
    ahead, behind = (link.rank + 1) % link.size, (link.rank - 1) % link.size
    return link.start(step, call, {ahead: piece}, {behind: piece.shape}, piece).wait()[behind]


def summed(array: Tensor, link: Link, call: int, name: str) -> Tensor:
    """Σ over the ranks; on the way back every rank's part has the gradient of the sum."""
    return _Summed.apply(array, link, call, name)


def shared(array: Tensor, link: Link, call: int, name: str) -> Tensor:
    """What all ranks have alike, as it is; on the way back the sum of what each has made of it."""
    return _Shared.apply(array, link, call, name)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, array, link, call, name):
        return all_reduced(link, call, f"the sum of {name}", array)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient):
        return gradient, None, None, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, array, link, call, name):
        ctx.rest = link, call, f"the gradient of {name}"
        return array.view_as(array)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient):
        return all_reduced(*ctx.rest, gradient), None, None, None
