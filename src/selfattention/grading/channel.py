"""What goes between the notebook's process and the judge's: one line of JSON per message.

From the judge to the notebook, which may know all but the solutions, values go as pickles. The other way
nothing is unpickled, for a pickle is a program: `written` and `read` know numbers, words, arrays of these,
lists, tuples, dictionaries, and by a number each what stays in the notebook's process, functions and rules.
"""

import base64
import builtins
import io
import json
import math
import pickle
import sys
from itertools import islice
from numbers import Number
from types import FunctionType

import numpy as np

from selfattention import signatures
from selfattention.masks import Rule, Says

KINDS = "biufcUS"  # of an array that is numbers or words, and no objects
LONGEST = 10_000  # of a generator, which may never end


class Unreadable(Exception):
    """A line that no notebook's process writes by itself."""


# From the notebook to the judge


def written(value, stays):
    """A value as JSON can hold it. `stays(object)` gives the number of one that cannot leave its process."""
    if value is None or isinstance(value, bool | str):
        return value if type(value) in (type(None), bool, str) else str(value)
    if isinstance(value, np.ma.MaskedArray):
        return {"masked": [written(np.asarray(value.data), stays), written(np.ma.getmaskarray(value), stays)]}
    if isinstance(value, np.generic):
        return {"scalar": _array(np.asarray(value))}
    if isinstance(value, int | float):
        return {"int": str(int(value))} if isinstance(value, int) else float(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        return {"array": _array(value)}
    return _compound(value, stays)


def _compound(value, stays):
    if hasattr(value, "__next__"):
        value = list(islice(value, LONGEST))
    if isinstance(value, dict):
        return {"dict": [[written(key, stays), written(part, stays)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [written(part, stays) for part in value]}
    if isinstance(value, list | range):
        return {"list": [written(part, stays) for part in value]}
    if isinstance(value, Number):  # a fraction, say, which the judge would make a float as well
        return float(value)
    if isinstance(value, Says):
        return {"says": value.name}
    if isinstance(value, Rule):
        ends = [None if math.isinf(end) else int(end) for end in value.ends]
        return {"rule": stays(value), "name": type(value).__name__, "ends": ends}
    return _other(value, stays)


def _other(value, stays):
    if value is ...:
        return {"ellipsis": True}
    if hasattr(value, "__array__"):
        try:
            array = np.asarray(value.detach() if hasattr(value, "detach") else value)
        except Exception:  # of a kind that NumPy lacks, bfloat16 say
            return {"other": type(value).__name__}
        if array.dtype == object:
            return written(array.tolist(), stays)
        return {"array": _array(array)} if array.dtype.kind in KINDS else {"other": type(value).__name__}
    return {"function": stays(value)} if callable(value) else {"other": type(value).__name__}


def _array(array):
    array = np.asarray(array, order="C")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return [native.dtype.str, list(native.shape), base64.b64encode(native.tobytes()).decode()]


def read(value, function, rule):
    """The value of a line. `function(number)` and `rule(number, name, ends)` stand for what stayed behind.

    Raises `Unreadable` for anything that `written` does not write.
    """
    try:
        return _read(value, function, rule)
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__} in a value") from None


def _read(value, function, rule):
    if value is None or isinstance(value, bool | str | float):
        return value
    ((kind, inside),) = [item for item in value.items() if item[0] not in ("name", "ends")]
    match kind:
        case "int":
            return int(inside)
        case "complex":
            return complex(*map(float, inside))
        case "array":
            return _array_of(*inside)
        case "scalar":
            return _array_of(*inside)[()]
        case "masked":
            data, mask = (_read(part, function, rule) for part in inside)
            return np.ma.MaskedArray(data, mask)
        case "dict":
            return {_read(key, function, rule): _read(part, function, rule) for key, part in inside}
        case "tuple" | "list":
            parts = [_read(part, function, rule) for part in inside]
            return tuple(parts) if kind == "tuple" else parts
        case "says":
            return Says[inside]
        case "rule":
            ends = tuple(math.inf if end is None else int(end) for end in value["ends"])
            return rule(int(inside), str(value["name"]), ends)
        case "function":
            return function(int(inside))
        case "ellipsis":
            return ...
        case "other":
            return type(str(inside)[:60], (), {})()  # an empty object of that name: it fits nothing
    raise Unreadable(f"a value of kind {str(kind)[:60]}")


def _array_of(dtype, shape, text):
    dtype = np.dtype(str(dtype))
    if dtype.kind not in KINDS:
        raise Unreadable("an array that is not numbers or words")
    if min(shape, default=0) < 0:  # which `reshape` would take for whatever fits
        raise Unreadable("an array of a shape that is none")
    return np.frombuffer(base64.b64decode(text), dtype).reshape([int(n) for n in shape]).copy()


def written_error(error, where):
    """An exception: its type's name, what it was made from, and the line that it came from."""
    plain = all(isinstance(arg, str | int | float | bool | None) for arg in error.args)
    return {
        "error": type(error).__name__,
        "args": list(error.args) if plain else [_said(error)],
        "where": where,
    }


def _said(error):
    try:
        return str(error)
    except Exception:
        return ""


def read_error(line):
    """The exception again: Python's own or the package's, or one that has but the name."""
    name, args = str(line["error"])[:60], [str(a) if isinstance(a, list | dict) else a for a in line["args"]]
    kind = next((vars(home)[name] for home in (builtins, signatures) if name in vars(home)), None)
    known = isinstance(kind, type) and issubclass(kind, Exception | SystemExit)
    try:
        error = kind(*args) if known else type(name, (Exception,), {})(*args)
    except Exception:  # UnicodeDecodeError, say, which wants more than it tells
        error = type(name, (Exception,), {})(*args)
    error.where = str(line["where"])
    return error


# From the judge to the notebook


class _Pickler(pickle.Pickler):
    """Functions stay with the judge: who gets one can call it, and cannot see whose it is."""

    def __init__(self, file, stays):
        super().__init__(file)
        self.stays = stays

    def persistent_id(self, value):
        return self.stays(value) if isinstance(value, FunctionType) and not _of_a_pickle(value) else None


def _of_a_pickle(function):
    """Whether it is Python's or NumPy's own: pickles of arrays are put together by such."""
    home = function.__module__.partition(".")[0]
    return home == "numpy" or home in sys.stdlib_module_names


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, function):
        super().__init__(file)
        self.persistent_load = function


def pickled(value, stays):
    file = io.BytesIO()
    _Pickler(file, stays).dump(value)
    return base64.b64encode(file.getvalue()).decode()


def pickled_error(error):
    """An exception; one that a pickle does not hold, by its name and what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return base64.b64encode(pickle.dumps(error)).decode()


def unpickled(text, function):
    return _Unpickler(io.BytesIO(base64.b64decode(text)), function).load()


# Lines


def line(message):
    return json.dumps(message).encode() + b"\n"


def message(line):
    """The message of a line; raises `Unreadable` for what is none."""
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable("a line that is no JSON") from None
    if not isinstance(read, dict):
        raise Unreadable("a line that is no message")
    return read
