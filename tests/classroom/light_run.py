"""`make classroom`: the students' notebooks where libraries are missing, from the wheel, in an empty folder.

All of them with NumPy, matplotlib and Jupyter's kernel alone, which is the extra `light`; and chapters 01 to
13 without Numba and Triton. A cell that needs what is missing stops there and says so; all others show what
the book shows, but where random numbers are others because a cell before has drawn none.
What was seen stands in light.json, and tests/test_course.py holds it to what is claimed.
"""

import json
import re

import nbformat
import pytest
import students
from nbclient import NotebookClient
from students_run import LOG as STUDENTS
from students_run import installed  # noqa: F401

from selfattention.extras import EXTRAS

LOG = STUDENTS.with_name("light.json")
LIGHT = {"matplotlib", "IPython", "PIL"}  # Pillow comes with matplotlib
HIDDEN = {
    "light": sorted(EXTRAS.keys() - LIGHT),
    "no compiler": ["llvmlite", "numba", "triton"],
}
BEFORE_KERNELS = [path for path in students.chapters() if path.stem < "14"]
RUNS = [("light", path) for path in students.chapters()] + [("no compiler", path) for path in BEFORE_KERNELS]
HIDE = """\
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def log():
    seen = {kind: {} for kind in HIDDEN}
    yield seen
    LOG.write_text(json.dumps({"hidden": HIDDEN, **seen}, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("kind", "path"), RUNS, ids=lambda value: getattr(value, "stem", value))
def test_a_student_can_run_it_without(kind, path, installed, tmp_path, monkeypatch, log):  # noqa: F811
    site, empty = tmp_path / "site", tmp_path / "empty"
    site.mkdir()
    empty.mkdir()
    (site / "sitecustomize.py").write_text(HIDE.format(hidden=HIDDEN[kind]), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{site}:{installed}")
    notebook = students.student(path)
    NotebookClient(
        notebook, timeout=600, startup_timeout=600, resources={"metadata": {"path": str(empty)}}
    ).execute()
    book = {cell.id: texts(cell) for cell in nbformat.read(path, as_version=4).cells}
    ran = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.id in book]
    said = {cell.id: SAID.sub("", texts(cell)) for cell in ran}
    stopped = [cell.id for cell in ran if STOPPED in texts(cell)]
    whole = {cell.id for cell in ran} - {*stopped}
    log[kind][path.stem] = {
        "code cells": len(ran),
        "stopped": stopped,
        "different": [
            name
            for name, text in said.items()
            if not (book[name] == text if name in whole else book[name].startswith(text))
        ],
    }


STOPPED = "is not installed; the book shows"
SAID = re.compile(r"^\w+ is not installed[;:].*\n", re.MULTILINE)


def texts(cell):
    """What a cell printed and showed as text."""
    shown = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", [])]
    return "".join(text for text in shown if not text.startswith("<Figure"))
