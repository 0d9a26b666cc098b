"""Equation ⇔ function ⇔ test, in both directions, read from the sources."""

import re

import pytest
from links import ROOT, chapters, snake

CHAPTERS = chapters()


def by_word(function):
    return pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.word)(function)


def test_chapters_are_numbered_and_stand_in_the_table_of_contents_in_this_order():
    numbers = [int(c.notebook[:2]) for c in CHAPTERS]
    assert numbers == sorted(set(numbers))
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert re.findall(r"notebooks/(\w+)", contents) == [c.notebook for c in CHAPTERS]


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
