"""What matrix tiles compute, written down in NumPy: to the last bit, wherever there are tiles to ask."""

import numpy as np
import pytest

from selfattention import formulas
from selfattention.implementations import IMPLEMENTATIONS

WHY_NOT = IMPLEMENTATIONS["matrix_tiled"].why_not()
here = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
ORDER = (2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)  # pieces of A and of B: eq. six-products
SMALLEST = np.float32(2.0**-126)


def normal(X):
    """What is denormal is zero, before a product of tiles and behind it."""
    return np.where(abs(X) < SMALLEST, np.float32(0), X)


def tile_product(C, A, B):
    """C + A B for A (16, 32) and B (32, 16), as TDPBF16PS has it for rows 0, 16, 1, 17, … of B.

    The two numbers of a pair are multiplied and summed in two sums, from the first pair to the last, each
    product exact and each sum rounded; then both are added, and then C (Intel, Software Developer's Manual).
    """
    sums = np.zeros((2, *C.shape), np.float32)
    A, B = normal(A), normal(B)
    for pair in range(16):
        for which in range(2):
            k = pair + 16 * which
            sums[which] = normal(sums[which] + A[:, k, None] * B[k])
    return normal(C + normal(sums[0] + sums[1]))


def six_products(A, B):
    """A B for A (16, d) and B (d, 16), 32 columns of A at a time: five products of each, then the largest."""
    A, B, C = formulas.pieces(A), formulas.pieces(B), np.zeros((16, 16), np.float32)
    for pairs in ORDER[:-1], ORDER[-1:]:
        for k in range(0, A[0].shape[1], 32):
            for p, q in pairs:
                C = tile_product(C, A[p][:, k : k + 32], B[q][k : k + 32])
    return C


def drawn(size, spread):
    """A (32, 96) and B (96, 32), some numbers 2^spread times as large as others."""
    rng = np.random.default_rng(abs(size))
    A, B = rng.standard_normal((2, 32, 96), dtype=np.float32)
    return np.ldexp(A, rng.integers(-spread, spread + 1, A.shape)), np.ldexp(B, size).T.copy()


SIZES = [(0, 0), (0, 12), (40, 3), (-60, 6), (-110, 4)]


@pytest.mark.parametrize(("size", "spread"), SIZES[:-1])
def test_six_products_are_as_good_as_float32(size, spread):
    A, B = drawn(size, spread)
    A, B = A[:16], B[:, :16]
    exact, scale = A.astype(np.float64) @ B, abs(A).astype(np.float64) @ abs(B)
    assert (abs(six_products(A, B) - exact) <= 2.0**-22 * scale).all()


def test_they_are_the_formula_but_for_the_order_of_its_sums():
    A, B = (X[:16] if X.shape[0] == 32 else X[:, :16] for X in drawn(0, 0))
    wanted = formulas.six_products(*formulas.pieces(A), *formulas.pieces(B))
    np.testing.assert_allclose(six_products(A, B), wanted, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def machine():
    """Products and weights as `matrix_tiled` has them, each compiled by itself."""
    from numba import njit

    from selfattention.implementations import tile_products as tiles

    settings, pile, steps = tiles.settings(), tiles.PILE, 3

    @njit
    def blocks(C, A, B, left, right, one):
        tiles.configure(settings)
        for half in range(2):
            tiles.rows_to_left(left, half * steps * pile, A, half * 16 * 96, 96, 96, one)
            tiles.rows_to_right(right, half * steps * pile, B, half * 16 * 96, 96, 96, one)
        tiles.product(C, 0, left, 0, steps * pile, pile, right, 0, steps * pile, pile, steps)
        tiles.release()

    @njit
    def weights(S, P, c, Z):
        tiles.weights(0, 32, S, 0, P, 0, c, Z, 0)

    return tiles, blocks, weights


def aligned(size, dtype):
    from selfattention.implementations.numba_blocks import scratch

    room = scratch.py_func(size, np.empty(1, dtype))
    room[:] = 0
    return room


@here
@pytest.mark.parametrize(("size", "spread"), SIZES)
def test_a_product_of_tiles_is_this_one_to_the_last_bit(machine, size, spread):
    tiles, blocks, _ = machine
    A, B = drawn(size, spread)
    C, left, right = aligned(4 * 256, np.float32), *(aligned(6 * tiles.PILE, np.uint16) for _ in range(2))
    blocks(C, A.ravel(), B.T.ravel(), left, right, np.float32(1))
    for i, j in np.ndindex(2, 2):
        wanted = six_products(A[16 * i : 16 * i + 16], B[:, 16 * j : 16 * j + 16])
        ours = C.reshape(2, 2, 16, 16)[i, j]
        np.testing.assert_array_equal(ours.view(np.uint32) << 1, wanted.view(np.uint32) << 1)  # but for −0


@here
def test_weights_are_cut_off_and_split_as_the_formulas_say(machine):
    """Their pieces, read back from right tiles: sums that are e^{S − c}, and nothing below 2^−102."""
    tiles, _, weights = machine
    S, P = aligned(8 * 256, np.float32), aligned(4 * tiles.PILE, np.uint16)
    c, Z = aligned(32, np.float32), aligned(32, np.float32)
    scores = np.linspace(-90, 5, 64 * 32, dtype=np.float32).reshape(64, 32)
    scores[7, 3] = -np.inf
    S[:] = scores.reshape(4, 16, 2, 16).transpose(0, 2, 1, 3).ravel()
    c[:] = np.linspace(-1, 1, 32)
    weights(S, P, c, Z)
    rows = P.reshape(2, 2, 3, 16, 16, 2).transpose(2, 0, 5, 3, 1, 4).reshape(3, 64, 32)
    pieces = (rows.astype(np.uint32) << 16).view(np.float32)
    A = pieces.sum(0, dtype=np.float64)
    exact = np.exp(scores.astype(np.float64) - c)
    cut = exact < 2.0**-102
    assert cut.any()
    assert not A[exact < 2.0**-102 * (1 - 1e-6)].any()
    np.testing.assert_allclose(
        A[exact > 2.0**-102 * (1 + 1e-6)], exact[exact > 2.0**-102 * (1 + 1e-6)], rtol=1e-5
    )
    for ours, wanted in zip(pieces, formulas.truncated_pieces(A.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    np.testing.assert_allclose(Z, A.sum(0), rtol=1e-6)
