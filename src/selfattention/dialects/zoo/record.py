"""Compute the attention calls of every architecture of transformers again, and write down how they are said.

    make zoo                                               all of them, some minutes; goes on where it was
    python -m selfattention.dialects.zoo.record bert t5    these afresh, and whoever has no row yet

The environment is that of the transformers adapter. A model that dies, or is silent for LIMIT seconds, is
written down as that, and the next process goes on behind it. Rows are kept beside the environments, with the
code that they belong to: what has not changed is not asked again. data/zoo.json is put together from them.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from selfattention.dialects.environments import place, python_of, surroundings
from selfattention.dialects.libraries import library
from selfattention.dialects.processes import Ended, lines_of
from selfattention.dialects.zoo.recorded import FILE
from selfattention.trained.progress import with_bar

LIMIT, START = 300.0, 1200.0
"""Seconds for a model, and for the library to be imported."""

Row = dict[str, Any]
HERE = Path(__file__).parent
ASKING = "answering", "ingredients", "models", "own", "traced"


def command(*names: str) -> list[str]:
    """What is run in the library's environment, which is made where it is not there."""
    python = python_of("transformers", library("transformers"))
    return [python, "-m", "selfattention.dialects.zoo.answering", *names]


def ask(names: list[str]) -> Iterator[tuple[str, Row]]:
    """(name, row) of each, in as many processes as it takes; "" answers with the versions."""
    environment = surroundings(library("transformers"))
    while names:
        which, why = None, "ended with 0"
        try:
            for said in lines_of(command(*names), environment, START, LIMIT):
                if "versions" in said:
                    yield "", said["versions"]
                elif "asked" in said:
                    which = said["asked"]
                else:
                    yield which, said["row"]
                    names, which = names[1:], None
        except Ended as end:
            if which is None:
                raise
            why = end.why
        if which is not None:
            yield which, {"missing": why}
            names = names[1:]


def architectures() -> list[str]:
    """The names, from the library itself."""
    (said,) = lines_of(command(), surroundings(library("transformers")), START, LIMIT)
    return said["names"]


def belonging() -> str:
    """A short name of all that a row depends on."""
    code = b"".join((HERE / f"{name}.py").read_bytes() for name in ASKING)
    return hashlib.sha256(code + "".join(library("transformers").packages).encode()).hexdigest()[:12]


def together(versions: dict[str, str], rows: dict[str, Row]) -> str:
    """The file's text: a line for each architecture."""
    head = {"command": "make zoo", "date": date.today().isoformat(), "versions": versions}
    lines = ",\n".join(f"{_compact(name)}:{_compact(row)}" for name, row in sorted(rows.items()))
    return f'{_compact(head)[:-1]},"families":{{\n{lines}\n}}}}\n'


def shortened(row: Row) -> Row:
    """A row without what is as in the formula, and with scales to six digits."""
    return row | {"calls": [_call(said) for said in row["calls"]]} if "calls" in row else row


def _call(said):
    said = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in said.items()}
    plain = {"g": said["h"], "m": said["n"], "d_v": said["d_k"], "count": 1}
    plain |= {"in_Q": 1.0, "softcap": None, "inside": "", "after": []}
    if abs(said["scale"] * said["d_k"] ** 0.5 - 1) < 1e-5:
        plain["scale"] = said["scale"]
    return {key: value for key, value in said.items() if key not in plain or value != plain[key]}


def _compact(said):
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def main(*names: str) -> None:
    kept, of = place() / "answers/zoo.json", belonging()
    known = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    if known.get("of") != of:
        known = {"of": of, "versions": {}, "rows": {}}
    everybody = architectures()
    todo = [name for name in everybody if name in names or name not in known["rows"]]
    kept.parent.mkdir(parents=True, exist_ok=True)
    heard = (said for said in ask(todo) if said[0] or known["versions"].update(said[1]))
    for _, (name, row) in zip(with_bar(todo, "asking transformers"), heard, strict=True):
        known["rows"][name] = row
        kept.write_text(json.dumps(known, ensure_ascii=False), "utf-8")
    rows = {name: shortened(known["rows"][name]) for name in everybody if name in known["rows"]}
    FILE.write_text(together(known["versions"], rows), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
