"""What the compiled loops have in common: who may see whom, block by block, and who does which of them.

`numba_tiled` and `matrix_tiled` take the scores of a *block* of queries panel by panel. What the rule says is
known for cells of CELL queries and one panel before they begin, so that no tile has to ask: a *plan*. Heads
that share keys are rows of one block, those of a query side by side.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from selfattention.extras import needed

with needed():
    from numba import config, njit
    from numba.extending import register_jitable

from selfattention.implementations.numba_cache import compiled
from selfattention.masks import Band, Says

AT_A_TIME = 1024  # queries: as many as a run has, or a multiple
CELL = 64  # a mask is kept for so many queries and one panel,
SPELT_OUT = 2  # and spelt out for so many times so many of these at once
SPELT_OUT_BYTES = 2**26  # of masks at a time; whatever the rule, memory stays linear in n
NOBODY, EVERYBODY = -2, -1
ALONE = 2**22  # multiplications: handing out fewer to threads takes longer than they do
THREADS = config.NUMBA_NUM_THREADS


class Plan(NamedTuple):
    """Who may see whom in a run of queries: what the loops ask instead of the rule.

    A cell is CELL queries and one panel of keys.
    """

    first: int  # the first query of the run
    stop: int
    where: np.ndarray  # (batch, rows of cells, panels): NOBODY, EVERYBODY, or where the cell's mask starts
    seen: np.ndarray  # the masks one after another, (heads, CELL, width) each
    batch: int  # 1 or b
    heads: int  # 1 or h
    keys: int  # m; K and V may have room for more


def plans_for(rule, n, m, width):
    """Plans for all queries; several only where a mask that must be spelt out could be large.

    Of a band, which is two numbers, the last few questions are remembered.
    """
    return _remembered(rule, n, m, width) if type(rule) is Band else _planned(rule, n, m, width)


@lru_cache(maxsize=16)
def _remembered(band, n, m, width):
    return tuple(_planned(band, n, m, width))


def _planned(rule, n, m, width):
    batch, heads = (1, 1, *rule.tile(range(min(n, 1)), range(min(m, 1))).shape)[-4:-2]
    run = max(AT_A_TIME, SPELT_OUT_BYTES // max(m * batch * heads, 1) // AT_A_TIME * AT_A_TIME)
    for first in range(0, n, run):
        queries = range(first, min(first + run, n))
        where = np.full((batch, -(-len(queries) // CELL), -(-m // width)), NOBODY)
        masks, size = [np.zeros(0, np.uint8)], 0
        for rows, columns, says in _answers(rule, queries, range(m), width):
            cells = where[
                :,
                (rows.start - first) // CELL : -(-(rows.stop - first) // CELL),
                columns.start // width : -(-columns.stop // width),
            ]
            cells[:] = EVERYBODY
            if says is Says.SOMEBODY:
                spelt_out = np.empty((batch, heads, len(rows), len(columns)), np.uint8)
                spelt_out[:] = rule.tile(rows, columns)
                masks.append(_cell_by_cell(cells, spelt_out, size, width))
                size += len(masks[-1])
        yield Plan(first, queries.stop, where, np.concatenate(masks), batch, heads, m)


def _answers(rule, rows, columns, width):
    """(rows, columns, answer) wherever somebody may see, cut up as far as needed, to SPELT_OUT cells."""
    waiting = [(rows, columns)] if rows and columns else []
    while waiting:
        rows, columns = waiting.pop()
        says = rule.says(rows, columns)
        down, along = -(-len(rows) // CELL), -(-len(columns) // width)
        if says is Says.NOBODY:
            continue
        if says is Says.EVERYBODY or max(down, along) <= SPELT_OUT:
            yield rows, columns, says
        elif down > along:
            half = down // 2 * CELL
            waiting += (rows[:half], columns), (rows[half:], columns)
        else:
            half = along // 2 * width
            waiting += (rows, columns[:half]), (rows, columns[half:])


@compiled(nogil=True)
def _cell_by_cell(cells, spelt_out, size, width):
    """The masks that cells need, in a row; `cells` learns where each starts, counted from `size`."""
    _, heads, rows, _ = spelt_out.shape
    masks = np.zeros(cells.size * heads * CELL * width, np.uint8)  # nobody sees what is beyond the ends
    used = 0
    for member, down, along in np.ndindex(cells.shape):
        i, j = down * CELL, along * width
        inside = spelt_out[member, :, i : i + CELL, j : j + width]
        anybody, everybody = np.uint8(0), np.uint8(1)
        for head in range(heads):
            for row in range(i, min(i + CELL, rows)):
                for seen in spelt_out[member, head, row, j : j + width]:
                    anybody, everybody = anybody | seen, everybody & seen
        if anybody == everybody:
            cells[member, down, along] = EVERYBODY if everybody else NOBODY
            continue
        cells[member, down, along] = size + used
        mask = masks[used : used + heads * CELL * width].reshape(heads, CELL, width)
        mask[:, : inside.shape[1], : inside.shape[2]] = inside
        used += mask.size
    return masks[:used].copy()


@njit(nogil=True)
def cells_of(plan, member, start, positions):
    """The plan's rows of cells for a block of queries."""
    first = (start - plan.first) // CELL
    return plan.where[member if plan.batch > 1 else 0, first : first + up(positions, CELL) // CELL]


def positions_of(rows, heads, groups=1, plan=None):
    """How many queries a block has, in whole cells: `rows` rows, or fewer to keep all threads busy."""
    most = max(1, rows // heads // CELL) * CELL
    if plan is None or groups >= 2 * THREADS or THREADS == 1:
        return most
    cells = plan.where.shape[1] * groups // (4 * THREADS)
    return min(most, max(1, cells) * CELL)


@lru_cache(maxsize=8)
def tasks_of(first, stop, positions, groups):
    """(group, first query of a block) for all of both; later queries first: they often see more."""
    starts = np.arange(first, stop, positions)[::-1]
    return np.stack(np.meshgrid(np.arange(groups), starts, indexing="ij"), -1).reshape(-1, 2)


def hand_out(work, loop, tasks, *arguments):
    """To threads, if there are so many multiplications that it is worth the while."""
    if work < ALONE:
        loop(tasks, *arguments)
    else:
        share(loop, tasks, *arguments)


def share(loop, tasks, *arguments):
    """The tasks, dealt out to the threads in a few hands each: whoever is done takes the next hand."""
    hands = min(len(tasks), 4 * THREADS) if THREADS > 1 else 1
    if hands == 1:
        return loop(tasks, *arguments)
    dealt = [np.ascontiguousarray(tasks[hand::hands]) for hand in range(hands)]
    for done in [_pool(THREADS, os.getpid()).submit(loop, hand, *arguments) for hand in dealt]:
        done.result()


@lru_cache(maxsize=1)
def _pool(threads, process):
    """Threads that live as long as the process; a process made by fork has none and makes its own."""
    return ThreadPoolExecutor(threads)


def flat(X):
    """(b, g, m, d) as (b·g, m, d), in order in memory."""
    return _writable(X).reshape(X.shape[0] * X.shape[1], *X.shape[2:])


def grouped(X, g):
    """(b, h, n, …) as (b·g, h/g, n, …)."""
    b, h = X.shape[:2]
    return _writable(X).reshape(b * g, h // g, *X.shape[2:])


def _writable(X):
    """In order in memory. Nobody writes here, but for a read-only array Numba would compile all anew."""
    return X if X.flags.carray else np.require(X, requirements="CW")


def bias_or_none(bias, Q):
    return np.zeros((0, 0, 0, 0), Q.dtype) if bias is None else bias.astype(Q.dtype, copy=False)


@lru_cache(maxsize=8)
def limits_of(dtype, d_k, scale):
    """How large a number of scale · Q and one of K may be, so that no score of d_k terms overflows.

    Beside the largest number, a score then is less than half a unit in its last place: adding it to a
    bias does not overflow, either.
    """
    numbers = np.finfo(dtype)
    limit = math.sqrt(float(numbers.max) * float(numbers.eps) / 8 / max(1, d_k))
    return dtype.type(limit * min(1, abs(scale))), dtype.type(limit)


def limit_of(dtype, softcap):
    """What scores are capped at, plus and minus; 0 for no cap, since compiled code has one signature."""
    return dtype.type(0 if softcap is None else softcap)


@njit(nogil=True)
def per_row(stacked, x, start, positions, otherwise):
    """One number per row of a block; `otherwise` in place of −inf and of rows that only fill a tile."""
    fill(stacked, otherwise)
    for head in range(len(x)):
        for i in range(positions):
            if x[head, start + i] > -np.inf:
                stacked[i * len(x) + head] = x[head, start + i]


@njit(nogil=True)
def all_below(limit, X):
    found = False
    for i in range(len(X)):  # no early end: so the loop runs in lanes
        found |= not abs(X[i]) < limit
    return not found


@njit(nogil=True)
def fill(X, x):
    for i in range(len(X)):
        X[i] = x


@njit(nogil=True)
def scratch(size, like):
    """Room for numbers, on a cache line's edge: a vector across two lines costs two loads."""
    room = np.empty(size + 64 // like.itemsize, like.dtype)
    start = -room.ctypes.data % 64 // like.itemsize
    return room[start : start + size]


@register_jitable
def up(size, step):
    """The next multiple of a step."""
    return -(-size // step) * step
