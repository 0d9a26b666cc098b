"""What comes out where the formula is silent. Chapter: notebooks/18_dialects."""

import math

import numpy as np
from jaxtyping import Bool, Float

from selfattention.formulas.scaling import softcap
from selfattention.formulas.softmax import softmax
from selfattention.notation import Outputs, Scores
from selfattention.signatures import checked, position, positive, scalars, whole

Visible = Bool[np.ndarray, "*#batch n m"]  # True where query i may see key j
Parts = Float[np.ndarray, "*rows parts"]  # one log-sum-exp for every part of a row's keys


@checked
@scalars(F=positive)
def buried_scores(S: Scores, visible: Visible, F: float) -> Scores:
    """Eq. buried-scores:  S'_ij = S_ij − (1 − M_ij) F.

    A finite number F in the place of infinity, added where query i may not see key j. S and visible (…, n, m)
    give S' (…, n, m). In a row that sees somebody, F far above all scores does what −∞ does. In a row that
    sees nobody F cancels (Claim buried-row-unmasked), or swallows the scores (Claim buried-row-mean).
    Raises TypeError where visible is not boolean, ValueError where F is not positive and finite.
    Source: Vaswani et al. 2017 in the code that came with it; Devlin et al. 2019 with F = 10,000.
    """
    return np.where(visible, S, S - np.asarray(F, S.dtype))


@scalars(F=positive, digits=whole(1))
def absorbed_below(F: float, digits: int) -> float:
    """Eq. absorbed-below:  2^(⌊log₂ F⌋ − p).

    Half the distance between neighbouring floats at F, whose significand has p = `digits` binary digits: 53
    in float64, 24 in float32, 11 in float16, 8 in bfloat16. A score nearer to 0 than this is absorbed,
    S − F = −F; at a power of two, a positive one only from half of that down.
    Returns a score. Raises ValueError where F is not positive or digits is no count.
    Source: IEEE 754-2019, round to nearest.
    """
    return math.ldexp(1.0, math.frexp(F)[1] - 1 - digits)


@checked
def zeroed_rows(O: Outputs, visible: Visible) -> Outputs:
    """Eq. zeroed-rows:  o'_i = o_i max_j M_ij.

    Whatever a library gives to queries that see nobody, as zeros. O (…, n, d_v) and visible (…, n, m) give
    O' (…, n, d_v). Where that is NaN, `np.where` with the same condition; 0 · NaN would not do.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return np.where(visible.any(-1, keepdims=True), O, 0)


@scalars(i=whole(0), m=whole(0), offset=position)
def keys_seen(i: int, m: int, offset: int) -> int:
    """Eq. keys-seen:  min(max(i + o + 1, 0), m).

    How many of m keys query i sees under j ≤ i + o: with o = `offset` = 0 it stands beside key i, the
    triangle at the top left; with o = m − n the last of n queries stands beside the last key, at the bottom
    right.
    Returns a count. Raises ValueError where i or m is no count.
    """
    return min(max(i + offset + 1, 0), m)


@scalars(kept=whole(1), hidden=whole(0))
def added_ones_share(kept: int, hidden: int) -> float:
    """Eq. added-ones-share:  e a / (e a + b).

    What a = `kept` keys with a 1 in the mask get of a query's attention, beside b = `hidden` keys with a 0,
    where the mask is added to scores that are equal. A mask that hides would give 1.
    Returns a share. Raises ValueError where an argument is no count.
    """
    return math.e * kept / (math.e * kept + hidden)


@checked
@scalars(C=positive)
def cap_after_mask(S: Scores, visible: Visible, C: float) -> Scores:
    """Eq. cap-after-mask:  S'_ij = C tanh(S_ij / C) where query i may see key j,  −C elsewhere.

    What a soft cap makes of scores that were masked before it, for tanh(−∞) = −1. S and visible (…, n, m)
    give S' (…, n, m). No key is hidden any more (Claim cap-after-mask-leaks).
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return np.where(visible, softcap(S, C), -np.asarray(C, S.dtype))


@scalars(largest=positive, d=whole(1), scale=positive)
def largest_entry(largest: float, d: int, scale: float) -> float:
    """Eq. largest-entry:  √(F_max / (s d)).

    Queries and keys of width d whose entries are no larger have products up to F_max = `largest`, the largest
    number of the format: with s = 1 where the scores are scaled afterwards, s = 1/√d where Q is scaled first.
    Returns an entry. Raises ValueError where a measure is not positive, or d is no count.
    """
    return math.sqrt(largest / (scale * d))


@checked
def merged_shares(L: Parts) -> Parts:
    """Eq. merged-shares:  e^{L_p} / Σ_q e^{L_q}.

    What each part of a row's keys counts for when their outputs are merged by their log-sum-exps.
    L (…, parts) gives shares (…, parts); a part that saw nobody has L = −∞ and counts for nothing, and where
    all are so, all shares are 0.
    Raises ValueError or TypeError for what is no array of floats. Source: Rabe & Staats 2021.
    """
    return softmax(L)


@scalars(i=whole(0), h=whole(1), g=whole(1))
def group_of_head(i: int, h: int, g: int) -> int:
    """Eq. group-of-head:  ⌊i g / h⌋.

    Which of g heads of keys query head i of h reads: neighbours share, as if each were repeated h/g times.
    Returns a number from 0. Raises ValueError where g does not divide h, or i is not below h.
    Source: Ainslie et al. 2023.
    """
    if h % g:
        raise ValueError(f"g is {g}; wanted a divisor of h = {h}")
    if i >= h:
        raise ValueError(f"i is {i}; wanted an integer below h = {h}")
    return i * g // h
