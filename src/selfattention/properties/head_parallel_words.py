"""Properties of `head_parallel_words(n, d_model, h_own, g_own, d_k, d_v)`."""

import numpy as np


def array_by_array(words):
    """The arrays of seven tokens, six heads and two groups, made and counted."""
    n, d_model, h, g, d_k, d_v = 7, 29, 6, 2, 3, 5
    shapes = [(n, d_model), (n, d_model), (h, n, d_k), (h, n, d_v), (h, n), (g, n, d_k), (g, n, d_v)]
    np.testing.assert_equal(words(n, d_model, h, g, d_k, d_v), sum(np.empty(s).size for s in shapes))


def a_rank_without_heads(words):
    """It still has all tokens, before and after."""
    np.testing.assert_equal(words(7, 29, 0, 0, 3, 5), 7 * 2 * 29)


def more_heads_of_a_group(words):
    """One head more costs each token a query, an output and a log-sum-exp, and no keys."""
    np.testing.assert_equal(words(7, 29, 3, 1, 3, 5) - words(7, 29, 2, 1, 3, 5), 7 * (3 + 5 + 1))
