"""Wrong `pieces(X) -> (X_0, X_1, X_2)`."""

import numpy as np

from selfattention import formulas


def cut_off_without_rounding(X):
    """Cut off instead of rounded: the other two pieces may be twice and four times as large. Chapter 14."""
    return formulas.truncated_pieces(X)


def first_piece_three_times(X):
    """The piece is not subtracted: all three are the first. Chapter 14."""
    X_0, *_ = formulas.pieces(X)
    return X_0, X_0.copy(), X_0.copy()


def first_piece_forgotten(X):
    """The third is what the second leaves of X, and the first is forgotten. Chapter 14."""
    X_0, X_1, _ = formulas.pieces(X)
    return X_0, X_1, formulas.pieces(X - X_1)[0]


def rest_left_whole(X):
    """Two pieces, and the rest as it is: sixteen bits do not fit into bfloat16. Chapter 14."""
    X_0, *_ = formulas.pieces(X)
    return X_0, X - X_0, np.zeros_like(X)


def two_pieces(X):
    """Two pieces are sixteen bits of twenty-four; the third is missing. Chapter 14."""
    X_0, X_1, _ = formulas.pieces(X)
    return X_0, X_1, np.zeros_like(X)


def rests_scaled_up(X):
    """The rest is scaled by 2⁸ and 2¹⁶, as for float16, and nobody scales it back. Chapter 14."""
    X_0, X_1, X_2 = formulas.pieces(X)
    return X_0, X_1 * 2.0**8, X_2 * 2.0**16


def half_precision(X):
    """float16 instead of bfloat16: eleven bits, and beyond 65,504 infinite. Chapter 14."""
    X_0 = X.astype(np.float16).astype(X.dtype)
    X_1 = (X - X_0).astype(np.float16).astype(X.dtype)
    return X_0, X_1, X - X_0 - X_1
