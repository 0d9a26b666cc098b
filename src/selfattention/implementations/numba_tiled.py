"""The loop of chapter 13, compiled: every tile of scores lives in registers and the nearest cache.

Numba turns the loops below into machine code; the few steps on one tile of scores are written
instruction by instruction in `register_tiles`. A *panel* is as many keys as a tile has columns. It is
copied, the keys transposed, once for a whole *block* of queries, and stays in the first-level cache
while the queries stream past it. Heads that share keys are rows of one block, those of a query side by
side: a panel serves them all, and a step of decoding, one query per head, still fills a tile. What the
rule says is known for cells of CELL queries and one panel, so that no tile has to ask.

The shift c of a row only rises, and only when a score has outgrown it by SLACK: any shift gives the
same weights. Whoever meets a number so large that a score could overflow, or no number, says so.

The first call for a dtype compiles, which takes seconds in each direction. Nothing is kept on disk:
Numba would not notice there that `register_tiles` has changed. THREADS threads share the work; Numba
takes their number from the environment, NUMBA_NUM_THREADS, or else from the processor.
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

from selfattention.implementations import contract
from selfattention.implementations.register_tiles import (
    HEIGHT,
    VECTORS,
    add_product,
    cap,
    cap_and_slopes,
    exceeds,
    exponentials,
    forbid_row,
    maxima,
    multiply,
    product,
    tile_width,
    transpose,
    weights_and_slopes,
)
from selfattention.implementations.stepping import stepping
from selfattention.masks import Says

ROWS, ROWS_BACKWARD = 1024, 128  # rows of a block
PANELS_BACKWARD = 2  # the backward pass takes so many panels at a time
CELL = 64  # a mask is kept for so many queries and one panel,
SPELT_OUT = 2  # and spelt out for so many times so many of these at once
FEW = 4  # tiles: for no more, values are not worth copying
SLACK = 5.5  # weights are at most e^5.5 ≈ 2^8 before they are divided by their sum
SPELT_OUT_BYTES = 2**26  # of masks at a time; whatever the rule, memory stays linear in n
NOBODY, EVERYBODY = -2, -1
ALONE = 2**22  # multiplications: handing out fewer to threads takes longer than they do
THREADS = config.NUMBA_NUM_THREADS


@contract.forward_that_tells
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    plans = _plans(rule, Q.shape[2], K.shape[2], tile_width(Q.dtype))
    O, L, _, tame = _answers_and_state(Q, K, V, plans, bias, scale, softcap)
    return O, L, tame


def _all_plans(rule, n, m, dtype):
    return list(_plans(rule, n, m, tile_width(dtype)))


@stepping(attention, _all_plans)
def steps(Q, K, V, plans, scale, softcap):
    """The steps of decoding on a cache, checked once: see `stepping`."""
    O, L, _, tame = _answers_and_state(Q, K, V, plans, None, scale, softcap)
    return O, L, tame


def _states(Q, K, rule, bias, scale, softcap):
    """c and Z of every row: what L = c + ln Z can no longer tell where c is large."""
    plans = _plans(rule, Q.shape[2], K.shape[2], tile_width(Q.dtype))
    return _answers_and_state(Q, K, K[..., :0], plans, bias, scale, softcap)[2]


def _answers_and_state(Q, K, V, plans, bias, scale, softcap):
    """O, L, c and Z of every row, and whether no number met was too large for its product to be safe."""
    (b, h, n, d_k), (g, _, d_v) = Q.shape, V.shape[1:]
    O, L = np.empty((b * g, h // g, n, d_v), Q.dtype), np.empty((b * g, h // g, n), Q.dtype)
    state, tame = np.empty((2, *L.shape), Q.dtype), np.ones(1, np.bool_)
    arrays = _grouped(Q, g), _flat(K), _flat(V), _bias(bias, Q)
    limits, unit, limit = _limits(Q.dtype, d_k, scale), Q.dtype.type(scale), _limit(Q.dtype, softcap)
    for plan in plans if h else ():
        size = _positions(ROWS, h // g, b * g, plan)
        tasks = _tasks(plan.first, plan.stop, size, b * g)
        work = b * h * (plan.stop - plan.first) * plan.keys * (d_k + d_v)
        hand_out = _share if work >= ALONE else _alone
        hand_out(_forward, tasks, g, size, *arrays, plan, unit, limit, limits, O, L, state, tame)
    return O.reshape(b, h, n, d_v), L.reshape(b, h, n), state.reshape(2, b, h, n), tame[0]


@lru_cache(maxsize=8)
def _limits(dtype, d_k, scale):
    """How large a number of scale · Q and one of K may be, so that no score of d_k terms overflows.

    Beside the largest number, a score then is less than half a unit in its last place: adding it to a
    bias does not overflow, either.
    """
    numbers = np.finfo(dtype)
    limit = math.sqrt(float(numbers.max) * float(numbers.eps) / 8 / max(1, d_k))
    return dtype.type(limit * min(1, abs(scale))), dtype.type(limit)


def _limit(dtype, softcap):
    """What scores are capped at, plus and minus; 0 for no cap, since compiled code has one signature."""
    return dtype.type(0 if softcap is None else softcap)


@contract.backward_from(_states)
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O).

    The scores of a tile are computed again, by the same products as before and so with the same
    rounding errors: a row of dS then sums to zero, as it should, and what all keys have in common
    does not come in with the difference.
    """
    (b, h, n, d_k), (g, m, d_v) = Q.shape, V.shape[1:]
    parts = min(THREADS, -(-m // 512)) if b * g < THREADS else 1  # of the keys, each with its share of dQ
    dQ = np.zeros((max(1, parts), b * g, h // g, n, d_k), Q.dtype)
    dK, dV = np.zeros((b * g, m, d_k), Q.dtype), np.zeros((b * g, m, d_v), Q.dtype)
    if math.prod((b, h, n, m)):
        tasks = np.array(list(np.ndindex(b * g, parts)))
        arrays = _grouped(Q, g), _flat(K), _flat(V), _bias(bias, Q), _grouped(dO, g)
        L, delta = _grouped(L, g), _grouped(np.vecdot(*map(np.ascontiguousarray, (dO, O))), g)
        for plan in _plans(rule, n, m, tile_width(Q.dtype)):
            size = _positions(ROWS_BACKWARD, h // g)
            numbers = Q.dtype.type(scale), _limit(Q.dtype, softcap)
            _share(_backward, tasks, g, size, *arrays, L, delta, plan, *numbers, dQ, dK, dV)
    dQ = dQ.sum(0) if parts > 1 else dQ
    return dQ.reshape(b, h, n, d_k) * scale, dK.reshape(b, g, m, d_k), dV.reshape(b, g, m, d_v)


class _Plan(NamedTuple):
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


def _plans(rule, n, m, width):
    """Plans for all queries; several only where a mask that must be spelt out could be large."""
    batch, heads = (1, 1, *rule.tile(range(min(n, 1)), range(min(m, 1))).shape)[-4:-2]
    run = max(ROWS, SPELT_OUT_BYTES // max(m * batch * heads, 1) // ROWS * ROWS)
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
        yield _Plan(first, queries.stop, where, np.concatenate(masks), batch, heads, m)


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


@njit(nogil=True)
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


def _positions(rows, heads, groups=1, plan=None):
    """How many queries a block has, in whole cells: `rows` rows, or fewer to keep all threads busy."""
    most = max(1, rows // heads // CELL) * CELL
    if plan is None or groups >= 2 * THREADS or THREADS == 1:
        return most
    cells = plan.where.shape[1] * groups // (4 * THREADS)
    return min(most, max(1, cells) * CELL)


@lru_cache(maxsize=8)
def _tasks(first, stop, positions, groups):
    """(group, first query of a block) for all of both; later queries first: they often see more."""
    starts = np.arange(first, stop, positions)[::-1]
    return np.stack(np.meshgrid(np.arange(groups), starts, indexing="ij"), -1).reshape(-1, 2)


def _alone(loop, tasks, *arguments):
    loop(tasks, *arguments)


def _share(loop, tasks, *arguments):
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


def _flat(X):
    """(b, g, m, d) as (b·g, m, d), in order in memory."""
    return _writable(X).reshape(X.shape[0] * X.shape[1], *X.shape[2:])


def _grouped(X, g):
    """(b, h, n, …) as (b·g, h/g, n, …)."""
    b, h = X.shape[:2]
    return _writable(X).reshape(b * g, h // g, *X.shape[2:])


def _writable(X):
    """In order in memory. Nobody writes here, but for a read-only array Numba would compile all anew."""
    return np.require(X, requirements="CW")


def _bias(bias, Q):
    return np.zeros((0, 0, 0, 0), Q.dtype) if bias is None else bias.astype(Q.dtype, copy=False)


@njit(nogil=True)
def _forward(tasks, g, positions, Q, K, V, bias, plan, unit, limit, limits, O, L, state, tame):
    _, heads, n, d_k = Q.shape
    m, d_v = plan.keys, V.shape[2]
    width = tile_width(Q)
    lanes = width // VECTORS
    columns = _up(d_v, lanes)
    height = _up(heads * min(positions, n), HEIGHT)
    q, kT, v = _scratch(height * d_k, Q), _scratch(d_k * width, Q), _scratch(width * columns, Q)
    S, Z, sums = _scratch(HEIGHT * width, Q), _scratch(height * lanes, Q), _scratch(height * columns, Q)
    c, highest = np.empty(height, Q.dtype), np.empty(HEIGHT, Q.dtype)
    for task in range(len(tasks)):
        group, start = tasks[task]
        count = min(positions, n - start)
        rows = _up(heads * count, HEIGHT)
        _stack(q, d_k, Q[group], start, count, unit)
        small = _all_below(limits[0], q[: heads * count * d_k])
        as_they_are = d_v == columns and heads * count <= FEW * HEIGHT
        _fill(sums, 0)
        _fill(Z, 0)
        _fill(c, -np.inf)
        where = _cells(plan, group // g, start, count)
        for panel in range(plan.where.shape[2]):
            if (where[:, panel] == NOBODY).all():
                continue
            j = panel * width
            _transposed_panel(kT, 0, width, K[group, :m], j)
            small = small and _all_below(limits[1], kT)
            values, first = v, 0
            if as_they_are and m - j >= width:
                values, first = V[group].reshape(V[group].size), j * d_v
            else:
                _panel(v, columns, V[group, :m], j, width)
            for cell in range(len(where)):
                mask = where[cell, panel]
                if mask == NOBODY:
                    continue
                # Asked here, though what is called asks again: calls for nothing take a tenth of all time.
                plain = mask == EVERYBODY and bias.size == 0 and m - j >= width
                top = cell * CELL * heads
                for x in range(top, min(top + CELL * heads, rows), HEIGHT):
                    product(S, 0, width, q, x * d_k, d_k, 1, kT, 0, width, d_k)
                    if limit > 0:
                        cap(S, 0, width, limit)
                    if not plain:
                        _bias_and_mask(S, 0, width, bias, plan, mask, group, g, heads, x, start, count, j, m)
                    if exceeds(S, 0, width, c, x, Q.dtype.type(SLACK)):
                        maxima(S, 0, width, highest)
                        _raise_shift(c, Z, sums, highest, x, lanes, columns)
                    exponentials(S, 0, width, c, x, Z)
                    add_product(
                        sums,
                        x * columns,
                        columns,
                        S,
                        0,
                        width,
                        1,
                        values,
                        first,
                        columns,
                        width,
                        columns // lanes,
                    )
        _finish(O[group], L[group], state[:, group], sums, Z, c, start, count, lanes, columns)
        if not small:  # which the scores need not show: the weight of −∞ and of NaN is 0
            tame[0] = False


@njit(nogil=True)
def _backward(tasks, g, size, Q, K, V, bias, dO, L, delta, plan, unit, limit, dQ, dK, dV):
    _, heads, n, d_k = Q.shape
    m, d_v = V.shape[1], V.shape[2]
    width = tile_width(Q)
    lanes = width // VECTORS
    panels = plan.where.shape[2]
    k_columns, v_columns = _up(d_k, lanes), _up(d_v, lanes)
    height = _up(heads * min(size, n), HEIGHT)
    blocks = _up(plan.stop - plan.first, size) // size
    q, dq = _scratch(blocks * height * k_columns, Q), _scratch(blocks * height * k_columns, Q)
    do = _scratch(blocks * height * v_columns, Q)
    shift, mean = np.empty(blocks * height, Q.dtype), np.empty(blocks * height, Q.dtype)
    breadth = PANELS_BACKWARD * width
    kT, vT = _scratch(d_k * breadth, Q), _scratch(d_v * breadth, Q)
    k, dk, dv = (
        _scratch(breadth * k_columns, Q),
        _scratch(breadth * k_columns, Q),
        _scratch(breadth * v_columns, Q),
    )
    A, dS, slopes = (
        _scratch(height * breadth, Q),
        _scratch(height * breadth, Q),
        _scratch(HEIGHT * width, Q),
    )
    top, bottom = np.empty(PANELS_BACKWARD, np.int64), np.empty(PANELS_BACKWARD, np.int64)
    for task in range(len(tasks)):
        group, part = tasks[task]
        for block in range(blocks):
            start, base = plan.first + block * size, block * height
            count = min(size, plan.stop - start)
            _stack(q[base * k_columns :], k_columns, Q[group], start, count, unit)
            _stack(do[base * v_columns :], v_columns, dO[group], start, count, Q.dtype.type(1))
            _per_row(shift[base : base + height], L[group], start, count, np.inf)
            _per_row(mean[base : base + height], delta[group], start, count, 0)
        _fill(dq, 0)
        for first in range(part * PANELS_BACKWARD, panels, len(dQ) * PANELS_BACKWARD):
            last = min(first + PANELS_BACKWARD, panels)
            for panel in range(first, last):
                p, j = panel - first, panel * width
                _transposed_panel(kT, p * d_k * width, width, K[group], j)
                _transposed_panel(vT, p * d_v * width, width, V[group], j)
                _panel(k[p * width * k_columns :], k_columns, K[group], j, width)
            _fill(dk, 0)
            _fill(dv, 0)
            for block in range(blocks):
                start, base = plan.first + block * size, block * height
                count = min(size, plan.stop - start)
                _fill(top, height)
                _fill(bottom, 0)
                rows = _up(heads * count, HEIGHT)
                where = _cells(plan, group // g, start, count)
                for cell in range(len(where)):
                    x0 = cell * CELL * heads
                    x1 = min(x0 + CELL * heads, rows)
                    left, right = last, first
                    for panel in range(first, last):
                        if where[cell, panel] != NOBODY:
                            p = panel - first
                            left, right = min(left, panel), panel + 1
                            top[p], bottom[p] = min(top[p], x0), x1
                    if not bottom.any():
                        continue  # nobody so far, and so far no row is asked for below
                    for x in range(x0, x1, HEIGHT):
                        for panel in range(first, last):
                            p, j, mask = panel - first, panel * width, where[cell, panel]
                            s = x * breadth + p * width
                            if mask == NOBODY:
                                _nothing(A, dS, s, breadth, width)
                                continue
                            product(
                                A,
                                s,
                                breadth,
                                q,
                                (base + x) * k_columns,
                                k_columns,
                                1,
                                kT,
                                p * d_k * width,
                                width,
                                d_k,
                            )
                            product(
                                dS,
                                s,
                                breadth,
                                do,
                                (base + x) * v_columns,
                                v_columns,
                                1,
                                vT,
                                p * d_v * width,
                                width,
                                d_v,
                            )
                            if limit > 0:
                                cap_and_slopes(A, s, breadth, limit, slopes, width)
                            if bias.size or mask != EVERYBODY or m - j < width:
                                _bias_and_mask(
                                    A, s, breadth, bias, plan, mask, group, g, heads, x, start, count, j, m
                                )
                            weights_and_slopes(A, dS, s, breadth, shift, mean, base + x)
                            if limit > 0:
                                multiply(dS, s, breadth, slopes, width)
                        if left < right:
                            s = (left - first) * width
                            add_product(
                                dq,
                                (base + x) * k_columns,
                                k_columns,
                                dS,
                                x * breadth + s,
                                breadth,
                                1,
                                k,
                                s * k_columns,
                                k_columns,
                                (right - left) * width,
                                k_columns // lanes,
                            )
                for p in range(last - first):
                    depth = bottom[p] - top[p]
                    for y in range(p * width, (p + 1) * width if depth > 0 else 0, HEIGHT):
                        s = top[p] * breadth + y
                        add_product(
                            dv,
                            y * v_columns,
                            v_columns,
                            A,
                            s,
                            1,
                            breadth,
                            do,
                            (base + top[p]) * v_columns,
                            v_columns,
                            depth,
                            v_columns // lanes,
                        )
                        add_product(
                            dk,
                            y * k_columns,
                            k_columns,
                            dS,
                            s,
                            1,
                            breadth,
                            q,
                            (base + top[p]) * k_columns,
                            k_columns,
                            depth,
                            k_columns // lanes,
                        )
            _add_panel(dK[group], dk, k_columns, first * width)
            _add_panel(dV[group], dv, v_columns, first * width)
        for block in range(blocks):
            start = plan.first + block * size
            _unstack(
                dQ[part, group],
                dq[block * height * k_columns :],
                k_columns,
                start,
                min(size, plan.stop - start),
            )


@njit(nogil=True)
def _cells(plan, member, start, positions):
    """The plan's rows of cells for a block of queries."""
    first = (start - plan.first) // CELL
    return plan.where[member if plan.batch > 1 else 0, first : first + _up(positions, CELL) // CELL]


@njit(nogil=True)
def _bias_and_mask(S, s, s_row, bias, plan, mask, group, g, heads, x, start, positions, j, m):
    """The bias added to a tile of scores, and −inf where its rows, from the x-th on, may not see."""
    width = tile_width(S)
    if bias.size:
        _add_bias(S, s, s_row, bias, group, g, heads, x, start, positions, j, min(width, m - j))
    if mask != EVERYBODY:
        _forbid(S, s, s_row, plan, mask, group % g * heads, heads, x)
    if m - j < width:  # the last panel has fewer keys than columns
        for i in range(s, s + HEIGHT * s_row, s_row):
            S[i + m - j : i + width] = -np.inf


@njit(nogil=True)
def _forbid(S, s, s_row, plan, mask, first_head, heads, x):
    for i in range(HEIGHT):
        query, head = (x + i) // heads % CELL, (x + i) % heads
        head = first_head + head if plan.heads > 1 else 0
        forbid_row(S, s + i * s_row, plan.seen, mask + (head * CELL + query) * tile_width(S))


@njit(nogil=True)
def _add_bias(S, s, s_row, bias, group, g, heads, x, start, positions, j, keys):
    member = group // g if len(bias) > 1 else 0
    for i in range(HEIGHT):
        head, position = (x + i) % heads, (x + i) // heads
        if position < positions:
            head = group % g * heads + head if bias.shape[1] > 1 else 0
            for t in range(keys):
                S[s + i * s_row + t] += bias[member, head, start + position, j + t]


@njit(nogil=True)
def _raise_shift(c, Z, sums, highest, x, lanes, columns):
    """c rises to the row's maximum, and what was summed under the old c shrinks to match."""
    for i in range(HEIGHT):
        row = x + i
        if highest[i] > c[row] + SLACK:
            earlier, c[row] = c[row], highest[i]
            if earlier == -np.inf:
                continue  # nothing was summed
            smaller = np.exp(earlier - highest[i])
            for t in range(row * lanes, (row + 1) * lanes):
                Z[t] *= smaller
            for t in range(row * columns, (row + 1) * columns):
                sums[t] *= smaller


@njit(nogil=True)
def _finish(O, L, state, sums, Z, c, start, positions, lanes, columns):
    """O = sums / Z,  L = c + ln Z; 0 and −inf where nobody was seen."""
    one = O.dtype.type(1)
    for head in range(len(O)):
        for i in range(positions):
            row = i * len(O) + head
            z = Z[row * lanes]
            for t in range(1, lanes):
                z += Z[row * lanes + t]
            L[head, start + i] = c[row] + np.log(z) if z > 0 else -np.inf
            state[0, head, start + i], state[1, head, start + i] = c[row], z
            share = one / z if z > 0 else z
            for t in range(O.shape[2]):
                O[head, start + i, t] = sums[row * columns + t] * share


@njit(nogil=True)
def _all_below(limit, X):
    found = False
    for i in range(len(X)):  # no early end: so the loop runs in lanes
        found |= not abs(X[i]) < limit
    return not found


@njit(nogil=True)
def _fill(X, x):
    for i in range(len(X)):
        X[i] = x


@njit(nogil=True)
def _stack(stacked, columns, X, start, positions, factor):
    """The rows of a block, query after query, times a factor; `columns` wide, zeros where nothing is."""
    heads, _, d = X.shape
    for head in range(heads):
        for i in range(positions):
            row = (i * heads + head) * columns
            for t in range(d):
                stacked[row + t] = X[head, start + i, t] * factor
            for t in range(d, columns):
                stacked[row + t] = 0
    for t in range(heads * positions * columns, _up(heads * positions, HEIGHT) * columns):
        stacked[t] = 0


@njit(nogil=True)
def _unstack(X, stacked, columns, start, positions):
    for head in range(len(X)):
        for i in range(positions):
            for t in range(X.shape[2]):
                X[head, start + i, t] = stacked[(i * len(X) + head) * columns + t]


@njit(nogil=True)
def _per_row(stacked, x, start, positions, otherwise):
    """One number per row of a block; `otherwise` in place of −inf and of rows that only fill a tile."""
    _fill(stacked, otherwise)
    for head in range(len(x)):
        for i in range(positions):
            if x[head, start + i] > -np.inf:
                stacked[i * len(x) + head] = x[head, start + i]


@njit(nogil=True)
def _panel(panel, columns, X, j, width):
    """`width` rows of X from the j-th on, `columns` wide; zeros beyond its edges."""
    rows, d = min(width, len(X) - j), X.shape[1]
    for i in range(rows):
        for t in range(d):
            panel[i * columns + t] = X[j + i, t]
        for t in range(d, columns):
            panel[i * columns + t] = 0
    for t in range(rows * columns, width * columns):
        panel[t] = 0


@njit(nogil=True)
def _transposed_panel(panel, p, width, X, j):
    """The same rows as columns: (d, width), from place p on."""
    rows, d, lanes = min(width, len(X) - j), X.shape[1], width // VECTORS
    whole = d // lanes * lanes if rows == width else 0
    flat = X.reshape(X.size)
    for i in range(0, width if whole else 0, lanes):
        for t in range(0, whole, lanes):
            transpose(panel, p + t * width + i, width, flat, (j + i) * d + t, d)
    for t in range(whole, d):
        for i in range(rows):
            panel[p + t * width + i] = X[j + i, t]
        for i in range(rows, width):
            panel[p + t * width + i] = 0


@njit(nogil=True)
def _nothing(A, dS, s, s_row, width):
    for i in range(HEIGHT):
        for j in range(s + i * s_row, s + i * s_row + width):
            A[j] = dS[j] = 0


@njit(nogil=True)
def _add_panel(X, panel, columns, j):
    for i in range(min(len(panel) // max(columns, 1), len(X) - j)):
        for t in range(X.shape[1]):
            X[j + i, t] += panel[i * columns + t]


@njit(nogil=True)
def _scratch(size, like):
    """Room for numbers, on a cache line's edge: a vector across two lines costs two loads."""
    room = np.empty(size + 64 // like.itemsize, like.dtype)
    start = -room.ctypes.data % 64 // like.itemsize
    return room[start : start + size]


@register_jitable
def _up(size, step):
    """The next multiple of a step."""
    return -(-size // step) * step
