"""Drawings of chapter 14, kernels."""

from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from selfattention.figures import ROLES, SERIES
from selfattention.figures.masks import HIDDEN, SEEN, SOMETIMES

MATRIX, TILED, OTHER = ROLES["A"], ROLES["O"], "#555555"  # who keeps the weights, who only the output
STYLES = list(zip("os^Dv", (*SERIES, OTHER), strict=True))


def visits(axes, pictures, block):
    """What the program of each block of queries does with each key: 0 skip, 1 ask, 2 do not ask.

    `pictures` maps a title to an array (blocks of queries, keys).
    """
    for ax, (title, visited) in zip(axes, pictures.items(), strict=True):
        rows, m = visited.shape
        ax.imshow(
            visited,
            cmap=ListedColormap([HIDDEN, SOMETIMES, SEEN]),
            vmin=0,
            vmax=2,
            extent=(0, m, rows, 0),
            aspect="auto",
            interpolation="nearest",
        )
        for k in range(1, rows):
            ax.axhline(k, color="white", linewidth=1.2)
        for k in range(block, m, block):
            ax.axvline(k, color="white", linewidth=0.6)
        ax.set_yticks([k + 0.5 for k in range(rows)], range(rows))
        ax.set_xticks(range(0, m + 1, m // 2))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(title)
        ax.set_xlabel("key")
    axes[0].set_ylabel("program: a block of queries")
    names = {"skipped": HIDDEN, "asked": SOMETIMES, "not asked": SEEN}
    handles = [Patch(color=colour, label=name) for name, colour in names.items()]
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=3)


def roof(ax, intensity, speed, title):
    """The roofline of a machine, operations per second against operations per byte."""
    ax.loglog(intensity, speed, color=OTHER)
    ax.set_title(title)
    ax.set_xlabel("operations per byte")
    ax.minorticks_off()


def points(ax, places):
    """Programs by name, each (operations per byte, operations per second)."""
    for (name, (x, y)), (marker, colour) in zip(places.items(), STYLES, strict=False):
        ax.plot(x, y, marker, color=colour, markersize=6, label=name)
    ax.legend(fontsize=8)


def bounds(ax, places):
    """What programs could reach at best, by name: hollow, since nobody has measured them."""
    for (name, (x, y)), (marker, colour) in zip(places.items(), STYLES, strict=False):
        ax.plot(x, y, marker, color=colour, markersize=7, fillstyle="none", label=name)
    ax.legend(fontsize=8)


def race(axes, curves):
    """Time over the fused kernel's, with quartiles: {title: {name: (n, ratio, (low, high))}}."""
    for ax, (title, lines) in zip(axes, curves.items(), strict=True):
        ax.axhline(1, color=OTHER, linestyle="--", linewidth=1, zorder=0)
        for (name, (n, ratio, (low, high))), (marker, colour) in zip(lines.items(), STYLES, strict=False):
            ax.loglog(n, ratio, marker=marker, color=colour, markersize=4, label=name)
            ax.fill_between(n, low, high, color=colour, alpha=0.2, linewidth=0)
        lengths = sorted({length for n, *_ in lines.values() for length in n})
        ax.set_xticks(
            lengths[:: (len(lengths) + 3) // 4], [f"{x:,}" for x in lengths[:: (len(lengths) + 3) // 4]]
        )
        ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
        ax.minorticks_off()
        ax.set_title(title)
        ax.set_xlabel("n = m, tokens")
    axes[0].set_ylabel("time over the fused kernel's")
    axes[0].legend(fontsize=8)


def errors_by_name(ax, errors, own, title):
    """Errors by name on a log axis, each a bar from the dashed line, which is float32's own product's."""
    colours = [MATRIX if error > own else TILED for error in errors.values()]
    ax.vlines(range(len(errors)), own, list(errors.values()), color=colours, linewidth=16)
    ax.axhline(own, color=OTHER, linestyle="--", linewidth=1)
    ax.set_yscale("log")
    ax.set_xlim(-0.6, len(errors) - 0.4)
    ax.set_xticks(range(len(errors)), errors)
    ax.minorticks_off()
    ax.tick_params(axis="x", length=0)
    ax.set_title(title)


def cost_by_size(ax, powers, ratios, quartiles, least):
    """Time of a step against the size of the numbers; what is set to 0 lies in the grey, below `least`."""
    ax.axvspan(min(powers), least, color=HIDDEN, linewidth=0)
    ax.fill_between(powers, *quartiles, color=TILED, alpha=0.3, linewidth=0)
    ax.plot(powers, ratios, "o-", color=TILED, markersize=4)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("size of the weights, as a power of two")
    ax.set_ylabel("time of a split, 1 near 1")


def climb(axes, steps):
    """Step by step, the time over the fused kernel's: {title: {name: ratio}}, the slowest on top.

    A bar begins at the line at 1; beside it stands the ratio.
    """
    for ax, (title, ratios) in zip(axes, steps.items(), strict=True):
        colours = [MATRIX, *[TILED] * (len(ratios) - 1)]
        ax.axvline(1, color=OTHER, linestyle="--", linewidth=1, zorder=0)
        ax.hlines(range(len(ratios)), 1, list(ratios.values()), color=colours, linewidth=8)
        ax.scatter(ratios.values(), range(len(ratios)), color=colours, s=60)
        for y, ratio in enumerate(ratios.values()):
            ax.text(max(ratio, 1) * 1.15, y, f"{ratio:.2f}", va="center", fontsize=8)
        ax.set_xscale("log")
        ax.set_xlim(0.3, 14)
        ax.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
        ax.minorticks_off()
        ax.set_yticks(range(len(ratios)), ratios)
        ax.set_title(title)
        ax.set_xlabel("time over the fused kernel's")
    axes[0].set_ylim(len(ratios) - 0.5, -0.5)
