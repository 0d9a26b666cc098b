"""`make classroom`: the students' notebooks where libraries are missing, from the wheel, in an empty folder.

All of them with the extra `light` alone, which is NumPy, matplotlib and Jupyter's kernel; and chapters 01 to
13 without Numba and Triton. Each in an environment that has what pip brings for it and nothing else. A cell
that needs what is missing stops there and says so; all others show what the book shows, but where random
numbers are others because a cell before has drawn none.
What was seen stands in light.json, and tests/test_teach.py holds it to what is claimed.
"""

import json
import re
from pathlib import Path

import nbformat
import pytest
import students
from environments import installed, kernel_of, ran, texts, versions

LOG = Path(__file__).with_name("light.json")
KINDS = {
    "light": ["[light]"],
    "no compiler": ["[light,torch,language]", "scikit-learn", "scipy"],
}
BEFORE_KERNELS = [path for path in students.chapters() if path.stem < "14"]
RUNS = [("light", path) for path in students.chapters()] + [("no compiler", path) for path in BEFORE_KERNELS]
STOPPED = "is not installed; the book shows"
SAID = re.compile(r"^\w+ is not installed[;:].*\n", re.MULTILINE)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Kind -> the Python of its environment."""
    return {
        kind: installed(tmp_path_factory.mktemp("environment"), *wanted) for kind, wanted in KINDS.items()
    }


@pytest.fixture(scope="module")
def log(python):
    seen, there = {kind: {} for kind in KINDS}, {kind: versions(of) for kind, of in python.items()}
    yield seen
    LOG.write_text(json.dumps({"installed": there, **seen}, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("kind", "path"), RUNS, ids=lambda value: getattr(value, "stem", value))
def test_a_student_can_run_it_without(kind, path, python, tmp_path, tmp_path_factory, monkeypatch, log):
    notebook = students.student(path)
    with kernel_of(python[kind], tmp_path_factory.mktemp("jupyter"), monkeypatch):
        took = ran(notebook, tmp_path)
    book = {cell.id: texts(cell) for cell in nbformat.read(path, as_version=4).cells}
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.id in book]
    said = {cell.id: SAID.sub("", texts(cell)) for cell in code}
    stopped = [cell.id for cell in code if STOPPED in texts(cell)]
    whole = {cell.id for cell in code} - {*stopped}
    log[kind][path.stem] = {
        "code cells": len(code),
        "stopped": stopped,
        "different": [
            name
            for name, text in said.items()
            if not (book[name] == text if name in whole else book[name].startswith(text))
        ],
        **took,
    }
