"""A whole encoder, for weights that somebody trained. Chapter: notebooks/09_trained.

Every matrix has its bias as its last row and meets [X 1], as in `append_ones`.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.heads import concat_heads, split_heads
from selfattention.formulas.output import output_projection
from selfattention.formulas.projections import append_ones, projections
from selfattention.formulas.scaling import scaled_scores
from selfattention.formulas.scores import dot_scores
from selfattention.formulas.softmax import softmax
from selfattention.notation import Tokens
from selfattention.signatures import OutOfRange, checked, not_negative, scalars, whole

Anything = Float[np.ndarray, "*axes"]
Gain = Float[np.ndarray, "d_model"]  # g, one factor per feature
Shift = Float[np.ndarray, "d_model"]  # b
MeanSquares = Float[np.ndarray, "*#batch n 1"]  # σ², one per token
WidenWeights = Float[np.ndarray, "d_model+1 d_ff"]  # W_1
NarrowWeights = Float[np.ndarray, "d_ff+1 d_model"]  # W_2
HeadQueryWeights = Float[np.ndarray, "d_model+1 h·d_k"]  # W_Q and W_K of all heads, side by side
HeadValueWeights = Float[np.ndarray, "d_model+1 h·d_v"]  # W_V of all heads
HeadOutputWeights = Float[np.ndarray, "h·d_v+1 d_model"]  # W_O
WideQueries = Float[np.ndarray, "*batch n h·d_k"]  # Q of all heads side by side
WideKeys = Float[np.ndarray, "*batch m h·d_k"]
WideValues = Float[np.ndarray, "*batch m h·d_v"]
WideOutputs = Float[np.ndarray, "*batch n h·d_v"]
HeadWeights = Float[np.ndarray, "*batch h n m"]  # A, one matrix per head
OwnWeights = Float[np.ndarray, "*batch h n n"]  # A in self-attention
Embeddings = Float[np.ndarray, "*batch n d_embedding"]  # E
EmbeddingGain = Float[np.ndarray, "d_embedding"]
EmbeddingWeights = Float[np.ndarray, "d_embedding+1 d_model"]  # W_E
AllStates = Float[np.ndarray, "*batch states n d_model"]  # X^(0) … X^(depth)
AllWeights = Float[np.ndarray, "*batch layers h n n"]  # A^(1) … A^(depth)
MaskWeights = Float[np.ndarray, "d_model+1 d_embedding"]  # W_M
Vocabulary = Float[np.ndarray, "tokens d_embedding"]  # T, a row per token
TokenBias = Float[np.ndarray, "tokens"]
TokenScores = Float[np.ndarray, "*batch n tokens"]


@checked
@scalars(epsilon=not_negative)
def layer_norm(X: Tokens, g: Gain, b: Shift, *, epsilon: float = 1e-12) -> Tokens:
    """Eq. layer-norm:  LN(x) = g ∘ (x − μ) / √(σ² + ε) + b,  μ and σ² of the row x itself.

    X (…, n, d_model), g and b (d_model) give (…, n, d_model). σ² divides by d_model, not by
    d_model − 1. Source: Ba, Kiros & Hinton 2016, eqs. 3 and 4.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    centred = X - X.mean(-1, keepdims=True)
    return g * centred / _root(_mean_square(centred) + epsilon, "layer_norm") + b


@checked
def _mean_square(X: Tokens) -> MeanSquares:
    """σ² of centred rows. Checked by itself: infinite, it would make every row b, and that is finite."""
    return (X**2).mean(-1, keepdims=True)


def _root(variance, formula):
    """√variance, unless it is so small that it has lost its digits: then so would the answer."""
    few_digits = (variance > 0) & (variance < np.finfo(variance.dtype).tiny)
    if few_digits.any():
        raise OutOfRange(f"{formula} divides by the root of {variance[few_digits][0]}")
    return variance**0.5


@checked
def gelu(X: Anything) -> Anything:
    """Eq. gelu:  gelu(x) = x Φ(x) = x (1 + erf(x / √2)) / 2,  Φ the normal distribution function.

    Any shape, number by number. NumPy has no erf; Python's own is exact to the last digits,
    where the published tanh formula is off by up to 5e-4, and that would be seen here.
    Source: Hendrycks & Gimpel 2016, section 2.
    Raises ValueError or TypeError for what is not an array of finite floats.
    """
    numbers = (X * 2**-0.5).ravel().tolist()
    erf = np.fromiter(map(math.erf, numbers), X.dtype, X.size).reshape(X.shape)
    return X * (1 + erf) / 2


@checked
def feed_forward(X: Tokens, W_1: WidenWeights, W_2: NarrowWeights) -> Tokens:
    """Eq. feed-forward:  FF(X) = [gelu([X 1] W_1) 1] W_2,  each token by itself.

    X (…, n, d_model), W_1 (d_model + 1, d_ff), W_2 (d_ff + 1, d_model) give (…, n, d_model).
    Source: Vaswani et al. 2017, section 3.3, with gelu for its ReLU.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return append_ones(gelu(append_ones(X) @ W_1)) @ W_2


@checked
def attend_by_head(Q: WideQueries, K: WideKeys, V: WideValues, h: int) -> tuple[WideOutputs, HeadWeights]:
    """Eq. attend-by-head:  O = Concat(A^(1)V^(1) … A^(h)V^(h)),  A^(i) = softmax(Q^(i)K^(i)ᵀ/√d_k).

    Q (…, n, h·d_k), K (…, m, h·d_k), V (…, m, h·d_v) give O (…, n, h·d_v) and every head's
    weights A (…, h, n, m).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    Q, K, V = (split_heads(wide, h) for wide in (Q, K, V))
    A = softmax(scaled_scores(Q, K))
    return concat_heads(weighted_sum(A, V)), A


@checked
@scalars(h=whole(1))
def encoder_layer(
    X: Tokens,
    W_Q: HeadQueryWeights,
    W_K: HeadQueryWeights,
    W_V: HeadValueWeights,
    W_O: HeadOutputWeights,
    g_1: Gain,
    b_1: Shift,
    W_1: WidenWeights,
    W_2: NarrowWeights,
    g_2: Gain,
    b_2: Shift,
    *,
    h: int,
    attend: Callable = attend_by_head,
) -> tuple[Tokens, OwnWeights]:
    """Eq. encoder-layer:  Z = LN_1(X + [O 1] W_O),  Y = LN_2(Z + FF(Z)),  O the heads' outputs.

    X (…, n, d_model) gives Y (…, n, d_model) and every head's weights A (…, h, n, n).
    `attend(Q, K, V, h)` returns O and A; another function there is another attention.
    Source: Vaswani et al. 2017, section 3.1 (each sum is normalised after it is taken).
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    O, A = attend(*projections(append_ones(X), W_Q, W_K, W_V), h)
    Z = layer_norm(X + output_projection(append_ones(O), W_O), g_1, b_1)
    return layer_norm(Z + feed_forward(Z, W_1, W_2), g_2, b_2), A


@checked
@scalars(depth=whole(1))
def encoder(
    E: Embeddings,
    g_E: EmbeddingGain,
    b_E: EmbeddingGain,
    W_E: EmbeddingWeights,
    W_Q: HeadQueryWeights,
    W_K: HeadQueryWeights,
    W_V: HeadValueWeights,
    W_O: HeadOutputWeights,
    g_1: Gain,
    b_1: Shift,
    W_1: WidenWeights,
    W_2: NarrowWeights,
    g_2: Gain,
    b_2: Shift,
    *,
    h: int,
    depth: int,
    attend: Callable = attend_by_head,
) -> tuple[AllStates, AllWeights]:
    """Eq. encoder:  X^(0) = [LN(E) 1] W_E,  X^(l+1) = EncoderLayer(X^(l)),  l = 0 … depth − 1.

    E (…, n, d_embedding) gives all states X (…, depth + 1, n, d_model) and all weights
    A (…, depth, h, n, n). One and the same layer is applied `depth` times.
    Source: Lan et al. 2020, section 3.1 (ALBERT).
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    X, A = [append_ones(layer_norm(E, g_E, b_E)) @ W_E], []
    for _ in range(depth):
        state, weights = encoder_layer(
            X[-1], W_Q, W_K, W_V, W_O, g_1, b_1, W_1, W_2, g_2, b_2, h=h, attend=attend
        )
        X.append(state)
        A.append(weights)
    return np.stack(X, axis=-3), np.stack(A, axis=-4)


@checked
def token_scores(
    X: Tokens, T: Vocabulary, W_M: MaskWeights, g_M: EmbeddingGain, b_M: EmbeddingGain, b_T: TokenBias
) -> TokenScores:
    """Eq. token-scores:  LN(gelu([X 1] W_M)) Tᵀ + b_T,  one score for each token of the vocabulary.

    X (…, n, d_model), T (tokens, d_embedding) give (…, n, tokens): a dot product of what a place
    holds with every token's embedding. Source: Devlin et al. 2019, section 3.1 (masked LM); the
    map W_M and its norm are in their released code.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return dot_scores(layer_norm(gelu(append_ones(X) @ W_M), g_M, b_M), T) + b_T
