"""What the libraries said when they were asked, from data/dialects.json; nothing is asked here."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from selfattention.dialects import libraries
from selfattention.dialects.readings import DEPENDS, NONE, REFUSED, SILENT

NO_READING = {REFUSED, SILENT, NONE}
FILE = Path(str(files("selfattention") / "data/dialects.json"))


@dataclass(frozen=True)
class Answer:
    """One answer: who, what, the reading, and the numbers by which it was recognised.

    Where the library refused, or died, there are no numbers, and `said` has its words. `variant` is "" for
    the question itself. `call` is the line of code that was run.
    """

    library: str
    door: str
    question: str
    variant: str
    reading: str
    numbers: np.ndarray | None
    said: str
    call: str
    version: str
    date: str


@cache
def answers() -> tuple[Answer, ...]:
    """Every answer in the file, in its order: library, door, question, variant."""
    return tuple(
        _answer(name, library, door_name, door, question, variant, *given)
        for name, library in _libraries().items()
        for door_name, door in library.get("doors", {}).items()
        for question, variants in door["answers"].items()
        for variant, given in variants.items()
    )


def _answer(name, library, door_name, door, question, variant, reading, given, call):
    said, numbers = (given, None) if isinstance(given, str) else ("", np.array(given, float))
    version, call = _version(name, library), door["calls"][call]
    return Answer(name, door_name, question, variant, reading, numbers, said, call, version, library["date"])


def _version(name, said):
    """That of the library itself: of what npm installed, as it is pinned, else as it was reported."""
    for pinned in libraries.library(name).npm:
        return pinned.rpartition("@")[2]
    return next(iter(said["versions"].values()))


@cache
def titles() -> dict[str, str]:
    """What each library is called in sentences."""
    return {name: said["title"] for name, said in _libraries().items()}


@cache
def missing() -> dict[str, str]:
    """The libraries that could not be had, and why."""
    return {name: said["missing"] for name, said in _libraries().items() if "missing" in said}


def reading(library: str, door: str, question: str) -> str | None:
    """What a door answers: a reading where all variants agree, else "depends"; None if it cannot be asked."""
    given = _readings().get((library, door, question), set())
    return DEPENDS if len(given) > 1 else next(iter(given), None)


@cache
def _readings():
    given: dict[tuple[str, str, str], set[str]] = {}
    for answer in answers():
        given.setdefault((answer.library, answer.door, answer.question), set()).add(answer.reading)
    return given


def _libraries():
    return json.loads(FILE.read_text("utf-8"))["libraries"]


@cache
def places(question: str) -> dict[str, int]:
    """The readings that somebody takes, numbered: our contract's is 0, then the commonest first.

    Where our contract has no such argument, or refuses, 0 is the commonest of all.
    """
    counts: dict[str, int] = {}
    ours = ""
    for answer in answers():
        if answer.question == question and answer.reading not in NO_READING:
            counts[answer.reading] = counts.get(answer.reading, 0) + 1
            ours = answer.reading if (answer.library, answer.variant) == ("ours", "") else ours
    order = sorted(counts, key=lambda reading: (reading != ours, -counts[reading], reading))
    return {reading: place for place, reading in enumerate(order)}
