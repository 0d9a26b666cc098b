"""The loop of chapter 13, compiled: every tile of scores lives in registers and the nearest cache.

Numba turns the loops below into machine code; the few steps on one tile of scores are written
instruction by instruction in `register_tiles`. A *panel* is as many keys as a tile has columns. It is
copied, the keys transposed, once for a whole *block* of queries, and stays in the first-level cache
while the queries stream past it. Heads that share keys are rows of one block: a panel serves them all, and
a step of decoding, one query per head, still fills a tile.

The shift c of a row only rises, and only when a score has outgrown it by SLACK: any shift gives the
same weights. Whoever meets a number so large that a score could overflow, or no number, says so.

The first call for a dtype compiles, which takes seconds in each direction, and keeps the machine code on
disk for the next process: see `numba_cache`. THREADS threads of `numba_blocks` share the work; Numba takes
their number from the environment, NUMBA_NUM_THREADS, or else from the processor.
"""

import math

import numpy as np

from selfattention.extras import needed

with needed():
    from numba import njit

from selfattention.implementations import contract, numba_blocks
from selfattention.implementations.numba_blocks import (
    CELL,
    EVERYBODY,
    NOBODY,
    all_below,
    bias_or_none,
    cells_of,
    fill,
    flat,
    grouped,
    hand_out,
    limit_of,
    limits_of,
    per_row,
    plans_for,
    positions_of,
    scratch,
    share,
    tasks_of,
    up,
)
from selfattention.implementations.numba_cache import compiled
from selfattention.implementations.register_tiles import (
    HEIGHT,
    VECTORS,
    add_product,
    add_row,
    cap,
    cap_and_slopes,
    exceeds,
    exponentials,
    forbid_beyond,
    forbid_row,
    maxima,
    multiply,
    product,
    sum_across,
    tile_width,
    transpose,
    weights_and_slopes,
)
from selfattention.implementations.stepping import stepping

ROWS, ROWS_BACKWARD = 1024, 64  # rows of a block
PANELS_BACKWARD = 2  # the backward pass takes so many panels at a time
FEW = 16  # tiles: for no more, values are not worth copying
SLACK = 5.5  # weights are at most e^5.5 ≈ 2^8 before they are divided by their sum


@contract.forward_that_tells
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    plans = plans_for(rule, Q.shape[2], K.shape[2], tile_width(Q.dtype))
    O, L, _, tame = answers_and_state(Q, K, V, plans, bias, scale, softcap)
    return O, L, tame


def all_plans(rule, n, m, dtype):
    return tuple(plans_for(rule, n, m, tile_width(dtype)))


@stepping(attention, all_plans)
def steps(Q, K, V, plans, scale, softcap):
    """The steps of decoding on a cache, checked once: see `stepping`."""
    O, L, _, tame = answers_and_state(Q, K, V, plans, None, scale, softcap)
    return O, L, tame


def states(Q, K, rule, bias, scale, softcap):
    """c and Z of every row: what L = c + ln Z can no longer tell where c is large."""
    plans = plans_for(rule, Q.shape[2], K.shape[2], tile_width(Q.dtype))
    return answers_and_state(Q, K, K[..., :0], plans, bias, scale, softcap)[2]


def answers_and_state(Q, K, V, plans, bias, scale, softcap):
    """O, L, c and Z of every row, and whether no number met was too large for its product to be safe."""
    (b, h, n, d_k), (g, _, d_v) = Q.shape, V.shape[1:]
    O, L = np.empty((b * g, h // g, n, d_v), Q.dtype), np.empty((b * g, h // g, n), Q.dtype)
    state, tame = np.empty((2, *L.shape), Q.dtype), np.array([True])
    arrays = grouped(Q, g), flat(K), flat(V), bias_or_none(bias, Q)
    limits, unit, limit = limits_of(Q.dtype, d_k, scale), Q.dtype.type(scale), limit_of(Q.dtype, softcap)
    for plan in plans if h else ():
        size = positions_of(ROWS, h // g, b * g, plan)
        tasks = tasks_of(plan.first, plan.stop, size, b * g)
        work = b * h * (plan.stop - plan.first) * plan.keys * (d_k + d_v)
        hand_out(work, _forward, tasks, g, size, *arrays, plan, unit, limit, limits, O, L, state, tame)
    return O.reshape(b, h, n, d_v), L.reshape(b, h, n), state.reshape(2, b, h, n), tame[0]


@contract.backward_from(states)
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O).

    The scores of a tile are computed again, by the same products as before and so with the same
    rounding errors: a row of dS then sums to zero, as it should, and what all keys have in common
    does not come in with the difference.
    """
    return gradients(dO, Q, K, V, O, L, rule, bias, scale, softcap)


def gradients(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    (b, h, n, d_k), (g, m, d_v) = Q.shape, V.shape[1:]
    # Of the keys, each with its share of dQ.
    parts = min(numba_blocks.THREADS, -(-m // 512)) if b * g < numba_blocks.THREADS else 1
    dQ = np.zeros((max(1, parts), b * g, h // g, n, d_k), Q.dtype)
    dK, dV = np.zeros((b * g, m, d_k), Q.dtype), np.zeros((b * g, m, d_v), Q.dtype)
    if math.prod((b, h, n, m)):
        tasks = np.array(list(np.ndindex(b * g, parts)))
        arrays = grouped(Q, g), flat(K), flat(V), bias_or_none(bias, Q), grouped(dO, g)
        L, delta = grouped(L, g), grouped(np.vecdot(*map(np.ascontiguousarray, (dO, O))), g)
        for plan in plans_for(rule, n, m, tile_width(Q.dtype)):
            size = positions_of(ROWS_BACKWARD, h // g)
            numbers = Q.dtype.type(scale), limit_of(Q.dtype, softcap)
            share(_backward, tasks, g, size, *arrays, L, delta, plan, *numbers, dQ, dK, dV)
    dQ = dQ.sum(0) if parts > 1 else dQ
    return dQ.reshape(b, h, n, d_k) * scale, dK.reshape(b, g, m, d_k), dV.reshape(b, g, m, d_v)


@compiled(nogil=True)
def _forward(tasks, g, positions, Q, K, V, bias, plan, unit, limit, limits, O, L, state, tame):
    _, heads, n, d_k = Q.shape
    m, d_v = plan.keys, V.shape[2]
    width = tile_width(Q)
    lanes = width // VECTORS
    columns = up(d_v, lanes)
    height = up(heads * min(positions, n), HEIGHT)
    q, kT, v = scratch(height * d_k, Q), scratch(d_k * width, Q), scratch(width * columns, Q)
    S, Z, sums = scratch(HEIGHT * width, Q), scratch(height * lanes, Q), scratch(height * columns, Q)
    c, highest = np.empty(height, Q.dtype), np.empty(HEIGHT, Q.dtype)
    for task in range(len(tasks)):
        group, start = tasks[task]
        count = min(positions, n - start)
        rows = up(heads * count, HEIGHT)
        _stack(q, d_k, Q[group], start, count, unit)
        small = all_below(limits[0], q[: heads * count * d_k])
        as_they_are = d_v == columns and heads * count <= FEW * HEIGHT
        fill(sums, 0)
        fill(Z, 0)
        fill(c, -np.inf)
        where = cells_of(plan, group // g, start, count)
        for panel in range(plan.where.shape[2]):
            if (where[:, panel] == NOBODY).all():
                continue
            j = panel * width
            _transposed_panel(kT, 0, width, K[group, :m], j)
            small = small and all_below(limits[1], kT)
            values, first = v, 0
            depth = min(width, m - j)
            if as_they_are:
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
                        depth,
                        columns // lanes,
                    )
        _finish(O[group], L[group], state[:, group], sums, Z, c, start, count, lanes, columns)
        if not small:  # which the scores need not show: the weight of −∞ and of NaN is 0
            tame[0] = False


@compiled(nogil=True)
def _backward(tasks, g, size, Q, K, V, bias, dO, L, delta, plan, unit, limit, dQ, dK, dV):
    _, heads, n, d_k = Q.shape
    m, d_v = V.shape[1], V.shape[2]
    width = tile_width(Q)
    lanes = width // VECTORS
    panels = plan.where.shape[2]
    k_columns, v_columns = up(d_k, lanes), up(d_v, lanes)
    height = up(heads * min(size, n), HEIGHT)
    blocks = up(plan.stop - plan.first, size) // size
    q, dq = scratch(blocks * height * k_columns, Q), scratch(blocks * height * k_columns, Q)
    do = scratch(blocks * height * v_columns, Q)
    shift, mean = np.empty(blocks * height, Q.dtype), np.empty(blocks * height, Q.dtype)
    breadth = PANELS_BACKWARD * width
    kT, vT = scratch(d_k * breadth, Q), scratch(d_v * breadth, Q)
    k, dk, dv = (
        scratch(breadth * k_columns, Q),
        scratch(breadth * k_columns, Q),
        scratch(breadth * v_columns, Q),
    )
    A, dS, slopes = (
        scratch(height * breadth, Q),
        scratch(height * breadth, Q),
        scratch(HEIGHT * width, Q),
    )
    top, bottom = np.empty(PANELS_BACKWARD, np.int64), np.empty(PANELS_BACKWARD, np.int64)
    for task in range(len(tasks)):
        group, part = tasks[task]
        for block in range(blocks):
            start, base = plan.first + block * size, block * height
            count = min(size, plan.stop - start)
            _stack(q[base * k_columns :], k_columns, Q[group], start, count, unit)
            _stack(do[base * v_columns :], v_columns, dO[group], start, count, Q.dtype.type(1))
            per_row(shift[base : base + height], L[group], start, count, np.inf)
            per_row(mean[base : base + height], delta[group], start, count, 0)
        fill(dq, 0)
        for first in range(part * PANELS_BACKWARD, panels, len(dQ) * PANELS_BACKWARD):
            last = min(first + PANELS_BACKWARD, panels)
            for panel in range(first, last):
                p, j = panel - first, panel * width
                _transposed_panel(kT, p * d_k * width, width, K[group], j)
                _transposed_panel(vT, p * d_v * width, width, V[group], j)
                _panel(k[p * width * k_columns :], k_columns, K[group], j, width)
            fill(dk, 0)
            fill(dv, 0)
            for block in range(blocks):
                start, base = plan.first + block * size, block * height
                count = min(size, plan.stop - start)
                fill(top, height)
                fill(bottom, 0)
                rows = up(heads * count, HEIGHT)
                where = cells_of(plan, group // g, start, count)
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
def _bias_and_mask(S, s, s_row, bias, plan, mask, group, g, heads, x, start, positions, j, m):
    """The bias added to a tile of scores, and −inf where its rows, from the x-th on, may not see."""
    width = tile_width(S)
    if bias.size:
        _add_bias(S, s, s_row, bias, group, g, heads, x, start, positions, j, min(width, m - j))
    if mask != EVERYBODY:
        _forbid(S, s, s_row, plan, mask, group % g * heads, heads, x)
    if m - j < width:  # the last panel has fewer keys than columns
        forbid_beyond(S, s, s_row, m - j)


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
            add_row(S, s + i * s_row, bias[member, head, start + position, j : j + keys])


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
            z = sum_across(Z, row * lanes)
            L[head, start + i] = c[row] + np.log(z) if z > 0 else -np.inf
            state[0, head, start + i], state[1, head, start + i] = c[row], z
            share = one / z if z > 0 else z
            for t in range(O.shape[2]):
                O[head, start + i, t] = sums[row * columns + t] * share


@njit(nogil=True)
def _stack(stacked, columns, X, start, positions, factor):
    """The rows of a block, query after query, times a factor; `columns` wide, zeros where nothing is."""
    heads, _, d = X.shape
    if heads == 1 and d == columns:  # in a row already: one long loop instead of many short ones
        rows = X[0, start : start + positions].reshape(positions * d)
        for t in range(len(rows)):
            stacked[t] = rows[t] * factor
    else:
        for head in range(heads):
            for i in range(positions):
                row = (i * heads + head) * columns
                for t in range(d):
                    stacked[row + t] = X[head, start + i, t] * factor
                for t in range(d, columns):
                    stacked[row + t] = 0
    for t in range(heads * positions * columns, up(heads * positions, HEIGHT) * columns):
        stacked[t] = 0


@njit(nogil=True)
def _unstack(X, stacked, columns, start, positions):
    for head in range(len(X)):
        for i in range(positions):
            for t in range(X.shape[2]):
                X[head, start + i, t] = stacked[(i * len(X) + head) * columns + t]


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
    down, along = rows // lanes * lanes, d // lanes * lanes  # what whole squares cover
    flat = X.reshape(X.size)
    for i in range(0, down, lanes):
        for t in range(0, along, lanes):
            transpose(panel, p + t * width + i, width, flat, (j + i) * d + t, d)
    for t in range(d):
        for i in range(down if t < along else 0, rows):
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
