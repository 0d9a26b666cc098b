"""Wrong `eca_kernel_size(C)`."""

import math


def _odd_from(t):
    """⌊t⌋, or one more where that is even."""
    k = int(t)
    return k + (k % 2 == 0)


def even_left_even(C):
    """An even k left even: there is no middle, and every weight looks one channel aside. Chapter 17."""
    return int((math.log2(C) + 1) / 2)


def one_less(C):
    """Where ⌊t⌋ is even, the odd number below. Chapter 17."""
    k = int((math.log2(C) + 1) / 2)
    return k - (k % 2 == 0)


def rounded(C):
    """t rounded to the nearest whole number before it is made odd. Chapter 17."""
    return _odd_from(round((math.log2(C) + 1) / 2))


def offset_forgotten(C):
    """log₂ C / 2, without the b = 1. Chapter 17."""
    return _odd_from(math.log2(C) / 2)


def log_to_base_e(C):
    """`log` taken for log₂. Chapter 17."""
    return _odd_from((math.log(C) + 1) / 2)


def always_three(C):
    """k = 3 whatever C is, a default that nobody replaced. Chapter 17."""
    return 3
