"""Questions, readings and what libraries answered: every committed number is one that our contract gives."""

import ast
import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from selfattention.dialects import QUESTIONS, answering, answers, missing, reading, record, recorded
from selfattention.dialects.answering import question_and_variant, questions_for
from selfattention.dialects.asking import Asked, Call, Door, words
from selfattention.dialects.libraries import NAMES, library
from selfattention.dialects.readings import NONE, REFUSED, SILENT, close

INPUTS = [(question, variant) for question in QUESTIONS.values() for variant in question.inputs]
ADAPTERS = Path(recorded.__file__).parent / "libraries"
HERE = "ours", "torch"  # asked afresh, in the environment of the tests


def named(pair):
    return "/".join((pair[0].name, pair[1]))


def test_there_are_questions_enough_and_each_is_said_in_sentences():
    assert len(QUESTIONS) >= 24
    for question in QUESTIONS.values():
        assert question.asks.endswith("?")
        assert question.why.endswith(".")


@pytest.mark.parametrize("pair", INPUTS, ids=named)
def test_no_two_readings_coincide(pair):
    """Otherwise the input does not separate them, and an answer would be recognised as whichever is first."""
    question, variant = pair
    dtype = question.variant(variant).Q.dtype.name
    numbers = {name: question.expected(name, variant) for name in question.looked_for(variant)}
    assert numbers
    for one, other in itertools.combinations(numbers, 2):
        assert not close(numbers[one], numbers[other], dtype), (one, other)


@pytest.mark.parametrize("pair", INPUTS, ids=named)
def test_each_reading_is_recognised_by_its_numbers_and_none_by_others(pair):
    question, variant = pair
    for name in question.looked_for(variant):
        assert question.recognised(question.expected(name, variant), variant) == name
    wrong = question.expected(next(iter(question.readings)), variant) + 0.37
    assert question.recognised(np.append(wrong, 1), variant) == NONE


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_reading_is_taken_by_somebody_or_said_to_be_theoretical(name):
    taken = {answer.reading for answer in answers() if answer.question == name}
    assert taken - {NONE, REFUSED, SILENT} == QUESTIONS[name].readings.keys() - QUESTIONS[name].theoretical


def test_every_committed_number_is_reproduced_by_the_contract():
    """The label says which reading: its function must give the number, and no other reading may."""
    for answer in answers():
        question = QUESTIONS[answer.question]
        if answer.numbers is not None:
            assert question.recognised(answer.numbers, answer.variant) == answer.reading, answer
        else:
            assert answer.reading in (REFUSED, SILENT)
            assert answer.said


def test_no_silence_is_an_adapter_s_own_mistake():
    """A call that cannot even be made ends its process with 1; a library's crash is a signal."""
    assert [a for a in answers() if a.reading == SILENT and a.said.startswith("ended with")] == []


def test_the_file_has_every_adapter_and_every_question_that_its_doors_take():
    said = {}
    for answer in answers():
        said.setdefault((answer.library, answer.door), set()).add(f"{answer.question}/{answer.variant}")
    assert {name for name, _ in said} | missing().keys() == set(NAMES)
    assert not {name for name, _ in said} & missing().keys()
    for name in set(NAMES) - missing().keys():
        for door in library(name).doors:
            assert said[name, door.name] == set(questions_for(door)), (name, door.name)


@pytest.mark.parametrize("name", HERE)
def test_our_own_and_pytorch_asked_afresh_say_what_the_file_says(name, monkeypatch):
    for variable, value in library(name).settings.items():
        monkeypatch.setenv(variable, value)
    committed = {(a.door, f"{a.question}/{a.variant}"): a for a in answers() if a.library == name}
    for door in library(name).doors:
        for which in questions_for(door):
            before = committed[door.name, which]
            if before.reading == SILENT:  # the call ends its process, so another one asks
                questions = [f"{door.name}/{which}"]
                said = dict(record.ask(name, library(name), sys.executable, questions))
                assert said[questions[0]] == {"call": before.call, "silent": before.said}
                continue
            fresh = answering.answer(door, which)
            assert fresh["call"] == before.call
            if before.numbers is None:
                assert fresh["refused"].split(":")[0] == before.said.split(":")[0], (door.name, which)
            else:
                question, variant = question_and_variant(which)
                dtype = question.variant(variant).Q.dtype.name
                assert close(np.array(fresh["numbers"], float), before.numbers, dtype), (door.name, which)


def test_our_implementations_give_one_answer_each_and_the_contract_s():
    """No answer of ours depends on an implementation, and none on a flag, a shape or a mode.

    Of the lowest float alone half precision's is no −∞ for the contract: a finite bias hides nobody.
    """
    for name in {answer.question for answer in answers() if answer.library == "ours"}:
        said = {(a.variant, a.reading) for a in answers() if a.library == "ours" and a.question == name}
        assert len(dict(said)) == len(said), said


@pytest.mark.parametrize("path", sorted(ADAPTERS.glob("*.py")), ids=lambda path: path.stem)
def test_an_adapter_imports_its_library_late(path):
    """Whoever lists the adapters must not need twenty libraries."""
    known = {"selfattention", "numpy", *sys.stdlib_module_names}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for name in [module] if module else [alias.name for alias in node.names]:
                assert name.split(".")[0] in known


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_pins_what_it_installs(name):
    for package in library(name).packages:
        assert "==" in package


def test_a_call_says_what_it_passes_and_nothing_else():
    def function(q, *, mask=None, scale=None):
        return q * scale

    mask = np.ones((1, 2), bool)
    call = Call(function, "f", {"q": np.ones(2)}, {"mask": mask, "bias": None, "scale": 0.5})
    assert call.line == "f(q, mask=mask, scale=0.5)"
    np.testing.assert_array_equal(call.run(), [0.5, 0.5])


def test_a_door_is_not_asked_what_it_has_no_argument_for():
    X = np.zeros((1, 1, 2, 4), np.float32)
    door = Door("one", lambda asked: None, words("mask, causal"))
    assert not door.lacks(Asked(X, X, X, causal=True))
    assert door.lacks(Asked(X, X, X, scale=0.5, wants="weights")) == {"scale", "weights"}
    assert door.lacks(Asked(X, X, X[..., :2])) == {"d_v"}


def test_a_refusal_is_an_answer_with_its_class():
    def refuse(asked):
        return Call(lambda: (_ for _ in ()).throw(ValueError("no\nmore")), "f", {})

    said = answering.answer(Door("one", refuse, words("")), "no-keys/")
    assert said == {"call": "f()", "refused": "ValueError: no"}


def test_depends_is_what_variants_disagree_on():
    given = {a.reading for a in answers() if (a.library, a.door, a.question) == MIXED}
    assert len(given) > 1
    assert reading(*MIXED) == "depends"
    assert reading("ours", "numpy_direct", "empty-row") == "zeros"
    assert reading("ours", "numpy_direct", "start-values") is None


MIXED = "torch", "scaled_dot_product_attention", "mask-and-causal"


def test_the_file_is_small_enough_for_a_page():
    assert os.path.getsize(recorded.FILE) < 300_000
