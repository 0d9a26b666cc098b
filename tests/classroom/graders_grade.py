"""`make classroom`, second part: Otter-Grader and nbgrader grade a chapter as `make course` hands it to them.

Not of `make test`: the two bring a server, a database and a hundred packages, as the extra `[classroom]`.
What they gave is written to graders.json beside this file; tests/test_course.py holds it to what is right.
"""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import assignments
import nbformat
import pytest
import students
from otter.run import main as otter_run

LOG = Path(__file__).with_name("graders.json")
LIBRARIES = "otter-grader", "nbgrader", "nbconvert", "numpy"
(CHAPTER,) = (path for path in students.chapters() if path.stem == "03_scores")  # values, functions, a repair

# What a student writes in the place of a starter; `{names}` are those that the check asks about.
NOISY = """
import sys, warnings

def noisy(*arguments):
    warnings.warn("a warning")
    print("and more", file=sys.stderr)
    return check.{name}.solution(*arguments)

{names} = {answer}
"""
SUBMISSIONS = {
    "right": "{names} = check.{name}.solution{call}",
    "wrong": "{names} = [*check.{name}.mistakes][0]{call}",
    "empty": None,
    "right, with warnings": NOISY,
    "stopped": "1 / 0",
}


def filled(notebook, written):
    """A student's notebook: each starter's cell with an answer in its place."""
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []) and written is not None:
            name, call, solution = assignments.asked(cell)
            names = solution.split(" = ")[0]
            brackets = "()" if solution.endswith("()") else ""
            answer = "noisy()" if brackets else "noisy"
            cell.source = (
                written.format(name=name, names=names, call=brackets, answer=answer) + f"\n\n{call}\n"
            )
    return notebook


def run(*command, folder):
    """A command of the environment that runs this file."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([str(program), *command[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def log():
    """What was seen before of the other, where one alone is run."""
    seen = json.loads(LOG.read_text(encoding="utf-8")) if LOG.exists() else {}
    seen |= {"chapter": CHAPTER.stem, "points": students.points(CHAPTER)}
    yield seen
    where = {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()}
    LOG.write_text(json.dumps({**seen, "versions": where}, indent=2) + "\n", encoding="utf-8")


def test_otter(tmp_path, log):
    master = tmp_path / CHAPTER.name
    nbformat.write(assignments.otter(CHAPTER), master)
    run("otter", "assign", str(master), "dist", "--no-pdfs", folder=tmp_path)
    released = nbformat.read(tmp_path / "dist/student" / CHAPTER.name, as_version=4)
    (zipped,) = (tmp_path / "dist/autograder").glob("*.zip")
    log["otter"] = {"given away": given_away(released)}
    for name, written in SUBMISSIONS.items():
        handed_in = tmp_path / name / CHAPTER.name
        handed_in.parent.mkdir()
        nbformat.write(filled(nbformat.from_dict(released), written), handed_in)
        found = otter_run(
            str(handed_in), autograder=str(zipped), output_dir=str(tmp_path / name), no_logo=True
        )
        log["otter"][name] = {q: found.results[q].score for q in sorted(log["points"])}
        released = nbformat.read(tmp_path / "dist/student" / CHAPTER.name, as_version=4)


def test_nbgrader(tmp_path, log):
    (tmp_path / "nbgrader_config.py").write_text(assignments.NBGRADER_CONFIG)
    source = tmp_path / "source" / CHAPTER.stem / CHAPTER.name
    source.parent.mkdir(parents=True)
    nbformat.write(assignments.nbgrader(CHAPTER), source)
    run("nbgrader", "generate_assignment", CHAPTER.stem, folder=tmp_path)
    released = tmp_path / "release" / CHAPTER.stem / CHAPTER.name
    log["nbgrader"] = {"given away": given_away(nbformat.read(released, as_version=4))}
    ids = {name: f"student-{number}" for number, name in enumerate(SUBMISSIONS)}
    for name, written in SUBMISSIONS.items():
        handed_in = tmp_path / "submitted" / ids[name] / CHAPTER.stem / CHAPTER.name
        handed_in.parent.mkdir(parents=True)
        nbformat.write(filled(nbformat.read(released, as_version=4), written), handed_in)
    run("nbgrader", "autograde", CHAPTER.stem, folder=tmp_path)
    log["nbgrader"] |= {name: nbgrader_scores(tmp_path, ids[name]) for name in SUBMISSIONS}


def nbgrader_scores(folder, student):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        graded = book.find_submission_notebook(CHAPTER.stem, CHAPTER.stem, student)
        return {
            g.name.removesuffix("-judged"): g.auto_score for g in sorted(graded.grades, key=lambda g: g.name)
        }


def given_away(notebook):
    """The lines of a released notebook that hold a solution."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return [line for line in text.splitlines() if ".solution" in line or "SOLUTION" in line]
