"""The ladder of chapter 13: from the formula as it stands to `numpy_tiled`, one change a rung."""

import math
from functools import partial

import numpy as np

from selfattention.implementations import numpy_direct, numpy_tiled
from selfattention.masks import everybody


def _rung(attention):
    """A function of Q, K, V as a candidate of the race."""

    def prepare(workload):
        Q, K, V, _ = workload.inputs()
        return lambda: attention(Q, K, V), lambda O: [O]

    return prepare


def merged_states(Q, K, V, *, rows, columns):
    """The loop around `formulas.tiles`, with a size of tile."""
    numpy_tiled.ROWS, numpy_tiled.COLUMNS = rows, columns  # this process runs nothing else
    O = np.empty_like(V)
    for head, group, tiles in numpy_tiled._heads(Q, K, everybody, None):
        O[head], _ = numpy_tiled._by_states(Q[head], K[group], V[group], Q.shape[-1] ** -0.5, tiles)
    return O


def sums(Q, K, V, *, exp=np.exp, sum_as_product=False, scratch=False, packed=False):
    """`numpy_tiled._by_sums` without masks, its tricks one by one."""
    O = np.zeros_like(V)
    rows, columns = numpy_tiled.ROWS, numpy_tiled.COLUMNS
    tile, ones = np.empty(rows * columns, Q.dtype), np.ones(columns, Q.dtype)
    factor = Q.shape[-1] ** -0.5 * (math.log2(math.e) if exp is np.exp2 else 1.0)
    for head in np.ndindex(Q.shape[:2]):
        q, v, Z = Q[head] * factor, V[head], np.zeros(Q.shape[2], Q.dtype)
        kT = numpy_tiled._transposed(K[head]) if packed else K[head].T
        for i in range(0, len(q), rows):
            for j in range(0, len(v), columns):
                shape = len(q[i : i + rows]), len(v[j : j + columns])
                E = tile[: math.prod(shape)].reshape(shape) if scratch else None
                E = np.matmul(q[i : i + rows], kT[:, j : j + columns], out=E)
                E = exp(E, out=E if scratch else None)
                Z[i : i + rows] += E @ ones[: shape[1]] if sum_as_product else E.sum(-1)
                O[head][i : i + rows] += E @ v[j : j + columns]
        O[head] /= Z[:, None]
    return O


def products(workload):
    """Q Kᵀ and its product with V, tile by tile, and nothing in between: not attention, but its floor."""
    Q, K, V, _ = workload.inputs()
    rows, columns = numpy_tiled.ROWS, numpy_tiled.COLUMNS
    S, O = np.empty((rows, columns), Q.dtype), np.empty((rows, Q.shape[-1]), Q.dtype)

    def run():
        for head in np.ndindex(Q.shape[:2]):
            for i in range(0, Q.shape[2], rows):
                for j in range(0, K.shape[2], columns):
                    np.matmul(Q[head][i : i + rows], K[head][j : j + columns].T, out=S)
                    np.matmul(S, V[head][j : j + columns], out=O)

    return run, lambda nothing: None


_two, _gemv = {"exp": np.exp2}, {"sum_as_product": True}
RUNGS = {
    "all scores at once": _rung(lambda Q, K, V: numpy_direct.attention(Q, K, V)[0]),
    "64 × 64 tiles, merged": _rung(partial(merged_states, rows=64, columns=64)),
    "256 × 512 tiles, merged": _rung(partial(merged_states, rows=256, columns=512)),
    "shift 0: sums": _rung(sums),
    "+ 2^x for e^x": _rung(partial(sums, **_two)),
    "+ row sums as a product": _rung(partial(sums, **_two, **_gemv)),
    "+ one scratch tile": _rung(partial(sums, **_two, **_gemv, scratch=True)),
    "+ Kᵀ copied once": _rung(partial(sums, **_two, **_gemv, scratch=True, packed=True)),
    "the package: + masks, checks": _rung(lambda Q, K, V: numpy_tiled.attention(Q, K, V)[0]),
    "the two products alone": products,
}
