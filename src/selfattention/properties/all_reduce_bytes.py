"""Properties of `all_reduce_bytes(words, p, word_bytes)`."""

from itertools import pairwise

import numpy as np


def alone(sent):
    """One rank sends nothing."""
    np.testing.assert_equal(sent(60, 1, 4), 0)


def two_ranks(sent):
    """Two ranks: half of the array to be summed, and a sum for the other half."""
    np.testing.assert_equal(sent(60, 2, 4), 60 * 4)


def less_than_twice(sent):
    """However many ranks there are, a rank sends less than twice its array."""
    for p in 2, 4, 6, 60:
        np.testing.assert_(sent(60, p, 4) < 2 * 60 * 4)


def in_bytes(sent):
    """Numbers of twice as many bytes are twice as many bytes."""
    np.testing.assert_equal(sent(60, 4, 8), 2 * sent(60, 4, 4))


def more_ranks_more_bytes(sent):
    """Another rank makes it slightly more for each."""
    counts = [sent(60, p, 4) for p in (1, 2, 3, 4, 5, 6)]
    np.testing.assert_(all(a < b for a, b in pairwise(counts)))


def ragged(sent):
    """Seven numbers for three are three pieces of three: 4 messages of 3 numbers."""
    np.testing.assert_equal(sent(7, 3, 4), 4 * 3 * 4)
