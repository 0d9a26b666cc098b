"""`make classroom`: every student's notebook runs from the wheel, in an empty folder, top to bottom.

Not of `make test`: it runs all chapters once more, some minutes. What was seen stands in students.json beside
this file, and tests/test_students.py holds it to what is claimed.
"""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
import students
from nbclient import NotebookClient

LOG = Path(__file__).with_name("students.json")
LIBRARIES = "numpy", "torch", "numba", "matplotlib", "ipykernel"
WHERE = "import selfattention; print(selfattention.__file__)"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built and unpacked by pip; the other libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    students.wheel(folder)
    (wheel,) = folder.glob("*.whl")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--quiet",
        "--target",
        str(folder / "site"),
    ]
    subprocess.run([*command, str(wheel)], check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def log():
    seen = {}
    yield seen
    where = {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()}
    LOG.write_text(json.dumps({"versions": where, "chapters": seen}, indent=2) + "\n", encoding="utf-8")


@pytest.mark.parametrize("path", students.chapters(), ids=lambda path: path.stem)
def test_a_student_can_run_it(path, installed, tmp_path, monkeypatch, log):
    """Nothing of the repository is in reach; its own first cell alone limits the threads."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        monkeypatch.delenv(f"{library}_NUM_THREADS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    notebook = students.student(path)
    notebook.cells.append(nbformat.v4.new_code_cell(WHERE))
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert str(installed) in notebook.cells[-1].outputs[0].text
    checks = [said(cell) for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]
    log[path.stem] = {
        "cells": len(notebook.cells) - 1,
        "checks": checks,
        "files_left": sorted(p.name for p in tmp_path.iterdir()),
    }


def said(cell):
    """What the check of a starter said."""
    (shown,) = [output for output in cell.outputs if output.output_type == "execute_result"]
    return shown["data"]["text/plain"]
