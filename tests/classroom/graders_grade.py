"""`make classroom`, third part: Otter-Grader and nbgrader grade chapters as `make course` hands them out.

Not of `make test`: the two bring a server, a database and a hundred packages, as the extra `[classroom]`.
What they gave is written to graders.json beside this file; tests/test_course.py holds it to what is right.
"""

import ast
import inspect
import json
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import assignments
import nbformat
import pytest
import students
from otter.run import main as otter_run

from selfattention import check
from selfattention.missing import reads_and_makes

LOG = Path(__file__).with_name("graders.json")
LIBRARIES = "otter-grader", "nbgrader", "nbconvert", "numpy"
CHAPTERS = [path for path in students.chapters() if path.stem < "09"]
by_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)

NOISE = """\
import sys, warnings
warnings.warn("a warning")
print("and more", file=sys.stderr)"""
NOISY_FUNCTION = """

_quiet = {names}

def _noisy(*arguments):
    {noise}
    return _quiet(*arguments)

{names} = _noisy"""


def written_out(function, names, asks_for_a_function):
    """An answer as a student would write it: the function itself, and what it takes from elsewhere."""
    source = re.sub(r"\A(?:@.*\n|[ )].*\n)*", "", inspect.getsource(function))
    (tree,) = ast.parse(source).body
    elsewhere = sorted(reads_and_makes([tree])[0] & function.__globals__.keys())
    imports = f"from {function.__module__} import {', '.join(elsewhere)}\n\n" if elsewhere else ""
    brackets = "" if asks_for_a_function else "()"
    return f"{imports}{source}\n{names} = {function.__name__}{brackets}"


def answers(name, names):
    """What a student writes in the place of a starter, for each kind of submission; None: nothing."""
    exercise = getattr(check, name)
    of_a_function = bool(exercise.arguments)
    right = written_out(exercise.solution, names, of_a_function)
    if of_a_function:
        noisy = right + NOISY_FUNCTION.format(names=names, noise=NOISE.replace("\n", "\n    "))
    else:
        noisy = f"{NOISE}\n{right}"
    wrong = written_out(next(iter(exercise.mistakes)), names, of_a_function)
    return {
        "right": right,
        "wrong": wrong,
        "empty": None,
        "right, with warnings": noisy,
        "stopped": "1 / 0",
    }


SUBMISSIONS = ("right", "wrong", "empty")
MORE = ("right, with warnings", "stopped")


def submissions(path):
    """All kinds for the chapter that asks for values, functions and a repair; a notebook takes a minute."""
    return SUBMISSIONS + MORE if path.stem == "03_scores" else SUBMISSIONS


def filled(notebook, submission):
    """A student's notebook: each starter's cell with an answer in its place."""
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            name, call, solution = assignments.asked(cell)
            answer = answers(name, solution.split(" = ")[0])[submission]
            if answer is not None:
                assert ".solution" not in answer
                cell.source = f"{answer}\n\n{call}\n"
    return notebook


def run(*command, folder):
    """A command of the environment that runs this file."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([str(program), *command[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def log():
    """What was seen before of the others, where some are run alone."""
    seen = json.loads(LOG.read_text(encoding="utf-8")) if LOG.exists() else {}
    known = {path.stem for path in CHAPTERS}
    seen = {
        kind: {chapter: of for chapter, of in seen.get(kind, {}).items() if chapter in known}
        for kind in ("points", "otter", "nbgrader")
    }
    yield seen
    where = {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()}
    LOG.write_text(json.dumps({**seen, "versions": where}, indent=1) + "\n", encoding="utf-8")


@by_chapter
def test_otter(path, tmp_path, log):
    worth = log["points"][path.stem] = students.points(path)
    master = tmp_path / path.name
    nbformat.write(assignments.otter(path), master)
    run("otter", "assign", str(master), "dist", "--no-pdfs", folder=tmp_path)
    released = tmp_path / "dist/student" / path.name
    (zipped,) = (tmp_path / "dist/autograder").glob("*.zip")
    seen = {"given away": given_away(nbformat.read(released, as_version=4))}
    for name in submissions(path):
        handed_in = tmp_path / name / path.name
        handed_in.parent.mkdir()
        nbformat.write(filled(nbformat.read(released, as_version=4), name), handed_in)
        found = otter_run(
            str(handed_in), autograder=str(zipped), output_dir=str(tmp_path / name), no_logo=True
        )
        seen[name] = {q: found.results[q].score for q in sorted(worth)}
    log["otter"][path.stem] = seen


@by_chapter
def test_nbgrader(path, tmp_path, log):
    (tmp_path / "nbgrader_config.py").write_text(assignments.NBGRADER_CONFIG)
    source = tmp_path / "source" / path.stem / path.name
    source.parent.mkdir(parents=True)
    nbformat.write(assignments.nbgrader(path), source)
    run("nbgrader", "generate_assignment", path.stem, folder=tmp_path)
    released = tmp_path / "release" / path.stem / path.name
    seen = {"given away": given_away(nbformat.read(released, as_version=4))}
    ids = {name: f"student-{number}" for number, name in enumerate(submissions(path))}
    for name, student in ids.items():
        handed_in = tmp_path / "submitted" / student / path.stem / path.name
        handed_in.parent.mkdir(parents=True)
        nbformat.write(filled(nbformat.read(released, as_version=4), name), handed_in)
    run("nbgrader", "autograde", path.stem, folder=tmp_path)
    log["nbgrader"][path.stem] = seen | {
        name: nbgrader_scores(tmp_path, path.stem, student) for name, student in ids.items()
    }


def nbgrader_scores(folder, chapter, student):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        graded = book.find_submission_notebook(chapter, chapter, student)
        return {
            g.name.removesuffix("-judged"): g.auto_score for g in sorted(graded.grades, key=lambda g: g.name)
        }


def given_away(notebook):
    """The lines of a released notebook that hold a solution."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return [line for line in text.splitlines() if ".solution" in line or "SOLUTION" in line]
