"""A task where attention must matter: one cell carries a mark, and all cells of its colour are wanted.

A picture of 24 × 24 has 36 places, 16 cells of three colours in them, and one of the cells carries a bright
point. To know which of the others are wanted, a pixel has to hear from the marked cell, wherever that is.
Without the message nothing better can be said than "every cell, one in three". `FAMILIES` are nets of one
size that share every convolution and differ in the one layer that stands on the 6 × 6 places; the layers of
attention are this package's `vision_modules`.
"""

from collections.abc import Callable

import numpy as np

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn

from selfattention.trained import cells
from selfattention.trained.cells import Pointwise
from selfattention.trained.progress import with_bar
from selfattention.vision_modules import CBAM, AttentionGate, NonLocal, SqueezeExcitation

PLACE, CELL, COLOURS = 4, 3, 3  # pixels a side of a place, of a cell; and how many colours
PLACES, FILLED = 6, 4 / 9  # places a side, and how many of them hold a cell
NOISE, MARK = 0.1, 2.0
CHANNELS, R, D_HIDDEN = 24, 4, 8
BUDGET = 9_500  # parameters; `widths` comes within three
BATCH, RATE, DECAY, WARM = 32, 5e-3, 1e-4, 100
STEPS, EVERY, SOLVED = 1000, 50, 0.98
CUTS = torch.linspace(-4, 4, 17)  # logits
SEEN, FRESH = 10**6, 10**6 + 1  # seeds of pictures that nobody is trained on


# The pictures -----------------------------------------------------------------------------------------


class Pictures:
    """Batches of pictures, the same for the same seed."""

    def __init__(self, seed: int):
        self.source = np.random.default_rng(seed)

    def batch(self, n: int = BATCH, *, places: int = PLACES) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, side, side), a channel for each colour, and what is wanted (n, side, side), 0 or 1.

        The side is 4 pixels for each of `places`.
        """
        side, filled = places * PLACE, round(FILLED * places**2)
        light = self.source.normal(0, NOISE, (n, COLOURS, side, side)).astype(np.float32)
        wanted = np.zeros((n, side, side), np.float32)
        place = self.source.permuted(np.tile(np.arange(places**2), (n, 1)), axis=1)[:, :filled]
        y, x = (PLACE * part + self.source.integers(2, size=place.shape) for part in np.divmod(place, places))
        colour = self.source.integers(COLOURS, size=place.shape)
        own = np.arange(n)[:, None]
        for i, j in np.ndindex(CELL, CELL):
            light[own, colour, y + i, x + j] += 1
            wanted[own, y + i, x + j] = colour == colour[:, :1]  # the first cell is the marked one
        light[own[:, 0], :, y[:, 0] + 1, x[:, 0] + 1] = MARK
        return torch.from_numpy(light), torch.from_numpy(wanted)


# The nets ---------------------------------------------------------------------------------------------


class Gate(AttentionGate):
    """An attention gate that is asked by the level below: means of 2 × 2 places."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, D_HIDDEN)

    def forward(self, F: Tensor) -> Tensor:
        """F' (N, channels, high, wide) of F of the same shape, both sides even."""
        below = nn.functional.avg_pool2d(F, 2)
        return super().forward(F, nn.functional.interpolate(below, scale_factor=2))


class Dilated(nn.Module):
    """F + conv(relu(conv(F))), 3 × 3 with gaps of 1 and of 3 places: far by many small steps."""

    def __init__(self, channels: int):
        super().__init__()
        self.near = nn.Conv2d(channels, D_HIDDEN, 3, padding=1)
        self.far = nn.Conv2d(D_HIDDEN, channels, 3, padding=3, dilation=3)

    def forward(self, F: Tensor) -> Tensor:
        """(N, channels, high, wide) of F of the same shape."""
        return F + self.far(torch.relu(self.near(F)))


class Normed(nn.Module):
    """F + norm(conv(F)), the norm over all channels and positions of a picture: no attention at all."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix, self.norm = nn.Conv2d(channels, channels, 1), nn.GroupNorm(1, channels)

    def forward(self, F: Tensor) -> Tensor:
        """(N, channels, high, wide) of F of the same shape."""
        return F + self.norm(self.mix(F))


FAMILIES: dict[str, Callable[[int], nn.Module]] = {
    "nothing": nn.Identity,
    "attention gate": Gate,
    "dilated": Dilated,
    "norm": Normed,
    "squeeze-excitation": lambda channels: SqueezeExcitation(channels, R),
    "CBAM": lambda channels: CBAM(channels, R, k=3),
    "non-local": NonLocal,
}


class Messenger(nn.Module):
    """Logits of "wanted" for every pixel.

    Squares of 2 × 2 pixels become channels, one 3 × 3 convolution finds cells and marks, maxima of 2 × 2
    make the places, `layer` may carry something between them, and a net at each position puts both together.
    """

    def __init__(self, layer: Callable[[int], nn.Module], hidden: int, head: int):
        super().__init__()
        self.first = nn.Conv2d(4 * COLOURS, CHANNELS, 3, padding=1)
        self.second, self.layer = nn.Conv2d(CHANNELS, CHANNELS, 1), layer(CHANNELS)
        self.net = Pointwise(CHANNELS, hidden)
        self.head = nn.Sequential(nn.Conv2d(2 * CHANNELS, head, 1), nn.ReLU(), nn.Conv2d(head, 4, 1))

    def forward(self, light: Tensor) -> Tensor:
        """(N, high, wide) of light (N, 3, high, wide)."""
        squares = nn.functional.pixel_unshuffle(light, 2).contiguous(memory_format=torch.channels_last)
        near = torch.relu(self.first(squares))
        places = torch.relu(self.second(nn.functional.max_pool2d(near, 2)))
        heard = nn.functional.interpolate(self.net(self.layer(places)), scale_factor=2)
        return nn.functional.pixel_shuffle(self.head(torch.cat([heard, near], 1)), 2)[:, 0]


def widths(layer: Callable[[int], nn.Module]) -> tuple[int, int]:
    """(hidden, head), 8 and 32 or more, of the net with this layer that comes nearest below BUDGET."""
    with torch.device("meta"):  # only counted: no number is drawn
        spare = BUDGET - cells.parameters(Messenger(layer, 8, 32))
    each, other = 2 * CHANNELS + 1, 2 * CHANNELS + 5
    more = min(range(spare // other + 1), key=lambda more: (spare - other * more) % each)
    return 8 + (spare - other * more) // each, 32 + more


def messenger(name: str, seed: int) -> Messenger:
    """An untrained net of this name in `FAMILIES`."""
    layer = FAMILIES[name]
    hidden, head = widths(layer)
    with torch.random.fork_rng(devices=[]):  # what else the caller draws does not change
        torch.manual_seed(seed)
        return Messenger(layer, hidden, head).to(memory_format=torch.channels_last)


# Training ---------------------------------------------------------------------------------------------


# From which step on the pictures have how many places a side.
Lessons = tuple[tuple[int, int], ...]
LESSONS: dict[str, Lessons] = {
    "as it is": ((0, PLACES),),
    "small first": ((0, 2), (300, 4), (600, PLACES)),
}


def places_at(step: int, lessons: Lessons) -> int:
    """How many places a side the pictures of a step have; steps are counted from 0."""
    return next(places for start, places in reversed(lessons) if start <= step)


def train(
    net: Messenger, seed: int, lessons: Lessons, *, steps: int = STEPS, text: str = "message"
) -> list[list[float]]:
    """The curve of a net trained in place: [step, IoU at ½, IoU at the best cut] every 50 steps, with a bar.

    AdamW on cross-entropy at one rate, 0.005, after 100 steps of rising to it. It ends after `steps`, or
    when the IoU at ½ has come to 0.98. The curve is measured on 200 pictures of the full size, none of them
    trained on.
    """
    pictures, seen = Pictures(seed), Pictures(SEEN).batch(200)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / WARM))
    curve: list[list[float]] = []
    for step in with_bar(range(steps), text):
        light, wanted = pictures.batch(places=places_at(step, lessons))
        error = nn.functional.binary_cross_entropy_with_logits(net(light), wanted)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        rate.step()
        if (step + 1) % EVERY == 0:
            curve.append([step + 1, *(round(value, 3) for value in ious(net, *seen))])
            if curve[-1][1] >= SOLVED:
                break
    return curve


@torch.no_grad()
def ious(net: Messenger, light: Tensor, wanted: Tensor) -> tuple[float, float]:
    """IoU where a pixel is called wanted at ½, and at the one cut of all that is best.

    A net that rightly says "one in three" of every cell has 0 at ½, and at its best cut what `every_cell`
    has.
    """
    logits, truth = net(light), wanted > 0
    at = [cells.iou(cells.counts(logits > cut, truth)) for cut in (0, *CUTS)]
    return at[0], max(at)


def every_cell(wanted: Tensor, places: int = PLACES) -> float:
    """The IoU of the best answer that needs no message: every cell, of so many places a side."""
    cells_ = round(FILLED * places**2) * CELL**2
    return float((wanted > 0).sum()) / (len(wanted) * cells_)
