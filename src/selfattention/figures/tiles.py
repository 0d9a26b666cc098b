"""Drawings of chapter 13, tiles."""

from selfattention.figures import ROLES

MATRIX, TILED, OTHER = ROLES["A"], ROLES["O"], "#555555"  # who keeps the weights, who only the output


def provisional_outputs(ax, outputs):
    """What a row would answer after each key, one line per order of the keys, by its name."""
    for (name, O), style in zip(outputs.items(), ("-", "--", ":"), strict=True):
        ax.plot(range(1, len(O) + 1), O, style, color=TILED, label=name)
        ax.plot(len(O), O[-1], "o", color="#555555", zorder=5, clip_on=False)
    ax.set_xlabel("keys seen so far")
    ax.set_ylabel("output if it ended here")
    ax.legend()


def traffic(ax, x, counted, orders):
    """Words moved, counted (dots) and their order of growth (lines): the matrix first, then the tiles."""
    for name, words, order, colour in zip(
        ("the matrix", "tiles"), counted, orders, (MATRIX, TILED), strict=True
    ):
        ax.loglog(x, order, color=colour, linewidth=1.2)
        ax.loglog(x, words, "o", color=colour, markersize=5, label=name)
    ticks = x[:: (len(x) + 3) // 4]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()


def name_traffic(axes):
    """The words on the axes of the two plots: against the length, against the fast memory."""
    axes[0].set_ylabel("words moved")
    axes[0].set_xlabel("n = m, tokens")
    axes[1].set_xlabel("M, words of fast memory")
    axes[0].legend()


def growth(axes, memory, seconds):
    """Peak memory in MB and CPU seconds against n; each a dict: name -> (n, values)."""
    styles = {"direct": (MATRIX, "-o"), "tiled": (TILED, "-s"), "PyTorch": (OTHER, "--^")}
    for ax, curves, label in (axes[0], memory, "peak memory, MB"), (axes[1], seconds, "time of one call, s"):
        for name, (n, values) in curves.items():
            colour, style = styles[name]
            ax.loglog(n, values, style, color=colour, markersize=4, label=name)
        lengths = sorted({length for n, _ in curves.values() for length in n})[::2]
        ax.set_xticks(lengths, [f"{length:,}" for length in lengths])
        ax.minorticks_off()
        ax.set_xlabel("n = m, tokens")
        ax.set_title(label)
        ax.legend()


def ladder(ax, names, times):
    """One bar per rung, from the line at 1, PyTorch's fused kernel, to the rung's time as a multiple of it.

    A logarithmic axis has no zero to begin at; from 1, a bar is as long as the factor between the two.
    The first keeps the matrix, the last computes no attention, those between work with tiles.
    """
    colours = [MATRIX, *[TILED] * (len(names) - 2), OTHER]
    ax.axvline(1, color=OTHER, linestyle="--", linewidth=1, zorder=0)
    ax.hlines(range(len(names)), 1, times, color=colours, linewidth=8)
    ax.scatter(times, range(len(names)), color=colours, s=60)
    for y, time in enumerate(times):
        number = f"{time:.2f}" if time < 10 else f"{time:.0f}"
        ax.text(max(time, 1) * 1.12, y, number, va="center", fontsize=8)
    ax.set_xscale("log")
    ax.set_xlim(0.85, max(times) * 1.8)
    ax.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    ax.minorticks_off()
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("time, as a multiple of the fused kernel's")


def error_ratios(ax, ratios):
    """Errors as multiples of the direct formula's, a row of dots for each program: {name: ratios}."""
    ax.axvline(1, color=MATRIX, linewidth=1, zorder=0)
    ax.axvline(2, color=OTHER, linestyle="--", linewidth=1, zorder=0)
    for y, found in enumerate(ratios.values()):
        ax.plot(found, [y] * len(found), "o", color=TILED, markersize=6, alpha=0.4, markeredgewidth=0)
    ax.set_xscale("log")
    ax.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    ax.minorticks_off()
    ax.set_yticks(range(len(ratios)), ratios)
    ax.set_ylim(len(ratios) - 0.5, -0.5)
    ax.set_xlabel("largest error, as a multiple of the direct formula's")
