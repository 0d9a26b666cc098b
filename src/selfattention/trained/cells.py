"""Cells in a real picture, with attention and without: five nets of one size, and what each is worth.

One fluorescence picture of 512 × 512 with 125 outlined cells (`cell_picture`). A U-shaped net of residual
blocks says of every pixel whether it is cell. It comes as five families, which share every convolution and
differ in what stands between them: nothing, squeeze-and-excitation or CBAM in every block, gates on both
skips, non-local attention in the middle; all but nothing are this package's `vision_modules`. What a
family's attention costs, the others have in a net that looks at one position at a time, so that all are
equally large. There is no norm in here: one over a whole picture would carry messages by itself, see
`message`. Sources: Ronneberger et al. 2015 for the U; He et al. 2016 for the blocks; Caicedo et al. 2019
for the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn

from selfattention.trained import cell_picture
from selfattention.trained.progress import with_bar
from selfattention.vision_modules import CBAM, AttentionGate, NonLocal, SqueezeExcitation

WEIGHTS = files("selfattention") / "data" / "cells.npz"
CHANNELS = 12, 16, 24  # of the three levels, from fine to coarse
R, K, D_GATE, D_NON_LOCAL = 4, 7, 4, 12
BUDGET = 31_000  # parameters; `widths` comes within 17
TILE, GAP, TEST = 64, 32, 192  # pixels
STEPS, BATCH, RATE, DECAY = 800, 8, 1e-2, 1e-3


# The picture ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cells:
    """A part of the picture: light (high, wide), float32; labels (high, wide), uint8, 0 where no cell is."""

    light: Tensor
    labels: Tensor

    @property
    def truth(self) -> Tensor:
        """(high, wide), True where a cell is."""
        return self.labels > 0

    def columns(self, some: slice) -> "Cells":
        return Cells(self.light[:, some], self.labels[:, some])


def load() -> Cells:
    """The whole picture; its darkest hundredth lies below 0 and its brightest above 1.

    Raises ModuleNotFoundError, with what to install, where Pillow is missing.
    """
    light, labels = cell_picture.load()
    low, high = np.percentile(light, (1, 99))
    return Cells(
        torch.from_numpy(((light - low) / (high - low)).astype(np.float32)), torch.from_numpy(labels)
    )


def folds(cells: Cells, gap: int = GAP) -> list[tuple[Cells, Cells]]:
    """Two folds (train, test): the 192 columns on the right are tested, then those on the left.

    288 columns are trained on, and `gap` columns between the two are used by nobody.
    Raises ValueError where a cell lies on both sides: such a gap is too narrow.
    """
    found = [(train, test) for train, test in _folds(cells, gap)]
    for fold, (train, test) in enumerate(found):
        if both := bridging(train, test):
            raise ValueError(f"gap is {gap}: cells {sorted(both)} lie on both sides of fold {fold}")
    return found


def leaking_folds(cells: Cells) -> list[tuple[Cells, Cells]]:
    """The mistake: as many columns to train on, but next to those that are tested, and no gap."""
    return _folds(cells, 0)


def seen_folds(cells: Cells) -> list[tuple[Cells, Cells]]:
    """The mistake, whole: all columns are trained on, those that are tested among them."""
    return [(cells, test) for _, test in _folds(cells, GAP)]


def bridging(train: Cells, test: Cells) -> set[int]:
    """The labels of cells that lie in both parts."""
    return set(train.labels.unique().tolist()) & set(test.labels.unique().tolist()) - {0}


def _folds(cells, gap):
    wide = cells.light.shape[1]
    columns = wide - TEST - GAP
    right = slice(wide - TEST - gap - columns, wide - TEST - gap), slice(wide - TEST, wide)
    left = slice(TEST + gap, TEST + gap + columns), slice(0, TEST)
    return [(cells.columns(train), cells.columns(test)) for train, test in (right, left)]


def tiles(picture: Tensor) -> Tensor:
    """(n, 64, 64) of a picture (high, wide), both multiples of 64: side by side, row by row."""
    high, wide = picture.shape
    squares = picture.reshape(high // TILE, TILE, wide // TILE, TILE)
    return squares.transpose(1, 2).reshape(-1, TILE, TILE)


# The net ----------------------------------------------------------------------------------------------


class Block(nn.Module):
    """relu(skip(F) + attention(conv(relu(conv(F))))), the convolutions 3 × 3; `attention` sees b channels."""

    def __init__(self, a: int, b: int, attention: Callable[[int], nn.Module]):
        super().__init__()
        self.first, self.second = nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Identity() if a == b else nn.Conv2d(a, b, 1)
        self.attention = attention(b)

    def forward(self, F: Tensor) -> Tensor:
        """(N, b, high, wide) of F (N, a, high, wide)."""
        return torch.relu(self.skip(F) + self.attention(self.second(torch.relu(self.first(F)))))


class Pointwise(nn.Module):
    """F + conv(relu(conv(F))), both 1 × 1: a net that looks at one position, `hidden` wide."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, F: Tensor) -> Tensor:
        """(N, channels, high, wide) of F of the same shape."""
        return F + self.second(torch.relu(self.first(F)))


class UngatedSkip(nn.Module):
    """The skip as it is, whatever the coarser level says."""

    def __init__(self, channels: int, coarser: int):
        super().__init__()

    def forward(self, F: Tensor, G: Tensor) -> Tensor:
        """F of the skip F and the coarser G."""
        return F


@dataclass(frozen=True)
class Family:
    """What stands in every block, on every skip, in the middle: makers that are told how many channels."""

    block: Callable[[int], nn.Module] = nn.Identity
    skip: Callable[[int, int], nn.Module] = UngatedSkip
    middle: Callable[[int], nn.Module] = nn.Identity


FAMILIES = {
    "plain": Family(),
    "squeeze-excitation": Family(block=lambda channels: SqueezeExcitation(channels, R)),
    "CBAM": Family(block=lambda channels: CBAM(channels, R, k=K)),
    "gates": Family(skip=lambda channels, coarser: AttentionGate(channels, coarser, D_GATE)),
    "non-local": Family(middle=lambda channels: NonLocal(channels, D_NON_LOCAL)),
}


class Segmenter(nn.Module):
    """Logits of "cell" for every pixel; sides are multiples of 8.

    Squares of 2 × 2 pixels become channels, and at the end channels become pixels again. Between, down
    twice by maxima, up twice by repeating; on the way up each level is told what it was on the way down. A
    gate stands on the grid of its skip, so it is asked after the repeating.
    """

    def __init__(self, family: Family, hidden: int, head: int):
        super().__init__()
        a, b, d = CHANNELS
        self.down_1, self.down_2 = Block(4, a, family.block), Block(a, b, family.block)
        self.middle = Block(b, d, family.block)
        self.attention, self.net = family.middle(d), Pointwise(d, hidden)
        self.skip_2, self.skip_1 = family.skip(b, d), family.skip(a, b)
        self.up_2, self.up_1 = Block(d + b, b, family.block), Block(b + a, a, family.block)
        self.head = nn.Sequential(nn.Conv2d(a, head, 1), nn.ReLU(), nn.Conv2d(head, 4, 1))

    def forward(self, light: Tensor) -> Tensor:
        """(N, high, wide) of light (N, high, wide)."""
        squares = nn.functional.pixel_unshuffle(light[:, None], 2)
        F_1 = self.down_1(squares.contiguous(memory_format=torch.channels_last))
        F_2 = self.down_2(_halved(F_1))
        G_2 = _doubled(self.net(self.attention(self.middle(_halved(F_2)))))
        G_1 = _doubled(self.up_2(torch.cat([G_2, self.skip_2(F_2, G_2)], 1)))
        return nn.functional.pixel_shuffle(
            self.head(self.up_1(torch.cat([G_1, self.skip_1(F_1, G_1)], 1))), 2
        )[:, 0]


def widths(family: Family) -> tuple[int, int]:
    """(hidden, head): how wide the pointwise net and the head are, so that no more than BUDGET train.

    The head has 8 units or up to two more, 17 parameters each, and the pointwise net has the rest: no
    family is further from another than that.
    """
    a, _, d = CHANNELS
    with torch.device("meta"):  # only counted: no number is drawn
        least = parameters(Segmenter(family, 1, 8))
    more, rest = divmod(BUDGET - least, 2 * d + 1)
    return 1 + more, 8 + rest // (a + 5)


def segmenter(name: str, seed: int) -> Segmenter:
    """An untrained net of this name in `FAMILIES`."""
    family = FAMILIES[name]
    hidden, head = widths(family)
    with torch.random.fork_rng(devices=[]):  # what else the caller draws does not change
        torch.manual_seed(seed)
        return Segmenter(family, hidden, head).to(memory_format=torch.channels_last)


def trained() -> Segmenter:
    """The plain net of fold 0 and seed 0 as it was recorded, in halves, in data/cells.npz."""
    net = segmenter("plain", 0)
    with np.load(str(WEIGHTS)) as weights:
        net.load_state_dict({name: torch.from_numpy(weights[name]).float() for name in weights.files})
    return net.eval()


def parameters(net: nn.Module) -> int:
    """How many numbers of the net train."""
    return sum(parameter.numel() for parameter in net.parameters())


def _halved(F):
    return nn.functional.max_pool2d(F, 2)


def _doubled(F):
    return nn.functional.interpolate(F, scale_factor=2)


# Training ---------------------------------------------------------------------------------------------


class Crops:
    """Batches of 8 crops of 64 × 64, turned, mirrored, and lit more or less: the same for the same seed."""

    def __init__(self, train: Cells, seed: int):
        self.train, self.source = train, np.random.default_rng(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Light and truth (8, 64, 64), float32."""
        pairs = [self._one() for _ in range(BATCH)]
        light, truth = (torch.stack(each) for each in zip(*pairs, strict=True))
        return light, truth

    def _one(self):
        high, wide = self.train.light.shape
        i, j = self.source.integers(high - TILE + 1), self.source.integers(wide - TILE + 1)
        turns, mirrored, gain = (
            self.source.integers(4),
            self.source.integers(2),
            self.source.uniform(0.7, 1.4),
        )
        here = slice(i, i + TILE), slice(j, j + TILE)
        light, truth = (
            torch.rot90(each[here], int(turns)) for each in (self.train.light, self.train.truth.float())
        )
        if mirrored:
            light, truth = light.flip(1), truth.flip(1)
        return light * float(gain), truth


def train(
    net: Segmenter,
    part: Cells,
    seed: int,
    *,
    steps: int = STEPS,
    text: str = "cells",
    look: Callable | None = None,
) -> Segmenter:
    """The net itself, trained on crops drawn from `seed`, with a bar beside `text`.

    AdamW on cross-entropy plus 1 − Dice, the rate once up to 0.01 and down again to nothing.
    `look(step, net)` is called after every step, if given. One thread: `torch.set_num_threads(1)`.
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    crops = Crops(part, seed)
    net.train()
    for step in with_bar(range(1, steps + 1), text):
        light, truth = crops.batch()
        error = loss(net(light), truth)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        rate.step()
        if look is not None:
            look(step, net)
    return net.eval()


def loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy plus 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1), over all pixels of a batch."""
    p = torch.sigmoid(logits)
    dice = (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)
    return nn.functional.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


# What it is worth -------------------------------------------------------------------------------------


@torch.no_grad()
def said(net: Segmenter, light: Tensor) -> Tensor:
    """True where cell is likelier than not, of the shape of light, (high, wide) or (N, high, wide)."""
    return (net(light) if light.dim() == 3 else net(light[None])[0]) > 0


def counts(said: Tensor, truth: Tensor) -> np.ndarray:
    """(n, 3) of n pictures (n, high, wide): pixels in both, in what was said, in the truth."""
    return torch.stack([(said & truth).sum((1, 2)), said.sum((1, 2)), truth.sum((1, 2))], 1).numpy()


def iou(counts: np.ndarray) -> float:
    """Both / (said + truth − both), pixels of all pictures added up: 1 is right, 0 is nothing right."""
    both, said, truth = np.asarray(counts).reshape(-1, 3).sum(0)
    return float(both / (said + truth - both))


def dice(counts: np.ndarray) -> float:
    """2 both / (said + truth); of an IoU u it is 2 u / (1 + u)."""
    both, said, truth = np.asarray(counts).reshape(-1, 3).sum(0)
    return float(2 * both / (said + truth))


def in_tiles(net: Segmenter, test: Cells) -> np.ndarray:
    """Counts (24, 3): each tile of 64 × 64 shown by itself, as in training."""
    return counts(said(net, tiles(test.light)), tiles(test.truth))


def in_one(net: Segmenter, test: Cells) -> np.ndarray:
    """Counts (1, 3): all test columns shown at once."""
    return counts(said(net, test.light)[None], test.truth[None])


def threshold(part: Cells) -> float:
    """The light above which to say cell, for the best IoU on this part: no net at all."""
    cuts = np.linspace(0, 1, 101)
    return float(max(cuts, key=lambda cut: iou(counts((part.light > cut)[None], part.truth[None]))))


def by_threshold(train: Cells, test: Cells) -> np.ndarray:
    """Counts (24, 3) on the test tiles of the cut that is best on the training part."""
    return counts(tiles(test.light) > threshold(train), tiles(test.truth))
