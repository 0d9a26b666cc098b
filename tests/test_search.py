"""What the search looks through: words and not TeX. In `tests/test_browser.py` somebody searches."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from links import ROOT, chapters
from plain_tex import plain
from search_index import FILE, OTHER_NAMES, SYNONYMS, Line, give_other_names, give_terms, leave_what_tells

SITE = Path(__file__).parents[1] / "_build/html"


@pytest.fixture(scope="module")
def book():
    """As served: pages [path, title]; lines [page, anchor, name, words, names in code, other names]."""
    assert (SITE / FILE).is_file(), "build the book first: make book"
    data = (SITE / FILE).read_text(encoding="utf-8").partition("const BOOK = ")[2]
    return json.loads(data.rstrip(";\n"))


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"\frac{QK^{\mathsf T}}{\sqrt{d_k}}", "QKᵀ/√d_k"),
        (r"\mathrm{softmax}\!\left(\frac{(X W_Q)}{2}\right) V", "softmax((X W_Q)/2) V"),
        (r"\tfrac 12 \varepsilon^{-2}", "1/2 ε^(-2)"),
        (r"A &= e^{S - c} \\[0.3em] Z &\in \mathbb R", "A = e^(S - c) Z ∈ R"),
        (r"\lambda \le \Theta(\ln n)", "λ ≤ Θ(ln n)"),
        (r"\begin{bmatrix} K_\text{past} \\ K \end{bmatrix}", "K_past K"),
    ],
)
def test_formulas_read_as_text(tex, text):
    assert plain(tex) == text


def test_no_line_has_tex_in_it(book):
    prose = [line for line in book["lines"] if not book["pages"][line[0]][0].startswith("book/api/")]
    assert len(prose) > 500
    assert [line for line in prose if re.search(r"\\[A-Za-z]{2,}|\\[(\[]|\$", line[2] + line[3])] == []


def test_every_anchor_of_a_line_is_on_its_page(book):
    missing = []
    for number, (path, _) in enumerate(book["pages"]):
        page = (SITE / f"{path}.html").read_text(encoding="utf-8")
        anchors = {line[1] for line in book["lines"] if line[0] == number} - {""}
        missing += [(path, anchor) for anchor in anchors if f'id="{anchor}"' not in page]
    assert missing == []


def test_solutions_are_not_in_the_index(book):
    """A reader who looks for an exercise is not told its answer: here, the first of chapter 05."""
    (exercise,) = [line for line in book["lines"] if line[1] == "exercise-softmax-two-key-weight"]
    assert "usual name" in exercise[3]
    assert "logistic sigmoid" not in exercise[3]


def test_equations_claims_and_exercises_have_lines(book):
    anchors = {line[1] for line in book["lines"]}
    for chapter in chapters():
        assert {f"equation-eq-{label}" for label in chapter.equations} <= anchors
        assert {f"claim-{label}" for label in chapter.claims} <= anchors


def test_each_other_name_stands_once():
    names = [
        name.lower()
        for names in tomllib.loads(OTHER_NAMES.read_text(encoding="utf-8")).values()
        for name in names
    ]
    assert len(names) > 200
    assert sorted(names) == sorted(set(names))


def test_words_that_are_alike_stand_in_rows_of_their_own():
    """Single words, each at most twice: `divide` is a scale's and a splitter's."""
    rows = tomllib.loads(SYNONYMS.read_text(encoding="utf-8"))["alike"]
    words = [word for row in rows for word in row]
    assert all(len(row) >= 2 and len(set(row)) == len(row) for row in rows)
    assert all(re.fullmatch(r"[a-z-]+", word) for word in words)
    assert {word for word in words if words.count(word) > 1} == {"divide"}


def test_every_question_is_found_by_more_than_its_title():
    """Each box that asks has other names: what people type is shorter than what they ask."""
    named = tomllib.loads(OTHER_NAMES.read_text(encoding="utf-8"))
    asked = [
        name
        for chapter in chapters()
        for name in re.findall(
            r":name: (asked-[\w-]+)",
            (ROOT / f"notebooks/{chapter.notebook}.ipynb").read_text(encoding="utf-8"),
        )
    ]
    assert len(asked) > 20
    assert sorted(asked) == sorted(name for name in named if name.startswith("asked-"))


def test_another_name_for_nothing_is_a_warning_which_stops_the_build(caplog):
    lines = [Line("notebooks/05_softmax", "", "Turn scores into weights")]
    give_other_names(lines, '05_softmax = ["softmax"]')
    assert lines[0].also == ["softmax"]
    assert not caplog.records
    give_other_names(lines, 'sofmax = ["softmax"]')
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "nothing in the book is called 'sofmax'" in record.getMessage()


def test_a_term_is_a_name_of_the_chapter_that_teaches_it():
    chapter = Line("notebooks/14_kernels", "", "Write the loop for a GPU")
    term = Line("book/glossary", "term-Kernel", "Kernel · 核函数, 内核", also=["GPU program"])
    give_terms([chapter, term], "Kernel · 核函数, 内核\n  A program. {doc}`../notebooks/14_kernels`\n")
    assert chapter.also == ["Kernel", "核函数", "内核", "GPU program"]


def test_a_name_that_many_cells_have_finds_none_of_them():
    lines = [Line("page", f"at-{i}", "", code={"print", f"name_{i}"}) for i in range(200)]
    lines[7].code.add("softmax")
    leave_what_tells(lines)
    assert lines[7].code == {"name_7", "softmax"}
    assert lines[8].code == {"name_8"}
