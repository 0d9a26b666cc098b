"""Take the weighted sum. Chapter: notebooks/06_context."""

from selfattention.notation import Outputs, Values, Weights
from selfattention.signatures import checked


@checked
def weighted_sum(A: Weights, V: Values) -> Outputs:
    """Eq. weighted-sum:  o_i = Σ_j A_ij v_j,  that is  O = A V.

    A (…, n, m), V (…, m, d_v) give O (…, n, d_v). Source: Bahdanau et al. 2015, eq. 5,
    who call o_i the context vector c_i.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return A @ V
