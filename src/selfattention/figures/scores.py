"""Drawings of chapter 03, scores."""

from matplotlib.colors import LinearSegmentedColormap

from selfattention.figures import ROLES

STAR = {"color": ROLES["K"], "markersize": 11, "markeredgewidth": 0}
ARROW = {"arrowstyle": "-|>", "color": ROLES["Q"], "linewidth": 2}
LOW_TO_HIGH = LinearSegmentedColormap.from_list("S", ["#ffffff", ROLES["S"]])


def landscapes(axes, side, S, query, favourites):
    """One map per measure: the scores of `query` with every key of a square grid, a name -> S.

    Stars stand at the query's favourite keys; the last panel says how to read the others.
    """
    for ax, (name, scores) in zip(axes.flat, S.items(), strict=False):
        scores = scores.reshape(side.size, side.size)
        ax.pcolormesh(side, side, scores, cmap=LOW_TO_HIGH, rasterized=True)
        ax.contour(side, side, scores, levels=9, colors="#555555", linewidths=0.6, linestyles="solid")
        ax.plot(*favourites[name].T, "*", clip_on=False, **STAR)
        ax.annotate("", query, (0, 0), arrowprops=ARROW, zorder=5)
        ax.set_aspect("equal")
        ax.set_xticks([side[0], 0, side[-1]])
        ax.set_yticks([side[0], 0, side[-1]])
        ax.set_title(name)
    for ax in axes[-1]:
        ax.set_xlabel("key, entry 1")
    for ax in axes[:, 0]:
        ax.set_ylabel("key, entry 2")
    _legend(axes.flat[-1])


def _legend(ax):
    ax.plot([], [], color=ROLES["Q"], linewidth=2, label="the query")
    ax.plot([], [], "*", label="its favourite\nkeys in here", **STAR)
    ax.plot([], [], color="#555555", linewidth=0.6, label="equal scores")
    ax.plot([], [], "s", color=ROLES["S"], markersize=9, label="high scores")
    ax.legend(loc="center", fontsize=10)
    ax.axis("off")


def regressions(axes, x, y, grid, truth, fits):
    """Observations (x, y), the curve they came from, and in each panel one fit, by title."""
    for ax, (title, fit) in zip(axes, fits.items(), strict=True):
        ax.plot(x, y, ".", color=ROLES["V"], markersize=5, label="observed")
        ax.plot(grid, truth, "--", color="#555555", linewidth=1, label="truth")
        ax.plot(grid, fit, color=ROLES["O"], label="predicted")
        ax.set_title(title)
        ax.set_xlabel("query, key")
    axes[0].set_ylabel("output, value")
    axes[0].legend(loc="lower left", fontsize=8)


def errors_against_tau(ax, taus, curves, learned):
    """Mean squared errors as the kernel widens; a dot where learning stopped on its curve."""
    styles = {"training": ":", "left out": "-", "fresh data": "--"}
    for name, errors in curves.items():
        color = "#555555" if name == "fresh data" else ROLES["O"]
        ax.semilogx(taus, errors, styles[name], color=color, label=name)
    for tau, error in learned:
        ax.plot(tau, error, "o", color=ROLES["K"], markersize=7)
        ax.annotate("learned", (tau, error), xytext=(0, 8), textcoords="offset points", ha="center")
    ax.set_xlabel("variance τ of the kernel")
    ax.set_ylabel("mean squared error")
    ax.set_ylim(bottom=-0.03)
    ax.legend(loc="upper left")
