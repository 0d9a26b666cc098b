"""The whole formula, from X to Y, in one head. Chapter: notebooks/01_formula."""

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.output import output_projection
from selfattention.formulas.projections import projections
from selfattention.formulas.scaling import scaled_scores
from selfattention.formulas.softmax import softmax
from selfattention.notation import (
    Keys,
    KeyWeights,
    Memory,
    Outputs,
    OutputWeights,
    Queries,
    QueryWeights,
    Tokens,
    Values,
    ValueWeights,
)
from selfattention.signatures import checked


@checked
def attention(Q: Queries, K: Keys, V: Values) -> Outputs:
    """Eq. attention:  O = softmax(Q Kᵀ / √d_k) V,  the softmax along the keys.

    Q (…, n, d_k), K (…, m, d_k), V (…, m, d_v) give O (…, n, d_v).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Vaswani et al. 2017, eq. 1.
    """
    return weighted_sum(softmax(scaled_scores(Q, K)), V)


@checked
def self_attention(
    X: Tokens,
    W_Q: QueryWeights,
    W_K: KeyWeights,
    W_V: ValueWeights,
    W_O: OutputWeights,
    *,
    memory: Memory | None = None,
) -> Tokens:
    """Eq. self-attention:  Y = softmax(X W_Q (X W_K)ᵀ / √d_k) X W_V W_O.

    X (…, n, d_model) gives Y (…, n, d_model). Keys and values come from `memory`
    (…, m, d_memory) where it is given: that is cross-attention.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Vaswani et al. 2017, section 3.2, with one head.
    """
    Q, K, V = projections(X, W_Q, W_K, W_V, memory=memory)
    return output_projection(attention(Q, K, V), W_O)
