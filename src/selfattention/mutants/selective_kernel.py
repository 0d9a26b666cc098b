"""Wrong `selective_kernel(F, W_1, W_2)`."""

import numpy as np

from selfattention.formulas import sigmoid, softmax


def _scores(F, W_1, W_2):
    """(…, branches, channels), of what F holds over all branches."""
    hidden = np.maximum(F.sum(-4).mean((-2, -1)) @ W_1, 0)
    return np.einsum("...d,bdc->...bc", hidden, W_2)


def _mixed(F, a):
    a = a[..., None, None]
    return (a * F).sum(-4), a


def over_the_batch(F, W_1, W_2):
    """Softmax along the first axis, the pictures where there are several. Chapter 17."""
    S = _scores(F, W_1, W_2)
    return _mixed(F, softmax(S.swapaxes(0, -1)).swapaxes(0, -1))


def over_the_channels(F, W_1, W_2):
    """Softmax over the channels: those of one branch compete, branches do not. Chapter 17."""
    return _mixed(F, softmax(_scores(F, W_1, W_2)))


def sigmoid_of_each(F, W_1, W_2):
    """A sigmoid for each branch: their weights need not sum to 1. Chapter 17."""
    return _mixed(F, sigmoid(_scores(F, W_1, W_2)))


def one_weight_for_all_channels(F, W_1, W_2):
    """One weight for a branch, by the mean of its scores, and not one for each channel. Chapter 17."""
    S = _scores(F, W_1, W_2).mean(-1, keepdims=True)
    return _mixed(F, softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2) * np.ones(F.shape[-3]))


def first_branch_asked(F, W_1, W_2):
    """The scores are made from the first branch, not from the sum of all. Chapter 17."""
    S = _scores(F[..., :1, :, :, :], W_1, W_2)
    return _mixed(F, softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2))


def branches_in_reverse(F, W_1, W_2):
    """Weights and branches in different orders. Chapter 17."""
    S = _scores(F, W_1, W_2)[..., ::-1, :]
    return _mixed(F, softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2))


def winner_takes_all(F, W_1, W_2):
    """The best branch alone, an argmax for the softmax: no gradient reaches the scores. Chapter 17."""
    S = _scores(F, W_1, W_2)
    return _mixed(F, (S == S.max(-2, keepdims=True)).astype(F.dtype))
