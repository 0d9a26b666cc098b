"""Drawings of chapter 05, softmax."""

from selfattention.figures import ROLES


def weights_against_temperature(ax, temperatures, A, labels):
    """One line per key: its weight (columns of A) as the temperature (rows of A) rises."""
    for weights, label, style in zip(A.T, labels, ("-", "--", ":"), strict=True):
        ax.semilogx(temperatures, weights, style, color=ROLES["A"], label=label)
    ax.set_xlabel("temperature T")
    ax.set_ylabel("weight of the key")
    ax.set_ylim(-0.03, 1.03)
    ax.legend()


def jacobian_norms(ax, gaps, norms, bound):
    """The Jacobian's norm for two keys against the gap of their scores, below its bound."""
    ax.plot(gaps, norms, color=ROLES["S"])
    ax.axhline(bound, color="#555555", linewidth=1, linestyle="--")
    ax.annotate("the bound ½", (gaps[0], bound), xytext=(0, 4), textcoords="offset points")
    ax.set_xlabel("score of key 1 − score of key 2")
    ax.set_ylabel("‖J‖₂")
    ax.set_ylim(0, bound * 1.2)


def row_and_column_sums(axes, right, wrong, matrix):
    """Two weight matrices side by side: normalised over the keys, and over the queries."""
    matrix(axes[0], right, "A", title="softmax over keys: rows sum to 1")
    matrix(axes[1], wrong, "A", title="over queries: columns do")
