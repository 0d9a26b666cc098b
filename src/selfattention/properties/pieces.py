"""Properties of `pieces(X) -> (X_0, X_1, X_2)`."""

import numpy as np

_rng = np.random.default_rng(0)
X = _rng.normal(size=(5, 7)).astype(np.float32)
WHOLE = np.array([[-3, 0, 1], [64, -100, 255]], dtype=np.float32)


def shape(pieces):
    """Three arrays of the shape and dtype of X."""
    np.testing.assert_([(x.shape, x.dtype) for x in pieces(X)] == [(X.shape, X.dtype)] * 3)


def by_hand(pieces):
    """1 + 2⁻⁹ + 2⁻²⁰ is these three."""
    three = [float(x[0]) for x in pieces(np.array([1 + 2**-9 + 2**-20], dtype=np.float32))]
    np.testing.assert_(three == [1, 2**-9, 2**-20])


def sum_is_the_number(pieces):
    """The pieces add up to X, to the last bit."""
    np.testing.assert_array_equal(sum(x.astype(np.float64) for x in pieces(X)), X)


def eight_bits_each(pieces):
    """The lower half of every piece's 32 bits is empty: bfloat16 has the number."""
    np.testing.assert_(not any((x.view(np.uint32) & 0xFFFF).any() for x in pieces(X)))


def small_rests(pieces):
    """The second piece is at most 2⁻⁸ of X, the third 2⁻¹⁷."""
    _, X_1, X_2 = pieces(X)
    np.testing.assert_((np.abs(X_1) <= 2**-8 * np.abs(X)).all())
    np.testing.assert_((np.abs(X_2) <= 2**-17 * np.abs(X)).all())


def far_from_one(pieces):
    """The same of numbers near 2¹⁰⁰ and 2⁻⁸⁰."""
    for power in 2.0**100, 2.0**-80:
        scaled = (X * power).astype(np.float32)
        np.testing.assert_array_equal(sum(x.astype(np.float64) for x in pieces(scaled)), scaled)


def small_whole_numbers(pieces):
    """Whole numbers of eight bits are their first piece, and the others are 0: an input that hides a lot."""
    X_0, X_1, X_2 = pieces(WHOLE)
    np.testing.assert_array_equal(X_0, WHOLE)
    np.testing.assert_(not (X_1.any() or X_2.any()))
