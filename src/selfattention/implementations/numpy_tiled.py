"""The formula tile by tile, in NumPy: the loop of chapter 13. Memory linear in n and in m.

Both passes walk through a head's score matrix in tiles and keep none of it. Forward there are two
loops. `_by_states` is the chapter's: it merges the states of `formulas.tiles`, and is always right.
`_by_sums` is the fast one: where no score is so large that its exponential could overflow, every
tile may have the shift 0, and states with equal shifts merge by adding.
"""

import math
from functools import lru_cache, partial

import numpy as np

from selfattention.formulas.tiles import finish_state, merge_states, tile_backward, tile_state
from selfattention.implementations import contract
from selfattention.implementations.contract import before_cap, capped
from selfattention.masks import Says

ROWS, COLUMNS = 256, 512  # a tile of scores: half a megabyte of float32, at home in a core's cache


@contract.forward
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    O, L = np.empty((*Q.shape[:-1], V.shape[-1]), Q.dtype), np.empty(Q.shape[:-1], Q.dtype)
    for head, group, tiles in _heads(Q, K, rule, bias):
        q, k, v = _seen(Q[head], K[group], V[group], tiles)
        safe = bias is None and _zero_shift_is_safe(q, k, v, scale)
        O[head], L[head] = (_by_sums if safe else _by_states)(q, k, v, scale, softcap, tiles())
    return O, L


def _states(Q, K, rule, bias, scale, softcap):
    """c and Z of every row: what L = c + ln Z can no longer tell where c is large."""
    c, Z = np.full(Q.shape[:-1], -np.inf, Q.dtype), np.zeros(Q.shape[:-1], Q.dtype)
    for head, group, tiles in _heads(Q, K, rule, bias):
        q, k = Q[head] * scale, K[group]
        for rows, columns, mask, added in tiles():
            S = _masked(capped(q[rows] @ k[columns].T, softcap), mask, added)
            seen = tile_state(S, k[columns, :0])
            so_far = c[head][rows], Z[head][rows], q[rows, :0]
            c[head][rows], Z[head][rows], _ = merge_states(*so_far, *seen)
    return c, Z


@contract.backward_from(_states)
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    """The scores of a tile are computed again, and L turns them into weights: see `tile_backward`."""
    dQ, dK, dV = np.zeros_like(Q), np.zeros_like(K), np.zeros_like(V)
    delta = (dO * O).sum(-1)
    for head, group, tiles in _heads(Q, K, rule, bias):
        q, k, v = Q[head] * scale, K[group], V[group]
        for rows, columns, mask, added in tiles():
            S = capped(q[rows] @ k[columns].T, softcap)
            seen = _masked(S if softcap is None else S.copy(), mask, added)
            dS, dv = tile_backward(seen, v[columns], dO[head][rows], L[head][rows], delta[head][rows])
            dS = before_cap(dS, S, softcap)
            dQ[head][rows] += dS @ k[columns] * scale
            dK[group][columns] += dS.T @ q[rows]  # q has the scale in it; every head of a group adds
            dV[group][columns] += dv
    return dQ, dK, dV


def _by_states(q, k, v, scale, softcap, tiles):
    """The state of no keys, merged with that of each tile; the order does not matter."""
    q = q * scale
    c, Z, O = tile_state(q[:, :0], v[:0])
    for rows, columns, mask, added in tiles:
        S = _masked(capped(q[rows] @ k[columns].T, softcap), mask, added)
        seen = tile_state(S, v[columns])
        so_far = c[rows], Z[rows], O[rows]
        c[rows], Z[rows], O[rows] = merge_states(*so_far, *seen)
    return finish_state(c, Z, O)


def _masked(S, mask, added):
    """S of one tile, the bias added in place; −inf where the rule forbids, before anybody takes a maximum."""
    if added is not None:
        S += added
    return S if mask is None else np.where(mask, S, -np.inf)


def _by_sums(q, k, v, scale, softcap, tiles):
    """The same with shift 0: Z and Õ add up; one scratch tile serves all.

    e^s is 2^(s log₂ e), and 2^x is the cheaper function; under a cap s is C tanh(s / C). A copy of kᵀ pays
    where many tiles read it.
    """
    q = q * (scale * math.log2(math.e) if softcap is None else scale / softcap)
    kT = _transposed(k) if len(q) > 4 * ROWS else k.T
    Z, O = np.zeros(len(q), q.dtype), np.zeros((len(q), v.shape[1]), q.dtype)
    scratch, ones = np.empty(ROWS * COLUMNS, q.dtype), np.ones(COLUMNS, q.dtype)
    for rows, columns, mask, _ in tiles:
        shape = rows.stop - rows.start, columns.stop - columns.start
        E = scratch[: math.prod(shape)].reshape(shape)
        np.matmul(q[rows], kT[:, columns], out=E)
        if softcap is not None:
            np.multiply(np.tanh(E, out=E), softcap * math.log2(math.e), out=E)
        np.exp2(E, out=E)
        if mask is not None:
            E *= mask  # not −inf in the scores: 2^x is slow on what is not finite
        Z[rows] += E @ ones[: shape[1]]  # quicker than E.sum(-1)
        O[rows] += E @ v[columns]
    O /= np.where(Z > 0, Z, 1)[:, None]
    return O, np.log(Z, where=Z > 0, out=np.full_like(Z, -np.inf))


def _transposed(k):
    """kᵀ, its rows in memory one after another; a piece at a time, or every number misses the cache."""
    kT = np.empty(k.shape[::-1], k.dtype)
    for piece in _cut(range(len(k)), 128):
        kT[:, piece.start : piece.stop] = k[piece.start : piece.stop].T
    return kT


def _zero_shift_is_safe(q, k, v, scale):
    """Do exponentials and their sums stay in the middle of the range of the dtype, unshifted?

    By Cauchy and Schwarz no score is beyond ± b, b = scale · max ‖q‖ · max ‖k‖, so no sum of m terms
    e^s v is beyond m e^b max(1, ‖V‖). Where that is below the square root of the largest number, nothing
    overflows; and e^s, not below e^−b, is as far from underflow. In between, a floating-point
    number keeps its digits whatever its size: no shift could make the result more exact.

    The range is that of float32 for float64 too: 2^(s log₂ e) rounds s elsewhere than the backward
    pass does, and where s is large the rows of dS would no longer sum to zero.
    """
    with np.errstate(over="ignore"):  # infinity is an answer: not safe
        b = abs(scale) * _largest_norm(q) * _largest_norm(k)
        largest = len(k) * max(1, math.sqrt(np.vdot(v, v)))
    return b + math.log(largest + 1) < math.log(np.finfo(np.float32).max) / 2


def _seen(q, k, v, tiles):
    """Zeros for queries that see nobody, and for keys and values that nobody sees.

    None of those may decide which loop is taken; nor may e^s overflow for them, since ∞ · 0 is NaN.
    """
    sees, seen = np.zeros(len(q), bool), np.zeros(len(k), bool)
    for rows, columns, mask, _ in tiles():
        sees[rows] |= True if mask is None else mask.any(1)
        seen[columns] |= True if mask is None else mask.any(0)
    used_rows = (q, sees), (k, seen), (v, seen)
    return (X if used.all() else np.where(used[:, None], X, X.dtype.type(0)) for X, used in used_rows)


def _largest_norm(rows):
    return math.sqrt((np.square(rows) @ np.ones(rows.shape[1], rows.dtype)).max(initial=0))


def _heads(Q, K, rule, bias):
    """Every head, its group, and what walks through the tiles of its scores: (rows, columns, mask, added).

    A mask holds ones and zeros, or is None where everybody may see all of the tile; `added` is the
    bias or None. Where nobody may see anything there is no tile.
    """
    (b, h, n, _), (g, m) = Q.shape, K.shape[1:3]
    bias = None if bias is None else np.broadcast_to(bias, (b, h, n, m))

    @lru_cache(maxsize=64)  # heads share their masks; so many, however long the sequence
    def spelt_out(rows, columns):
        ones_and_zeros = rule.tile(rows, columns).astype(Q.dtype)
        return np.broadcast_to(ones_and_zeros, (b, h, len(rows), len(columns)))

    def tiles(head):
        for rows, columns, says in _visible(rule, n, m):
            where = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
            mask = None if says is Says.EVERYBODY else spelt_out(rows, columns)[head]
            yield *where, mask, None if bias is None else bias[head][where]

    for head in np.ndindex(b, h):
        yield head, (head[0], head[1] // (h // g)), partial(tiles, head)


def _visible(rule, n, m):
    """The tiles that somebody may see, with what the rule says of them."""
    for rows in _cut(range(n), ROWS):
        for columns in _cut(range(m), COLUMNS):
            yield from _pieces(rule, rows, columns)


def _pieces(rule, rows, columns):
    """A tile; on the edge of a mask, the parts of it that somebody may see, no wider than they are high."""
    says = rule.says(rows, columns)
    if says is Says.SOMEBODY and len(columns) > ROWS:
        for part in _cut(columns, ROWS):
            yield from _pieces(rule, rows, part)
    elif says is not Says.NOBODY:
        yield rows, columns, says


def _cut(whole, size):
    """A range in pieces; the last one may be shorter."""
    return [whole[start : start + size] for start in range(0, len(whole), size)]
