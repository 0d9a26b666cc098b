"""Somebody's attention, examined: right, right by another definition, or which mistake it is.

>>> import numpy as np
>>> from selfattention import examine
>>> def mine(q, k, v):
...     weights = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
...     return weights / weights.sum(axis=0) @ v
>>> for name in examine(mine).names[0]:
...     print(name)
Softmax over the queries: columns sum to one
The exponential as printed, without the maximum

`python -m selfattention.examine package.module:function` does the same for a function of somebody's own
repository, or `file.py:function`; `--markdown` and `--json` write what it says to files. It ends with 0 if
the function is right, with 1 if it makes a mistake, and with 2 if it cannot be examined.

The function is called in a process of its own, with a time limit for each call; how it wants to be called, in
which order and layout and with which mask, is found by its arguments' names and by trial. That process is the
same user's: code of somebody who means harm belongs into a container.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from selfattention.examining.examination import Examiner
from selfattention.examining.process import Beyond, Stranger
from selfattention.examining.report import Examined, cannot, examined
from selfattention.printed import printed


def examine(mine: Callable | str, *, seconds: float = 10) -> Examined:
    """The verdict on a function, or on what "package.module:function" or "file.py:function" names.

    `seconds` is how long a call may take.
    """
    name = mine if isinstance(mine, str) else getattr(mine, "__name__", type(mine).__name__)
    try:
        with Stranger(mine, seconds) as stranger:
            examiner = Examiner(stranger)
            trial = examiner.examine()
            return examined(name, trial, examiner.engine_of(trial))
    except Beyond as error:
        return cannot(name, str(error))


def main(arguments=None) -> int:
    """The command; gives its exit status."""
    parser = argparse.ArgumentParser("python -m selfattention.examine", description=__doc__.split("\n")[0])
    parser.add_argument("function", help="package.module:function, or file.py:function")
    parser.add_argument("--markdown", metavar="FILE", help="write the verdict as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write it as JSON")
    asked = parser.parse_args(arguments)
    verdict = examine(asked.function)
    print(printed(str(verdict)))
    for path, text in ((asked.markdown, verdict.markdown), (asked.json, verdict.as_json)):
        if path:
            Path(path).write_text(text(), encoding="utf-8")
    return int(verdict.status)


class _Door(ModuleType):
    """`examine(mine)` right after `from selfattention import examine`."""

    def __call__(self, mine: Callable | str, *, seconds: float = 10) -> Examined:
        return examine(mine, seconds=seconds)


sys.modules[__name__].__class__ = _Door

if __name__ == "__main__":
    sys.exit(main())
