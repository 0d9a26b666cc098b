"""Wrong `masked_attention(Q, K, V, visible)`."""

import numpy as np

from selfattention.formulas import scaled_scores, softmax


def mask_ignored(Q, K, V, visible):
    """The mask is not used. Chapter 10."""
    return softmax(scaled_scores(Q, K)) @ V


def mask_inverted(Q, K, V, visible):
    """True read as "drop". Chapter 10, pitfall 10."""
    return softmax(np.where(visible, -np.inf, scaled_scores(Q, K))) @ V


def mask_after_the_softmax(Q, K, V, visible):
    """Weights set to zero after the softmax, and not divided again. Chapter 10, pitfall 11."""
    return softmax(scaled_scores(Q, K)) * visible @ V


def scores_multiplied(Q, K, V, visible):
    """Scores multiplied by the mask: a hidden key scores 0, not −∞. Chapter 10, pitfall 11."""
    return softmax(scaled_scores(Q, K) * visible) @ V


def mask_added_as_numbers(Q, K, V, visible):
    """Ones and zeros added to the scores. Chapter 10, pitfall 11."""
    return softmax(scaled_scores(Q, K) + visible) @ V


def small_fill(Q, K, V, visible):
    """−10 instead of −∞: hidden keys keep a little weight. Chapter 10, pitfall 15."""
    return softmax(np.where(visible, scaled_scores(Q, K), -10.0).astype(Q.dtype)) @ V


def finite_fill(Q, K, V, visible):
    """−10⁹ instead of −∞: a row that may see nothing sees everything. Chapter 10, pitfalls 14 and 15."""
    return softmax(np.where(visible, scaled_scores(Q, K), -1e9).astype(Q.dtype)) @ V


def minus_sign_lost(Q, K, V, visible):
    """+10⁶ instead of −10⁶: hidden keys take all the weight. Chapter 10, chapter 19."""
    return softmax(np.where(visible, scaled_scores(Q, K), 1e6).astype(Q.dtype)) @ V


def constant_added(Q, K, V, visible):
    """−10⁹ added: an empty row is only shifted. Chapter 10, pitfall 15."""
    return softmax(scaled_scores(Q, K) + np.where(visible, 0.0, -1e9).astype(Q.dtype)) @ V


def not_a_number_for_an_empty_row(Q, K, V, visible):
    """A row that may see nothing gives NaN. Chapter 10, pitfall 14."""
    A = softmax(np.where(visible, scaled_scores(Q, K), -np.inf))
    return np.where(visible.any(-1, keepdims=True), A @ V, np.nan)


def mask_read_sideways(Q, K, V, visible):
    """The mask's rows taken for its columns, where the shapes allow. Chapter 10, pitfall 13."""
    turned = visible.swapaxes(-1, -2) if visible.shape[-1] == visible.shape[-2] else visible
    return softmax(np.where(turned, scaled_scores(Q, K), -np.inf)) @ V


def first_query_for_all(Q, K, V, visible):
    """The first query's mask broadcast over all queries. Chapter 10, pitfall 13."""
    return softmax(np.where(visible[..., :1, :], scaled_scores(Q, K), -np.inf)) @ V


def top_left_for_bottom_right(Q, K, V, visible):
    """A causal triangle aligned top left instead of bottom right, when n < m. Chapter 10, pitfall 17."""
    n, m = visible.shape[-2:]
    moved = visible & np.tri(n, m, dtype=bool) if n < m else visible
    return softmax(np.where(moved, scaled_scores(Q, K), -np.inf)) @ V
