"""Properties of `ring_backward_bytes(m, m_next, m_own, g, d_k, d_v, word_bytes, sum_bytes)`."""

import numpy as np

SHARDS = [5, 4, 4, 2]


def shard_by_shard(sent):
    """Keys of rank r − t leave in all steps but the last; sums for them in all but the first."""
    p = len(SHARDS)
    for rank, own in enumerate(SHARDS):
        keys = sum(SHARDS[(rank - step) % p] for step in range(p - 1))
        sums = sum(SHARDS[(rank - step) % p] for step in range(1, p))
        numbers = 2 * (3 + 5)
        bytes_sent = sent(15, SHARDS[(rank + 1) % p], own, 2, 3, 5, 2, 4)
        np.testing.assert_equal(bytes_sent, numbers * (2 * keys + 4 * sums))


def halves_summed_in_float32(sent):
    """With equal shards and sums of twice the size: three times what a forward pass sends."""
    np.testing.assert_equal(sent(8, 2, 2, 1, 3, 5, 2, 4), 3 * (8 - 2) * (3 + 5) * 2)


def longer_sums(sent):
    """A sum that is a byte longer costs a byte for each number of every key but one's own."""
    np.testing.assert_equal(sent(15, 5, 2, 1, 3, 5, 4, 5) - sent(15, 5, 2, 1, 3, 5, 4, 4), 13 * (3 + 5))


def two_equal_ranks(sent):
    """Two equal shards, one byte a number: an input that hides most mistakes."""
    np.testing.assert_equal(sent(2, 1, 1, 1, 1, 1, 1, 1), 4)
