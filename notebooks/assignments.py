"""A student's notebook as an assignment for Otter-Grader and for nbgrader, with a point per star.

    _build/course/otter/05_softmax.ipynb                        otter assign 05_softmax.ipynb dist
    _build/course/nbgrader/source/05_softmax/05_softmax.ipynb   nbgrader generate_assignment 05_softmax

Both judge in the process that the student's cells have run in, so what a notebook patches there is believed;
`python -m selfattention.check` is the one that is not.
"""

import ast
import copy

from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell
from students import points, student

from selfattention import check

# nbgrader gives no points where a cell prints to stderr, and takes a number that it shows for the score; so
# the warnings of an answer are kept quiet, and nothing is shown.
NBGRADER_TEST = """\
from contextlib import redirect_stderr

with redirect_stderr(None):
    verdict = {call}
assert verdict, verdict"""
NBGRADER_CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "self-attention"
c.Execute.timeout = 600
c.Execute.iopub_timeout = 120  # on a busy machine the 4 seconds that it has by itself are too few
c.ClearSolutions.code_stub = {"python": "# Your answer stands above this line."}
"""


def asked(cell):
    """The exercise that a starter asks about, the call that does, and an assignment of its solution."""
    call = ast.parse(cell.source).body[-1].value
    name, answer = call.func.attr, ast.unparse(call.args[0])
    exercise = getattr(check, name)
    solution = f"check.{name}.solution" + ("" if exercise.arguments else "()")
    return name, ast.unparse(call), f"{answer.strip('()')} = {solution}"


def starters(notebook):
    """The notebook's cells, and for each whether it is a starter."""
    return [(cell, "exercise" in cell.metadata.get("tags", [])) for cell in copy.deepcopy(notebook).cells]


def otter(path):
    """The chapter as `otter assign` wants it: a question around each starter, with its solution."""
    notebook, worth = student(path), points(path)
    notebook.cells, cells = [], starters(notebook)
    notebook.cells.append(
        _raw(f"# ASSIGNMENT CONFIG\nname: {path.stem}\nsolutions_pdf: false\nexport_cell: false")
    )
    for cell, is_starter in cells:
        notebook.cells += _otter_question(cell, worth) if is_starter else [cell]
    return _numbered(notebook)


def _otter_question(starter, worth):
    name, call, solution = asked(starter)
    starter.source = _with_solution(
        starter.source, name, f"# BEGIN SOLUTION NO PROMPT\n{solution}\n# END SOLUTION"
    )
    test = new_code_cell(f"bool({call})", execution_count=1)
    test.outputs = [new_output("execute_result", {"text/plain": "True"}, execution_count=1)]
    return [
        _raw(f"# BEGIN QUESTION\nname: {name}\npoints: {worth[name]}"),
        new_markdown_cell(f"Your answer to `check.{name}`, for {worth[name]} of the points:"),
        *(_raw("# BEGIN SOLUTION"), starter, _raw("# END SOLUTION")),
        *(_raw("# BEGIN TESTS"), test, _raw("# END TESTS")),
        _raw("# END QUESTION"),
    ]


def _with_solution(source, name, solution):
    """A starter with its solution between what stands there and the check."""
    above, check_itself, answer = source.rpartition(f"check.{name}(")
    return f"{above.rstrip()}\n\n{solution}\n\n{check_itself}{answer}"


def _raw(source):
    return new_raw_cell(source)


def nbgrader(path):
    """The chapter as `nbgrader generate_assignment` wants it: cells to answer in, a locked one below each."""
    notebook, worth = student(path), points(path)
    notebook.cells, cells = [], starters(notebook)
    for cell, is_starter in cells:
        notebook.cells += _nbgrader_question(cell, worth) if is_starter else [cell]
    return _numbered(notebook)


def _nbgrader_question(starter, worth):
    name, call, solution = asked(starter)
    starter.source = _with_solution(starter.source, name, f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION")
    starter.metadata.nbgrader = _about(name, grade=False, solution=True, locked=False)
    test = new_code_cell(NBGRADER_TEST.format(call=call))
    test.metadata.nbgrader = {
        **_about(f"{name}-judged", grade=True, solution=False, locked=True),
        "points": worth[name],
    }
    return [starter, test]


def _about(grade_id, **what):
    return {"grade_id": grade_id, "schema_version": 3, "task": False, **what}


def _numbered(notebook):
    """The same with an id for every cell, the same each time."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook
