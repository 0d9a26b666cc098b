"""Chapter 14: how fast a machine could be, and the ladder of kernels against its specifications."""

from itertools import product
from math import inf, isclose

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfattention import masks
from selfattention.formulas import (
    arithmetic_intensity,
    attention_flops,
    compulsory_traffic,
    direct_traffic,
    log_sum_exp,
    pieces,
    roofline,
    six_products,
    softmax,
    tiled_traffic,
    truncated_pieces,
    without_tiny,
)
from selfattention.implementations import IMPLEMENTATIONS
from selfattention.signatures import unchecked

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


# float32 in pieces. Any float32 comes from its bits, so that denormal numbers are as many as large ones.

MAX, FIRST_INFINITE = float(np.finfo(np.float32).max), 2.0**128 - 2.0**119
ENDS = [2.0**-149, 2.0**-134, 2.0**-126, 2.0**-110, 2.0**-103, 2.0**-102, 2.0**120, 2.0**-120, MAX]
all_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
below_the_end = all_floats.filter(lambda x: abs(x) < FIRST_INFINITE)
moderate = st.floats(2.0**-60, 2.0**60, width=32).flatmap(lambda x: st.sampled_from([x, -x]))


def one(x):
    return np.array([x], dtype=np.float32)


def at_the_ends(test):
    for x in ENDS:
        test = example(-x)(example(x)(test))
    return test


def exactly(three):
    """The sum of the pieces, in float64, which rounds no sum of three such."""
    return sum(x.astype(np.float64) for x in three).item()


def in_bfloat16(three):
    return not any((x.view(np.uint32) & 0xFFFF).any() for x in three)


def test_pieces_by_hand():
    """1 + 2⁻⁸ is halfway between 1 and 1 + 2⁻⁷: the one farther from 0, and a rest below 0."""
    halfway = 1 + 2**-8
    assert [x.item() for x in pieces(one(halfway))] == [1 + 2**-7, -(2**-8), 0]
    assert [x.item() for x in pieces(one(-halfway))] == [-1 - 2**-7, 2**-8, 0]
    assert [x.item() for x in pieces(one(1 + 2**-9 + 2**-20))] == [1, 2**-9, 2**-20]
    assert [x.item() for x in pieces(np.array([1 / 3]))] == [171 / 512, -171 * 2**-18, 171 * 2**-27]


def test_pieces_first_is_pytorchs_bfloat16_but_for_ties(rng):
    """An outside authority: torch rounds to the nearest as well, and halfway to the even one."""
    import torch

    X = rng.normal(size=10_000).astype(np.float32)
    X = X[(X.view(np.uint32) & 0xFFFF) != 0x8000]
    theirs = torch.from_numpy(X).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(pieces(X)[0], theirs)


@at_the_ends
@given(all_floats)
def test_pieces_exact(x):
    """Claim: three pieces are the number from 2^−110 to 2^128 − 2^119; nearer to 0 at most 2^−134 is lost."""
    if abs(x) >= FIRST_INFINITE:
        return
    three = pieces(one(x))
    assert in_bfloat16(three)
    if abs(x) >= 2.0**-110:
        assert exactly(three) == x
    else:
        assert abs(exactly(three) - x) <= 2.0**-134


@at_the_ends
@given(all_floats)
def test_truncated_pieces_exact(x):
    """Claim: cut off, they are the number from 2^−110 on; nearer to 0 less than 2^−133 is lost."""
    three = truncated_pieces(one(x))
    assert in_bfloat16(three)
    assert all(p == 0 or np.sign(p) == np.sign(x) for p in three)
    if abs(x) >= 2.0**-110:
        assert exactly(three) == x
    else:
        assert abs(exactly(three) - x) < 2.0**-133


def test_truncated_pieces_by_hand():
    """1 − 2⁻²⁴ is 24 ones: eight, eight and eight."""
    eight = 1 - 2.0**-8
    assert [x.item() for x in truncated_pieces(one(1 - 2.0**-24))] == [eight, eight * 2**-8, eight * 2**-16]
    assert [x.item() for x in pieces(one(1 - 2.0**-24))] == [1, -(2.0**-24), 0]


@given(below_the_end.filter(lambda x: abs(x) >= 2.0**-110))
def test_pieces_sizes(x):
    _, rounded, last = pieces(one(x))
    assert abs(rounded) <= 2**-8 * abs(x)
    assert abs(last) <= 2**-17 * abs(x)
    _, second, third = truncated_pieces(one(x))
    assert abs(second) < 2**-7 * abs(x)
    assert abs(third) < 2**-15 * abs(x)


@pytest.mark.parametrize("split", [pieces, truncated_pieces])
def test_pieces_of_negative_zero_are_zeros(split):
    three = split(one(-0.0))
    assert exactly(three) == 0
    assert np.signbit(three[0])


def test_pieces_end_where_rounding_is_infinite():
    """All up to 2^128 − 2^119 have three pieces; from there on bf16(x) is 2^128, which is none."""
    last = np.nextafter(np.float32(FIRST_INFINITE), np.float32(0))
    assert exactly(pieces(one(last))) == last
    for x in FIRST_INFINITE, MAX:
        with pytest.raises(ValueError, match=r"^X leave the range of float32: pieces gives inf"):
            pieces(one(x))
        assert exactly(pieces(one(x / 2))) == x / 2
        assert exactly(truncated_pieces(one(x))) == x


@given(below_the_end.filter(lambda x: abs(x) >= 2.0**-60), st.integers(-40, 40))
def test_pieces_of_a_power_of_two_times_x(x, k):
    """Scaling by 2^k rounds nothing, and so its pieces are scaled."""
    if abs(x) * 2.0**k < FIRST_INFINITE:
        scaled = pieces(one(x * 2.0**k))
        assert [p.item() for p in scaled] == [p.item() * 2.0**k for p in pieces(one(x))]


def test_pieces_of_what_is_not_finite():
    """The formula refuses it by name; to the arithmetic it is ∞ and NaN, and no finite number comes out."""
    with pytest.raises(ValueError, match=r"^X holds inf at \(0,\); wanted finite numbers$"):
        pieces(one(inf))
    with unchecked():
        for split, x in product((pieces, truncated_pieces), (inf, -inf, np.nan)):
            first, second, third = (p.item() for p in split(one(x)))
            np.testing.assert_equal([first, second, third], [x, np.nan, np.nan])
        assert np.isnan([p.item() for p in pieces(one(MAX))][-1])


def test_pieces_of_the_nan_of_all_ones():
    """The NaN of 2³¹ − 1, CUDA's: the half that is added carries into its sign, and −0 comes out."""
    X = np.array([0x7FFFFFFF], dtype=np.uint32).view(np.float32)
    with unchecked():
        assert [p.item() for p in pieces(X)] == [0, 0, 0]
        assert np.isnan([p.item() for p in truncated_pieces(X)]).all()


def split_in_six(A, B, split=pieces):
    return six_products(*split(A), *pieces(B))


def test_six_products_by_hand():
    """Powers of two for pieces: each product has a bit of its own."""
    A, B = one(1 + 2**-9 + 2**-20)[None], one(1 + 2**-10 + 2**-21)[None]
    exact = 1 + 2**-9 + 2**-10 + 2**-19 + 2**-20 + 2**-21
    assert split_in_six(A, B).item() == exact


def test_six_products_small_ones_first():
    """Four products of 2⁻²⁵ beside a 1: together a step of float32, one by one nothing."""
    tiny = one(2.0**-25)[None]
    six = [one(1)[None], tiny, tiny, one(1)[None], tiny, tiny]
    assert six_products(*six).item() == 1 + 2**-23
    alone = np.float32(1)
    for _ in range(4):
        alone += tiny.item()
    assert alone == 1


@given(moderate, moderate)
def test_six_products_dropped(x, y):
    """Claim: what six leave out is less than 2^−23.9 of x y, what three leave out less than 2^−14.9."""
    X, Y = ([p.item() for p in pieces(one(z))] for z in (x, y))
    assert abs(X[1] * Y[2] + X[2] * Y[1] + X[2] * Y[2]) < 2**-23.9 * abs(x * y)
    left_by_three = x * y - (X[0] * Y[0] + X[1] * Y[0] + X[0] * Y[1])
    assert abs(left_by_three) < 2**-14.9 * abs(x * y)
    X = [p.item() for p in truncated_pieces(one(x))]
    assert abs(X[1] * Y[2] + X[2] * Y[1] + X[2] * Y[2]) < 2**-22.4 * abs(x * y)


def errors_by_pairs(A, B, split):
    """Largest error against float64 with one, three, six and nine products, and of float32's own product."""
    exact = A.astype(np.float64) @ B.astype(np.float64)
    a, b = split(A), pieces(B)
    levels = {1: 0, 3: 1, 6: 2, 9: 4}
    small_first = sorted(product(range(3), repeat=2), key=lambda pair: -sum(pair))
    errors = {
        count: abs(sum(a[i] @ b[j] for i, j in small_first if i + j <= level) - exact).max()
        for count, level in levels.items()
    }
    return errors | {"float32": abs(A @ B - exact).max()}


@pytest.mark.parametrize("power", [0, 50, -50])
@pytest.mark.parametrize("split", [pieces, truncated_pieces])
def test_six_products_enough(rng, split, power):
    """Claim: six products are as exact as float32, and nine are no better; one and three are not."""
    A = rng.normal(size=(61, 64)).astype(np.float32)
    B = (rng.normal(size=(64, 67)) * 2.0**power).astype(np.float32)
    off = errors_by_pairs(A, B, split)
    assert off[1] > 100 * off[3] > 100 * 10 * off[6]
    assert off[6] < 2 * off["float32"]
    assert off[9] > off[6] / 2


def test_six_products_of_weights(rng):
    """As the tiles do it: weights that are cut off, values that are rounded."""
    A = softmax(rng.normal(size=(13, 97)) * 30).astype(np.float32)
    V = rng.normal(size=(97, 5)).astype(np.float32)
    exact = A.astype(np.float64) @ V.astype(np.float64)
    ours = split_in_six(without_tiny(A), V, truncated_pieces)
    step = np.finfo(np.float32).eps * abs(exact).max()
    assert abs(ours - exact).max() <= 2 * abs(A @ V - exact).max() + step


def test_without_tiny_by_hand():
    largest_dropped = np.nextafter(np.float32(2.0**-102), np.float32(0))
    given = np.array([1, 2.0**-102, largest_dropped, -largest_dropped, 0, -1], dtype=np.float32)
    np.testing.assert_array_equal(without_tiny(given), np.array([1, 2.0**-102, 0, 0, 0, -1], np.float32))


@at_the_ends
@given(all_floats)
def test_without_tiny_normal(x):
    """Claim: from 2^−103 on, no piece is denormal, cut off or rounded; so after without-tiny none is."""
    kept = without_tiny(one(x))
    for split in (pieces, truncated_pieces):
        if abs(x) < FIRST_INFINITE and abs(x) >= 2.0**-103:
            assert all(p == 0 or abs(p) >= 2.0**-126 for p in split(one(x)))
        if abs(x) < FIRST_INFINITE:
            assert all(p == 0 or abs(p) >= 2.0**-126 for p in split(kept))


def test_without_tiny_begins_early_by_one_power():
    """Between 2^−104 and 2^−103 the last bit is denormal, if it is alone."""
    x = one(2.0**-104 * (1 + 2.0**-23))
    assert [p.item() for p in truncated_pieces(x)] == [2.0**-104, 2.0**-127, 0]
    assert without_tiny(x) == 0


@given(st.integers(0, 2**32 - 1))
def test_without_tiny_loses_little(seed):
    rng = np.random.default_rng(seed)
    A = (2.0 ** rng.integers(-126, 1, size=(3, 17))).astype(np.float32)
    V = rng.normal(size=(17, 5)).astype(np.float32)
    A, V = A.astype(np.float64), V.astype(np.float64)
    lost = abs(A @ V - without_tiny(A) @ V)
    assert (lost <= 2.0**-102 * abs(V).sum(0)).all()


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
