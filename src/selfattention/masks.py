"""Who may see whom: rules, their algebra, and what they say of a whole tile. Chapter: notebooks/10_masks.

A rule answers for arrays of positions, `rule(i, j)`: may query i see key j? Rules combine with
`&`, `|` and `~`. A tiled implementation asks `rule.says(rows, columns)` first: nobody (skip the
tile), everybody (no mask needed) or somebody (ask for the positions).

Answers are booleans (…, n, m). Their leading axes are those of the scores: three axes are
(h, n, m), one mask per head, and a batch has four, (b, h, n, m) or (b, 1, n, m).

A rule of lengths or distances answers for any whole numbers i and j. A rule made from a list of
positions, `documents`, `shifted_windows` or `Table`, knows those and no others: whoever stands before
the first or after the last sees nobody and is seen by nobody. The arrays that a rule is made from are
copied.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

Method = TypeVar("Method", bound=Callable)

FAR = 2**61  # no position lies farther out; the sum of two such numbers still fits into int64


class Says(Enum):
    """What a rule says of a tile. `SOMEBODY` is always a permitted answer; the others are promises."""

    NOBODY = "nobody may see"
    SOMEBODY = "ask position by position"
    EVERYBODY = "everybody may see"

    def __invert__(self) -> "Says":
        return _OPPOSITE[self]


_OPPOSITE = {
    Says.NOBODY: Says.EVERYBODY,
    Says.SOMEBODY: Says.SOMEBODY,
    Says.EVERYBODY: Says.NOBODY,
}


# Every rule, whoever wrote it, is asked through one of these three: `~1` is −2, and −2 counts as true,
# so that an answer which is not boolean would become another mask, and nobody told.


def _asked_for_positions(call):
    @wraps(call)
    def asked(rule, i, j):
        i, j = _positions("i", i), _positions("j", j)
        return _booleans(rule, call(rule, i, j), np.broadcast(i, j).shape)

    return asked


def _asked_for_a_tile(tile: Method) -> Method:
    @wraps(tile)
    def asked(rule, rows, columns):
        _check_span("rows", rows)
        _check_span("columns", columns)
        return _booleans(rule, tile(rule, rows, columns), (len(rows), len(columns)))

    return asked


def _asked_what_it_says(says):
    @wraps(says)
    def asked(rule, rows, columns):
        if not (rows and columns):
            return Says.NOBODY  # of a tile without positions everything is true; this one is skipped
        said = says(rule, rows, columns)
        if not isinstance(said, Says):
            raise TypeError(f"mask {rule!r} says {said!r} of a tile; wanted one of {[*Says.__members__]}")
        return said

    return asked


_ASKED = {"__call__": _asked_for_positions, "tile": _asked_for_a_tile, "says": _asked_what_it_says}


class Rule:
    """May query i see key j? Subclasses answer for positions and, in bulk, for tiles."""

    __array_ufunc__ = None  # `array & rule` is for the rule to refuse, not for NumPy to try

    ends: tuple[float, float] = math.inf, math.inf
    """How many queries and how many keys the rule knows; an implementation wants no fewer."""

    def __init_subclass__(cls):
        super().__init_subclass__()
        for name, asked in _ASKED.items():
            if name in vars(cls):
                setattr(cls, name, asked(vars(cls)[name]))

    def __call__(self, i: Any, j: Any) -> np.ndarray:
        """True where query i may see key j: booleans, for integer arrays i and j that broadcast."""
        raise NotImplementedError(f"{self!r} has no __call__(self, i, j)")

    def says(self, rows: range, columns: range) -> Says:
        """What the rule says of the tile of queries `rows` and keys `columns` (two ranges)."""
        return Says.SOMEBODY

    @_asked_for_a_tile
    def tile(self, rows: range, columns: range) -> np.ndarray:
        """The rule, spelt out on a tile: booleans (…, len(rows), len(columns))."""
        return self(np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop))

    def __repr__(self) -> str:
        return type(self).__name__

    def __bool__(self):
        raise TypeError(f"mask {self!r} is not true or false; write `&`, `|`, `~` for `and`, `or`, `not`")

    def __and__(self, other: "Rule") -> "Rule":
        return Both(self, _partner(self, other))

    def __or__(self, other: "Rule") -> "Rule":
        return Either(self, _partner(self, other))

    def __rand__(self, other: "Rule") -> "Rule":
        return self & other  # an array, None, …: only what is no rule comes here, and is refused

    __ror__ = __rand__

    def __invert__(self) -> "Rule":
        return Not(self)


def _partner(rule, other):
    if not isinstance(other, Rule):
        came = f"mask joins {rule!r} and a {type(other).__name__}"
        raise TypeError(f"{came}; wanted two rules: Table(array) makes one of booleans, everybody is no mask")
    return other


@dataclass(frozen=True)
class _Pair(Rule):
    """Two rules, asked both."""

    a: Rule
    b: Rule

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return self._joined(self.a(i, j), self.b(i, j))

    def tile(self, rows: range, columns: range) -> np.ndarray:
        return self._joined(self.a.tile(rows, columns), self.b.tile(rows, columns))

    def _joined(self, a, b):
        try:
            return self._join(_on_the_processor(a), _on_the_processor(b))
        except ValueError:
            raise ValueError(f"mask {self!r} joins answers of shapes {a.shape} and {b.shape}") from None

    @property
    def ends(self) -> tuple[float, float]:
        return tuple(map(min, self.a.ends, self.b.ends))


class Both(_Pair):
    """`a & b`: seen by both rules."""

    _join = staticmethod(np.logical_and)

    def says(self, rows: range, columns: range) -> Says:
        one = self.a.says(rows, columns)
        if one is Says.NOBODY:
            return one
        other = self.b.says(rows, columns)
        return other if one is Says.EVERYBODY or other is Says.NOBODY else one

    def __repr__(self):
        return f"{_bracketed(self.a, Either)} & {_bracketed(self.b, Either)}"


class Either(_Pair):
    """`a | b`: seen by one of the rules, at least."""

    _join = staticmethod(np.logical_or)

    def says(self, rows: range, columns: range) -> Says:
        one = self.a.says(rows, columns)
        if one is Says.EVERYBODY:
            return one
        other = self.b.says(rows, columns)
        return other if one is Says.NOBODY or other is Says.EVERYBODY else one

    def __repr__(self):
        return f"{self.a!r} | {self.b!r}"


@dataclass(frozen=True)
class Not(Rule):
    """`~a`: what a forbids, positions that a does not know included."""

    a: Rule

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return ~self.a(i, j)

    def tile(self, rows: range, columns: range) -> np.ndarray:
        return ~self.a.tile(rows, columns)

    def says(self, rows: range, columns: range) -> Says:
        return ~self.a.says(rows, columns)

    @property
    def ends(self) -> tuple[float, float]:
        return self.a.ends

    def __repr__(self):
        return f"~{_bracketed(self.a, _Pair)}"


@dataclass(frozen=True)
class Band(Rule):
    """low ≤ i − j ≤ high: what lies between two diagonals, which have no ends."""

    low: float
    high: float

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return (self.low <= i - j) & (i - j <= self.high)

    def tile(self, rows: range, columns: range) -> np.ndarray:
        """One answer per distance, from which every row is cut, each one further on than the last."""
        n, m = len(rows), len(columns)
        seen = self(np.arange(rows.start - columns.stop, rows.stop - columns.start), 0)
        return np.ndarray((n, m), bool, seen, offset=m, strides=(1, -1)).copy()

    def says(self, rows: range, columns: range) -> Says:
        nearest, farthest = rows.start - (columns.stop - 1), rows.stop - 1 - columns.start
        if farthest < self.low or nearest > self.high:
            return Says.NOBODY
        return Says.EVERYBODY if self.low <= nearest and farthest <= self.high else Says.SOMEBODY

    def __repr__(self):
        if self in (causal, everybody):
            return "causal" if self == causal else "everybody"
        return f"window({self.high + 1})" if -self.low == self.high >= 0 else f"Band({self.low}, {self.high})"


@dataclass(frozen=True)
class Moved(Rule):
    """A rule read as if every query stood `by` places further on, or −by places back."""

    a: Rule
    by: int

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return self.a(i + self.by, j)

    def tile(self, rows: range, columns: range) -> np.ndarray:
        return self.a.tile(self._rows(rows), columns)

    def says(self, rows: range, columns: range) -> Says:
        return self.a.says(self._rows(rows), columns)

    def _rows(self, rows):
        return range(rows.start + self.by, rows.stop + self.by)

    @property
    def ends(self) -> tuple[float, float]:
        queries, keys = self.a.ends
        return queries - self.by, keys

    def __repr__(self):
        return f"Moved({self.a!r}, {self.by})"


@dataclass(frozen=True, eq=False)
class Lengths(Rule):
    """j < length, one length per member of the batch; whatever i is, and for negative j as well."""

    lengths: np.ndarray  # (b, 1), or () where all members have the same

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        lengths = self.lengths.reshape(self.lengths.shape + (1,) * np.broadcast(i, j).ndim)
        return (j < lengths) & (i == i)  # the second term lends the shape of i

    def says(self, rows: range, columns: range) -> Says:
        if not self.lengths.size or columns.start >= self.lengths.max():
            return Says.NOBODY
        return Says.EVERYBODY if columns.stop <= self.lengths.min() else Says.SOMEBODY

    def __repr__(self):
        return f"padding({_short(self.lengths[:, 0])})" if self.lengths.ndim else f"prefix({self.lengths})"


class Sinks(Lengths):
    """j < k: `Lengths`, by the name under which the first keys stay when a window moves on."""

    def __repr__(self):
        return f"sinks({self.lengths})"


class _Known(Rule):
    """A rule that knows so many queries and so many keys, `ends`; elsewhere nobody may see.

    Subclasses answer in `_look`, `_part` and `_says` for what they know, and need not fear the rest.
    """

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        there = _exists(i, self.ends[0]) & _exists(j, self.ends[1])
        i, j = np.broadcast_arrays(i, j)
        return _framed(self._look(i[there], j[there]), there.shape, (there,))

    def tile(self, rows: range, columns: range) -> np.ndarray:
        down, along = self._known(rows, columns)
        part = self._part(down, along)
        if (down, along) == (rows, columns):
            return part
        where = (_slice(down, rows.start), _slice(along, columns.start))
        return _framed(part, (len(rows), len(columns)), where)

    def _part(self, rows, columns):
        return self._look(np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop))

    def says(self, rows: range, columns: range) -> Says:
        known = self._known(rows, columns)
        said = self._says(*known) if all(known) else Says.NOBODY
        return Says.SOMEBODY if said is Says.EVERYBODY and known != (rows, columns) else said

    def _known(self, rows, columns):
        """Two ranges: the part of the tile that the rule knows."""
        n, m = self.ends
        return _clipped(rows, n), _clipped(columns, m)


@dataclass(frozen=True, eq=False)
class SameDocument(_Known):
    """Queries and keys of the same document; ids (n,), one per position. Elsewhere is no document."""

    ids: np.ndarray

    @property
    def ends(self) -> tuple[float, float]:
        return 2 * self.ids.shape

    def _look(self, i, j):
        return self.ids[i] == self.ids[j]

    def _says(self, rows, columns):
        asking, offering = self.ids[_slice(rows)], self.ids[_slice(columns)]
        first, last, lowest, highest = asking.min(), asking.max(), offering.min(), offering.max()
        if last < lowest or highest < first:
            return Says.NOBODY
        return Says.EVERYBODY if first == last == lowest == highest else Says.SOMEBODY

    def __repr__(self):
        return f"documents({_short(self.ids)})"


@dataclass(frozen=True, eq=False)
class SameWindow(SameDocument):
    """Queries and keys of the same window of a picture; ids as there, and how the rule was called."""

    said: str

    def __repr__(self):
        return self.said


@dataclass(frozen=True, eq=False)
class Table(_Known):
    """A boolean array (…, n, m), True = may see, looked up; nobody may see what it does not hold.

    Three axes are (h, n, m), one table per head; a batch has four, (b, h, n, m) or (b, 1, n, m).
    Raises TypeError where it is not boolean, for zeros and ones as well, ValueError for fewer axes.
    """

    allowed: np.ndarray

    def __post_init__(self):
        allowed = _copied("allowed", self.allowed)
        if allowed.dtype != bool:
            raise TypeError(f"allowed has dtype {allowed.dtype}; wanted booleans, True = may see")
        if allowed.ndim < 2:
            raise ValueError(f"allowed has shape {allowed.shape}; wanted (…, n, m)")
        object.__setattr__(self, "allowed", allowed)

    @property
    def ends(self) -> tuple[float, float]:
        return self.allowed.shape[-2:]

    def _look(self, i, j):
        return self.allowed[..., i, j]

    def _part(self, rows, columns):
        return self.allowed[..., _slice(rows), _slice(columns)].copy()

    def _says(self, rows, columns):
        part = self.allowed[..., _slice(rows), _slice(columns)]
        return Says.EVERYBODY if part.all() else Says.SOMEBODY if part.any() else Says.NOBODY

    def __repr__(self):
        return f"Table({' × '.join(map(str, self.allowed.shape))})"


everybody: Rule = Band(-math.inf, math.inf)
"""No mask at all."""

causal: Rule = Band(0, math.inf)
"""Nobody sees what comes after, j ≤ i. For n ≠ m this is the top-left alignment."""


def window(w: int) -> Rule:
    """The w − 1 neighbours on each side: abs(i − j) < w. `causal & window(w)` sees the last w keys."""
    w = _whole("w", w, 1, "a positive integer")
    return Band(-(w - 1), w - 1)


def prefix(p: int) -> Rule:
    """j < p: the first p keys. `causal | prefix(p)` is the mask of a prefix language model."""
    p = _whole("p", p, 0, "a non-negative integer")
    return Lengths(_frozen(np.array(min(p, FAR))))


def sinks(k: int) -> Rule:
    """j < k: the first k keys stay in sight. `causal & (window(w) | sinks(k))` sees them and the last w.

    The pairs of `prefix(k)`, by the name of another use; `bottom_right` moves queries, and no sinks.
    """
    k = _whole("k", k, 0, "a non-negative integer")
    return Sinks(_frozen(np.array(min(k, FAR))))


def padding(lengths: ArrayLike) -> Rule:
    """j < length, one length per member of a batch (b,): for scores (b, h, n, m).

    Where a batch has several axes, b counts the members of them all, the last axis fastest.
    """
    array = _integers("lengths", lengths)
    if array.ndim != 1 or (array < 0).any():
        raise ValueError(f"lengths is {lengths!r}; wanted non-negative integers, one per member of the batch")
    shortened = [min(int(length), FAR) for length in array]
    return Lengths(_frozen(np.array(shortened, int)[:, None]))


def documents(ids: ArrayLike) -> Rule:
    """ids[i] = ids[j]: packed documents do not see one another; ids (n,), one per position.

    Positions before the first or after the last are in no document: they see nobody, nobody sees them.
    """
    array = _integers("ids", ids)
    if array.ndim != 1:
        raise ValueError(f"ids has shape {array.shape}; wanted one integer per position")
    return SameDocument(array)


def shifted_windows(height: int, width: int, M: int, shift: int = 0) -> Rule:
    """Same window of a picture: M × M squares of a grid that lies `shift` places down and to the right.

    Position i is row i // width, column i % width of height × width. Windows at the edges are what the
    grid leaves of them: none goes around to the other side, so no token needs to be moved.
    """
    given = ("height", height, 1), ("width", width, 1), ("M", M, 1), ("shift", shift, 0)
    wanted = ("a non-negative integer", "a positive integer")
    height, width, M, shift = (_whole(name, size, least, wanted[least]) for name, size, least in given)
    if shift >= M:
        raise ValueError(f"shift is {shift}; wanted a non-negative integer below M = {M}")
    said = f"shifted_windows({height}, {width}, {M}, {shift})"
    down, along = ((np.arange(length) - min(shift, FAR)) // min(M, FAR) + 1 for length in (height, width))
    return SameWindow(_frozen((down[:, None] * (along[-1] + 1) + along).ravel()), said)


def top_left(rule: Rule, n: int, m: int) -> Rule:
    """The rule as it stands: query 0 beside key 0."""
    return _ruled(rule)


def bottom_right(rule: Rule, n: int, m: int) -> Rule:
    """The rule with the *last* query beside the last key: what a cache of m − n earlier keys needs.

    Query i stands at i + m − n. Where n > m the first n − m queries stand before the first position.
    """
    n, m = (_whole(name, size, 0, "a size") for name, size in (("n", n), ("m", m)))
    if max(n, m) > FAR:
        raise ValueError(f"n is {n} and m is {m}; wanted sizes up to 2**61")
    return Moved(_ruled(rule), m - n)


# What is brought: whole numbers of any kind, positions, ranges of them, and arrays, which are copied.


def _ruled(rule):
    if not isinstance(rule, Rule):
        raise TypeError(f"rule is a {type(rule).__name__}; wanted a rule: Table(array) makes one of booleans")
    return rule


def _whole(name, value, least, wanted):
    """A Python integer, which does not wrap around, of whatever kind of integer it was."""
    if not _is_whole(value) or operator.index(value) < least:
        raise ValueError(f"{name} is {value!r}; wanted {wanted}")
    return operator.index(value)


def _is_whole(value):
    """An integer, NumPy's and torch's included; True is none."""
    try:
        return not isinstance(value, bool) and operator.index(value) is not None
    except TypeError:
        return False


def _integers(name, values):
    """A copy of integers of any kind, Python's own, which have no largest, among them."""
    array = _copied(name, values)
    if array.dtype.kind not in "iu" and not hasattr(values, "dtype"):
        array = _frozen(np.array(values, dtype=object))  # [] would be floats, and so would [2**63, −1]
    if array.dtype.kind not in "iu" and not (array.dtype == object and all(map(_is_whole, array.flat))):
        raise ValueError(f"{name} is {values!r}; wanted integers")
    return array


def _copied(name, array):
    """A NumPy array of our own: whoever refills theirs changes nothing. A tensor may be on any device."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a MaskedArray; wanted one without a mask of its own")
    try:
        return _frozen(_on_the_processor(array).copy())
    except (TypeError, ValueError, RuntimeError) as why:
        raise TypeError(f"{name} is {array!r}; wanted an array: {why}") from None


def _on_the_processor(answer):
    """NumPy's, if a rule of one's own has answered with a tensor: two rules may answer from two libraries."""
    return np.asarray(answer.cpu() if hasattr(answer, "cpu") else answer)


def _frozen(array):
    array.setflags(write=False)
    return array


def _positions(name, positions):
    positions = np.asarray(positions)
    if positions.dtype.kind not in "iu" or (positions.dtype == np.uint64 and (positions > FAR).any()):
        raise TypeError(f"{name} is {positions!r}; wanted integer positions")
    return positions.astype(np.int64, copy=False)


def _check_span(name, span):
    if not isinstance(span, range) or span.step != 1 or span.start < -FAR or span.stop > FAR:
        raise TypeError(f"{name} is {span!r}; wanted a range of consecutive positions")


def _booleans(rule, answer, shape):
    """The answer, if it is one: booleans of that shape, behind any leading axes."""
    dtype = getattr(answer, "dtype", type(answer).__name__)
    if dtype != np.bool and str(dtype) != "torch.bool":
        raise TypeError(f"mask {rule!r} answers with {dtype}; wanted an array of booleans")
    if answer.shape[answer.ndim - len(shape) :] != shape:
        wanted = ", ".join(map(str, ("…", *shape)))
        raise ValueError(f"mask {rule!r} answers with shape {tuple(answer.shape)}; wanted ({wanted})")
    return answer


def _exists(positions, size):
    return (0 <= positions) & (positions < size)


def _clipped(span, size):
    """What of a range is in range(size); nothing is at one of the ends, not before the first."""
    return range(*(min(max(end, 0), size) for end in (span.start, span.stop)))


def _slice(span, start=0):
    return slice(span.start - start, span.stop - start)


def _framed(known, shape, where):
    """What is known, in its place, and nobody around it; known may have leading axes."""
    lead = known.shape[: known.ndim - len(where)]
    answer = np.zeros((*lead, *shape), bool)
    answer[..., *where] = known
    return answer


def _bracketed(rule, kinds):
    return f"({rule!r})" if isinstance(rule, kinds) else repr(rule)


def _short(values, most=6):
    shown = [*map(str, values[:most]), *["…"] * (len(values) > most)]
    return f"[{', '.join(shown)}]"
