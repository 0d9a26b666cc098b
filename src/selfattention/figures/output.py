"""Drawings of chapter 07, output."""

from selfattention.figures import ROLES

# quiver: lengths and angles as in the data, widths in inches
ARROW = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "inches"}


def writes(axes, X, Y, reads, writes):
    """A head's two directions, from the origin; tokens in the plane, and how each is moved."""
    for direction, role, label in ((reads, "V", "reads"), (writes, "O", "writes")):
        axes[0].quiver(0, 0, *direction, color=ROLES[role], width=0.05, **ARROW)
        axes[0].annotate(label, direction, xytext=(4, 4), textcoords="offset points", color=ROLES[role])
        axes[0].scatter([0, direction[0]], [0, direction[1]], s=0)  # so that the tips count
    axes[0].margins(0.35)
    axes[0].set_title("the head")
    axes[1].quiver(*X.T, *Y.T, color=ROLES["O"], width=0.022, **ARROW)
    axes[1].scatter(*X.T, s=24, color=ROLES["X"], zorder=3)
    axes[1].scatter(*(X + Y).T, s=0)
    axes[1].set_title("the tokens")
    for ax in axes:
        ax.set_aspect("equal")
        ax.set_xlabel("feature 1")
        ax.set_ylabel("feature 2")


def singular_values(ax, thin, wide):
    """The singular values of a head's merged matrix, beside those of a matrix of full rank."""
    places = range(1, len(thin) + 1)
    ax.bar(places, thin, color=ROLES["O"], label="merged, $W_V W_O$")
    ax.step(places, wide, where="mid", color=ROLES["X"], linewidth=1.5, label="full rank")
    ax.set_xlabel("place")
    ax.set_ylabel("singular value")
    ax.legend()
