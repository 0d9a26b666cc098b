"""Wrong `attention_gate(F, G, W_F, W_G, w)`: the skip F, the coarser level G."""

import numpy as np

from selfattention.formulas import append_ones, attention_gate, patches, sigmoid, softmax


def _scores(F, G, W_F, W_G, w, squash=lambda x: np.maximum(x, 0)):
    """(…, n), before the sigmoid."""
    return append_ones(squash(patches(F, 1) @ W_F + append_ones(patches(G, 1)) @ W_G)) @ w


def _weighted(F, alpha):
    alpha = alpha.reshape(*F.shape[:-3], 1, *F.shape[-2:])
    return alpha * F, alpha


def coarser_level_kept(F, G, W_F, W_G, w):
    """The weights are right, and weight the coarser level: α G for α F. Chapter 17, pitfall 33."""
    _, alpha = attention_gate(F, G, W_F, W_G, w)
    return alpha * G, alpha


def signals_swapped(F, G, W_F, W_G, w):
    """F and G in each other's place, where both have as many channels. Chapter 17, pitfall 33."""
    return attention_gate(G, F, W_F, W_G, w)


def skip_asks_itself(F, G, W_F, W_G, w):
    """The coarser level is not asked: α from the skip alone. Chapter 17."""
    return attention_gate(F, np.zeros_like(G), W_F, W_G, w)


def skip_not_asked(F, G, W_F, W_G, w):
    """α from the coarser level alone, whatever the skip holds. Chapter 17."""
    return _weighted(F, sigmoid(_scores(np.zeros_like(F), G, W_F, W_G, w)))


def softmax_over_the_positions(F, G, W_F, W_G, w):
    """A softmax over the positions for the sigmoid: with n of them weights are near 1 / n. Chapter 17."""
    return _weighted(F, softmax(_scores(F, G, W_F, W_G, w)))


def relu_forgotten(F, G, W_F, W_G, w):
    """No relu between: the score is a sum of two, and neither signal can silence the other. Chapter 17."""
    return _weighted(F, sigmoid(_scores(F, G, W_F, W_G, w, squash=lambda x: x)))


def input_added(F, G, W_F, W_G, w):
    """F' = F + α F: what is gated away stays. Chapter 17."""
    weighted, alpha = attention_gate(F, G, W_F, W_G, w)
    return F + weighted, alpha


def weights_squared(F, G, W_F, W_G, w):
    """Weighted twice, once in the gate and once by the caller. Chapter 17."""
    weighted, alpha = attention_gate(F, G, W_F, W_G, w)
    return alpha * weighted, alpha
