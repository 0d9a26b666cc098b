"""The door to the exercises: `check.two_key_weight(my_two_key_weight)` says what it is, right or not.

>>> from selfattention import check
>>> check.two_key_weight(...)
Not attempted yet.
>>> check.two_key_wait(...)
Traceback (most recent call last):
AttributeError: no exercise two_key_wait; did you mean two_key_weight?

`dir(check)` lists all. Each is an `Exercise` of `selfattention.exercises.diagnosis`, and what it says is true
if the answer is right: `assert check.two_key_weight(my_two_key_weight)`.

`python -m selfattention.check student.ipynb` grades a notebook, with `--json` and `--junit` for machines: see
`selfattention.grading`. It ends with 0 if all is right, with 1 if not, and with 2 if it cannot grade.
"""

import sys
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfattention.exercises.diagnosis import Exercise


@cache
def _exercises() -> "dict[str, Exercise]":
    """Every exercise of every chapter, by name."""
    from selfattention import exercises
    from selfattention.exercises.diagnosis import Exercise

    words = [module.name for module in iter_modules(exercises.__path__)]
    modules = [import_module(f"selfattention.exercises.{word}") for word in words]
    return {name: e for module in modules for name, e in vars(module).items() if isinstance(e, Exercise)}


def __dir__() -> list[str]:
    return sorted(_exercises())


def __getattr__(name: str) -> "Exercise":
    if name.startswith("_"):  # Python and its tools ask for many of these
        raise AttributeError(name)
    if name not in _exercises():
        near = get_close_matches(name, _exercises())
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        # Without obj, Python adds no hint of its own.
        raise AttributeError(f"no exercise {name}{hint}", name=name)
    return _exercises()[name]


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder that `-m` was started in: somebody's numpy.py may lie there
    from selfattention.grading.command import main

    sys.exit(main(_exercises()))
