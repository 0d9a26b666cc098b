"""The corpus: every mistake in several styles, pairs of mistakes, and right ones, in two halves.

A stranger belongs to the half that is tuned on if the CRC-32 of its name is even. The other half is only
counted: nobody looks at its verdicts one by one and changes the engine.
"""

import zlib
from dataclasses import dataclass
from itertools import cycle, islice

from strangers.of_alibi import ALIBI
from strangers.of_caches import MERGES, STEPS
from strangers.of_gradients import BACKWARDS
from strangers.of_heads import HEADS
from strangers.of_pictures import CBAMS, SQUEEZES
from strangers.of_positions import ROTARY, TABLES
from strangers.of_tiles import TILES
from strangers.style import Style
from strangers.styles import SOFTMAXES, STYLES

RIGHT = {"", "large", "lowest", "sum", "logsumexp", "the others"}
RIGHT |= {"halves", "future hidden", "by a finite maximum", "by the output", "adaptive", "amax", "expanded"}
RIGHT |= {
    f"by {way}" for way in ("exp", "floor", "power", "powers", "division", "outer", "exponents", "places")
}
RIGHT |= {"by einsum", "by a reshape"}
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
ELSEWHERE = TABLES, ROTARY, ALIBI, STEPS, MERGES, BACKWARDS, SQUEEZES, CBAMS
OF = {
    "attention": STYLES,
    "a softmax": SOFTMAXES,
    "heads": HEADS,
    "tiles": TILES,
    "a table of positions": TABLES,
    "rotary positions": ROTARY,
    "ALiBi": ALIBI,
    "a step beside a cache": STEPS,
    "a merge": MERGES,
    "the way back": BACKWARDS,
    "squeeze-and-excitation": SQUEEZES,
    "CBAM": CBAMS,
}
"""What there is to write, and in which styles."""
PAIRS_ELSEWHERE = [
    {"theta": "doubled", "columns": "halves"},
    {"places": "from one", "theta": "no two"},
    {"angles": "clockwise", "pairs": "halves"},
    {"angles": "from one", "theta": "base 1000"},
    {"angles": "clockwise", "theta": "doubled"},
    {"slopes": "slopes from 1", "distance": "raised"},
    {"slopes": "one slope", "distance": "future hidden"},
    {"mask": "no mask", "scale": "no scale"},
    {"mask": "top left", "scale": "no scale"},
    {"turn": "positions from zero", "mask": "no mask"},
    {"outputs": "averaged", "sums": "larger"},
    {"outputs": "other's weight", "sums": "logarithms added"},
    {"through": "no delta", "scale": "back unscaled"},
    {"values": "dV not transposed", "keys": "dK not transposed"},
    {"hidden": "no relu", "squash": "softmax"},
    {"pool": "maximum", "weigh": "map added"},
    {"pools": "average twice", "squash": "softmax"},
    {"sums": "before the net", "squash": "softmax"},
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
        return self.style.called or self.source.split("def ")[1].split("(")[0]

    @property
    def what(self) -> str:
        """Which of OF it is."""
        return next(what for what, styles in OF.items() if self.style in styles)

    @property
    def tuned_on(self) -> bool:
        """Which half it belongs to."""
        return zlib.crc32(self.name.encode()) % 2 == 0


def possible(style: Style, chosen: dict[str, str]) -> bool:
    """Whether the style has these places and can show these mistakes."""
    parts = {part for line in chosen.values() for part in line.split(" + ")}
    lines_known = all(line in style.lines[slot] for slot, line in chosen.items() if slot in style.lines)
    return set(chosen) <= set(style.slots) and not parts & style.lacks and lines_known


def _single(styles):
    slots = sorted({(slot, line) for style in styles for slot in style.slots for line in style.lines[slot]})
    return [{slot: line} for slot, line in slots if line and " + " not in line]


def _lines(styles, slot):
    known = {line: None for style in styles if slot in style.lines for line in style.lines[slot]}
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
    elsewhere = [
        stranger
        for styles in ELSEWHERE
        for stranger in (
            *(Written(style, ()) for style in styles),
            *_in_styles([*_single(styles), *PAIRS_ELSEWHERE], styles),
        )
    ]
    return [
        *elsewhere,
        *right,
        *_in_styles([*of_heads, *PAIRS_IN_HEADS], HEADS),
        *_in_styles(of_tiles, TILES),
        *_in_styles(_single(STYLES), STYLES),
        *_in_styles(PAIRS, STYLES),
        *_in_styles(of_scores + pairs, SOFTMAXES),
    ]
