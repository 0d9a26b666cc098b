"""Drawings of chapter 05, softmax."""

from selfattention.figures import ROLES

GREY = "#777777"


def weight_in_each_format(axes, shifts, plain, shifted, names, exact):
    """The weight of one key against a shift of all scores: one panel per number format.

    `plain` and `shifted`, a row per format, hold it as printed and with the maximum subtracted;
    nan leaves a gap. `exact` is the weight that arithmetic without rounding gives.
    """
    for ax, before, after, name in zip(axes, plain, shifted, names, strict=True):
        ax.axhline(exact, color="black", linewidth=0.8, linestyle=":", label="exact")
        ax.plot(shifts, after, color=ROLES["A"], linewidth=1.2, label="maximum subtracted")
        ax.plot(shifts, before, color=GREY, linewidth=3.2, alpha=0.55, label="as printed")
        ax.set_title(name, fontsize=9)
        ax.set_ylim(0.35, 0.9)
        ax.set_yticks([0.4, 0.6, 0.8])
    axes[-1].set_xlabel("number added to every score")
    axes[len(axes) // 2].set_ylabel("weight of key 3")
    axes[0].legend(loc="upper right", bbox_to_anchor=(1, 1.5), ncols=3, fontsize=8, borderpad=0)


def weights_and_entropy(axes, temperatures, A, H, labels, limit):
    """Left, one line per key: its weight (columns of A) at each temperature (rows). Right, the entropy."""
    for weights, label, style in zip(A.T, labels, ("-", "--", ":"), strict=True):
        axes[0].semilogx(temperatures, weights, style, color=ROLES["A"], label=label)
    axes[0].set_ylim(-0.03, 1.03)
    axes[0].set_title("weight of the key")
    axes[0].legend()
    axes[1].semilogx(temperatures, H, color="#555555")
    axes[1].axhline(limit, color="black", linewidth=0.8, linestyle=":")
    axes[1].annotate("ln 3", (temperatures[0], limit), xytext=(0, 4), textcoords="offset points")
    axes[1].set_ylim(-0.04, limit * 1.15)
    axes[1].set_title("entropy of the row")
    for ax in axes:
        ax.set_xlabel("temperature T")


def jacobian_norms(ax, gaps, norms, bound):
    """The Jacobian's norm for two keys against the gap of their scores, below its bound."""
    ax.plot(gaps, norms, color=ROLES["A"])
    ax.axhline(bound, color="#555555", linewidth=1, linestyle="--")
    ax.annotate("the bound ½", (gaps[0], bound), xytext=(0, 4), textcoords="offset points")
    ax.set_xlabel("score of key 1 − score of key 2")
    ax.set_ylabel("‖J‖₂")
    ax.set_ylim(0, bound * 1.2)


def row_and_column_sums(axes, right, wrong, matrix):
    """Two weight matrices side by side: normalised over the keys, and over the queries."""
    matrix(axes[0], right, "A", title="softmax over keys: rows sum to 1")
    matrix(axes[1], wrong, "A", title="over queries: columns do")
