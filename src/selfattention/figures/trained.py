"""Drawings of chapter 09, trained."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from selfattention.figures import ROLES, SERIES

WEIGHTS = LinearSegmentedColormap.from_list("A", ["#ffffff", ROLES["A"], "#5a2a4c"])
OVER_LINES = {"facecolor": "white", "linewidth": 0, "pad": 0.6}  # behind a number that a line may cross


def molecule(ax, atoms, bonds, letters, places):
    """A molecule in the plane: a line per bond, two for a double one, and at each atom its letter.

    atoms (positions in the text), bonds (i, j, symbol), letters one per atom; places (atoms, 2).
    """
    at = dict(zip(atoms, np.asarray(places, dtype=float), strict=True))
    for i, j, symbol in bonds:
        aside = np.array([[0, -1], [1, 0]]) @ (at[j] - at[i]) * 0.06
        for shift in (-aside, aside) if symbol == "=" else (0 * aside,):
            ax.plot(*np.stack([at[i] + shift, at[j] + shift]).T, color="#8c8c8c", zorder=1)
    for i, letter in zip(atoms, letters, strict=True):
        ax.scatter(*at[i], s=330, color="white", zorder=2)
        ax.text(*at[i], letter, ha="center", va="center", zorder=3, fontsize=12)
        ax.text(at[i][0] + 0.17, at[i][1] - 0.27, i, fontsize=8, color=ROLES["Q"], zorder=3)
    ax.set_aspect("equal")
    ax.set_axis_off()


def walk(ax, tokens, is_atom):
    """The same molecule as text: its tokens in a row, the positions of the atoms below them."""
    for i, token in enumerate(tokens):
        ax.text(
            i, 0, token, ha="center", va="center", fontsize=12, color="black" if is_atom[i] else "#8c8c8c"
        )
        if is_atom[i]:
            ax.text(i, -0.9, i, ha="center", va="center", fontsize=8, color=ROLES["Q"])
    ax.set_xlim(-1, len(tokens))
    ax.set_ylim(-1.5, 0.8)
    ax.set_axis_off()


def strip(ax, above, below, places_above, places_below, A):
    """Reactants above, products below; from each atom of the products a line as dark as its weight.

    above and below are tokens; places_… say which of them are atoms; A (below's, above's atoms).
    """
    shift = (len(above) - len(below)) / 2
    for p, row in zip(places_below, A, strict=True):
        for r, weight in zip(places_above, row, strict=True):
            if weight > 0.02:
                ax.plot([p + shift, r], [0.16, 0.84], color=ROLES["A"], alpha=float(weight), linewidth=2.4)
    for tokens, places, x, y, colour in (
        (above, places_above, 0, 1, ROLES["K"]),
        (below, places_below, shift, 0, ROLES["Q"]),
    ):
        for i, token in enumerate(tokens):
            ax.text(x + i, y, token, ha="center", va="center", color=colour if i in places else "#8c8c8c")
    ax.text(-0.4, 1.22, "reactants, the keys", color=ROLES["K"], fontsize=9)
    ax.text(shift - 0.4, -0.22, "product, the queries", va="top", color=ROLES["Q"], fontsize=9)
    ax.set_xlim(-1, len(above))
    ax.set_ylim(-0.45, 1.4)
    ax.set_axis_off()


def head_grid(ax, counts, total):
    """Atoms right for every layer (rows) and head (columns), counted from 0."""
    ax.imshow(counts, cmap=WEIGHTS, vmin=0, vmax=total, aspect="auto")
    for (layer, head), count in np.ndenumerate(counts):
        colour = "white" if count > 0.6 * total else "black"
        ax.text(head, layer, int(count), ha="center", va="center", fontsize=9, color=colour)
    ax.set_xticks(range(counts.shape[1]))
    ax.set_yticks(range(counts.shape[0]))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("head")
    ax.set_ylabel("layer")


def all_heads(axes, A, arrow):
    """The weights of every head; thin lines where the products begin."""
    for head, (ax, weights) in enumerate(zip(axes.flat, A, strict=True)):
        ax.imshow(weights, cmap=WEIGHTS, vmin=0, vmax=1, interpolation="nearest")
        ax.axhline(arrow, color="#8c8c8c", linewidth=0.6)
        ax.axvline(arrow, color="#8c8c8c", linewidth=0.6)
        ax.set_title(f"head {head}")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("key" if ax in axes[-1] else "")
        ax.set_ylabel("query" if ax in axes[:, 0] else "")


def bugs(axes, names, counts, totals, titles, guesses):
    """Atoms right per way of attending: one panel per set of reactions, a line for blind guessing.

    counts (names, panels); totals, titles and guesses have one entry per panel.
    """
    rows = np.arange(len(names))[::-1]
    for ax, count, total, title, guess in zip(axes, counts.T, totals, titles, guesses, strict=True):
        ax.barh(rows, count, color=ROLES["A"], height=0.6)
        for y, c in zip(rows, count, strict=True):
            ax.annotate(f"{c}", (c, y), xytext=(4, 0), textcoords="offset points", va="center")
        ax.axvline(guess, color="#555555", linewidth=1, linestyle="--")
        ax.set_xlim(0, total * 1.18)
        ax.set_yticks(rows, names if ax is axes[0] else [""] * len(names))
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(f"atoms right, of {total}")
        ax.set_title(title)


def price_list(ax, names, counts, right, guess):
    """Atoms found with each mistake, the dearest mistakes at the bottom; red where nothing is lost."""
    order = np.argsort(counts, kind="stable")
    counts, rows = np.asarray(counts)[order], np.arange(len(names))
    ax.axvline(right, color="#555555", linewidth=1)
    ax.axvline(guess, color="#555555", linewidth=1, linestyle="--")
    for silent, colour in ((False, SERIES[0]), (True, SERIES[1])):
        seen = (counts >= right) == silent
        ax.hlines(rows[seen], 0, counts[seen], color=colour, linewidth=1, alpha=0.5)
        ax.scatter(counts[seen], rows[seen], color=colour, s=18, zorder=3)
    place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 7}
    for y, count in zip(rows, counts, strict=True):
        ax.annotate(f"{count}", (count, y), **place, bbox=OVER_LINES)
    ax.set_yticks(rows, [names[i] for i in order], fontsize=7.5)
    ax.set_xlim(0, counts.max() * 1.12)
    ax.set_ylim(-0.8, len(names) - 0.2)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("atoms found")
