"""Wrong `attention(Q, K, V)`."""

import numpy as np

from selfattention.formulas import cosine_scores, dot_scores, gaussian_scores, softmax
from selfattention.mutants.softmax import naive_exponentials


def _root(Q):
    return Q.shape[-1] ** 0.5


def no_scale(Q, K, V):
    """Not scaled at all. Chapter 04, pitfall 5."""
    return softmax(dot_scores(Q, K)) @ V


def scale_by_d_k(Q, K, V):
    """Divided by d_k instead of √d_k. Chapter 04, pitfall 6."""
    return softmax(dot_scores(Q, K) / Q.shape[-1]) @ V


def scale_by_the_number_of_keys(Q, K, V):
    """Divided by the root of the number of keys, `len(K)`, instead of √d_k. Chapter 01."""
    return softmax(dot_scores(Q, K) / K.shape[-2] ** 0.5) @ V


def scale_after_the_softmax(Q, K, V):
    """Scaled after the softmax: rows no longer sum to one. Chapter 04, pitfall 5."""
    return softmax(dot_scores(Q, K)) / _root(Q) @ V


def scale_twice(Q, K, V):
    """Divided by √d_k twice, on Q and again on the scores. Chapter 04."""
    return softmax(dot_scores(Q / _root(Q), K) / _root(Q)) @ V


def multiplied_by_the_root(Q, K, V):
    """Multiplied by √d_k instead of divided. Chapter 04."""
    return softmax(dot_scores(Q, K) * _root(Q)) @ V


def softmax_over_the_queries(Q, K, V):
    """Softmax over the queries: columns sum to one. Chapter 05, pitfall 7."""
    S = dot_scores(Q, K) / _root(Q)
    return softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2) @ V


def softmax_over_the_batch(Q, K, V):
    """Softmax along the first axis: over the batch where there is one. Chapter 05."""
    S = dot_scores(Q, K) / _root(Q)
    E = np.exp(S - S.max(0))
    return E / E.sum(0) @ V


def naive_softmax(Q, K, V):
    """A softmax that overflows. Chapter 05."""
    return naive_exponentials(dot_scores(Q, K) / _root(Q)) @ V


def softmax_forgotten(Q, K, V):
    """No softmax at all. Chapter 05."""
    return dot_scores(Q, K) / _root(Q) @ V


def values_inside_the_softmax(Q, K, V):
    """V inside the softmax: softmax(Q Kᵀ V / √d_k). Chapter 06, pitfall 9."""
    return softmax(dot_scores(Q, K) @ V / _root(Q))


def cosine_for_dot(Q, K, V):
    """Cosine scores instead of dot products: lengths no longer count. Chapter 03."""
    return softmax(cosine_scores(Q, K) / _root(Q)) @ V


def most_alike_only(Q, K, V):
    """The best key takes all: an argmax instead of the softmax. Chapter 06."""
    best = dot_scores(Q, K).argmax(-1)
    return np.take_along_axis(V, best[..., None], -2)


def plain_average(Q, K, V):
    """The scores are thrown away: every query gets the mean of the values. Chapter 06."""
    return np.repeat(V.mean(-2, keepdims=True), Q.shape[-2], axis=-2)


def keys_in_reverse(Q, K, V):
    """Keys and values in different orders. Chapter 06."""
    return softmax(dot_scores(Q, K[..., ::-1, :]) / _root(Q)) @ V


def largest_value_normalised(Q, K, V):
    """Weights divided by the largest instead of their sum. Chapter 05."""
    S = dot_scores(Q, K) / _root(Q)
    return np.exp(S - S.max(-1, keepdims=True)) @ V


def distance_for_dot(Q, K, V):
    """Gaussian scores instead of dot products: the same only where all keys are equally long. Chapter 03."""
    return softmax(gaussian_scores(Q, K, tau=_root(Q))) @ V


def causal_uninvited(Q, K, V):
    """A causal mask that nobody asked for. Chapter 10."""
    S = dot_scores(Q, K) / _root(Q)
    return softmax(np.where(np.tri(*S.shape[-2:], dtype=bool), S, -np.inf)) @ V


def farthest_key_wins(Q, K, V):
    """A distance taken for a similarity: the farthest key wins. Chapter 03."""
    return softmax(-gaussian_scores(Q, K, tau=_root(Q))) @ V


def star_for_at(Q, K, V):
    """Stars read as products of numbers: softmax(Q * K / √d_k) * V. Chapter 01."""
    return softmax(Q * K / _root(Q)) * V


def tokens_in_columns(Q, K, V):
    """Tokens taken for columns: features attend to features, QᵀK instead of QKᵀ. Chapter 01."""
    return V @ softmax(Q.swapaxes(-1, -2) @ K / _root(Q)).swapaxes(-1, -2)
