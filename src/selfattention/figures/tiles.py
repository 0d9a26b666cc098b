"""Drawings of chapter 13, tiles."""

from matplotlib.colors import ListedColormap

from selfattention.figures import ROLES

MATRIX, TILED, OTHER = ROLES["A"], ROLES["O"], "#555555"  # who keeps the weights, who only the output
ANSWERS = ["nobody", "somebody", "everybody"]


def provisional_outputs(ax, outputs):
    """What a row would answer after each key, one line per order of the keys, by its name."""
    for (name, O), style in zip(outputs.items(), ("-", "--", ":"), strict=True):
        ax.plot(range(1, len(O) + 1), O, style, color=TILED, label=name)
        ax.plot(len(O), O[-1], "o", color="#555555", zorder=5, clip_on=False)
    ax.set_xlabel("keys seen so far")
    ax.set_ylabel("output if it ended here")
    ax.legend()


def tile_map(ax, answers, title):
    """Which tiles a rule shows to nobody (0), somebody (1), everybody (2): one cell for each tile."""
    colours = ListedColormap(["#ffffff", ROLES["S"], ROLES["A"]])
    ax.imshow(answers, cmap=colours, vmin=0, vmax=2)
    rows, columns = answers.shape
    for edge in range(1, rows):
        ax.axhline(edge - 0.5, color="#8c8c8c", linewidth=0.5)
    for edge in range(1, columns):
        ax.axvline(edge - 0.5, color="#8c8c8c", linewidth=0.5)
    for (i, j), answer in zip(
        ((i, j) for i in range(rows) for j in range(columns)), answers.ravel(), strict=True
    ):
        ax.text(j, i, ANSWERS[answer][0], ha="center", va="center", fontsize=8, color="black")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("tiles of keys")
    ax.set_ylabel("tiles of queries")
    ax.set_title(title)


def traffic(axes, n, by_length, M, by_memory):
    """Words moved against the length and against the fast memory: dots were counted, lines computed.

    Each of the two is a dict: name -> (counted, computed).
    """
    for ax, x, curves in (axes[0], n, by_length), (axes[1], M, by_memory):
        for (name, (counted, computed)), colour in zip(curves.items(), (MATRIX, TILED), strict=True):
            ax.loglog(x, computed, color=colour, linewidth=1.2)
            ax.loglog(x, counted, "o", color=colour, markersize=5, label=name)
    axes[0].set_xlabel("n = m, tokens")
    axes[0].set_ylabel("words moved")
    axes[1].set_xlabel("M, words of fast memory")
    axes[0].legend()
    for ax, x in (axes[0], n), (axes[1], M):
        ax.set_xticks(x[:: (len(x) + 3) // 4], [f"{value:,}" for value in x[:: (len(x) + 3) // 4]])
        ax.minorticks_off()


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
    """One bar per rung, its time as a multiple of PyTorch's fused kernel, whose own is the line at 1."""
    ax.barh(range(len(names)), times, color=[MATRIX, *[TILED] * (len(names) - 1)], height=0.6)
    for y, time in enumerate(times):
        ax.text(time * 1.05, y, f"{time:.2f}" if time < 10 else f"{time:.0f}", va="center", fontsize=8)
    ax.axvline(1, color=OTHER, linestyle="--", linewidth=1)
    ax.set_xscale("log")
    ax.set_xlim(0.5, max(times) * 1.8)
    ax.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    ax.minorticks_off()
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("time, as a multiple of the fused kernel's")
