"""How an answer and the right one are compared, and how the difference is put into words.

A piece of evidence is a function of a `Trial` that returns a sentence.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trial:
    """One input and what came of it."""

    inputs: dict[str, object]
    result: object  # what was returned, as it came
    given: object  # its parts, a tuple of arrays; or the exception that was raised; or Unfit
    wanted: tuple[np.ndarray, ...]
    modified: tuple[str, ...]  # the inputs that are no longer what they were

    @property
    def size(self):
        return sum(np.size(value) for value in self.inputs.values())


@dataclass(frozen=True)
class Unfit:
    """A result that cannot be looked at in the way the exercise wants to, and why."""

    result: object
    error: Exception

    def __str__(self):
        return f"{type(self.error).__name__}: {self.error}"

    @property
    def what(self):
        whole = self.result if isinstance(self.result, tuple) else (self.result,)
        known = all(isinstance(part, np.ndarray) for part in whole)
        return describe(parts(self.result)) if known else f"a {type(self.result).__name__}"


def parts(result):
    """A result as a tuple of arrays: several arrays are several parts, numbers and lists are one."""
    several = isinstance(result, tuple | list) and any(isinstance(r, np.ndarray) and r.ndim for r in result)
    return tuple(map(np.asarray, result)) if several else (np.asarray(result),)


def equal(given, other, rtol):
    """Whether two outcomes are the same: the same arrays, or the same exception."""
    if not isinstance(given, tuple) or not isinstance(other, tuple):
        return type(given) is type(other) and str(given) == str(other)
    return fits(given, other) and all(agree(a, b, rtol).all() for a, b in zip(given, other, strict=True))


def fits(given, wanted):
    """Whether the parts agree in number, shapes and dtypes."""
    return len(given) == len(wanted) and all(
        a.shape == b.shape and _same_type(a.dtype, b.dtype) for a, b in zip(given, wanted, strict=True)
    )


def _same_type(given, wanted):
    """A whole number will do for a float, but float64 will not do for float32."""
    if given.kind == wanted.kind:
        return given.kind != "f" or given == wanted
    return {given.kind, wanted.kind} <= set("iuf")


def agree(given, wanted, rtol):
    """Where two arrays of one shape hold the same; NaN is NaN."""
    if wanted.dtype.kind not in "iufc":
        return given == wanted
    eps = np.finfo(wanted.dtype).eps if wanted.dtype.kind in "fc" else 0
    tolerance = max(rtol, 100 * float(eps))
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
    return np.isclose(given, wanted, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def numbers(trial):
    """What is said where no better evidence is declared: the input, what came, what was wanted."""
    if isinstance(trial.given, Exception):
        return f"It stops with {type(trial.given).__name__}: {trial.given}"
    if not trial.inputs:  # naming the wanted value would give the answer away
        return f"You gave {', '.join(map(show, trial.given))}."
    if not fits(trial.given, trial.wanted):
        return f"For {inputs(trial)} you get {describe(trial.given)}; wanted {describe(trial.wanted)}."
    given, wanted = max(zip(trial.given, trial.wanted, strict=True), key=lambda pair: _apart(*pair).max())
    if given.size <= 6:
        return f"For {inputs(trial)} you get {show(given)}; wanted {show(wanted)}."
    at = np.unravel_index(_apart(given, wanted).argmax(), given.shape)
    there = f"in place [{', '.join(map(str, at))}]"
    return f"For {inputs(trial)} you get {show(given[at])} {there}; wanted {show(wanted[at])}."


def _apart(given, wanted):
    """How far two arrays are apart in each place; 0 or 1 for what is not a number."""
    if wanted.dtype.kind not in "iufc":
        return (given != wanted).astype(float)
    with np.errstate(invalid="ignore"):
        far = np.abs(given - wanted)
    return np.where(agree(given, wanted, 0), 0, np.where(np.isnan(far), np.inf, far))


def sums(trial):
    """Which way the weights sum to one."""
    (A,) = trial.given
    rows, columns = (np.allclose(A.sum(axis), 1) for axis in (-1, -2))
    if columns and not rows:
        return f"Your columns sum to one, your rows do not: the first sums to {show(A[..., 0, :].sum(-1))}."
    if rows:
        return f"Your rows sum to one; {numbers(trial)}"
    return f"Neither your rows sum to one nor your columns; all weights together are {show(A.sum())}."


def who_passes(trial):
    """What a reader's test says of the function that it was given."""
    (suspect,) = trial.inputs.values()
    return f"Your test says that {show(suspect)} {'passes' if trial.given[0] else 'fails'}."


def no_average(O, V):
    """Says which output lies outside the values, where one does: a weighted mean cannot."""
    beyond = np.maximum(O - V.max(0), V.min(0) - O)
    if not beyond.max() > 1e-9:
        return None
    i, c = np.unravel_index(beyond.argmax(), O.shape)
    return (
        f"Feature {c} of the values runs from {show(V[:, c].min())} to {show(V[:, c].max())}, and output "
        f"{i} has {show(O[i, c])}: that is no average."
    )


def inputs(trial):
    """The arguments of a trial; arrays by their shapes, unless all of them are small."""
    small = trial.size <= 12
    return ", ".join(
        f"{name} = {show(value)}" if small or np.ndim(value) == 0 else f"{name} {np.shape(value)}"
        for name, value in trial.inputs.items()
    )


def show(value):
    """A value in one line: four digits, small arrays in full, large ones by their shape."""
    if callable(value):
        return getattr(value, "__name__", repr(value))
    array = np.asarray(value)
    if array.size > 15:
        return describe((array,))
    if array.dtype.kind != "f":
        return str(array.tolist())
    return " ".join(np.array2string(array, separator=", ", formatter={"float": "{:.4g}".format}).split())


def describe(arrays):
    """Dtype and shape of each part."""
    if len(arrays) == 1 and arrays[0].dtype == object and arrays[0][()] is None:
        return "nothing: is a `return` missing?"
    types = ["text" if a.dtype.kind == "U" else a.dtype.name for a in arrays]
    words = [f"{t} of shape {a.shape}" if a.ndim else f"one {t}" for t, a in zip(types, arrays, strict=True)]
    return words[0] if len(words) == 1 else f"{len(words)} parts ({'; '.join(words)})"
