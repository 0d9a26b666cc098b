"""Drawings of chapter 12, gradients."""

from itertools import pairwise

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from selfattention.figures import ROLES, matrix

GREY = "#777777"


def nudges(axes, K, V, rings, predicted, moved, labels):
    """Queries nudged in a circle among the keys; the outputs' moves among the values.

    K (m, 2), V (m, 2); rings, predicted and moved (queries, steps, 2): where the nudged queries
    are, where the derivative says that their outputs go, and where they go.
    """
    for ax, points, role in (axes[0], K, "K"), (axes[1], V, "V"):
        ax.scatter(*points.T, s=30, color=ROLES[role], marker="s")
        for j, point in enumerate(points, start=1):
            ax.annotate(f"{j}", point, xytext=(6, -9), textcoords="offset points", color=ROLES[role])
        ax.set_aspect("equal")
        ax.margins(0.12)
        ax.set_xlabel("feature 1")
    axes[0].set_ylabel("feature 2")
    axes[0].set_title("queries among the keys")
    axes[1].set_title("their outputs among the values")
    for ring, ellipse, landed, label in zip(rings, predicted, moved, labels, strict=True):
        axes[0].plot(*ring.T, color=ROLES["Q"], linewidth=1.2)
        axes[0].text(*ring.mean(0), label, color=ROLES["Q"], ha="center", va="center_baseline")
        axes[1].plot(*ellipse.T, color=ROLES["O"], linewidth=1.2)
        axes[1].plot(*landed[::3].T, "o", color=ROLES["O"], markersize=2.5)
        top = ellipse[ellipse[:, 1].argmax()]
        axes[1].annotate(label, top, xytext=(0, 4), textcoords="offset points", ha="center", color="#8a5f00")


PLACES = {
    "X": (0, 1),
    "Q": (1.3, 2),
    "K": (1.3, 1),
    "V": (1.3, 0),
    "S": (2.6, 1.5),
    "A": (4.1, 1.5),
    "O": (5, 0.6),
    "Y": (6.2, 0.6),
}
ROADS = [  # from, to, what becomes of the gradient on the way
    ("Y", "O", r"$\cdot\,W_O^\mathsf{T}$"),
    ("O", "A", r"$\cdot\,V^\mathsf{T}$"),
    ("O", "V", r"$A^\mathsf{T}\,\cdot$"),
    ("A", "S", r"$A\circ(\,\cdot\,-\delta)$"),
    ("S", "Q", r"$\cdot\,K/\sqrt{d_k}$"),
    ("S", "K", r"$\cdot^\mathsf{T}\,Q/\sqrt{d_k}$"),
    ("Q", "X", r"$\cdot\,W_Q^\mathsf{T}$"),
    ("K", "X", r"$\cdot\,W_K^\mathsf{T}$"),
    ("V", "X", r"$\cdot\,W_V^\mathsf{T}$"),
]


def roads_back(ax):
    """The gradients, and the arrows of the backward pass between them; dashed, a residual's."""
    arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 14, "shrinkB": 14}
    for start, end, label in ROADS:
        a, b = np.array(PLACES[start]), np.array(PLACES[end])
        ax.annotate("", b, xytext=a, arrowprops=arrow)
        _on_white(ax, (a + b) / 2, label)
    (x, top), (y, _), below = PLACES["X"], PLACES["Y"], -0.6
    ax.plot([y, y, x, x], [0.3, below, below, 0.6], "--", color=GREY, linewidth=1)
    ax.annotate("", (x, top), xytext=(x, 0.5), arrowprops=arrow)
    _on_white(ax, (3.2, below), "with a residual, X + Y")
    for letter, place in PLACES.items():
        circle = {"boxstyle": "circle,pad=0.35", "facecolor": ROLES[letter], "edgecolor": "none"}
        ax.text(*place, f"d{letter}", ha="center", va="center", color="white", bbox=circle)
    ax.set_xlim(-0.3, 6.5)
    ax.set_ylim(-0.8, 2.3)
    ax.set_axis_off()


def _on_white(ax, place, label):
    patch = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    ax.text(*place, label, ha="center", va="center", fontsize=9, bbox=patch)


def errors_against_step(ax, steps, errors, best):
    """The error of a difference quotient against its step, by name of the format; `best`, predicted."""
    for name, style, colour in zip(steps, ("o-", "s--"), (ROLES["Q"], ROLES["K"]), strict=True):
        ax.loglog(steps[name], errors[name], style, color=colour, markersize=3.5, linewidth=1.2, label=name)
        ax.axvline(best[name], color=colour, linewidth=0.8, linestyle=":")
    ax.set_xlabel("step ε (dotted: the cube root of eps)")
    ax.set_ylabel("relative error")
    ax.legend()


def losses(ax, ours, theirs, every, level):
    """Two loss curves, one as a line and one as dots, and the level that equal weights reach."""
    steps = np.arange(len(ours))
    ax.plot(steps, ours, color=ROLES["Y"], label="NumPy, by hand")
    ax.plot(steps[::every], theirs[::every], "o", color=ROLES["O"], markersize=4, label="PyTorch, autograd")
    ax.axhline(level, color=ROLES["A"], linewidth=1)
    ax.annotate("equal weights", (len(ours), level), xytext=(0, 4), textcoords="offset points", ha="right")
    ax.set_xlabel("step of gradient descent")
    ax.set_ylabel("loss")
    ax.set_ylim(bottom=0)
    ax.legend()


def learned(axes, before, after, M, edges, names):
    """Weights before and after training, and the matrix M of all scores, cut into blocks."""
    matrix(axes[0], before, "A", title="weights before", decimals=1)
    matrix(axes[1], after, "A", title="weights after", decimals=1)
    limit = np.abs(M).max()
    colours = LinearSegmentedColormap.from_list("S", ["#8c8c8c", "#ffffff", ROLES["S"]])
    axes[2].imshow(M, cmap=colours, vmin=-limit, vmax=limit)
    for edge in edges[1:-1]:
        axes[2].axvline(edge - 0.5, color="black", linewidth=0.8)
        axes[2].axhline(edge - 0.5, color="black", linewidth=0.8)
    middles = [(a + b - 1) / 2 for a, b in pairwise(edges)]
    axes[2].set_xticks(middles, names, fontsize=8)
    axes[2].set_yticks(middles, names, fontsize=8, rotation=90, va="center")
    axes[2].tick_params(length=0)
    axes[2].set_xlabel("key holds")
    axes[2].set_ylabel("query holds")
    axes[2].set_title("$W_Q W_K^T$ after")
