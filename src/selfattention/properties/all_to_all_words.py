"""Properties of `all_to_all_words(n, n_own, h, h_own, g, g_own, d_k, d_v)`."""

import numpy as np


def array_by_array(words):
    """The arrays of two of seven tokens and all heads, then of all tokens and two of six heads; counted."""
    d_k, d_v = 3, 5
    shapes = []
    for tokens, heads, groups in (2, 6, 3), (7, 2, 1):
        shapes += [(heads, tokens, d_k), (heads, tokens, d_v), (heads, tokens)]
        shapes += [(groups, tokens, d_k), (groups, tokens, d_v)]
    np.testing.assert_equal(words(7, 2, 6, 2, 3, 1, d_k, d_v), sum(np.empty(s).size for s in shapes))


def equal_shares(words):
    """A fourth of the tokens, then a fourth of the heads: twice as many numbers as a fourth of all."""
    np.testing.assert_equal(words(8, 2, 8, 2, 4, 1, 3, 5), 2 * 2 * (8 * (3 + 5 + 1) + 4 * (3 + 5)))


def a_rank_without_tokens(words):
    """It computes its heads for all others."""
    np.testing.assert_equal(words(7, 0, 6, 2, 3, 1, 3, 5), 7 * (2 * (3 + 5 + 1) + 1 * (3 + 5)))
