"""Properties of `patches(F, p)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
F = _rng.normal(size=(2, 5, 6, 9))
# Numbers that say where they stand: 100 c + 10 y + x.
PLACES = (100.0 * np.arange(5)[:, None, None] + 10.0 * np.arange(6)[:, None] + np.arange(9.0))[None]


def shape(patches):
    """A row for each square, all its channels side by side."""
    np.testing.assert_(patches(F, 3).shape == (2, 6, 45))


def one_number_per_patch(patches):
    """With p = 1 every position is a row of channels: a test that cannot see inside a square."""
    np.testing.assert_array_equal(patches(F, 1), np.moveaxis(F, 1, -1).reshape(2, 54, 5))


def whole_picture(patches):
    """Where one square is the whole picture: a test that cannot see how squares are counted."""
    np.testing.assert_array_equal(patches(F[..., :6], 6), F[..., :6].reshape(2, 1, 180))


def square_in_the_picture(patches):
    """The numbers of a row stood within three rows and three columns of the picture."""
    y, x = PLACES // 10 % 10, PLACES % 10
    for place in (y, x):
        rows = patches(place, 3)
        np.testing.assert_(np.ptp(rows, axis=-1).max() == 2)


def lit_square(patches):
    """Light the second square of the second row of squares, and row 1 · 3 + 1 is lit, no other."""
    lit = np.zeros((1, 5, 6, 9))
    lit[..., 3:6, 3:6] = 1
    np.testing.assert_array_equal(patches(lit, 3)[0].sum(-1), [0, 0, 0, 0, 45, 0])


def moved_by_a_square(patches):
    """A picture moved down by a square has its tokens three places later."""
    moved = np.roll(F, 3, axis=-2)
    np.testing.assert_array_equal(patches(moved, 3), np.roll(patches(F, 3), 3, axis=-2))


def channels_in_blocks(patches):
    """Of nine numbers each, the third block of a row is the third channel."""
    only = F * (np.arange(5) == 2)[:, None, None]
    rows = patches(only, 3).reshape(2, 6, 5, 9)
    np.testing.assert_array_equal((rows != 0).any((0, 1, 3)), np.arange(5) == 2)


def convolution(patches):
    """Times a kernel's weights, laid flat as they are stored, it is the kernel on every square."""
    kernel = np.random.default_rng(1).normal(size=(5, 3, 3))
    squares = [F[..., y : y + 3, x : x + 3] for y in (0, 3) for x in (0, 3, 6)]
    wanted = np.stack([(square * kernel).sum((-3, -2, -1)) for square in squares], axis=-1)
    np.testing.assert_allclose(patches(F, 3) @ kernel.ravel(), wanted, atol=1e-12)


def formula(patches):
    """Equal to the formula."""
    np.testing.assert_array_equal(patches(F, 3), formulas.patches(F, 3))


def by_hand(patches):
    """Two channels of 2 × 4, squares of two."""
    rows = patches(np.arange(16.0).reshape(2, 2, 4), 2)
    np.testing.assert_array_equal(rows, [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]])
