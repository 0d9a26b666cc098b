"""The formula tile by tile, in NumPy: the loop of chapter 13. Memory linear in n and in m.

Both passes walk through the score matrix in tiles and keep none of it. Forward there are two loops.
`_by_states` is the chapter's: it merges the states of `formulas.tiles`, and is always right.
`_by_sums` is the fast one: where no score is so large that its exponential could overflow, every
tile may have the shift 0, and states with equal shifts merge by adding.
"""

import math
from functools import lru_cache
from itertools import chain

import numpy as np

from selfattention.formulas.tiles import finish_state, merge_states, tile_backward, tile_state
from selfattention.implementations import contract
from selfattention.masks import Says

ROWS, COLUMNS = 256, 512  # a tile of scores: half a megabyte of float32, at home in a core's cache
STEP = 128  # how finely a rule is asked, and how many keys are transposed at once


@contract.forward
def attention(Q, K, V, rule, bias, scale):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; see `contract`."""
    if bias is None and _zero_shift_is_safe(Q, K, V, scale):
        return _by_sums(Q, K, V, rule, scale)
    return _by_states(Q, K, V, rule, bias, scale)


@contract.backward
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale):
    """The scores of a tile are computed again, and L turns them into weights: see `tile_backward`."""
    dQ, dK, dV = np.zeros_like(Q), np.zeros_like(K), np.zeros_like(V)
    for head, group, rows, tiles in _walk(Q, K, rule, bias):
        q, do = Q[head][rows] * scale, dO[head][rows]
        delta = (do * O[head][rows]).sum(-1)
        for columns, mask, added in tiles:
            k, v = K[group][columns], V[group][columns]
            dS, dv = tile_backward(_scores(q, k, mask, added), v, do, L[head][rows], delta)
            dQ[head][rows] += dS @ k * scale
            dK[group][columns] += dS.T @ q  # q carries the scale; every head of the group adds its own
            dV[group][columns] += dv
    return dQ, dK, dV


def _by_states(Q, K, V, rule, bias, scale):
    """One state for each tile of queries: that of no keys, merged with that of each tile of keys."""
    O, L = np.empty((*Q.shape[:-1], V.shape[-1]), Q.dtype), np.empty(Q.shape[:-1], Q.dtype)
    for head, group, rows, tiles in _walk(Q, K, rule, bias):
        q = Q[head][rows] * scale
        state = tile_state(q[:, :0], V[group][:0])
        for columns, mask, added in tiles:
            S = _scores(q, K[group][columns], mask, added)
            state = merge_states(*state, *tile_state(S, V[group][columns]))
        O[head][rows], L[head][rows] = finish_state(*state)
    return O, L


def _scores(q, k, mask, added):
    """S of one tile; −inf where the rule forbids, before anybody takes a maximum."""
    S = q @ k.T
    if added is not None:
        S += added
    return S if mask is None else np.where(mask, S, -np.inf)


def _zero_shift_is_safe(Q, K, V, scale):
    """Do exponentials and their sums stay in the middle of the range of the dtype, unshifted?

    By Cauchy and Schwarz no score exceeds b = scale · max ‖q‖ · max ‖k‖, so no sum of m terms
    e^s v exceeds m e^b max(1, ‖v‖). Below the square root of the largest number, overflow is out of
    the question; and as e^s is above e^−b, far from underflow too. What a floating-point number
    keeps of its digits does not depend on its size in between.
    """
    with np.errstate(over="ignore"):  # then the answer is no
        q, k, v = (float(np.vecdot(array, array).max(initial=0)) ** 0.5 for array in (Q, K, V))
    b = abs(scale) * q * k
    return b + math.log(K.shape[2] * max(1, v) + 1) < math.log(np.finfo(Q.dtype).max) / 2


def _by_sums(Q, K, V, rule, scale):
    """The same walk with shift 0: Z and Õ add up in place, in a scratch tile that never grows."""
    O, Z = np.zeros((*Q.shape[:-1], V.shape[-1]), Q.dtype), np.zeros(Q.shape[:-1], Q.dtype)
    tile, ones = np.empty(ROWS * COLUMNS, Q.dtype), np.ones(COLUMNS, Q.dtype)
    part, sums = np.empty((ROWS, V.shape[-1]), Q.dtype), np.empty(ROWS, Q.dtype)
    KT, packed = np.empty((K.shape[-1], K.shape[2]), Q.dtype), None
    for head, group, rows, tiles in _walk(Q, K, rule, None):
        if group != packed:  # a product of two matrices that both lie in rows is the quicker one
            _transpose(K[group], KT)
            packed = group
        q, o, z = Q[head][rows] * (scale * math.log2(math.e)), O[head][rows], Z[head][rows]
        for columns, mask, _ in tiles:
            kt, v = KT[:, columns], V[group][columns]
            E = tile[: len(q) * len(v)].reshape(len(q), len(v))
            np.exp2(np.matmul(q, kt, out=E), out=E)  # 2^(s log₂ e) = e^s, and cheaper
            if mask is not None:
                E *= mask
            z += np.matmul(E, ones[: len(v)], out=sums[: len(q)])  # quicker than E.sum(-1)
            o += np.matmul(E, v, out=part[: len(q)])
        o /= np.where(z == 0, 1, z)[:, None]
    return O, np.log(Z, where=Z > 0, out=np.full_like(Z, -np.inf))


def _transpose(k, out):
    """kᵀ, a few rows at a time: a tall matrix at once would miss the cache at every number."""
    for start in range(0, len(k), STEP):
        out[:, start : start + STEP] = k[start : start + STEP].T


def _walk(Q, K, rule, bias):
    """Every head with its group, every tile of its queries, and the tiles of keys that these may see.

    A tile of keys is (columns, mask, added): a mask or None where everybody sees everything, the
    bias or None. Tiles that nobody may see are left out.
    """
    (b, h, n, _), (g, m) = Q.shape, K.shape[1:3]
    spelt_out = lru_cache(maxsize=64)(rule.tile)  # heads share their masks; 64 of them, for any n
    if bias is not None:
        bias = np.broadcast_to(bias, (b, h, n, m))
    for head in np.ndindex(b, h):
        for start in range(0, n, ROWS):
            rows, tiles = range(start, min(start + ROWS, n)), []
            wide = (range(start, min(start + COLUMNS, m)) for start in range(0, m, COLUMNS))
            for columns, says in chain.from_iterable(_visible(rule, rows, columns) for columns in wide):
                mask = added = None
                if says is Says.SOMEBODY:
                    mask = np.broadcast_to(spelt_out(rows, columns), (b, h, len(rows), len(columns)))[head]
                if bias is not None:
                    added = bias[head][_slice(rows), _slice(columns)]
                tiles.append((_slice(columns), mask, added))
            yield head, (head[0], head[1] // (h // g)), _slice(rows), tiles


def _visible(rule, rows, columns):
    """The parts of a tile that somebody may see, with what the rule says: halved until it is clear."""
    says = rule.says(rows, columns)
    if says is Says.SOMEBODY and len(columns) > STEP:
        middle = columns.start + STEP * -(-len(columns) // (2 * STEP))
        yield from _visible(rule, rows, range(columns.start, middle))
        yield from _visible(rule, rows, range(middle, columns.stop))
    elif says is not Says.NOBODY:
        yield columns, says


def _slice(r):
    return slice(r.start, r.stop)
