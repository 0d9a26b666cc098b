"""The ladder of chapter 14: five small Triton kernels, each with its specification in NumPy at the end.

One head, float32, no options. `implementations.triton_fused` is what becomes of the last two rungs when
they have to serve everybody. `log_sum_exp_kernel` solves an exercise and is no rung. The functions take
torch tensors on a device that Triton serves: on the GPU, or on the CPU under TRITON_INTERPRET=1.
"""

from dataclasses import dataclass
from functools import wraps

import numpy as np

from selfattention.extras import needed

with needed():
    import torch

from selfattention import formulas
from selfattention.implementations.triton_here import tl, triton


def _row_by_row(function):
    """The kernels take row i to begin i·d numbers after the first: what lies otherwise is copied before."""

    @wraps(function)
    def launch(*matrices, **tiles):
        return function(*(matrix.contiguous() for matrix in matrices), **tiles)

    return launch


@triton.jit
def copy_kernel(source, target, size, BLOCK: tl.constexpr):
    """Program p copies the numbers from p·BLOCK on, as many as there are."""
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = here < size
    tl.store(target + here, tl.load(source + here, mask=there), mask=there)


@_row_by_row
def copied(X, block=256):
    """X, copied; any shape."""
    target = torch.empty_like(X)
    copy_kernel[(triton.cdiv(X.numel(), block),)](X, target, X.numel(), block)
    return target


@triton.jit
def row_softmax_kernel(S, A, m, BLOCK: tl.constexpr):
    """Program i reads row i once, keeps it, and writes its weights once."""
    j = tl.arange(0, BLOCK)
    s = tl.load(S + tl.program_id(0) * m + j, mask=j < m, other=float("-inf"))
    E = tl.exp(s - tl.max(s, 0))
    tl.store(A + tl.program_id(0) * m + j, E / tl.sum(E, 0), mask=j < m)


@_row_by_row
def row_softmax(S):
    """A = softmax(S) of S (n, m), a row in one block."""
    A = torch.empty_like(S)
    row_softmax_kernel[(len(S),)](S, A, S.shape[1], triton.next_power_of_2(S.shape[1]))
    return A


@triton.jit
def one_tile_kernel(
    Q, K, V, O, n, m, scale, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """ROWS queries against all keys at once: neither S nor A is written anywhere."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    j, d = tl.arange(0, COLUMNS), tl.arange(0, D)
    q = tl.load(Q + i[:, None] * D + d, mask=i[:, None] < n, other=0.0)
    k = tl.load(K + j[:, None] * D + d, mask=j[:, None] < m, other=0.0)
    v = tl.load(V + j[:, None] * D + d, mask=j[:, None] < m, other=0.0)
    S = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    S = tl.where(j < m, S, float("-inf"))
    E = tl.exp(S - tl.max(S, 1)[:, None])
    o = tl.dot(E, v, input_precision="ieee") / tl.sum(E, 1)[:, None]
    tl.store(O + i[:, None] * D + d, o, mask=i[:, None] < n)


def _check_shapes(d, **matrices):
    """The kernels read by strides: of a matrix that is too small they would read what lies behind it."""
    if d < 16 or d & (d - 1):
        raise ValueError(f"Q has width {d}; wanted a power of two, 16 or more")
    for name, (matrix, rows) in matrices.items():
        if tuple(matrix.shape) != (rows, d):
            raise ValueError(f"{name} has shape {tuple(matrix.shape)}; wanted {(rows, d)}")


@_row_by_row
def one_tile_attention(Q, K, V, rows=16):
    """O = softmax(Q Kᵀ / √d) V of Q (n, d), K and V (m, d); d a power of two, 16 or more."""
    _check_shapes(Q.shape[1], K=(K, len(K)), V=(V, len(K)))
    (n, d), m, O = Q.shape, len(K), torch.empty_like(Q)
    columns = max(16, triton.next_power_of_2(m))
    one_tile_kernel[(triton.cdiv(n, rows),)](Q, K, V, O, n, m, d**-0.5, d, rows, columns)
    return O


@triton.jit
def causal_kernel(
    Q, K, V, O, L, n, scale, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """ROWS queries and the keys up to their diagonal: chapter 13's state and merge."""
    i, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    q = tl.load(Q + i[:, None] * D + d, mask=i[:, None] < n, other=0.0)
    c, Z = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    o = tl.zeros([ROWS, D], tl.float32)
    for start in range(0, tl.minimum((tl.program_id(0) + 1) * ROWS, n), COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        k = tl.load(K + j[:, None] * D + d, mask=j[:, None] < n, other=0.0)
        v = tl.load(V + j[:, None] * D + d, mask=j[:, None] < n, other=0.0)
        S = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        S = tl.where(j <= i[:, None], S, float("-inf"))
        highest = tl.maximum(c, tl.max(S, 1))
        E, earlier = tl.exp(S - highest[:, None]), tl.exp(c - highest)
        c, Z = highest, earlier * Z + tl.sum(E, 1)
        o = earlier[:, None] * o + tl.dot(E, v, input_precision="ieee")
    tl.store(O + i[:, None] * D + d, o / Z[:, None], mask=i[:, None] < n)
    tl.store(L + i, c + tl.log(Z), mask=i < n)


@_row_by_row
def causal_attention(Q, K, V, rows=32, columns=16):
    """O and L = log-sum-exp of causal attention, Q, K and V (n, d); d a power of two, 16 or more."""
    (n, d), O, L = Q.shape, torch.empty_like(Q), torch.empty_like(Q[:, 0])
    _check_shapes(d, K=(K, n), V=(V, n))
    causal_kernel[(triton.cdiv(n, rows),)](Q, K, V, O, L, n, d**-0.5, d, rows, columns)
    return O, L


@triton.jit
def causal_queries_kernel(
    dO, Q, K, V, L, delta, dQ, n, scale, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """dQ = Σ scale · dS K over the keys up to the diagonal, A = e^{S − L} computed again."""
    i, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, D)
    q = tl.load(Q + i[:, None] * D + d, mask=i[:, None] < n, other=0.0)
    do = tl.load(dO + i[:, None] * D + d, mask=i[:, None] < n, other=0.0)
    l, delta_i = tl.load(L + i, mask=i < n, other=0.0), tl.load(delta + i, mask=i < n, other=0.0)
    dq = tl.zeros([ROWS, D], tl.float32)
    for start in range(0, tl.minimum((tl.program_id(0) + 1) * ROWS, n), COLUMNS):
        j = start + tl.arange(0, COLUMNS)
        k = tl.load(K + j[:, None] * D + d, mask=j[:, None] < n, other=0.0)
        v = tl.load(V + j[:, None] * D + d, mask=j[:, None] < n, other=0.0)
        S = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        A = tl.exp(tl.where(j <= i[:, None], S, float("-inf")) - l[:, None])
        dS = A * (tl.dot(do, tl.trans(v), input_precision="ieee") - delta_i[:, None])
        dq += tl.dot(dS, k, input_precision="ieee") * scale
    tl.store(dQ + i[:, None] * D + d, dq, mask=i[:, None] < n)


@triton.jit
def causal_keys_kernel(
    dO, Q, K, V, L, delta, dK, dV, n, scale,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """dV = Σ Aᵀ dO and dK = Σ scale · dSᵀ Q over the queries from the diagonal on."""
    j, d = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, D)
    k = tl.load(K + j[:, None] * D + d, mask=j[:, None] < n, other=0.0)
    v = tl.load(V + j[:, None] * D + d, mask=j[:, None] < n, other=0.0)
    dk, dv = tl.zeros([COLUMNS, D], tl.float32), tl.zeros([COLUMNS, D], tl.float32)
    for start in range(tl.program_id(0) * COLUMNS // ROWS * ROWS, n, ROWS):
        i = start + tl.arange(0, ROWS)
        q = tl.load(Q + i[:, None] * D + d, mask=i[:, None] < n, other=0.0)
        do = tl.load(dO + i[:, None] * D + d, mask=i[:, None] < n, other=0.0)
        l = tl.load(L + i, mask=i < n, other=0.0)
        delta_i = tl.load(delta + i, mask=i < n, other=0.0)
        S = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        A = tl.exp(tl.where(j <= i[:, None], S, float("-inf")) - l[:, None])
        dS = A * (tl.dot(do, tl.trans(v), input_precision="ieee") - delta_i[:, None])
        dv += tl.dot(tl.trans(A), do, input_precision="ieee")
        dk += tl.dot(tl.trans(dS), q, input_precision="ieee") * scale
    tl.store(dK + j[:, None] * D + d, dk, mask=j[:, None] < n)
    tl.store(dV + j[:, None] * D + d, dv, mask=j[:, None] < n)


@_row_by_row
def causal_backward(dO, Q, K, V, rows=32, columns=16):
    """dQ, dK and dV of causal attention, from dO (n, d)."""
    O, L = causal_attention(Q, K, V)
    (n, d) = Q.shape
    _check_shapes(d, dO=(dO, n))
    delta = (dO * O).sum(1)
    dQ, dK, dV = (torch.empty_like(x) for x in (Q, K, V))
    sizes = n, d**-0.5, d, rows, columns
    causal_queries_kernel[(triton.cdiv(n, rows),)](dO, Q, K, V, L, delta, dQ, *sizes)
    causal_keys_kernel[(triton.cdiv(n, columns),)](dO, Q, K, V, L, delta, dK, dV, *sizes)
    return dQ, dK, dV


@triton.jit
def log_sum_exp_kernel(S, L, m, BLOCK: tl.constexpr):
    """Program i writes the log-sum-exp of row i; any finite shift will do for a row of −∞."""
    i, j = tl.program_id(0), tl.arange(0, BLOCK)
    s = tl.load(S + i * m + j, mask=j < m, other=float("-inf"))
    c = tl.max(s, 0)
    Z = tl.sum(tl.exp(s - tl.where(c == float("-inf"), 0.0, c)), 0)
    # log 0 is −∞ on a GPU, and a warning in the interpreter; c is −∞ there already.
    tl.store(L + i, c + tl.log(tl.where(Z > 0, Z, 1.0)))


@_row_by_row
def row_log_sum_exp(S):
    """L (n,) of S (n, m), a row in one block; rows of −∞ give −∞."""
    L = torch.empty_like(S[:, 0])
    log_sum_exp_kernel[(len(S),)](S, L, S.shape[1], triton.next_power_of_2(S.shape[1]))
    return L


def causal_attention_spec(Q, K, V):
    """Masked attention and the log-sum-exp of the masked scores, written out."""
    visible = np.tri(len(Q), dtype=bool)
    S = formulas.masked_scores(formulas.scaled_scores(Q, K), visible)
    return formulas.masked_attention(Q, K, V, visible), formulas.log_sum_exp(S)


def causal_backward_spec(dO, Q, K, V):
    """The three gradients with all weights at hand."""
    A = formulas.softmax(formulas.masked_scores(formulas.scaled_scores(Q, K), np.tri(len(Q), dtype=bool)))
    dS = formulas.softmax_backward(dO @ V.T, A) * Q.shape[1] ** -0.5
    return dS @ K, dS.T @ Q, A.T @ dO


@dataclass(frozen=True)
class Rung:
    """A step of the ladder: torch tensors through the kernel, NumPy arrays through the specification."""

    name: str
    kernel: object
    spec: object
    arguments: tuple[str, ...]  # of both, by their letters


LADDER = [
    Rung("copy", copied, np.copy, ("X",)),
    Rung("row softmax", row_softmax, formulas.softmax, ("S",)),
    Rung("one tile", one_tile_attention, formulas.attention, ("Q", "K", "V")),
    Rung("tiled, causal", causal_attention, causal_attention_spec, ("Q", "K", "V")),
    Rung("backward", causal_backward, causal_backward_spec, ("dO", "Q", "K", "V")),
]
