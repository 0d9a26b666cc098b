"""Properties of `shard_start(n, p, rank)`."""

import numpy as np

SIZES = [(0, 1), (1, 1), (5, 1), (7, 3), (12, 4), (5, 4), (2, 3), (1, 7), (97, 8)]


def _starts(shard_start, n, p):
    return [shard_start(n, p, rank) for rank in range(p + 1)]


def everybody_has_a_rank(shard_start):
    """Shards begin with token 0 and end with token n."""
    for n, p in SIZES:
        starts = _starts(shard_start, n, p)
        np.testing.assert_equal([starts[0], starts[-1]], [0, n])


def nearly_equal(shard_start):
    """Nobody has two tokens more than somebody else."""
    for n, p in SIZES:
        lengths = np.diff(_starts(shard_start, n, p))
        np.testing.assert_(lengths.max() - lengths.min() <= 1)


def where_p_divides(shard_start):
    """Twelve tokens for four: three for each. An input that hides most mistakes."""
    np.testing.assert_equal(_starts(shard_start, 12, 4), [0, 3, 6, 9, 12])


def by_hand(shard_start):
    """Seven tokens for three: 2, 2 and 3; two for three: none, one and one."""
    np.testing.assert_equal(_starts(shard_start, 7, 3), [0, 2, 4, 7])
    np.testing.assert_equal(_starts(shard_start, 2, 3), [0, 0, 1, 2])
