"""How fast a machine could be. Chapter: notebooks/14_kernels."""

from selfattention.signatures import not_negative, positive, rate, scalars, whole


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
