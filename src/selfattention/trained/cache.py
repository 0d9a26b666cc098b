"""The keys and values that a language model has computed, kept so that the next token need not.

A `Cache` says how many tokens it has taken and where each text of a batch begins; how its rows are kept
is the business of a store: `Rows` as they are, `QuantisedRows` in 8 or 4 bits, `PagedRows` in blocks.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from selfattention import masks
from selfattention.formulas import quantised, restored
from selfattention.implementations.contract import Attention
from selfattention.masks import Rule


class Store(Protocol):
    """Rows (layers, …, g, capacity, d), written in spans and read from the first on."""

    capacity: int

    @property
    def nbytes(self) -> int: ...
    def write(self, layer: int, start: int, X: np.ndarray) -> None: ...
    def read(self, layer: int, count: int, dtype: np.dtype) -> np.ndarray: ...
    def reserve(self, count: int) -> None: ...
    def keep(self, rows: np.ndarray) -> None: ...


class Rows:
    """Rows as they come, in one dtype, in one array that is allocated once and grows by copying."""

    def __init__(self, layers: int, batch: tuple[int, ...], g: int, capacity: int, d: int, dtype: DTypeLike):
        self.array = np.zeros((layers, *batch, g, capacity, d), dtype)

    @property
    def capacity(self) -> int:
        """How many rows have room."""
        return self.array.shape[-2]

    @property
    def nbytes(self) -> int:
        """What is allocated, in bytes."""
        return self.array.nbytes

    def write(self, layer: int, start: int, X: np.ndarray) -> None:
        """Put X (…, g, n, d) into the rows from `start` on."""
        self.array[layer, ..., start : start + X.shape[-2], :] = X

    def read(self, layer: int, count: int, dtype: np.dtype) -> np.ndarray:
        """The first `count` rows, without a copy where the dtype is theirs."""
        return self.array[layer, ..., :count, :].astype(dtype, copy=False)

    def reserve(self, count: int) -> None:
        """Room for so many rows: where there is too little, twice as much as before, or more."""
        if count <= self.capacity:
            return
        *axes, capacity, d = self.array.shape
        wide = np.zeros((*axes, max(count, 2 * capacity), d), self.array.dtype)
        wide[..., :capacity, :] = self.array
        self.array = wide

    def keep(self, rows: np.ndarray) -> None:
        """Move the rows of these numbers, which ascend, to the front."""
        self.array[..., : len(rows), :] = self.array[..., rows, :]


class QuantisedRows:
    """Rows as whole numbers of 8 or 4 bits, each row with a step of its own; two of 4 bits share a byte."""

    def __init__(
        self,
        layers: int,
        batch: tuple[int, ...],
        g: int,
        capacity: int,
        d: int,
        dtype: DTypeLike = np.float32,
        *,
        bits: int = 8,
    ):
        if bits not in (4, 8):
            raise ValueError(f"bits is {bits}; wanted 4 or 8")
        self.bits = bits
        self.codes = Rows(layers, batch, g, capacity, d * bits // 8, np.int8)
        self.steps = Rows(layers, batch, g, capacity, 1, dtype)

    @property
    def capacity(self) -> int:
        """How many rows have room."""
        return self.codes.capacity

    @property
    def nbytes(self) -> int:
        """What is allocated, in bytes."""
        return self.codes.nbytes + self.steps.nbytes

    def write(self, layer: int, start: int, X: np.ndarray) -> None:
        """Put X (…, g, n, d), rounded, into the rows from `start` on."""
        q, step = quantised(X, self.bits)
        self.codes.write(layer, start, q if self.bits == 8 else q[..., 0::2] & 15 | q[..., 1::2] << 4)
        self.steps.write(layer, start, step[..., None])

    def read(self, layer: int, count: int, dtype: np.dtype) -> np.ndarray:
        """The first `count` rows, as near as their numbers tell."""
        q, step = self.codes.read(layer, count, np.dtype(np.int8)), self.steps.read(layer, count, dtype)
        if self.bits == 4:
            q = np.stack([q << 4 >> 4, q >> 4], axis=-1).reshape(*q.shape[:-1], -1)  # with their signs
        return restored(q, step[..., 0])

    def reserve(self, count: int) -> None:
        """Room for so many rows."""
        self.codes.reserve(count)
        self.steps.reserve(count)

    def keep(self, rows: np.ndarray) -> None:
        """Move the rows of these numbers, which ascend, to the front."""
        self.codes.keep(rows)
        self.steps.keep(rows)


class PagedRows:
    """Rows in blocks of `size`, which lie in any order: a table says where each block of a text went."""

    def __init__(
        self,
        layers: int,
        batch: tuple[int, ...],
        g: int,
        capacity: int,
        d: int,
        dtype: DTypeLike,
        size: int = 16,
    ):
        self.size, self.shape, self.dtype = size, (layers, *batch, g, size, d), dtype
        self.blocks: list[np.ndarray] = []
        self.table: list[int] = []
        self.reserve(capacity)

    @property
    def capacity(self) -> int:
        """How many rows have room."""
        return len(self.table) * self.size

    @property
    def nbytes(self) -> int:
        """What is allocated, in bytes."""
        return sum(block.nbytes for block in self.blocks)

    def write(self, layer: int, start: int, X: np.ndarray) -> None:
        """Put X (…, g, n, d) into the rows from `start` on, each into its block."""
        for row in range(X.shape[-2]):
            block, place = divmod(start + row, self.size)
            self.blocks[self.table[block]][layer, ..., place, :] = X[..., row, :]

    def read(self, layer: int, count: int, dtype: np.dtype) -> np.ndarray:
        """The first `count` rows, gathered from their blocks."""
        parts = [self.blocks[number][layer] for number in self.table[: -(-count // self.size)]]
        return np.concatenate(parts, axis=-2)[..., :count, :].astype(dtype, copy=False)

    def reserve(self, count: int) -> None:
        """As many blocks as that takes, no old one moved. Each lies before the last: the table knows."""
        while self.capacity < count:
            self.blocks.insert(0, np.zeros(self.shape, self.dtype))
            self.table = [number + 1 for number in self.table] + [0]

    def keep(self, rows: np.ndarray) -> None:
        """Move the rows of these numbers, which ascend, to the front."""
        for place, row in enumerate(rows):
            for layer in range(self.shape[0]):
                block, inside = divmod(int(row), self.size)
                row_there = self.blocks[self.table[block]][layer, ..., inside : inside + 1, :]
                self.write(layer, place, row_there.copy())


class Cache:
    """The keys and values of a batch of texts, one store for each; `taken` counts the tokens so far.

    `shape` is (layers, …, g, d), `most` how many positions the model has.
    Texts of a batch end together: `starts` says at which row each begins, what stands before is padding.
    Rows that a rule will never show again may be forgotten; `places` are the positions of those kept.
    """

    def __init__(self, K: Store, V: Store, most: int, shape: tuple[int, ...], starts: Sequence[int] = ()):
        self.K, self.V, self.most, self.shape = K, V, most, shape
        self.starts = np.array(starts, dtype=np.int64)
        self.places = np.arange(0)
        self.taken = 0
        self._made = None  # an attention's steps, and what they were made for
        if len(starts) and self.batch != (len(starts),):
            raise ValueError(f"starts has {len(starts)} numbers; wanted one for each text of {self.batch}")
        if (self.starts < 0).any():
            raise ValueError(f"starts holds {self.starts.min()}; wanted whole numbers, 0 or more")

    @property
    def batch(self) -> tuple[int, ...]:
        """The axes of the texts; () for one text."""
        return self.shape[1:-2]

    @property
    def held(self) -> int:
        """How many rows are in use, all that were taken and not forgotten."""
        return len(self.places)

    @property
    def nbytes(self) -> int:
        """What both stores have allocated, in bytes."""
        return self.K.nbytes + self.V.nbytes

    def positions(self, n: int) -> np.ndarray:
        """The positions (n), or (b, 1, n), of the next n tokens, each counted from its text's own start."""
        places = np.arange(self.taken, self.taken + n)
        return places - self.starts[:, None, None] if self.starts.size else places

    def mask(self, rule: Rule, n: int) -> Rule | np.ndarray:
        """The rule for n more queries and all the keys that they may meet, the cache's and their own."""
        if self.starts.size:
            rule = FromStart(rule, self.starts)
        if self.held == self.taken:
            return masks.bottom_right(rule, n, self.taken + n)
        if self.taken + n > min(rule.ends):
            raise ValueError(f"rule ends before position {self.taken + n - 1}: it is {rule!r}")
        queries = np.arange(self.taken, self.taken + n)
        return rule(queries[:, None], np.concatenate([self.places, queries]))

    def reserve(self, n: int) -> None:
        """Room for n more tokens.

        Raises ValueError, and changes nothing, where that is more than the model has positions.
        """
        if self.taken + n > self.most:
            raise ValueError(f"tokens brings {n} after {self.taken}; wanted at most {self.most} in all")
        for store in (self.K, self.V):
            store.reserve(self.held + n)

    def attending(
        self, attention: Attention, rule: Rule, n: int, dtype: DTypeLike
    ) -> Callable[..., np.ndarray]:
        """`attend(layer, Q, K, V)` -> O: takes a layer's rows of n new tokens, and attends to all it has.

        Q, K and V are of that dtype. An attention with `steps` of its own is asked to prepare them once for
        a text, not for each token.
        """
        count, steps = self.held + n, self._steps(attention, rule, dtype)
        mask = None if steps else self.mask(rule, n)

        def attend(layer, Q, K, V):
            self.K.write(layer, self.held, K)
            self.V.write(layer, self.held, V)
            if steps:
                return steps[layer](Q, count)[0]
            keys, values = (store.read(layer, count, Q.dtype) for store in (self.K, self.V))
            return attention(Q, keys, values, mask=mask)[0]

        return attend

    def _steps(self, attention, rule, dtype):
        """The attention's steps on these arrays, made anew where they are others; None where it has none."""
        plain = isinstance(self.K, Rows) and isinstance(self.V, Rows) and self.held == self.taken
        if not plain or self.K.array.dtype != dtype or not hasattr(attention, "steps"):
            return None
        made_for = attention, rule, self.K.array, self.V.array
        if self._made is None or any(a is not b for a, b in zip(self._made[0], made_for, strict=True)):
            mask = FromStart(rule, self.starts) if self.starts.size else rule
            self._made = made_for, attention.steps(self.K.array, self.V.array, mask=mask)
        return self._made[1]

    def took(self, n: int) -> None:
        """Count n more tokens, now that every layer has written theirs."""
        self.places = np.append(self.places, np.arange(self.taken, self.taken + n))
        self.taken += n

    def forget(self, rule: Rule) -> None:
        """Give up the rows that the rule hides from the next query: no window or sink shows them again."""
        if self.starts.size:
            raise ValueError("cache begins its texts at several places; wanted one text to forget rows of")
        rows = np.flatnonzero(rule(self.taken, self.places))
        self.K.keep(rows)
        self.V.keep(rows)
        self.places = self.places[rows]


class FromStart(Rule):
    """A rule read by each text of a batch from its own start; nobody sees what stands before it."""

    def __init__(self, rule: Rule, starts: np.ndarray):
        self.rule, self.starts = rule, starts[:, None, None, None]

    @property
    def ends(self) -> tuple[float, float]:
        """What the rule knows, seen from the text that begins first."""
        queries, keys = self.rule.ends
        return queries + int(self.starts.min()), keys + int(self.starts.min())

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        i, j = (np.asarray(x) - self.starts.reshape(-1, *(1,) * max(3, np.ndim(x))) for x in (i, j))
        return self.rule(i, j) & (i >= 0) & (j >= 0)
