"""Drawings of chapter 02, projections."""

import numpy as np

from selfattention.figures import ROLES, matrix


def plane(ax, views, words, *, limit, title):
    """Rows of one or more matrices as arrows in the plane: `views` maps a role to its matrix.

    Every arrow carries its word, and its role where several roles share the plane. A role
    that comes later in `views` is drawn above the earlier ones, its level labels lower, so
    that a short arrow can be read upon a long one.
    """
    arrow = {"arrowstyle": "-|>", "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    for layer, (role, rows) in enumerate(views.items()):
        look = {"color": ROLES[role], "zorder": 3 + layer}
        for (x, y), word in zip(rows, words, strict=True):
            ax.annotate("", (x, y), (0, 0), arrowprops=arrow | look, zorder=3 + layer)
            label = word if len(views) == 1 else f"{role.lower()} {word}"
            right, up = np.sign([x, y]) if y or not layer else (0, -1)
            ax.annotate(
                label,
                (x, y),
                xytext=(7 * right, 7 * up),
                textcoords="offset points",
                ha={-1: "right", 0: "center", 1: "left"}[right],
                va={-1: "top", 0: "center", 1: "bottom"}[up],
                **look,
            )
    ax.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
    ax.axvline(0, color="#dddddd", linewidth=0.8, zorder=0)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)


def three_views(axes, words, **views):
    """Four planes: the tokens X, and their views Q, K and V."""
    does = {"X": "are", "Q": "ask for", "K": "offer", "V": "carry"}
    for ax, (role, rows) in zip(axes.flat, views.items(), strict=True):
        plane(ax, {role: rows}, words, limit=3, title=f"{role}: what they {does[role]}")


def scores_between_words(ax, S, words, title):
    """A score matrix with words for queries (down) and keys (across)."""
    matrix(ax, S, "S", title=title, decimals=0)
    ax.set_xticks(range(len(words)), words)
    ax.set_yticks(range(len(words)), words)


def share_looking_at_themselves(ax, n, means, margins, one_in_n):
    """Measured shares against n: two rows, for two views and for one, with their half-widths."""
    ax.plot(n, one_in_n, "--", color="#999999", linewidth=1.2, label="one in n")
    ax.errorbar(n, means[1], margins[1], fmt="s-", color="#555555", capsize=3, label="one shared view")
    ax.errorbar(n, means[0], margins[0], fmt="o", color=ROLES["S"], capsize=3, label="two views")
    ax.set(xscale="log", yscale="log", xlabel="n, tokens in the sequence")
    ax.set_ylabel("share that score\nthemselves highest")
    ax.set_xticks(n, n)
    ax.minorticks_off()
    ax.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    ax.legend(loc="lower left")


def packed_columns(ax, strips):
    """Each strip, a title and a list such as ["q1", "q1", "k1" …], names a matrix's columns."""
    for y, columns in enumerate(strips.values()):
        for x, owner in enumerate(columns):
            ax.barh(-y, 0.94, left=x, height=0.5, color=ROLES[owner[0].upper()])
            ax.text(x + 0.47, -y, owner, ha="center", va="center", color="white", fontweight="bold")
    for y, title in enumerate(strips):
        ax.text(0, -y + 0.32, title, ha="left", va="bottom")
    ax.set(xlim=(0, max(map(len, strips.values()))), ylim=(0.7 - len(strips), 0.6))
    ax.set_axis_off()
