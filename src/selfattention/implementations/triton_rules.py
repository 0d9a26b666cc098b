"""Rules for a Triton kernel: a tree that is compiled into it, and the ranges of blocks that it visits.

A rule of `selfattention.masks` is lowered to a tree of `Node`s whose leaves know only five questions.
The tree is a constant of the kernel, so that `sees`, which walks through it, leaves nothing but its
comparisons in the machine code. The numbers in the questions are the kernel's operands: other lengths
run the same machine code, and so does another window, but that Triton compiles whole numbers anew when
one becomes 1, or a multiple of 16, or ceases to be.
"""

from dataclasses import dataclass
from functools import singledispatch
from itertools import product

import numpy as np

from selfattention import masks
from selfattention.implementations.triton_here import tl, triton


@dataclass(frozen=True)
class Node:
    """A question about positions, `at` its place among the operands, or an operation on one or two nodes."""

    kind: str
    at: int = 0
    a: "Node | None" = None
    b: "Node | None" = None


EVERYBODY = Node("everybody")


@triton.jit
def sees(NODE: tl.constexpr, operands, batch, head, i, j, n, m):
    """May query i see key j? i and j broadcast; the recursion unrolls while the kernel is compiled."""
    if NODE.kind == "both":
        a = sees(NODE.a, operands, batch, head, i, j, n, m)
        return a & sees(NODE.b, operands, batch, head, i, j, n, m)
    elif NODE.kind == "either":
        a = sees(NODE.a, operands, batch, head, i, j, n, m)
        return a | sees(NODE.b, operands, batch, head, i, j, n, m)
    elif NODE.kind == "not":
        return ~sees(NODE.a, operands, batch, head, i, j, n, m)
    elif NODE.kind == "everybody":
        return (i < n) & (j < m)
    elif NODE.kind == "at least":
        return i - j >= operands[NODE.at]
    elif NODE.kind == "at most":
        return i - j <= operands[NODE.at]
    elif NODE.kind == "before":
        return (j < tl.load(operands[NODE.at] + batch)) & (i < n)
    elif NODE.kind == "same":
        asking = tl.load(operands[NODE.at] + i, mask=i < n, other=0)
        return asking == tl.load(operands[NODE.at + 1] + j, mask=j < m, other=0)
    else:  # "table"
        table, strides = operands[NODE.at]
        start = table + batch.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]
        where = start + i.to(tl.int64) * strides[2] + j.to(tl.int64) * strides[3]
        return tl.load(where, mask=(i < n) & (j < m), other=0) != 0


# From a rule to its tree. Every rule is asked for query i + by: `Moved` hands its shift to the leaves.


def lowered(rule, b, h, n, m):
    """The rule for scores (b, h, n, m): a tree, and its operands, whole numbers and arrays.

    Arrays with one axis are lengths or documents; those with more are tables, which broadcast.
    """
    operands = []
    return _lower(rule, 0, (b, h, n, m), operands), operands


@singledispatch
def _lower(rule, by, shape, operands):
    """A rule that is none of those below: spelt out, once, as a table."""
    n, m = shape[2:]
    return _leaf("table", operands, rule.tile(range(by, n + by), range(m)))


@_lower.register
def _(rule: masks.Both, by, shape, operands):
    return Node("both", a=_lower(rule.a, by, shape, operands), b=_lower(rule.b, by, shape, operands))


@_lower.register
def _(rule: masks.Either, by, shape, operands):
    return Node("either", a=_lower(rule.a, by, shape, operands), b=_lower(rule.b, by, shape, operands))


@_lower.register
def _(rule: masks.Not, by, shape, operands):
    return Node("not", a=_lower(rule.a, by, shape, operands))


@_lower.register
def _(rule: masks.Moved, by, shape, operands):
    return _lower(rule.a, by + int(rule.by), shape, operands)


@_lower.register
def _(rule: masks.Band, by, shape, operands):
    """low ≤ i + by − j ≤ high; infinity asks nothing, and what is out of reach asks for the end."""
    n, m = shape[2:]
    sides = ("at least", rule.low), ("at most", rule.high)
    finite = [(kind, int(side) - by) for kind, side in sides if abs(side) != np.inf]
    asked = [_leaf(kind, operands, min(max(side, -m), n)) for kind, side in finite]
    return Node("both", a=asked[0], b=asked[1]) if len(asked) == 2 else asked[0] if asked else EVERYBODY


@_lower.register
def _(rule: masks.Lengths, by, shape, operands):
    b, _, _, m = shape
    lengths = np.broadcast_to(rule.lengths.reshape(-1), (b,))
    return _leaf("before", operands, np.minimum(lengths, m).astype(np.int32))


@_lower.register
def _(rule: masks.SameDocument, by, shape, operands):
    """Documents are numbered; no document has the numbers of queries and of keys that are in none."""
    n, m = shape[2:]
    numbers = np.unique(rule.ids, return_inverse=True)[1].astype(np.int32)
    asking, offering = np.full(n, len(numbers), np.int32), np.full(m, len(numbers) + 1, np.int32)
    first, end = (min(max(at, 0), len(numbers)) for at in (by, by + n))
    asking[first - by : end - by] = numbers[first:end]
    offering[: len(numbers)] = numbers[:m]
    return _leaf("same", operands, asking, offering)


def _leaf(kind, operands, *its_own):
    operands += its_own
    return Node(kind, len(operands) - len(its_own))


# From a tree to ranges. For each block of queries three ranges of keys: outside of the first nobody sees,
# inside of the second everybody, and inside of the third, the gap between sinks and a window, say, nobody.
# A range is a pair of arrays (b or 1, blocks), first and end; one that is empty has its end at its first or
# before. For blocks of keys the same, with ranges of queries.


def key_blocks(tree, operands, n, m, rows, columns):
    """For each block of `rows` queries, the blocks of `columns` keys to visit: see `_blocks`."""
    starts = np.arange(0, n, rows)
    return _blocks(_ranges(tree, operands, starts, np.minimum(starts + rows, n), m, _keys), m, columns)


def query_blocks(tree, operands, n, m, rows, columns):
    """For each block of `columns` keys, the blocks of `rows` queries to visit: see `_blocks`."""
    starts = np.arange(0, m, columns)
    return _blocks(_ranges(tree, operands, starts, np.minimum(starts + columns, m), n, _queries), n, rows)


def _blocks(ranges, size, block):
    """int32 (b or 1, blocks, 6): first ≤ full ≤ full_end ≤ end, and first ≤ gap ≤ gap_end ≤ end.

    Nobody sees anything outside of first … end, or in gap … gap_end; everybody sees everything in
    full … full_end. The last two are made of whole blocks. All but the end are multiples of `block`.
    """
    (first, end), full, gap = ranges
    first, end = np.maximum(first, 0) // block * block, np.minimum(end, size)
    end = np.maximum(end, first)
    full, gap = (_whole_blocks(r, first, end, block) for r in (full, gap))
    return np.stack(np.broadcast_arrays(first, *full, end, *gap), axis=-1).astype(np.int32)


def _whole_blocks(r, first, end, block):
    """What of a range is whole blocks between first and end."""
    begin = np.clip(-(-r[0] // block) * block, first, end // block * block)
    return begin, np.maximum(np.minimum(r[1], end) // block * block, begin)


def _ranges(node, operands, starts, stops, size, leaf):
    """What `leaf` says of the questions, combined: where somebody sees, where everybody, the gap."""
    if node.kind == "everybody":
        return _whole(starts, size), _whole(starts, size), _nothing(starts)
    if node.kind == "not":
        some, full, gap = _ranges(node.a, operands, starts, stops, size, leaf)
        return _outside(full, size), _longer(_beside(some, size), gap), full
    if node.kind in ("both", "either"):
        a = _ranges(node.a, operands, starts, stops, size, leaf)
        b = _ranges(node.b, operands, starts, stops, size, leaf)
        return (_both if node.kind == "both" else _either)(a, b, size)
    answers = leaf(node.kind, operands[node.at :], starts[None], stops[None], size)
    some, full = ((np.clip(first, 0, size), np.clip(end, 0, size)) for first, end in answers)
    return some, full, _nothing(starts)


def _both(a, b, size):
    some = _common(a[0], b[0])
    return some, _common(a[1], b[1]), _joined(*(_common(gap, some) for gap in (a[2], b[2])))


def _either(a, b, size):
    """Nobody sees what both do not see; of such stretches the longest inside of the hull."""
    some, gap = _hull(a[0], b[0]), _nothing(a[0][0][0])
    for unseen, also in product(_unseen(a, size), _unseen(b, size)):
        gap = _longer(gap, _common(_common(unseen, also), some))
    return some, _joined(a[1], b[1]), gap


def _unseen(ranges, size):
    """Stretches in which nobody sees: before the first range, behind it, and the gap."""
    (first, end), _, gap = ranges
    empty = _is_empty((first, end))
    return (0 * first, np.where(empty, size, first)), (np.where(empty, 0, end), 0 * end + size), gap


def _keys(kind, operands, starts, stops, m):
    """The keys that queries starts … stops − 1 may see: some of the queries, all of them."""
    by, none = operands[0], 0 * starts
    if kind == "at least":  # j ≤ i − by
        return (none, stops - by), (none, starts - by + 1)
    if kind == "at most":  # j ≥ i − by
        return (starts - by, none + m), (stops - 1 - by, none + m)
    if kind == "before":
        return 2 * ((none, by[:, None] + none),)
    if kind == "same":
        return _same_number(operands[0], operands[1], starts[0])
    return (none, none + m), (none, none)


def _queries(kind, operands, starts, stops, n):
    """The queries that may see keys starts … stops − 1: some of the keys, all of them."""
    by, none = operands[0], 0 * starts
    if kind == "at least":  # i ≥ j + by
        return (starts + by, none + n), (stops - 1 + by, none + n)
    if kind == "at most":  # i ≤ j + by
        return (none, stops + by), (none, starts + by + 1)
    if kind == "before":
        return (none, n * (starts < by[:, None])), (none, n * (stops <= by[:, None]))
    if kind == "same":
        return _same_number(operands[1], operands[0], starts[0])
    return (none, none + n), (none, none)


def _same_number(ours, theirs, starts):
    """From the first to the last of theirs with a number of ours; all of it, if one number fills it."""
    first, last = (np.full(max(ours.max(), theirs.max()) + 1, unseen) for unseen in (len(theirs), -1))
    np.minimum.at(first, theirs, np.arange(len(theirs)))
    np.maximum.at(last, theirs, np.arange(len(theirs)))
    unbroken = np.bincount(theirs, minlength=len(first)) == last - first + 1
    low, high = np.minimum.reduceat(ours, starts), np.maximum.reduceat(ours, starts)
    begin = np.minimum.reduceat(first[ours], starts)[None]
    end = np.maximum.reduceat(last[ours], starts)[None] + 1
    return (begin, end), (begin, np.where((low == high) & unbroken[low], end, begin))


def _whole(starts, size):
    return np.zeros((1, len(starts)), int), np.full((1, len(starts)), size)


def _nothing(starts):
    return np.zeros((1, len(starts)), int), np.zeros((1, len(starts)), int)


def _is_empty(r):
    return r[1] <= r[0]


def _where(condition, a, b):
    return np.where(condition, a[0], b[0]), np.where(condition, a[1], b[1])


def _common(a, b):
    return np.maximum(a[0], b[0]), np.minimum(a[1], b[1])


def _hull(a, b):
    """The smallest range around both."""
    around = np.minimum(a[0], b[0]), np.maximum(a[1], b[1])
    return _where(_is_empty(a), b, _where(_is_empty(b), a, around))


def _longer(a, b):
    return _where(a[1] - a[0] >= b[1] - b[0], a, b)


def _joined(a, b):
    """Their hull where the two touch, else the longer of them."""
    gap = np.maximum(a[0], b[0]) > np.minimum(a[1], b[1])
    return _where(gap | _is_empty(a) | _is_empty(b), _longer(a, b), _hull(a, b))


def _outside(r, size):
    """The smallest range around all that is not in r."""
    first, end = np.where(r[0] <= 0, r[1], 0), np.where(r[1] >= size, r[0], size)
    return _where(_is_empty(r), (0 * first, 0 * first + size), (first, end))


def _beside(r, size):
    """The longest range that is not in r."""
    nothing = 0 * r[0]
    return _where(_is_empty(r), (nothing, nothing + size), _longer((nothing, r[0]), (r[1], nothing + size)))
