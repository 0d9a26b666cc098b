"""Wrong `multi_head_attention(X, W_Q, W_K, W_V, W_O, h)`."""

import numpy as np

from selfattention.formulas import attention, concat_heads, softmax, split_heads


def _heads(X, h, *weights):
    return [split_heads(X @ W, h) for W in weights]


def _reshaped(wide, h):
    """Split without the transpose: (…, n, h·d) read as (…, h, n, d)."""
    *batch, n, width = wide.shape
    return wide.reshape(*batch, h, n, width // h)


def split_without_transpose(X, W_Q, W_K, W_V, W_O, h):
    """Heads split by a reshape alone. Chapter 08, pitfall 1."""
    Q, K, V = (_reshaped(X @ W, h) for W in (W_Q, W_K, W_V))
    return concat_heads(attention(Q, K, V)) @ W_O


def merge_without_transpose(X, W_Q, W_K, W_V, W_O, h):
    """Heads joined by a reshape alone. Chapter 08, pitfall 2."""
    H = attention(*_heads(X, h, W_Q, W_K, W_V))
    return H.reshape(*X.shape[:-1], -1) @ W_O


def split_and_merge_without_transpose(X, W_Q, W_K, W_V, W_O, h):
    """Neither split nor merge transposes: consistent, and wrong. Chapter 08, pitfall 1."""
    H = attention(*(_reshaped(X @ W, h) for W in (W_Q, W_K, W_V)))
    return H.reshape(*X.shape[:-1], -1) @ W_O


def identical_heads(X, W_Q, W_K, W_V, W_O, h):
    """No index on the matrices: every head is the first. Chapter 01, chapter 08."""
    H = attention(*_heads(X, h, W_Q, W_K, W_V))
    return concat_heads(np.repeat(H[..., :1, :, :], h, axis=-3)) @ W_O


def strided_heads(X, W_Q, W_K, W_V, W_O, h):
    """Head i owns every h-th column instead of the i-th block. Chapter 08, pitfall 29."""

    def dealt(wide):
        return np.moveaxis(wide.reshape(*wide.shape[:-1], -1, h), -1, -3)

    return concat_heads(attention(*(dealt(X @ W) for W in (W_Q, W_K, W_V)))) @ W_O


def heads_in_reverse(X, W_Q, W_K, W_V, W_O, h):
    """The heads joined in another order than W_O's rows. Chapter 08, pitfall 24."""
    return concat_heads(attention(*_heads(X, h, W_Q, W_K, W_V))[..., ::-1, :, :]) @ W_O


def heads_averaged(X, W_Q, W_K, W_V, W_O, h):
    """The mean of the heads instead of their concatenation. Chapter 08."""
    H = attention(*_heads(X, h, W_Q, W_K, W_V)).mean(-3, keepdims=True)
    return concat_heads(np.repeat(H, h, axis=-3)) @ W_O


def one_wide_head(X, W_Q, W_K, W_V, W_O, h):
    """The number of heads ignored: one head of the whole width. Chapter 08."""
    return attention(X @ W_Q, X @ W_K, X @ W_V) @ W_O


def scale_by_the_whole_width(X, W_Q, W_K, W_V, W_O, h):
    """Divided by √d_model, the whole width, instead of the √d_k of one head. Chapter 04, pitfall 4."""
    Q, K, V = _heads(X, h, W_Q, W_K, W_V)
    return concat_heads(softmax(Q @ K.swapaxes(-1, -2) / W_Q.shape[-1] ** 0.5) @ V) @ W_O


def softmax_over_the_heads(X, W_Q, W_K, W_V, W_O, h):
    """Softmax over the heads: `dim=1` of (batch, heads, n, m). Chapter 05."""
    Q, K, V = _heads(X, h, W_Q, W_K, W_V)
    S = Q @ K.swapaxes(-1, -2) / Q.shape[-1] ** 0.5
    A = np.moveaxis(softmax(np.moveaxis(S, -3, -1)), -1, -3)
    return concat_heads(A @ V) @ W_O


def output_projection_missing(X, W_Q, W_K, W_V, W_O, h):
    """W_O forgotten: the heads side by side are returned. Chapter 07, pitfall 24."""
    return concat_heads(attention(*_heads(X, h, W_Q, W_K, W_V)))


def output_projection_transposed(X, W_Q, W_K, W_V, W_O, h):
    """W_O as (out, in): transposed, and no error where it is square. Chapter 07, pitfall 23."""
    return concat_heads(attention(*_heads(X, h, W_Q, W_K, W_V))) @ W_O.swapaxes(-1, -2)


def query_weights_transposed(X, W_Q, W_K, W_V, W_O, h):
    """W_Q as (out, in): transposed, and no error where it is square. Chapter 02, pitfall 23."""
    return concat_heads(attention(*_heads(X, h, W_Q.swapaxes(-1, -2), W_K, W_V))) @ W_O


def keys_are_queries(X, W_Q, W_K, W_V, W_O, h):
    """One matrix for queries and keys. Chapter 02."""
    return concat_heads(attention(*_heads(X, h, W_Q, W_Q, W_V))) @ W_O


def queries_and_keys_swapped(X, W_Q, W_K, W_V, W_O, h):
    """Queries and keys change places. Chapter 02."""
    return concat_heads(attention(*_heads(X, h, W_K, W_Q, W_V))) @ W_O


def values_not_projected(X, W_Q, W_K, W_V, W_O, h):
    """W_V forgotten: the tokens themselves are averaged. Chapter 02."""
    Q, K = _heads(X, h, W_Q, W_K)
    return concat_heads(attention(Q, K, split_heads(X, h))) @ W_O


def split_before_projecting(X, W_Q, W_K, W_V, W_O, h):
    """The tokens are cut into heads first; each head projects its own slice only. Chapter 08, pitfall 25."""
    slices = split_heads(X, h)
    Q, K, V = (slices @ _diagonal_blocks(W, h) for W in (W_Q, W_K, W_V))
    return concat_heads(attention(Q, K, V)) @ W_O


def _diagonal_blocks(W, h):
    """(h, rows / h, columns / h): block (i, i) of W for head i."""
    rows, columns = W.shape
    blocks = W.reshape(h, rows // h, h, columns // h)
    return blocks[np.arange(h), :, np.arange(h)]


def residual_added(X, W_Q, W_K, W_V, W_O, h):
    """The residual X is added inside. Chapter 07."""
    return X + concat_heads(attention(*_heads(X, h, W_Q, W_K, W_V))) @ W_O


def attends_over_the_batch(X, W_Q, W_K, W_V, W_O, h):
    """Batch and tokens confused, `batch_first` forgotten. Chapter 08, pitfall 22."""
    if X.ndim < 3:
        return concat_heads(attention(*_heads(X, h, W_Q, W_K, W_V))) @ W_O
    swapped = X.swapaxes(-3, -2)
    return (concat_heads(attention(*_heads(swapped, h, W_Q, W_K, W_V))) @ W_O).swapaxes(-3, -2)
