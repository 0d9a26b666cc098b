"""Properties of `ring_words(n_own, m_own, piece, h, g, d_k, d_v)`."""

import numpy as np


def array_by_array(words):
    """The arrays of seven queries, eleven keys and two pieces of four, made and counted."""
    n, m, c, h, g, d_k, d_v = 7, 11, 4, 6, 2, 3, 5
    shapes = [(h, n, d_k), (h, n, d_v), (h, n), (h, n)]
    shapes += [(g, rows, width) for rows in (m, c, c) for width in (d_k, d_v)]
    np.testing.assert_equal(words(n, m, c, h, g, d_k, d_v), sum(np.empty(s).size for s in shapes))


def longer_pieces(words):
    """Pieces that are one key longer: one key more that is here, and one more that arrives."""
    np.testing.assert_equal(words(7, 11, 5, 6, 2, 3, 5) - words(7, 11, 4, 6, 2, 3, 5), 2 * 2 * (3 + 5))


def queries_alone(words):
    """A rank without keys has queries, outputs, and two numbers of each query's state."""
    np.testing.assert_equal(words(7, 0, 0, 6, 2, 3, 5), 7 * 6 * (3 + 5 + 2))


def three_shards(words):
    """Where a piece is a shard, three of them: an input that hides who forgets the pieces."""
    np.testing.assert_equal(words(0, 11, 11, 6, 2, 3, 5), 3 * 11 * 2 * (3 + 5))
