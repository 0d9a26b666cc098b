"""The process that has the examined function: loads it, calls it, and sends back what it returns."""

import contextlib
import dataclasses
import importlib.util
import inspect
import math
import os
import re
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from selfattention.examining import building
from selfattention.grading import channel

LOADING = 20  # seconds for a module, which may train something as soon as it is imported


class Late(Exception):
    """A module whose import takes too long."""


class Missing(Exception):
    """What cannot be found, in words for the report."""


def serve(target, line, inherited=None) -> None:
    """Answer requests until the other end is closed. `target` is a callable, or "module:name".

    `inherited` is the other end, where a fork has copied it: while it is open here, nobody hears the end.
    """
    if inherited is not None:
        inherited.close()
    _quiet()
    try:
        function, how = made(load(target) if isinstance(target, str) else target)
        line.send_bytes(channel.line(described(function, how)))
    except BaseException as error:
        line.send_bytes(channel.line({"cannot": f"{error}" if isinstance(error, Missing) else _said(error)}))
        return
    while True:
        try:
            request = line.recv()
        except EOFError:
            return
        for each in request:
            line.send_bytes(channel.line(answered(function, each)))


def _quiet():
    """Nothing is printed, asked for or drawn, and one thread computes."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    sys.stdin, sys.stdout, sys.stderr = (open(os.devnull, mode) for mode in ("r", "w", "w"))  # noqa: SIM115
    os.environ["MPLBACKEND"] = "agg"
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def load(target: str):
    """What "package.module:name" or "file.py:name" names, even where the rest of the module fails."""
    place, _, name = target.partition(":")
    if not name:
        raise Missing(f"{target} names no function; wanted package.module:name or file.py:name")
    sys.argv = [place]
    module = _module(place)
    failed = None
    try:
        with _no_longer_than(LOADING):
            module.__spec__.loader.exec_module(module)
    except BaseException as error:  # a script that ends itself, or trains on a file that is not here
        failed = error
    thing = module
    for part in name.split("."):
        thing = getattr(thing, part, None)
    if thing is None:
        why = f"; importing it stopped with {_said(failed)}" if failed else ""
        raise Missing(f"{place} has no {name}{why}")
    if not building.can_be_called(thing):
        raise Missing(f"{target} is {type(thing).__name__}, which cannot be called; wanted a function")
    return thing


def made(thing):
    """What is to be called, and how it was built, if it was; a class of layers is no more than its recipe."""
    try:
        return building.built(thing)
    except Exception as error:
        name = getattr(thing, "__name__", type(thing).__name__)
        raise Missing(
            f"{name} cannot be built: {_said(error)}; give a layer that is built, or a function without "
            "arguments that builds one"
        ) from None


def _module(place):
    try:
        if place.endswith(".py"):
            path = Path(place).resolve()
            sys.path.insert(0, str(path.parent))
            spec = importlib.util.spec_from_file_location(path.stem, path)
        else:
            sys.path.insert(0, os.getcwd())
            spec = importlib.util.find_spec(place)
    except (ImportError, ValueError) as error:
        raise Missing(f"{place} cannot be imported: {error}") from None
    if spec is None or (place.endswith(".py") and not Path(place).exists()):
        raise Missing(f"there is no module {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    return module


@contextlib.contextmanager
def _no_longer_than(seconds):
    """Raise Late in the code inside after so many seconds, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_):
        raise Late(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _said(error):
    return f"{type(error).__name__}: {error}"[:300].rstrip(": ")


def described(function, how="") -> dict:
    """The name, the arguments, the words that it uses, and the library that its module has.

    Of a layer also its parameters; `how` says how it was built.
    """
    layer = building.is_layer(function)
    text = "\n".join(map(_text, building.classes(function))) if layer else _text(function)
    said = {
        "name": getattr(function, "__name__", type(function).__name__),
        "arguments": _arguments(building.entrance(function) if layer else function),
        "words": text[:20_000],
        "library": "torch" if layer else next((x for x in ("torch", "jax") if _uses(function, x)), "numpy"),
    }
    return said | {"layer": building.described(function, how)} if layer else said


def _text(function):
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return inspect.getdoc(function) or ""


def _arguments(function):
    """[name, required, by name only, many, default] of each; of a function in C as its docstring begins."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return _documented(function)
    kinds = inspect.Parameter
    return [
        [
            p.name,
            p.default is kinds.empty and p.kind is not kinds.VAR_POSITIONAL,
            p.kind is kinds.KEYWORD_ONLY,
            p.kind is kinds.VAR_POSITIONAL,
            p.default if isinstance(p.default, bool | int | float) else None,
        ]
        for p in parameters
        if p.kind is not kinds.VAR_KEYWORD
    ]


def _documented(function):
    written = re.search(r"\w+\((.*?)\)", inspect.getdoc(function) or "", re.DOTALL)
    words = [word.strip() for word in written[1].split(",")] if written else []
    names = [re.match(r"\w+", word)[0] for word in words if re.match(r"\w", word)]
    found = [[n, "=" not in w, False, False, None] for n, w in zip(names, words, strict=False)]
    return found or [["args", False, False, True, None]]


def _uses(function, library):
    inner = inspect.unwrap(function)
    homes = {getattr(inner, "__module__", "") or ""} | {
        getattr(value, "__module__", None) or getattr(value, "__name__", "") or ""
        for value in getattr(inner, "__globals__", {}).values()
        if inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value)
    }
    return any(str(home).split(".")[0] == library for home in homes)


def answered(function, request) -> dict:
    """What a call gives: its arrays, or the error, which arguments it has changed, and a processor's seconds.

    A request to a layer may say with which weights and in which mode.
    """
    began = time.process_time()
    said = _answered(function, request)
    return said | {"seconds": time.process_time() - began}


def _answered(function, request):
    library = request["library"]
    call = function
    if building.is_layer(function):
        try:
            building.prepare(function, request.get("prepare"))
        except BaseException as error:
            return {"error": _said(error)}
        call = partial(building.called, function)
    try:
        given = [_as(value, library) for value in request["args"]]
        named = {name: _as(value, library) for name, value in request["named"].items()}
    except ImportError as error:  # the library is not there
        return {"error": _said(error)}
    arrays = [x for x in (*given, *named.values()) if hasattr(x, "shape")]
    before = [np.array(_plain(x)) for x in arrays]
    try:
        result = channel.written(_readable(call(*given, **named), request.get("most", math.inf)), lambda _: 0)
    except BaseException as error:
        return {"error": _said(error)}
    return {"result": result, "changed": any(map(_differs, arrays, before))}


def _as(value, library):
    """An array of the library; what is no array stays what it is."""
    if isinstance(value, list | tuple):
        return type(value)(_as(part, library) for part in value)
    if not isinstance(value, np.ndarray):
        return value
    if library == "torch":
        import torch

        return torch.from_numpy(value.copy())
    if library == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        return jax.numpy.asarray(value)
    return value.copy()


def _plain(x):
    return x.detach() if hasattr(x, "detach") else x


def _differs(now, before):
    return not np.array_equal(np.asarray(_plain(now)), before, equal_nan=before.dtype.kind == "f")


def _readable(result, most):
    """Tensors in formats that NumPy lacks become float32; what holds others is looked into.

    An array of more than `most` numbers is no output, and does not leave the process: None stands for it.
    """
    if isinstance(result, tuple | list):
        parts = [_readable(part, most) for part in result]
        return parts if isinstance(result, list) else tuple(parts)
    if isinstance(result, dict):
        return {str(name): _readable(part, most) for name, part in result.items()}
    if dataclasses.is_dataclass(result) and not hasattr(result, "__array__"):
        return {f.name: _readable(getattr(result, f.name), most) for f in dataclasses.fields(result)}
    if hasattr(result, "shape") and math.prod(result.shape) > most:
        return None
    if hasattr(result, "is_floating_point") and hasattr(result, "detach"):
        result = result.detach().cpu()
        return result.float() if "bfloat16" in str(result.dtype) else result
    return result
