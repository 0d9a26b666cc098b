"""Drawings of chapter 10, masks."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from selfattention.figures import ROLES, matrix

HIDDEN, SOMETIMES, SEEN = "#ececec", "#ecd0e0", ROLES["A"]


def rules(axes, tables):
    """One small picture per rule: a filled cell is a key that the query may see.

    `tables` maps a title to booleans (n, m). The outer axes name query and key.
    """
    axes = np.atleast_2d(axes)
    for ax, (title, visible) in zip(axes.flat, tables.items(), strict=True):
        ax.imshow(visible, cmap=ListedColormap([HIDDEN, SEEN]), vmin=0, vmax=1, aspect="equal")
        n, m = visible.shape
        for k in range(1, n):
            ax.axhline(k - 0.5, color="white", linewidth=1.2)
        for k in range(1, m):
            ax.axvline(k - 0.5, color="white", linewidth=1.2)
        ax.set_xticks(range(m), range(1, m + 1))
        ax.set_yticks(range(n), range(1, n + 1))
        ax.tick_params(length=0, labelsize=8)
        ax.spines[:].set_visible(False)
        ax.set_title(title, fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("key")
    for ax in axes[:, 0]:
        ax.set_ylabel("query")


def jacobian(ax, norms, title):
    """How strongly the output of each query (rows) answers to each token (columns)."""
    matrix(ax, norms, "O", title=title, columns="key (nudged)", decimals=1)


def tiles(ax, visible, says, size):
    """A mask (n, m) cut into tiles, each in the colour of what the rule says of it.

    `says` (n / size, m / size) holds 0 for nobody, 1 for ask, 2 for everybody; a line goes
    round the pairs that are visible.
    """
    ax.imshow(
        says,
        cmap=ListedColormap([HIDDEN, SOMETIMES, SEEN]),
        vmin=0,
        vmax=2,
        extent=(0, visible.shape[1], visible.shape[0], 0),
    )
    centres = (np.arange(length) + 0.5 for length in visible.shape)
    rows, columns = np.meshgrid(*centres, indexing="ij")
    ax.contour(columns, rows, visible, levels=[0.5], colors="black", linewidths=0.8)
    for k in range(size, len(visible), size):
        ax.axhline(k, color="white", linewidth=0.6)
        ax.axvline(k, color="white", linewidth=0.6)
    edges = range(0, len(visible) + 1, 4 * size)
    ax.set_xticks(edges)
    ax.set_yticks(edges)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("key")
    ax.set_ylabel("query")
    names = {"nobody: skip": HIDDEN, "ask each pair": SOMETIMES, "everybody: no mask": SEEN}
    ax.legend(
        handles=[Patch(color=colour, label=name) for name, colour in names.items()],
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
    )
