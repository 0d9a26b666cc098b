"""The letters of the book and their axes, once. Every formula's signature is written in them.

A row is a token. `n` counts queries, `m` counts keys, and in self-attention they are equal.
`*#batch` stands for any leading axes (batch, heads); they broadcast as NumPy's do.
"""

import numpy as np
from jaxtyping import Float

Tokens = Float[np.ndarray, "*#batch n d_model"]  # X, and Y
Memory = Float[np.ndarray, "*#batch m d_memory"]  # where keys and values come from; X itself, mostly
QueryWeights = Float[np.ndarray, "*#batch d_model d_k"]  # W_Q, written (in, out)
KeyWeights = Float[np.ndarray, "*#batch d_memory d_k"]  # W_K
ValueWeights = Float[np.ndarray, "*#batch d_memory d_v"]  # W_V
OutputWeights = Float[np.ndarray, "*#batch d_v d_model"]  # W_O
Queries = Float[np.ndarray, "*#batch n d_k"]  # Q
Keys = Float[np.ndarray, "*#batch m d_k"]  # K
Values = Float[np.ndarray, "*#batch m d_v"]  # V
Scores = Float[np.ndarray, "*#batch n m"]  # S; −inf where a query may not look
Weights = Float[np.ndarray, "*#batch n m"]  # A; rows sum to one
Outputs = Float[np.ndarray, "*#batch n d_v"]  # O
ScoreRows = Float[np.ndarray, "*rows m"]  # scores, any number of rows
WeightRows = Float[np.ndarray, "*rows m"]  # weights, any number of rows
RowNumbers = Float[np.ndarray, "*rows"]  # one number per row: c, Z, L
Jacobians = Float[np.ndarray, "*rows m m"]  # ∂a_j / ∂s_l, one matrix per row
