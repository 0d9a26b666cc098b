"""One token at a time: a cache of keys and values, and what it costs. Chapter: notebooks/15_decoding.

A cache holds the keys and values of the tokens so far, (…, g, past, d); `past` counts them. New tokens
bring rows of their own, and every query of theirs stands behind the cache.
"""

import numpy as np
from jaxtyping import Float, Int

from selfattention.formulas.masks import masked_attention
from selfattention.formulas.positions import rotary
from selfattention.formulas.tiles import OnePerRow, finish_state, merge_states
from selfattention.formulas.trained import _mean_square, _root
from selfattention.notation import Outputs, Tokens
from selfattention.signatures import OutOfRange, between, checked, not_negative, scalars, whole

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
CacheRows = Float[np.ndarray, "*#batch n d"]  # keys or values, a row for each token
Codes = Int[np.ndarray, "*#batch n d"]  # z, the same rows as small whole numbers
Steps = Float[np.ndarray, "*#batch n"]  # what one more in z is worth, one number per row


@checked
@scalars(epsilon=not_negative)
def rms_norm(X: Tokens, g: Gain, *, epsilon: float = 1e-5) -> Tokens:
    """Eq. rms-norm:  RMS(x) = g ∘ x / √(mean(x²) + ε),  the mean over the features of the row x.

    `layer_norm` without its mean and its shift. X (…, n, d_model) and g (d_model) give
    (…, n, d_model). Source: Zhang & Sennrich 2019, eq. 4, who have no ε; programs do.
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


@checked
def rotary_step(
    Q: HeadQueries, K: NewKeys, V: NewValues, past_K: PastKeys, past_V: PastValues, *, base: float = 10_000.0
) -> tuple[HeadOutputs, AllKeys, AllValues]:
    """Eq. rotary-step:  step of q_i R_p and k_i R_p,  p = past + i the position of new token i.

    Arguments and answers of `step`, R that of `rotary`. The cache holds keys that were turned when
    they came, and are not turned again: their positions do not change.
    Raises ValueError where d_k is odd, or another argument does not fit.
    Source: Su et al. 2021, section 3.4.2, for the rotation.
    """
    past, n = past_K.shape[-2], K.shape[-2]
    positions = np.arange(past, past + n)
    return step(rotary(Q, positions, base=base), rotary(K, positions, base=base), V, past_K, past_V)


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


@scalars(tokens=whole(0), layers=whole(0), d_latent=whole(1), d_rope=whole(0), word_bytes=whole(1))
def latent_cache_bytes(tokens: int, layers: int, d_latent: int, d_rope: int, word_bytes: int) -> int:
    """Eq. latent-cache-bytes:  layers · (d_latent + d_rope) · word_bytes · tokens.

    Multi-head latent attention keeps one vector of width d_latent for every token and layer, from which
    all heads make their keys and their values, and d_rope turned columns that all keys share: no
    factor 2, and no heads. Returns bytes.
    Raises ValueError, naming the argument that is no count.
    Source: DeepSeek-AI 2024, section 2.1.
    """
    return layers * (d_latent + d_rope) * word_bytes * tokens


@scalars(
    m=whole(0),
    layers=whole(0),
    h=whole(1),
    g=whole(1),
    d=whole(1),
    word_bytes=whole(1),
    weights=whole(0),
    b=whole(1),
    n=whole(1),
)
def decode_intensity(
    m: int, layers: int, h: int, g: int, d: int, word_bytes: int, *, weights: int = 0, b: int = 1, n: int = 1
) -> float:
    """Eq. decode-intensity:  I = 2 b n (P + 2 · layers · h d m) / (B (P + 2 · layers · g d b m)).

    A step reads P = `weights` numbers once for all, and the cache of each of b sequences, m keys and
    values for every layer and group; for each of n new tokens of each it multiplies and adds every
    weight, and every key and value in h / g heads. B is `word_bytes`. Returns operations per byte;
    without weights 2 n h / (g B), however long the cache is. n = 1 is decoding.
    Raises ValueError where nothing is read, or an argument is no count.
    Source: Shazeer 2019, section 2.4.1; with groups, Ainslie et al. 2023, section 2.2.
    """
    numbers = weights + 2 * layers * g * d * b * m
    if not numbers:
        raise ValueError(f"m is {m}, with layers {layers} and weights {weights}; wanted something to be read")
    return 2 * b * n * (weights + 2 * layers * h * d * m) / (word_bytes * numbers)


@checked
def with_sink(O: Outputs, L: OnePerRow, s: OnePerRow) -> tuple[Outputs, OnePerRow]:
    """Eq. with-sink:  O' = O / (1 + e^(s − L)),  L' = ln(e^L + e^s).

    What O (…, n, d_v) and L (…, n) become if every query sees one key more, of score s (…, n) and
    value 0: one merge with the state (s, 1, 0), since (L, 1, O) is a state as well. The sink takes
    the share 1 / (1 + e^(L − s)); a row that saw nothing gives it everything.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Xiao et al. 2024, section 3.3, with s = 0; a learnt s for each head, OpenAI 2025.
    """
    one = np.ones_like(L)
    return finish_state(*merge_states(L, one, O, s, one, np.zeros_like(O)))


@checked
@scalars(bits=between(2, 8))
def quantised(X: CacheRows, bits: int) -> tuple[Codes, Steps]:
    """Eq. quantised:  z = round(x / Δ),  Δ = max_c abs(x_c) / (2^(bits − 1) − 1),  a step Δ per row.

    Keys or values X (…, n, d), a row for every head and token, give whole numbers z (…, n, d) from
    −(2^(bits − 1) − 1) to 2^(bits − 1) − 1, as int8, and Δ (…, n). A row of zeros has Δ = 0.
    Raises ValueError where Δ would lose its digits, or an argument does not fit.
    Source: Dettmers et al. 2022, section 2.1 (absmax), and section 3.1 (a step per row).
    """
    step = np.abs(X).max(-1, initial=0) / (2 ** (bits - 1) - 1)
    few_digits = (X != 0).any(-1) & (step < np.finfo(X.dtype).tiny)
    if few_digits.any():
        raise OutOfRange(f"quantised divides by {step[few_digits][0]}")
    return np.rint(X / np.where(step == 0, 1, step)[..., None]).astype(np.int8), step


@checked
def restored(z: Codes, step: Steps) -> CacheRows:
    """Eq. restored:  x̂ = Δ z.

    The rows that `quantised` kept as z (…, n, d) and Δ (…, n): each number is off by half a step at
    most (Claim quantised-half-step). Gives (…, n, d) in the dtype of Δ.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Dettmers et al. 2022, section 2.1.
    """
    return z.astype(step.dtype) * step[..., None]
