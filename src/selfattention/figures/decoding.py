"""Drawings of chapter 15, decoding."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patches import Patch, Rectangle

from selfattention.figures import ROLES, SERIES
from selfattention.figures.masks import HIDDEN

OTHER = "#555555"
PALE = 0.35  # how much of its colour a row keeps that was computed earlier
NEVER, EARLIER, NOW = 0, 1, 2


def work(axes, pictures):
    """What one step computes, a panel per way of decoding: 0 never, 1 in an earlier step, 2 now.

    `pictures` maps a title to four arrays: the rows of Q, K and V, each (n,), and the scores S (n, n).
    """
    for ax, (title, (Q, K, V, S)) in zip(axes, pictures.items(), strict=True):
        n = len(S)
        _cells(ax, Q[:, None], "Q", 0, 0)
        _cells(ax, S, "S", 2, 0)
        _cells(ax, K[None], "K", 2, n + 0.6)
        _cells(ax, V[None], "V", 2, n + 2.2)
        ax.text(0.5, -0.3, "$Q$", ha="center")
        for name, y in (("$S$", n / 2), ("$K$", n + 1.1), ("$V$", n + 2.7)):
            ax.text(n + 2.3, y, name, va="center")
        ax.set_xlim(-0.2, n + 3.2)
        ax.set_ylim(n + 3.4, -1.2)
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.set_title(title)
    names = {"computed now": NOW, "in an earlier step": EARLIER, "not at all": NEVER}
    handles = [Patch(color=_shades("S")[at], label=name) for name, at in names.items()]
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _cells(ax, M, role, x, y):
    """The cells of M, its upper left corner at (x, y)."""
    for (i, j), when in np.ndenumerate(M):
        ax.add_patch(Rectangle((x + j, y + i), 1, 1, facecolor=_shades(role)[when], edgecolor="white"))


def _shades(role):
    """Colours for never, earlier and now."""
    colour = np.array(to_rgb(ROLES[role]))
    return [HIDDEN, tuple(1 - PALE * (1 - colour)), tuple(colour)]


def sentence(ax, tokens, A, prompt):
    """Attention within one text, rows and columns by their words; above the line is the prompt.

    tokens (n), A (n, n), causal; `prompt` tokens were given, the others written one by one.
    """
    cmap = LinearSegmentedColormap.from_list("A", ["#ffffff", ROLES["A"], "#5a2a4c"])
    ax.imshow(A, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    ax.axhline(prompt - 0.5, color=OTHER, linewidth=0.8)
    words = [token.strip() or repr(token)[1:-1] for token in tokens]
    ax.set_xticks(range(len(words)), words, rotation=90, fontsize=7)
    ax.set_yticks(range(len(words)), words, fontsize=7)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("key, in the cache")
    ax.set_ylabel("query, one per step")


def first_key(ax, shares, even):
    """The share of attention that the first key takes: a dot per head, a line through their means.

    shares (layers, heads); `even` is what it would get if all keys got the same.
    """
    layers = np.arange(len(shares))
    for head in shares.T:
        ax.plot(layers, head, "o", color=ROLES["A"], markersize=3, alpha=0.5)
    ax.plot(layers, shares.mean(1), color=ROLES["A"], label="mean of the heads")
    ax.axhline(even, color=OTHER, linestyle="--", linewidth=1, label="an even share")
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("layer")
    ax.set_ylabel("attention on the first key")
    ax.legend(loc="upper left")


def prices(ax, names, perplexities, right, says):
    """Perplexity with each mistake, a bar from that of the right model; coloured where it says Paris.

    `says` holds a boolean for each name.
    """
    colours = [SERIES[0] if paris else "#8c8c8c" for paris in says]
    rows, beside = np.arange(len(names)), {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
    ax.hlines(rows, right, perplexities, color=colours, linewidth=7)
    ax.scatter(perplexities, rows, color=colours, s=48)
    for y, x in zip(rows, perplexities, strict=True):
        ax.annotate(_short(x), (max(x, right), y), **beside, fontsize=8)
    ax.axvline(right, color=OTHER, linewidth=1, linestyle="--", zorder=0)
    ax.set_xscale("log")
    ax.set_xlim(min(perplexities) * 0.8, max(perplexities) * 3)
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("perplexity")
    words = {"says Paris": SERIES[0], "does not": "#8c8c8c"}
    ax.legend(handles=[Patch(color=colour, label=name) for name, colour in words.items()], fontsize=8)


def _short(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 34 else f"{x:.2f}"


def growth(ax, tokens, kinds, weights):
    """Bytes of a cache against the tokens it has taken, a line for each kind of cache, its name at its end.

    `kinds` maps a name to bytes (tokens); `weights` is what the model itself takes, a dashed line.
    """
    styles = zip((*SERIES, OTHER), ("-", "-", "-", "-", "--"), strict=True)
    for (name, numbers), (colour, style) in zip(kinds.items(), styles, strict=True):
        ax.plot(tokens, np.divide(numbers, 1e6), style, color=colour)
        beside = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(name, (tokens[-1], numbers[-1] / 1e6), **beside, annotation_clip=False)
    ax.axhline(weights / 1e6, color=OTHER, linewidth=1, linestyle=":")
    ax.annotate(
        "the weights", (tokens[0], weights / 1e6), xytext=(3, 4), textcoords="offset points", fontsize=8
    )
    ax.set_xlim(tokens[0], tokens[-1])
    ax.set_ylim(0)
    ax.set_xlabel("tokens so far")
    ax.set_ylabel("cache, MB")


def roof(ax, intensity, speed, rows, measured, prompt, prompts):
    """Operations per second against operations per byte: a machine's roof, and products of so many rows.

    `measured` maps the names of three programs to (operations per byte, operations per second), each (rows,).
    `prompts` maps names, of those or others, to operations per second of a prompt, at `prompt` per byte.
    """
    ax.loglog(intensity, speed, color=OTHER)
    marks = dict(zip(measured, zip(SERIES[:3], "os^", strict=True), strict=True))
    for name, (x, y) in measured.items():
        colour, marker = marks[name]
        ax.plot(x, y, marker, color=colour, markersize=5, label=name)
    for count, x, y in zip(rows, *next(iter(measured.values())), strict=True):
        ax.annotate(f"{count}", (x, y), xytext=(5, -9), textcoords="offset points", fontsize=8)
    for name, y in prompts.items():
        colour, marker = marks.get(name, (OTHER, "D"))
        of = {} if name in marks else {"label": name}
        ax.plot(prompt, y, marker, color=colour, markerfacecolor="none", markersize=6, **of)
    ax.annotate(
        "a prompt",
        (prompt, min(prompts.values())),
        xytext=(0, -14),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
    ax.set_xlabel("operations per byte")
    ax.set_ylabel("operations per second")
    ax.minorticks_off()
    ax.legend(loc="lower right")
