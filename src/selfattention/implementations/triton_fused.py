"""The loop of chapter 14 as fused Triton kernels, forward and backward; memory linear in n and in m.

Every program owns one block of one head and visits only the blocks on the other side in which somebody
may see somebody (`triton_rules`): first those where everybody may, without a question, then the edge.
Grouped heads read the same K and V. Halves go into the tensor cores as they are and are summed in
float32; float32 is multiplied exactly ("ieee"), without tensor cores.

The tiles were chosen by what the compiler reports for an H100, see tests/test_kernels_compile.py. They
are not measured on a GPU.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from math import copysign, log
from threading import Lock

import numpy as np

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations import contract
from selfattention.implementations.torch_autograd import differentiable
from selfattention.implementations.triton_here import INTERPRETED, tl, triton, why_not
from selfattention.implementations.triton_rules import Node, key_blocks, lowered, query_blocks, sees

LOG2E = tl.constexpr(1 / log(2))  # e^s = 2^(s log₂ e), and 2^x is what the hardware has
LN2 = tl.constexpr(log(2))
# ln 2 in two parts, of which the first has so few digits that its multiples by small integers are exact.
LN2_HIGH = tl.constexpr(round(log(2) * 2**15) / 2**15)
LN2_LOW = tl.constexpr(log(2) - round(log(2) * 2**15) / 2**15)


@dataclass(frozen=True)
class Tiles:
    """A tile of scores, the warps that share it, and how many tiles are on their way from memory."""

    rows: int
    columns: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class How(Tiles):
    """What a kernel is compiled for: beside its tiles, the rule, the dtype of sums, the cap, the widths."""

    tree: Node
    gaps: bool  # whether there are blocks to leap over, between those that are visited
    sums: tl.dtype
    softcap: float | None  # exact in float64 too, as an argument would not be
    d_k: int
    d_v: int
    w_k: int  # d_k, filled up to a power of two
    w_v: int


# By the wider of d_k and d_v, up to a power of two. A table or a bias has to be loaded score by score, and
# with the large tiles there are no registers left for its addresses: it gets tiles of its own.
FORWARD = {
    64: Tiles(128, 64, 4, 3),
    128: Tiles(128, 64, 8, 3),
    256: Tiles(64, 32, 8, 2),
    "table": Tiles(64, 16, 4, 2),
    "wide table": Tiles(64, 16, 8, 2),
}
QUERIES = {
    64: Tiles(64, 64, 4, 3),
    128: Tiles(128, 64, 8, 2),
    256: Tiles(64, 32, 8, 2),
    "table": Tiles(64, 32, 8, 2),
    "wide table": Tiles(32, 32, 8, 2),
}
KEYS = {
    64: Tiles(64, 128, 8, 2),
    128: Tiles(32, 128, 8, 2),
    256: Tiles(32, 32, 8, 2),
    "table": Tiles(32, 64, 8, 1),
    "wide table": Tiles(32, 32, 8, 1),
}
WIDEST = 256  # beyond that tiles of 16 do not fit into shared memory
# float32 and float64 take more registers and no tensor cores. The interpreter takes its time per tile.
EXACT = {64: Tiles(32, 32, 8, 1), 128: Tiles(32, 32, 8, 1), 256: Tiles(16, 16, 8, 1)}
if INTERPRETED:
    EXACT = dict.fromkeys(EXACT, Tiles(128, 128, 1, 1))


LOCK = Lock()


@contract.forward_in_half
def attention(Q, K, V, rule, bias, scale, softcap):
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row; differentiable in all four."""
    return _differentiable(Q, K, V, rule, bias, scale, softcap)


def _states(Q, K, rule, bias, scale, softcap=None):
    """c and Z of every row: what L = c + ln Z can no longer tell where c is large."""
    call = _Call(Q, K, K, rule, bias, scale, softcap)
    c, Z = Q.new_full(Q.shape[:-1], -torch.inf, dtype=call.sums), Q.new_zeros(Q.shape[:-1], dtype=call.sums)
    if call.has_scores:
        call.over_keys(_states_kernel, QUERIES, *map(_strided, (call.Q, K)), c, Z)
    return c, Z


@contract.backward_in_half_from(_states)
def attention_backward(dO, Q, K, V, O, L, rule, bias, scale, softcap):
    """The scores of a tile are computed again, and L turns them into weights: A = e^{S − L}."""
    return _gradients(dO, None, Q, K, V, O, L, rule, bias, scale, softcap)


def _forward(Q, K, V, rule, bias, scale, softcap=None):
    """O and L, by one program for each block of queries of each head."""
    call = _Call(Q, K, V, rule, bias, scale, softcap)
    O, L = Q.new_zeros(*Q.shape[:-1], V.shape[-1]), Q.new_full(Q.shape[:-1], -torch.inf, dtype=call.sums)
    if call.has_scores:
        call.over_keys(_forward_kernel, FORWARD, *map(_strided, (call.Q, K, V, O)), L)
    return O, L


def _gradients(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap=None):
    """dQ by a program for each block of queries, then dK and dV by one for each block of keys.

    The loss may depend on O by dO and, where dL is given, on L. No two programs add to the same
    number, so that a sum does not depend on which of them came first.
    """
    call = _Call(Q, K, V, rule, bias, scale, softcap)
    L, dL = (None if x is None else x.to(call.sums).contiguous() for x in (L, dL))
    dQ, dK, dV, delta = (torch.zeros_like(array) for array in (Q, K, V, L))
    if call.has_scores:
        dO, O, *QKV = map(_strided, (dO, O, call.Q, K, V))
        call.over_keys(_queries_kernel, QUERIES, dO, O, *QKV, L, dL, delta, _strided(dQ))
        call.over_queries(_keys_kernel, KEYS, dO, *QKV, L, delta, _strided(dK), _strided(dV))
    return dQ if call.factor == 1 else dQ * call.factor, dK, dV


def _first_gradients(*arguments):
    """What a kernel does is not recorded: a second derivative would leave it out, and not say so."""
    if torch.is_grad_enabled():
        raise RuntimeError("create_graph=True wants a backward pass recorded: use torch_tiled, not a kernel")
    return _gradients(*arguments)


_differentiable = differentiable(_forward, contract.sent_back(_first_gradients, _states))


class _Call:
    """What the kernels of one call have in common."""

    def __init__(self, Q, K, V, rule, bias, scale, softcap=None):
        _check(Q, V)
        (self.b, self.h, self.n, _), (_, self.g, self.m, self.d_v) = Q.shape, V.shape
        self.has_scores = min(self.b, self.h, self.n, self.m) > 0
        self.sums = Q.dtype if Q.dtype == torch.float64 else torch.float32
        self.factor, self.scale = _split(scale, Q.dtype)
        self.softcap = softcap
        self.Q = Q if self.factor == 1 else Q * self.factor
        self.bias = None if bias is None else _strided(self._expanded(bias))
        self.tree, self.operands = lowered(rule, self.b, self.h, self.n, self.m)

    def over_keys(self, kernel, tiles, *arrays):
        """Launch a kernel whose programs own blocks of queries."""
        self._launch(kernel, tiles, key_blocks, self.h, *arrays)

    def over_queries(self, kernel, tiles, *arrays):
        """Launch a kernel whose programs own blocks of keys."""
        self._launch(kernel, tiles, query_blocks, self.g, *arrays)

    def _launch(self, kernel, tiles, ranges, heads, *arrays):
        tiles = self._tiles(tiles)
        blocks = ranges(self.tree, self.operands, self.n, self.m, tiles.rows, tiles.columns)
        how = self._how(tiles, gaps=bool((blocks[..., 4] < blocks[..., 5]).any()))
        blocks = torch.from_numpy(blocks).to(self.Q.device).expand(self.b, -1, -1)
        operands = tuple(map(self._on_device, self.operands))
        grid = (self.b * heads * blocks.shape[1],)
        sizes = self.h, self.g, self.n, self.m
        with torch.cuda.device_of(self.Q), _undisturbed():  # Triton launches on the current device
            kernel[grid](
                *arrays, self.bias, operands, _strided(blocks), self.scale, *sizes, how,
                num_warps=how.num_warps, num_stages=how.num_stages,
            )  # fmt: skip

    def _tiles(self, tiles):
        """Those of this dtype and width, from one of the tables above."""
        tabled = self.bias is not None or any(np.ndim(operand) > 1 for operand in self.operands)
        width = max(64, *map(_padded, (self.Q.shape[-1], self.d_v)))
        if self.Q.dtype in (torch.float32, torch.float64):
            return EXACT[width]
        return tiles[width if not tabled else "table" if width < 256 else "wide table"]

    def _how(self, tiles, gaps):
        (d_k, w_k), (d_v, w_v) = ((d, _padded(d)) for d in (self.Q.shape[-1], self.d_v))
        sums = tl.float64 if self.sums == torch.float64 else tl.float32
        widths = {"d_k": d_k, "d_v": d_v, "w_k": w_k, "w_v": w_v}
        return How(**vars(tiles), tree=self.tree, gaps=gaps, sums=sums, softcap=self.softcap, **widths)

    def _on_device(self, operand):
        """A whole number as it is, lengths and documents as an array, a table with its strides."""
        if isinstance(operand, int):
            return operand
        array = torch.as_tensor(operand, device=self.Q.device)
        return array if array.ndim == 1 else _strided(self._expanded(array).view(torch.uint8))

    def _expanded(self, array):
        """Broadcast to the scores by strides of 0, without a copy."""
        return array.expand(self.b, self.h, self.n, self.m)


@contextmanager
def _undisturbed():
    """The interpreter stands in for Triton's functions, in all threads, for as long as a kernel runs.

    And it computes with NumPy, which warns where a kernel goes on: a difference of scores may overflow.
    """
    if not INTERPRETED:
        yield
        return
    with LOCK, np.errstate(over="ignore", invalid="ignore"):
        yield


def _check(Q, V):
    """What the contract allows and no kernel here can do."""
    if why := why_not(Q.device.type):
        raise RuntimeError(f"Q is on {Q.device}: {why}")
    if INTERPRETED and Q.dtype == torch.bfloat16:
        raise TypeError("Q has dtype bfloat16, which Triton's interpreter multiplies wrongly; wanted float16")
    for name, array in ("Q", Q), ("V", V):
        if array.shape[-1] > WIDEST:
            raise ValueError(f"{name} has width {array.shape[-1]}; wanted {WIDEST} or less")


def _split(scale, dtype):
    """What of the scale is multiplied into Q, and what is left: the positive float32 that kernels take.

    A sign costs no rounding. Nothing may be left that is 0 in float32: 0 · −∞ is not a number.
    """
    if dtype == torch.float64 or abs(scale) < torch.finfo(torch.float32).tiny:
        return scale, 1.0
    return copysign(1.0, scale), abs(scale)


def _padded(width):
    """Tiles have powers of two for sides, and the tensor cores want 16 at least."""
    return max(16, triton.next_power_of_2(width))


def _strided(array):
    """An array and its strides: what a kernel must know to find a head and a row."""
    return array, array.stride()


# The kernels. A matrix comes with its strides; i are queries and j keys; HOW is what they are compiled for.


@triton.jit
def _head(matrix, batch, head):
    """Where the matrix of one head begins, and its strides."""
    start, strides = matrix
    start += batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]
    return start, strides[2], strides[3]


@triton.jit
def _load(matrix, rows, end, D: tl.constexpr, WIDTH: tl.constexpr, EDGE: tl.constexpr):
    """Some rows of a matrix, 0 for what is not there; away from the edge all is there."""
    start, down, along = matrix
    places = start + rows[:, None].to(tl.int64) * down + tl.arange(0, WIDTH).to(tl.int64)[None, :] * along
    if D < WIDTH:
        return tl.load(places, mask=(rows[:, None] < end) & (tl.arange(0, WIDTH)[None, :] < D), other=0.0)
    elif EDGE:
        return tl.load(places, mask=rows[:, None] < end, other=0.0)
    else:
        return tl.load(places)


@triton.jit
def _store(matrix, rows, end, tile, D: tl.constexpr, WIDTH: tl.constexpr):
    start, down, along = matrix
    places = start + rows[:, None].to(tl.int64) * down + tl.arange(0, WIDTH).to(tl.int64)[None, :] * along
    there = (rows[:, None] < end) & (tl.arange(0, WIDTH)[None, :] < D)
    tl.store(places, tile.to(start.dtype.element_ty), mask=there)


@triton.jit
def _load_block(blocks, batch, block, HOW: tl.constexpr):
    """Where to begin, where everybody sees everybody, from and to, where to end, and the gap, from and to."""
    start, strides = blocks
    start += batch.to(tl.int64) * strides[0] + block.to(tl.int64) * strides[1]
    begin, full, full_end, end = tl.load(start), tl.load(start + 1), tl.load(start + 2), tl.load(start + 3)
    if HOW.gaps:
        return begin, full, full_end, end, tl.load(start + 4), tl.load(start + 5)
    else:
        return begin, full, full_end, end, end, end


@triton.jit
def _on_the_edge(t, full, full_end, gap, gap_end, HOW: tl.constexpr):
    """Where the walk along the edge is after t: it leaps over the gap, and over what is full."""
    if HOW.gaps:
        earlier = tl.where(full < gap, full_end - full, 0)  # t has not been over these yet
        t = tl.where(t < gap - earlier, t, t + gap_end - gap)
    return tl.where(t < full, t, t + full_end - full)


@triton.jit
def _scores(left, right, i, j, mask, HOW: tl.constexpr, EDGE: tl.constexpr):
    """The scores of a tile, −inf where nobody may look, their unit, and tanh: a score is S · unit.

    Without a bias and a cap the scale can wait in the unit, since a multiplication and the subtraction of a
    shift are one instruction. Without a cap nobody looks at tanh.
    """
    bias, operands, scale, batch, head, n, m = mask
    S = tl.dot(left, tl.trans(right), out_dtype=HOW.sums, input_precision="ieee")
    unit = tl.full([], 1.0, HOW.sums) * scale
    tanh = S
    if HOW.softcap is not None:
        limit = tl.full([], HOW.softcap, HOW.sums)
        tanh = _tanh(S * unit / limit, HOW)
        S, unit = tanh * limit, tl.full([], 1.0, HOW.sums)
    if bias is not None:
        start, down, along = _head(bias, batch, head)
        where = start + i.to(tl.int64) * down + j.to(tl.int64) * along
        added = tl.load(where, mask=(i < n) & (j < m), other=0.0)
        S = S * unit + added.to(HOW.sums)
        unit = tl.full([], 1.0, HOW.sums)
    if EDGE:
        S = tl.where(sees(HOW.tree, operands, batch, head, i, j, n, m) & (j < m), S, float("-inf"))
    return S, unit, tanh


@triton.jit
def _tanh(x, HOW: tl.constexpr):
    """(e^{2x} − 1) / (e^{2x} + 1), right to some units in its last place, of small x as well.

    2x is k ln 2 + u, and e^{2x} − 1 = 2^k (e^u − 1) + (2^k − 1), with a series for e^u − 1. Beyond ±20 all is
    ±1; and NaN, which nobody may see, is no matter. The hardware's own, tanh.approx, is right to
    eleven bits (PTX ISA).
    """
    TERMS: tl.constexpr = 15 if HOW.sums == tl.float64 else 9
    x = 2 * tl.minimum(tl.maximum(x, -20.0), 20.0)
    k = tl.floor(x * LOG2E + 0.5)
    u = (x - k * LN2_HIGH) - k * LN2_LOW
    series = tl.full([], 1.0, HOW.sums)
    for t in tl.static_range(TERMS - 1):
        series = 1.0 + series * u / (TERMS - t)
    power = tl.math.exp2(k)
    grown = power * (u * series) + (power - 1.0)
    return grown / (grown + 2.0)


@triton.jit
def _power(S, unit, c):
    """e^{S · unit − c}: first the difference, then base 2, or what is left of large scores is rounding.

    All passes take it from here, so that all round alike.
    """
    return tl.math.exp2((S * unit - c) * LOG2E)


@triton.jit
def _weights(S, unit, L):
    """e^{S − L}; a row that does not exist has L = −inf and weights 0."""
    return _power(S, unit, tl.where(L == float("-inf"), float("inf"), L))


@triton.jit
def _forward_kernel(Q, K, V, O, L, bias, operands, blocks, scale, h, g, n, m, HOW: tl.constexpr):
    """A block of queries: the state (c, Z, Õ) of chapter 13, merged with that of one tile after another."""
    block_count = tl.cdiv(n, HOW.rows)
    block = block_count - 1 - tl.program_id(0) % block_count  # of a causal mask, the longest rows first
    batch, head = tl.program_id(0) // block_count // h, tl.program_id(0) // block_count % h
    mask = bias, operands, scale, batch, head, n, m
    i = block * HOW.rows + tl.arange(0, HOW.rows)
    q = _load(_head(Q, batch, head), i, n, HOW.d_k, HOW.w_k, True)
    keys, values = _head(K, batch, head // (h // g)), _head(V, batch, head // (h // g))

    c, Z = tl.full([HOW.rows], float("-inf"), HOW.sums), tl.full([HOW.rows], 0.0, HOW.sums)
    o = tl.full([HOW.rows, HOW.w_v], 0.0, HOW.sums)
    begin, full, full_end, end, gap, gap_end = _load_block(blocks, batch, block, HOW)
    for j in range(full, full_end, HOW.columns):
        c, Z, o = _merge(c, Z, o, q, i, j, keys, values, mask, HOW, False)
    for t in range(begin, end - (full_end - full) - (gap_end - gap), HOW.columns):
        j = _on_the_edge(t, full, full_end, gap, gap_end, HOW)
        c, Z, o = _merge(c, Z, o, q, i, j, keys, values, mask, HOW, True)

    seen = tl.where(Z > 0, Z, 1)
    _store(_head(O, batch, head), i, n, o / seen[:, None], HOW.d_v, HOW.w_v)
    tl.store(L + (batch * h + head).to(tl.int64) * n + i, c + tl.math.log2(seen) * LN2, mask=i < n)


@triton.jit
def _merge(c, Z, o, q, i, start, keys, values, mask, HOW: tl.constexpr, EDGE: tl.constexpr):
    """Merge the state with that of the keys from `start`."""
    m = mask[6]
    j = start + tl.arange(0, HOW.columns)
    k = _load(keys, j, m, HOW.d_k, HOW.w_k, EDGE)
    S, unit, _ = _scores(q, k, i[:, None], j[None, :], mask, HOW, EDGE)
    highest = tl.maximum(c, tl.max(S, 1) * unit)
    shift = tl.where(highest == float("-inf"), 0.0, highest)
    E, earlier = _power(S, unit, shift[:, None]), _power(c, 1.0, shift)
    v = _load(values, j, m, HOW.d_v, HOW.w_v, EDGE)
    o = o * earlier[:, None]
    o = tl.dot(E.to(v.dtype), v, o, out_dtype=HOW.sums, input_precision="ieee")
    return highest, Z * earlier + tl.sum(E, 1), o


@triton.jit
def _states_kernel(Q, K, C, Z, bias, operands, blocks, scale, h, g, n, m, HOW: tl.constexpr):
    """A block of queries: first c, the largest scores, then Z = Σ e^{S − c}, as the weights have it."""
    block_count = tl.cdiv(n, HOW.rows)
    block = block_count - 1 - tl.program_id(0) % block_count
    batch, head = tl.program_id(0) // block_count // h, tl.program_id(0) // block_count % h
    mask = bias, operands, scale, batch, head, n, m
    i = block * HOW.rows + tl.arange(0, HOW.rows)
    q = _load(_head(Q, batch, head), i, n, HOW.d_k, HOW.w_k, True)
    keys = _head(K, batch, head // (h // g))

    begin, _, _, end, gap, gap_end = _load_block(blocks, batch, block, HOW)
    c, sums = tl.full([HOW.rows], float("-inf"), HOW.sums), tl.full([HOW.rows], 0.0, HOW.sums)
    for t in range(begin, end - (gap_end - gap), HOW.columns):
        j = _on_the_edge(t, begin, begin, gap, gap_end, HOW) + tl.arange(0, HOW.columns)
        k = _load(keys, j, m, HOW.d_k, HOW.w_k, True)
        S, unit, _ = _scores(q, k, i[:, None], j[None, :], mask, HOW, True)
        c = tl.maximum(c, tl.max(S, 1) * unit)
    for t in range(begin, end - (gap_end - gap), HOW.columns):
        j = _on_the_edge(t, begin, begin, gap, gap_end, HOW) + tl.arange(0, HOW.columns)
        k = _load(keys, j, m, HOW.d_k, HOW.w_k, True)
        S, unit, _ = _scores(q, k, i[:, None], j[None, :], mask, HOW, True)
        sums += tl.sum(_weights(S, unit, c[:, None]), 1)
    row = (batch * h + head).to(tl.int64) * n + i
    tl.store(C + row, c, mask=i < n)
    tl.store(Z + row, sums, mask=i < n)


@triton.jit
def _queries_kernel(
    dO, O, Q, K, V, L, dL, delta, dQ, bias, operands, blocks, scale, h, g, n, m, HOW: tl.constexpr
):
    """A block of queries: δ = rowsum(dO ∘ O) − dL,  dQ = Σ over tiles of scale · dS K."""
    block_count = tl.cdiv(n, HOW.rows)
    block = block_count - 1 - tl.program_id(0) % block_count
    batch, head = tl.program_id(0) // block_count // h, tl.program_id(0) // block_count % h
    mask = bias, operands, scale, batch, head, n, m
    i = block * HOW.rows + tl.arange(0, HOW.rows)
    q = _load(_head(Q, batch, head), i, n, HOW.d_k, HOW.w_k, True)
    do = _load(_head(dO, batch, head), i, n, HOW.d_v, HOW.w_v, True)
    o = _load(_head(O, batch, head), i, n, HOW.d_v, HOW.w_v, True)
    keys, values = _head(K, batch, head // (h // g)), _head(V, batch, head // (h // g))
    row = (batch * h + head).to(tl.int64) * n + i
    l = tl.load(L + row, mask=i < n, other=float("-inf"))
    d = tl.sum(do.to(HOW.sums) * o.to(HOW.sums), 1)
    if dL is not None:  # ∂L/∂S is A as well
        d -= tl.load(dL + row, mask=i < n, other=0.0)
    tl.store(delta + row, d, mask=i < n)

    dq = tl.full([HOW.rows, HOW.w_k], 0.0, HOW.sums)
    begin, full, full_end, end, gap, gap_end = _load_block(blocks, batch, block, HOW)
    for j in range(full, full_end, HOW.columns):
        dq = _add_to_queries(dq, q, do, l, d, i, j, keys, values, mask, HOW, False)
    for t in range(begin, end - (full_end - full) - (gap_end - gap), HOW.columns):
        j = _on_the_edge(t, full, full_end, gap, gap_end, HOW)
        dq = _add_to_queries(dq, q, do, l, d, i, j, keys, values, mask, HOW, True)
    _store(_head(dQ, batch, head), i, n, dq * scale, HOW.d_k, HOW.w_k)


@triton.jit
def _add_to_queries(dq, q, do, l, d, i, start, keys, values, mask, HOW: tl.constexpr, EDGE: tl.constexpr):
    """dq + dS K for the keys from `start`."""
    m = mask[6]
    j = start + tl.arange(0, HOW.columns)
    k = _load(keys, j, m, HOW.d_k, HOW.w_k, EDGE)
    v = _load(values, j, m, HOW.d_v, HOW.w_v, EDGE)
    S, unit, tanh = _scores(q, k, i[:, None], j[None, :], mask, HOW, EDGE)
    dA = tl.dot(do, tl.trans(v), out_dtype=HOW.sums, input_precision="ieee")
    dS = _weights(S, unit, l[:, None]) * (dA - d[:, None])
    if HOW.softcap is not None:
        dS *= 1.0 - tanh * tanh
    return tl.dot(dS.to(k.dtype), k, dq, out_dtype=HOW.sums, input_precision="ieee")


@triton.jit
def _keys_kernel(dO, Q, K, V, L, delta, dK, dV, bias, operands, blocks, scale, h, g, n, m, HOW: tl.constexpr):
    """A block of keys: dV = Σ Aᵀ dO,  dK = Σ scale · dSᵀ Q, over tiles and over the heads of the group.

    All tiles stand on their sides here, Aᵀ and dSᵀ: as the left factor of a product they stay in
    registers, as the right one they would have to cross shared memory.
    """
    block_count = tl.cdiv(m, HOW.columns)
    block = tl.program_id(0) % block_count
    batch, group = tl.program_id(0) // block_count // g, tl.program_id(0) // block_count % g
    j = block * HOW.columns + tl.arange(0, HOW.columns)
    k = _load(_head(K, batch, group), j, m, HOW.d_k, HOW.w_k, True)
    v = _load(_head(V, batch, group), j, m, HOW.d_v, HOW.w_v, True)

    dk = tl.full([HOW.columns, HOW.w_k], 0.0, HOW.sums)
    dv = tl.full([HOW.columns, HOW.w_v], 0.0, HOW.sums)
    begin, full, full_end, end, gap, gap_end = _load_block(blocks, batch, block, HOW)
    for member in range(h // g):
        head = group * (h // g) + member
        mask = bias, operands, scale, batch, head, n, m
        queries, above = _head(Q, batch, head), _head(dO, batch, head)
        row = (batch * h + head).to(tl.int64) * n
        for i in range(full, full_end, HOW.rows):
            dk, dv = _add_to_keys(dk, dv, k, v, i, j, queries, above, L + row, delta + row, mask, HOW, False)
        for t in range(begin, end - (full_end - full) - (gap_end - gap), HOW.rows):
            i = _on_the_edge(t, full, full_end, gap, gap_end, HOW)
            dk, dv = _add_to_keys(dk, dv, k, v, i, j, queries, above, L + row, delta + row, mask, HOW, True)
    _store(_head(dK, batch, group), j, m, dk * scale, HOW.d_k, HOW.w_k)
    _store(_head(dV, batch, group), j, m, dv, HOW.d_v, HOW.w_v)


@triton.jit
def _add_to_keys(
    dk, dv, k, v, start, j, queries, above, L, delta, mask, HOW: tl.constexpr, EDGE: tl.constexpr
):
    """dk + dSᵀ Q and dv + Aᵀ dO for the queries from `start`."""
    n = mask[5]
    i = start + tl.arange(0, HOW.rows)
    q = _load(queries, i, n, HOW.d_k, HOW.w_k, EDGE)
    do = _load(above, i, n, HOW.d_v, HOW.w_v, EDGE)
    l = tl.load(L + i, mask=i < n, other=float("-inf"))
    d = tl.load(delta + i, mask=i < n, other=0.0)
    S, unit, tanh = _scores(k, q, i[None, :], j[:, None], mask, HOW, EDGE)
    A = _weights(S, unit, l[None, :])
    dv = tl.dot(A.to(do.dtype), do, dv, out_dtype=HOW.sums, input_precision="ieee")
    dA = tl.dot(v, tl.trans(do), out_dtype=HOW.sums, input_precision="ieee")
    dS = A * (dA - d[None, :])
    if HOW.softcap is not None:
        dS *= 1.0 - tanh * tanh
    return tl.dot(dS.to(q.dtype), q, dk, out_dtype=HOW.sums, input_precision="ieee"), dv
