"""Drawings of chapter 18, dialects."""

from selfattention.figures import ROLES


def added(ax, counts):
    """How many architectures add what: a bar each, in the colour of the letter that it is added to.

    `counts` maps a letter (Q for queries and keys, S for scores, V, O) to ingredients and their numbers.
    """
    bars = [(word, number, letter) for letter, words in counts.items() for word, number in words.items()]
    for place, (_, number, letter) in enumerate(bars):
        ax.barh(place, number, color=ROLES[letter], height=0.7)
        ax.text(number, place, f" {number}", va="center", fontsize=7.5)
    ax.set_yticks(range(len(bars)), [word for word, _, _ in bars], fontsize=7.5)
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.set_xlabel("architectures")
    ax.spines[["top", "right"]].set_visible(False)
