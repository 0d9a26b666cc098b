"""Properties of `all_to_all_backward_bytes`, which are given the formula's arguments in its order."""

import numpy as np

TOKENS, GROUPS, EACH = [5, 4, 2], [2, 1, 1], 3  # of three ranks; heads in a group
WIDTHS = 3, 5, 2, 4  # d_k, d_v, bytes of a number, bytes of a slope of L


def _sent(formula, rank, d_k, d_v, word, total):
    g, own = sum(GROUPS), GROUPS[rank]
    return formula(sum(TOKENS), TOKENS[rank], EACH * g, EACH * own, g, own, d_k, d_v, word, total)


def peer_by_peer(formula):
    """Every message walked through: slopes of my tokens to your heads, gradients of your tokens to you."""
    d_k, d_v, word, total = WIDTHS
    for rank, (mine, own) in enumerate(zip(TOKENS, GROUPS, strict=True)):
        sent = 0
        for peer, (theirs, other) in enumerate(zip(TOKENS, GROUPS, strict=True)):
            if peer != rank:
                sent += mine * EACH * other * (d_v * word + total)
                sent += theirs * (EACH * own * d_k + own * (d_k + d_v)) * word
        np.testing.assert_equal(_sent(formula, rank, *WIDTHS), sent)


def a_rank_without_heads(formula):
    """It has no gradients to give back, but slopes of all heads to give away."""
    np.testing.assert_equal(formula(3, 1, 2, 0, 2, 0, 3, 5, 4, 4), 1 * 2 * (5 + 1) * 4)


def log_sum_exps_have_slopes(formula):
    """A slope of L that is a byte longer costs a byte for each of my tokens and each foreign head."""
    d_k, d_v, word, total = WIDTHS
    longer = _sent(formula, 0, d_k, d_v, word, total + 1)
    np.testing.assert_equal(longer - _sent(formula, 0, *WIDTHS), 5 * (1 + 1) * EACH)


def equal_ranks(formula):
    """Two equal ranks of two tokens and two heads with keys of their own: as many as forward."""
    np.testing.assert_equal(formula(4, 2, 4, 2, 4, 2, 1, 1, 1, 1), 2 * (2 + 4) + 2 * 2 * 2)
