"""Drawings of chapter 18, dialects."""

import numpy as np
from matplotlib.patches import Patch, Rectangle

from selfattention.figures import LUMINANCE, ROLES, SERIES

OURS, NO_ARGUMENT, DEPENDS, REFUSED, OTHER = 0, -1, -2, -3, -4
LOOK = {  # colour, mark in the cell, words
    OURS: ("#d0d0d0", "", "as this package, or as most"),
    1: (SERIES[3], "2", "a second reading"),
    2: (SERIES[1], "3", "a third"),
    3: (SERIES[2], "4", "a fourth, or beyond"),
    DEPENDS: ("#F0E442", "~", "depends on shape, dtype or flag"),
    REFUSED: ("#8c8c8c", "×", "refuses"),
    OTHER: ("#333333", "?", "none of these, or no answer"),
    NO_ARGUMENT: ("#ffffff", "", "has no such argument"),
}


def absorption(ax, F, thresholds, score, fills):
    """Below its line a format swallows a score: beside F nothing of it is left. Fills as labelled squares."""
    styles = zip(thresholds.items(), ("Q", "V", "O", "K"), ("-", "--", "-.", ":"), strict=True)
    for (name, limit), role, dashes in styles:
        ax.plot(F, limit, color=ROLES[role], linestyle=dashes, label=name)
    ax.axhline(score, color="#555555", linewidth=1)
    ax.annotate(
        "a score of ln 5", (F[len(F) // 2], score), xytext=(0, -11), textcoords="offset points", fontsize=8
    )
    for name, (fill, limit) in fills.items():
        ax.plot(fill, limit, "s", color="#333333", markersize=5)
        above = limit > score
        at, side = ((-5, 5), "right") if above else ((6, -10), "left")
        ax.annotate(name, (fill, limit), xytext=at, textcoords="offset points", ha=side, fontsize=8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("F, what is subtracted")
    ax.set_ylabel("scores below this are absorbed")
    ax.legend(loc="lower right")


def table(ax, codes, rows, columns, groups):
    """Questions × doors as coloured cells. `codes` (rows, columns) are keys of `LOOK`; from 3 on all are 3.

    `groups` maps a heading to how many rows it has.
    """
    for (i, j), code in np.ndenumerate(np.minimum(codes, 3)):
        colour, mark, _ = LOOK[int(code)]
        ax.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
        if mark:
            ax.text(j + 0.5, i + 0.55, mark, ha="center", va="center", fontsize=6, color=_ink(colour))
    ax.set_xlim(0, len(columns))
    ax.set_ylim(len(rows), 0)
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, fontsize=7)
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=7)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for start in np.cumsum([0, *groups.values()])[1:-1]:
        ax.axhline(start, color="#333333", linewidth=0.8)
    handles = [
        Patch(facecolor=colour, edgecolor="#8c8c8c", label=f"{mark}  {words}" if mark else words)
        for colour, mark, words in LOOK.values()
    ]
    ax.figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=7)


def _ink(colour):
    """Black or white, whichever can be read on it."""
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return "white" if channels @ LUMINANCE < 0.4 else "black"


def added(ax, counts):
    """How many architectures add what: a bar each, in the colour of the letter that it is added to.

    `counts` maps a letter (Q for queries and keys, S for scores, V, O) to ingredients and their numbers.
    """
    bars = [(word, number, letter) for letter, words in counts.items() for word, number in words.items()]
    for place, (_, number, letter) in enumerate(bars):
        ax.barh(place, number, color=ROLES[letter], height=0.7)
        ax.text(number, place, f" {number}", va="center", fontsize=7.5)
    ax.set_yticks(range(len(bars)), [word for word, _, _ in bars], fontsize=7.5)
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.set_xlabel("architectures")
    ax.spines[["top", "right"]].set_visible(False)
