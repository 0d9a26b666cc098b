"""The corpus: every mistake in several styles, pairs of mistakes, and right ones, in two halves.

A stranger belongs to the half that is tuned on if the CRC-32 of its name is even. The other half is only
counted: nobody looks at its verdicts one by one and changes the engine.
"""

import zlib
from dataclasses import dataclass
from itertools import cycle, islice

from strangers.styles import HEADS, SOFTMAXES, STYLES, TILES, Style

RIGHT = {"", "large", "lowest", "sum", "logsumexp", "the others"}
"""Lines that make no mistake."""

PAIRS = [
    {"scale": "no scale", "softmax": "axis"},
    {"scale": "no scale", "softmax": "no maximum"},
    {"softmax": "no maximum + one sum"},
    {"softmax": "no maximum + axis"},
    {"scale": "keys", "softmax": "axis"},
    {"scale": "d_k", "softmax": "no maximum"},
    {"scale": "no scale", "hide": "sideways"},
    {"hide": "multiplied", "softmax": "no maximum"},
    {"scale": "no scale", "softmax": "one sum"},
    {"scores": "cosines", "softmax": "axis"},
    {"scale": "no scale", "out": "scaled again"},
    {"scale": "no scale", "triangle": "itself"},
    {"triangle": "next", "softmax": "no maximum"},
]
PAIRS_IN_HEADS = [
    {"split": "split", "merge": "merge"},
    {"split": "split", "scale": "no scale"},
    {"scale": "no scale", "softmax": "axis"},
    {"softmax": "no maximum + one sum"},
    {"merge": "merge", "last": "residual"},
    {"project": "one matrix", "scale": "d_k"},
]
HEAD_SLOTS = ["project", "split", "scale", "softmax", "out", "merge", "last"]
VARIANTS = 4  # styles in which each choice of lines is written


@dataclass(frozen=True)
class Written:
    """A stranger: in which style, with which lines."""

    style: Style
    chosen: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The style and what is wrong."""
        return f"{self.style.name}: {', '.join(f'{slot} {line}' for slot, line in self.chosen) or 'right'}"

    @property
    def mistakes(self) -> frozenset[str]:
        """Which, by the words of `lines.CALLED`; none if it is right."""
        each = (part for _, line in self.chosen for part in line.split(" + "))
        found = frozenset(part.split(" -")[0] for part in each if part not in RIGHT)
        moved = {"no scale", "scaled again"}  # from before the softmax to behind it: one mistake
        return found - moved | {"scaled last"} if moved <= found else found

    @property
    def source(self) -> str:
        """Its module."""
        return self.style.source(dict(self.chosen))

    @property
    def function(self) -> str:
        """Its name in there."""
        return self.source.split("def ")[1].split("(")[0]

    @property
    def tuned_on(self) -> bool:
        """Which half it belongs to."""
        return zlib.crc32(self.name.encode()) % 2 == 0


def possible(style: Style, chosen: dict[str, str]) -> bool:
    """Whether the style has these places and can show these mistakes."""
    parts = {part for line in chosen.values() for part in line.split(" + ")}
    lines_known = all(line in _known(style)[slot] for slot, line in chosen.items() if slot in _known(style))
    return set(chosen) <= set(style.slots) and not parts & style.lacks and lines_known


def _known(style):
    from strangers.styles import NUMPY, TORCH

    return NUMPY if style.library == "numpy" else TORCH


def _single(styles):
    slots = sorted({(slot, line) for style in styles for slot in style.slots for line in _known(style)[slot]})
    return [{slot: line} for slot, line in slots if line and " + " not in line]


def _lines(styles, slot):
    known = {line: None for style in styles for line in _known(style)[slot]}
    return [line for line in known if line and " + " not in line]


def _in_styles(choices, styles):
    """Each choice in some of the styles that can have it, beginning with another one each time."""
    written = []
    for start, chosen in enumerate(choices):
        fit = [style for style in styles if possible(style, chosen)]
        turned = islice(cycle(fit), start % max(len(fit), 1), None) if fit else ()
        written += [
            Written(style, tuple(chosen.items())) for style in islice(turned, min(VARIANTS, len(fit)))
        ]
    return written


def corpus() -> list[Written]:
    """All of them."""
    right = [Written(style, ()) for style in (*STYLES, *SOFTMAXES, *HEADS, *TILES)]
    of_scores = [{"softmax": line} for slot in _single(SOFTMAXES) for line in slot.values()]
    pairs = [{"softmax": "no maximum + one sum"}, {"softmax": "no maximum + axis"}]
    of_heads = [{slot: line} for slot in HEAD_SLOTS for line in _lines(HEADS, slot)]
    of_tiles = [{slot: line} for slot in ("carry", "loop") for line in _lines(TILES, slot)]
    return [
        *right,
        *_in_styles([*of_heads, *PAIRS_IN_HEADS], HEADS),
        *_in_styles(of_tiles, TILES),
        *_in_styles(_single(STYLES), STYLES),
        *_in_styles(PAIRS, STYLES),
        *_in_styles(of_scores + pairs, SOFTMAXES),
    ]
