"""Every notebook is a clean run: in order, quiet, small cells, described pictures, no copies."""

import ast
import re
from statistics import median

import nbformat
import pytest
from execute import chapters, entries

from selfattention import formulas

PATHS = [*entries(), *chapters()]
by_chapter = pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
ASKED = re.compile(r":::\{admonition\} Asked: ([^\n]+)\n:name: (asked-[\w-]+)\n\n(.+?)\n:::", re.DOTALL)
WORDS = re.compile(r"[a-z]+(-[a-z0-9]+)*")
DEFAULT_ID = re.compile(r"[0-9a-f]{8}")


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(cell, tag):
    return tag in cell.metadata.get("tags", [])


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def pictures(cell):
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def test_there_are_notebooks():
    assert PATHS


def test_cells_ran_once_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_nothing_failed_or_complained(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.get("name") != "stderr", cell.id
            assert output.output_type != "error" or tagged(cell, "raises-exception"), cell.id


def test_outputs_do_not_name_a_machine_or_an_address(notebook):
    for cell in code(notebook):
        text = "".join(
            str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs
        )
        assert not re.search(r" at 0x[0-9a-f]{6,}|/home/|/root/|/work/", text), cell.id


def test_cell_ids_are_words(notebook):
    for cell in notebook.cells:
        assert WORDS.fullmatch(cell.id), cell.id
        assert not DEFAULT_ID.fullmatch(cell.id), cell.id


def test_cells_are_short(notebook):
    lengths = {cell.id: len(lines(cell)) for cell in code(notebook)}
    assert {name: n for name, n in lengths.items() if n > 15} == {}
    assert median(lengths.values()) <= 5


def test_code_fits_the_page(notebook):
    wide = [line for cell in code(notebook) for line in lines(cell) if len(line) > 80]
    assert wide == []


def test_every_picture_is_described(notebook):
    for cell in code(notebook):
        if pictures(cell):
            about = cell.metadata["mystnb"]
            assert len(about["image"]["alt"]) > 40, cell.id
            assert len(about["figure"]["caption"]) > 40, cell.id
            assert about["figure"]["name"].startswith("fig-"), cell.id


def test_no_notebook_defines_what_the_package_has(notebook):
    for cell in code(notebook):
        defined = {
            n.name for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.FunctionDef | ast.ClassDef)
        }
        assert not defined & set(formulas.__all__), cell.id


def test_seeds_are_local(notebook):
    assert not [
        cell.id for cell in code(notebook) if re.search(r"np\.random\.(seed|rand|normal)\b", cell.source)
    ]


@by_chapter
def test_the_chapter_has_its_parts(chapter):
    notebook = nbformat.read(chapter, as_version=4)
    title, last = notebook.cells[0].source, notebook.cells[-1].source
    assert title.startswith("# ")
    assert re.search(r"^\*\d+ minutes", title, re.MULTILINE)
    assert last.startswith("## Next")
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "{admonition} Pitfall" in prose
    assert any(pictures(cell) for cell in code(notebook))


@by_chapter
def test_the_minutes_are_enough_to_read_it(chapter):
    """No more than 170 words a minute; exercises have minutes of their own, and formulas come on top."""
    prose = [c.source for c in nbformat.read(chapter, as_version=4).cells if c.cell_type == "markdown"]
    minutes = int(re.search(r"^\*(\d+) minutes", prose[0], re.MULTILINE)[1])
    told = "\n".join(text for text in prose if not re.search(r"\{(exercise|solution)", text))
    read = re.sub(r"\$\$.*?\$\$", "", told, flags=re.DOTALL)
    assert len(read.split()) <= 170 * minutes


@by_chapter
def test_exercises_have_a_hint_a_place_to_work_and_a_folded_solution(chapter):
    notebook = nbformat.read(chapter, as_version=4)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    labels = re.findall(r":label: (exercise-[\w-]+)", "\n".join(prose))
    assert 3 <= len(labels) <= 6
    for label in labels:
        (exercise,) = [p for p in prose if f":label: {label}" in p]
        assert re.search(r"\{exercise\} ★+ · \d+ minutes", exercise), label
        assert "{hint}" in exercise, label
        (solution,) = [p for p in prose if re.search(rf"\{{solution(-start)?\}} {label}\b", p)]
        assert ":class: dropdown" in solution, label
    assert sum(tagged(cell, "exercise") for cell in code(notebook)) == len(labels)


# What readers ask ---------------------------------------------------------------------------------------


def asked(cells):
    """The questions of a notebook: title, name, answer, and the code before and after it."""
    for at, cell in enumerate(cells):
        for title, name, answer in ASKED.findall(cell.source if cell.cell_type == "markdown" else ""):
            beside = [c.source for c in (cells[at - 1], cells[at + 1]) if c.cell_type == "code"]
            yield title, name, answer, beside


QUESTIONS = [
    pytest.param(*question, id=question[1])
    for path in chapters()
    for question in asked(nbformat.read(path, as_version=4).cells)
]


def test_every_box_that_asks_is_found_here():
    text = "\n".join(path.read_text(encoding="utf-8") for path in chapters())
    assert len(QUESTIONS) == text.count("{admonition} Asked:") > 20
    names = [question.id for question in QUESTIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("title", "name", "answer", "beside"), QUESTIONS)
def test_a_question_is_answered_in_a_few_sentences_and_by_a_cell_or_a_claim(title, name, answer, beside):
    assert title.endswith("?")
    assert 2 <= len(re.findall(r"[.?:;](?=\s|$)", answer)) <= 9, "two to six sentences"
    assert len(answer.split()) <= 120
    asserted = [re.search(r"\bassert", source) for source in beside]
    assert any(asserted) or "{prf:ref}" in answer or "{eq}" in answer


# One page in two languages ------------------------------------------------------------------------------


def test_the_entry_runs_the_same_cells_in_both_languages():
    english, chinese = (nbformat.read(path, as_version=4).cells for path in entries())
    assert [cell.id for cell in english] == [cell.id for cell in chinese]
    for ours, theirs in zip(english, chinese, strict=True):
        if ours.cell_type == "code":
            assert (ours.source, ours.outputs) == (theirs.source, theirs.outputs)
        displayed = [re.findall(r"\$\$.*?\$\$", cell.source, re.DOTALL) for cell in (ours, theirs)]
        assert displayed[0] == displayed[1], ours.id


def test_a_line_of_chinese_does_not_end_within_a_paragraph():
    """A browser shows the end of a line as a space, and Chinese has none."""
    _, chinese = (nbformat.read(path, as_version=4).cells for path in entries())
    prose = "\n\n".join(cell.source for cell in chinese if cell.cell_type == "markdown")
    assert len(re.findall("[\u4e00-\u9fff]", prose)) > 1000
    prose = re.sub(r"\$\$.*?\$\$", "", prose, flags=re.DOTALL)
    assert re.findall(r"[^\s|]\n(?![\n|#$>]).*[\u4e00-\u9fff]", prose) == []
