"""Drawings of chapter 16, devices."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from selfattention.figures import ROLES, SERIES
from selfattention.figures.masks import HIDDEN

OTHER = "#555555"
PALE = 0.35  # how much of its colour a tile keeps that was merged in an earlier step
WAYS = {"heads": (SERIES[0], "^"), "ring": (SERIES[1], "o"), "all-to-all": (SERIES[3], "s")}  # colour, marker
NEVER, EARLIER, NOW = 0, 1, 2
NO_ROOM = {"facecolor": "white", "edgecolor": OTHER, "hatch": "//////", "linewidth": 0}


def film(axes, pictures):
    """A ring step by step, a panel for each: which rank's queries have met which rank's keys.

    `pictures` (steps, p, p) holds 0 not yet, 1 in an earlier step, 2 now: rows are ranks, columns shards.
    """
    shades = _shades("K")
    for step, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        p = len(picture)
        for (rank, shard), when in np.ndenumerate(picture):
            ax.add_patch(Rectangle((shard, rank), 1, 1, facecolor=shades[when], edgecolor="white"))
            if when == NOW:
                ax.text(shard + 0.5, rank + 0.5, str(shard), ha="center", va="center", color="white")
        ax.set_xlim(0, p)
        ax.set_ylim(p, 0)
        ax.set_aspect("equal")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_xticks(np.arange(p) + 0.5, range(p))
        ax.set_yticks(np.arange(p) + 0.5, range(p) if step == 0 else [""] * p)
        ax.set_title(f"step {step}")
        ax.set_xlabel("keys of rank")
    axes[0].set_ylabel("queries of rank")
    names = {"here now": NOW, "merged earlier": EARLIER, "not yet": NEVER}
    handles = [Patch(color=shades[when], label=name) for name, when in names.items()]
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _shades(role):
    """Colours for not yet, earlier and now."""
    colour = np.array(to_rgb(ROLES[role]))
    return [HIDDEN, tuple(1 - PALE * (1 - colour)), tuple(colour)]


def sent(ax, ranks, ways, unit="GB"):
    """What a rank sends against the number of ranks; a way that ends has room for no more.

    `ways` maps heads, ring and all-to-all to their bytes in `unit`, as many as there is room for.
    """
    for name, numbers in ways.items():
        colour, marker = WAYS[name]
        x = ranks[: len(numbers)]
        ax.plot(x, numbers, marker=marker, color=colour, markersize=5, label=name)
        if len(numbers) < len(ranks):
            ax.plot(x[-1], numbers[-1], "x", color=OTHER, markersize=11, zorder=5)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks(ranks, ranks)
    ax.minorticks_off()
    ax.set_xlabel("p, ranks")
    ax.set_ylabel(f"{unit} that a rank sends")
    ax.legend()


def load(ax, shares):
    """Each rank's share of all pairs, a bar for each layout beside one another; the line is a fair share."""
    p = len(next(iter(shares.values())))
    for at, (name, colour) in enumerate(zip(shares, SERIES[:2], strict=True)):
        ax.bar(np.arange(p) + (at - 0.5) * 0.4, shares[name], 0.4, color=colour, label=name)
    ax.axhline(1 / p, color=OTHER, linestyle="--", linewidth=1)
    ax.annotate("a fair share, 1 / p", (0, 1 / p), xytext=(-8, 4), textcoords="offset points", fontsize=8)
    ax.set_xticks(range(p), range(p))
    ax.set_xlabel("rank")
    ax.set_ylabel("share of all pairs")
    ax.legend()


def steps(axes, work):
    """How much of a full tile each rank computes in each step, a panel per layout: {name: (p, p)}."""
    for ax, (name, tiles) in zip(axes, work.items(), strict=True):
        ax.imshow(tiles, cmap=_pale("S"), vmin=0, vmax=1)
        for (rank, step), part in np.ndenumerate(tiles):
            words = {0: "·", 0.5: "½", 1: "1"}.get(round(part, 1), f"{part:.2f}")
            ax.text(step, rank, words, ha="center", va="center")
        ax.set_xticks(range(tiles.shape[1]), range(tiles.shape[1]))
        ax.set_yticks(range(len(tiles)), range(len(tiles)))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel("step")
        ax.set_title(name)
    axes[0].set_ylabel("rank")


def _pale(role):
    return LinearSegmentedColormap.from_list(role, [HIDDEN, ROLES[role]])


def predicted(ax, ratios, band):
    """Predicted over measured seconds, a row for each workload: {name: {p: ratio}}, the numbers are p.

    In the grey the prediction is off by `band` of what was measured, or less.
    """
    ax.axvspan(1 - band, 1 + band, color=HIDDEN, linewidth=0)
    ax.axvline(1, color=OTHER, linewidth=1, linestyle="--")
    for y, found in enumerate(ratios.values()):
        for p, ratio in found.items():
            ax.text(ratio, y, f"{p}", ha="center", va="center", fontweight="bold")
    most = max(abs(ratio - 1) for found in ratios.values() for ratio in found.values())
    ax.set_xlim(1 - 1.2 * max(most, band), 1 + 1.2 * max(most, band))
    ax.set_yticks(range(len(ratios)), ratios)
    ax.set_ylim(len(ratios) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("predicted, over measured")


def winners(axes, ranks, lengths, fastest, hides):
    """Which way is fastest, for every number of ranks and tokens, a panel per cluster.

    `fastest` {title: (lengths, ranks) of names}; any other name than those of the ways is no way, none that
    fits. Above the line of `hides` {title: (ranks)} a ring hides.
    """
    names = list(WAYS)
    colours = [tuple(1 - 0.6 * (1 - np.array(to_rgb(colour)))) for colour, _ in WAYS.values()]
    y = np.log2(lengths)
    for ax, (title, found) in zip(axes, fastest.items(), strict=True):
        for (row, column), name in np.ndenumerate(found):
            look = {"facecolor": colours[names.index(name)]} if name in names else NO_ROOM
            ax.add_patch(Rectangle((column - 0.5, y[row] - 0.5), 1, 1, **look))
        ax.plot(range(len(ranks)), np.log2(hides[title]), color=OTHER, linewidth=1.5)
        ax.set_xlim(-0.5, len(ranks) - 0.5)
        ax.set_ylim(y[0] - 0.5, y[-1] + 0.5)
        ax.set_xticks(range(0, len(ranks), 2), ranks[::2])
        ax.set_yticks(y[::2], [_tokens(n) for n in lengths[::2]] if ax is axes[0] else [""] * len(y[::2]))
        ax.set_xlabel("ranks")
        ax.set_title(title)
    axes[0].set_ylabel("tokens")
    handles = [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]
    handles.append(Patch(**NO_ROOM, label="none fits"))
    handles.append(Line2D([], [], color=OTHER, label="above it, a ring hides"))
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2)


def memory(axes, ranks, lengths, held, rooms):
    """What a rank holds against the number of ranks, a panel for each way and a line for each length.

    `held` {way: (lengths, ranks) of GB}, NaN where there are more ranks than the way has room for; `rooms`
    {device: GB} are dashed lines, smallest first.
    """
    for ax, (way, sizes) in zip(axes, held.items(), strict=True):
        colour, marker = WAYS[way]
        for tokens, line in zip(lengths, sizes, strict=True):
            ax.plot(ranks, line, marker=marker, markersize=3, color=colour)
            _beside(ax, _tokens(tokens), ranks[0], line[0], (-5, 0), "right", "center")
        for room in rooms.values():
            ax.plot(ranks, [room] * len(ranks), color=OTHER, linestyle="--", linewidth=1, zorder=1)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_xlim(ranks[0] / 7, ranks[-1] * 1.3)
        ax.set_xticks(ranks[::2], ranks[::2])
        ax.minorticks_off()
        ax.set_xlabel("ranks")
        ax.set_title(way)
    axes[0].set_ylim(np.nanmin([*held.values()]) / 2, 3 * max(rooms.values()))  # which all panels share
    for device, away, side in zip(rooms, (-2, 2), ("top", "bottom"), strict=True):
        _beside(axes[0], device, ranks[-1], rooms[device], (0, away), "right", side)
    axes[0].set_ylabel("GB that a rank holds")


def _beside(ax, words, x, y, points, ha, va):
    ax.annotate(words, (x, y), points, textcoords="offset points", ha=ha, va=va, fontsize=8)


def _tokens(n):
    return f"{n // 2**20} M" if n >= 2**20 else f"{n // 2**10} k"
