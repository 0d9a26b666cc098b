"""Rows of a long study, a JSON object to a line, each written when it is known: what is interrupted goes on.

    rows.write(path, plan, run)

asks `run(*key)` for every key of the plan that has no row yet. `read` gives the rows back.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from selfattention.trained.progress import with_bar

KEY = "key"


def read(path: Path) -> dict[tuple, dict[str, Any]]:
    """{key: row} of the file, in its order; nothing where there is no file yet."""
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {tuple(row.pop(KEY)): row for row in found}


def write(path: Path, plan: Iterable[tuple], run: Callable[..., dict[str, Any]], text: str) -> None:
    """Append a row for every key of the plan that the file does not have, with a bar beside `text`."""
    known = read(path)
    missing = [key for key in plan if key not in known]
    for key in with_bar(missing, text):
        line = json.dumps({KEY: key, **run(*key)}, separators=(",", ":"))
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
