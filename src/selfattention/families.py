"""The families of attention over pictures in one table, measured on the formulas themselves.

Chapter: notebooks/17_vision. For a terminal:

    python -m selfattention.families

What a token is and what its score is made from, a family says here in words. The rest is found out: each is
run once on random numbers, and where its weights sum to 1 along an axis, that axis is normalised. Sizes are
those of the papers' usual layers: 256 channels reduced by 16, Swin-T's first stage, ViT-B.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import get_args

import numpy as np
from jaxtyping import Float

from selfattention.formulas import (
    append_ones,
    attend_by_head,
    attention_gate,
    cbam_channels,
    cbam_positions,
    concat_heads,
    eca,
    eca_kernel_size,
    non_local,
    output_projection,
    patches,
    projections,
    selective_kernel,
    split_heads,
    squeeze_excitation,
    temporal,
    window_attention,
)
from selfattention.printed import printed

Map = Float[np.ndarray, "channels high wide"]
Tokens = Float[np.ndarray, "n d_model"]
Square = Float[np.ndarray, "d_model+1 d_model"]
Table = Float[np.ndarray, "offsets h"]
TokenWeights = Float[np.ndarray, "h n tokens"]
WindowWeights = Float[np.ndarray, "h down along n places"]

C, R, HIDDEN, HIGH, WIDE = 256, 16, 128, 7, 14
NET = {"W_1": (C, C // R), "W_2": (C // R, C)}
KERNEL = eca_kernel_size(C)


def _with_biases(d):
    return {letter: (d + 1, d) for letter in ("W_Q", "W_K", "W_V", "W_O")}


def _vit(X: Tokens, W_Q: Square, W_K: Square, W_V: Square, W_O: Square) -> tuple[Tokens, TokenWeights]:
    """Attention of a ViT-B block, twelve heads; every matrix has its bias as its last row."""
    O, A = attend_by_head(*projections(append_ones(X), W_Q, W_K, W_V), 12)
    return output_projection(append_ones(O), W_O), A


def _swin(
    F: Map, W_Q: Square, W_K: Square, W_V: Square, W_O: Square, T: Table
) -> tuple[Tokens, WindowWeights]:
    """Attention of a block of Swin-T's first stage, three heads, its windows shifted."""
    wide = projections(append_ones(patches(F, 1)), W_Q, W_K, W_V)
    maps = [split_heads(X, 3).swapaxes(-1, -2).reshape(3, -1, *F.shape[-2:]) for X in wide]
    O, A = window_attention(*maps, T, shift=3)
    return output_projection(append_ones(concat_heads(patches(O, 1))), W_O), A


@dataclass(frozen=True)
class Family:
    """One way to weight: the function, what it says of itself in words, the shapes of its arguments."""

    name: str
    function: Callable
    token: str
    score: str
    data: dict[str, tuple[int, ...]]
    learned: dict[str, tuple[int, ...]]

    @cached_property
    def weights(self) -> np.ndarray:
        """What the function weights with, on random numbers."""
        rng = np.random.default_rng(0)
        data = {name: rng.normal(size=shape) for name, shape in self.data.items()}
        learned = {name: rng.normal(size=shape) / shape[0] ** 0.5 for name, shape in self.learned.items()}
        return self.function(**data, **learned)[1]

    @cached_property
    def axes(self) -> list[str]:
        """The axes of the weights, named as in the function's signature; 1 where they are shared."""
        written = get_args(signature(self.function).return_annotation)[1].dim_str
        return [axis for axis in written.split() if not axis.startswith("*")]

    @property
    def weighted(self) -> str:
        """What has a weight of its own."""
        return " ".join(axis for axis in self.axes if axis != "1")

    @property
    def normalised(self) -> str:
        """The axis along which the weights sum to 1, or nothing."""
        sums = {name: self.weights.sum(k - len(self.axes)) for k, name in enumerate(self.axes) if name != "1"}
        return next((name for name, total in reversed(sums.items()) if np.allclose(total, 1)), "nothing")

    @property
    def squashed_by(self) -> str:
        """Weights that do not sum to 1 and lie between 0 and 1 are a sigmoid's."""
        return "softmax" if self.normalised != "nothing" else "sigmoid"

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(int(np.prod(shape)) for shape in self.learned.values())


MAP = {"F": (C, HIGH, WIDE)}
FAMILIES = [
    Family("squeeze-excitation", squeeze_excitation, "a channel", "means of all channels", MAP, NET),
    Family("ECA", eca, "a channel", f"means of {KERNEL} neighbours", MAP, {"w": (KERNEL,)}),
    Family("CBAM, channels", cbam_channels, "a channel", "means and maxima of all channels", MAP, NET),
    Family(
        "CBAM, positions",
        cbam_positions,
        "a position",
        "mean and maximum of the channels, 7 × 7 around",
        MAP,
        {"W": (2, 7, 7)},
    ),
    Family(
        "attention gate",
        attention_gate,
        "a position",
        "itself and the coarser level",
        MAP | {"G": (C, HIGH, WIDE)},
        {"W_F": (C, HIDDEN), "W_G": (C + 1, HIDDEN), "w": (HIDDEN + 1,)},
    ),
    Family(
        "selective kernel",
        selective_kernel,
        "a branch",
        "means of the sum of the branches",
        {"F": (2, C, HIGH, WIDE)},
        {"W_1": (C, 32), "W_2": (2, 32, C)},
    ),
    Family(
        "temporal",
        temporal,
        "a frame",
        "its channel's means, frame by frame",
        {"F": (8, C, HIGH, WIDE)},
        {"W_1": (8, 16), "W_2": (16, 3)},
    ),
    Family(
        "non-local",
        non_local,
        "a position",
        "products of pairs, scale 1",
        MAP,
        {"W_Q": (C, C // 2), "W_K": (C, C // 2), "W_V": (C, C // 2), "W_O": (C // 2, C)},
    ),
    Family(
        "Swin",
        _swin,
        "a position",
        "products of pairs, their offset, the mask",
        {"F": (96, HIGH, WIDE)},
        _with_biases(96) | {"T": (169, 3)},
    ),
    Family("ViT", _vit, "a patch", "products of pairs", {"X": (11, 768)}, _with_biases(768)),
]
COLUMNS = {
    "family": "name",
    "a token is": "token",
    "its score is made from": "score",
    "a weight for each": "weighted",
    "that sum to 1 over": "normalised",
    "by a": "squashed_by",
    "parameters": "parameters",
}


def table() -> str:
    """A row for each family, a column for each question."""
    rows = [[*COLUMNS], *([str(getattr(f, name)) for name in COLUMNS.values()] for f in FAMILIES)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(printed(table()))
