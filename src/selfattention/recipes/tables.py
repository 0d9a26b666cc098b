"""Tables of sines and cosines in parts: a row for each position, a frequency for each pair of columns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.recipes.recipe import Convention, Known, Mistake
from selfattention.recipes.softmax import as_it_is

# The parts, each as it should be.


def two_for_a_pair(c, d):
    """Of base, for the pairs c = 0, 1, …"""
    return 2 * c / d


def down(base, exponents):
    """Frequencies, from 1 downwards."""
    return base**-exponents


def sine_and_cosine(angles, others):
    return np.sin(angles), np.cos(others)


def neighbours(sines, cosines):
    both = np.stack([sines, cosines], axis=-1)
    return both.reshape(len(sines), -1)


def rows(p, n):
    """The positions, one below the other."""
    return p.places(np.arange(n) if np.ndim(n) == 0 else n)[:, None]


def in_order(p, n, d):
    if d % 2:
        raise ValueError("columns in pairs")
    i = rows(p, n)
    sines, cosines = (p.frequency(p.base, p.exponents(c, d)) for c in p.pairs(np.arange(d // 2)))
    return p.columns(*p.waves(i * sines, i * cosines))


def the_same_for_both(c):
    return c, c


@dataclass(frozen=True)
class Table:
    """P (n, d) of a number of positions from 0, or of positions (n), and the width."""

    places: Callable = as_it_is
    base: float = 10_000.0
    pairs: Callable = the_same_for_both  # which c a sine has, and which its cosine
    exponents: Callable = two_for_a_pair
    frequency: Callable = down
    waves: Callable = sine_and_cosine
    columns: Callable = neighbours
    order: Callable = in_order

    def __call__(self, n, d):
        return self.order(self, n, d)


# The parts that people write instead.


def from_one(i):
    """Positions counted from one: there is no row for position 0. Chapter 11."""
    return i + 1


def from_the_end(i):
    """Positions counted from the end: the last token has position 0. Chapter 11."""
    return i[::-1]


def shares_of_the_length(i):
    """Positions divided by the length: the same token is told another place in another text. Chapter 11."""
    return i / len(i)


def another_base():
    """Another base than 10,000. Chapter 11."""


def without_the_two(c, d):
    """The exponent without its 2, c/d for 2c/d: no frequency below 1/100. Chapter 11."""
    return c / d


def doubled(c, d):
    """The exponent doubled, 4c/d for 2c/d: a column's number taken for its pair's. Chapter 11."""
    return 4 * c / d


def one_less(c, d):
    """Divided by d − 1 and not by d in the exponent: all frequencies but the first are off. Chapter 11."""
    return 2 * c / (d - 1)


def one_pair_less(c, d):
    """The last frequency made 1/10,000, c/(d/2 − 1) for 2c/d in the exponent. Chapter 11."""
    return c / max(d // 2 - 1, 1)


def no_exponent(c, d):
    """Every pair has the same frequency. Chapter 11."""
    return 0.0 * c


def up(base, exponents):
    """Multiplied by base^(2c/d), not divided: frequencies rise where they should fall. Chapter 11."""
    return base**exponents


def each_its_own(c):
    """A column's own number in the exponent: a cosine has another frequency than its sine. Chapter 11."""
    return c, c + 0.5


def cosines_first(angles, others):
    """Sines and cosines exchanged: even columns have the cosines. Chapter 11."""
    return np.cos(angles), np.sin(others)


def sines_alone(angles, others):
    """Sines in all columns: a turn is no longer a product with a matrix. Chapter 11."""
    return np.sin(angles), np.sin(others)


def cosines_alone(angles, others):
    """Cosines in all columns: before and behind look alike. Chapter 11."""
    return np.cos(angles), np.cos(others)


def halves(sines, cosines):
    """All sines first, then all cosines, a column's partner in the other half. Chapter 11."""
    return np.concatenate([sines, cosines], axis=-1)


def halves_turned(sines, cosines):
    """All cosines first, then all sines, as diffusion models tell the time. Chapter 11."""
    return np.concatenate([cosines, sines], axis=-1)


def as_in_tensor2tensor(p, n, d):
    """Sines, then cosines, frequencies from 1 to 1/10,000 both included, as in tensor2tensor. Chapter 11."""
    i, c = rows(p, n), np.arange(d // 2)
    angles = i * p.frequency(p.base, one_pair_less(c, d))
    return halves(*p.waves(angles, angles))


def _bases(*numbers):
    return tuple(
        Mistake("base", number, another_base, words=f"The base is {number:,.0f}, not 10,000")
        for number in numbers
    )


BASES = _bases(2.0, 10.0, 500.0, 1e3, 1024.0, 2e3, 5e3, 2e4, 5e4, 1e5, 5e5, 1e6)
MISTAKES = (
    *(Mistake("places", part, part) for part in (from_one, from_the_end, shares_of_the_length)),
    *(
        Mistake("exponents", part, part)
        for part in (without_the_two, doubled, one_less, one_pair_less, no_exponent)
    ),
    Mistake("frequency", up, up),
    Mistake("pairs", each_its_own, each_its_own),
    *(Mistake("waves", part, part) for part in (cosines_first, sines_alone, cosines_alone)),
    *BASES,
)
CONVENTIONS = (
    Convention("columns", halves, halves),
    Convention("columns", halves_turned, halves_turned),
    Convention("order", as_in_tensor2tensor, as_in_tensor2tensor),
)
TABLE = Known("table of sines and cosines", Table(), MISTAKES, CONVENTIONS)
