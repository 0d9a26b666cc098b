"""Order is not in the formula: three ways to add it. Chapter: notebooks/11_positions.

Positions are whole numbers, counted from 0. Angles are computed in float64, whatever Q is: far out
in a long sequence float32 no longer knows them well.
"""

import numpy as np
from jaxtyping import Float, Int

from selfattention.notation import Queries
from selfattention.signatures import checked, even, position, positive, scalars, size

QueryPositions = Int[np.ndarray, "*#batch n"]  # i, one whole number per query
KeyPositions = Int[np.ndarray, "*#batch m"]  # j, one whole number per key
Frequencies = Float[np.ndarray, "pairs"]  # θ, in radians per position
Table = Float[np.ndarray, "n d_model"]  # P, a row for each position
Rotation = Float[np.ndarray, "d d"]  # R_k
Slopes = Float[np.ndarray, "h"]  # μ, one per head
Bias = Float[np.ndarray, "*#batch h n m"]  # B, added to the scores


@checked
@scalars(d=even, base=positive)
def frequencies(d: int, *, base: float = 10_000.0) -> Frequencies:
    """Eq. frequencies:  θ_c = base^(−2c/d),  c = 0 … d/2 − 1.

    d columns make d/2 pairs, and each pair turns with a frequency of its own, from 1
    down to almost 1/base radians per position. Returns (d/2), in float64.
    Raises ValueError where d is not a positive even integer: a column without a
    partner cannot be turned. Source: Vaswani et al. 2017, section 3.5.
    """
    return base ** (-np.arange(0, d, 2) / d)  # 0, 2, 4 … is 2c already


@checked
@scalars(n=size(0), d_model=even)
def sinusoids(n: int, d_model: int, *, base: float = 10_000.0) -> Table:
    """Eq. sinusoids:  P_i,2c = sin(i θ_c),  P_i,2c+1 = cos(i θ_c).

    Returns P (n, d_model) in float64, a row for each of the positions 0 … n − 1, to
    be added to the tokens; θ as in Eq. frequencies.
    Raises ValueError where d_model is not a positive even integer.
    Source: Vaswani et al. 2017, section 3.5.
    """
    angles = np.arange(n)[:, None] * frequencies(d_model, base=base)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(n, d_model)


@checked
@scalars(k=position, d=even)
def rotation(k: int, d: int, *, base: float = 10_000.0) -> Rotation:
    """Eq. rotation:  R_k has blocks [[cos kθ_c, sin kθ_c], [−sin kθ_c, cos kθ_c]].

    A row vector times R_k (d, d) has each of its pairs of columns 2c, 2c + 1 turned by
    the angle k θ_c, anticlockwise. R_j R_k = R_(j+k), and R_kᵀ = R_(−k).
    Raises ValueError where d is not a positive even integer.
    Source: Su et al. 2021, section 3.2.2, who write R_kᵀ, for columns.
    """
    angles, even = k * frequencies(d, base=base), np.arange(0, d, 2)
    R = np.zeros((d, d))
    R[even, even] = R[even + 1, even + 1] = np.cos(angles)
    R[even, even + 1], R[even + 1, even] = np.sin(angles), -np.sin(angles)
    return R


@checked
def rotary(
    Q: Queries,
    positions: QueryPositions,
    *,
    base: float = 10_000.0,
) -> Queries:
    """Eq. rotary:  q_i becomes q_i R_p,  p the position of row i.

    Q (…, n, d_k), or K, and positions (…, n) give (…, n, d_k). R is that of
    Eq. rotation, without the matrix: each pair (x, y) of columns 2c, 2c + 1 becomes
    (x cos − y sin, x sin + y cos).
    Raises ValueError where d_k is odd, or another argument does not fit.
    Source: Su et al. 2021, section 3.4.2.
    """
    cos, sin = _cos_sin(positions, Q, base)
    x, y = Q[..., 0::2], Q[..., 1::2]
    turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
    return turned.reshape(*turned.shape[:-2], Q.shape[-1])


@checked
def rotary_halves(
    Q: Queries,
    positions: QueryPositions,
    *,
    base: float = 10_000.0,
) -> Queries:
    """Eq. rotary-halves:  (x, y) becomes (x cos − y sin, x sin + y cos),  x, y halves.

    `rotary` with other pairs: column c goes with column c + d_k/2. For models whose
    columns were trained, or sorted, for it. Q (…, n, d_k), or K, and positions (…, n)
    give (…, n, d_k).
    Raises ValueError where d_k is odd, or another argument does not fit.
    Source: the code of GPT-NeoX; its issue 834 asks why.
    """
    cos, sin = _cos_sin(positions, Q, base)
    x, y = np.split(Q, 2, axis=-1)
    return np.concatenate([x * cos - y * sin, x * sin + y * cos], axis=-1)


def _cos_sin(positions, Q, base):
    """Cosine and sine of position times frequency, (…, n, d_k/2), in Q's dtype."""
    if Q.shape[-1] % 2:
        raise ValueError(f"Q has width {Q.shape[-1]}; wanted an even one: columns in pairs")
    angles = positions[..., None] * frequencies(Q.shape[-1], base=base)
    return np.cos(angles).astype(Q.dtype), np.sin(angles).astype(Q.dtype)


@checked
@scalars(h=size(1))
def alibi_slopes(h: int) -> Slopes:
    """Eq. alibi-slopes:  μ_t = 2^(−8t/h),  t = 1 … h.

    Returns (h), in float64: for 8 heads 1/2, 1/4 … 1/256. The authors' code does
    otherwise where h is not a power of two.
    Raises ValueError where h is not a positive integer.
    Source: Press, Smith & Lewis 2022, section 3.
    """
    return 2.0 ** (-8 * np.arange(1, h + 1) / h)


@checked
def alibi(i: QueryPositions, j: KeyPositions, h: int) -> Bias:
    """Eq. alibi:  B_tij = −μ_t abs(i − j),  μ as in Eq. alibi-slopes.

    i (…, n) and j (…, m) are the positions of queries and keys; gives B (…, h, n, m)
    in float64, to be added to the scaled scores. Under a causal mask abs(i − j) is
    i − j, as in the source.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Press, Smith & Lewis 2022, section 3.
    """
    distances = np.abs(i[..., :, None] - j[..., None, :])
    return alibi_slopes(h)[:, None, None] * -distances[..., None, :, :]  # no −0.0
