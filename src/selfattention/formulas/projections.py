"""Three views of one sequence: queries, keys, values. Chapter: notebooks/02_projections."""

from selfattention.notation import (
    Keys,
    KeyWeights,
    Memory,
    Queries,
    QueryWeights,
    Tokens,
    Values,
    ValueWeights,
)
from selfattention.signatures import checked


@checked
def projections(
    X: Tokens, W_Q: QueryWeights, W_K: KeyWeights, W_V: ValueWeights, *, memory: Memory | None = None
) -> tuple[Queries, Keys, Values]:
    """Eq. projections:  Q = X W_Q,  K = X W_K,  V = X W_V.

    X (…, n, d_model), W_Q and W_K (…, d_model, d_k), W_V (…, d_model, d_v), all (in, out).
    Keys and values come from `memory` (…, m, d_memory) where it is given: cross-attention.
    Raises ValueError or TypeError, naming the argument, for axes or numbers that do not fit.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    source = X if memory is None else memory
    return X @ W_Q, source @ W_K, source @ W_V
