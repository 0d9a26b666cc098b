"""Properties of `all_to_all_bytes(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes)`."""

import numpy as np

TOKENS, GROUPS, EACH = [5, 4, 2], [2, 1, 1], 3  # of three ranks; heads in a group
WIDTHS = 3, 5, 2, 4  # d_k, d_v, bytes of a number, bytes of a log-sum-exp


def _sent(formula, rank, d_k, d_v, word, total):
    g, own = sum(GROUPS), GROUPS[rank]
    return formula(sum(TOKENS), TOKENS[rank], EACH * g, EACH * own, g, own, d_k, d_v, word, total)


def alone(formula):
    """One rank keeps everything."""
    np.testing.assert_equal(formula(11, 11, 12, 12, 4, 4, *WIDTHS), 0)


def peer_by_peer(formula):
    """Every message walked through: my tokens of your heads to you, and your tokens of my heads."""
    d_k, d_v, word, total = WIDTHS
    for rank, (mine, own) in enumerate(zip(TOKENS, GROUPS, strict=True)):
        sent = 0
        for peer, (theirs, other) in enumerate(zip(TOKENS, GROUPS, strict=True)):
            if peer != rank:
                sent += mine * (EACH * other * d_k + other * (d_k + d_v)) * word
                sent += theirs * EACH * own * (d_v * word + total)
        np.testing.assert_equal(_sent(formula, rank, *WIDTHS), sent)


def keys_travel_by_groups(formula):
    """Eight heads with keys of their own, or two groups: the same queries, and a quarter of the keys."""
    many = formula(4, 2, 8, 4, 8, 4, 3, 0, 2, 1)
    few = formula(4, 2, 8, 4, 2, 1, 3, 0, 2, 1)
    np.testing.assert_equal(many - few, 2 * 3 * 3 * 2)


def log_sum_exps_return(formula):
    """A log-sum-exp that is a byte longer costs a byte for each of my heads and each foreign token."""
    d_k, d_v, word, total = WIDTHS
    longer = _sent(formula, 0, d_k, d_v, word, total + 1)
    np.testing.assert_equal(longer - _sent(formula, 0, *WIDTHS), (4 + 2) * EACH * 2)


def equal_ranks(formula):
    """Two equal ranks of two tokens and two heads, one byte a number: half of what a rank has leaves it."""
    np.testing.assert_equal(formula(4, 2, 4, 2, 4, 2, 1, 1, 1, 1), 2 * (2 + 4) + 2 * 2 * 2)
