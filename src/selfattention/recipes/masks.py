"""Who may see whom, in parts: how a mask is read, what it hides with, and rows that see nobody."""

import numpy as np

from selfattention.mutants import attention as wrong
from selfattention.mutants import masked_attention as wrong_mask
from selfattention.recipes.recipe import Convention, Mistake, Reading

# The parts, each as it should be.


def all_scores(S, fill):
    return S


def hidden(S, visible, fill):
    return np.where(visible, S, fill)


# The parts that people write instead.


def everybody(visible):
    return np.ones_like(visible)


def turned_round(visible):
    return ~visible


def sideways(visible):
    return visible.swapaxes(-1, -2) if visible.shape[-1] == visible.shape[-2] else visible


def row_of_the_first(visible):
    return visible[..., :1, :]


def first_of_the_batch(visible):
    """The first sequence's mask used for the whole batch. Chapter 10, pitfall 12."""
    return visible[:1]


def both_ways(visible):
    """Visible only where the mask says so both ways, visible ∧ visibleᵀ: padding sees nobody. Chapter 10."""
    return visible & visible.swapaxes(-1, -2)


def but_itself(visible):
    """A token does not see itself: the triangle begins one diagonal too early. Chapter 10."""
    n, m = visible.shape[-2:]
    return visible & np.tri(n, m, m - n - 1, dtype=bool)


def and_the_next(visible):
    """A token sees the next one, too: the triangle begins one diagonal too late. Chapter 10."""
    n, m = visible.shape[-2:]
    return visible | (np.tri(n, m, m - n + 1, dtype=bool) & ~np.tri(n, m, m - n, dtype=bool))


def only_the_future(visible):
    """The triangle turned round: a token sees the future and not the past. Chapter 10."""
    return visible & ~np.tri(*visible.shape[-2:], dtype=bool)


def top_left(visible):
    n, m = visible.shape[-2:]
    return visible & np.tri(n, m, dtype=bool) if n < m else visible


def scores_times_mask(S, visible, fill):
    return S * visible


def mask_added(S, visible, fill):
    return S + visible


def triangle(S, fill):
    return np.where(np.tri(*S.shape[-2:], dtype=bool), S, fill)


def keys_in_the_past(S, fill):
    """Causal attention, each token seeing itself and what came before. Chapter 10."""
    return triangle(S, fill)


def future_only(S, fill):
    """A causal mask the wrong way round: each token sees what comes after, and not before. Chapter 10."""
    return np.where(np.tri(*S.shape[-2:], dtype=bool).swapaxes(-1, -2), S, fill)


def past_and_next(S, fill):
    """A causal mask one diagonal too late: each token sees the next one as well. Chapter 10."""
    return np.where(np.tri(*S.shape[-2:], k=1, dtype=bool), S, fill)


def times_a_triangle(S, fill):
    """A causal mask that makes scores 0, not −∞: tokens in the future keep weight. Chapter 10."""
    return S * np.tri(*S.shape[-2:], dtype=bool)


def strictly_past(S, fill):
    """A causal mask that hides a token from itself: the first row is empty. Chapter 10."""
    return np.where(np.tri(*S.shape[-2:], k=-1, dtype=bool), S, fill)


def not_itself(S, fill):
    """Every token is hidden from itself: the diagonal is masked. Chapter 10."""
    return np.where(~np.eye(*S.shape[-2:], dtype=bool), S, fill)


def visible_zeros_hidden(S, visible, fill):
    """A mask that hides scores of exactly 0 as well: a key orthogonal to the query is lost. Chapter 10."""
    return np.where(visible & (S != 0), S, fill)


def added(number):
    def hide(S, visible, fill):
        """A finite number added where a key is hidden: it keeps weight. Chapter 10, pitfall 15."""
        return S + np.where(visible, 0, number).astype(S.dtype)

    return hide


MISTAKES = (
    Mistake("see", everybody, wrong_mask.mask_ignored),
    Mistake("see", turned_round, wrong_mask.mask_inverted),
    Mistake("see", sideways, wrong_mask.mask_read_sideways),
    Mistake("see", row_of_the_first, wrong_mask.first_query_for_all),
    Mistake("see", first_of_the_batch, first_of_the_batch),
    Mistake("see", top_left, wrong_mask.top_left_for_bottom_right),
    Mistake("see", both_ways, both_ways),
    Mistake("see", but_itself, but_itself),
    Mistake("see", and_the_next, and_the_next),
    Mistake("see", only_the_future, only_the_future),
    Mistake("hide", scores_times_mask, wrong_mask.scores_multiplied),
    Mistake("hide", visible_zeros_hidden, visible_zeros_hidden),
    Mistake("hide", mask_added, wrong_mask.mask_added_as_numbers),
    Mistake("always", triangle, wrong.causal_uninvited),
    Mistake("always", future_only, future_only),
    Mistake("always", past_and_next, past_and_next),
    Mistake("always", times_a_triangle, times_a_triangle),
    Mistake("always", strictly_past, strictly_past),
    Mistake("always", not_itself, not_itself),
    Mistake("fill", 1e6, wrong_mask.minus_sign_lost),
    Mistake("fill", 1e9, wrong_mask.minus_sign_lost),
)
CAUSAL = Convention("always", keys_in_the_past, keys_in_the_past)


# Rows that may see nobody.


def nothing(A):
    """Rows that see nobody give 0."""
    return np.where(np.isnan(A), 0, A)


def ones(A):
    """Rows that see nobody give the sum of all values: exp(S − L), and ln m is lost in an L of −10⁹."""
    return np.where(np.isnan(A), 1, A)


def drowned():
    """Rows that see nobody give the mean of all values: the lowest number stands for −∞."""


def shifted():
    """Rows that see nobody are as they would be unmasked: a constant is added to all their scores."""


READINGS = (
    Reading("fill", -1e30, drowned),
    Reading("empty", nothing, nothing),
    Reading("empty", ones, ones),
    Reading("hide", added(-1e9), shifted),
)
