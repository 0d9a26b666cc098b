"""Chapter 14: how fast a machine could be, and the ladder of kernels against its specifications."""

from math import inf, isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfattention import masks
from selfattention.formulas import (
    arithmetic_intensity,
    attention_flops,
    compulsory_traffic,
    direct_traffic,
    log_sum_exp,
    roofline,
    softmax,
    tiled_traffic,
)
from selfattention.implementations import IMPLEMENTATIONS

lengths, widths = st.integers(1, 10**6), st.integers(1, 512)
rates = st.floats(1e6, 1e16)
no_kernels = IMPLEMENTATIONS["triton_fused"].why_not()
needs_kernels = pytest.mark.skipif(no_kernels is not None, reason=str(no_kernels))


def test_arithmetic_intensity_by_hand():
    """A product of 2 × 3 and 3 × 5: 60 operations, 6 + 15 + 10 numbers of four bytes."""
    assert arithmetic_intensity(60, 31, 4) == 60 / 124
    assert arithmetic_intensity(0, 31, 2) == 0


@pytest.mark.parametrize("words", [0, -1])
def test_arithmetic_intensity_of_nothing_moved(words):
    with pytest.raises(ValueError, match=f"^words is {words}; wanted a positive number$"):
        arithmetic_intensity(60, words, 4)


def test_roofline_by_hand():
    """10 operations and 2 bytes per second: the roof bends at 5 operations per byte."""
    assert [roofline(i, 10, 2) for i in (0, 1, 5, 7)] == [0, 2, 10, 10]


def test_roofline_without_limits():
    assert roofline(3, inf, 2) == 6
    assert roofline(3, 10, inf) == 10
    assert roofline(3, inf, inf) == inf


def test_roofline_of_nothing_done_without_a_limit_is_no_number():
    """0 operations per byte and ∞ bytes per second: 0 · ∞."""
    names = "intensity, flops_per_second, bytes_per_second"
    with pytest.raises(ValueError, match=f"^{names} leave the range of float64: roofline gives nan"):
        roofline(0, 10, inf)


def test_compulsory_traffic_by_hand():
    """Two queries of width 3, five keys of width 3, five values and two outputs of width 7."""
    assert compulsory_traffic(2, 5, 3, 7) == 6 + 15 + 35 + 14


def test_compulsory_traffic_is_that_of_one_large_tile():
    """All queries in fast memory at once, and no L."""
    assert compulsory_traffic(11, 13, 3, 7) == tiled_traffic(11, 13, 3, 7, r=11) - 11


@given(st.floats(1, 1e18), st.floats(1, 1e15), rates, rates)
def test_roofline_slower_of_two(flops, moved, flops_per_second, bytes_per_second):
    """Claim: the time under the roof is the longer of two, the arithmetic and the traffic."""
    speed = roofline(arithmetic_intensity(flops, moved / 4, 4), flops_per_second, bytes_per_second)
    assert isclose(flops / speed, max(flops / flops_per_second, moved / bytes_per_second), rel_tol=1e-9)


@given(lengths, widths)
def test_arithmetic_intensity_matrix(n, d):
    """Claim: with the matrix, fewer than d operations per word, however long the text."""
    intensity = arithmetic_intensity(attention_flops(n, n, d, d), direct_traffic(n, n, d, d), 1)
    assert intensity < min(n, d)
    assert isclose(intensity, n * d / (n + d), rel_tol=1e-12)


@given(st.integers(1, 1000), widths, st.integers(1, 512))
def test_arithmetic_intensity_tiles(blocks, d, r):
    """Claim: with tiles of r queries, fewer than 2 r operations per word, and nearly that many in the end."""
    n = blocks * r
    intensity = arithmetic_intensity(attention_flops(n, n, d, d), tiled_traffic(n, n, d, d, r), 1)
    assert intensity < 2 * r
    assert isclose(intensity, 2 * r / (1 + (1 + 1 / (2 * d)) / blocks), rel_tol=1e-12)


@given(lengths, widths, widths)
def test_compulsory_traffic_one_query(m, d_k, d_v):
    """Claim: a single query does fewer than two operations per word, whatever the program."""
    flops = attention_flops(1, m, d_k, d_v)
    assert arithmetic_intensity(flops, compulsory_traffic(1, m, d_k, d_v), 1) < 2


def in_tiles(S, V, slack, w):
    """The chapter's loop: O and L, and the largest weight before the division."""
    c, Z, O, largest = np.full(len(S), -inf), np.zeros(len(S)), np.zeros((len(S), V.shape[1])), 0.0
    for j in range(0, S.shape[1], w):
        highest = S[:, j : j + w].max(1)
        earlier, c = c, np.where(highest > c + slack, highest, c)
        E, shrink = np.exp(S[:, j : j + w] - c[:, None]), np.exp(earlier - c)
        Z, O = shrink * Z + E.sum(1), shrink[:, None] * O + E @ V[j : j + w]
        largest = max(largest, E.max())
    return O / Z[:, None], c + np.log(Z), largest


@pytest.mark.parametrize("slack", [0.0, 8 * np.log(2), 30.0])
@pytest.mark.parametrize("scale", [0.1, 5.0, 300.0])
def test_kernels_late_shift(rng, slack, scale):
    """Claim: O and L stay the same when c lags by up to a slack, and no weight exceeds e^slack."""
    S, V = scale * rng.normal(size=(13, 97)), rng.normal(size=(97, 3))
    O, L, largest = in_tiles(S, V, slack, 8)
    np.testing.assert_allclose(O, softmax(S) @ V, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(L, log_sum_exp(S))
    assert largest <= np.exp(slack) * (1 + 1e-12)


def arguments(n, m, rng):
    """What the rungs take, by its letter; keys as many as queries where the rung is causal."""
    rows = {"X": n, "S": n, "Q": n, "K": m, "V": m, "dO": n}
    return {name: rng.normal(size=(rows[name], m if name in "XS" else 16)) for name in rows}


@needs_kernels
@pytest.mark.parametrize(("n", "m"), [(13, 13), (45, 45), (64, 64), (97, 97), (45, 77), (13, 5)])
def test_kernels_ladder(n, m, rng):
    """Claim: every rung computes its specification, at ragged sizes too."""
    import torch

    from selfattention.kernels import LADDER

    for rung in LADDER:
        if n != m and rung.name in ("tiled, causal", "backward"):
            continue
        given = [arguments(n, m, rng)[name] for name in rung.arguments]
        ours = rung.kernel(*(torch.tensor(x, dtype=torch.float32) for x in given))
        exact = rung.spec(*(x.astype(np.float32).astype(np.float64) for x in given))
        for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (ours, exact)), strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=2e-6, err_msg=rung.name)


@needs_kernels
def test_kernels_ladder_large_scores_and_matrices_on_their_sides(rng):
    """e^{S − L} of a masked score may be infinite; row i need not begin i·d numbers after the first."""
    import torch

    from selfattention.kernels import LADDER

    for rung in LADDER:
        given = arguments(37, 37, rng)
        given["Q"] *= 30
        given = [given[name].astype(np.float32) for name in rung.arguments]
        ours = rung.kernel(*(torch.tensor(x.T.copy()).T for x in given))
        exact = rung.spec(*(x.astype(np.float64) for x in given))
        for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (ours, exact)), strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-4, err_msg=rung.name)


@needs_kernels
def test_kernels_ladder_refuses_shapes_that_it_would_misread(rng):
    import torch

    from selfattention import kernels

    Q, narrow, short = (torch.ones(shape) for shape in [(5, 16), (5, 8), (3, 16)])
    for call, message in {
        lambda: kernels.one_tile_attention(Q, narrow, Q): r"^K has shape \(5, 8\); wanted \(5, 16\)$",
        lambda: kernels.one_tile_attention(Q, Q, short): r"^V has shape \(3, 16\); wanted \(5, 16\)$",
        lambda: kernels.causal_attention(Q, short, short): r"^K has shape \(3, 16\); wanted \(5, 16\)$",
        lambda: kernels.causal_attention(Q, Q, narrow): r"^V has shape \(5, 8\); wanted \(5, 16\)$",
        lambda: kernels.causal_backward(short, Q, Q, Q): r"^dO has shape \(3, 16\); wanted \(5, 16\)$",
        lambda: kernels.causal_attention(narrow, narrow, narrow): "^Q has width 8; wanted a power of two",
        lambda: kernels.one_tile_attention(*torch.ones(3, 5, 24)): "^Q has width 24; wanted a power of two",
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    kernels.one_tile_attention(Q, short, short)


@needs_kernels
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 7), (11, 16)])
def test_kernels_ladder_log_sum_exp(n, m, rng):
    """No rung, but the solution of an exercise: at ragged lengths, and with a row that is empty."""
    import torch

    from selfattention.kernels import row_log_sum_exp

    S = rng.normal(50, 100, size=(n, m)).astype(np.float32)
    S[-1] = -inf
    ours = row_log_sum_exp(torch.from_numpy(S)).numpy()
    np.testing.assert_allclose(ours, log_sum_exp(S.astype(np.float64)), rtol=1e-6)


@needs_kernels
@pytest.mark.parametrize("n", [1, 16, 37])
def test_kernels_ranges(n):
    """Claim: outside of its range and in its gap nobody sees, in the full part everybody does.

    More in test_triton_rules.
    """
    from selfattention.implementations.triton_rules import key_blocks, lowered

    rule = (masks.causal & masks.window(9)) | masks.prefix(5) & ~masks.documents(np.arange(n) // 7)
    tree, operands = lowered(rule, 1, 1, n, n)
    for block, ranges in enumerate(key_blocks(tree, operands, n, n, 8, 4)[0]):
        begin, full, full_end, end, gap, gap_end = ranges
        seen = rule.tile(range(8 * block, min(8 * block + 8, n)), range(n))
        assert not seen[:, :begin].any()
        assert not seen[:, end:].any()
        assert not seen[:, gap:gap_end].any()
        assert seen[:, full:full_end].all()
