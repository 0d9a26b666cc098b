"""Properties of `relative_position_index(M)`."""

import numpy as np

from selfattention import formulas


def shape(index):
    """A row of the table for every pair of nine places."""
    np.testing.assert_(index(3).shape == (9, 9))


def rows_of_the_table(index):
    """From 0 to (2M − 1)² − 1, all of them used."""
    np.testing.assert_array_equal(np.unique(index(3)), np.arange(25))


def one_row_for_each_offset(index):
    """Pairs share a row if they lie the same way apart, and only then."""
    r, (y, x) = index(3), np.divmod(np.arange(9), 3)
    offsets = 100 * (y[:, None] - y) + x[:, None] - x
    same_row = r.ravel()[:, None] == r.ravel()
    np.testing.assert_array_equal(same_row, offsets.ravel()[:, None] == offsets.ravel())


def itself_in_the_middle(index):
    """A place and itself: the middle row, 12 of 0 … 24."""
    np.testing.assert_array_equal(np.diagonal(index(3)), np.full(9, 12))


def there_and_back(index):
    """What is so many rows above the middle one way is so many below it the other way."""
    np.testing.assert_array_equal(index(3) + index(3).T, np.full((9, 9), 24))


def neighbour_to_the_right(index):
    """Who looks one place to the right reads the row before the middle."""
    np.testing.assert_(index(3)[0, 1] == 11)


def formula(index):
    """Equal to the formula, for a window of seven."""
    np.testing.assert_array_equal(index(7), formulas.relative_position_index(7))
