"""Drawings of chapter 17, vision: a picture of 4 × 4 with what is weighted lit, and what trained nets did."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patches import Rectangle

from selfattention.figures import LUMINANCE, ROLES, SERIES

LIT = LinearSegmentedColormap.from_list("lit", ["#ffffff", ROLES["A"], "#5a2a4c"])
INK = LinearSegmentedColormap.from_list("ink", ["#ffffff", "#1a1a1a"])
EDGE, OTHER = "#8c8c8c", "#555555"
ASIDE = 1.25  # how far a sheet stands beside and above the one before it, in cells
STYLES = {"linewidth": 1.6, "markersize": 4}


def sheets(ax, maps, *, title=None, names=(), query=None, most=1.0, cmap=LIT):
    """Maps (sheets, high, wide) behind one another, the first in front, each cell as dark as its number.

    `names` are written on the last cells of the sheets; `query` (row, column) is outlined on the first;
    `most` is the number that is darkest.
    """
    count, high, wide = maps.shape
    for k in reversed(range(count)):
        x, y = ASIDE * k, -ASIDE * k
        for (i, j), number in np.ndenumerate(maps[k]):
            colour = cmap(number / most)
            ax.add_patch(Rectangle((x + j, y + i), 1, 1, facecolor=colour, edgecolor=EDGE, linewidth=0.5))
        ax.add_patch(Rectangle((x, y), wide, high, fill=False, edgecolor=OTHER, linewidth=0.9))
    for k, name in enumerate(names):
        x, y = ASIDE * k + wide - 0.5, -ASIDE * k + high - 0.5
        dark = np.array(cmap(maps[k, -1, -1] / most))[:3] @ LUMINANCE < 0.4
        ax.text(x, y, name, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
    if query is not None:
        outline(ax, (query[1], query[0]))
    room(ax, title, wide + ASIDE * (count - 1), high, -ASIDE * (count - 1))


def outline(ax, corner, side=1):
    """A query: a square with a thick edge in the colour of queries."""
    ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=ROLES["Q"], linewidth=2.2, zorder=4))


def room(ax, title, right, bottom, top):
    """Axes without a frame, as wide as what was drawn."""
    ax.set_xlim(-0.2, right + 0.2)
    ax.set_ylim(bottom + 0.2, top - 0.3)
    ax.set_aspect("equal")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title, fontsize=9)


def squares(ax, weights, first, *, p=2, title=None):
    """A picture cut into patches, weights (down, along), and beside it the token that no patch has made."""
    down, along = weights.shape
    for (i, j), number in np.ndenumerate(weights):
        ax.add_patch(Rectangle((p * j, p * i), p, p, facecolor=LIT(number), edgecolor=OTHER, linewidth=0.9))
        ax.text(p * j + p / 2, p * i + p / 2, f"{number:.2f}", ha="center", va="center", fontsize=8)
    x = p * along + 0.7
    ax.add_patch(Rectangle((x, 0), 1.2, 1.2, facecolor=LIT(first), edgecolor=OTHER))
    outline(ax, (x, 0), 1.2)
    ax.text(x, 1.75, "class", fontsize=8)
    room(ax, title, x + 1.3, p * down, 0)


def windows(ax, weights, parts, query, *, title=None):
    """Whom a position (row, column) of a map weighs, weights (high, wide), and where windows end.

    parts (high, wide) numbers the windows.
    """
    sheets(ax, weights[None], title=title, query=query)
    for i, j in zip(*np.nonzero(parts[:, 1:] != parts[:, :-1]), strict=True):
        ax.plot([j + 1] * 2, [i, i + 1], color=ROLES["K"], linewidth=2)
    for i, j in zip(*np.nonzero(parts[1:] != parts[:-1]), strict=True):
        ax.plot([j, j + 1], [i + 1] * 2, color=ROLES["K"], linewidth=2)


def positions(axes, likeness):
    """How alike the position vectors are: for each place (row, column) a picture of all places.

    likeness (down, along, down, along), from −1 to 1.
    """
    cmap = LinearSegmentedColormap.from_list("signed", [EDGE, "#ffffff", ROLES["Q"]])
    for (i, j), ax in np.ndenumerate(axes):
        ax.imshow(likeness[i, j], cmap=cmap, vmin=-1, vmax=1, interpolation="nearest")
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=ROLES["K"], linewidth=1.6))
        ax.set_xticks([])
        ax.set_yticks([])


def digits(axes, pictures, titles):
    """Small pictures (n, high, wide), from white to black, each with its title."""
    for ax, picture, title in zip(axes, pictures, titles, strict=True):
        ax.imshow(picture, cmap=INK, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title(title, fontsize=9, loc="center")


def patch_maps(axes, pixels, maps, titles, query=None):
    """A digit, and maps (n, down, along) of what its patches count for, each on its own scale."""
    digits(axes[:1], pixels[None], titles[:1])
    for ax, values, title in zip(axes[1:], maps, titles[1:], strict=True):
        limit = np.abs(values).max() or 1
        cmap = LinearSegmentedColormap.from_list("signed", [EDGE, "#ffffff", ROLES["A"], "#5a2a4c"])
        ax.imshow(values, cmap=cmap, vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title(title, fontsize=9, loc="center")
        if query is not None:
            outline(ax, (query[1] - 0.5, query[0] - 0.5))


LINES = {
    "random": (EDGE, "--", ""),
    "ink": ("#000000", "-", "s"),
    "attention, last layer": (ROLES["A"], "-", "o"),
    "attention, first layer": (ROLES["A"], ":", "o"),
    "rollout": (SERIES[0], "-", "^"),
    "gradient": (SERIES[1], "-", "v"),
    "gradient x input": (SERIES[1], ":", "v"),
    "leave one out, drop": (SERIES[3], "-", "D"),
    "leave one out, blank": (SERIES[3], ":", "D"),
}


def deletion(axes, taken, panels):
    """Accuracy after so many patches were taken away, a line per order with a band from low to high.

    taken (k); `panels` maps a title to orders, each with three rows (low, mean, high) of k numbers.
    """
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, (low, mean, high) in curves.items():
            colour, line, marker = LINES[name]
            ax.fill_between(taken, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(taken, mean, color=colour, linestyle=line, marker=marker, label=name, **STYLES)
        ax.set_title(title)
        ax.set_xlabel("patches taken away")
        ax.set_ylim(0, 1.02)
    axes[0].set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)


def cells(axes, pictures, titles, borders):
    """Pictures (n, high, wide) in grey, each on its own scale, on all the borders (high, wide) of cells."""
    for ax, picture, title in zip(axes, pictures, titles, strict=True):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=np.percentile(picture, 99.5), interpolation="nearest")
        ax.contour(borders, levels=[0.5], colors=[SERIES[3]], linewidths=0.8)
        bare(ax, title)


BOTH, MISSED, INVENTED = (0.80, 0.80, 0.80), to_rgb(SERIES[1]), to_rgb(SERIES[0])


def agreement(ax, truth, said, title):
    """Foreground (high, wide) as it is and as a net has it: both grey, missed red, invented blue."""
    picture = np.ones((*truth.shape, 3))
    for where, colour in ((truth & said, BOTH), (truth & ~said, MISSED), (~truth & said, INVENTED)):
        picture[where] = colour
    ax.imshow(picture, interpolation="nearest")
    bare(ax, title)


def bare(ax, title):
    """A picture's axes: a title, and no ticks."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=9)


def gains(ax, seeds, student, drawn, larger):
    """Differences of IoU, seed by seed, with two intervals; below a line, what is larger than any of them.

    `seeds` maps a name to its differences; `student` and `drawn` to low and high, by Student's t and with
    tiles drawn as well; `larger` maps a name to differences, one for each fold.
    """
    for y, (name, values) in enumerate(seeds.items()):
        mean = np.mean(values)
        ax.hlines(y - 0.12, *student[name], color=SERIES[1], linewidth=3)
        ax.hlines(y + 0.12, *drawn[name], color=SERIES[0], linewidth=3)
        ax.plot(values, np.full(len(values), y), "o", color=EDGE, markersize=3)
        ax.plot(mean, y, "|", color="black", markersize=14, markeredgewidth=1.6)
    below = len(seeds) + np.arange(len(larger)) + 0.5
    for y, values in zip(below, larger.values(), strict=True):
        ax.hlines(np.full(len(values), y), 0, values, color=EDGE, linewidth=1)
        ax.plot(values, np.full(len(values), y), "D", color=OTHER, markersize=4)
    ax.axhline(len(seeds) - 0.25, color=EDGE, linewidth=0.6)
    ax.axvline(0, color=OTHER, linewidth=1, linestyle="--", zorder=0)
    ax.set_yticks([*range(len(seeds)), *below], [*seeds, *larger])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("difference of IoU")


HEARD = {
    "nothing": (EDGE, ":"),
    "attention gate": (EDGE, "--"),
    "dilated": (SERIES[3], "--"),
    "norm": ("#000000", "-"),
    "squeeze-excitation": (SERIES[2], "-"),
    "CBAM": (SERIES[1], "-"),
    "non-local": (SERIES[0], "-"),
    "as it is": (EDGE, "-"),
    "small first": (SERIES[0], "-"),
}


def plateau(axes, panels, floor):
    """IoU at its best cut against steps of training, a line per run; `floor` is what needs no message.

    `panels` maps a title to names, each with runs, pairs (steps, IoU). A line that ends early is solved.
    """
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, runs in curves.items():
            colour, line = HEARD[name]
            for k, (steps, iou) in enumerate(runs):
                ax.plot(steps, iou, line, color=colour, label=None if k else name, linewidth=1.3)
                ax.plot(steps[-1], iou[-1], "o", color=colour, markersize=3.5)
        ax.axhline(floor, color=OTHER, linestyle="--", linewidth=0.8, zorder=0)
        ax.annotate("every cell", (1, floor), xycoords=("axes fraction", "data"), xytext=(-2, 4),
                    textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        ax.set_ylim(0.2, 1.03)
        ax.set_title(title)
        ax.set_xlabel("steps of training")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8)
    axes[0].set_ylabel("IoU")


def messages(axes, pictures, wanted, titles):
    """Pictures (n, 3, high, wide) in three colours, red, green, blue, and below each what is wanted of it."""
    for column, picture, truth, title in zip(axes.T, pictures, wanted, titles, strict=True):
        column[0].imshow(np.clip(picture.transpose(1, 2, 0), 0, 1), interpolation="nearest")
        column[1].imshow(truth, cmap=INK, vmin=0, vmax=1, interpolation="nearest")
        bare(column[0], title)
        bare(column[1], "wanted")
