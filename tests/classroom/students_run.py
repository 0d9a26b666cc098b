"""`make classroom`: every notebook runs from the wheel with `[notebooks]`, in an empty folder, top to bottom.

Students' and instructors', each alone, in an environment that has what pip brings and nothing else. Not of
`make test`: two gigabytes and all chapters twice more. What was seen stands in students.json beside this
file, and tests/test_course.py holds it to what is claimed.
"""

import json
import platform
from pathlib import Path

import nbformat
import pytest
import students
from environments import installed, kernel_of, ran, texts, versions
from execute import entries

from selfattention.extras import EXTRAS

LOG = Path(__file__).with_name("students.json")
LIBRARIES = "numpy", "torch", "numba", "matplotlib", "ipykernel"
PAGES = [*entries(), *students.chapters()]
WHERE = f"""\
import sys, selfattention
print(selfattention.__file__, sorted({sorted(EXTRAS)} & sys.modules.keys()), sep="\\n")"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("everything"), "[notebooks]")


@pytest.fixture(scope="module")
def log(python):
    seen, there = {"pages": {}, "instructors": {}}, versions(python)
    yield seen
    where = {library: there[library] for library in LIBRARIES} | {"python": platform.python_version()}
    LOG.write_text(json.dumps({"versions": where, **seen}, indent=1) + "\n", encoding="utf-8")


@pytest.fixture
def run(python, tmp_path_factory, monkeypatch):
    """Nothing of the repository is in reach; the notebook's own first cell alone limits the threads."""
    with kernel_of(python, tmp_path_factory.mktemp("jupyter"), monkeypatch):
        yield ran


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_student_can_run_it(path, run, python, tmp_path, log):
    notebook = students.student(path)
    notebook.cells.append(nbformat.v4.new_code_cell(WHERE))
    took = run(notebook, tmp_path)
    package, libraries = notebook.cells.pop().outputs[0].text.splitlines()
    assert Path(package).is_relative_to(python.parents[1])
    checks = [said(cell) for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]
    log["pages"][path.stem] = {
        "cells": len(notebook.cells),
        "checks": checks,
        "files_left": sorted(p.name for p in tmp_path.iterdir()),
        "libraries": json.loads(libraries.replace("'", '"')),
        **took,
    }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_an_instructor_can_run_it(path, run, tmp_path, log):
    """With the solutions: which cells show another text than the book, and how many verdicts say right."""
    notebook = students.instructor(path)
    book = {cell.id: texts(cell) for cell in notebook.cells}
    took = run(notebook, tmp_path)
    solutions = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
    log["instructors"][path.stem] = {
        "cells": len(notebook.cells),
        "different": [cell.id for cell in notebook.cells if texts(cell) != book[cell.id]],
        "right": sum(texts(cell).count("✓ ") for cell in solutions),
        "files_left": sorted(p.name for p in tmp_path.iterdir()),
        **took,
    }


def said(cell):
    """What the check of a starter said."""
    (shown,) = [output for output in cell.outputs if output.output_type == "execute_result"]
    return shown["data"]["text/plain"]
