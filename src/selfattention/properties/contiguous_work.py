"""Properties of `contiguous_work(n, p, rank)`."""

import numpy as np

SIZES = [(24, 3), (16, 4), (23, 3), (17, 4), (5, 4), (3, 4)]


def _work(contiguous, n, p):
    return np.array([contiguous(n, p, rank) for rank in range(p)])


def all_of_it(contiguous):
    """All ranks together see every pair of the triangle once."""
    for n, p in SIZES:
        np.testing.assert_equal(_work(contiguous, n, p).sum(), n * (n + 1) // 2)


def last_rank_longest(contiguous):
    """The last of p has (2p − 1) / p² of all pairs, up to 1 / n."""
    for p in 2, 4, 8:
        share = contiguous(100 * p, p, p - 1) / (50 * p * (100 * p + 1))
        np.testing.assert_allclose(share, (2 * p - 1) / p**2, rtol=0, atol=1 / (100 * p))


def key_by_key(contiguous):
    """Counted, query by query, from where a shard begins to where the next one does."""
    for n, p in SIZES:
        for rank, work in enumerate(_work(contiguous, n, p)):
            shard = range(rank * n // p, (rank + 1) * n // p)
            np.testing.assert_equal(work, sum(i + 1 for i in shard))


def one_rank(contiguous):
    """Alone, a rank sees the whole triangle: an input that hides most mistakes."""
    np.testing.assert_equal(contiguous(6, 1, 0), 21)
