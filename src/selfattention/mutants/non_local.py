"""Wrong `non_local(F, W_Q, W_K, W_V, W_O)`."""

import numpy as np

from selfattention.formulas import non_local, patches, softmax


def _scores(F, W_Q, W_K):
    X = patches(F, 1)
    return X @ W_Q @ (X @ W_K).swapaxes(-1, -2)


def _as_map(Y, F):
    return Y.swapaxes(-1, -2).reshape(F.shape)


def _with(A, F, W_V, W_O):
    return F + _as_map(A @ patches(F, 1) @ W_V @ W_O, F), A


def over_the_batch(F, W_Q, W_K, W_V, W_O):
    """Pictures attend to pictures, place by place: (b, n, d) where (n, b, d) was asked for. Chapter 17."""
    X = patches(F, 1)
    if X.ndim == 2:
        X = X[None]
    X = X.swapaxes(0, -2)  # the pictures take the place of the positions
    A = softmax(X @ W_Q @ (X @ W_K).swapaxes(-1, -2))
    Y = (A @ X @ W_V @ W_O).swapaxes(0, -2)
    return F + Y.swapaxes(-1, -2).reshape(F.shape), A


def scores_negated(F, W_Q, W_K, W_V, W_O):
    """softmax(max − s) for softmax(s − max): who is least alike gets most. Chapter 17."""
    S = _scores(F, W_Q, W_K)
    return _with(softmax(S.max(-1, keepdims=True) - S), F, W_V, W_O)


def over_the_queries(F, W_Q, W_K, W_V, W_O):
    """Softmax over the queries: columns sum to one. Chapter 17, pitfall 8."""
    S = _scores(F, W_Q, W_K)
    return _with(softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2), F, W_V, W_O)


def divided_by_the_positions(F, W_Q, W_K, W_V, W_O):
    """Scores divided by n and no softmax, the source's other version. Chapter 17."""
    S = _scores(F, W_Q, W_K)
    return _with(S / S.shape[-1], F, W_V, W_O)


def scaled(F, W_Q, W_K, W_V, W_O):
    """Divided by √d_k, as a transformer does and this family does not. Chapter 17."""
    return _with(softmax(_scores(F, W_Q, W_K) / W_Q.shape[-1] ** 0.5), F, W_V, W_O)


def input_not_added(F, W_Q, W_K, W_V, W_O):
    """The residual is forgotten: with W_O = 0 the picture is gone. Chapter 17."""
    added, A = non_local(F, W_Q, W_K, W_V, W_O)
    return added - F, A


def read_back_without_a_transpose(F, W_Q, W_K, W_V, W_O):
    """Tokens (n, channels) reshaped to (channels, high, wide), and no axis moved. Chapter 17."""
    _, A = non_local(F, W_Q, W_K, W_V, W_O)
    return F + (A @ patches(F, 1) @ W_V @ W_O).reshape(F.shape), A


def weights_thrown_away(F, W_Q, W_K, W_V, W_O):
    """Everybody gets the mean of the picture, whom it asks for or not. Chapter 17."""
    A = softmax(_scores(F, W_Q, W_K))
    return _with(np.full_like(A, 1 / A.shape[-1]), F, W_V, W_O)
