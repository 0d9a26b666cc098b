"""One picture per thought: its numbers are the package's, its colours the page's, all of it is in sight."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn import PARTS, matrix, number
from execute import chapters as notebooks
from links import chapters
from students import student
from thoughts import THOUGHTS, draw, sentence

from selfattention import formulas

SVG = "{http://www.w3.org/2000/svg}"
WORDS = [chapter.word for chapter in chapters()[:8]]
by_word = pytest.mark.parametrize("word", WORDS)


def texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter("text")]


def test_every_chapter_of_the_first_part_has_one():
    assert list(THOUGHTS) == WORDS


@by_word
def test_a_drawing_lights_a_part_of_the_formula_and_says_the_answer(word):
    svg, says = draw(word)
    root = ElementTree.fromstring(svg)
    lit = {part.get("data-part") for part in root.iter("g") if "lit" in part.get("class", "").split()}
    pale = {part.get("data-part") for part in root.iter("g") if "pale" in part.get("class", "").split()}
    assert lit == set(THOUGHTS[word]()[0])
    assert lit | pale == set(PARTS)
    assert says in root.get("aria-label")
    assert re.search(r"\d", says)


@by_word
def test_a_drawing_has_no_colour_of_its_own(word):
    """So it is right by day, by night and on paper."""
    svg, _ = draw(word)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|fill=|stroke=", svg) == []


@by_word
def test_all_of_a_drawing_is_in_sight(word):
    """No letter begins or ends beyond the edge; 7 units for each are more than they need."""
    svg, _ = draw(word)
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    for text in root.iter("text"):
        x, y, long = float(text.get("x")), float(text.get("y")), 7 * len(text.text)
        left = x - long * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
        assert left >= -4, text.text
        assert left + long <= width + 4, text.text
        assert 0 < y <= height, text.text


def test_cats_has_the_same_numbers_in_all_of_them():
    given = sentence()
    A = formulas.softmax(formulas.scaled_scores(given["X"] @ given["W_Q"], given["X"] @ given["W_K"]))
    shares = [f"{100 * a:.0f} %" for a in A[1]]
    assert shares == ["57 %", "14 %", "29 %"]  # the pencil's four, one and two sevenths
    for word in "formula", "scaling", "softmax", "context":
        assert set(shares) <= set(texts(draw(word)[0])), word
    Y = formulas.self_attention(*(given[name] for name in ("X", "W_Q", "W_K", "W_V", "W_O")))
    assert f"hunger {Y[1, 4]:.0f} and sound {Y[1, 5]:.0f}" in draw("formula")[1]
    heads = [formulas.softmax(q @ k.T / 2**0.5)[1, 0] for q, k in zip(
        np.hsplit(given["Q"], 2), np.hsplit(given["K"], 2), strict=True)]  # fmt: skip
    assert f"{100 * heads[0]:.0f} % of its weight, the second {100 * heads[1]:.0f} %" in draw("heads")[1]


def test_a_cell_is_as_dark_as_its_number_is_large():
    svg = matrix(np.array([[1.0, -0.5], [0.0, 4.0]]), "S", 0, 0, decimals=1)
    assert re.findall(r"--share:([\d.]+)", svg) == ["0.250", "0.125", "0.000", "1.000"]
    assert svg.count('class="cell negative"') == 1
    assert texts(svg) == ["1", "−0.5", "0", "4"]


@pytest.mark.parametrize(
    ("x", "decimals", "text"), [(-0.5, 1, "−0.5"), (-0.01, 1, "0"), (1.386, 2, "1.39"), (10.0, 0, "10")]
)
def test_numbers_are_written_as_the_widgets_write_them(x, decimals, text):
    assert number(x, decimals) == text


@pytest.mark.parametrize("path", notebooks()[:8], ids=lambda path: path.stem)
def test_a_student_s_notebook_says_so_in_words(path):
    opening = student(path).cells[0].source
    assert "drawing of this step" in opening
    assert ":::" not in opening
