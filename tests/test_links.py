"""Equation ⇔ function ⇔ test, in both directions, read from the sources."""

import json
import re

import pytest
from door import FORMULA, STOPS
from links import ROOT, chapters, snake
from plain_tex import plain

CHAPTERS = chapters()


def by_word(function):
    return pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.word)(function)


def test_chapters_are_numbered_and_stand_in_the_table_of_contents_in_this_order():
    numbers = [int(c.notebook[:2]) for c in CHAPTERS]
    assert numbers == sorted(set(numbers))
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert re.findall(r"notebooks/(\d\d_\w+)", contents) == [c.notebook for c in CHAPTERS]


@by_word
def test_every_equation_is_a_function(chapter):
    """Label `eq-log-sum-exp` ⇒ function `log_sum_exp`, whose docstring opens "Eq. log-sum-exp: "."""
    assert chapter.equations
    for label in chapter.equations:
        assert chapter.functions.get(snake(label)) == label


@by_word
def test_every_function_is_an_equation(chapter):
    assert sorted(chapter.functions) == sorted(map(snake, chapter.equations))


@by_word
def test_every_function_has_tests(chapter):
    assert [label for label in chapter.equations if not chapter.tests_of(label)] == []


@by_word
def test_every_claim_has_its_test(chapter):
    """Label `claim-softmax-shift` ⇒ `test_softmax_shift`, whose docstring opens "Claim: "."""
    assert chapter.claims
    for claim in chapter.claims:
        assert f"test_{snake(claim)}" in chapter.tests
        assert '"""Claim: ' in chapter.tests[f"test_{snake(claim)}"]


@by_word
def test_every_claim_test_is_a_claim(chapter):
    stated = [name for name, source in chapter.tests.items() if '"""Claim: ' in source]
    assert sorted(stated) == sorted(f"test_{snake(claim)}" for claim in chapter.claims)


@by_word
def test_every_test_is_about_an_equation_or_a_claim(chapter):
    about = {name for label in [*chapter.equations, *chapter.claims] for name in chapter.tests_of(label)}
    assert sorted(about) == sorted(chapter.tests)


def test_labels_are_unique_in_the_book():
    labels = [label for c in CHAPTERS for label in [*c.equations, *c.claims]]
    assert len(labels) == len(set(labels))


def test_the_glossary_is_in_the_order_of_the_alphabet():
    glossary = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(\S[^·\n]*) · ", glossary, re.MULTILINE)
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.lower)


# A formula that stands in two places ----------------------------------------------------------------------

CARD = re.compile(r":link: \.\./notebooks/(\w+)\n:link-type: doc\n:class-card: front-piece\n\n\$(.+)\$\n")
DISPLAYED = re.compile(r"\$\$\n(.*?)\n\$\$", re.DOTALL)


def letters(tex):
    """A formula as its letters and signs, whatever sets it: without spaces, brackets and separators."""
    return re.sub(r"[\s()\[\].,;…]", "", plain(tex))


def prose(notebook):
    cells = json.loads((ROOT / f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def page(name):
    return (ROOT / "book" / name).read_text(encoding="utf-8")


CARDS = CARD.findall(page("index.md"))  # the chapters before them stand in the picture of the path
RIGHT = [(notebook, tex) for notebook, tex in CARDS if not notebook.endswith("_mutants")]


@pytest.mark.parametrize(("notebook", "tex"), RIGHT, ids=lambda text: text[:12])
def test_a_formula_on_the_front_page_is_that_of_its_chapter(notebook, tex):
    """But for the last: there it is wrong on purpose."""
    assert letters(tex.replace(r", \ldots", "").replace(", learned", "")) in letters(prose(notebook))


def test_every_chapter_has_its_part_of_a_formula_on_the_front_page():
    parts = [*STOPS, *dict(CARDS), "09_trained"]  # whose formula is one letter, and a word beside it
    assert sorted(parts) == [chapter.notebook for chapter in CHAPTERS]


def equations(tex):
    """The lines of a displayed formula, in no order: which comes first is a matter of taste."""
    return {letters(line) for line in re.split(r"\\\\(?:\[.*?\])?", tex)}


@pytest.mark.parametrize(
    ("ours", "label"),
    [(FORMULA, "attention"), (*DISPLAYED.findall(page("whole_formula.md")), "self-attention")],
    ids=["front page", "page to touch"],
)
def test_a_whole_formula_is_that_of_its_chapter(ours, label):
    notebook = "01_formula"
    (theirs,) = re.findall(rf"\$\$\n((?:(?!\$\$).)*?)\n\$\$ \(eq-{label}\)", prose(notebook), re.DOTALL)
    assert equations(ours) == equations(theirs)


def test_a_turned_index_is_another_formula():
    """The front page once had one."""
    assert letters(r"q_i R_{j-i} k_j^{\mathsf T}") not in letters(prose("11_positions"))
