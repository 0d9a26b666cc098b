"""Wrong `window_attention(Q, K, V, T, *, shift) -> (O, A)`."""

import math

import numpy as np

from selfattention.formulas import (
    masked_scores,
    relative_bias,
    scaled_scores,
    softmax,
    window_attention,
    window_join,
    window_partition,
)


def _side(T):
    return (math.isqrt(len(T)) + 1) // 2


def _in_windows(Q, K, V, T, shift, *, back=None, B=None, rows=True, columns=True, cut=None, join=None):
    """As the formula has it, but for what is named."""
    M, (high, wide) = _side(T), Q.shape[-2:]
    cut, join = cut or window_partition, join or window_join
    Q, K, V = (cut(X, M, shift=shift) for X in (Q, K, V))
    fell_off = [np.arange(length) < shift * on for length, on in ((high, rows), (wide, columns))]
    part = cut((2.0 * fell_off[0][:, None] + fell_off[1])[None], M, shift=shift)[..., 0]
    S = scaled_scores(Q, K) + (relative_bias(T) if B is None else B)[..., None, None, :, :]
    A = softmax(masked_scores(S, part[..., :, None] == part[..., None, :]))
    return join(A @ V, shift=shift if back is None else back), A


def mask_forgotten(Q, K, V, T, *, shift=0):
    """Shifted, and no mask: the upper edge sees the lower. Chapter 17."""
    return _in_windows(Q, K, V, T, shift, rows=False, columns=False)


def mask_by_rows_alone(Q, K, V, T, *, shift=0):
    """Masked between top and bottom, and not between left and right. Chapter 17."""
    return _in_windows(Q, K, V, T, shift, columns=False)


def mask_without_a_shift(Q, K, V, T, *, shift=0):
    """The mask of the shifted windows on those that were not shifted, too. Chapter 17."""
    M, (high, wide) = _side(T), Q.shape[-2:]
    if shift or M == 1:
        return window_attention(Q, K, V, T, shift=shift)
    Q, K, V = (window_partition(X, M) for X in (Q, K, V))
    rows, columns = (np.arange(length) >= length - M // 2 for length in (high, wide))
    part = window_partition((2.0 * rows[:, None] + columns)[None], M)[..., 0]
    S = scaled_scores(Q, K) + relative_bias(T)[..., None, None, :, :]
    A = softmax(masked_scores(S, part[..., :, None] == part[..., None, :]))
    return window_join(A @ V), A


def never_moved_back(Q, K, V, T, *, shift=0):
    """Shifted, and not moved back: every output stands up and to the left of its token. Chapter 17."""
    return _in_windows(Q, K, V, T, shift, back=0)


def shift_ignored(Q, K, V, T, *, shift=0):
    """The windows never move: a border is a border in every layer. Chapter 17."""
    return _in_windows(Q, K, V, T, 0)


def bias_transposed(Q, K, V, T, *, shift=0):
    """B_ji for B_ij: what the table says of a step to the left is used for one to the right. Chapter 17."""
    return _in_windows(Q, K, V, T, shift, B=relative_bias(T).swapaxes(-1, -2))


def bias_of_the_first_head(Q, K, V, T, *, shift=0):
    """The first head's bias for all heads. Chapter 17."""
    return _in_windows(Q, K, V, T, shift, B=relative_bias(T[:, :1]))


def bias_forgotten(Q, K, V, T, *, shift=0):
    """No bias: within a window, nobody knows who stands where. Chapter 17."""
    return _in_windows(Q, K, V, T, shift, B=np.zeros_like(relative_bias(T)))


def bias_after_the_softmax(Q, K, V, T, *, shift=0):
    """B added to the weights, not to the scores: rows no longer sum to one. Chapter 17."""
    A = window_attention(Q, K, V, 0 * T, shift=shift)[1] + relative_bias(T)[..., None, None, :, :]
    return window_join(A @ window_partition(V, _side(T), shift=shift), shift=shift), A


def windows_by_a_reshape(Q, K, V, T, *, shift=0):
    """Windows cut and joined by a reshape alone: each is a strip of a row or two. Chapter 17."""
    grid = Q.shape[-2:]

    def cut(F, M, *, shift):
        *batch, channels, high, wide = F.shape
        moved = np.roll(F, (-shift, -shift), axis=(-2, -1))
        return np.moveaxis(moved.reshape(*batch, channels, high // M, wide // M, M * M), -4, -1)

    def join(X, *, shift):
        F = np.moveaxis(X, -1, -4).reshape(*X.shape[:-4], X.shape[-1], *grid)
        return np.roll(F, (shift, shift), axis=(-2, -1))

    return _in_windows(Q, K, V, T, shift, cut=cut, join=join)
