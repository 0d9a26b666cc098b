"""Drawings of chapter 11, positions."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from selfattention.figures import NEGATIVE, ROLES, SERIES, matrix

SIGNED = LinearSegmentedColormap.from_list("signed", [NEGATIVE["X"], "#ffffff", ROLES["X"]])


def two_orders(axes, weights, sentences):
    """The weights of one sentence in two orders; `sentences` are lists of words."""
    for ax, A, words in zip(axes, weights, sentences, strict=True):
        matrix(ax, A, "A", title=" ".join(words), rows="query" if ax is axes[0] else "", columns="key")
        ax.set_xticks(range(len(words)), words)
        ax.set_yticks(range(len(words)), words)


def dials(axes, P, frequencies, shift):
    """Each pair of columns of P as the hand of a clock, and how far `shift` positions turn it."""
    for c, (ax, theta) in enumerate(zip(axes, frequencies, strict=True)):
        sin, cos = P[:, 2 * c], P[:, 2 * c + 1]
        circle = np.linspace(0, 2 * np.pi, 200)
        ax.plot(np.sin(circle), np.cos(circle), color="#cccccc", linewidth=1)
        ax.plot(sin, cos, "o", color=ROLES["X"], markersize=4)
        for i in (0, shift):
            ax.plot([0, sin[i]], [0, cos[i]], color=ROLES["Q"], linewidth=1.5)
            ax.annotate(i, (1.22 * sin[i], 1.22 * cos[i]), ha="center", va="center", color=ROLES["Q"])
        ax.set_title(f"θ = {theta:.3g}", loc="center")
        ax.set_xlim(-1.4, 1.4)
        ax.set_ylim(-1.4, 1.4)
        ax.set_aspect("equal")
        ax.axis("off")


def table_and_distances(axes, P, distances, similarity):
    """A table of positions, and what the dot product of two of its rows says of their distance."""
    axes[0].imshow(P, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes[0].set_xlabel("column of P")
    axes[0].set_ylabel("position")
    axes[1].plot(distances, similarity, color=ROLES["X"])
    axes[1].axhline(0, color="#999999", linewidth=0.8)
    axes[1].set_xlabel("distance i − j")
    axes[1].set_ylabel("cosine of two rows")


def learned_table(axes, spreads, drawn, distances, learned, fixed):
    """The spread of each row of a learned table, and its cosines against distance."""
    axes[0].plot(spreads, color=ROLES["X"], linewidth=1)
    axes[0].axhline(drawn, color=SERIES[0], linewidth=1, linestyle="--")
    axes[0].annotate("as first drawn", (0, drawn), xytext=(0, 4), textcoords="offset points")
    axes[0].set_ylim(0, None)
    axes[0].set_xlabel("position")
    axes[0].set_ylabel("spread of its row")
    axes[1].plot(distances, learned, color=ROLES["X"], label="learned")
    axes[1].plot(distances, fixed, ":", color=SERIES[0], label="sinusoids")
    axes[1].set_xlabel("distance i − j")
    axes[1].set_ylabel("cosine of two rows")
    axes[1].set_ylim(-0.05, 1.05)
    axes[1].legend()


def scores_by_position(axes, scores, titles):
    """Score matrices side by side, their rows and columns counted from 0 as positions are."""
    for ax, S, title in zip(axes, scores, titles, strict=True):
        matrix(ax, S, "S", title=title, rows="query" if ax is axes[0] else "", decimals=1)
        ax.set_xticks(range(S.shape[1]), range(S.shape[1]))
        ax.set_yticks(range(S.shape[0]), range(S.shape[0]))


def weights_by_distance(ax, A, names, least):
    """What one query gives to keys farther and farther back: a line per head, the weights logarithmic.

    A (h, m), the query's own key last. Weights below `least` are not shown.
    """
    for weights, name, shade in zip(A[:, ::-1], names, np.linspace(1, 0.4, len(A)), strict=True):
        ax.semilogy(weights, color=ROLES["A"], alpha=shade)
        end = np.flatnonzero(weights >= least)[-1]
        up = "center" if end == len(weights) - 1 else "bottom"
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": up, "fontsize": 8}
        ax.annotate(name, (end, weights[end]), **place)
    ax.set_ylim(least, 1)
    ax.set_xlabel("distance from query back to key")
    ax.set_ylabel("weight")


def accuracy_by_sets(ax, sizes, means, errors, labels, chance):
    """Accuracy against the number of training sets, one band per readout, and blind guessing."""
    styles = zip(means, errors, labels, ("-", "--"), SERIES[:2], strict=True)
    for mean, error, label, line, colour in styles:
        ax.fill_between(sizes, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        ax.semilogx(sizes, mean, line, color=colour, label=label, base=2)
    ax.axhline(chance, color="#999999", linewidth=0.8)
    ax.annotate("guessing", (sizes[-1], chance), xytext=(0, 4), textcoords="offset points", ha="right")
    ax.set_ylim(0, 1.02)
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
    ax.set_xlabel("training sets")
    ax.set_ylabel("odd one found")
    ax.legend(loc="center right")
