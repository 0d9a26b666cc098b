"""Drawings of chapter 06, context."""

from selfattention.figures import ROLES


def hull(ax, V, edges, O):
    """Values, the edges of their hull (pairs of rows of V), and outputs, in the plane."""
    for edge in edges:
        ax.plot(*V[edge].T, color="#8c8c8c", linewidth=1, linestyle="--", zorder=1)
    ax.scatter(*O.T, s=14, color=ROLES["O"], label="outputs", zorder=2)
    ax.scatter(*V.T, s=40, color=ROLES["V"], marker="s", label="values", zorder=3)
    _name_plane(ax)
    ax.set_aspect("equal")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def path_between_values(ax, V, path, stop, stop_label):
    """The outputs of one query (rows of `path`), from cold to hot, in the triangle of values."""
    ax.fill(*V.T, facecolor="none", edgecolor="#8c8c8c", linewidth=1, linestyle="--")
    ax.plot(*path.T, color=ROLES["O"])
    ax.scatter(*V.T, s=40, color=ROLES["V"], marker="s", zorder=3)
    for j, v in enumerate(V, start=1):
        ax.annotate(f"value {j}", v, xytext=(6, 6), textcoords="offset points", color=ROLES["V"])
    for point, label, shift in (
        (path[0], "cold", (0, -14)),
        (stop, stop_label, (-15, -12)),
        (path[-1], "hot", (0, 7)),
    ):
        ax.scatter(*point, s=26, color=ROLES["O"], zorder=4)
        ax.annotate(label, point, xytext=shift, textcoords="offset points", ha="center")
    ax.margins(0.22)
    _name_plane(ax)
    ax.set_aspect("equal")


def running_average(axes, A, V, O, matrix):
    """The first rows of the weights; the values of a sequence, and its running average."""
    matrix(axes[0], A, "A")
    positions = range(1, len(V) + 1)
    axes[1].plot(positions, V, "s-", color=ROLES["V"], markersize=4, linewidth=0.8, label="values")
    axes[1].plot(positions, O, color=ROLES["O"], linewidth=2.5, label="outputs")
    axes[1].set_xlabel("position")
    axes[1].legend()


def two_weightings(axes, V, O, first, second):
    """Numbered values and one output in the plane; two weightings of the same keys, as bars."""
    axes[0].scatter(*V.T, s=130, color=ROLES["V"], marker="s")
    for j, v in enumerate(V, start=1):
        axes[0].text(*v, j, color="white", ha="center", va="center_baseline", fontsize=9)
    axes[0].scatter(*O.T, s=60, color=ROLES["O"], edgecolor="white", label="the output", zorder=3)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    axes[0].margins(0.14)
    _name_plane(axes[0])
    for weights, shift, alpha, label in ((first, -0.2, 1, "softmax"), (second, 0.2, 0.45, "another")):
        keys = [j + shift for j in range(1, len(weights) + 1)]
        axes[1].bar(keys, weights, 0.4, color=ROLES["A"], alpha=alpha, label=label)
    axes[1].set_xticks(range(1, len(first) + 1))
    axes[1].set_xlabel("key")
    axes[1].set_ylabel("weight")
    axes[1].legend()


def _name_plane(ax):
    ax.set_xlabel("feature 1")
    ax.set_ylabel("feature 2")
