"""Who may see whom. Chapter: notebooks/10_masks."""

import numpy as np
from jaxtyping import Bool

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.scaling import scaled_scores
from selfattention.formulas.softmax import softmax
from selfattention.notation import Keys, Outputs, Queries, Scores, Values
from selfattention.signatures import checked, may_give_minus_infinity

Visible = Bool[np.ndarray, "*#batch n m"]  # True where query i may see key j


@checked
@may_give_minus_infinity(0)
def masked_scores(S: Scores, visible: Visible) -> Scores:
    """Eq. masked-scores:  S'_ij = S_ij where query i may see key j,  −∞ elsewhere.

    S and visible (…, n, m) give S' (…, n, m). The softmax of S' is that of the visible
    scores alone (Claim masked-scores-renormalise).
    Raises TypeError where visible is not boolean, so for a mask of zeros and ones as well.
    Source: Vaswani et al. 2017, section 3.2.3.
    """
    return np.where(visible, S, -np.inf)


@checked
def masked_attention(Q: Queries, K: Keys, V: Values, visible: Visible) -> Outputs:
    """Eq. masked-attention:  O = softmax(S') V,  S' the masked S = Q Kᵀ / √d_k.

    Q (…, n, d_k), K (…, m, d_k), V (…, m, d_v) and visible (…, n, m), True = may see,
    give O (…, n, d_v). A query that may see no key gets zeros.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Vaswani et al. 2017, section 3.2.3.
    """
    return weighted_sum(softmax(masked_scores(scaled_scores(Q, K), visible)), V)
