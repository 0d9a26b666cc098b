"""Hold every formula to its signature, at each call: axes, dtypes, finite numbers, whole numbers.

The axes stand once, in the annotations (see `selfattention.notation`), so that an error can
quote them. jaxtyping does the matching; this file turns a mismatch into a sentence.

Inside, all arrays have the widest dtype that came, half precision is computed in float32, as by the
implementations, and numbers are Python's own, which do not wrap. What leaves the range of its dtype on
the way is refused: a score of −inf would say that the query may not see the key, and nobody said that.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from typing import ParamSpec, TypeVar, get_args

import numpy as np
from jaxtyping import AbstractArray, jaxtyped

P = ParamSpec("P")
R = TypeVar("R")

_NUMBERS = {"f": "floats", "b": "booleans", "i": "integers"}  # by NumPy's letter for a kind of dtype
_NOT_EMPTY = {"d_model", "d_memory", "d_q", "d_k", "d_hidden", "d_ff", "d_embedding", "g", "h", "h·d_k"}
_NOT_EMPTY |= {"channels", "high", "wide", "gate_channels", "branches", "frames", "down", "along", "side"}
_NOT_EMPTY |= {"depth"}
_DOUBLE = np.dtype(np.float64)
_FARTHEST = 2**53  # as far as float64, in which angles and slopes are computed, knows every whole number


_unchecked = ContextVar("unchecked", default=False)


@contextmanager
def unchecked() -> Iterator[None]:
    """Inside, formulas compute what they are given, in this thread: for whoever has checked it before.

    The checks read every array at every call, and a language model reads its weights for every token.
    What is not finite then goes where the arithmetic takes it, and half precision is computed in half.
    """
    before = _unchecked.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _unchecked.reset(before)


def checked(formula: Callable[P, R]) -> Callable[P, R]:
    """Check the arrays that go into a formula, and those that come out, against its signature.

    Raises `TypeError` for what is not a float array, `ValueError` for axes that do not fit, for
    NaN or infinity, and for finite numbers that leave the range of their dtype on the way; the
    message names the argument, says what came and what is wanted.
    Some letters have a rule of their own: `S` may hold −inf, a key that the query may not see,
    and so may `c` and `L`, of a row that sees none; `memory`, where it is left out, is `X`.
    Answers in float16 where all arrays are float16.
    """
    form = signature(formula)
    kinds = {name: kind for name, p in form.parameters.items() if (kind := _array_kind(p.annotation))}
    reading_order = sorted(kinds, key=lambda name: name not in ("X", "memory"))  # sources before weights
    returned = get_args(form.return_annotation) or (form.return_annotation,)

    @wraps(formula)
    def call(*args, **kwargs):
        if _unchecked.get():
            return formula(*args, **kwargs)
        given = form.bind(*args, **kwargs)
        with jaxtyped("context"), np.errstate(all="ignore"):  # n, m, d_k … keep their values in here
            dtype = _take(given.arguments, {name: kinds[name] for name in reading_order}, formula)
            try:
                result = formula(*given.args, **given.kwargs)
                answers = [
                    _answer(value, kind, dtype, formula, place)
                    for place, (value, kind) in enumerate(zip(_as_tuple(result), returned, strict=True))
                ]
            except OutOfRange as inside:
                raise OutOfRange(inside.where, _names(given, form), dtype) from None
        return tuple(answers) if isinstance(result, tuple) else answers[0]

    return call


def _take(given, kinds, formula):
    """Check the arrays among `given`, put what is computed with in their place; gives their common dtype."""
    arrays, axes_so_far = {}, []
    for name, kind in kinds.items():
        left_out = name == "memory" and given.get(name) is None
        array = arrays["X"] if left_out else _native(name, given[name], kind)
        _check_finite(name, array, formula)
        _check_axes(name, array, kind, axes_so_far)
        axes_so_far.append(f"{name} ({_axes(kind)}) is {array.shape}")
        arrays[name] = array
        if not left_out:
            given[name] = array
    dtype = _common_dtype(arrays.values())
    given.update({name: _computed_in(dtype, given[name]) for name in arrays.keys() & given.keys()})
    return dtype


def may_give_minus_infinity(place):
    """Let −inf be an answer of a formula, its `place`-th: whoever sees nothing has it."""

    def mark(formula):
        formula.minus_infinity_at = place
        return formula

    return mark


class OutOfRange(ValueError):
    """Finite numbers that led to one which is not. `where` says in which formula, and at what place.

    The formula that called says it again, of its own arguments: the reader gave those.
    """

    def __init__(self, where, names=(), dtype=_DOUBLE):
        self.where = where
        wider = "" if dtype == _DOUBLE else ", or a wider dtype"
        super().__init__(
            f"{', '.join(names)} leave the range of {dtype}: {where}; wanted other numbers{wider}"
        )


class NotFinite(OutOfRange):
    """An argument that is not finite. Where another formula gave it, the range was left before."""

    def __init__(self, where, sentence):
        super().__init__(where)
        self.args = (sentence,)


def _array_kind(annotation):
    """The jaxtyping annotation inside `annotation`, or None: `Memory | None` gives `Memory`."""
    kinds = [kind for kind in get_args(annotation) or (annotation,) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, AbstractArray)), None)


def _axes(kind):
    """The axes of an annotation as a reader writes them: `…, n, d_k`."""
    return ", ".join("…" if axis.startswith("*") else axis for axis in kind.dim_str.split())


def _as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def _native(name, array, kind):
    """The array in this machine's order of bytes; integers as int64."""
    letter = np.dtype(kind.dtypes[-1].rstrip("_")).kind
    wanted = _NUMBERS[letter]
    _check_plain(name, array, wanted)
    if letter == "i" and array.dtype.kind in "iu":
        return _positions(name, array)
    if array.dtype.kind != letter or array.dtype.itemsize > 8:
        one_number = array.dtype.kind != "c" and array.dtype.names is None
        cast = f": {name}.astype(np.float64)" if wanted == "floats" and one_number else ""
        longer = " of at most 64 bits" if array.dtype.kind == "f" == letter else ""
        raise TypeError(f"{name} has dtype {array.dtype}; wanted {wanted}{longer}{cast}")
    if isinstance(array, np.memmap):
        array = array.view(np.ndarray)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_plain(name, array, wanted):
    """A NumPy array and no more: the mask of a masked one, the unit of another, would be lost.

    A subclass that is made for the formulas says so, by an attribute `made_for_formulas`.
    """
    if type(array) in (np.ndarray, np.memmap) or getattr(type(array), "made_for_formulas", False):
        return
    if isinstance(array, np.ma.MaskedArray):
        cure = f"its mask would be lost: {name}.filled(…)"
    elif hasattr(array, "detach"):
        cure = f"{name}.detach().cpu().numpy()"
    else:
        cure = f"np.asarray({name})"
    raise TypeError(f"{name} is a {type(array).__name__}; wanted a NumPy array of {wanted}: {cure}")


def _positions(name, array):
    bad = (array > _FARTHEST) | (array < -_FARTHEST)
    if bad.any():
        raise ValueError(f"{name} holds {array[bad][0]}; wanted whole numbers up to 2**53")
    return np.asarray(array, dtype=np.int64)


def _check_finite(name, array, formula):
    if array.dtype.kind != "f":
        return
    may_be_minus_infinity = name.partition("_")[0] in ("S", "c", "L")  # c_1 is a c
    where = _not_finite(array, may_be_minus_infinity)
    if where is not None:
        finite = "finite numbers or −inf" if may_be_minus_infinity else "finite numbers"
        raise NotFinite(
            f"{formula.__name__} is given {array[where]} at {where}",
            f"{name} holds {array[where]} at {where}; wanted {finite}",
        )


def _not_finite(array, may_be_minus_infinity):
    """Where the first NaN or infinity stands, or None; where all is well, no array is made to find out."""
    lowest, highest = array.min(initial=0), array.max(initial=0)  # NaN, where there is one
    if highest < np.inf and (may_be_minus_infinity or lowest > -np.inf):
        return None
    bad = np.isnan(array) | np.isposinf(array) if may_be_minus_infinity else ~np.isfinite(array)
    return tuple(int(i) for i in np.argwhere(bad)[0])


def _check_axes(name, array, kind, axes_so_far):
    if not isinstance(array, kind):
        because = f", where {'; '.join(axes_so_far)}" if axes_so_far else ""
        raise ValueError(f"{name} has shape {array.shape}; wanted ({_axes(kind)}){because}")
    for axis, length in zip(reversed(kind.dim_str.split()), reversed(array.shape), strict=False):
        if axis in _NOT_EMPTY and length == 0:
            raise ValueError(f"{name} has shape {array.shape}; wanted ({_axes(kind)}), {axis} 1 or more")


def _common_dtype(arrays):
    floats = [array.dtype for array in arrays if array.dtype.kind == "f"]
    return np.result_type(*floats) if floats else _DOUBLE


def _computed_in(dtype, array):
    """Floats in the answer's dtype; float16 in float32: its sums stop growing, and its scores overflow."""
    if array is None or array.dtype.kind != "f":
        return array
    return array.astype(np.promote_types(dtype, np.float32), copy=False)


def _answer(value, kind, dtype, formula, place):
    """The value, as float16 where that is what came; finite, unless the formula may give −inf here."""
    came = np.asarray(value)
    assert isinstance(came, kind), f"{formula.__name__} gave {came.shape}, not ({_axes(kind)})"
    may_be_minus_infinity = getattr(formula, "minus_infinity_at", None) == place
    answer = value.astype(dtype) if dtype == np.float16 and came.dtype.kind == "f" else value
    where = _not_finite(came, may_be_minus_infinity)
    if where is None and answer is not value:  # what is finite in float32 need not be so in float16
        where = _not_finite(np.where(np.isneginf(came), 0, answer), False)
    if where is not None:
        raise OutOfRange(f"{formula.__name__} gives {came[where]} at {where}")
    return answer


def _names(given, form):
    """The arguments that the formula computes with: arrays of floats, and single ones."""
    return [
        name
        for name, value in given.arguments.items()
        if form.parameters[name].annotation is float
        or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
    ]


def scalars(**rules):
    """Turn the named arguments into Python's own numbers, which do not wrap, or refuse them by name.

    A rule takes the argument's name and value; it gives the number, or raises `ValueError`.
    """

    def decorate(formula):
        form = signature(formula)

        @wraps(formula)
        def call(*args, **kwargs):
            if _unchecked.get():
                return formula(*args, **kwargs)
            given = form.bind(*args, **kwargs)
            for name in rules.keys() & given.arguments.keys():
                given.arguments[name] = rules[name](name, given.arguments[name])
            _check_measures(given.arguments)
            try:
                result = formula(*given.args, **given.kwargs)
            except OverflowError as error:  # Python's own, where an integer is beyond all floats
                raise OutOfRange(f"{formula.__name__} says {error}", given.arguments) from None
            if isinstance(result, float):
                _check_number(result, formula, given.arguments)
            return result

        call.rules = rules
        return call

    return decorate


def _check_measures(arguments):
    """Beside arrays, no number that would be infinite among them, once doubled, or lose its digits."""
    arrays = [a for a in arguments.values() if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    dtype = _common_dtype(arrays)
    for name, value in arguments.items():
        if arrays and isinstance(value, float) and not _knows(np.finfo(dtype), value):
            wider = "" if dtype == _DOUBLE else ", or a wider dtype"
            raise ValueError(f"{name} is {value!r}; wanted a number in the range of {dtype}{wider}")


def _knows(limits, number):
    return number == 0 or limits.tiny <= abs(number) <= limits.max / 2


def _check_number(result, formula, arguments):
    """Infinite only where an argument was; never NaN."""
    unlimited = math.inf in arguments.values()
    if math.isnan(result) or (math.isinf(result) and not unlimited):
        raise OutOfRange(f"{formula.__name__} gives {result}", arguments)


def whole(smallest):
    """The rule for a count: an integer from `smallest` on, 0 or 1."""
    wanted = ("a non-negative integer", "a positive integer")[smallest]
    return lambda name, value: _integer(name, value, smallest, wanted)


def size(smallest):
    """The rule for the length of an axis that is made: a count, and not beyond all arrays."""
    count = whole(smallest)
    return lambda name, value: _of_an_axis(name, count(name, value))


def even(name, value):
    """The rule for a width that is read in pairs."""
    wanted = "a positive even integer: columns in pairs"
    if _integer(name, value, 2, wanted) % 2:
        raise ValueError(f"{name} is {value!r}; wanted {wanted}")
    return _of_an_axis(name, int(value))


def _of_an_axis(name, length):
    if length > _FARTHEST:
        raise ValueError(f"{name} is {length}; wanted a length up to 2**53")
    return length


def position(name, value):
    """The rule for one position: an integer of either sign."""
    wanted = "an integer from −2**53 to 2**53"
    return _integer(name, value, -_FARTHEST, wanted, _FARTHEST)


def between(lowest, highest):
    """The rule for an integer that has two ends."""
    wanted = f"an integer from {lowest} to {highest}"
    return lambda name, value: _integer(name, value, lowest, wanted, highest)


def _integer(name, value, smallest, wanted, largest=math.inf):
    if isinstance(value, bool) or not isinstance(value, Integral) or not smallest <= int(value) <= largest:
        raise ValueError(f"{name} is {value!r}; wanted {wanted}")
    return int(value)


def truth(name, value):
    """The rule for yes or no."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}; wanted True or False")
    return bool(value)


def or_none(rule):
    """The same rule, for an argument that may be left out."""
    return lambda name, value: None if value is None else rule(name, value)


def positive(name, value):
    """The rule for a measure: a finite number above 0."""
    return _measure(name, value, "a positive number", lambda number: 0 < number < math.inf)


def not_negative(name, value):
    """The rule for a measure that may be nothing: a finite number, 0 or more."""
    return _measure(name, value, "a finite number, 0 or more", lambda number: 0 <= number < math.inf)


def rate(name, value):
    """The rule for a limit: a number above 0, infinite where there is no limit."""
    return _measure(name, value, "a positive number, or inf", lambda number: number > 0)


def share(name, value):
    """The rule for a part of something that may be none of it, or all."""
    return _measure(name, value, "a number from 0 to 1", lambda number: 0 <= number <= 1)


def some(name, value):
    """The rule for a part that may be all, and is not none."""
    return _measure(name, value, "a number above 0, up to 1", lambda number: 0 < number <= 1)


def _measure(name, value, wanted, fits):
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.nan
    if not fits(number):
        raise ValueError(f"{name} is {value!r}; wanted {wanted}")
    return number
