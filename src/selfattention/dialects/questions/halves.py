"""Half precision beyond its range: 65504 is its largest number, and 2048 the end of its whole ones."""

import numpy as np

from selfattention.dialects.asking import Asked
from selfattention.dialects.questions.question import Question
from selfattention.dialects.readings import attend, first_column, output


def _opposite(entry):
    """Two queries and two keys, each the other's opposite, all entries ± that; values 1 and 2."""
    Q = np.full((1, 1, 2, 16), entry, np.float16)
    Q[:, :, 1] *= -1
    return Asked(Q, Q.copy(), np.broadcast_to(np.array([1, 2], np.float16)[:, None], Q.shape).copy())


def _nan(asked):
    return first_column(attend(asked.but(Q=np.full_like(asked.Q, np.nan)))[0])


MANY = Asked(*(np.full((1, 1, count, 16), x, np.float16) for count, x in ((4, 0), (4096, 0), (4096, 1))))


def _of_the_first(keys, asked):
    """O and L where so many keys are seen."""
    return attend(asked, np.broadcast_to(np.arange(4096) < keys, (1, 1, 4, 4096)))


def _sum_stops(asked):
    """The weights are right, and the sum of weighted values takes up 2048 of them, and no more."""
    (some, part), (_, whole) = _of_the_first(2048, asked), _of_the_first(4096, asked)
    return first_column(some * np.exp(part - whole)[..., None])


def _denominator_stops(asked):
    """Z is that of 2048 keys, and all values are summed."""
    (_, part), (all_of_them, whole) = _of_the_first(2048, asked), _of_the_first(4096, asked)
    return first_column(all_of_them * np.exp(whole - part)[..., None])


QUESTIONS = [
    Question(
        "half-beyond-its-range",
        "float16, q · k = 230400 is beyond 65504, and a quarter of it is not: what comes out?",
        "Whoever multiplies first and scales afterwards has ∞ in between, and ∞ − ∞ is NaN.",
        _opposite(120),
        {"right": output(), "NaN": _nan},
        {"the score as well": lambda asked: _opposite(160)},
    ),
    Question(
        "half-many-keys",
        "float16, 4096 keys with equal scores, every value 1: is their mean 1?",
        "A sum in half precision stops at 2048: 2048 + 1 is 2048.",
        MANY,
        {"1": output(), "1/2, the sum stops": _sum_stops, "2, the denominator stops": _denominator_stops},
        theoretical=frozenset({"2, the denominator stops"}),
    ),
]
