"""The loop of chapter 13 on matrix tiles: float32 as the sum of three numbers of bfloat16.

A processor with AMX multiplies tiles of bfloat16 fifteen times as fast as vectors of float32. Six products
of pieces make one of float32 (`formulas.pieces`), which leaves two and a half times the speed. The
instructions are in `tile_products`, and what this loop shares with that of `numba_tiled` in `numba_blocks`.

Scores lie turned: a lane of a vector is a query, Sᵀ = K Qᵀ and Oᵀ = Vᵀ Pᵀ. So the largest score and the
sum of a row are taken lane by lane, and Pᵀ needs no turning to be multiplied. A *turn* is one *panel* of
64 keys for one *strip* of 32 rows; the vector units make its weights while the tiles have the scores of the
next turn to multiply and the values of the one before. PANELS panels stay in the second cache, in pieces,
while all strips of a block meet them. The backward pass has the same turns, with five products in each.

Pieces have the range of float32, but what is smaller than 2⁻¹²⁶ is zero in a product: numbers that are all
tiny are computed with in another unit, a power of two, which rounds nothing. A weight below 2⁻¹⁰² of the
largest is zero. float64, and rows so few that they would not fill a tile, are computed by `numba_tiled`.
"""

import math

import numpy as np

from selfattention.extras import needed

with needed():
    from numba import njit

from selfattention.implementations import contract, numba_blocks, numba_tiled
from selfattention.implementations.arguments import norm
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
from selfattention.implementations.stepping import stepping
from selfattention.implementations.tile_products import (
    DEPTH,
    PAIRS,
    PILE,
    SIDE,
    SQUARE,
    add_product,
    add_product_beside_weights,
    add_transposed,
    cap,
    cap_and_slopes,
    columns_to_left,
    configure,
    exceeds,
    forbid,
    pairs_to_right,
    product,
    product_beside_slopes,
    product_beside_weights,
    raise_shift,
    release,
    rows_to_left,
    rows_to_right,
    settings,
    turned_back,
    weights,
    weights_and_slopes,
)
from selfattention.implementations.tiles_here import why_not

SETTINGS = settings()
WHY_NOT = why_not()
ROWS = 2048  # of a block
PANEL = 64  # keys of a panel, four rows of tiles
STRIP = 32  # rows of a strip, two columns of tiles
PANELS = 8  # stay in the second cache at a time
FEW = 16  # rows: no more are worth a strip that is half empty
SLACK = np.float32(numba_tiled.SLACK)
USUAL = 60  # numbers between 2⁻⁶⁰ and 2⁶⁰ need no other unit
VISIBLE = np.float32(2.0**-USUAL)


@contract.forward_that_tells
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    plans = numba_tiled.all_plans(rule, Q.shape[2], K.shape[2], Q.dtype)
    O, L, _, tame = _way(Q, K)(Q, K, V, plans, bias, scale, softcap)
    return O, L, tame


@stepping(attention, numba_tiled.all_plans)
def steps(Q, K, V, plans, scale, softcap):
    """The steps of decoding on a cache, checked once: see `stepping`."""
    O, L, _, tame = _way(Q, K)(Q, K, V, plans, None, scale, softcap)
    return O, L, tame


def _way(Q, K):
    """By tiles, or as `numba_tiled` does it: float64, and rows so few that they would not fill a tile."""
    if WHY_NOT:  # whoever went on would be ended by the processor, or by LLVM
        raise RuntimeError(f"matrix_tiled cannot run here: {WHY_NOT}")
    rows = Q.shape[1] // K.shape[1] * Q.shape[2] if K.shape[1] else 0
    by_tiles = Q.dtype == np.float32 and rows > FEW
    return _answers_and_state if by_tiles else numba_tiled.answers_and_state


def _states(Q, K, rule, bias, scale, softcap):
    """c and Z of every row: what L = c + ln Z can no longer tell where c is large."""
    plans = numba_tiled.all_plans(rule, Q.shape[2], K.shape[2], Q.dtype)
    return _way(Q, K)(Q, K, K[..., :0], plans, bias, scale, softcap)[2]


@contract.backward_from(_states)
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    """dV = Aᵀ dO,  dS = A ∘ (dO Vᵀ − δ),  dQ = scale · dS K,  dK = scale · dSᵀ Q,  δ = rowsum(dO ∘ O)."""
    if _way(Q, K) is not _answers_and_state:
        return numba_tiled.gradients(dO, Q, K, V, O, L, rule, bias, scale, softcap)
    (b, h, n, d_k), (g, m, d_v) = Q.shape, V.shape[1:]
    parts = min(numba_blocks.THREADS, -(-m // (PANEL * PANELS))) if b * g < numba_blocks.THREADS else 1
    dQ = np.zeros((max(1, parts), b * g, h // g, n, d_k), Q.dtype)
    dK, dV = np.zeros((b * g, m, d_k), Q.dtype), np.zeros((b * g, m, d_v), Q.dtype)
    turn = _turn(Q, K)
    Q, K = _times(Q, turn), _times(K, -turn)
    q_up, k_up, v_up, o_up = ups = [_usual(array) for array in (Q, K, V, dO)]
    if math.prod((b, h, n, m)):
        tasks = np.array(list(np.ndindex(b * g, parts)))
        dO, O = _times(dO, o_up), _times(O, v_up)
        arrays = grouped(Q, g), flat(K), flat(V), bias_or_none(bias, Q), grouped(dO, g)
        L, delta = grouped(L, g), grouped(np.vecdot(*map(np.ascontiguousarray, (dO, O))), g)
        units = np.ldexp(np.ones(3, Q.dtype), ups[:3])
        numbers = Q.dtype.type(scale), limit_of(Q.dtype, softcap)
        for plan in plans_for(rule, n, m, PANEL):
            share(_backward, tasks, SETTINGS, g, *arrays, L, delta, plan, units, *numbers, dQ, dK, dV)
    dQ = _times(dQ.sum(0) if parts > 1 else dQ, turn - (k_up + v_up + o_up))
    dK, dV = _times(dK, -turn - (q_up + v_up + o_up)), _times(dV, -o_up)
    return dQ.reshape(b, h, n, d_k), dK.reshape(b, g, m, d_k), dV.reshape(b, g, m, d_v)


def _times(X, exponent):
    """2^exponent X, which is exact."""
    return np.ldexp(X, exponent) if exponent else X


def _usual(X):
    """k such that 2^k X has a usual size; 0 where X has."""
    exponent = _exponent(X)
    return 0 if abs(exponent) <= USUAL else -exponent


def _answers_and_state(Q, K, V, plans, bias, scale, softcap):
    """O, L, c and Z of every row, and whether no number met was too large for its product to be safe.

    Pieces have the range of float32, and the last of a number's is 2⁻¹⁶ of it: values that are all tiny, and
    queries beside keys that are huge, are computed with in other units, powers of two.
    """
    O, L, state, tame, visible = _computed(Q, K, V, plans, bias, scale, softcap)
    if tame and visible:
        return O, L, state, tame
    up = 0 if visible else -_exponent(V)
    turn = _turn(Q, K)
    if up or turn:
        Q, K, V = _times(Q, turn), _times(K, -turn), _times(V, up)
        O, L, state, _, _ = _computed(Q, K, V, plans, bias, scale, softcap)
    return _times(O, -up), L, state, tame


def _exponent(X):
    """k for numbers up to 2^k; 0 where they are of a usual size, all zero, or some is not finite."""
    if 2.0**-40 < norm(X) < 2.0**USUAL:
        return 0
    largest = abs(X).max(initial=0)
    return int(np.frexp(largest)[1]) if np.isfinite(largest) else 0


def _turn(Q, K):
    """k such that 2^k Q and 2^−k K are of one size; 0 where neither is huge."""
    q, k = _exponent(Q), _exponent(K)
    return (k - q) // 2 if max(q, k) > USUAL else 0


def _computed(Q, K, V, plans, bias, scale, softcap):
    (b, h, n, d_k), (g, _, d_v) = Q.shape, V.shape[1:]
    O, L = np.empty((b * g, h // g, n, d_v), Q.dtype), np.empty((b * g, h // g, n), Q.dtype)
    state, tame, visible = np.empty((2, *L.shape), Q.dtype), np.ones(1, np.bool_), np.zeros(1, np.bool_)
    arrays = grouped(Q, g), flat(K), flat(V), bias_or_none(bias, Q)
    limits, unit, limit = limits_of(Q.dtype, d_k, scale), Q.dtype.type(scale), limit_of(Q.dtype, softcap)
    results = O, L, state, tame, visible
    for plan in plans if h else ():
        size = positions_of(ROWS, h // g, b * g, plan)
        tasks = tasks_of(plan.first, plan.stop, size, b * g)
        work = b * h * (plan.stop - plan.first) * plan.keys * (d_k + d_v)
        hand_out(work, _forward, tasks, SETTINGS, g, size, *arrays, plan, unit, limit, limits, *results)
    shape = b, h, n
    return O.reshape(*shape, d_v), L.reshape(shape), state.reshape(2, *shape), tame[0], visible[0]


@compiled(nogil=True)
def _forward(
    tasks, settings, g, positions, Q, K, V, bias, plan, unit, limit, limits, O, L, state, tame, visible
):
    _, heads, n, d_k = Q.shape
    m, d_v = plan.keys, V.shape[2]
    steps = up(d_k, DEPTH) // DEPTH
    squares = max(2, up(d_v, DEPTH) // SIDE)  # weights are made beside values, even where there are none
    width, breadth = steps * DEPTH, squares * SIDE
    most = up(heads * min(positions, n), STRIP)
    word, number = np.empty(1, np.uint16), np.empty(1, np.float32)
    q = scratch(most // SIDE * steps * PILE, word)
    k, v = scratch(PANELS * 4 * steps * PILE, word), scratch(PANELS * 2 * squares * PILE, word)
    P, S = scratch(2 * 4 * PILE, word), scratch(2 * 8 * SQUARE, number)
    OT, c, Z = scratch(most * breadth, number), scratch(most, number), scratch(most, number)
    room = scratch(STRIP * max(width, breadth), number)
    highest, biases = scratch(STRIP, number), scratch(STRIP * PANEL, number)
    starts = np.empty(STRIP, np.int64)
    strips, panels = np.empty(most // STRIP * PANELS, np.int64), np.empty(most // STRIP * PANELS, np.int64)
    one, bound = np.float32(1), limits[0] / max(abs(unit), np.float32(1e-38))
    configure(settings)
    for task in range(len(tasks)):
        group, start = tasks[task]
        count = min(positions, plan.stop - start)
        height = up(heads * count, STRIP)
        small, large = True, False
        for x in range(0, height, STRIP):
            rows, at, row = _stacked(room, width, Q[group], start, count, x)
            small = small and all_below(bound, rows[at : at + STRIP * width])
            for half in range(2):
                into = (x // SIDE + half) * steps * PILE
                rows_to_right(q, into, rows, at + half * SIDE * row, row, width, unit)
        fill(OT[: height * breadth], 0)
        fill(Z[:height], 0)
        fill(c[:height], -np.inf)
        where = cells_of(plan, group // g, start, count)
        for first in range(0, where.shape[1], PANELS):
            turns = _turns(strips, panels, where, first, height, heads)
            if turns == 0:
                continue
            for panel in range(min(PANELS, where.shape[1] - first)):
                for half in range(2 if _anybody(where, first + panel) else 0):
                    j, block = (first + panel) * PANEL + half * DEPTH, panel * 2 + half
                    rows, at, row = _rows(room, width, K[group], j, m)
                    small = small and all_below(limits[1], rows[at : at + DEPTH * width])
                    for quarter in range(2):
                        into = (2 * block + quarter) * steps * PILE
                        rows_to_left(k, into, rows, at + quarter * SIDE * row, row, width, one)
                    rows, at, row = _rows(room, breadth, V[group], j, m)
                    large = large or not all_below(VISIBLE, rows[at : at + DEPTH * breadth])
                    small = small and all_below(np.float32(np.inf), rows[at : at + DEPTH * breadth])
                    columns_to_left(v, block * squares * PILE, rows, at, row, breadth, one)
            _scores(S, 0, k, panels[0], q, strips[0], steps)
            strip, panel, p = -1, -1, 4 * PILE  # of the turn before, whose values are still to be added
            for turn in range(turns):
                earlier, before, p = panel, strip, 4 * PILE - p
                strip, panel, s = strips[turn], panels[turn], turn % 2 * 8 * SQUARE
                x, j = strip * STRIP, (first + panel) * PANEL
                if limit > 0:
                    cap(S, s, limit)
                if bias.size:
                    _gathered(biases, bias, group, g, heads, x, start, count, j, min(PANEL, m - j))
                    add_transposed(S, s, biases, 0, PANEL)
                _mask(S, s, plan, where, first + panel, group % g * heads, heads, x, m - j, starts)
                if exceeds(S, s, c, x, SLACK, highest):
                    if before == strip:
                        _values(OT, before, v, earlier, P, 4 * PILE - p, squares)
                        before = -1
                    raise_shift(c, x, highest, SLACK, Z, OT, x * breadth, squares)
                if turn + 1 < turns:
                    _scores_beside_weights(
                        S, 8 * SQUARE - s, k, panels[turn + 1], q, strips[turn + 1], steps, s, P, p, c, Z, x
                    )
                else:
                    weights(0, PAIRS // 2, S, s, P, p, c, Z, x)
                if before >= 0:
                    _values_beside_weights(OT, before, v, earlier, P, 4 * PILE - p, squares, S, s, p, c, Z, x)
                else:
                    weights(PAIRS // 2, PAIRS, S, s, P, p, c, Z, x)
            _values(OT, strip, v, panel, P, p, squares)
        _finish(O[group], L[group], state[:, group], OT, Z, c, room, start, count, squares)
        if not small:
            tame[0] = False
        if large:
            visible[0] = True
    release()


@njit(nogil=True)
def _turns(strips, panels, where, first, height, heads):
    """Which strips meet which of the panels from the first on, strip after strip; how many there are."""
    turns = 0
    for strip in range(height // STRIP):
        cell = strip * STRIP // (CELL * heads)
        for panel in range(min(PANELS, where.shape[1] - first)):
            if where[cell, first + panel] != NOBODY:
                strips[turns], panels[turns] = strip, panel
                turns += 1
    return turns


@njit(nogil=True)
def _anybody(where, panel):
    return (where[:, panel] != NOBODY).any()


# Products of a panel of 64 keys, four rows of tiles, and a strip of 32 queries, two columns of them.


@njit(nogil=True, forceinline=True)
def _scores(S, s, k, panel, q, strip, steps):
    """Sᵀ = K Qᵀ"""
    row, left, right = steps * PILE, panel * 4 * steps * PILE, strip * 2 * steps * PILE
    for half in range(2):
        product(S, s + half * 4 * SQUARE, k, left + half * 2 * row, row, PILE, q, right, row, PILE, steps)


@njit(nogil=True, forceinline=True)
def _scores_beside_weights(S, t, k, panel, q, strip, steps, s, P, p, c, Z, x):
    row, left, right = steps * PILE, panel * 4 * steps * PILE, strip * 2 * steps * PILE
    for half in range(2):
        product_beside_weights(
            S,
            t + half * 4 * SQUARE,
            k,
            left + half * 2 * row,
            row,
            PILE,
            q,
            right,
            row,
            PILE,
            steps,
            half * PAIRS // 4,
            (half + 1) * PAIRS // 4,
            S,
            s,
            P,
            p,
            c,
            Z,
            x,
        )


@njit(nogil=True, forceinline=True)
def _values(OT, strip, v, panel, P, p, squares):
    """Oᵀ += Vᵀ Pᵀ"""
    o, left = strip * 2 * squares * SQUARE, panel * 2 * squares * PILE
    for pair in range(0, squares, 2):
        add_product(
            OT, o + pair * 2 * SQUARE, v, left + pair * PILE, PILE, squares * PILE, P, p, PILE, 2 * PILE, 2
        )


@njit(nogil=True, forceinline=True)
def _values_beside_weights(OT, strip, v, panel, P, p, squares, S, s, into, c, Z, x):
    o, left = strip * 2 * squares * SQUARE, panel * 2 * squares * PILE
    for pair in range(0, squares, 2):
        add_product_beside_weights(
            OT,
            o + pair * 2 * SQUARE,
            v,
            left + pair * PILE,
            PILE,
            squares * PILE,
            P,
            p,
            PILE,
            2 * PILE,
            2,
            PAIRS // 2 + PAIRS // 2 * pair // squares,
            PAIRS // 2 + PAIRS // 2 * (pair + 2) // squares,
            S,
            s,
            P,
            into,
            c,
            Z,
            x,
        )


@njit(nogil=True)
def _stacked(room, width, X, start, count, x):
    """Where 32 rows of a block lie, from its x-th on, query after query: themselves or a copy.

    The copy has zeros where nothing is. Gives the array, the place of its first row, and from row to row.
    """
    heads, n, d = X.shape
    if heads == 1 and d == width and x + STRIP <= count:
        return X[0].reshape(n * d), (start + x) * d, d
    position, head = x // heads, x % heads
    for i in range(STRIP):
        filled = d if position < count else 0
        for t in range(filled):
            room[i * width + t] = X[head, start + position, t]
        for t in range(filled, width):
            room[i * width + t] = 0
        position, head = _next(position, head, heads)
    return room, 0, width


@njit(nogil=True)
def _rows(room, width, X, j, m):
    """The same for 32 rows of X from the j-th on, zeros beyond the m-th."""
    d = X.shape[1]
    if d == width and j + DEPTH <= m:
        return X.reshape(X.size), j * d, d
    for i in range(DEPTH):
        filled = d if j + i < m else 0
        for t in range(filled):
            room[i * width + t] = X[j + i, t]
        for t in range(filled, width):
            room[i * width + t] = 0
    return room, 0, width


@njit(nogil=True, forceinline=True)
def _next(position, head, heads):
    """The row after a head's at a position: heads lie side by side."""
    return (position, head + 1) if head + 1 < heads else (position + 1, 0)


@njit(nogil=True)
def _mask(S, s, plan, where, panel, first_head, heads, x, keys, starts):
    """−∞ where the rows of a strip, from the x-th on, may not see, and beyond so many keys."""
    mask = where[x // (CELL * heads), panel]
    if mask != EVERYBODY:
        _starts(starts, plan, mask, first_head, heads, x)
        forbid(S, s, plan.seen, starts)
    if keys < PANEL:
        _forbid_beyond(S, s, keys)


@njit(nogil=True)
def _starts(starts, plan, mask, first_head, heads, x):
    query, head = x // heads % CELL, x % heads
    for i in range(STRIP):
        table = first_head + head if plan.heads > 1 else 0
        starts[i] = mask + (table * CELL + query % CELL) * PANEL
        query, head = _next(query, head, heads)


@njit(nogil=True)
def _gathered(biases, bias, group, g, heads, x, start, count, j, keys):
    member = group // g if len(bias) > 1 else 0
    position, head = x // heads, x % heads
    for i in range(STRIP):
        table = group % g * heads + head if bias.shape[1] > 1 else 0
        filled = keys if position < count else 0
        for t in range(filled):
            biases[i * PANEL + t] = bias[member, table, start + position, j + t]
        for t in range(filled, PANEL):
            biases[i * PANEL + t] = 0
        position, head = _next(position, head, heads)


@njit(nogil=True)
def _forbid_beyond(S, s, keys):
    for key in range(keys, PANEL):
        for half in range(2):
            row = s + (key // SIDE * 2 + half) * SQUARE + key % SIDE * SIDE
            for t in range(row, row + SIDE):
                S[t] = -np.inf


@njit(nogil=True)
def _finish(O, L, state, OT, Z, c, room, start, count, squares):
    """O = sums / Z,  L = c + ln Z; 0 and −∞ where nobody was seen."""
    heads, one = len(O), np.float32(1)
    position, head = 0, 0
    for row in range(heads * count):
        z = Z[row]
        L[head, start + position] = c[row] + np.log(z) if z > 0 else -np.inf
        state[0, head, start + position], state[1, head, start + position] = c[row], z
        Z[row] = one / z if z > 0 else z
        position, head = _next(position, head, heads)
    for x in range(0, up(heads * count, SIDE), SIDE):
        _turned_back(O, room, OT, squares, start, count, x, Z, x)


@njit(nogil=True)
def _turned_back(X, room, XT, squares, start, count, x, factors, f):
    """16 rows of a block, from its x-th on, times their factors, to where they belong."""
    heads, n, d = X.shape
    place = (x // STRIP * 2 * squares + x % STRIP // SIDE) * SQUARE
    if heads == 1 and d == squares * SIDE and x + SIDE <= count:
        turned_back(X[0].reshape(n * d), (start + x) * d, d, XT, place, squares, factors, f)
        return
    width = squares * SIDE
    turned_back(room, 0, width, XT, place, squares, factors, f)
    position, head = x // heads, x % heads
    for i in range(min(SIDE, heads * count - x)):
        for t in range(d):
            X[head, start + position, t] = room[i * width + t]
        position, head = _next(position, head, heads)


@compiled(nogil=True)
def _backward(tasks, settings, g, Q, K, V, bias, dO, L, delta, plan, units, unit, limit, dQ, dK, dV):
    _, heads, _, d_k = Q.shape
    m, d_v = V.shape[1], V.shape[2]
    steps, v_steps = up(d_k, DEPTH) // DEPTH, up(d_v, DEPTH) // DEPTH
    width, breadth = steps * DEPTH, v_steps * DEPTH
    count = plan.stop - plan.first
    height = up(heads * count, STRIP)
    word, number = np.empty(1, np.uint16), np.empty(1, np.float32)
    tall = height // SIDE * PILE
    q, q_pairs = scratch(tall * steps, word), scratch(tall * steps, word)
    do, do_pairs = scratch(tall * v_steps, word), scratch(tall * v_steps, word)
    dq, shift, mean = scratch(height * width, number), scratch(height, number), scratch(height, number)
    wide = PANELS * 4 * PILE
    k, kT, v = scratch(wide * steps, word), scratch(wide * steps, word), scratch(wide * v_steps, word)
    dk, dv = scratch(PANELS * PANEL * width, number), scratch(PANELS * PANEL * breadth, number)
    S, dA = scratch(2 * 8 * SQUARE, number), scratch(2 * 8 * SQUARE, number)
    A, dS, dS_right = scratch(4 * PILE, word), scratch(4 * PILE, word), scratch(4 * PILE, word)
    room = scratch(STRIP * max(width, breadth), number)
    nothing, scales = scratch(STRIP, number), scratch(STRIP, number)
    biases, starts = scratch(STRIP * PANEL, number), np.empty(STRIP, np.int64)
    strips, panels = (
        np.empty(height // STRIP * PANELS, np.int64),
        np.empty(height // STRIP * PANELS, np.int64),
    )
    one = np.float32(1)
    fill(nothing, 0)
    fill(scales, unit)
    configure(settings)
    for task in range(len(tasks)):
        group, part = tasks[task]
        for x in range(0, height, STRIP):
            rows, at, row = _stacked(room, width, Q[group], plan.first, count, x)
            _as_rights(q, q_pairs, x // SIDE * steps * PILE, rows, at, row, width, unit, units[0])
            rows, at, row = _stacked(room, breadth, dO[group], plan.first, count, x)
            _as_rights(do, do_pairs, x // SIDE * v_steps * PILE, rows, at, row, breadth, one, one)
        per_row(shift, L[group], plan.first, count, np.inf)
        per_row(mean, delta[group], plan.first, count, 0)
        fill(dq, 0)
        where = cells_of(plan, group // g, plan.first, count)
        for first in range(part * PANELS, where.shape[1], len(dQ) * PANELS):
            turns = _turns(strips, panels, where, first, height, heads)
            if turns == 0:
                continue
            for block in range(2 * min(PANELS, where.shape[1] - first)):
                rows, at, row = _rows(room, width, K[group], first * PANEL + block * DEPTH, m)
                _as_lefts(k, 2 * block * steps * PILE, rows, at, row, width, one)
                columns_to_left(kT, 2 * block * steps * PILE, rows, at, row, width, units[1])
                rows, at, row = _rows(room, breadth, V[group], first * PANEL + block * DEPTH, m)
                _as_lefts(v, 2 * block * v_steps * PILE, rows, at, row, breadth, units[2])
            fill(dk, 0)
            fill(dv, 0)
            _scores(S, 0, k, panels[0], q, strips[0], steps)
            _scores(dA, 0, v, panels[0], do, strips[0], v_steps)
            for turn in range(turns):
                strip, panel, s = strips[turn], panels[turn], turn % 2 * 8 * SQUARE
                x, j = strip * STRIP, (first + panel) * PANEL
                delta_of, y = mean, x
                if limit > 0:
                    cap_and_slopes(S, dA, s, limit, mean, x)
                    delta_of, y = nothing, 0
                if bias.size:
                    _gathered(biases, bias, group, g, heads, x, plan.first, count, j, min(PANEL, m - j))
                    add_transposed(S, s, biases, 0, PANEL)
                _mask(S, s, plan, where, first + panel, group % g * heads, heads, x, m - j, starts)
                if turn + 1 < turns:
                    later, after, t = panels[turn + 1], strips[turn + 1], 8 * SQUARE - s
                    made = S, dA, s, shift, x, delta_of, y, A, dS, dS_right
                    _beside_slopes(S, t, k, later, q, after, steps, 0, *made)
                    _beside_slopes(dA, t, v, later, do, after, v_steps, 2, *made)
                else:
                    weights_and_slopes(S, dA, s, shift, x, delta_of, y, A, dS, dS_right)
                _values(dq, strip, kT, panel, dS_right, 0, 2 * steps)
                _to_keys(dv, panel, A, do_pairs, strip, v_steps)
                _to_keys(dk, panel, dS, q_pairs, strip, steps)
            _add_keys(dK[group], dk, width, first * PANEL, unit)
            _add_keys(dV[group], dv, breadth, first * PANEL, one)
        for x in range(0, up(heads * count, SIDE), SIDE):
            _turned_back(dQ[part, group], room, dq, 2 * steps, plan.first, count, x, scales, 0)
    release()


@njit(nogil=True)
def _as_lefts(T, t, rows, at, row, width, factor):
    """32 rows as left tiles."""
    for half in range(2):
        rows_to_left(T, t + half * (width // DEPTH) * PILE, rows, at + half * SIDE * row, row, width, factor)


@njit(nogil=True)
def _as_rights(T, pairs, t, rows, at, row, width, factor, unit):
    """32 rows X times a factor as right tiles of Xᵀ, and in another unit as those of X."""
    for half in range(2):
        rows_to_right(T, t + half * (width // DEPTH) * PILE, rows, at + half * SIDE * row, row, width, factor)
    pairs_to_right(pairs, t, rows, at, row, width, unit)


@njit(nogil=True, forceinline=True)
def _beside_slopes(C, t, k, panel, q, strip, steps, quarter, S, dA, s, shift, x, delta, y, A, dS, dS_right):
    """A product as that of the scores, and meanwhile half of the weights and slopes."""
    row, left, right = steps * PILE, panel * 4 * steps * PILE, strip * 2 * steps * PILE
    for half in range(2):
        product_beside_slopes(
            C,
            t + half * 4 * SQUARE,
            k,
            left + half * 2 * row,
            row,
            PILE,
            q,
            right,
            row,
            PILE,
            steps,
            quarter + half,
            S,
            dA,
            s,
            shift,
            x,
            delta,
            y,
            A,
            dS,
            dS_right,
        )


@njit(nogil=True, forceinline=True)
def _to_keys(dX, panel, A, pairs, strip, steps):
    """dX += Aᵀ X for a panel of keys, X the rows of a strip."""
    for half in range(2):
        for pair in range(steps):
            into, right = (panel * 2 + half) * steps + pair, strip * steps + pair
            add_product(
                dX, into * 4 * SQUARE, A, half * 2 * PILE, PILE, 0, pairs, right * 2 * PILE, PILE, 0, 1
            )


@njit(nogil=True)
def _add_keys(X, squares, width, j, factor):
    """Gradients of keys, in blocks of 2 × 2 tiles, times a factor added to the rows of X from the j-th on."""
    d = X.shape[1]
    for i in range(min(len(squares) // width, len(X) - j)):
        row = i // DEPTH * (width // DEPTH) * 4 + i % DEPTH // SIDE * 2
        for t in range(0, d, SIDE):
            place = (row + t // DEPTH * 4 + t % DEPTH // SIDE) * SQUARE + i % SIDE * SIDE
            if t + SIDE <= d:
                for u in range(SIDE):  # so many, always: one instruction
                    X[j + i, t + u] += squares[place + u] * factor
            else:
                for u in range(d - t):
                    X[j + i, t + u] += squares[place + u] * factor
