"""Who may see whom: rules, their algebra, and what they say of a whole tile. Chapter: notebooks/10_masks.

A rule answers for arrays of positions, `rule(i, j)`: may query i see key j? Rules combine with
`&`, `|` and `~`. A tiled implementation asks `rule.says(rows, columns)` first: nobody (skip the
tile), everybody (no mask needed) or somebody (ask for the positions).
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Says(Enum):
    """What a rule says of a tile. `SOMEBODY` is always a permitted answer; the others are promises."""

    NOBODY = "nobody may see"
    SOMEBODY = "ask position by position"
    EVERYBODY = "everybody may see"

    def __invert__(self):
        return _OPPOSITE[self]


_OPPOSITE = {
    Says.NOBODY: Says.EVERYBODY,
    Says.SOMEBODY: Says.SOMEBODY,
    Says.EVERYBODY: Says.NOBODY,
}


class Rule:
    """May query i see key j? Subclasses answer for positions and, in bulk, for tiles."""

    def __call__(self, i, j):
        """True where query i may see key j; i and j are integer arrays that broadcast."""
        raise NotImplementedError

    def says(self, rows, columns):
        """What the rule says of the tile of queries `rows` and keys `columns` (two ranges)."""
        raise NotImplementedError

    def tile(self, rows, columns):
        """The rule, spelt out on a tile: booleans (…, len(rows), len(columns))."""
        return self(np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop))

    def __and__(self, other):
        return Both(self, other)

    def __or__(self, other):
        return Either(self, other)

    def __invert__(self):
        return Not(self)


@dataclass(frozen=True)
class Both(Rule):
    """`a & b`: seen by both rules."""

    a: Rule
    b: Rule

    def __call__(self, i, j):
        return self.a(i, j) & self.b(i, j)

    def says(self, rows, columns):
        one = self.a.says(rows, columns)
        if one is Says.NOBODY:
            return one
        other = self.b.says(rows, columns)
        return other if one is Says.EVERYBODY or other is Says.NOBODY else one


@dataclass(frozen=True)
class Either(Rule):
    """`a | b`: seen by one of the rules, at least."""

    a: Rule
    b: Rule

    def __call__(self, i, j):
        return self.a(i, j) | self.b(i, j)

    def says(self, rows, columns):
        return ~Both(~self.a, ~self.b).says(rows, columns)


@dataclass(frozen=True)
class Not(Rule):
    """`~a`: what a forbids."""

    a: Rule

    def __call__(self, i, j):
        return ~self.a(i, j)

    def says(self, rows, columns):
        return ~self.a.says(rows, columns)


@dataclass(frozen=True)
class Band(Rule):
    """low ≤ i − j ≤ high: what lies between two diagonals."""

    low: float
    high: float

    def __call__(self, i, j):
        near_enough = j + self.low <= i if self.low > -np.inf else j == j  # no pair need meet infinity
        return near_enough & (i <= j + self.high if self.high < np.inf else i == i)

    def says(self, rows, columns):
        nearest, farthest = rows.start - (columns.stop - 1), rows.stop - 1 - columns.start
        if farthest < self.low or nearest > self.high:
            return Says.NOBODY
        return Says.EVERYBODY if self.low <= nearest and farthest <= self.high else Says.SOMEBODY


@dataclass(frozen=True)
class Moved(Rule):
    """A rule read as if every query stood `by` places further on."""

    a: Rule
    by: int

    def __call__(self, i, j):
        return self.a(i + self.by, j)

    def says(self, rows, columns):
        return self.a.says(range(rows.start + self.by, rows.stop + self.by), columns)


@dataclass(frozen=True, eq=False)
class Lengths(Rule):
    """j < length, one length per member of the batch."""

    lengths: np.ndarray  # (…, 1, 1)

    def __call__(self, i, j):
        return (j < self.lengths) & (i == i)  # the second term lends the shape of i

    def says(self, rows, columns):
        if columns.start >= self.lengths.max():
            return Says.NOBODY
        return Says.EVERYBODY if columns.stop <= self.lengths.min() else Says.SOMEBODY


@dataclass(frozen=True, eq=False)
class SameDocument(Rule):
    """Queries and keys of the same document; ids (…, 1, n), one per position."""

    ids: np.ndarray

    def __call__(self, i, j):
        flat = self.ids[..., 0, :]
        return flat[..., i] == flat[..., j]

    def says(self, rows, columns):
        asking, offering = self.ids[..., rows.start : rows.stop], self.ids[..., columns.start : columns.stop]
        first, last, lowest, highest = asking.min(), asking.max(), offering.min(), offering.max()
        if last < lowest or highest < first:
            return Says.NOBODY
        return Says.EVERYBODY if first == last == lowest == highest else Says.SOMEBODY


@dataclass(frozen=True, eq=False)
class Table(Rule):
    """A boolean array (…, n, m), looked up."""

    allowed: np.ndarray

    def __call__(self, i, j):
        return self.allowed[..., i, j]

    def tile(self, rows, columns):
        return self.allowed[..., rows.start : rows.stop, columns.start : columns.stop]

    def says(self, rows, columns):
        part = self.tile(rows, columns)
        return Says.EVERYBODY if part.all() else Says.SOMEBODY if part.any() else Says.NOBODY


everybody = Band(-np.inf, np.inf)
"""No mask at all."""

causal = Band(0, np.inf)
"""Nobody sees what comes after, j ≤ i. For n ≠ m this is the top-left alignment."""


def window(w):
    """The w − 1 neighbours on each side: abs(i − j) < w. `causal & window(w)` sees the last w keys."""
    if not isinstance(w, int | np.integer) or w < 1:
        raise ValueError(f"w is {w!r}; wanted a positive integer")
    return Band(-(w - 1), w - 1)


def prefix(p):
    """j < p: the first p keys. `causal | prefix(p)` is the mask of a prefix language model."""
    if not isinstance(p, int | np.integer) or p < 0:
        raise ValueError(f"p is {p!r}; wanted a non-negative integer")
    return Lengths(np.full((1, 1), p))


def padding(lengths):
    """j < length, one length per member of a batch (b,): for scores (b, h, n, m)."""
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1 or lengths.min(initial=0) < 0:
        raise ValueError(f"lengths is {lengths!r}; wanted non-negative integers, one per member of the batch")
    return Lengths(lengths[:, None, None, None])


def documents(ids):
    """ids[i] = ids[j]: packed documents do not see one another; ids (n,), one per position."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise ValueError(f"ids has shape {ids.shape} and dtype {ids.dtype}; wanted one integer per position")
    return SameDocument(ids[None, :])


def top_left(rule, n, m):
    """The rule as it stands: query 0 beside key 0."""
    return rule


def bottom_right(rule, n, m):
    """The rule with the *last* query beside the last key: what a cache of m − n earlier keys needs."""
    return Moved(rule, m - n)
