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

A torch.nn.Module with projections of its own, or its class, is examined like a function: which parameter is
which matrix is found by names and shapes, else by trial, and all weights are drawn anew. The verdict also has
the function's reading of every question of `selfattention.dialects` that it can be asked.

`python -m selfattention.examine package.module:function` does the same for a function of somebody's own
repository, or `file.py:function`; `--markdown` and `--json` write what it says to files, and `--expect torch`
holds it to a library's readings, or to those of such a file. It ends with 0 if the function is right, with 1
if it makes a mistake, and with 2 if nothing can be said of it; `selfattention.examining.fixture` does so in
pytest.

The function is called in a process of its own, with a time limit for each call; how it wants to be called, in
which order and layout and with which mask, is found by its arguments' names and by trial. That process is the
same user's: code of somebody who means harm belongs into a container.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from selfattention.examining.dialect import layer_readings, readings
from selfattention.examining.examination import Examiner, worth_a_verdict
from selfattention.examining.layers import LayerExaminer, has_matrices
from selfattention.examining.process import Beyond, stranger_of
from selfattention.examining.report import Examined, cannot, examined, examined_layer
from selfattention.printed import printed


def examine(mine: Callable | str, *, seconds: float = 10, expect: str | None = None) -> Examined:
    """The verdict on a function or a layer, or on what "package.module:function" or "file.py:function" names.

    `seconds` is how long a call may take. `expect` is a library of `dialects`, "torch" say, or a file that an
    earlier verdict's `as_json` wrote: then another reading than theirs is a mistake as well.
    """
    name = mine if isinstance(mine, str) else getattr(mine, "__name__", type(mine).__name__)
    try:
        with stranger_of(mine, seconds) as stranger:
            said = _layer(name, stranger) if has_matrices(stranger.layer) else _function(name, stranger)
    except Beyond as error:
        said = cannot(name, str(error))
    return said if expect is None else said.held_to(expect)


def _function(name, stranger):
    examiner = Examiner(stranger)
    trial = examiner.examine()
    worth_a_verdict(trial, stranger.words)
    return examined(name, trial, examiner.engine_of(trial), readings(stranger, trial))


def _layer(name, stranger):
    examiner = LayerExaminer(stranger)
    found = examiner.examine()
    how, engine = stranger.layer["built"], examiner.engine_of(found)
    return examined_layer(name, found, engine, how, layer_readings(found))


def main(arguments=None) -> int:
    """The command; gives its exit status."""
    parser = argparse.ArgumentParser("python -m selfattention.examine", description=__doc__.split("\n")[0])
    parser.add_argument(
        "function", help="package.module:name, or file.py:name: a function, a layer, its class"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the verdict as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write it as JSON")
    parser.add_argument("--expect", metavar="LIBRARY", help="hold it to a library's readings, or to a file's")
    asked = parser.parse_args(arguments)
    verdict = examine(asked.function, expect=asked.expect)
    print(printed(str(verdict)))
    for path, text in ((asked.markdown, verdict.markdown), (asked.json, verdict.as_json)):
        if path:
            Path(path).write_text(text(), encoding="utf-8")
    return int(verdict.status)


class _Door(ModuleType):
    """`examine(mine)` right after `from selfattention import examine`."""

    def __call__(self, mine, *, seconds: float = 10, expect: str | None = None) -> Examined:
        return examine(mine, seconds=seconds, expect=expect)


sys.modules[__name__].__class__ = _Door

if __name__ == "__main__":
    sys.exit(main())
