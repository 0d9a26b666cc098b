"""Properties of `most_ranks(n, h, g)`."""

import numpy as np


def one_group(most):
    """Eight heads of one group: eight ranks by heads, and one by all-to-all."""
    by_heads, _, swapped = most(1000, 8, 1)
    np.testing.assert_equal([by_heads, swapped], [8, 1])


def no_groups(most):
    """Where no heads share their keys, as many by all-to-all as by heads."""
    by_heads, _, swapped = most(1000, 8, 8)
    np.testing.assert_equal([by_heads, swapped], [8, 8])


def short_text(most):
    """Three tokens: no more than three ranks have one, in a ring or by all-to-all."""
    np.testing.assert_equal(most(3, 8, 8)[1:], [3, 3])


def long_text(most):
    """A ring has room for as many ranks as tokens."""
    np.testing.assert_equal(most(1000, 8, 2)[1], 1000)
