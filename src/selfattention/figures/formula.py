"""Drawings of chapter 01, the whole formula."""

from selfattention.figures import matrix

TITLES = {
    "X": "$X$",
    "Q": "$Q = XW_Q$",
    "K": "$K = XW_K$",
    "V": "$V = XW_V$",
    "S": r"$S = QK^{\mathsf{T}}/\sqrt{d_k}$",
    "A": r"$A = \mathrm{softmax}(S)$",
    "O": "$O = AV$",
    "Y": "$Y = OW_O$",
}
# One letter is one column of cells, so that a cell has one size in the whole figure.
LAYOUT = "XXXXXX......\nQQQQ.KKKK.VV\nSSS..AAA..OO\nYYYYYY......"


def from_x_to_y(axes, matrices, words, columns):
    """The eight matrices of one head by name, with words on the rows and names on the columns."""
    for name, M in matrices.items():
        decimals = 2 if name == "A" else 1 if name in "QS" else 0
        across = "key" if name in "SA" else ""
        matrix(axes[name], M, name, title=TITLES[name], rows="", columns=across, decimals=decimals)
        axes[name].set_xticks(range(M.shape[1]), columns[name], rotation=90)
        axes[name].set_yticks(range(M.shape[0]), words if name in "XQSY" else [""] * len(words))
    axes["S"].set_ylabel("query")


def weights_beside_correlation(axes, R, A, words):
    """A correlation matrix and a matrix of attention weights, of the same words."""
    matrix(axes[0], R, "X", title="correlation of the rows of $X$", rows="", columns="")
    matrix(axes[1], A, "A", title="attention weights")
    for ax in axes:
        ax.set_xticks(range(len(words)), words)
        ax.set_yticks(range(len(words)), words)


def heads_side_by_side(axes, concatenations, titles, d_v):
    """Concatenated heads, one matrix per title, with a line between one head and the next."""
    for ax, H, title in zip(axes, concatenations, titles, strict=True):
        matrix(ax, H, "O", title=title, columns="", decimals=1)
        starts = range(0, H.shape[1], d_v)
        for start in starts[1:]:
            ax.axvline(start - 0.5, color="#555555")
        ax.set_xticks([start + (d_v - 1) / 2 for start in starts], [f"head {s // d_v + 1}" for s in starts])
