"""Attention tile by tile, and what goes wrong between two tiles; right, it is the same function."""

from dataclasses import replace

import numpy as np

from selfattention.mutants import implementation as wrong_loop
from selfattention.mutants import merge_states as wrong
from selfattention.recipes.attention import PARTS, scores_of
from selfattention.recipes.recipe import Mistake

WIDTHS = (1, 2, 3, 4, 5, 8, 16, 32, 64, 128)


def _tiles(p, Q, K, V, visible, width):
    Q, K, V = p.source(Q, K, V)
    S = scores_of(p, Q, K, visible)
    return [(S[..., j : j + width], V[..., j : j + width, :]) for j in range(0, S.shape[-1], width)]


def _carried(tiles, of_the_sum, of_the_output):
    """O / Z; the two functions say what becomes of the old ones, given exp(c_old − c_new)."""
    c, Z, O = -np.inf, 0.0, 0.0
    for S, V in tiles:
        new = np.maximum(c, S.max(-1, keepdims=True))
        old, E = np.exp(c - new), np.exp(S - new)
        Z, O = of_the_sum(Z, old) + E.sum(-1, keepdims=True), of_the_output(O, old) + E @ V
        c = new
    return O / Z


def kept(x, old):
    return x


def rescaled(x, old):
    return x * old


def rescaled_inversely(x, old):
    return x / np.where(old == 0, 1, old)


def forgotten(x, old):
    return 0.0


def sum_of_the_last_tile(*_):
    """The sum begins anew in each tile: only the last tile's is divided by. Chapter 13."""


def mean_of_the_tiles(*_):
    """Each tile has a softmax of its own, and the tiles' outputs are averaged. Chapter 13."""


def sum_of_the_tiles(*_):
    """Each tile has a softmax of its own, and the tiles' outputs are added. Chapter 13."""


def sum_not_rescaled(*_):
    """The output is rescaled, the sum is not. Chapter 13."""


def carried(width, of_the_sum, of_the_output):
    """The order of steps: tile by tile."""
    return lambda p, Q, K, V, visible: _carried(_tiles(p, Q, K, V, visible, width), of_the_sum, of_the_output)


def each_by_itself(width, together):
    """The order of steps: a softmax for each tile, and their outputs put together."""

    def order(p, Q, K, V, visible):
        return together([p.softmax(S) @ part for S, part in _tiles(p, Q, K, V, visible, width)])

    return order


def mean_of(outputs):
    return sum(outputs) / len(outputs)


def whole_tiles_only(width):
    """The order of steps: keys beyond the last whole tile are not looked at."""

    def order(p, Q, K, V, visible):
        whole = K.shape[-2] // width * width
        seen = None if visible is None else visible[..., :whole]
        return type(p)()(Q, K[..., :whole, :], V[..., :whole, :], seen)

    return order


def filled_up(width):
    """The order of steps: zeros stand for the keys that the last tile lacks."""

    def order(p, Q, K, V, visible):
        pads = [(0, 0)] * (K.ndim - 2) + [(0, -K.shape[-2] % width), (0, 0)]
        return type(p)()(Q, np.pad(K, pads), np.pad(V, pads), visible)

    return order


MISTAKES = tuple(
    Mistake("order", order, said, alone=True)
    for width in WIDTHS
    for order, said in (
        (carried(width, kept, kept), wrong.not_rescaled),
        (carried(width, rescaled, kept), wrong.old_output_not_rescaled),
        (carried(width, kept, rescaled), sum_not_rescaled),
        (carried(width, rescaled_inversely, rescaled_inversely), wrong.rescaled_the_wrong_way),
        (carried(width, forgotten, rescaled), sum_of_the_last_tile),
        (each_by_itself(width, mean_of), mean_of_the_tiles),
        (each_by_itself(width, sum), sum_of_the_tiles),
        (whole_tiles_only(width), wrong_loop.last_keys_dropped),
        (filled_up(width), wrong_loop.last_tile_padded),
    )
)
ATTENTION = replace(PARTS, mistakes=(*PARTS.mistakes, *MISTAKES))
