"""Properties of `ring_bytes(m, m_next, g, d_k, d_v, word_bytes)`."""

import numpy as np

SHARDS = [5, 4, 4, 2]


def alone(sent):
    """Who is behind itself has every key already."""
    np.testing.assert_equal(sent(15, 15, 2, 3, 5, 4), 0)


def shard_by_shard(sent):
    """In step t rank r sends on the keys of rank r − t, in all steps but the last."""
    p = len(SHARDS)
    for rank in range(p):
        passed = sum(SHARDS[(rank - step) % p] for step in range(p - 1))
        np.testing.assert_equal(sent(15, SHARDS[(rank + 1) % p], 2, 3, 5, 4), passed * 2 * (3 + 5) * 4)


def wider_values(sent):
    """A value that is one number wider costs one number more for each key and group."""
    np.testing.assert_equal(sent(15, 5, 2, 3, 6, 4) - sent(15, 5, 2, 3, 5, 4), 10 * 2 * 4)


def more_groups(sent):
    """Twice the groups, twice the bytes."""
    np.testing.assert_equal(sent(15, 5, 4, 3, 5, 4), 2 * sent(15, 5, 2, 3, 5, 4))


def in_bytes(sent):
    """Numbers of twice as many bytes are twice as many bytes."""
    np.testing.assert_equal(sent(15, 5, 2, 3, 5, 8), 2 * sent(15, 5, 2, 3, 5, 4))


def two_equal_ranks(sent):
    """Two equal shards, one group, equal widths, one byte: an input that hides most mistakes."""
    np.testing.assert_equal(sent(2, 1, 1, 1, 1, 1), 2)
