"""A task where attention must matter: one cell carries a mark, and all cells of its colour are wanted.

A picture of 24 × 24 has 36 places, 16 cells of three colours in them, and on one of the cells a bright point. To
know which of the others are wanted, a pixel has to hear from the marked cell, wherever that is. Without the
message nothing better can be said than "every cell, one in three". `FAMILIES` are nets of one size that share
every convolution and differ in the one layer that stands on the 6 × 6 places; the layers of attention are this
package's `vision_modules`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn

from selfattention.trained import cells
from selfattention.trained.cells import Pointwise
from selfattention.vision_modules import CBAM, AttentionGate, NonLocal, SqueezeExcitation

PLACES, PLACE, CELL, COLOURS, FILLED = 6, 4, 3, 3, 16  # a side of the picture in places, of a place and a cell in pixels
NOISE, MARK = 0.1, 2.0
CHANNELS, R, D_HIDDEN = 24, 4, 8
BUDGET = 9_000  # parameters; `widths` comes within two
BATCH, RATE, DECAY, STEPS, EVERY = 32, 5e-3, 1e-4, 3000, 100
CUTS = torch.linspace(-4, 4, 33)  # logits


# The pictures -----------------------------------------------------------------------------------------


class Pictures:
    """Batches of pictures, the same for the same seed; `places` a side, of which 4 in 9 hold a cell."""

    def __init__(self, seed: int, places: int = PLACES):
        self.source, self.places = np.random.default_rng(seed), places

    def batch(self, n: int = BATCH) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, 24, 24), a channel for each colour, and what is wanted (n, 24, 24), 0 or 1."""
        filled = round(self.places**2 * FILLED / PLACES**2)
        side = self.places * PLACE
        light = self.source.normal(0, NOISE, (n, COLOURS, side, side)).astype(np.float32)
        wanted = np.zeros((n, side, side), np.float32)
        place = self.source.permuted(np.tile(np.arange(self.places**2), (n, 1)), axis=1)[:, :filled]
        y, x = (PLACE * part + self.source.integers(2, size=place.shape) for part in np.divmod(place, self.places))
        colour = self.source.integers(COLOURS, size=place.shape)
        own = np.arange(n)[:, None]
        for i, j in np.ndindex(CELL, CELL):
            light[own, colour, y + i, x + j] += 1
            wanted[own, y + i, x + j] = colour == colour[:, :1]  # the first cell is the marked one
        light[own[:, 0], :, y[:, 0] + 1, x[:, 0] + 1] = MARK
        return torch.from_numpy(light), torch.from_numpy(wanted)


# The nets ---------------------------------------------------------------------------------------------


class PositionGate(CBAM):
    """CBAM's second half alone, 3 × 3 around each place: nothing comes from far."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, k=3)
        del self.W_1, self.W_2

    def forward(self, F: Tensor) -> Tensor:
        """F' (N, channels, high, wide) of F of the same shape."""
        two = torch.stack([F.mean(-3), F.amax(-3)], dim=-3)
        return torch.sigmoid(nn.functional.conv2d(two, self.W[None], padding=1)) * F


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
    "position gate": PositionGate,
    "attention gate": Gate,
    "dilated": Dilated,
    "norm": Normed,
    "squeeze-excitation": lambda channels: SqueezeExcitation(channels, R),
    "CBAM": lambda channels: CBAM(channels, R, k=3),
    "non-local": NonLocal,
}


class Messenger(nn.Module):
    """Logits of "wanted" for every pixel.

    Squares of 2 × 2 pixels become channels, one 3 × 3 convolution finds cells and marks, maxima of 2 × 2 make the
    places, `layer` may carry something between them, and a net at each position puts both together.
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
    """(hidden, head) of the net with this layer that comes nearest below BUDGET, hidden at least 8, head 32 or more."""
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
