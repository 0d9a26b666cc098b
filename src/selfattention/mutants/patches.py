"""Wrong `patches(F, p)`."""

import numpy as np


def _squares(F, p):
    """(…, channels, down, p, along, p)."""
    *batch, channels, high, wide = F.shape
    return F.reshape(*batch, channels, high // p, p, wide // p, p)


def _rows(X, F, p):
    *batch, channels, high, wide = F.shape
    return X.reshape(*batch, high // p * (wide // p), channels * p * p)


def _ordered(F, p, axes):
    """Rows from squares whose axes channels, down, a, along, b, 0 to 4, come in this order."""
    X = _squares(F, p)
    leading = X.ndim - 5
    return _rows(X.transpose(*range(leading), *(leading + axis for axis in axes)), F, p)


def reshaped_only(F, p):
    """Reshaped, and no axis moved: a row holds strips of one channel. Chapter 17."""
    return _rows(F, F, p)


def channels_left_in_front(F, p):
    """Squares cut well, the channels left in front: a row holds several squares of one. Chapter 17."""
    return _ordered(F, p, (0, 1, 3, 2, 4))


def pixels_dealt_out(F, p):
    """(a h) read for (h a): a row holds one pixel of each square, all over the picture. Chapter 17."""
    *batch, channels, high, wide = F.shape
    X = F.reshape(*batch, channels, p, high // p, p, wide // p)
    leading = X.ndim - 5
    return _rows(X.transpose(*range(leading), *(leading + axis for axis in (2, 4, 0, 1, 3))), F, p)


def columns_first(F, p):
    """Squares counted down, and then to the right. Chapter 17."""
    return _ordered(F, p, (3, 1, 0, 2, 4))


def transposed_inside(F, p):
    """Every square read column by column. Chapter 17."""
    return _ordered(F, p, (1, 3, 0, 4, 2))


def channels_last(F, p):
    """Channels fastest, (a b c) for (c a b): another order than a convolution's weights have. Chapter 17."""
    return _ordered(F, p, (1, 3, 2, 4, 0))


def picture_upside_down(F, p):
    """Rows counted from the bottom, as a plot's axis has them. Chapter 17."""
    return _ordered(np.flip(F, -2), p, (1, 3, 0, 2, 4))
