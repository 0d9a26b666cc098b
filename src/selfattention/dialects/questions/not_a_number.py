"""NaN in what is hidden: 0 · NaN is NaN, unless the product is never taken."""

import numpy as np

from selfattention.dialects.questions.question import Question, by_minus_infinity, case, table
from selfattention.dialects.readings import attend, first_column, masked, masked_and_causal, output

HIDDEN = case([[1, 2, 5], [3, 1, 4], [2, 2, 1]], [1, 2, 6], mask=table([[1, 1, 0]] * 3))
LATER = case([[1, 2, 5], [3, 1, 4], [2, 2, 1]], [1, 2, 6], causal=True)


def _with_nan(asked, *letters):
    """NaN in the last row of K or V."""
    changed = {}
    for letter in letters:
        changed[letter] = getattr(asked, letter).copy()
        changed[letter][..., -1, :] = np.nan
    return asked.but(**changed)


def _every_row(asked):
    """As if every query were NaN."""
    return first_column(attend(asked.but(Q=np.full_like(asked.Q, np.nan)))[0])


CLEAN = {"the last row only": output(masked_and_causal), "NaN in every row": _every_row}
MASKED = {
    "nothing": output(masked, bias=None),
    "NaN in every row": _every_row,
}


QUESTIONS = [
    Question(
        "nan-in-a-hidden-key",
        "A key that the mask hides holds NaN: what of it arrives?",
        "Buffers that are allocated and not filled hold anything, NaN among it.",
        _with_nan(HIDDEN, "K"),
        MASKED,
        {"by −∞": by_minus_infinity},
    ),
    Question(
        "nan-in-a-hidden-value",
        "A value that the mask hides holds NaN: what of it arrives?",
        "Its weight is 0, and 0 · NaN is NaN: a mask is no protection against what lies behind it.",
        _with_nan(HIDDEN, "V"),
        MASKED,
        {"by −∞": by_minus_infinity},
    ),
    Question(
        "nan-in-a-later-key",
        "The last key holds NaN, and the mask is causal: which rows show it?",
        "Only the last row may see it; if all rows show it, one bad token spoils its own past.",
        _with_nan(LATER, "K"),
        CLEAN,
    ),
    Question(
        "nan-in-a-later-value",
        "The last value holds NaN, and the mask is causal: which rows show it?",
        "The same for values, where it is rarer that a library stays clean.",
        _with_nan(LATER, "V"),
        CLEAN,
    ),
]
