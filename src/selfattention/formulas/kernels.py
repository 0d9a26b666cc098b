"""How fast a machine could be. Chapter: notebooks/14_kernels."""


def arithmetic_intensity(flops: float, words: float, word_bytes: int) -> float:
    """Eq. arithmetic-intensity:  I = F / (B · words).

    How many floating-point operations F a program does for every byte that it moves; B is
    `word_bytes`, the size of a number, 4 in float32 and 2 in the half precisions. Returns
    operations per byte. Raises ValueError where nothing is moved.
    Source: Williams, Waterman & Patterson 2009, who call it operational intensity.
    """
    if words <= 0 or word_bytes <= 0:
        raise ValueError(f"words is {words!r}, word_bytes {word_bytes!r}; wanted positive numbers")
    return flops / (word_bytes * words)


def roofline(intensity: float, flops_per_second: float, bytes_per_second: float) -> float:
    """Eq. roofline:  P = min(P_max, β I).

    The most operations per second that a program of this intensity I can do on a machine
    which computes at most P_max = `flops_per_second` and moves at most β =
    `bytes_per_second`. Source: Williams, Waterman & Patterson 2009.
    """
    return min(flops_per_second, bytes_per_second * intensity)


def compulsory_traffic(n: int, m: int, d_k: int, d_v: int) -> int:
    """Eq. compulsory-traffic:  n d_k + m (d_k + d_v) + n d_v  words.

    What attention moves at least, with a fast memory of any size: Q, K and V are read once,
    O is written once. Returns a count of words.
    Source: Williams, Waterman & Patterson 2009, on compulsory misses.
    """
    return n * d_k + m * (d_k + d_v) + n * d_v
