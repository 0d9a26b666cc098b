"""Exact attention without the matrix. Chapter: notebooks/13_tiles.

What a row of attention knows after some of its keys is three things, its state: the largest score
c, the sum Z of the exponentials relative to c, and the sum Õ of the values with the same weights.
"""

import numpy as np
from jaxtyping import Float

from selfattention.notation import Outputs, Scores, Values
from selfattention.signatures import checked, may_give_minus_infinity, scalars, whole

OnePerRow = Float[np.ndarray, "*#batch n"]  # c, Z, L or δ, one number for each query


@checked
@may_give_minus_infinity(0)
def tile_state(S: Scores, V: Values) -> tuple[OnePerRow, OnePerRow, Outputs]:
    """Eq. tile-state:  c = max_j S_j,  Z = Σ_j e^{S_j − c},  Õ = Σ_j e^{S_j − c} v_j.

    The keys of one tile: S (…, n, m), −inf where a query may not look, and V (…, m, d_v)
    give c and Z (…, n), Õ (…, n, d_v). A row that sees no key of the tile, or a tile
    without keys, gives the empty state: c = −inf, Z = 0, Õ = 0.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Milakov & Gimelshein 2018, section 3; with Õ, Rabe & Staats 2021, section 2.
    """
    c = S.max(-1, initial=-np.inf)
    E = np.exp(S - _shift(c)[..., None])
    return c, E.sum(-1), E @ V


@checked
@may_give_minus_infinity(0)
def merge_states(
    c_1: OnePerRow, Z_1: OnePerRow, O_1: Outputs, c_2: OnePerRow, Z_2: OnePerRow, O_2: Outputs
) -> tuple[OnePerRow, OnePerRow, Outputs]:
    """Eq. merge-states:  c = max(c_1, c_2),  Z = Σ_t e^{c_t − c} Z_t,  Õ = Σ_t e^{c_t − c} Õ_t.

    The state of all the keys of two tiles, t = 1, 2, from the states of each: c and Z
    (…, n), Õ (…, n, d_v). Associative and commutative (Claim merge-states-associative); the
    empty state changes nothing.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Milakov & Gimelshein 2018, section 3.1, for c and Z; Rabe & Staats 2021, section 2.
    """
    c = np.maximum(c_1, c_2)
    a_1, a_2 = np.exp(c_1 - _shift(c)), np.exp(c_2 - _shift(c))
    return c, a_1 * Z_1 + a_2 * Z_2, a_1[..., None] * O_1 + a_2[..., None] * O_2


@checked
@may_give_minus_infinity(1)
def finish_state(c: OnePerRow, Z: OnePerRow, O: Outputs) -> tuple[Outputs, OnePerRow]:
    """Eq. finish-state:  O = Õ / Z,  L = c + ln Z.

    From the state of all keys, the output O (…, n, d_v) and the log-sum-exp L (…, n) of
    each row. The empty state gives O = 0 and L = −inf.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Dao et al. 2022, algorithm 1; with L, Dao 2023, algorithm 1.
    """
    seen = Z > 0
    L = np.log(Z, where=seen, out=np.full_like(Z, -np.inf)) + _shift(c)
    return O / np.where(seen, Z, 1)[..., None], L


@checked
def tile_backward(S: Scores, V: Values, dO: Outputs, L: OnePerRow, delta: OnePerRow) -> tuple[Scores, Values]:
    """Eq. tile-backward:  A = e^{S − L},  dS = A ∘ (dO Vᵀ − δ),  dV = Aᵀ dO,  for the keys of a tile.

    S (…, n, m) are the scores of one tile, V (…, m, d_v) its values; dO (…, n, d_v), the
    log-sum-exp L and δ = rowsum(dO ∘ O) (…, n) belong to the whole rows. Gives dS
    (…, n, m) and dV (…, m, d_v). A row that sees nothing, L = −inf, sends nothing back.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Dao et al. 2022, algorithm 4; with L, Dao 2023, algorithm 2.
    """
    A = np.exp(S - _shift(L)[..., None])
    dS = A * (dO @ V.swapaxes(-1, -2) - delta[..., None])
    return dS, A.swapaxes(-1, -2) @ dO


def _shift(c):
    """c where it is finite; 0 for a row that sees nothing, since −inf − (−inf) is not a number."""
    return np.where(np.isneginf(c), 0, c)


@scalars(n=whole(0), m=whole(0), d_k=whole(1), d_v=whole(0))
def direct_traffic(n: int, m: int, d_k: int, d_v: int) -> int:
    """Eq. direct-traffic:  n d_k + m d_k + 4 n m + m d_v + n d_v  words.

    What the three steps S = Q Kᵀ, A = softmax(S), O = A V move between slow and fast memory
    if each reads its operands once and writes its result once: S and A cross twice.
    Returns a count of words. Raises ValueError, naming the argument that is no count.
    Source: Dao et al. 2022, algorithm 0.
    """
    return n * d_k + m * d_k + 4 * n * m + m * d_v + n * d_v


@scalars(n=whole(0), m=whole(0), d_k=whole(1), d_v=whole(0), r=whole(1))
def tiled_traffic(n: int, m: int, d_k: int, d_v: int, r: int) -> int:
    """Eq. tiled-traffic:  n d_k + ⌈n/r⌉ m (d_k + d_v) + n d_v + n  words.

    For r queries at a time: Q is read and O and L are written once, K and V are read once
    for every r queries. Returns a count of words.
    Raises ValueError where r is not a positive integer, or another argument no count.
    Source: Dao 2023, algorithm 1.
    """
    return n * d_k + -(-n // r) * m * (d_k + d_v) + n * d_v + n


@scalars(M=whole(0), d_k=whole(1), d_v=whole(0), w=whole(1))
def rows_that_fit(M: int, d_k: int, d_v: int, w: int) -> int:
    """Eq. rows-that-fit:  r = ⌊(M − w (d_k + d_v)) / (d_k + d_v + w + 2)⌋  queries.

    The most queries whose rows of Q and Õ, numbers c and Z and scores against w keys lie in
    M words of fast memory, beside these w keys and their values.
    Raises ValueError where not even one query fits, or an argument is no count.
    Source: Dao et al. 2022, algorithm 1.
    """
    r = (M - w * (d_k + d_v)) // (d_k + d_v + w + 2)
    if r < 1:
        raise ValueError(f"M is {M}; wanted {w * (d_k + d_v) + d_k + d_v + w + 2} words or more")
    return r
