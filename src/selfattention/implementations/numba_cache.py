"""What Numba has compiled, kept on disk: a process that finds it there does not compile.

`compiled` is `numba.njit` for a kernel that Python calls; what the kernel calls is compiled into it, and
needs nothing of this. Numba's own cache asks only whether the file with the kernel has changed. Here
machine code lies under the SHA-256 of all that it was made of: every source in the kernel's folder, the
constants that it uses, the versions of Numba, llvmlite, NumPy and Python, Numba's settings, the processor's
name and features. What is found is what compiling would give, and a changed line finds nothing.

It lies in `compiled` in the folder of `cache_folder`, for the few of these sums that were used last. Who
loads machine code runs it: a folder that is another user's, or that others may write to, is not used.
Without a folder, or with a damaged file in it, Numba compiles as ever.
"""

import hashlib
import os
import pickle
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from inspect import iscode
from pathlib import Path
from typing import Any

import numpy as np

from selfattention import LOADED_AT, cache_folder
from selfattention.extras import needed

with needed():
    import numba
    from numba import config, njit
    from numba.core.caching import NullCache
    from numba.core.codegen import get_host_cpu_features
    from numba.core.compiler import CompileResult
    from numba.core.serialize import dumps

AT_MOST = 8  # sums, each with a folder of its own
NO_MATTER = "THREADS", "CACHE"  # settings of this name decide nothing about the code
SUM_BYTES = hashlib.sha256().digest_size


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """`numba.njit(**options)`, but what it compiles is kept, and looked for before it compiles.

    For functions of a module. One inside another function would bring values that no source shows: TypeError.
    """

    def decorate(function):
        if function.__closure__:
            raise TypeError(f"{function.__qualname__} has variables of a function around it; wanted none")
        kernel = njit(**options)(function)
        if not config.DISABLE_JIT:
            kernel._cache = _Kept(function)
        return kernel

    return decorate


class _Kept(NullCache):
    """What a dispatcher asks for a signature's code before it compiles, and hands it to afterwards."""

    def __init__(self, function):
        self.function = function

    def load_overload(self, sig, target_context):
        target_context.refresh()
        try:
            path = self._path(sig, target_context)
            signature, parts = pickle.loads(_sound(path.read_bytes()))
            os.utime(path.parent)  # used last
            return CompileResult._rebuild(target_context, *parts) if signature == sig else None
        except Exception:  # whatever is wrong with it or with the folder: it can be compiled
            return None

    def save_overload(self, sig, data):
        if data.library.has_dynamic_globals:
            return  # it has addresses of this process in it
        try:
            path = self._path(sig, data.target_context)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _write(path, dumps((sig, data._reduce())))
            _clear(path.parents[1])
        except (OSError, RuntimeError):
            pass  # no folder, no room in it: the next process compiles again

    def _path(self, sig, target_context):
        """The one file that may hold the code for this signature."""
        code = self.function.__code__
        sources = _sources(Path(code.co_filename).parent)
        settings = {name: getattr(config, name) for name in dir(config) if name.isupper()}
        settings = {name: x for name, x in settings.items() if not any(no in name for no in NO_MATTER)}
        versions = [numba.__version__, version("llvmlite"), np.__version__, sys.version]
        processor = target_context.codegen().magic_tuple(), get_host_cpu_features()
        folder = _private_folder() / _sum(sources, settings, versions, processor)
        name = f"{self.function.__module__}.{self.function.__qualname__}-{code.co_firstlineno}"
        return folder / f"{name}-{_sum(sig, _constants(self.function))[:16]}"


def _sum(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _sources(folder):
    """Name and sum of every source in the folder, as this process has imported them.

    OSError where one has changed since: the code in memory is not the code on disk.
    """
    sums = {}
    for path in sorted(folder.glob("*.py")):
        about = path.stat()
        if max(about.st_mtime, about.st_ctime) >= LOADED_AT:
            raise OSError(f"{path} is newer than this process")
        sums[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return sums


def _constants(kernel):
    """The numbers and words that a kernel, and what it calls, has from modules: one may have been set."""
    package = kernel.__module__.partition(".")[0]
    found, waiting = {}, [kernel]
    while waiting:
        function = waiting.pop()
        function = getattr(function, "py_func", getattr(function, "_defn", function))  # Numba's wrappings
        for name in _names(function.__code__) if hasattr(function, "__code__") else ():
            value, place = function.__globals__.get(name), (function.__module__, name)
            if place not in found:
                plain = isinstance(value, int | float | str | np.generic)
                found[place] = value if plain else None
                if str(getattr(value, "__module__", "")).startswith(package) or hasattr(value, "_defn"):
                    waiting.append(value)
    return sorted((place, value) for place, value in found.items() if value is not None)


def _names(code):
    yield from code.co_names
    for inner in filter(iscode, code.co_consts):
        yield from _names(inner)


def _private_folder():
    """The folder `compiled`, made where there is none; OSError where others could have put something in."""
    folder = cache_folder.folder() / "compiled"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    ours = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    if not (stat.S_ISDIR(about.st_mode) and ours) or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(f"{folder} is not its user's alone")
    return folder


def _clear(folder):
    """Remove all sums but those used last."""
    for sums in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-AT_MOST]:
        shutil.rmtree(sums, ignore_errors=True)


def _sound(content):
    """What was written, if all of it is there."""
    if hashlib.sha256(content[SUM_BYTES:]).digest() != content[:SUM_BYTES]:
        raise OSError("damaged")
    return content[SUM_BYTES:]


def _write(path, content):
    """A file gets its name when it is whole: nobody reads half of one, and two processes do not meet."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        whole = Path(work, "whole")
        whole.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(whole, path)
