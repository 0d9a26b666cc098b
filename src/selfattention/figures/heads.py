"""Drawings of chapter 08, heads."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from selfattention.figures import ROLES, matrix

TINTS = np.array([0.2, 0.85])  # how much of the role's colour the first and the second head get


def memory_order(axes, Q, right, wrong, owners):
    """Which numbers of memory two ways to split Q hand to two heads.

    Q (n, 2·d), right and wrong (2, n, d) hold addresses; owners[address] is 0 or 1, the head
    that the number belongs to. `axes` maps "Q", "right 1", "right 2", "wrong 1", "wrong 2".
    """
    _addresses(axes["Q"], Q, owners, "Q in memory")
    for name, split in ("right", right), ("wrong", wrong):
        for head, block in enumerate(split, start=1):
            _addresses(axes[f"{name} {head}"], block, owners, f"{name}: head {head}")


def _addresses(ax, block, owners, title):
    strength = TINTS[owners[block.astype(int)]]
    ax.imshow(strength, cmap=LinearSegmentedColormap.from_list("Q", ["#ffffff", ROLES["Q"]]), vmin=0, vmax=1)
    for (t, c), address in np.ndenumerate(block):
        colour = "white" if strength[t, c] > 0.5 else "black"
        ax.text(c, t, f"{address:.0f}", ha="center", va="center", color=colour)
    ax.set_xticks([])
    ax.set_yticks(range(len(block)), range(1, len(block) + 1))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("token")
    ax.set_title(title)


def sum_of_blocks(axes, joined, W_O, Y, shares):
    """Concat(H) W_O = Y in the upper row; one share per head and their sum in the lower row."""
    matrix(axes[0, 0], joined, "O", title="Concat(H)", rows="query", columns="", decimals=0)
    matrix(axes[0, 1], W_O, "X", title="times W_O", rows="", columns="", decimals=0)
    matrix(axes[0, 2], Y, "Y", title="is Y", rows="query", columns="", decimals=0)
    axes[0, 0].axvline(joined.shape[1] / 2 - 0.5, color="black", linewidth=2)
    axes[0, 1].axhline(len(W_O) / 2 - 0.5, color="black", linewidth=2)
    for head, (ax, share) in enumerate(zip(axes[1], shares, strict=False), start=1):
        matrix(ax, share, "O", title=f"share of head {head}", rows="query", columns="", decimals=0)
    matrix(axes[1, 2], sum(shares), "Y", title="their sum", rows="query", columns="", decimals=0)


def weights_side_by_side(axes, weights, titles, decimals):
    """One weight matrix per ax, the queries named once."""
    for ax, A, title in zip(axes, weights, titles, strict=True):
        matrix(ax, A, "A", title=title, rows="query" if ax is axes[0] else "", decimals=decimals)


def explained_while_training(ax, curves, bound):
    """What share of the wanted numbers each layer explains, step by step, for each seed.

    `curves` maps a number of heads to an array (seeds, steps).
    """
    for (h, seeds), style in zip(curves.items(), ("-", "--", ":"), strict=True):
        lines = ax.plot(np.asarray(seeds).T, style, color=ROLES["Y"], linewidth=1.2)
        lines[0].set_label("1 head" if h == 1 else f"{h} heads")
    ax.axhline(bound, color=ROLES["A"], linewidth=1)
    end = (ax.get_xlim()[1], bound)
    ax.annotate("one fact of two", end, xytext=(0, -13), textcoords="offset points", ha="right")
    ax.set_xlabel("training step")
    ax.set_ylabel("share explained")
    ax.set_ylim(-0.1, 1.05)
    ax.legend(loc="lower right")
