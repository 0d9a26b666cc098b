"""ALiBi in parts: a slope for each head, times the distance of query and key, added to the scores."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.recipes.recipe import Convention, Known, Mistake

# The parts, each as it should be.


def by_the_formula(h):
    return 2.0 ** (-8 * np.arange(1, h + 1) / h)


def at_the_end(n, m):
    """j − i, the last query beside the last key."""
    return np.arange(m) - (np.arange(n)[:, None] + m - n)


def both_ways(apart):
    return -np.abs(apart)


def times(slopes, distances):
    return slopes[:, None, None] * distances


@dataclass(frozen=True)
class Alibi:
    """B (h, n, m) of the numbers of heads, queries and keys."""

    slopes: Callable = by_the_formula
    apart: Callable = at_the_end
    lowered: Callable = both_ways
    product: Callable = times

    def __call__(self, h, n, m=None):
        m = n if m is None else m
        return self.product(self.slopes(h), self.lowered(self.apart(n, m)))


@dataclass(frozen=True)
class Slopes:
    """μ (h) of the number of heads."""

    slopes: Callable = by_the_formula

    def __call__(self, h):
        return self.slopes(h)


def of_the_keys(apart):
    return apart[-1:] + len(apart[0]) - 1


# The parts that people write instead.


def as_the_authors(h):
    """Slopes as in its authors' code, where the number of heads is no power of two. Chapter 11."""
    power = 2 ** int(np.log2(h))
    return np.concatenate([by_the_formula(power), by_the_formula(2 * power)[::2][: h - power]])


def from_one_on(h):
    """The slopes begin with 1, t = 0: the first head sees next to nobody. Chapter 11."""
    return 2.0 ** (-8 * np.arange(h) / h)


def whatever_h(h):
    """Slopes 2^(−t), whatever the number of heads: right for eight alone. Chapter 11."""
    return 2.0 ** -np.arange(1.0, h + 1)


def without_the_eight(h):
    """Slopes 2^(−t/h), the 8 forgotten: all of them steep. Chapter 11."""
    return 2.0 ** (-np.arange(1, h + 1) / h)


def harmonic(h):
    """The slopes are 1, 1/2, 1/3 …, and no geometric sequence. Chapter 11."""
    return 1 / np.arange(1, h + 1)


def in_reverse(h):
    """The slopes in reverse: the last head has the steepest. Chapter 11."""
    return by_the_formula(h)[::-1]


def sign_of_the_exponent(h):
    """Slopes 2^(8t/h), the sign of the exponent lost. Chapter 11."""
    return 1 / by_the_formula(h)


def one_for_all(h):
    """One slope for all heads. Chapter 11."""
    return np.full(h, by_the_formula(h)[0])


def natural(h):
    """e to the power of −8t/h, not 2. Chapter 11."""
    return np.exp(-8 * np.arange(1, h + 1) / h)


def at_the_beginning(n, m):
    """The first query beside the first key, though older ones are cached: distances are off. Chapter 15."""
    return np.arange(m) - np.arange(n)[:, None]


def raised(apart):
    """The sign of the distance: keys far away are raised, not lowered. Chapter 11."""
    return np.abs(apart)


def future_raised(apart):
    """μ(j − i) as it is: keys in the future are raised, unless a causal mask hides them. Chapter 11."""
    return apart


def past_raised(apart):
    """μ(i − j): what is long past is raised. Chapter 11."""
    return -apart


def only_the_past(apart):
    """Distances to the past alone: the future costs nothing, and nobody hides it. Chapter 11."""
    return np.minimum(apart, 0)


def only_the_future(apart):
    """relu(j − i): the future is lowered or raised, and the past costs nothing. Chapter 11."""
    return np.maximum(apart, 0)


def future_lowered(apart):
    return -np.maximum(apart, 0)


def squared(apart):
    """The distance squared. Chapter 11."""
    return -apart * apart


def future_hidden(apart):
    """With the causal mask in it, −∞ for keys in the future. Chapter 11."""
    return np.where(apart > 0, -np.inf, apart)


def lowest_in_the_future(apart):
    return np.where(apart > 0, np.finfo(np.float32).min, apart)


def keys_positions_alone(apart):
    """μ j, the position of the key alone: a row's constant, which its softmax takes away. Chapter 11."""
    return np.broadcast_to(of_the_keys(apart), apart.shape)


_slopes = (
    from_one_on,
    whatever_h,
    without_the_eight,
    harmonic,
    in_reverse,
    sign_of_the_exponent,
    one_for_all,
    natural,
)
_distances = raised, future_raised, past_raised, only_the_past, only_the_future, squared
OF_SLOPES = tuple(Mistake("slopes", part, part) for part in _slopes)
AUTHORS = Convention("slopes", as_the_authors, as_the_authors)
ALIBI = Known(
    "bias of ALiBi",
    Alibi(),
    (
        *OF_SLOPES,
        Mistake("apart", at_the_beginning, at_the_beginning),
        *(Mistake("lowered", part, part) for part in _distances),
        Mistake("lowered", future_lowered, only_the_future),
    ),
    (
        AUTHORS,
        Convention("lowered", future_hidden, future_hidden),
        Convention("lowered", keys_positions_alone, keys_positions_alone),
    ),
)
SLOPES = Known("slopes of ALiBi", Slopes(), OF_SLOPES, (AUTHORS,))
OF_KEYS = Known("bias of ALiBi, of keys alone", Alibi(lowered=of_the_keys), OF_SLOPES, (AUTHORS,))
"""(h, 1, m), as in BLOOM."""
