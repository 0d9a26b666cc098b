"""What rounding may do to an answer, measured: in the precision in which it was computed."""

import numpy as np

ROUNDINGS = 16
"""Units in the last place of the largest number: by what sums in another order differ on tiny shapes."""


def as_computed(recipe, inputs, dtype):
    """The recipe's arrays, every step in `dtype`."""
    cast = [x.astype(dtype) if getattr(x, "dtype", None) == np.float64 else x for x in inputs]
    with np.errstate(all="ignore"):
        result = recipe(*cast)
    return result if isinstance(result, tuple) else (result,)


def nudged(inputs):
    """The inputs with every number moved by a unit in float32's last place, up or down."""
    rng = np.random.default_rng(0)
    eps = float(np.finfo(np.float32).eps)
    return tuple(
        x * (1 + eps * rng.choice([-1, 1], x.shape)) if getattr(x, "dtype", None) == np.float64 else x
        for x in inputs
    )


def scale(arrays):
    """The largest number of all: what one of them owes to rounding may come from another."""
    return max((np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in arrays), default=0.0)


def allowed(exact, rough, dtype, beside=0.0):
    """By how much an answer in `dtype` may be off: four times what rounding comes to, and some units.

    `rough` is the recipe's of nudged inputs in float32, for whoever computes in another order rounds
    otherwise and is right as well; another dtype errs as many times more or less as its last place is
    worth. Never more than a hundredth of the largest number, for what rounding has spoilt explains nothing,
    but for the last place of the largest number `beside`: what should cancel out leaves as much.
    """
    if exact.shape != rough.shape:
        return 0.0
    both = np.isfinite(exact) & np.isfinite(rough)
    off = np.abs(rough[both] - exact[both]).max(initial=0.0)
    largest = np.abs(exact[both]).max(initial=0.0)
    eps = float(np.finfo(dtype).eps)
    spoilt = min(4 * off * eps / float(np.finfo(np.float32).eps) + ROUNDINGS * eps * largest, largest / 100)
    return max(spoilt, eps * beside)


def far(given, exact, beside=0.0):
    """Whether no rounding explains the difference: most explanations end here, at little cost."""
    if given.shape != exact.shape:
        return True
    off = np.abs(given - exact)  # who asks lets ∞ − ∞ be NaN
    if np.isfinite(off.sum()):  # then all is finite: mostly, and this is asked most
        return bool(off.max(initial=0.0) > max(np.abs(exact).max(initial=0.0) / 50, 1e-6 * beside))
    both = np.isfinite(exact) & np.isfinite(given)
    largest = np.abs(exact[both]).max(initial=0.0)
    return bool((np.abs(given[both] - exact[both]) > max(largest / 50, 1e-6 * beside)).any())


def same(given, rounded, allowance):
    """Whether two arrays agree: NaN and ∞ in the same places, all else within the allowance."""
    if given.shape != rounded.shape:
        return False
    finite = np.isfinite(given)
    if not np.array_equal(finite, np.isfinite(rounded)):
        return False
    with np.errstate(invalid="ignore"):
        if not (np.abs(given[finite] - rounded[finite]) <= allowance).all():
            return False
    return np.array_equal(given[~finite], rounded[~finite], equal_nan=True)
