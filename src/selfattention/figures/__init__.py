"""Drawings, one file per chapter. They take arrays and an ax, and compute nothing.

    plt.style.use("selfattention.figures.book")

One colour per role in every figure of the book: the palette of Okabe and Ito (2008), moved a little until
readers of any colour vision can tell any two apart (`tests/test_colours.py` measures it).
"""

import numpy as np

from selfattention.extras import needed

with needed():
    from matplotlib.colors import LinearSegmentedColormap

ROLES = {
    "X": "#555555",
    "Q": "#0067AA",
    "K": "#D15C00",
    "V": "#009D71",
    "S": "#49BFFF",
    "A": "#B37B9E",
    "O": "#EDAA1E",
    "Y": "#555555",
}
SERIES = "#0000AA", "#993322", "#440000", "#7766FF"  # of what has no role: programs, methods, layouts

NEGATIVE = {"X": "#c9a66b", "Y": "#c9a66b"}  # these roles are grey themselves
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue: ITU-R BT.709


def matrix(ax, M, role, *, title=None, rows="query", columns="key", decimals=2):
    """Draw a small matrix with its numbers in its cells, in the colour of its role.

    Signed matrices run from grey (sand for X and Y) at the most negative over white at zero to
    the role's colour.
    """
    seen = np.where(np.isfinite(M), M, 0)
    signed = (seen < 0).any()
    limit = np.abs(seen).max() or 1
    stops = [NEGATIVE.get(role, "#8c8c8c"), "#ffffff", ROLES[role]] if signed else ["#ffffff", ROLES[role]]
    cells = ax.imshow(
        M,
        cmap=LinearSegmentedColormap.from_list(role, stops),
        vmin=-limit if signed else 0,
        vmax=limit,
        aspect="equal",
    )
    for (i, j), number in np.ndenumerate(M):
        dark = cells.cmap(cells.norm(number))[:3] @ LUMINANCE < 0.4
        text = f"{round(number, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.00"
        ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ax.set_xticks(range(M.shape[1]), range(1, M.shape[1] + 1))
    ax.set_yticks(range(M.shape[0]), range(1, M.shape[0] + 1))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(columns)
    ax.set_ylabel(rows)
    if title is not None:
        ax.set_title(title)
