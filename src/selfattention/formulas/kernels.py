"""How fast a machine could be, and float32 on units that have none. Chapter: notebooks/14_kernels.

A processor's matrix tiles get `pieces` of Q, K, V and dO, and `truncated_pieces` of the weights and of the
gradients of scores, which are most of what has to be split. This is the same in NumPy. It refuses an infinite
number, as every formula here does; to the tiles its pieces are ∞ and NaN.
"""

import numpy as np

from selfattention.formulas.gradients import Anything, Left, Product, Right
from selfattention.signatures import checked, not_negative, positive, rate, scalars, whole

Three = tuple[Anything, Anything, Anything]


@scalars(flops=not_negative, words=positive, word_bytes=whole(1))
def arithmetic_intensity(flops: float, words: float, word_bytes: int) -> float:
    """Eq. arithmetic-intensity:  I = F / (B · words).

    How many floating-point operations F a program does for every byte that it moves; B is
    `word_bytes`, the size of a number, 4 in float32 and 2 in the half precisions. Returns
    operations per byte. Raises ValueError where nothing is moved, or an argument is no such number.
    Source: Williams, Waterman & Patterson 2009, who call it operational intensity.
    """
    return flops / (word_bytes * words)


@scalars(intensity=not_negative, flops_per_second=rate, bytes_per_second=rate)
def roofline(intensity: float, flops_per_second: float, bytes_per_second: float) -> float:
    """Eq. roofline:  P = min(P_max, β I).

    The most operations per second that a program of this intensity I can do on a machine
    which computes at most P_max = `flops_per_second` and moves at most β =
    `bytes_per_second`; infinite where there is no limit.
    Raises ValueError, naming the argument, for what is no such number.
    Source: Williams, Waterman & Patterson 2009.
    """
    return min(bytes_per_second * intensity, flops_per_second)  # in this order NaN, of 0 · ∞, is seen


@scalars(n=whole(0), m=whole(0), d_k=whole(1), d_v=whole(0))
def compulsory_traffic(n: int, m: int, d_k: int, d_v: int) -> int:
    """Eq. compulsory-traffic:  n d_k + m (d_k + d_v) + n d_v  words.

    What attention moves at least, with a fast memory of any size: Q, K and V are read once,
    O is written once. Returns a count of words.
    Raises ValueError, naming the argument that is no count.
    Source: Williams, Waterman & Patterson 2009, on compulsory misses.
    """
    return n * d_k + m * (d_k + d_v) + n * d_v


@checked
def pieces(X: Anything) -> Three:
    """Eq. pieces:  X_p = bf16(X − Σ_{q<p} X_q),  p = 0, 1, 2,  bf16(x) the nearest number of eight bits.

    Three arrays of X's shape and dtype, whose numbers bfloat16 has as well; halfway between two of them,
    bf16 takes the one farther from 0. Their sum is X (Claim pieces-exact) where X is float32 and
    2^−110 ≤ abs(x) < 2^128 − 2^119. Nearer to 0, up to 2^−134 is lost, and up to 2^−126 on matrix tiles,
    which take a denormal piece for 0.
    Raises ValueError or TypeError, naming the argument that does not fit; so from 2^128 − 2^119 on, where
    bf16 is infinite. Pieces of 2^k X are 2^k times those of X: who needs that end divides by a power of two
    first, which rounds nothing, and multiplies the result.
    Source: Henry, Tang & Heinecke 2019; Intel's manual on TDPBF16PS, for denormal numbers.
    """
    return _split(X, half=1)


@checked
def truncated_pieces(X: Anything) -> Three:
    """Eq. truncated-pieces:  X_p = ⌊X − Σ_{q<p} X_q⌋,  p = 0, 1, 2,  ⌊x⌋ the first eight bits of x.

    As `pieces`, by one instruction less a piece: the sum of the three is X in the same range (Claim
    truncated-pieces-exact), and no number overflows. All three have the sign of x, and the second and third
    may be twice and four times as large.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Henry, Tang & Heinecke 2019.
    """
    return _split(X, half=0)


def _split(X, half):
    X_0 = _eight_bits(X, half)
    X_1 = _eight_bits(X - X_0, half)
    return X_0, X_1, _eight_bits(X - X_0 - X_1, half)


def _eight_bits(X, half):
    """The first eight bits of each number, the one before the point counted; half of the last added, or 0.

    The bits of a float are in the order of its size, so a carry out of the mantissa is the next exponent.
    """
    word = np.dtype(f"u{X.itemsize}").type
    dropped = np.finfo(X.dtype).nmant - 7
    bits = X.view(word) + word(half << (dropped - 1))
    return (bits >> word(dropped) << word(dropped)).view(X.dtype)


@checked
def six_products(A_0: Left, A_1: Left, A_2: Left, B_0: Right, B_1: Right, B_2: Right) -> Product:
    """Eq. six-products:  C = ((((A_2 B_0 + A_1 B_0) + A_1 B_1) + A_0 B_1) + A_0 B_2) + A_0 B_0.

    The product of A and B from their `pieces`, A_p (…, n, d) and B_p (…, d, p): the six products which
    float32 can see, the largest last. The three that are left out are less than 2^−23.9 abs(x y) for each
    product x y of two numbers (Claim six-products-dropped).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Henry, Tang & Heinecke 2019.
    """
    return A_2 @ B_0 + A_1 @ B_0 + A_1 @ B_1 + A_0 @ B_1 + A_0 @ B_2 + A_0 @ B_0


@checked
def without_tiny(A: Anything) -> Anything:
    """Eq. without-tiny:  a where abs(a) ≥ 2^−102, else 0.

    Weights that can be split at full speed: from 2^−103 on no piece of a float32 is denormal (Claim
    without-tiny-normal). An output loses at most 2^−102 Σ_j abs(v_j) before it is divided by Z.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Intel's VTune reference, FP Assists, on what denormal numbers cost.
    """
    return np.where(np.abs(A) < 2.0**-102, np.zeros_like(A), A)
