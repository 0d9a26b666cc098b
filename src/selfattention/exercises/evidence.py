"""How an answer and the right one are compared, and how the difference is put into words.

A piece of evidence is a function of a `Trial` that returns a sentence.
"""

from dataclasses import dataclass
from itertools import islice
from numbers import Number

import numpy as np


@dataclass(frozen=True)
class Trial:
    """One input and what came of it."""

    inputs: dict[str, object]
    result: object  # a copy of what was returned, its arrays NumPy's own
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
        return briefly(self.error)


def briefly(error):
    """The kind of an error and what it says, as far as a sentence goes."""
    said = message(error)
    return f"{type(error).__name__}: {said}"[:300] if said else type(error).__name__


def message(error):
    """What an error says; nothing, where its own text cannot be made."""
    try:
        return str(error)
    except Exception:
        return ""


def own(given):
    """Numbers of any library, or in lists, as a NumPy array of its own: the next call may reuse theirs.

    Raises `TypeError` for masked numbers, which `np.array` would read as if they were not.
    """
    if np.ma.is_masked(given):
        raise TypeError(f"{np.ma.count_masked(given)} of {np.size(given)} numbers are masked")
    array = np.asarray(given.detach() if hasattr(given, "detach") else given)  # torch: without its history
    if array.dtype == object:
        array = np.array(array.tolist())
    if array.dtype == object and array.size and all(isinstance(x, Number) for x in array.flat):
        array = array.astype(float)  # fractions, and integers beyond int64
    return array.astype(array.dtype.newbyteorder("="), copy=True)


def plain(given, like):
    """A result in the form of the solution's, `like`: arrays for lists, lists for generators, all copied.

    What is no array and holds none, such as a rule or a function, stays what it is.
    """
    if hasattr(given, "__next__"):  # it can be read once, and may never end
        given = list(islice(given, 10_000))
    if isinstance(given, dict):
        return {name: plain(part, None) for name, part in given.items()}
    if isinstance(given, tuple | list):
        of_each = like if isinstance(like, tuple | list) and len(like) == len(given) else [None] * len(given)
        each = [plain(part, its) for part, its in zip(given, of_each, strict=True)]
        return own(each) if isinstance(like, np.ndarray) and isinstance(given, list) else type_of(given)(each)
    return own(given) if hasattr(given, "__array__") else given


def type_of(sequence):
    return tuple if isinstance(sequence, tuple) else list


def parts(result, wanted=()):
    """A result as a tuple of arrays: several arrays are several parts, numbers and lists are one.

    Where the parts that are wanted are known, as many lists are as many parts, and a list of arrays
    is a matrix where one is wanted.
    """
    several = isinstance(result, tuple | list) and any(isinstance(r, np.ndarray) and r.ndim for r in result)
    if len(wanted) == 1:
        several = several and isinstance(result, tuple) and len(result) > 1
    elif isinstance(result, tuple | list) and len(result) == len(wanted):
        several = True
    return tuple(map(own, result)) if several else (own(result),)


def equal(given, other, rtol):
    """Whether two outcomes are the same: the same arrays, or the same exception."""
    if not isinstance(given, tuple) or not isinstance(other, tuple):
        return type(given) is type(other) and message(given) == message(other)
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
    if wanted.dtype.kind in "iu":  # counted, and so exact, but for the last bits of a float
        return np.isclose(given, wanted, rtol=1e-13, atol=0)
    tolerance = max(rtol, 100 * float(np.finfo(wanted.dtype).eps))
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
    return np.isclose(given, wanted, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def numbers(trial):
    """What is said where no better evidence is declared: the input, what came, what was wanted."""
    if isinstance(trial.given, BaseException):
        return f"It stops with {briefly(trial.given)}"
    if not trial.inputs:  # naming the wanted value would give the answer away
        return f"You gave {', '.join(map(show, trial.given))}."
    if not fits(trial.given, trial.wanted):
        return f"For {inputs(trial)} you get {describe(trial.given)}; wanted {describe(trial.wanted)}."
    given, wanted = max(zip(trial.given, trial.wanted, strict=True), key=lambda pair: _apart(*pair).max())
    if given.size <= 6:
        yours, right = told_apart(given, wanted)
        return f"For {inputs(trial)} you get {yours}; wanted {right}."
    at = np.unravel_index(_apart(given, wanted).argmax(), given.shape)
    there = f"in place [{', '.join(map(str, at))}]"
    yours, right = told_apart(given[at], wanted[at])
    return f"For {inputs(trial)} you get {yours} {there}; wanted {right}."


def shown(evidence, trial):
    """The evidence; or the numbers, where they are such that it cannot be had, as of a negative count."""
    try:
        return evidence(trial)
    except Exception:
        return numbers(trial)


def _apart(given, wanted):
    """How far two arrays are apart in each place; 0 or 1 for what is not a number."""
    if wanted.dtype.kind not in "iufc":
        return (given != wanted).astype(float)
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(given - wanted)
    return np.where(agree(given, wanted, 0), 0, np.where(np.isnan(far), np.inf, far))


def digits(given, wanted):
    """To how many digits the numbers are right: significant ones, or after the point; none if they are not.

    Two digits of 1/11 are 0.091 or 0.09, as a reader rounds. Only floats can be rounded.
    """
    if given.dtype.kind not in "iuf" or wanted.dtype.kind != "f" or not agree(given, wanted, 0.03).all():
        return 0
    finite = np.isfinite(wanted) & (given != wanted)
    if not finite.any():
        return 17
    off, right = np.abs(given[finite] - wanted[finite]), np.abs(wanted[finite])
    after_the_point = -np.log10(2 * off) + 1e-9  # half a unit counts as rounded, whatever its last bit
    before_it = np.floor(np.log10(np.where(right == 0, 1, right))) + 1
    counted = np.where(right < 0.01, before_it, np.maximum(before_it, 0))
    return int(np.floor(after_the_point + counted).min())


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


def show(value, digits=4):
    """A value in one line: four digits, small arrays in full, large ones by their shape."""
    if callable(value):
        return getattr(value, "__name__", repr(value))
    array = np.asarray(value)
    if array.size > 15:
        return describe((array,))
    if array.dtype.kind != "f":
        return str(array.tolist())
    as_text = f"{{:.{digits}g}}".format
    return " ".join(np.array2string(array, separator=", ", formatter={"float": as_text}).split())


def told_apart(given, wanted):
    """Two values as text, with as many digits as it takes to see that they differ."""
    pairs = ((show(given, digits), show(wanted, digits)) for digits in range(4, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (show(given), show(wanted)))


def describe(arrays):
    """Dtype and shape of each part."""
    words = [_described(array) for array in arrays]
    return words[0] if len(words) == 1 else f"{len(words)} parts ({'; '.join(words)})"


def _described(array):
    if array.dtype == object:
        return _kinds_of_object(array)
    dtype = "text" if array.dtype.kind == "U" else array.dtype.name
    return f"{dtype} of shape {array.shape}" if array.ndim else f"one {dtype}"


def _kinds_of_object(array):
    """What an array holds that holds no numbers, by its types."""
    if not array.ndim:
        return "nothing: is a `return` missing?" if array[()] is None else _a(array[()])
    return f"{' and '.join(sorted({type(x).__name__ for x in array.flat}))} of shape {array.shape}"


def _a(thing):
    name = type(thing).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def told(result):
    """A result as it came: by its shapes where it has any, or else by its type."""
    try:
        return describe(parts(result))
    except Exception:  # lists of many lengths, masked numbers: the check says what is wrong with them
        return _a(result) + (f" of {len(result)}" if isinstance(result, tuple | list) else "")
