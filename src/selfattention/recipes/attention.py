"""Attention in parts, masked or not: O = softmax(Q Kᵀ / √d_k, hidden keys at −∞) V."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import attention as wrong
from selfattention.mutants import masked_attention as wrong_mask
from selfattention.recipes import masks, softmax
from selfattention.recipes.recipe import Convention, Known, Mistake
from selfattention.recipes.softmax import Softmax, as_it_is

# The parts, each as it should be.


def these(Q, K, V):
    return Q, K, V


def dot(Q, K):
    return Q @ K.swapaxes(-1, -2)


def by_the_root(S, Q, K):
    return S / Q.shape[-1] ** 0.5


def mean(A, V):
    return A @ V


def alone(O, Q):
    return O


def in_order(p, Q, K, V, visible):
    Q, K, V = p.source(Q, K, V)
    return p.finish(p.mix(p.empty(p.softmax(scores_of(p, Q, K, visible))), V), Q)


def scores_of(p, Q, K, visible):
    return _hidden(p, p.scale(p.score(Q, K), Q, K), visible)


def _hidden(p, S, visible):
    S = p.always(S, p.fill)
    return S if visible is None else p.hide(S, p.see(visible), p.fill)


@dataclass(frozen=True)
class Attention:
    """O (…, n, d_v) of Q (…, n, d_k), K (…, m, d_k), V (…, m, d_v) and `visible`, booleans or None."""

    source: Callable = these
    score: Callable = dot
    scale: Callable = by_the_root
    always: Callable = masks.all_scores  # what is hidden without a mask
    see: Callable = as_it_is  # who sees whom
    fill: float = -np.inf  # the score of a hidden key
    hide: Callable = masks.hidden
    softmax: Softmax = Softmax()  # noqa: RUF009 (it is frozen)
    empty: Callable = as_it_is  # what becomes of a row of NaN
    mix: Callable = mean
    finish: Callable = alone
    order: Callable = in_order

    def __call__(self, Q, K, V, visible=None):
        return self.order(self, Q, K, V, visible)


# The parts that people write instead.


def keys_turned(Q, K, V):
    return Q, K[..., ::-1, :], V


def keys_for_values(Q, K, V):
    """The keys are averaged, not the values. Chapter 06."""
    return Q, K, K


def values_for_keys(Q, K, V):
    """The queries are compared with the values, not with the keys. Chapter 03."""
    return Q, V, V


def keys_and_values_exchanged(Q, K, V):
    """Keys and values change places. Chapter 06."""
    return Q, V, K


def queries_and_keys_exchanged(Q, K, V):
    """Queries and keys change places: a row for each key. Chapter 03."""
    return K, Q, V


def queries_alone(Q, K, V):
    """The queries are compared with one another. Chapter 03."""
    return Q, Q, V


def not_transposed(Q, K):
    """The keys are not transposed, Q K: no error where n = m = d_k. Chapter 03."""
    return Q @ K


def keys_reshaped(Q, K):
    """The keys poured into the shape (d_k, m), not transposed: their numbers change places. Chapter 03."""
    return Q @ K.reshape(*K.shape[:-2], *K.shape[:-3:-1])


def cosines(Q, K):
    lengths = (np.linalg.norm(X, axis=-1) for X in (Q, K))
    return dot(Q, K) / (next(lengths)[..., :, None] * next(lengths)[..., None, :])


def distances(Q, K):
    apart = Q[..., :, None, :] - K[..., None, :, :]
    return (apart * apart).sum(-1) / -2


def turned_distances(Q, K):
    return -distances(Q, K)


def unscaled(S, Q, K):
    return S


def by_d_k(S, Q, K):
    return S / Q.shape[-1]


def by_the_root_of_keys(S, Q, K):
    return S / K.shape[-2] ** 0.5


def by_the_root_of_queries(S, Q, K):
    """Divided by the root of the number of queries instead of √d_k. Chapter 01."""
    return S / Q.shape[-2] ** 0.5


def by_the_keys(S, Q, K):
    """Divided by the number of keys instead of √d_k. Chapter 04."""
    return S / K.shape[-2]


def times_the_root(S, Q, K):
    return S * Q.shape[-1] ** 0.5


def by_the_fourth_root(S, Q, K):
    """Only one of Q and K divided by the fourth root of d_k, or the root taken twice. Chapter 04."""
    return S / Q.shape[-1] ** 0.25


def by_the_square(S, Q, K):
    """Divided by d_k², the square where the root belongs. Chapter 04."""
    return S / Q.shape[-1] ** 2


def transposed_mean(A, V):
    """The weights are transposed before they meet the values: no error where n = m. Chapter 06."""
    return A.swapaxes(-1, -2) @ V


def values_turned(A, V):
    return A @ V[..., ::-1, :]


def mean_over_the_number_of_keys(A, V):
    """The weighted sum is divided once more, by the number of keys: a mean of a mean. Chapter 06."""
    return A @ V / V.shape[-2]


def squares_of_weights(A, V):
    """The weights are squared before they meet the values. Chapter 06."""
    return A * A @ V


def first_row_alone(O, Q):
    """A `return` inside the loop over the queries: all rows but the first are still 0. Chapter 06."""
    return np.where(np.arange(O.shape[-2])[:, None] == 0, O, 0)


def with_the_queries(O, Q):
    """The queries are added to the output, a residual connection inside. Chapter 07."""
    return O + Q


def masked_last(p, Q, K, V, visible):
    Q, K, V = p.source(Q, K, V)
    A = p.softmax(p.scale(p.score(Q, K), Q, K))
    return p.finish(p.mix(A if visible is None else A * p.see(visible), V), Q)


def triangle_last(p, Q, K, V, visible):
    """A causal mask after the softmax, as a factor: the weights sum to less than one. Chapter 10."""
    Q, K, V = p.source(Q, K, V)
    A = p.softmax(p.scale(p.score(Q, K), Q, K))
    return p.finish(p.mix(A * np.tri(*A.shape[-2:]), V), Q)


def scaled_last(p, Q, K, V, visible):
    Q, K, V = p.source(Q, K, V)
    S = p.score(Q, K)
    A = p.empty(p.softmax(_hidden(p, S, visible)))
    return p.finish(p.mix(p.scale(A, Q, K), V), Q)


def scaled_at_both_ends(p, Q, K, V, visible):
    """Scaled again after the softmax: rows no longer sum to one. Chapter 04."""
    Q, K, V = p.source(Q, K, V)
    A = p.empty(p.softmax(_hidden(p, p.scale(p.score(Q, K), Q, K), visible)))
    return p.finish(p.mix(p.scale(A, Q, K), V), Q)


def masked_before_scaling(p, Q, K, V, visible):
    """Masked first and scaled then: a finite fill is scaled with the scores. Chapter 10."""
    Q, K, V = p.source(Q, K, V)
    S = p.score(Q, K)
    S = p.scale(_hidden(p, S, visible), Q, K)
    return p.finish(p.mix(p.empty(p.softmax(S)), V), Q)


def values_inside(p, Q, K, V, visible):
    return p.softmax(p.scale(p.score(Q, K) @ V, Q, K))


def stars(p, Q, K, V, visible):
    return p.softmax(p.scale(Q * K, Q, K)) * V


def star_at_the_end(p, Q, K, V, visible):
    """The last product is a star: weights times values entry by entry, no matrix product. Chapter 01."""
    S = p.scale(p.score(Q, K), Q, K)
    return p.softmax(_hidden(p, S, visible)) * V


def features(p, Q, K, V, visible):
    """Features attend to features."""
    return p.mix(V, p.softmax(p.scale(Q.swapaxes(-1, -2) @ K, Q, K)).swapaxes(-1, -2))


def feature_map(X):
    """elu + 1."""
    return np.where(X > 0, X + 1, np.exp(np.minimum(X, 0)))


def linear(p, Q, K, V, visible):
    """Linear attention as published, φ(Q)(φ(K)ᵀV) / φ(Q)Σφ(K) with φ = elu + 1. Chapter 13."""
    Q, K = feature_map(Q), feature_map(K)
    return Q @ (K.swapaxes(-1, -2) @ V) / (Q @ K.sum(-2)[..., None])


def dot_scores_as_published(S, Q, K):
    """Dot scores without a root, as Luong's. Chapter 03."""
    return S


MISTAKES = (
    Mistake("scale", unscaled, wrong.no_scale),
    Mistake("scale", by_d_k, wrong.scale_by_d_k),
    Mistake("scale", by_d_k, wrong.scale_twice),
    Mistake("scale", by_the_root_of_keys, wrong.scale_by_the_number_of_keys),
    Mistake("scale", by_the_root_of_queries, by_the_root_of_queries),
    Mistake("scale", by_the_keys, by_the_keys),
    Mistake("scale", times_the_root, wrong.multiplied_by_the_root),
    Mistake("scale", by_the_fourth_root, by_the_fourth_root),
    Mistake("scale", by_the_square, by_the_square),
    *(m.inside("softmax") for m in softmax.MISTAKES),
    Mistake("source", keys_turned, wrong.keys_in_reverse),
    Mistake("source", keys_for_values, keys_for_values),
    Mistake("source", values_for_keys, values_for_keys),
    Mistake("source", keys_and_values_exchanged, keys_and_values_exchanged),
    Mistake("source", queries_and_keys_exchanged, queries_and_keys_exchanged),
    Mistake("source", queries_alone, queries_alone),
    Mistake("score", not_transposed, not_transposed),
    Mistake("score", keys_reshaped, keys_reshaped),
    Mistake("score", cosines, wrong.cosine_for_dot),
    Mistake("score", distances, wrong.distance_for_dot),
    Mistake("score", turned_distances, wrong.farthest_key_wins),
    *masks.MISTAKES,
    Mistake("order", masked_last, wrong_mask.mask_after_the_softmax),
    Mistake("order", triangle_last, triangle_last),
    Mistake("order", scaled_last, wrong.scale_after_the_softmax),
    Mistake("order", scaled_at_both_ends, scaled_at_both_ends),
    Mistake("order", values_inside, wrong.values_inside_the_softmax),
    Mistake("order", stars, wrong.star_for_at),
    Mistake("order", star_at_the_end, star_at_the_end),
    Mistake("order", features, wrong.tokens_in_columns),
    Mistake("mix", transposed_mean, transposed_mean),
    Mistake("mix", values_turned, wrong.keys_in_reverse),
    Mistake("mix", mean_over_the_number_of_keys, mean_over_the_number_of_keys),
    Mistake("mix", squares_of_weights, squares_of_weights),
    Mistake("finish", first_row_alone, first_row_alone),
    Mistake("finish", with_the_queries, with_the_queries),
)
WITHOUT_A_ROOT = Convention("scale", dot_scores_as_published, dot_scores_as_published)
CONVENTIONS = (
    WITHOUT_A_ROOT,
    masks.CAUSAL,
    *(c.inside("softmax") for c in softmax.CONVENTIONS),
    Convention("order", linear, linear),
)


ORDERS = tuple(order.inside("softmax") for order in softmax.ORDERS)
PARTS = Known("attention", Attention(), MISTAKES, CONVENTIONS, masks.READINGS, ORDERS)
"""Without what goes wrong between tiles, which `tiles` adds."""
