"""Learn the matrices. Chapter: notebooks/12_gradients.

dM stands for ∂ℓ/∂M, ℓ the loss: it has the axes of M. Leading axes stay as they are: weights that
a batch shares get one gradient for each of its members, and the loss over the batch wants their sum.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.formula import attention
from selfattention.formulas.projections import projections
from selfattention.formulas.scaling import scaled_scores
from selfattention.formulas.softmax import softmax
from selfattention.notation import (
    Keys,
    Outputs,
    OutputWeights,
    Queries,
    QueryWeights,
    Tokens,
    Values,
    Weights,
)
from selfattention.signatures import checked, positive, scalars, whole

Anything = Float[np.ndarray, "*axes"]
OwnKeyWeights = Float[np.ndarray, "*#batch d_model d_k"]  # W_K where X is its own memory
OwnValueWeights = Float[np.ndarray, "*#batch d_model d_v"]  # W_V likewise
Covariances = Float[np.ndarray, "*#batch n d_v d_k"]  # one matrix per query
Left = Float[np.ndarray, "*#batch n d"]  # B of a product M = B C
Right = Float[np.ndarray, "*#batch d p"]  # C
Product = Float[np.ndarray, "*#batch n p"]  # M
Rows = Float[np.ndarray, "*#rows m"]  # weights, or gradients of weights or scores
Heads = Float[np.ndarray, "*batch h m d"]  # dK or dV, one for each head
Groups = Float[np.ndarray, "*batch g m d"]  # one for each group of heads


@checked
def weighted_covariance(A: Weights, V: Values, K: Keys) -> Covariances:
    """Eq. weighted-covariance:  Cov_a(v, k) = Σ_j a_j (v_j − o)ᵀ (k_j − k̄),  for each row a of A.

    o = Σ_j a_j v_j and k̄ = Σ_j a_j k_j are the means. A (…, n, m), V (…, m, d_v) and
    K (…, m, d_k) give (…, n, d_v, d_k), one matrix per query.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Bishop 2006, section 1.2.2, with the weights for probabilities.
    """
    from_o = V[..., None, :, :] - weighted_sum(A, V)[..., :, None, :]
    from_mean_key = K[..., None, :, :] - weighted_sum(A, K)[..., :, None, :]
    return (A[..., None] * from_o).swapaxes(-1, -2) @ from_mean_key


@checked
def query_derivative(Q: Queries, K: Keys, V: Values) -> Covariances:
    """Eq. query-derivative:  ∂o_i / ∂q_i = Cov_{a_i}(v, k) / √d_k,  a_i row i of A.

    Entry [c, d] is how fast feature c of the output grows with feature d of the query.
    Q (…, n, d_k), K (…, m, d_k), V (…, m, d_v) give (…, n, d_v, d_k).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: the softmax Jacobian, Bridle 1990, and the chain rule.
    """
    A = softmax(scaled_scores(Q, K))
    return weighted_covariance(A, V, K) / K.shape[-1] ** 0.5


@checked
def product_backward(dM: Product, B: Left, C: Right) -> tuple[Left, Right]:
    """Eq. product-backward:  dB = dM Cᵀ,  dC = Bᵀ dM,  where M = B C.

    dM (…, n, p), B (…, n, d), C (…, d, p) give dB (…, n, d) and dC (…, d, p).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Griewank & Walther 2008, on the reverse mode.
    """
    return dM @ C.swapaxes(-1, -2), B.swapaxes(-1, -2) @ dM


@checked
def softmax_backward(dA: Rows, A: Rows) -> Rows:
    """Eq. softmax-backward:  dS = A ∘ (dA − δ),  δ_i = Σ_j A_ij dA_ij.

    dA (…, m) and the weights A (…, m) give dS (…, m), whose rows sum to zero. A row of
    zeros, of a query that may see no key, gives zeros.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Bridle 1990; in this form, Dao et al. 2022, appendix B.2.
    """
    delta = (A * dA).sum(-1, keepdims=True)
    return A * (dA - delta)


@checked
def attention_backward(dO: Outputs, Q: Queries, K: Keys, V: Values) -> tuple[Queries, Keys, Values]:
    """Eq. attention-backward:  dQ = dS K / √d_k,  dK = dSᵀ Q / √d_k,  dV = Aᵀ dO.

    dA = dO Vᵀ, and dS is what the softmax sends back of it. dO (…, n, d_v), Q (…, n, d_k),
    K (…, m, d_k), V (…, m, d_v) give dQ, dK and dV, with the axes of Q, K and V.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Dao et al. 2022, appendix B.2.
    """
    A = softmax(scaled_scores(Q, K))
    dA, dV = product_backward(dO, A, V)
    dS = softmax_backward(dA, A)
    dQ, dK_transposed = product_backward(dS / K.shape[-1] ** 0.5, Q, K.swapaxes(-1, -2))
    return dQ, dK_transposed.swapaxes(-1, -2), dV


@checked
def self_attention_backward(
    dY: Tokens,
    X: Tokens,
    W_Q: QueryWeights,
    W_K: OwnKeyWeights,
    W_V: OwnValueWeights,
    W_O: OutputWeights,
) -> tuple[Tokens, QueryWeights, OwnKeyWeights, OwnValueWeights, OutputWeights]:
    """Eq. self-attention-backward:  dW_Q = Xᵀ dQ … dW_O = Oᵀ dY,  dX = dQ W_Qᵀ + dK W_Kᵀ + dV W_Vᵀ.

    dY and X (…, n, d_model), and the four matrices as in `self_attention`, give dX, dW_Q,
    dW_K, dW_V and dW_O. With leading axes there is one dW for each member of the batch.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: the chain rule; Griewank & Walther 2008, on the reverse mode.
    """
    Q, K, V = projections(X, W_Q, W_K, W_V)
    dO, dW_O = product_backward(dY, attention(Q, K, V), W_O)
    dQ, dK, dV = attention_backward(dO, Q, K, V)
    dX_by_Q, dW_Q = product_backward(dQ, X, W_Q)
    dX_by_K, dW_K = product_backward(dK, X, W_K)
    dX_by_V, dW_V = product_backward(dV, X, W_V)
    return dX_by_Q + dX_by_K + dX_by_V, dW_Q, dW_K, dW_V, dW_O


@checked
@scalars(g=whole(1))
def group_sum(dK: Heads, g: int) -> Groups:
    """Eq. group-sum:  dK^(u) = Σ dK^(i)  over the h/g heads i = u h/g … (u + 1) h/g − 1.

    What each head sends back to the keys (or values) that its group shares: dK (…, h, m, d)
    gives (…, g, m, d).
    Raises ValueError where g is not a positive integer that divides h.
    Source: Ainslie et al. 2023, who share keys and values within groups of heads.
    """
    *batch, h, m, d = dK.shape
    if h % g:
        raise ValueError(f"g is {g}; wanted a positive integer that divides the heads of dK, {h}")
    return dK.reshape(*batch, g, h // g, m, d).sum(-3)


@checked
@scalars(step=positive)
def central_difference(f: Callable, X: Anything, step: float) -> Anything:
    """Eq. central-difference:  G_ij = (f(X + ε E_ij) − f(X − ε E_ij)) / 2ε,  ε the step.

    The gradient of a function that takes an array and returns a number, by trying: two
    calls for every entry of X, any shape. E_ij is 1 at one entry and 0 elsewhere. The error
    falls as ε² until rounding, which grows as 1/ε, takes over.
    Raises ValueError where step is not positive and finite, or so small that X swallows it, or leads
    out of X's range.
    Source: Nocedal & Wright 2006, section 8.1.
    """
    if not (X + step > X - step).all():
        raise ValueError(f"step is {step}; wanted a positive number, and not too small beside X")
    if not (np.isfinite(X + step) & np.isfinite(X - step)).all():
        raise ValueError(
            f"step is {step}; wanted one that stays in the range of {X.dtype}, to both sides of X"
        )
    G = np.empty_like(X)
    for where in np.ndindex(X.shape):
        above, below = X.copy(), X.copy()
        above[where] += step
        below[where] -= step
        apart = above[where] - below[where]  # 2ε, as rounded; f may do with its array what it likes
        G[where] = (f(above) - f(below)) / apart
    return G
