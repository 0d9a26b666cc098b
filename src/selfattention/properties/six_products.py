"""Properties of `six_products(A_0, A_1, A_2, B_0, B_1, B_2) -> C`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
A = _rng.normal(size=(5, 64)).astype(np.float32)
B = _rng.normal(size=(64, 7)).astype(np.float32)
PIECES = *formulas.pieces(A), *formulas.pieces(B)


def _ones(*six):
    """A row and a column of one number each, times these six."""
    return [np.full((1, 1), x, dtype=np.float32) for x in six]


def shape(six_products):
    """C is a row for each row of A, a column for each column of B."""
    np.testing.assert_(six_products(*PIECES).shape == (5, 7))


def as_exact_as_float32(six_products):
    """The largest error is at most twice that of the float32 product, and a step of float32."""
    exact = A.astype(np.float64) @ B.astype(np.float64)
    own = np.abs(A @ B - exact).max()
    step = np.finfo(np.float32).eps * np.abs(exact).max()
    np.testing.assert_(np.abs(six_products(*PIECES) - exact).max() <= 2 * own + step)


def one_by_one(six_products):
    """Pieces that are powers of two: every product has a bit of its own."""
    a, b = (1, 2**-9, 2**-20), (1, 2**-10, 2**-21)
    products = [a[2], a[1], a[1] * b[1], b[1], b[2], 1.0]
    np.testing.assert_(six_products(*_ones(*a, *b)).item() == sum(products))


def small_ones_first(six_products):
    """Four products of 2⁻²⁵ are 2⁻²³ together, which beside a 1 still counts; each by itself does not."""
    tiny = 2.0**-25
    np.testing.assert_(six_products(*_ones(1, tiny, tiny, 1, tiny, tiny)).item() == 1 + 2**-23)


def turned_round(six_products):
    """(A B)ᵀ = Bᵀ Aᵀ, to a few roundings."""
    turned = six_products(*(x.T for x in (*PIECES[3:], *PIECES[:3])))
    np.testing.assert_allclose(turned.T, six_products(*PIECES), rtol=0, atol=2e-5)


def small_whole_numbers(six_products):
    """Whole numbers of eight bits need one product: an input that hides most mistakes."""
    A, B = np.array([[2, 3]], dtype=np.float32), np.array([[150], [77]], dtype=np.float32)
    np.testing.assert_(six_products(*formulas.pieces(A), *formulas.pieces(B)).item() == 531)
