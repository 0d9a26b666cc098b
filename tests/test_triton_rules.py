"""Rules for kernels: the tree says what the rule says, and the ranges leave nobody out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rules import rules

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS

if why := IMPLEMENTATIONS["triton_fused"].why_not():
    pytest.skip(why, allow_module_level=True)

from selfattention.implementations.triton_here import tl, triton
from selfattention.implementations.triton_rules import (
    key_blocks,
    lowered,
    query_blocks,
    sees,
)

sizes, blocks = st.integers(1, 12), st.integers(1, 4)


def visible(rule, b, h, n, m):
    return np.broadcast_to(rule.tile(range(n), range(m)), (b, h, n, m))


def assert_sound(seen, ranges, block, size):
    """`seen` (blocks, h, askers, others): nobody outside of begin … end or in the gap, everybody in full …"""
    for asked, (begin, full, full_end, end, gap, gap_end) in zip(seen, ranges, strict=True):
        assert 0 <= begin <= full <= full_end <= end <= size
        assert begin <= gap <= gap_end <= end
        assert not {begin % block, full % block, full_end % block, gap % block, gap_end % block} - {0}
        assert not asked[..., :begin].any()
        assert not asked[..., end:].any()
        assert asked[..., full:full_end].all()
        assert not asked[..., gap:gap_end].any()
        walked = edge(begin, full, full_end, end, gap, gap_end, block)
        there = [j for j in range(begin, end, block) if not (full <= j < full_end or gap <= j < gap_end)]
        assert walked == there


def edge(begin, full, full_end, end, gap, gap_end, block):
    """The blocks that a kernel visits beside the full ones: its own walk, spelt out here."""
    places = []
    for t in range(begin, end - (full_end - full) - (gap_end - gap), block):
        earlier = full_end - full if full < gap else 0
        leapt = t if t < gap - earlier else t + gap_end - gap
        places.append(leapt if leapt < full else leapt + full_end - full)
    return places


@settings(max_examples=200)
@given(rules, sizes, sizes, blocks, blocks)
def test_ranges_leave_nobody_out_and_promise_nothing_false(rule, n, m, rows, columns):
    seen = visible(rule, 3, 2, n, m)
    tree, operands = lowered(rule, 3, 2, n, m)
    by_keys = np.broadcast_to(key_blocks(tree, operands, n, m, rows, columns), (3, -(-n // rows), 6))
    by_queries = np.broadcast_to(query_blocks(tree, operands, n, m, rows, columns), (3, -(-m // columns), 6))
    for b in range(3):
        cut = [seen[b, :, i : i + rows] for i in range(0, n, rows)]
        assert_sound(cut, by_keys[b], columns, m)
        cut = [seen[b, :, :, j : j + columns].swapaxes(1, 2) for j in range(0, m, columns)]
        assert_sound(cut, by_queries[b], rows, n)


EASY = {  # a rule, and for four blocks of four queries: keys visited, and keys asked about; two keys a block
    "everybody": (masks.everybody, [(16, 0), (16, 0), (16, 0), (16, 0)]),
    "nobody": (~masks.everybody, [(0, 0), (0, 0), (0, 0), (0, 0)]),
    "causal": (masks.causal, [(4, 4), (8, 4), (12, 4), (16, 4)]),
    "not causal": (~masks.causal, [(16, 4), (12, 4), (8, 4), (4, 4)]),
    "window": (masks.causal & masks.window(6), [(4, 4), (8, 6), (10, 8), (10, 8)]),
    "prefix": (masks.causal | masks.prefix(5), [(5, 1), (8, 4), (12, 4), (16, 4)]),
    "documents": (masks.documents(np.arange(16) // 6), [(6, 0), (12, 12), (6, 0), (4, 0)]),
    "two keys more": (masks.bottom_right(masks.causal, 16, 18), [(6, 4), (10, 4), (14, 4), (16, 2)]),
    "window and sink": (
        masks.causal & (masks.window(4) | masks.sinks(1)),
        [(4, 4), (8, 8), (10, 10), (10, 10)],
    ),
    "neither near nor first": (
        ~(masks.window(3) | masks.sinks(1)),
        [(14, 4), (16, 10), (16, 12), (16, 8)],
    ),
    "not the middle": (~masks.Band(3, 12), [(16, 2), (14, 4), (10, 4), (10, 8)]),
}


@pytest.mark.parametrize("name", EASY)
def test_ranges_are_narrow_where_that_is_easy(name):
    """Visiting everything would be sound, and useless."""
    rule, wanted = EASY[name]
    tree, operands = lowered(rule, 1, 1, 16, 16)
    begin, full, full_end, end, gap, gap_end = key_blocks(tree, operands, 16, 16, 4, 2)[0].T
    visited = end - begin - (gap_end - gap)
    np.testing.assert_array_equal(np.stack([visited, visited - (full_end - full)], axis=1), wanted)


def test_padding_has_ranges_for_each_member_of_the_batch():
    tree, operands = lowered(masks.padding([3, 16, 0]), 3, 1, 4, 16)
    ranges = key_blocks(tree, operands, 4, 16, 4, 2)
    np.testing.assert_array_equal(ranges, [[[0, 0, 2, 3, 0, 0]], [[0, 0, 16, 16, 0, 0]], [[0] * 6]])


@triton.jit
def spell_out(out, operands, n, m, TREE: tl.constexpr):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    batch, head = tl.program_id(0), tl.program_id(1)
    answer = sees(TREE, operands, batch, head, i, j, n, m)
    tl.store(out + (2 * batch + head) * n * m + i * m + j, answer, mask=(i < n) & (j < m))


@settings(max_examples=50)
@given(rules, sizes, sizes)
def test_the_tree_says_what_the_rule_says(rule, n, m):
    """Position by position, in the interpreter."""
    tree, operands = lowered(rule, 3, 2, n, m)
    out = torch.zeros(3, 2, n, m, dtype=torch.int8)

    ready = [operand if isinstance(operand, int) else torch.tensor(operand) for operand in operands]
    for at, operand in enumerate(ready):
        if isinstance(operand, torch.Tensor) and operand.ndim > 1:
            table = operand.to(torch.int8).expand(3, 2, n, m)
            ready[at] = table, table.stride()
    spell_out[(3, 2)](out, tuple(ready), n, m, tree)
    np.testing.assert_array_equal(out.numpy() != 0, visible(rule, 3, 2, n, m))


def test_a_rule_of_ones_own_is_spelt_out():
    """A rule that the kernels have not heard of becomes a table; it stays right, and skips nothing."""

    class Even(masks.Rule):
        def __call__(self, i, j):
            return (i + j) % 2 == 0

        def says(self, rows, columns):
            return masks.Says.SOMEBODY

    tree, operands = lowered(masks.causal & Even(), 1, 1, 4, 6)
    assert [tree.kind, tree.a.kind, tree.b.kind] == ["both", "at least", "table"]
    np.testing.assert_array_equal(operands[1], visible(Even(), 1, 1, 4, 6)[0, 0])


@pytest.mark.parametrize(
    "rule",
    [
        masks.window(2**70),
        masks.window(2**31),
        masks.Band(-(2**70), 2**70) & ~masks.Band(2**40, 2**70),
        masks.prefix(2**70),
        masks.padding(np.array([2**64 - 1, 2], np.uint64)),
        masks.padding(np.array([255, 2], np.uint8)),
        masks.bottom_right(masks.window(3), 2**40, 5),
        masks.bottom_right(masks.documents([1, 1, 2]), 2**40, 5),
        masks.bottom_right(masks.documents([1, 1, 2]), 5, 2**40),
        masks.documents([2**70, 1, 2**70]),
        masks.documents([]),
    ],
    ids=repr,
)
def test_the_numbers_of_a_kernel_are_small(rule):
    """Whatever the rule's own numbers: positions there are int32, and no comparison may wrap."""
    tree, operands = lowered(rule, 2, 1, 4, 6)
    for operand in operands:
        assert np.max(np.abs(operand), initial=0) <= 6
    ranges = np.broadcast_to(key_blocks(tree, operands, 4, 6, 1, 1), (2, 4, 6))
    for b in range(2):
        assert_sound(visible(rule, 2, 1, 4, 6)[b].swapaxes(0, 1)[:, :, None], ranges[b], 1, 6)
