"""From scores to weights. Chapter: notebooks/05_softmax."""

import numpy as np

from selfattention.notation import Jacobians, RowNumbers, ScoreRows, WeightRows
from selfattention.signatures import checked, may_give_minus_infinity


@checked
def softmax(S: ScoreRows) -> WeightRows:
    """Eq. softmax:  A = exp(S − c) / Z,  c the row's maximum, Z the row's sum.

    S (…, m) gives A (…, m): every row, along the last axis, sums to one. Any c gives the
    same A (Claim softmax-shift); the maximum keeps exp at most 1. A row that may see no
    key, all −inf, gets weight zero everywhere.
    Raises ValueError for NaN and +inf in S, TypeError for what is not a float array.
    Source: Bridle 1990; the shift, Blanchard, Higham & Higham 2021.
    """
    c = S.max(-1, keepdims=True, initial=-np.inf)
    E = np.exp(S - np.where(np.isneginf(c), 0, c))
    Z = E.sum(-1, keepdims=True)
    return E / np.where(Z == 0, 1, Z)


@checked
@may_give_minus_infinity(0)
def log_sum_exp(S: ScoreRows) -> RowNumbers:
    """Eq. log-sum-exp:  L = c + ln Z = ln Σ_j exp(S_j),  c the row's maximum.

    S (…, m) gives L (…): a smooth maximum, between max S and max S + ln m. A row that may
    see no key, all −inf, gives −inf.
    Raises ValueError for NaN and +inf in S, TypeError for what is not a float array.
    Source: Blanchard, Higham & Higham 2021.
    """
    c = S.max(-1, initial=-np.inf)
    shift = np.where(np.isneginf(c), 0, c)
    Z = np.exp(S - shift[..., None]).sum(-1)
    return np.log(Z, where=Z > 0, out=np.full_like(Z, -np.inf)) + shift


@checked
def softmax_jacobian(A: WeightRows) -> Jacobians:
    """Eq. softmax-jacobian:  J = diag(a) − a aᵀ,  J_jl = ∂a_j / ∂s_l,  for each row a of A.

    A (…, m), the weights, gives J (…, m, m): symmetric, rows sum to zero.
    Raises ValueError or TypeError, naming the argument, for numbers that do not fit.
    Source: Bridle 1990.
    """
    return A[..., None] * (np.eye(A.shape[-1], dtype=A.dtype) - A[..., None, :])
