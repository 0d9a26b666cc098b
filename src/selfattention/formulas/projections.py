"""Three views of one sequence: queries, keys, values. Chapter: notebooks/02_projections."""

import numpy as np
from jaxtyping import Float

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

Rows = Float[np.ndarray, "*batch n d"]  # tokens, or outputs, that a matrix with a bias will map
RowsWithOne = Float[np.ndarray, "*batch n d+1"]  # the same rows, a 1 behind each


@checked
def projections(
    X: Tokens,
    W_Q: QueryWeights,
    W_K: KeyWeights,
    W_V: ValueWeights,
    *,
    memory: Memory | None = None,
) -> tuple[Queries, Keys, Values]:
    """Eq. projections:  Q = X W_Q,  K = X W_K,  V = X W_V.

    X (…, n, d_model), W_Q (…, d_model, d_k), W_K (…, d_memory, d_k) and
    W_V (…, d_memory, d_v), all (in, out). Keys and values come from `memory`
    (…, m, d_memory) where it is given, which is cross-attention, or else from X.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    source = X if memory is None else memory
    return X @ W_Q, source @ W_K, source @ W_V


@checked
def append_ones(X: Rows) -> RowsWithOne:
    """Eq. append-ones:  X W + 1 b = [X 1] [W; b],  b a bias, one more row of W.

    X (…, n, d) gives [X 1] (…, n, d + 1), for any of the formulas to multiply by
    a matrix with d + 1 rows, the last of them the bias.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Bishop 2006, section 3.1, the basis function φ_0 = 1.
    """
    return np.concatenate([X, np.ones((*X.shape[:-1], 1), X.dtype)], axis=-1)
