"""Wrong `cbam_channels(F, W_1, W_2)`."""

import numpy as np

from selfattention.formulas import sigmoid, softmax


def _pooled(F):
    return F.mean((-2, -1)), F.max((-2, -1))


def _net(z, W_1, W_2):
    return np.maximum(z @ W_1, 0) @ W_2


def _weighted(F, s):
    s = s[..., None, None]
    return s * F, s


def average_twice(F, W_1, W_2):
    """The average twice, N(mean) + N(mean): the maximum is not used. Chapter 17, pitfall 33."""
    return _weighted(F, sigmoid(2 * _net(_pooled(F)[0], W_1, W_2)))


def added_before_the_net(F, W_1, W_2):
    """Mean and maximum added before the net: N(mean + max). Chapter 17."""
    return _weighted(F, sigmoid(_net(sum(_pooled(F)), W_1, W_2)))


def sigmoid_of_each(F, W_1, W_2):
    """A sigmoid of each and then the sum: weights up to 2. Chapter 17."""
    return _weighted(F, sum(sigmoid(_net(z, W_1, W_2)) for z in _pooled(F)))


def net_forgotten(F, W_1, W_2):
    """No net: σ(mean + max), and no channel hears of another. Chapter 17."""
    return _weighted(F, sigmoid(sum(_pooled(F))))


def relu_forgotten(F, W_1, W_2):
    """The net without its relu: two products that could be one. Chapter 17."""
    return _weighted(F, sigmoid(sum(z @ W_1 @ W_2 for z in _pooled(F))))


def softmax_over_the_channels(F, W_1, W_2):
    """A softmax for the sigmoid: channels compete, and their weights sum to 1. Chapter 17."""
    return _weighted(F, softmax(sum(_net(z, W_1, W_2) for z in _pooled(F))))


def input_added(F, W_1, W_2):
    """F' = F + s F: a residual inside. Chapter 17."""
    weighted, s = _weighted(F, sigmoid(sum(_net(z, W_1, W_2) for z in _pooled(F))))
    return F + weighted, s
