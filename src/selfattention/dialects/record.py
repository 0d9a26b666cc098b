"""Ask every library every question, and write down what it says.

    make dialects                                      all of them, an hour; goes on where it was
    python -m selfattention.dialects.record jax flax   some of them

A library is asked in a process of its own. One that dies, or is silent for LIMIT seconds, loses the question
it was at, and the next process goes on behind it. Answers are kept beside the environments, with the input
and the adapter that they belong to: what has not changed is not asked again. They are put into
data/dialects.json, which keeps what it has of libraries that nobody has asked here.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from selfattention.dialects import libraries
from selfattention.dialects.answering import question_and_variant, questions_for
from selfattention.dialects.asking import Asked, Door, Library
from selfattention.dialects.environments import NotInstalled, place, python_of, surroundings
from selfattention.dialects.libraries import NAMES, library
from selfattention.dialects.processes import Ended, lines_of
from selfattention.dialects.readings import REFUSED, SILENT
from selfattention.dialects.recorded import FILE
from selfattention.trained.progress import with_bar

LIMIT, START = 600.0, 1200.0
"""Seconds for an answer, and for a library to be imported: on a busy machine that takes minutes."""

Said = dict[str, Any]


def asked_again(name: str, door: Door, known: Said) -> list[str]:
    """Which questions of a door have no answer yet that belongs to their input and to the adapter."""
    questions = {which: belonging(name, which) for which in questions_for(door)}
    for which in known.keys() - questions.keys():
        del known[which]
    return [which for which, of in questions.items() if not _stands(known.get(which), of)]


def _stands(answer, of):
    """An answer that belongs to the input; silence may have been the machine's, and is asked again."""
    return answer is not None and answer["of"] == of and "silent" not in answer


def belonging(name: str, which: str) -> str:
    """A short name of what an adapter does, and of one input: how the file is laid out does not count."""
    question, variant = question_and_variant(which)
    return hashlib.sha256(_adapter(name) + fingerprint(question.variant(variant))).hexdigest()[:12]


@cache
def _adapter(name):
    folder = Path(libraries.__file__).parent
    text = (folder / f"{name}.py").read_text("utf-8")
    shared = (folder / f"{file}.py" for file in sorted(libraries.SHARED) if file in text)
    texts = text, *(file.read_text("utf-8") for file in shared)
    return "".join(ast.dump(ast.parse(text)) for text in texts).encode()


def fingerprint(asked: Asked) -> bytes:
    """All of an input that is not as by default, in bytes."""
    usual = {field.name: field.default for field in fields(Asked)}
    parts = []
    for name, value in vars(asked).items():
        if isinstance(value, np.ndarray):
            parts.append(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
        elif value != usual[name]:
            parts.append(f"{name} {value!r}".encode())
    return b"\n".join(parts)


def ask(name: str, asked: Library, python: str, questions: list[str]) -> Iterator[tuple[str, Said]]:
    """(door/question/variant, answer), in as many processes as it takes; "" answers with the versions."""
    while questions:
        command = [python, "-m", "selfattention.dialects.answering", name, *questions]
        for which, said in _heard(command, surroundings(asked)):
            yield which, said
            questions = [left for left in questions if left != which]


def _heard(command, environment):
    """What one process says, until it has said everything, or no more."""
    which, call, why = None, "", "ended with 0"
    try:
        for said in lines_of(command, environment, START, LIMIT):
            if "versions" in said:
                yield "", said["versions"]
            elif "asked" in said:
                which, call = said["asked"], ""
            elif "call" in said:
                call = said["call"]
            else:
                yield which, said["answer"]
                which = None
    except Ended as end:
        if which is None:
            raise NotInstalled(end.words.splitlines()[-1]) from None
        why = end.why
    if which is not None:
        yield which, {"call": call, "silent": why}


def kept_in(name: str) -> Path:
    """The file of a library's answers, in the cache folder."""
    return place() / "answers" / f"{name}.json"


def answers_of(name: str) -> Said:
    """What this library has said, asking where it has not: kept in the cache folder, door by door."""
    asked = library(name)
    kept = kept_in(name)
    known = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    if known.get("packages") != list(asked.packages):
        known = {}
    known |= {"packages": list(asked.packages)}
    doors = {door.name: known.get("doors", {}).get(door.name, {}) for door in asked.doors}
    known["doors"] = doors
    todo = [f"{door.name}/{w}" for door in asked.doors for w in asked_again(name, door, doors[door.name])]
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        python = python_of(name, asked) if todo else ""
        known.pop("missing", None)
        heard = _noting_versions(ask(name, asked, python, todo), known)
        for _, (question, said) in zip(with_bar(todo, f"asking {asked.title}"), heard, strict=True):
            door, which = question.split("/", 1)
            doors[door][which] = said | {"of": belonging(name, which)}
            kept.write_text(json.dumps(known, ensure_ascii=False), "utf-8")
    except NotInstalled as why:
        known |= {"missing": str(why), "date": date.today().isoformat()}
    kept.write_text(json.dumps(known, ensure_ascii=False), "utf-8")
    return known


def _noting_versions(heard, known):
    """The answers; what was said of versions goes into `known`, with today's date."""
    for question, said in heard:
        if question:
            yield question, said
        else:
            known |= {"versions": said, "date": date.today().isoformat()}


def entry(name: str, known: Said) -> Said:
    """A library's part of the file: its answers, recognised."""
    asked = library(name)
    said = {"title": asked.title, "packages": known["packages"], "date": known["date"]}
    if "missing" in known:
        return said | {"missing": known["missing"]}
    doors = {door.name: _door(door, known["doors"][door.name]) for door in asked.doors}
    return said | {"versions": known["versions"], "doors": doors}


def _door(door, answers):
    calls, questions = [], {}
    for which in questions_for(door):
        answer = answers[which]
        if answer["call"] not in calls:
            calls.append(answer["call"])
        question, variant = question_and_variant(which)
        questions.setdefault(question.name, {})[variant] = [
            *recognised(answer, which),
            calls.index(answer["call"]),
        ]
    return {"takes": sorted(door.takes), "calls": calls, "answers": questions}


def recognised(answer: Said, which: str) -> tuple[str, Any]:
    """The reading, and the numbers that it is told by, or the words of a refusal."""
    if "numbers" not in answer:
        return (REFUSED, answer["refused"]) if "refused" in answer else (SILENT, answer["silent"])
    question, variant = question_and_variant(which)
    return question.recognised(np.array(answer["numbers"], float), variant), answer["numbers"]


def together(entries: dict[str, Said]) -> str:
    """The file's text: a line for each door, so that a difference shows where it is."""
    parts = []
    for name, said in entries.items():
        head = {key: value for key, value in said.items() if key != "doors"}
        lines = [
            f"  {_compact(door)}: {_compact(answers)}" for door, answers in said.get("doors", {}).items()
        ]
        parts.append(f'{_compact(name)}: {_compact(head)[:-1]},"doors": {{\n' + ",\n".join(lines) + "\n}}")
    return '{"command": "make dialects",\n"libraries": {\n' + ",\n".join(parts) + "\n}}\n"


def _compact(said):
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def main(*names: str) -> None:
    for name in names or NAMES:
        answers_of(name)
    entries = json.loads(FILE.read_text("utf-8"))["libraries"] if FILE.exists() else {}
    entries |= {name: entry(name, known) for name, known in _all_known().items()}
    FILE.write_text(together({name: entries[name] for name in NAMES if name in entries}), "utf-8")


def _all_known():
    """What every library has said on this machine so far; of others the file keeps what it has."""
    kept = {name: kept_in(name) for name in NAMES}
    known = {name: json.loads(file.read_text("utf-8")) for name, file in kept.items() if file.exists()}
    return {name: said for name, said in known.items() if "missing" in said or _whole(name, said)}


def _whole(name, said):
    doors = said.get("doors", {})
    return all(doors.get(door.name, {}).keys() >= set(questions_for(door)) for door in library(name).doors)


if __name__ == "__main__":
    main(*sys.argv[1:])
