"""Properties of `zigzag_work(n, p, rank)`."""

import numpy as np

SIZES = [(24, 3), (16, 4), (23, 3), (17, 4), (97, 8), (3, 4)]


def _work(zigzag, n, p):
    return np.array([zigzag(n, p, rank) for rank in range(p)])


def all_of_it(zigzag):
    """All ranks together see every pair of the triangle once."""
    for n, p in SIZES:
        np.testing.assert_equal(_work(zigzag, n, p).sum(), n * (n + 1) // 2)


def balanced(zigzag):
    """No two ranks differ by more than one query can see."""
    for n, p in SIZES:
        work = _work(zigzag, n, p)
        np.testing.assert_(work.max() - work.min() <= n)


def even_where_blocks_are(zigzag):
    """Where 2p divides n, no two ranks differ at all."""
    for n, p in (24, 3), (16, 4), (96, 8):
        np.testing.assert_equal(np.ptp(_work(zigzag, n, p)), 0)


def key_by_key(zigzag):
    """Counted, query by query, in the block from the front and the block from the back."""
    for n, p in SIZES:
        edges = [block * n // (2 * p) for block in range(2 * p + 1)]
        for rank, work in enumerate(_work(zigzag, n, p)):
            blocks = [range(*edges[block : block + 2]) for block in (rank, 2 * p - 1 - rank)]
            np.testing.assert_equal(work, sum(i + 1 for block in blocks for i in block))


def one_rank(zigzag):
    """Alone, a rank sees the whole triangle: an input that hides most mistakes."""
    np.testing.assert_equal(zigzag(6, 1, 0), 21)
