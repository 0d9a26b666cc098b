"""Drawings of chapter 04, scaling. Unscaled is grey and dashed, scaled has the colour of its role."""

from selfattention.figures import ROLES

GREY = "#777777"


def score_histograms(axes, unscaled, scaled, widths, normal):
    """One row of panels per width: scores before (left) and after (right) the division.

    `normal` is the pair (x, density) of the curve to compare the right column with.
    """
    for (left, right), before, after, width in zip(axes, unscaled, scaled, widths, strict=True):
        left.hist(before.ravel(), bins=120, range=(-80, 80), color=GREY)
        right.hist(after.ravel(), bins=120, range=(-4, 4), color=ROLES["S"], density=True)
        right.plot(*normal, color="black", linewidth=1)
        left.set_ylabel(f"$d_k$ = {width}", rotation=0, ha="right", va="center")
    for ax in axes.ravel():
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    axes[0, 0].set_title(r"score $q \cdot k$")
    axes[0, 1].set_title(r"scaled score $q \cdot k \,/ \sqrt{d_k}$")


def weight_rows(axes, unscaled, scaled, widths):
    """Weights of one query, one bar per key; a column of panels per width."""
    for (upper, lower), before, after, width in zip(axes.T, unscaled, scaled, widths, strict=True):
        for ax, weights, colour in ((upper, before, GREY), (lower, after, ROLES["A"])):
            ax.bar(range(1, len(weights) + 1), weights, width=1.0, color=colour)
            ax.text(0.97, 0.9, f"largest {weights.max():.2f}", transform=ax.transAxes, ha="right", va="top")
            ax.set_ylim(0, 1.05)
        upper.set_title(f"$d_k$ = {width}")
        lower.set_xlabel("key")
    axes[0, 0].set_ylabel("unscaled")
    axes[1, 0].set_ylabel("scaled")


def against_width(ax, widths, unscaled, scaled, role, title):
    """A measured number against d_k, without and with the division."""
    ax.semilogx(widths, unscaled, "o--", color=GREY, label="unscaled", markersize=4)
    ax.semilogx(widths, scaled, "o-", color=ROLES[role], label="scaled", markersize=4)
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.minorticks_off()
    ax.set_xlabel("$d_k$")
    ax.set_ylim(bottom=-0.03 * max(*unscaled, *scaled))  # so that a line at zero is seen
    ax.set_title(title)


def predicted(ax, height, label):
    """A thin line at the height that the theory gives."""
    ax.axhline(height, color="black", linewidth=0.8, linestyle=":", label=label)


def chases(axes, histories, titles):
    """Weight on the wanted key, step by step, one line per query; one panel per history."""
    for ax, history, title, colour in zip(axes, histories, titles, (GREY, ROLES["A"]), strict=True):
        ax.plot(history, color=colour, linewidth=0.7, alpha=0.7)
        ax.set_title(title)
        ax.set_xlabel("step")
        ax.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("weight of the wanted key")
