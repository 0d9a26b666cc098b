"""Rotary positions in parts: pairs of columns turned by the position times a frequency of their own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import rotary as wrong
from selfattention.recipes import tables
from selfattention.recipes.recipe import Convention, Known, Mistake
from selfattention.recipes.softmax import as_it_is

# The parts, each as it should be.


def neighbours(x):
    """One number for each pair, on both of its columns."""
    return np.repeat(x, 2, axis=-1)


def exchanged(X):
    """(x, y) of neighbours becomes (y, x)."""
    return np.stack([X[..., 1::2], X[..., 0::2]], axis=-1).reshape(X.shape)


def minus_and_plus(d):
    return np.where(np.arange(d) % 2, 1, -1)


def turned(X, partner, cos, sin):
    return X * cos + partner * sin


@dataclass(frozen=True)
class Pairing:
    """Which two columns are a pair: where its number stands, its partner's, and whose sign is turned."""

    spread: Callable = neighbours
    partner: Callable = exchanged
    signs: Callable = minus_and_plus


@dataclass(frozen=True)
class Rotary:
    """X (…, n, d) with row i turned by positions[i]; of a K besides, both."""

    places: Callable = as_it_is
    base: float = 10_000.0
    exponents: Callable = tables.two_for_a_pair
    way: Callable = as_it_is  # anticlockwise
    pairing: Pairing = Pairing()
    signed: Callable = as_it_is
    turn: Callable = turned

    def __call__(self, X, positions, K=None):
        one = self.turned(X, positions)
        return one if K is None else (one, self.turned(K, positions))

    def turned(self, X, positions):
        """Of one array; in its own dtype, angles in float64."""
        if X.shape[-1] % 2:
            raise ValueError("columns in pairs")
        theta = tables.down(self.base, self.exponents(np.arange(X.shape[-1] // 2), X.shape[-1]))
        signs = self.signed(self.pairing.signs(X.shape[-1])).astype(X.dtype)
        angles = self.way(self.places(positions)[:, None] * theta)
        cos, sin = (self.pairing.spread(f(angles)).astype(X.dtype) for f in (np.cos, np.sin))
        return self.turn(X, signs * self.pairing.partner(X), cos, sin)


# The parts that people write instead.


def tiled(x):
    """The angles lie as for halves, and the partners are neighbours: no rotation. Chapter 11."""
    return np.concatenate([x, x], axis=-1)


def halves_exchanged(X):
    x, y = np.split(X, 2, axis=-1)
    return np.concatenate([y, x], axis=-1)


def minus_in_the_first_half(d):
    return np.where(np.arange(d) < d // 2, -1, 1)


def partners_of_halves():
    """The angles lie as for neighbours, and the partners are in the halves: no rotation. Chapter 11."""


def halves():
    """Columns paired with the other half instead of their neighbour, as in GPT-NeoX. Chapter 11."""


def without_a_sign(signs):
    """The partner without its minus sign: lengths are not kept, no rotation. Chapter 11."""
    return np.abs(signs)


def clockwise(angles):
    return -angles


def from_one(positions):
    return positions + 1


def everywhere_one(positions):
    """Every token is turned by the same angles: nobody asks where it stands. Chapter 11."""
    return np.ones_like(positions)


def everywhere_zero(positions):
    return 0 * positions


def twice(angles):
    """Turned twice: distances count double. Chapter 11."""
    return 2 * angles


def each_frequency_twice(c, d):
    """Half of the frequencies, each for two pairs: repeated once too often. Chapter 11."""
    return 2 * (c // 2) / d


def cosines_alone(X, partner, cos, sin):
    return X * cos


def sine_and_cosine_exchanged(X, partner, cos, sin):
    """Sine and cosine exchanged: position 0 is a quarter of a turn already. Chapter 11."""
    return X * sin + partner * cos


def added(X, partner, cos, sin):
    """The sines and cosines are added, as a table of positions is: nothing turns. Chapter 11."""
    return X + cos + sin


def as_llama_3():
    """Base 500,000, as Llama 3 has it. Chapter 11."""


def as_qwen_3():
    """Base 1,000,000, as Qwen 3 has it. Chapter 11."""


HALVES = Pairing(tiled, halves_exchanged, minus_in_the_first_half)
MIXED = Pairing(neighbours, halves_exchanged, minus_in_the_first_half)
BASES = tuple(m for m in tables.BASES if m.part not in (5e5, 1e6))
MISTAKES = (
    Mistake("way", clockwise, wrong.clockwise),
    Mistake("way", twice, twice),
    Mistake("places", from_one, wrong.positions_from_one),
    Mistake("places", everywhere_zero, wrong.positions_ignored),
    Mistake("places", everywhere_one, everywhere_one),
    Mistake("exponents", tables.no_exponent, wrong.one_frequency),
    *(
        Mistake("exponents", part, part)
        for part in (
            tables.without_the_two,
            tables.doubled,
            tables.one_less,
            tables.one_pair_less,
            each_frequency_twice,
        )
    ),
    Mistake("turn", cosines_alone, wrong.sines_forgotten),
    Mistake("turn", sine_and_cosine_exchanged, sine_and_cosine_exchanged),
    Mistake("turn", added, added),
    Mistake("pairing.spread", tiled, tiled),
    Mistake("pairing", MIXED, partners_of_halves),
    Mistake("signed", without_a_sign, without_a_sign),
    *BASES,
)
CONVENTIONS = (
    Convention("pairing", HALVES, halves),
    Convention("base", 5e5, as_llama_3),
    Convention("base", 1e6, as_qwen_3),
)
ROTARY = Known("rotary positions", Rotary(), MISTAKES, CONVENTIONS)
