"""Wrong `vit_tokens(F, W_E, b_E, x_class, P)`."""

import numpy as np

from selfattention.formulas import patch_embedding, with_class_token


def _tokens(F, W_E, b_E, x_class):
    return with_class_token(patch_embedding(F, W_E, b_E), x_class)


def one_position_for_all(F, W_E, b_E, x_class, P):
    """`P[n]` for `P[:n]`: one vector for all tokens, and no error. Chapter 17."""
    return _tokens(F, W_E, b_E, x_class) + P[-1]


def positions_by_picture(F, W_E, b_E, x_class, P):
    """Positions along the batch: all tokens of a picture get the vector of its number. Chapter 17."""
    X = _tokens(F, W_E, b_E, x_class)
    return X + (P[: len(X), None] if X.ndim > 2 else P[0])


def positions_forgotten(F, W_E, b_E, x_class, P):
    """No positions: a picture is a set of patches. Chapter 17."""
    return _tokens(F, W_E, b_E, x_class)


def positions_before_the_class_token(F, W_E, b_E, x_class, P):
    """Positions added before the class token comes: every patch has the row before its own. Chapter 17."""
    return with_class_token(patch_embedding(F, W_E, b_E) + P[:-1], x_class)


def positions_in_another_order(F, W_E, b_E, x_class, P):
    """Positions run to the right, and the patches come column by column. Chapter 17."""
    X = patch_embedding(F, W_E, b_E)
    along = F.shape[-1] // W_E.shape[1]
    grid = X.reshape(*X.shape[:-2], -1, along, X.shape[-1])
    return with_class_token(grid.swapaxes(-3, -2).reshape(X.shape), x_class) + P


def class_token_last(F, W_E, b_E, x_class, P):
    """The class token behind the patches: the head reads the first patch. Chapter 17."""
    return np.roll(_tokens(F, W_E, b_E, x_class), -1, axis=-2) + P


def bias_forgotten(F, W_E, b_E, x_class, P):
    """The bias of the patches is not added. Chapter 17."""
    return _tokens(F, W_E, np.zeros_like(b_E), x_class) + P
