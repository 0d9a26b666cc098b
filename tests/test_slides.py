"""Slides are made from the chapters: what a class sees, what the speaker says, and nothing cut off."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import slides
from test_browser import _browser

from selfattention.figures import ROLES

HERE = Path(__file__).parent
by_lecture = pytest.mark.parametrize("path", slides.lectures(), ids=lambda path: path.stem)


def read(*sources):
    """The slides of a chapter that has these cells."""
    told = slides.Lecture()
    for source in sources:
        told.read(source)
    told.close_section()
    return [(slide.kind, slide.shown, " ".join(filter(None, slide.notes))) for slide in told.slides[1:]]


TITLE = "# A chapter\n\n*25 minutes. Needs nothing.*\n\nWhat it is about."


# The rule -------------------------------------------------------------------------------------------------


def test_a_formula_is_shown_in_its_sentence():
    formula = "$$\na = b\n$$ (eq-x)"
    cell = f"## A section\n\nSaid first. For a row $S$ it is\n\n{formula}\n\nwhich is shown. This is said."
    assert read(TITLE, cell) == [
        ("formula", "For a row $S$ it is\n\n$$\na = b\n$$\n\nwhich is shown.", "This is said.")
    ]


def test_a_formula_after_a_full_stop_stands_alone():
    assert read(TITLE, "## S\n\nA whole sentence.\n\n$$\na\n$$\n\nAnother.") == [
        ("formula", "$$\na\n$$", "Another.")
    ]


def test_boxes_are_slides_and_answers_are_notes():
    claim = ":::{prf:property} Rows sum\n:label: claim-x\n\nTo one.\n:::"
    asked = ":::{admonition} Asked: why $V$?\n:name: asked-v\n\nTo carry.\n\nAnd more.\n:::"
    pitfall = ":::{admonition} Pitfall: the axis\n:class: warning\n\nIt is short.\n\nIt is long.\n:::"
    hint = ":::{hint}\n:class: dropdown\n\nThus.\n:::"
    exercise = f"::::{{exercise}} ★ · 5 minutes\n:label: exercise-x\n\nDo.\n\n{hint}\n::::"
    shown = read(TITLE, "## S", claim, asked, pitfall, exercise, ":::{margin}\nAside.\n:::")
    assert shown == [
        ("claim", "**Rows sum.**\n\nTo one.", ""),
        ("question", "Why $V$?", "To carry. And more."),
        ("pitfall", "**Pitfall: the axis**\n\nIt is short.", "It is long."),
        ("exercise", "**★ · 5 minutes**\n\nDo.", "Thus. Aside."),
    ]


def test_a_section_without_anything_to_see_has_its_first_sentence():
    assert read(TITLE, "## S\n\nOne sentence. Another.\n\nMore.", "## T\n\n| a |\n|---|\n| 1 |") == [
        ("words", "One sentence.", "Another. More."),
        ("table", "| a |\n|---|\n| 1 |", ""),
    ]


def test_a_drawing_stands_under_the_title_in_the_colours_of_the_book(monkeypatch):
    drawn = SimpleNamespace(draw=lambda word: (f"<svg>{word}_a_*b*</svg>", "What it shows."))
    monkeypatch.setitem(sys.modules, "thoughts", drawn)
    told = slides.Lecture()
    told.read("# A chapter\n\n:::{thought} softmax\n:::")
    told.close_section()
    assert [(s.kind, slides.html(s.shown), s.notes) for s in told.slides] == [
        ("title", "<svg>softmax_a_*b*</svg>", ["What it shows."])
    ]
    assert f"--role-q: {ROLES['Q'].lower()}" in slides.style_of_drawings()


def test_letters_of_a_heading_are_set():
    assert slides.set_letters("Divide by √d_k, add W_O") == r"Divide by $\sqrt{d_{k}}$, add $W_{O}$"


# The chapters ---------------------------------------------------------------------------------------------


@by_lecture
def test_every_formula_claim_picture_and_exercise_is_there_once(path):
    told = slides.lecture(path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = [line for c in cells if c["cell_type"] == "markdown" for line in "".join(c["source"]).split("\n")]
    prose = prose[: prose.index("## Next")]
    figures = sum("figure" in c["metadata"].get("mystnb", {}) for c in cells)
    count = {kind: sum(slide.kind == kind for slide in told) for kind in {slide.kind for slide in told}}
    assert count["title"] == 1
    assert count["claim"] == sum("{prf:property}" in line for line in prose)
    assert count["exercise"] == sum("{exercise}" in line for line in prose)
    assert count.get("question", 0) == sum("Asked: " in line for line in prose)
    assert figures - 1 <= count["picture"] <= figures  # one may be a solution's
    labelled = re.findall(r"^\$\$ \(eq-", "\n".join(prose), re.MULTILINE)
    assert count["formula"] >= len(labelled)
    assert not [slide for slide in told if "solution" in slide.shown]


@by_lecture
def test_a_page_has_no_markup_left_and_links_nothing_elsewhere(path):
    page = slides.page(path, slides.lecture(path))
    seen = re.sub(r"<pre>.*?</pre>|<code>.*?</code>|\\\(.*?\\\)|\\\[.*?\\\]", "", page, flags=re.DOTALL)
    assert not re.search(r":{3,}|\{[\w:-]+\}`|\$\$", seen)
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//', page) == []


# In a browser -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    browser = _browser()
    if not slides.REVEAL.is_dir():
        pytest.skip("the slides need reveal.js: npm ci --prefix tests/browser")
    root = tmp_path_factory.mktemp("slides")
    slides.write(root)
    pages = [f"{path.stem}.html" for path in slides.lectures()]
    asked = json.dumps({"browser": browser, "root": str(root), "pages": pages})
    done = subprocess.run(
        ["node", HERE / "browser/slides.mjs"], input=asked, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@by_lecture
def test_a_room_sees_all_of_every_slide(path, seen):
    """At 1280 × 720 nothing sticks out, no letter is too small, no TeX is left, no picture is missing."""
    told = seen[f"{path.stem}.html"]["slides"]
    assert len(told) == len(slides.lecture(path))
    wrong = [s for s in told if s["out"] or s["tex"] or s["errors"] or not s["loaded"] or s["size"] < 14]
    assert wrong == []


@by_lecture
def test_no_slide_asks_another_host_or_for_a_file_that_is_missing(path, seen):
    assert (seen[f"{path.stem}.html"]["elsewhere"], seen[f"{path.stem}.html"]["wrong"]) == ([], [])
