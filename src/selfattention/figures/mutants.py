"""Drawings of chapter 19, mutants."""

import numpy as np
from matplotlib.colors import ListedColormap

from selfattention.figures import ROLES, SERIES
from selfattention.figures.trained import WEIGHTS

KILL = ListedColormap(["#ffffff", ROLES["A"]])
GREY = "#777777"


def four_readings(axes, weights, titles):
    """The weights that four programs give to the same queries and keys, in per cent, one matrix per ax."""
    for ax, A, title in zip(axes, weights, titles, strict=True):
        ax.imshow(A, cmap=WEIGHTS, vmin=0, vmax=1)
        for (i, j), weight in np.ndenumerate(A):
            ax.text(j, i, f"{100 * weight:.0f}", ha="center", va="center", fontsize=7)
        ax.set_title(title, fontsize=8.5)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("key")
        ax.set_ylabel("query" if ax is axes[0] else "")


def kill_matrix(ax, killed, mutants, properties):
    """A filled square where the property (column) tells the mutant (row) from the right function."""
    rows, columns = killed.shape
    ax.imshow(killed, cmap=KILL, vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(np.arange(columns), properties, rotation=90, fontsize=7.5)
    ax.set_yticks(np.arange(rows), mutants, fontsize=7.5)
    ax.xaxis.tick_top()
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#cccccc", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def seen_by_tests_and_task(ax, told, found, right, named):
    """Each mutant by the share of the properties that tell it and by the atoms that are found with it.

    told and found, one number per mutant; `named` maps a label to its place and the text's offset.
    """
    silent = found >= right
    ax.axhline(right, color=GREY, linewidth=1)
    for seen, colour in ((~silent, SERIES[0]), (silent, SERIES[1])):
        ax.scatter(told[seen], found[seen], color=colour, s=22, alpha=0.75, linewidths=0)
    for label, (x, y, offset) in named.items():
        ax.annotate(label, (x, y), xytext=offset, textcoords="offset points", fontsize=8, color="#333333")
    ax.set_xlim(0, 1.03)
    ax.set_ylim(0, right * 1.12)
    ax.set_xlabel("share of the properties that tell it")
    ax.set_ylabel("atoms found")


def printed_and_programmed(axes, wavelengths, tables, titles):
    """Left, wavelengths by pair of columns; then one table of positions per title."""
    for (label, lengths), style in zip(wavelengths.items(), ("-", "--"), strict=True):
        axes[0].semilogy(lengths, style, color=ROLES["X"], label=label)
    axes[0].set_xlabel("pair of columns")
    axes[0].set_title("wavelength")
    axes[0].legend(fontsize=8)
    for ax, P, title in zip(axes[1:], tables, titles, strict=True):
        ax.imshow(P, cmap="PuOr", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        ax.set_title(title)
        ax.set_xlabel("column")
        ax.set_ylabel("position" if ax is axes[1] else "")
