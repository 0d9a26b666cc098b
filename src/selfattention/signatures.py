"""Hold every formula to its signature, at each call: axes, dtypes, finite numbers.

The axes stand once, in the annotations (see `selfattention.notation`), so that an error can
quote them. jaxtyping does the matching; this file turns a mismatch into a sentence.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar, get_args

import numpy as np
from jaxtyping import AbstractArray, jaxtyped

P = ParamSpec("P")
R = TypeVar("R")

_NUMBERS = {"f": "floats", "b": "booleans", "i": "integers"}  # by NumPy's letter for a kind of dtype


def checked(formula: Callable[P, R]) -> Callable[P, R]:
    """Check the arrays that go into a formula, and those that come out, against its signature.

    Raises `TypeError` for what is not a float array, `ValueError` for axes that do not fit and
    for NaN or infinity; the message names the argument, says what came and what is wanted.
    Some letters have a rule of their own: `S` may hold −inf, a key that the query may not see,
    and so may `c` and `L`, of a row that sees none; `memory`, where it is left out, is `X`.
    """
    form = signature(formula)
    arrays = {name: kind for name, p in form.parameters.items() if (kind := _array_kind(p.annotation))}
    reading_order = sorted(arrays, key=lambda name: name not in ("X", "memory"))  # sources before weights
    returned = get_args(form.return_annotation) or (form.return_annotation,)

    @wraps(formula)
    def call(*args, **kwargs):
        given = form.bind(*args, **kwargs).arguments
        axes_so_far = []
        with jaxtyped("context"):  # one scope, in which n, m, d_k … keep their values
            for name in reading_order:
                array = given["X"] if name == "memory" and given.get(name) is None else given[name]
                _check_numbers(name, array, arrays[name])
                _check_axes(name, array, arrays[name], axes_so_far)
                axes_so_far.append(f"{name} ({_axes(arrays[name])}) is {array.shape}")
            result = formula(*args, **kwargs)
            for value, kind in zip(result if isinstance(result, tuple) else (result,), returned, strict=True):
                came = np.asarray(value)
                assert isinstance(came, kind), f"{formula.__name__} gave {came.shape}, not ({_axes(kind)})"
        return result

    return call


def _array_kind(annotation):
    """The jaxtyping annotation inside `annotation`, or None: `Memory | None` gives `Memory`."""
    kinds = [kind for kind in get_args(annotation) or (annotation,) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, AbstractArray)), None)


def _axes(kind):
    """The axes of an annotation as a reader writes them: `…, n, d_k`."""
    return ", ".join("…" if axis.startswith("*") else axis for axis in kind.dim_str.split())


def _check_numbers(name, array, kind):
    letter = np.dtype(kind.dtypes[-1].rstrip("_")).kind
    wanted = _NUMBERS[letter]
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; wanted a NumPy array of {wanted}")
    if array.dtype.kind != letter:
        cast = f": {name}.astype(np.float64)" if wanted == "floats" else ""
        raise TypeError(f"{name} has dtype {array.dtype}; wanted {wanted}{cast}")
    may_be_minus_infinity = name.partition("_")[0] in ("S", "c", "L")  # c_1 is a c
    bad = np.isnan(array) | np.isposinf(array) if may_be_minus_infinity else ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        finite = "finite numbers or −inf" if may_be_minus_infinity else "finite numbers"
        raise ValueError(f"{name} holds {array[where]} at {where}; wanted {finite}")


def _check_axes(name, array, kind, axes_so_far):
    if not isinstance(array, kind):
        because = f", where {'; '.join(axes_so_far)}" if axes_so_far else ""
        raise ValueError(f"{name} has shape {array.shape}; wanted ({_axes(kind)}){because}")
