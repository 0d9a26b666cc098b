"""Why √d_k, honestly. Chapter: notebooks/04_scaling."""

import numpy as np

from selfattention.formulas.scores import dot_scores
from selfattention.notation import Keys, Queries, RowNumbers, Scores, WeightRows
from selfattention.signatures import checked, not_negative, positive, scalars, whole


@scalars(d_k=whole(1), query_variance=not_negative, key_variance=not_negative)
def score_variance(d_k: int, query_variance: float = 1.0, key_variance: float = 1.0) -> float:
    """Eq. score-variance:  Var(q · k) = d_k Var(q_c) Var(k_c).

    For entries that are independent and have mean zero; their distribution does not matter.
    With entries of standard deviation σ that is σ⁴ d_k, and the standard deviation σ² √d_k.
    Raises ValueError, naming the argument, for what is no count or no variance.
    Source: Vaswani et al. 2017, footnote 4, for unit variances.
    """
    return d_k * query_variance * key_variance


@checked
def scaled_scores(Q: Queries, K: Keys) -> Scores:
    """Eq. scaled-scores:  S = Q Kᵀ / √d_k,  d_k the length of one query.

    Q (…, n, d_k), K (…, m, d_k) give S (…, n, m). Source: Vaswani et al. 2017, section 3.2.1.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    d_k = Q.shape[-1]
    return dot_scores(Q, K) * d_k**-0.5  # a Python float: np.sqrt would turn float32 into float64


@checked
def entropy(A: WeightRows) -> RowNumbers:
    """Eq. entropy:  H_i = −Σ_j A_ij ln A_ij,  in nats, with 0 ln 0 = 0.

    A (…, m) gives H (…): 0 for a row that looks at one key, ln m for a uniform row.
    Raises ValueError or TypeError, naming the argument, for numbers that do not fit.
    Source: Shannon 1948, section 6.
    """
    return -(A * np.log(np.where(A > 0, A, 1))).sum(-1)


@checked
def effective_keys(A: WeightRows) -> RowNumbers:
    """Eq. effective-keys:  N_i = exp(H_i),  the number of keys a uniform row of that entropy has.

    A (…, m) gives N (…), between 1 and m. Source: Hill 1973, the diversity of order 1.
    Raises ValueError or TypeError, naming the argument, for numbers that do not fit.
    """
    return np.exp(entropy(A))


@checked
@scalars(C=positive)
def softcap(S: Scores, C: float) -> Scores:
    """Eq. softcap:  S' = C tanh(S / C).

    S (…, n, m) gives S' (…, n, m), between −C and C, in the units of the scores. It belongs before the mask:
    a score of −∞ gives −C, and the hidden key has a weight again.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Gemma Team 2024, section 2.
    """
    return C * np.tanh(S / C)
