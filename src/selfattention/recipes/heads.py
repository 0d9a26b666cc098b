"""Multi-head attention in parts: projected, split, attended to, merged, projected again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import attention as wrong_attention
from selfattention.mutants import multi_head_attention as wrong
from selfattention.recipes import attention
from selfattention.recipes.attention import Attention
from selfattention.recipes.recipe import Known, Mistake
from selfattention.recipes.softmax import as_it_is

# The parts, each as it should be.


def each_its_own(X, W_Q, W_K, W_V):
    return X @ W_Q, X @ W_K, X @ W_V


def blocks(wide, h):
    return np.moveaxis(wide.reshape(*wide.shape[:-1], h, -1), -2, -3)


def side_by_side(H):
    H = np.moveaxis(H, -3, -2)
    return H.reshape(*H.shape[:-2], -1)


def projected(joined, W_O):
    return joined @ W_O


def as_many(h):
    return h


def without_the_tokens(Y, X):
    return Y


def in_order(p, X, W_Q, W_K, W_V, W_O, h):
    h = p.count(h)
    Q, K, V = (p.split(wide, h) for wide in p.project(X, W_Q, W_K, W_V))
    return p.finish(p.output(p.merge(p.heads(p.attend(Q, K, V))), W_O), X)


@dataclass(frozen=True)
class Heads:
    """Y (…, n, d_model) of X (…, n, d_model), four matrices (in, out) and the number of heads."""

    project: Callable = each_its_own
    count: Callable = as_many
    split: Callable = blocks
    attend: Attention = Attention()  # noqa: RUF009 (it is frozen)
    heads: Callable = as_it_is  # what is done to the heads before they are merged
    merge: Callable = side_by_side
    output: Callable = projected
    finish: Callable = without_the_tokens
    order: Callable = in_order

    def __call__(self, X, W_Q, W_K, W_V, W_O, h):
        return self.order(self, X, W_Q, W_K, W_V, W_O, h)


# The parts that people write instead.


def queries_turned(X, W_Q, W_K, W_V):
    return X @ W_Q.swapaxes(-1, -2), X @ W_K, X @ W_V


def one_for_both(X, W_Q, W_K, W_V):
    Q = X @ W_Q
    return Q, Q, X @ W_V


def exchanged(X, W_Q, W_K, W_V):
    return X @ W_K, X @ W_Q, X @ W_V


def values_as_they_are(X, W_Q, W_K, W_V):
    return X @ W_Q, X @ W_K, X


def keys_for_values(X, W_Q, W_K, W_V):
    """The keys are averaged, not the values: W_K stands where W_V belongs. Chapter 02."""
    return X @ W_Q, X @ W_K, X @ W_K


def reshaped(wide, h):
    *batch, n, width = wide.shape
    return wide.reshape(*batch, h, n, width // h)


def dealt(wide, h):
    return np.moveaxis(wide.reshape(*wide.shape[:-1], -1, h), -1, -3)


def reshaped_back(H):
    return H.reshape(*H.shape[:-3], H.shape[-2], -1)


def batch_read_as_heads(H):
    """(heads, batch, n, d) read as (batch, n, heads · d): right for nobody, and no error. Chapter 08."""
    if H.ndim < 4:
        return reshaped_back(H)
    H = np.moveaxis(H, 1, 0)
    return H.reshape(H.shape[1], H.shape[2], -1)


def one_head(h):
    return 1


def first_for_all(H):
    return np.repeat(H[..., :1, :, :], H.shape[-3], axis=-3)


def other_order(H):
    return H[..., ::-1, :, :]


def their_mean(H):
    return np.repeat(H.mean(-3, keepdims=True), H.shape[-3], axis=-3)


def not_projected(joined, W_O):
    return joined


def turned(joined, W_O):
    return joined @ W_O.swapaxes(-1, -2)


def with_the_tokens(Y, X):
    return X + Y


def by_the_whole_width(S, Q, K):
    return S / (Q.shape[-1] * Q.shape[-3]) ** 0.5


def over_the_heads(S):
    return -3


def over_the_batch(p, X, W_Q, W_K, W_V, W_O, h):
    if X.ndim < 3:
        return in_order(p, X, W_Q, W_K, W_V, W_O, h)
    return in_order(p, X.swapaxes(-3, -2), W_Q, W_K, W_V, W_O, h).swapaxes(-3, -2)


def slices_first(p, X, W_Q, W_K, W_V, W_O, h):
    slices = blocks(X, h)
    Q, K, V = (slices @ diagonal_blocks(W, h) for W in (W_Q, W_K, W_V))
    return p.finish(p.output(p.merge(p.heads(p.attend(Q, K, V))), W_O), X)


def diagonal_blocks(W, h):
    rows, columns = W.shape
    return W.reshape(h, rows // h, h, columns // h)[np.arange(h), :, np.arange(h)]


INSIDE = tuple(
    mistake.inside("attend")
    for mistake in attention.MISTAKES
    if (
        mistake.path.split(".")[0] in ("scale", "softmax", "always", "score", "mix", "finish")
        and mistake.said.__name__ not in ("softmax_over_the_heads", "softmax_over_the_batch")
    )
    or mistake.said in (wrong_attention.keys_in_reverse, wrong_attention.scale_after_the_softmax)
    or mistake.part is attention.scaled_at_both_ends
)
"""The mistakes of attention without a mask, in each head."""

MISTAKES = (
    Mistake("split", reshaped, wrong.split_without_transpose),
    Mistake("split", dealt, wrong.strided_heads),
    Mistake("merge", reshaped_back, wrong.merge_without_transpose),
    Mistake("merge", batch_read_as_heads, batch_read_as_heads),
    Mistake("heads", first_for_all, wrong.identical_heads),
    Mistake("heads", other_order, wrong.heads_in_reverse),
    Mistake("heads", their_mean, wrong.heads_averaged),
    Mistake("count", one_head, wrong.one_wide_head),
    Mistake("attend.scale", by_the_whole_width, wrong.scale_by_the_whole_width),
    Mistake("attend.softmax.axis", over_the_heads, wrong.softmax_over_the_heads),
    Mistake("output", not_projected, wrong.output_projection_missing),
    Mistake("output", turned, wrong.output_projection_transposed),
    Mistake("project", queries_turned, wrong.query_weights_transposed),
    Mistake("project", one_for_both, wrong.keys_are_queries),
    Mistake("project", exchanged, wrong.queries_and_keys_swapped),
    Mistake("project", values_as_they_are, wrong.values_not_projected),
    Mistake("project", keys_for_values, keys_for_values),
    Mistake("finish", with_the_tokens, wrong.residual_added),
    Mistake("order", slices_first, wrong.split_before_projecting),
    Mistake("order", over_the_batch, wrong.attends_over_the_batch),
    *INSIDE,
)
CONVENTIONS = tuple(
    convention.inside("attend")
    for convention in attention.CONVENTIONS
    if convention.path == "always" or convention.path.startswith("softmax")
)
ORDERS = tuple(order.inside("attend") for order in attention.ORDERS)
HEADS = Known("multi-head attention", Heads(), MISTAKES, CONVENTIONS, orders=ORDERS)
