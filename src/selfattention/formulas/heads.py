"""Many heads, one product. Chapter: notebooks/08_heads."""

import numpy as np
from jaxtyping import Float

from selfattention.formulas.formula import attention
from selfattention.formulas.output import output_projection
from selfattention.formulas.projections import projections
from selfattention.notation import Keys, Memory, Queries, Tokens, Weights
from selfattention.signatures import checked, or_none, scalars, truth, whole

AllQueryWeights = Float[np.ndarray, "*#batch d_model h·d_k"]  # W_Q of all heads, side by side
AllKeyWeights = Float[np.ndarray, "*#batch d_memory h·d_k"]
AllValueWeights = Float[np.ndarray, "*#batch d_memory h·d_v"]
AllOutputWeights = Float[np.ndarray, "*#batch h·d_v d_model"]
Joined = Float[np.ndarray, "*batch n width"]  # the heads side by side: width = h · d
Heads = Float[np.ndarray, "*batch h n d"]  # the heads one behind the other


@checked
@scalars(h=whole(1))
def split_heads(Q: Joined, h: int) -> Heads:
    """Eq. split-heads:  Q^(i) = columns i·d … (i+1)·d − 1 of Q,  d = width / h.

    i counts from 0. Q (…, n, h·d) gives (…, h, n, d): reshape first, then swap the axes
    of tokens and heads.
    Raises ValueError where h is not a positive integer that divides the width.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    *batch, n, width = Q.shape
    if width % h:
        raise ValueError(f"h is {h}; wanted a positive integer that divides the width, {width}")
    return Q.reshape(*batch, n, h, width // h).swapaxes(-3, -2)


@checked
def concat_heads(H: Heads) -> Joined:
    """Eq. concat-heads:  Concat(H^(1) … H^(h)),  the heads' columns side by side.

    H (…, h, n, d) gives (…, n, h·d): swap the axes of heads and tokens, then reshape. The
    inverse of `split_heads`. Source: Vaswani et al. 2017, section 3.2.2.
    Raises ValueError or TypeError for what is not such an array.
    """
    *batch, h, n, d = H.shape
    return H.swapaxes(-3, -2).reshape(*batch, n, h * d)


@checked
@scalars(h=whole(1))
def multi_head_attention(
    X: Tokens,
    W_Q: AllQueryWeights,
    W_K: AllKeyWeights,
    W_V: AllValueWeights,
    W_O: AllOutputWeights,
    h: int,
    *,
    memory: Memory | None = None,
) -> Tokens:
    """Eq. multi-head-attention:  Y = Concat(H^(1) … H^(h)) W_O.

    H^(i) = attention(Q^(i), K^(i), V^(i)). X (…, n, d_model); W_Q and W_K
    (d_model, h·d_k), W_V (d_model, h·d_v): head i owns the i-th block of columns; W_O
    (h·d_v, d_model). Gives Y (…, n, d_model).
    Keys and values come from `memory` (…, m, d_memory) where it is given.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    wide = projections(X, W_Q, W_K, W_V, memory=memory)
    Q, K, V = (split_heads(matrix, h) for matrix in wide)
    return output_projection(concat_heads(attention(Q, K, V)), W_O)


@scalars(d_model=whole(1), h=whole(1), d_k=or_none(whole(1)), d_v=or_none(whole(1)), bias=truth)
def multi_head_parameters(
    d_model: int, h: int, *, d_k: int | None = None, d_v: int | None = None, bias: bool
) -> int:
    """Eq. multi-head-parameters:  h d_model (2 d_k + d_v) + h d_v d_model  weights.

    With biases there are h (2 d_k + d_v) + d_model more. d_k and d_v are d_model / h where
    they are not given. Returns a count of parameters.
    Raises ValueError where h does not divide d_model and a width is left out, or an argument is
    no count.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    if (d_k is None or d_v is None) and d_model % h:
        raise ValueError(f"h is {h}; wanted a divisor of d_model = {d_model}, or d_k and d_v given")
    d_k, d_v = (d_model // h if width is None else width for width in (d_k, d_v))
    weights = h * d_model * (2 * d_k + d_v) + h * d_v * d_model
    return weights + bias * (h * (2 * d_k + d_v) + d_model)


@scalars(n=whole(0), m=whole(0), d_k=whole(1), d_v=whole(0))
def attention_flops(n: int, m: int, d_k: int, d_v: int) -> int:
    """Eq. attention-flops:  2 n m d_k + 2 n m d_v,  for one head.

    Counts the multiplications and additions of Q Kᵀ and A V; the softmax between them,
    a few operations per score, is left out. Returns floating-point operations (FLOPs).
    Raises ValueError, naming the argument that is no count.
    Source: Dao et al. 2022, section 2 (4 n² d for n = m, d_k = d_v).
    """
    return 2 * n * m * d_k + 2 * n * m * d_v


@scalars(
    vocabulary=whole(0),
    N=whole(0),
    d_model=whole(1),
    d_ff=whole(1),
    h=whole(1),
    d_k=or_none(whole(1)),
)
def transformer_parameters(
    vocabulary: int, *, N: int = 6, d_model: int = 512, d_ff: int = 2048, h: int = 8, d_k: int | None = None
) -> int:
    """Eq. transformer-parameters:  V d_model + N (3 P_attn + 2 P_ff + 5 P_norm).

    The encoder and decoder of Vaswani et al. 2017, section 3, N layers each: two
    feed-forward nets P_ff = 2 d_model d_ff + d_ff + d_model, three attentions P_attn
    without biases, five layer normalisations P_norm = 2 d_model, and one embedding of V
    rows that is used three times. d_v is d_model / h, and so is d_k where it is not given.
    Returns a count of parameters.
    Raises ValueError where h does not divide d_model, or an argument is no count.
    """
    if d_model % h:
        raise ValueError(f"h is {h}; wanted a divisor of d_model = {d_model}")
    P_attn = multi_head_parameters(d_model, h, d_k=d_k, d_v=d_model // h, bias=False)
    P_ff = 2 * d_model * d_ff + d_ff + d_model
    P_norm = 2 * d_model
    return vocabulary * d_model + N * (3 * P_attn + 2 * P_ff + 5 * P_norm)


@checked
@scalars(d_k=whole(1))
def head_for_weights(A: Weights, d_k: int) -> tuple[Queries, Keys]:
    """Eq. head-for-weights:  Q Kᵀ / √d_k = U_d Σ_d V_dᵀ,  U Σ Vᵀ = ln A − row means.

    The head of width d_k whose scores come closest to ln A, a constant per row left free:
    the first d_k terms of the singular value decomposition. Exact where ln A − row means
    has rank d_k or less, so always where d_k ≥ m − 1. A (…, n, m) gives Q (…, n, d_k) and
    K (…, m, d_k).
    Raises ValueError where A is not positive, or d_k is not between 1 and min(n, m).
    Source: Eckart & Young 1936; the bottleneck, Bhojanapalli et al. 2020.
    """
    if d_k > min(A.shape[-2:]):
        raise ValueError(f"d_k is {d_k}; wanted an integer from 1 to min(n, m) = {min(A.shape[-2:])}")
    if not (A > 0).all():
        raise ValueError(f"A holds {A.min()}; wanted positive weights, as every softmax gives")
    S = np.log(A)
    U, sigma, Vt = np.linalg.svd(S - S.mean(-1, keepdims=True), full_matrices=False)
    root = np.sqrt(sigma[..., None, :d_k]) * d_k**0.25
    return U[..., :d_k] * root, Vt[..., :d_k, :].swapaxes(-1, -2) * root
