"""Who holds which tokens: for every rank the ranges of positions that its rows stand for, in their order.

A shard is a tuple of ranges, and what the ranks hold together is every position once.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from selfattention.masks import Rule, Says

Shard = tuple[range, ...]
Shards = tuple[Shard, ...]


def contiguous(n: int, p: int) -> Shards:
    """One range a rank, in the order of the ranks; of n < p tokens some get none."""
    return tuple((block,) for block in _blocks(n, p))


def zigzag(n: int, p: int) -> Shards:
    """Block r from the front and block r from the back of 2p blocks: under a causal mask, equal work."""
    blocks = _blocks(n, 2 * p)
    return tuple((blocks[rank], blocks[-1 - rank]) for rank in range(p))


def _blocks(n, count):
    return [range(start, stop) for start, stop in pairwise(block * n // count for block in range(count + 1))]


def tokens(shard: Shard) -> int:
    """How many positions a shard holds."""
    return sum(map(len, shard))


def total(shards: Shards) -> int:
    """How many positions all shards hold together."""
    return sum(map(tokens, shards))


def checked(name: str, shards: Sequence[Sequence[range]], p: int) -> Shards:
    """The shards of p ranks as tuples; ValueError where they are not every position from 0 on, once."""
    try:
        taken = tuple(tuple(span for span in shard if len(span)) for shard in shards)
    except TypeError:
        raise TypeError(f"{name} is {shards!r}; wanted a sequence of ranges for every rank") from None
    if len(taken) != p:
        raise ValueError(f"{name} has the tokens of {len(taken)} ranks; wanted those of {p}")
    spans = sorted((span.start, span.stop, span.step) for shard in taken for span in shard)
    ends = [0, *(stop for _, stop, _ in spans)]
    if any((start, step) != (end, 1) for (start, _, step), end in zip(spans, ends, strict=False)):
        raise ValueError(f"{name} is {shards!r}; wanted every position from 0 on in one range of one rank")
    return taken


def places(shard: Shard) -> list[slice]:
    """Where in the rank's own rows each range of its shard stands."""
    ends = [0, *np.cumsum([len(span) for span in shard]).tolist()]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def pieces(shards: Shards, most: int) -> list[Shards]:
    """The shards cut into so many parts that none has more than `most` positions, but for the rounding.

    Every range is cut into as many: of zig-zag shards each part has something from the front and as much
    from the back, and so under a causal mask the same work for all ranks.
    """
    count = max(1, *(-(-tokens(shard) // most) for shard in shards))
    return [tuple(_part(shard, i, count) for shard in shards) for i in range(count)]


def _part(shard, i, count):
    cut = (span[i * len(span) // count : (i + 1) * len(span) // count] for span in shard)
    return tuple(span for span in cut if span)


def places_within(part: Shard, shard: Shard) -> list[slice]:
    """Where in the rows of its shard each range of a part stands."""
    return [
        slice(place.start + cut.start - span.start, place.start + cut.stop - span.start)
        for place, span in zip(places(shard), shard, strict=True)
        for cut in part
        if cut.start in span
    ]


class Placed(Rule):
    """A rule, asked by rows and columns that stand `down` and `along` places further on.

    What it has said it knows: every head asks again.
    """

    def __init__(self, rule: Rule, down: int, along: int):
        self.rule, self.down, self.along = rule, down, along
        self.said: dict[tuple[range, range], Says] = {}
        self.tiles: dict[tuple[range, range], np.ndarray] = {}

    def tile(self, rows: range, columns: range) -> np.ndarray:
        if (rows, columns) not in self.tiles:
            self.tiles[rows, columns] = self.rule.tile(*self._moved(rows, columns))
        return self.tiles[rows, columns]

    def says(self, rows: range, columns: range) -> Says:
        if (rows, columns) not in self.said:
            self.said[rows, columns] = self.rule.says(*self._moved(rows, columns))
        return self.said[rows, columns]

    def _moved(self, rows, columns):
        return (
            range(rows.start + self.down, rows.stop + self.down),
            range(columns.start + self.along, columns.stop + self.along),
        )

    @property
    def ends(self) -> tuple[float, float]:
        queries, keys = self.rule.ends
        return queries - self.down, keys - self.along

    def __repr__(self):
        return f"{self.rule!r} from query {self.down}, key {self.along}"


class OfHeads(Rule):
    """A rule for some heads: of one that speaks of every head, (…, h, n, m), the part of these."""

    def __init__(self, rule: Rule, heads: range):
        self.rule, self.heads = rule, heads

    @property
    def ends(self) -> tuple[float, float]:
        return self.rule.ends

    def tile(self, rows: range, columns: range) -> np.ndarray:
        answer = self.rule.tile(rows, columns)
        if answer.ndim < 3 or answer.shape[-3] == 1:
            return answer
        return answer[..., self.heads.start : self.heads.stop, :, :]

    def says(self, rows: range, columns: range) -> Says:
        return self.rule.says(rows, columns)

    def __repr__(self):
        return f"{self.rule!r} of heads {self.heads}"
