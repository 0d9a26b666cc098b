"""One token at a time: a cache of keys and values, and what it costs. Chapter: notebooks/15_decoding.

A cache holds the keys and values of the tokens so far, (…, g, past, d); `past` counts them. New tokens
bring rows of their own, and every query of theirs stands behind the cache.
"""

import numpy as np
from jaxtyping import Float

from selfattention.formulas.masks import masked_attention
from selfattention.formulas.trained import _mean_square, _root
from selfattention.notation import Tokens
from selfattention.signatures import checked, not_negative, scalars, whole

Anything = Float[np.ndarray, "*axes"]
Gain = Float[np.ndarray, "d_model"]  # g, one factor per feature
UpWeights = Float[np.ndarray, "d_model d_ff"]  # W_gate and W_up
DownWeights = Float[np.ndarray, "d_ff d_model"]  # W_down
HeadQueries = Float[np.ndarray, "*batch h n d_k"]  # of the new tokens, one matrix per head
NewKeys = Float[np.ndarray, "*batch g n d_k"]  # of the new tokens, one matrix per group of heads
NewValues = Float[np.ndarray, "*batch g n d_v"]
PastKeys = Float[np.ndarray, "*batch g past d_k"]  # the cache before the step
PastValues = Float[np.ndarray, "*batch g past d_v"]
AllKeys = Float[np.ndarray, "*batch g past+n d_k"]  # the cache after it
AllValues = Float[np.ndarray, "*batch g past+n d_v"]
HeadOutputs = Float[np.ndarray, "*batch h n d_v"]


@checked
@scalars(epsilon=not_negative)
def rms_norm(X: Tokens, g: Gain, *, epsilon: float = 1e-5) -> Tokens:
    """Eq. rms-norm:  RMS(x) = g ∘ x / √(mean(x²) + ε),  the mean over the features of the row x.

    `layer_norm` without its mean and its shift. X (…, n, d_model) and g (d_model) give
    (…, n, d_model). Source: Zhang & Sennrich 2019, eq. 4; ε as in Touvron et al. 2023.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return g * X / _root(_mean_square(X) + epsilon, "rms_norm")


@checked
def silu(X: Anything) -> Anything:
    """Eq. silu:  silu(x) = x / (1 + e^(−x)),  x times the logistic function of x.

    Any shape, number by number. Source: Hendrycks & Gimpel 2016, section 2, who name it.
    Raises ValueError or TypeError for what is not an array of finite floats.
    """
    return X / (1 + np.exp(-X))  # where e^(−x) is infinite, x / ∞ = −0 is the limit


@checked
def swiglu(X: Tokens, W_gate: UpWeights, W_up: UpWeights, W_down: DownWeights) -> Tokens:
    """Eq. swiglu:  FF(X) = (silu(X W_gate) ∘ X W_up) W_down,  each token by itself.

    X (…, n, d_model), W_gate and W_up (d_model, d_ff), W_down (d_ff, d_model) give
    (…, n, d_model). Source: Shazeer 2020, eq. 6, without biases.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return (silu(X @ W_gate) * (X @ W_up)) @ W_down


@checked
def step(
    Q: HeadQueries, K: NewKeys, V: NewValues, past_K: PastKeys, past_V: PastValues
) -> tuple[HeadOutputs, AllKeys, AllValues]:
    """Eq. step:  K' = [past_K; K],  V' = [past_V; V],  O = softmax(S') V',  S' causal, bottom-right.

    Query i of the n new tokens sees the whole cache and the new keys 0 … i, so j ≤ i + past.
    Head i of h reads keys and values i // (h / g) of g. Q (…, h, n, d_k), K (…, g, n, d_k),
    V (…, g, n, d_v) and the cache past_K, past_V (…, g, past, d) give O (…, h, n, d_v) and the
    next cache, K' and V' (…, g, past + n, d). n = 1 is a step of decoding, more is prefill.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Shazeer 2019, section 2.4; with groups, Ainslie et al. 2023, section 2.2.
    """
    grouped = _grouped(Q, K.shape[-3])
    past, n = past_K.shape[-2], K.shape[-2]
    K, V = np.concatenate([past_K, K], axis=-2), np.concatenate([past_V, V], axis=-2)
    visible = np.tri(n, past + n, past, dtype=bool)
    O = masked_attention(grouped, K[..., None, :, :], V[..., None, :, :], visible)
    return O.reshape(*Q.shape[:-1], V.shape[-1]), K, V


def _grouped(Q, g):
    """(…, g, h / g, n, d): the heads that read the same keys stand side by side, and nothing is copied."""
    *batch, h, n, d = Q.shape
    if h % g:
        raise ValueError(f"Q has {h} heads; wanted a multiple of the {g} of K (…, g, n, d_k)")
    return Q.reshape(*batch, g, h // g, n, d)


@scalars(tokens=whole(0), layers=whole(0), g=whole(1), d=whole(1), word_bytes=whole(1))
def cache_bytes(tokens: int, layers: int, g: int, d: int, word_bytes: int) -> int:
    """Eq. cache-bytes:  2 · layers · g · d · word_bytes · tokens.

    A key and a value of width d for every token, layer and group of heads, of which there are g;
    `word_bytes` is the size of a number, 4 in float32, 2 in the half precisions. Returns bytes.
    Raises ValueError, naming the argument that is no count.
    Source: Shazeer 2019, section 2.4.1; with groups, Ainslie et al. 2023, section 2.2.
    """
    return 2 * layers * g * d * word_bytes * tokens
