"""Does a map say what matters? Patches of a digit are deleted, those that it calls important first.

A map gives every patch a number; `orders` gives nine of them, two of which have never seen the net: the ink
of the patch, and chance. A patch can be deleted in two ways, `dropped` (its key is masked in all layers, so
that nobody hears of it) and `blanked` (its pixels are 0, so that the net is shown a patch without ink), and
the two need not agree. The steeper the accuracy falls, the more the map knew.
Sources: Samek et al. 2017 for deletion curves; Abnar & Zuidema 2020 for rollout.
"""

from collections.abc import Callable, Sequence

import numpy as np

from selfattention.extras import needed
from selfattention.formulas import rollout

with needed():
    import torch
    from torch import Tensor

from selfattention.trained.digits import GRID, Digits, P, Reader

PATCHES = GRID[0] * GRID[1]
GONE = range(0, PATCHES + 1, 2)
Delete = Callable[[Reader, Tensor, Tensor], Tensor]


# Two ways to delete -----------------------------------------------------------------------------------


@torch.no_grad()
def dropped(net: Reader, pictures: Tensor, gone: Tensor) -> Tensor:
    """Logits (N, 10) where nobody may see the patches `gone` (N, k), numbers 0 … 15, in any layer."""
    return net(pictures, key_mask=_kept(_patches("gone", pictures, gone)))


@torch.no_grad()
def blanked(net: Reader, pictures: Tensor, gone: Tensor) -> Tensor:
    """Logits (N, 10) where the pixels of the patches `gone` (N, k), numbers 0 … 15, are 0."""
    kept = _kept(_patches("gone", pictures, gone))[:, 1:].unflatten(1, GRID)
    return net(pictures * kept.repeat_interleave(P, 1).repeat_interleave(P, 2))


WAYS: dict[str, Delete] = {"drop": dropped, "blank": blanked}


def _patches(name, pictures, gone):
    if gone.dtype != torch.int64 or gone.dim() != 2 or len(gone) != len(pictures):
        raise ValueError(
            f"{name} has shape {(*gone.shape,)}, {gone.dtype}; wanted int64 ({len(pictures)}, k): a row of"
            " patches for each picture"
        )
    if gone.numel() and not 0 <= gone.min() <= gone.max() < PATCHES:
        raise ValueError(
            f"{name} holds {gone.min()} … {gone.max()}; wanted numbers of patches, 0 … {PATCHES - 1}"
        )
    return gone


def _kept(gone):
    """(N, 17), True = still there; the class token always is."""
    return torch.ones(len(gone), 1 + PATCHES, dtype=torch.bool).scatter(1, gone + 1, False)


# Nine orders ------------------------------------------------------------------------------------------


def ink(pictures: Tensor) -> Tensor:
    """(N, 16): the sum of each patch's pixels."""
    return pictures.unflatten(2, (GRID[1], P)).unflatten(1, (GRID[0], P)).sum((2, 4)).flatten(1)


def left_out(net: Reader, pictures: Tensor, delete: Delete) -> Tensor:
    """(N, 16): how much less probable the net's answer is where this one patch is deleted."""
    with torch.no_grad():
        p = net(pictures).softmax(-1)
    answers = p.argmax(-1, keepdim=True)
    gone = torch.arange(PATCHES).expand(len(pictures), -1)
    without = [
        delete(net, pictures, gone[:, i : i + 1]).softmax(-1).gather(1, answers) for i in range(PATCHES)
    ]
    return p.gather(1, answers) - torch.cat(without, 1)


def gradients(net: Reader, pictures: Tensor) -> Tensor:
    """(N, 8, 8): the gradient of each picture's largest logit by its pixels."""
    pixels = pictures.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(pixels).amax(-1).sum(), pixels)
    return slope


def orders(net: Reader, digits: Digits, seed: int) -> dict[str, Tensor]:
    """{name: scores (N, 16)}, a larger score is deleted earlier; `seed` is that of the chance order.

    Of attention, what the class token gives each patch, the mean of the heads.
    """
    pictures = digits.pictures
    with torch.no_grad():
        A = net.weights(pictures)
    slope = gradients(net, pictures)
    return {
        "attention, last layer": A[:, -1].mean(1)[:, 0, 1:],
        "attention, first layer": A[:, 0].mean(1)[:, 0, 1:],
        "rollout": torch.from_numpy(rollout(A.numpy())[:, 0, 1:]),
        "gradient": ink(slope**2).sqrt(),
        "gradient x input": ink(slope * pictures),
        "leave one out, drop": left_out(net, pictures, dropped),
        "leave one out, blank": left_out(net, pictures, blanked),
        "ink": ink(pictures),
        "random": torch.rand(len(digits), PATCHES, generator=torch.Generator().manual_seed(seed)),
    }


# What follows -----------------------------------------------------------------------------------------


def curve(net: Reader, digits: Digits, scores: Tensor, delete: Delete) -> list[float]:
    """Accuracy after the patches of the 0, 2, …, 16 largest scores (N, 16) are deleted.

    Among equal scores the patch that is read first goes first.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    answers = [delete(net, digits.pictures, order[:, :k]).argmax(-1) for k in GONE]
    return [(answer == digits.labels).float().mean().item() for answer in answers]


def agreement(scores: Tensor, others: Tensor) -> float:
    """Spearman's rank correlation of two maps (N, 16) within each picture, the mean over pictures."""
    with needed():
        from scipy.stats import rankdata
    ranks = [rankdata(each.numpy(), axis=1) - (PATCHES + 1) / 2 for each in (scores, others)]
    norms = [np.sqrt((rank**2).sum(1)) for rank in ranks]
    return float(((ranks[0] * ranks[1]).sum(1) / (norms[0] * norms[1])).mean())


def interval(values: Sequence[Sequence[float]] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half the width of its 95 % interval by Student's t, over the first axis: the seeds.

    The interval is about other seeds on these pictures, not about other pictures.
    Raises ValueError where there are fewer than two.
    """
    with needed():
        from scipy.special import stdtrit
    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} rows; wanted two or more, one for each seed")
    spread = values.std(0, ddof=1) / np.sqrt(len(values))
    return values.mean(0), stdtrit(len(values) - 1, 0.975) * spread
