"""How alike are a query and a key? Chapter: notebooks/03_scores.

Every measure has one signature, `score(Q, K, **its parameters)`, and returns S (…, n, m).
"""

from selfattention.notation import Keys, Queries, Scores
from selfattention.signatures import checked


@checked
def dot_scores(Q: Queries, K: Keys) -> Scores:
    """Eq. dot-scores:  S_ij = q_i · k_j,  that is  S = Q Kᵀ.

    Q (…, n, d_k), K (…, m, d_k) give S (…, n, m). Source: Luong et al. 2015, "dot".
    Raises ValueError or TypeError, naming the argument, for axes or numbers that do not fit.
    """
    return Q @ K.swapaxes(-1, -2)
