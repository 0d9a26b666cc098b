"""Which of its two loops `numpy_tiled` takes, and which tiles it visits: what its numbers cannot tell."""

import numpy as np
import pytest

from selfattention import masks
from selfattention.implementations import numpy_tiled
from selfattention.implementations.numpy_tiled import COLUMNS, ROWS, _pieces, _visible, _zero_shift_is_safe
from selfattention.masks import Says


def row(norm, m=1):
    """m rows of two numbers, each as long as `norm`."""
    return np.tile([0.6 * norm, 0.8 * norm], (m, 1))


def safe(q=10.0, k=4.0, m=1, v=0.0, scale=1.0):
    """Norms of a query, of m keys and of all values together; with the usual ones b is 40, of 44.36."""
    V = np.zeros((m, 3))
    V[0, 0] = v
    return _zero_shift_is_safe(row(q), row(k, m), V, scale)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, True),
        ({"k": 4.5}, False),  # b = 45
        ({"k": -4.5, "scale": -1.0}, False),
        ({"q": 20.0, "scale": 0.5}, True),
        ({"q": 0.5, "k": 60.0}, True),  # shorter than 1
        ({"q": 60.0, "k": 0.5}, True),
        ({"k": 4.34}, True),  # 43.4 + ln 2
        ({"k": 4.34, "v": 1.7}, False),  # 43.4 + ln 2.7
        ({"m": 60}, True),  # 40 + ln 61
        ({"m": 100}, False),  # 40 + ln 101
        ({"m": 100, "v": 0.01}, False),
        ({"m": 10, "v": 10.0}, False),  # 40 + ln 101
        ({"k": 1e200, "q": 1e200}, False),
    ],
    ids=str,
)
def test_the_shift_is_zero_where_every_sum_stays_below_the_root_of_the_largest_number(given, wanted):
    assert safe(**given) is wanted


def test_what_nobody_sees_does_not_choose_the_loop(monkeypatch):
    """A key of hundreds behind the mask, and such a query that sees nobody: scores are small all the same."""
    monkeypatch.setattr(numpy_tiled, "_by_states", None)
    Q, K = np.ones((1, 1, 3, 2), np.float32), np.ones((1, 1, 5, 2), np.float32)
    visible = np.arange(3)[:, None] * (np.arange(5) < 4) > 0
    Q[..., 0, :] = K[..., 4, :] = 300
    O, _ = numpy_tiled.attention(Q, K, K, mask=visible)
    np.testing.assert_array_equal(O[0, 0], [[0, 0], [1, 1], [1, 1]])


def test_beside_the_edge_of_a_mask_no_tile_is_wider_than_high():
    """Of a tile on the diagonal the half above it is left out; one below it stays whole."""
    rows = range(ROWS, 2 * ROWS)
    whole, halves = range(COLUMNS), [range(ROWS), range(ROWS, 2 * ROWS)]
    assert [*_pieces(masks.causal, rows, whole)] == [
        (rows, halves[0], Says.EVERYBODY),
        (rows, halves[1], Says.SOMEBODY),
    ]
    assert [*_pieces(masks.causal, range(ROWS), whole)] == [(range(ROWS), halves[0], Says.SOMEBODY)]
    assert [*_pieces(masks.everybody, rows, whole)] == [(rows, whole, Says.EVERYBODY)]
    assert [*_pieces(~masks.everybody, rows, whole)] == []


def test_tiles_cover_what_may_be_seen_once():
    n, m = 2 * ROWS + 3, COLUMNS + 5
    times = np.zeros((n, m), int)
    for rows, columns, _ in _visible(masks.causal, n, m):
        times[rows.start : rows.stop, columns.start : columns.stop] += 1
    assert times.max() == 1
    assert times[masks.causal.tile(range(n), range(m))].all()
