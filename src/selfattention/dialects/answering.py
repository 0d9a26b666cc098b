"""Ask one library its questions: what runs in a process of its own, beside the library.

    python -m selfattention.dialects.answering LIBRARY DOOR/QUESTION/VARIANT …

prints lines of JSON: the versions, then before each question its name, the call as soon as it is made, and
the answer. Whoever waits knows from them at which call the process died.
"""

import json
import os
import platform
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door
from selfattention.dialects.libraries import library
from selfattention.dialects.questions import QUESTIONS
from selfattention.dialects.questions.question import Question

Answer = dict[str, Any]


def questions_for(door: Door) -> list[str]:
    """The questions and variants that can be put to this door, as "question/variant"."""
    return [
        f"{question.name}/{variant}"
        for question in QUESTIONS.values()
        for variant, asked in question.inputs.items()
        if not door.lacks(asked)
    ]


def question_and_variant(which: str) -> tuple[Question, str]:
    """What "question/variant" names."""
    name, variant = which.split("/", 1)
    return QUESTIONS[name], variant


def answer(door: Door, which: str, tell: Callable[[str], Any] = lambda line: None) -> Answer:
    """{"call", "numbers"}, or {"call", "refused"}: the class and the first line of the library's error.

    `tell` hears the line of the call before it is run.
    """
    question, variant = question_and_variant(which)
    asked = question.variant(variant)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = door.call(asked)  # what goes wrong here is the adapter's fault, and no refusal
        line = line_of(call, asked)
        tell(line)
        try:
            numbers = question.pick(first_copy(call.run(), question, asked))
        except Exception as error:
            return {"call": line, "refused": said(error)}
    return {"call": line, "numbers": [written(x) for x in np.asarray(numbers, float)]}


def line_of(call: Call, asked: Asked) -> str:
    """The call's line; what a question puts in the mask's place is called a mask, whatever its dtype."""
    return call.line if asked.literal is None else call.line.replace("=bias", "=mask")


def first_copy(answered: Any, question: Question, asked: Asked) -> Any:
    """Of an output (b, h, n, d_v) with many copies of the same queries, the first copy."""
    n = question.asked.Q.shape[-2]
    many = asked.wants == "output" and asked.Q.shape[-2] > n
    return np.asarray(answered)[..., :n, :] if many else answered


def said(error: Exception) -> str:
    """The class of an error, and how its text begins, behind what ONNX Runtime puts before all of them."""
    lines = [line for line in map(str.strip, str(error).splitlines()) if line.strip("-=")] or [""]
    words = lines[0].split("Status Message: ")[-1]
    return f"{type(error).__name__}: {words[:90].strip()}".rstrip(": ")


def written(number: float) -> float | int | str:
    """Five digits; NaN and ∞ as JavaScript's Number and Python's float read them."""
    if np.isnan(number):
        return "NaN"
    if np.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    short = float(f"{number:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e5 else short


def main(name: str, *questions: str) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers

    def tell(**said: Any) -> None:
        print(json.dumps(said), file=out, flush=True)

    asked = library(name)
    import_module(asked.module)
    doors = {door.name: door for door in asked.doors}
    versions = {report: version(report) for report in asked.reports}
    tell(versions=versions | {"python": platform.python_version()})
    for question in questions:
        door, which = question.split("/", 1)
        tell(asked=question)
        tell(answer=answer(doors[door], which, lambda line: tell(call=line)))


if __name__ == "__main__":
    main(*sys.argv[1:])
