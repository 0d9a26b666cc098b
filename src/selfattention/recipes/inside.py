"""What layers have inside their attention beside the formula: norms of heads, rotations, distances, gates.

Each is a part of `layer.Layer` that is right by another definition. What has numbers of its own, a table of
distances or a gate, is made for the numbers that were drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.recipes import rotary
from selfattention.recipes.heads import blocks, side_by_side
from selfattention.recipes.recipe import Convention, Mistake
from selfattention.recipes.softmax import as_it_is

EPSILON = 1e-5  # of every norm, for as long as a layer is examined


def standardised(X):
    X = X - X.mean(-1, keepdims=True)
    return X / np.sqrt((X * X).mean(-1, keepdims=True) + X.dtype.type(EPSILON))


def of_length_one(X):
    return X / np.sqrt((X * X).mean(-1, keepdims=True) + X.dtype.type(EPSILON))


def both(turn, Q, K):
    return turn(Q), turn(K)


@dataclass(frozen=True)
class Meeting:
    """Q and K (…, h, n, d_k) as they meet: normalised, then turned by their places."""

    norm: Callable = as_it_is
    turn: Callable = as_it_is  # one array
    turned: Callable = both  # which of them

    def __call__(self, Q, K):
        return self.turned(self.turn, self.norm(Q), self.norm(K))


def ungated(H, X):
    return H


# Norms.


@dataclass(frozen=True)
class OfAllHeads:
    """A norm of heads side by side, before they are cut."""

    norm: Callable

    def __call__(self, H):
        return blocks(self.norm(side_by_side(H)), H.shape[-3])


def heads_standardised():
    """A LayerNorm of each query and key. Chapter 09."""


def heads_of_length_one():
    """An RMSNorm of each query and key. Chapter 09."""


def all_standardised():
    """A LayerNorm of queries and keys, all heads together. Chapter 09."""


def all_of_length_one():
    """An RMSNorm of queries and keys, all heads together. Chapter 09."""


def norm(rms: bool, whole: bool) -> Convention:
    """Of queries and keys, of each head or of all together."""
    way, said = (
        (of_length_one, (heads_of_length_one, all_of_length_one))
        if rms
        else (standardised, (heads_standardised, all_standardised))
    )
    return Convention("meet.norm", OfAllHeads(way) if whole else way, said[whole])


# Rotations.


@dataclass(frozen=True)
class Turned:
    """The first columns of each row i turned by i: a share of them, 1 for all."""

    rotary: rotary.Rotary
    share: float = 1.0

    def __call__(self, H):
        columns = int(H.shape[-1] * self.share)
        if columns < 2:
            raise ValueError("columns in pairs")
        i = np.arange(H.shape[-2])
        return np.concatenate([self.rotary(H[..., :columns], i), H[..., columns:]], axis=-1)


def turned_in_halves():
    """Queries and keys turned by their places, columns paired with the other half. Chapter 11."""


def turned_as_neighbours():
    """Queries and keys turned by their places, columns paired with their neighbours. Chapter 11."""


def half_turned_in_halves():
    """Half of the columns turned by their places, paired with the other half of these. Chapter 11."""


def half_turned_as_neighbours():
    """Half of the columns turned by their places, paired with their neighbours. Chapter 11."""


def queries_alone(turn, Q, K):
    """Queries are turned by their places and keys are not. Chapter 11."""
    return turn(Q), K


def keys_alone(turn, Q, K):
    """Keys are turned by their places and queries are not. Chapter 11."""
    return Q, turn(K)


IN_HALVES = rotary.Rotary(pairing=rotary.HALVES)
ROTATIONS = (
    Convention("meet.turn", Turned(IN_HALVES), turned_in_halves),
    Convention("meet.turn", Turned(rotary.Rotary()), turned_as_neighbours),
    Convention("meet.turn", Turned(IN_HALVES, 0.5), half_turned_in_halves),
    Convention("meet.turn", Turned(rotary.Rotary(), 0.5), half_turned_as_neighbours),
)
MISTAKES = tuple(Mistake("meet.turned", part, part) for part in (queries_alone, keys_alone))
"""Of a layer that turns."""


# Distances.


@dataclass(frozen=True, eq=False)
class Added:
    """Numbers of a table (rows, heads) added to the scores: `row` (n, m) says which."""

    table: np.ndarray
    row: Callable

    def __call__(self, S, fill):
        rows = self.row(*S.shape[-2:], len(self.table))
        return S + np.moveaxis(self.table[rows], -1, 0).astype(S.dtype)


def ahead(n, m, rows):
    """j − i + L − 1 of 2L − 1 rows."""
    return _inside(np.arange(m)[None] - np.arange(n)[:, None] + rows // 2, rows)


def behind(n, m, rows):
    return _inside(np.arange(n)[:, None] - np.arange(m)[None] + rows // 2, rows)


def _inside(rows, count):
    if rows.min() < 0 or rows.max() >= count or count % 2 == 0:
        raise ValueError("a distance that is not in the table")
    return rows


def in_a_window(n, m, rows):
    """Swin's: n = side² places, and (2 side − 1)² rows."""
    side = round(n**0.5)
    if n != m or side * side != n or (2 * side - 1) ** 2 != rows:
        raise ValueError("a window that has another table")
    y, x = np.divmod(np.arange(n), side)
    apart = [a[:, None] - a[None] + side - 1 for a in (y, x)]
    return apart[0] * (2 * side - 1) + apart[1]


def in_buckets(n, m, rows):
    """T5's: half of the rows for keys that come later; distances of 128 and more share the last row."""
    apart = np.arange(m)[None] - np.arange(n)[:, None]
    return (apart > 0) * (rows // 2) + _bucket(np.abs(apart), rows // 2)


def in_buckets_of_the_past(n, m, rows):
    return _bucket(np.maximum(np.arange(n)[:, None] - np.arange(m)[None], 0), rows)


def _bucket(apart, rows):
    """Half of the rows for a distance each, the others for ranges that grow."""
    exact = rows // 2
    far = np.log(np.maximum(apart, 1) / exact) / np.log(128 / exact) * (rows - exact)
    return np.where(apart < exact, apart, np.minimum(exact + far.astype(int), rows - 1))


def distances_ahead():
    """A number for each distance j − i and head is added to the scores. Chapter 11."""


def distances_behind():
    """A number for each distance i − j and head is added to the scores. Chapter 11."""


def distances_in_a_window():
    """A number for each distance in two directions and head is added to scores, as in Swin. Chapter 11."""


def distances_in_buckets():
    """A number for each range of distances and head is added to the scores, as in T5. Chapter 11."""


def distances_in_buckets_of_the_past():
    """A number for each range of distances to the past is added to the scores, as in T5. Chapter 11."""


DISTANCES = {
    ahead: distances_ahead,
    behind: distances_behind,
    in_a_window: distances_in_a_window,
    in_buckets: distances_in_buckets,
    in_buckets_of_the_past: distances_in_buckets_of_the_past,
}


def distances(table: np.ndarray) -> tuple[Convention, ...]:
    """What a table (rows, heads) may be, each reading of it."""
    return tuple(
        Convention("heads.attend.always", Added(table, row), said) for row, said in DISTANCES.items()
    )


# Gates.


@dataclass(frozen=True, eq=False)
class Gated:
    """Heads side by side weighted by σ(X W + b), a weight for each number, or for each head."""

    W: np.ndarray
    b: np.ndarray
    squash: Callable

    def __call__(self, H, X):
        weights = self.squash(X @ self.W.astype(X.dtype) + self.b.astype(X.dtype))
        return H * np.repeat(weights, H.shape[-1] // weights.shape[-1], axis=-1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(x)


def gated_before_the_output():
    """Heads are weighted by a sigmoid of the tokens, a gate, before W_O. Chapter 17."""


def swished_before_the_output():
    """Heads are multiplied by x · σ(x) of the projected tokens, a gate, before W_O. Chapter 17."""


def gates(W: np.ndarray, b: np.ndarray) -> tuple[Convention, ...]:
    """What a matrix (d_model, heads · d_v), or (d_model, heads), with a bias may weigh with."""
    ways = {sigmoid: gated_before_the_output, swish: swished_before_the_output}
    return tuple(Convention("gate", Gated(W, b, squash), said) for squash, said in ways.items())
