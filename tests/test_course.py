"""The students' notebooks: no solution, no directive, no path; the instructors' have what was left out."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import assignments
import nbformat
import pytest
import students
from execute import chapters, entries
from launch import handed_out, loaded
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat.v4 import new_code_cell, new_markdown_cell

from selfattention import check
from selfattention.grading import judge, report

PATHS = chapters()
PAGES = [*entries(), *PATHS]
by_chapter = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
by_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
LEFT = re.compile(r":{3,}|\{[\w:-]+\}`|^:\w+: |^\([\w-]+\)=$|\$\$ \(eq-", re.MULTILINE)


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# Markdown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("book", "plain"),
    [
        ("$$\na\n$$ (eq-softmax)", "$$\na\n\\tag{softmax} $$"),
        ("(two-lids)=\n## Two lids", "## Two lids"),
        (
            ":::{admonition} Pitfall: the axis\n:class: warning\n\n`axis=0`.\n:::\nNext.",
            "**Pitfall: the axis**\n\n`axis=0`.\n\nNext.",
        ),
        (
            ":::{prf:property} Rows sum\n:label: claim-x\n\nTo one.\n:::",
            "**Property: Rows sum.**\n\nTo one.",
        ),
        (
            "::::{exercise} ★ · 5 minutes\n:label: exercise-x\n\nDo.\n\n"
            ":::{hint}\n:class: dropdown\n\nThus.\n:::\n::::",
            "### Exercise ★ · 5 minutes\n\nDo.\n\n<details>\n<summary>Hint</summary>\n\nThus.\n\n</details>",
        ),
        (
            ":::{admonition} Asked: why $V$?\n:name: asked-v\n\nTo carry.\n:::",
            "**Asked: why $V$?**\n\nTo carry.",
        ),
        (
            ":::{thought} scores\n:::\n\nText.",
            "*The book has a drawing of this step on three words.*\n\nText.",
        ),
        (":::{margin}\nAn aside.\n:::\nText.", "*Aside:*\nAn aside.\n\nText."),
        (":::{solution-start} exercise-x\n:class: dropdown\n:::\n\nSo.", "**Solution**\n\nSo."),
        ("`x[:, :3]` and `::`, a : b", "`x[:, :3]` and `::`, a : b"),
        ("{doc}`ten minutes <entry_en>`, {eq}`its rows <eq-softmax>`", "ten minutes, its rows"),
        ("{doc}`05_softmax` on {eq}`eq-softmax`", "“Turn scores into weights” on (softmax)"),
        ("{prf:ref}`claim-softmax-shift`", "“Only differences count”"),
        ("{numref}`fig-softmax-axis`, {ref}`two-lids`", "Figure softmax-axis, “Two lids for later”"),
        (
            "{cite:t}`vaswani2017`; so {cite:p}`martins2016,su2021`",
            "[Vaswani et al. (2017)](https://arxiv.org/abs/1706.03762); so ([Martins and Astudillo 2016]"
            "(https://arxiv.org/abs/1602.02068); [Su et al. 2021](https://arxiv.org/abs/2104.09864))",
        ),
    ],
    ids=lambda text: text[:24],
)
def test_directives_and_roles_become_markdown(book, plain, monkeypatch):
    monkeypatch.setattr(students, "BOOK_URL", "")
    assert students.markdown(book) == plain


@pytest.mark.parametrize(
    "lost",
    [
        "{doc}`99_nothing`",
        "{doc}`words <99_nothing>`",
        "{eq}`eq-nothing`",
        "{cite:p}`nobody1999`",
        "{strange}`x`",
    ],
)
def test_a_reference_that_leads_nowhere_is_an_error(lost):
    with pytest.raises((KeyError, OSError)):
        students.markdown(lost)


def test_with_an_address_references_are_links(monkeypatch):
    monkeypatch.setattr(students, "BOOK_URL", "https://host/book/")
    page = "https://host/book/notebooks/05_softmax.html"
    assert students.markdown("{doc}`05_softmax`") == f"[“Turn scores into weights”]({page})"
    assert students.markdown("{eq}`eq-softmax`") == f"[(softmax)]({page}#equation-eq-softmax)"
    assert students.markdown("{doc}`so <05_softmax>`") == f"[so]({page})"
    assert students.markdown("{prf:ref}`claim-softmax-shift`").endswith(f"({page}#claim-softmax-shift)")


# Solutions ----------------------------------------------------------------------------------------------


def kept(*sources):
    """What is kept of cells; code cells are those that begin with `run`."""
    cells = [new_code_cell(s) if s.startswith("run") else new_markdown_cell(s) for s in sources]
    return [cell.source for cell in students.without_solutions(cells)]


def test_a_solution_is_cut_out_within_cells_and_across_them():
    start, end = ":::{solution-start} exercise-x\n:class: dropdown\n:::\n\nBecause.", ":::{solution-end}\n:::"
    assert kept("before", start, "run 1", "more", end, "run 2") == ["before", "run 2"]
    assert kept(f"before\n\n{start}\n\n{end}\n\nafter") == ["before\n\n\nafter"]
    assert kept(start, "run 1", f"{end}\n\nafter\n\n:::{{margin}}\naside\n:::") == [
        "\n\nafter\n\n:::{margin}\naside\n:::"[1:]
    ]
    with pytest.raises(AssertionError, match="without its end"):
        kept(start, "run 1")


@by_chapter
def test_a_student_gets_everything_but_the_solutions(path):
    book, student = nbformat.read(path, as_version=4), students.student(path)
    wanted = [c.source for c in code(book) if "solution" not in c.metadata.get("tags", [])]
    assert [cell.source for cell in code(student)][1:] == wanted
    assert len(wanted) < len(code(book))
    text = prose(student)
    for solution in re.findall(r"\{solution-start\} \S+\n:class: dropdown\n:::\n+(.{30})", prose(book)):
        assert students.markdown(solution) not in text
    assert text.count("### Exercise ★") == text.count("<summary>Hint</summary>") == len(students.points(path))
    assert not re.search(r"\.solution\b", "\n".join(cell.source for cell in student.cells))
    assert [cell.outputs for cell in code(student)] == [[]] * len(code(student))


@by_chapter
def test_an_instructor_gets_everything(path):
    book, instructor = nbformat.read(path, as_version=4), students.instructor(path)
    assert [cell.source for cell in code(instructor)][1:] == [cell.source for cell in code(book)]
    assert [cell.outputs for cell in code(instructor)][1:] == [cell.outputs for cell in code(book)]
    assert prose(instructor).count("**Solution**") == len(students.points(path))


@by_page
def test_nothing_of_the_book_s_markup_is_left(path):
    for notebook in (students.student(path), students.instructor(path)):
        assert not LEFT.search(prose(notebook))
        assert not [cell.id for cell in notebook.cells if "mystnb" in cell.metadata]
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                assert cell.source.count("$$") % 2 == 0, cell.id
                assert cell.source.count("<details>") == cell.source.count("</details>"), cell.id


PLAIN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, allow_labels=False)
UNREAD = re.compile(r"\$|:::|\*\*|\{[a-z:]+\}|\\[a-zA-Z]+|\|[ :]*---|^\([\w-]+\)=", re.MULTILINE)


def unread(source):
    """What of a cell's markup stands on the page where a program reads Markdown, tables and $ … $ alone."""
    html = re.sub(r'<(code|(div|span) class="math).*?</', "", PLAIN.render(source), flags=re.DOTALL)
    return UNREAD.findall(re.sub(r"<[^>]*>", "", html))


@by_page
def test_markdown_and_dollars_are_all_that_a_program_must_read(path):
    for notebook in (students.student(path), students.instructor(path)):
        seen = {c.id: unread(c.source) for c in notebook.cells if c.cell_type == "markdown"}
        assert not {cell: left for cell, left in seen.items() if left}


@pytest.mark.parametrize(
    "source",
    [
        "a $b",
        "$$\na\n$$ (eq-a)",
        ":::{note}\na\n:::",
        "{doc}`a`",
        "a **b",
        "(a)=\n# B",
        "| a |\n\n| --- |",
        r"\alpha",
    ],
)
def test_markup_that_is_not_read_is_seen(source):
    assert unread(source)


@by_chapter
def test_no_cell_knows_where_the_repository_is(path):
    for cell in code(students.student(path)):
        strings = [n.value for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Constant)]
        paths = [s for s in strings if isinstance(s, str) and re.search(r"\.\./|benchmarks/|src/|tests/", s)]
        assert not paths, cell.id


@by_page
def test_colab_gets_the_student_s_notebook_and_a_cell_that_installs_the_package(path):
    """In the place of the sentence on how to install; with all that the page imports."""
    plain, colab = students.student(path), handed_out(path, "https://host/course", "abc123")
    nbformat.validate(colab)
    title, note, install, *rest = colab.cells
    assert install.source.splitlines()[-1].startswith(
        '%pip install --quiet "selfattention @ git+https://host/course@abc123"'
    )
    assert [title, *rest] == [plain.cells[0], *plain.cells[2:]]
    assert "pip install" not in note.source
    assert note.source.count("*") == 2
    assert handed_out(path, "", "abc123") == plain
    imported = {word for cell in code(plain) for word in imports(cell.source)}
    assert not imported & {"torch", "numba", "matplotlib", "scipy", "triton"} - {*loaded(path.stem)}
    assert ("scikit-learn" in loaded(path.stem)) >= ("sklearn" in imported)


def imports(source):
    """The libraries that a cell names in its imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@by_chapter
def test_the_first_cell_that_runs_limits_the_threads(path):
    first, *_ = code(students.student(path))
    assert first.source == students.SETUP
    names = {}
    exec(first.source.replace("os.environ.setdefault", "kept.__setitem__"), {"kept": names})
    assert names == dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")


def test_every_exercise_has_its_stars_for_points():
    worth = {name: stars for path in PATHS for name, stars in students.points(path).items()}
    assert sorted(worth) == dir(check)
    assert set(worth.values()) == {1, 2, 3}


# Assignments for others' graders --------------------------------------------------------------------------


def sources(notebook, cell_type):
    return [cell.source for cell in notebook.cells if cell.cell_type == cell_type]


@by_chapter
def test_otter_finds_a_question_with_an_answer_and_a_test_for_each_exercise(path):
    """Solutions stand in their blocks: of a single line Otter gives some away, an indexed one, say."""
    notebook, worth = assignments.otter(path), students.points(path)
    raw = sources(notebook, "raw")
    asked = [re.fullmatch(r"# BEGIN QUESTION\nname: (\w+)\npoints: (\d)", text) for text in raw]
    assert {m[1]: int(m[2]) for m in asked if m} == worth
    for block in ("QUESTION", "SOLUTION", "TESTS"):
        begun, ended = (
            sum(text.startswith(f"# {word} {block}") for text in raw) for word in ("BEGIN", "END")
        )
        assert begun == ended == len(worth), block
    for source in sources(notebook, "code"):
        outside = re.sub(r"# BEGIN SOLUTION NO PROMPT\n.*?\n# END SOLUTION", "", source, flags=re.DOTALL)
        assert ".solution" not in outside
        assert "SOLUTION" not in outside
        ast.parse(source)
    tests = [cell for cell in code(notebook) if cell.source.startswith("bool(check.")]
    assert [cell.outputs[0].data for cell in tests] == [{"text/plain": "True"}] * len(worth)


@by_chapter
def test_nbgrader_finds_a_cell_to_answer_in_and_a_locked_one_for_each_exercise(path):
    """The locked one shows no number, which nbgrader would take for the score."""
    notebook, worth = assignments.nbgrader(path), students.points(path)
    about = [(cell, cell.metadata.nbgrader) for cell in code(notebook) if "nbgrader" in cell.metadata]
    judged = [(cell, what) for cell, what in about if what.grade]
    assert {what.grade_id.removesuffix("-judged"): what.points for _, what in judged} == worth
    assert [what.grade_id for _, what in about if what.solution] == [*worth]
    for cell, what in judged:
        assert what.locked
        assert isinstance(ast.parse(cell.source).body[-1], ast.Assert)
    for cell, what in about:
        shown = re.sub(r"### BEGIN SOLUTION\n.*?\n### END SOLUTION", "", cell.source, flags=re.DOTALL)
        assert ".solution" not in shown
        assert (shown != cell.source) == what.solution


@by_chapter
def test_the_assignments_own_answers_are_right(path, capsys):
    """As nbgrader judges them: nothing is printed, though exp overflows."""
    for cell, starter in assignments.starters(students.student(path)):
        if starter:
            _, call, solution = assignments.asked(cell)
            names = {"check": check}
            exec(solution, names)
            exec(assignments.NBGRADER_TEST.format(call=call), names)
    assert capsys.readouterr() == ("", "")


def test_a_students_notebook_is_graded_by_its_stars(tmp_path):
    """The released notebook, two answers put in: one right, worth a star, one wrong."""
    (path,) = (path for path in PATHS if path.stem == "03_scores")
    notebook, worth = students.student(path), students.points(path)
    for cell in code(notebook):
        cell.source = cell.source.replace("favourites = ...", "favourites = [0, 0, 0, 0, 0]")
        cell.source = cell.source.replace("temperature = ...", "temperature = 1.0")
    nbformat.write(notebook, tmp_path / "student.ipynb")
    exercises = {name: getattr(check, name) for name in worth}
    graded = judge.grade(tmp_path / "student.ipynb", exercises)
    rows = report.rows(graded, exercises, worth)
    assert graded.notes == []
    assert [row["points"] for row in rows] == [1, 0, 0, 0]
    assert [row["verdict"] for row in rows][2:] == ["not attempted", "not attempted"]


# What was seen when they all ran -------------------------------------------------------------------------


@cache
def seen():
    log = Path(__file__).with_name("classroom") / "students.json"
    return json.loads(log.read_text("utf-8"))


@by_page
def test_every_student_s_notebook_has_run_from_the_wheel(path):
    """In an empty folder, which it left empty; as many cells as it has today; no starter is an answer yet."""
    ran = seen()["pages"][path.stem]
    assert ran["cells"] == len(students.student(path).cells)
    assert len(ran["checks"]) == len(students.points(path))
    assert ran["files_left"] == []
    assert not [said for said in ran["checks"] if said.startswith("✓")]


@by_page
def test_every_instructor_s_notebook_has_run_from_the_wheel(path):
    """It showed what the book shows, and its solutions were right."""
    ran = seen()["instructors"][path.stem]
    assert ran["cells"] == len(students.instructor(path).cells)
    assert (ran["different"], ran["files_left"]) == ([], [])
    assert ran["right"] >= len(students.points(path))


def test_no_student_waits_half_a_minute_for_the_reactions():
    """Chapter 09, which took minutes without a limit to its threads. The instructor's computes the same, and
    the solutions as well: of the two that is taken which fewer others disturbed."""
    took = [seen()[kind]["09_trained"]["processor seconds"] for kind in ("pages", "instructors")]
    assert min(took) <= 30


@cache
def graded_elsewhere():
    return json.loads(Path(__file__).with_name("classroom").joinpath("graders.json").read_text("utf-8"))


@pytest.mark.parametrize("grader", ["otter", "nbgrader"])
@pytest.mark.parametrize("path", [path for path in PATHS if path.stem < "09"], ids=lambda path: path.stem)
def test_other_graders_give_points_to_who_is_right(grader, path):
    """All for right answers, which a student has written out; none for a mistake, or for a starter."""
    scores, worth = graded_elsewhere()[grader][path.stem], students.points(path)
    assert graded_elsewhere()["points"][path.stem] == worth
    assert scores["given away"] == []
    assert scores["right"] == worth
    assert scores["wrong"] == scores["empty"] == dict.fromkeys(worth, 0)


@pytest.mark.parametrize("grader", ["otter", "nbgrader"])
def test_other_graders_forgive_a_warning_and_no_error(grader):
    log = graded_elsewhere()
    scores, worth = log[grader]["03_scores"], log["points"]["03_scores"]
    assert scores["right, with warnings"] == worth
    assert scores["stopped"] == dict.fromkeys(worth, 0)


def test_the_graders_seen_are_those_that_are_pinned():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    for name, pin in re.findall(r'"(otter-grader|nbgrader)==([\d.]+)"', project):
        assert graded_elsewhere()["versions"][name] == pin
