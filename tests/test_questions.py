"""Questions, readings and what libraries answered: every committed number is one that our contract gives."""

import ast
import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from links import ROOT

from selfattention.dialects import (
    GROUPS,
    QUESTIONS,
    answering,
    answers,
    doors,
    missing,
    moving,
    places,
    reading,
    record,
    recorded,
    titles,
)
from selfattention.dialects.answering import question_and_variant, questions_for
from selfattention.dialects.asking import Asked, Call, Door, words
from selfattention.dialects.definition import DEFINITION, now
from selfattention.dialects.libraries import NAMES, library
from selfattention.dialects.lines import LINES
from selfattention.dialects.moving import agreement, told, with_line
from selfattention.dialects.readings import NONE, REFUSED, SILENT, close
from selfattention.implementations import IMPLEMENTATIONS

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


def test_the_version_is_that_of_the_library_and_not_of_what_it_was_asked_with():
    versions = {(a.library, a.version) for a in answers()}
    assert len(versions) == len({a.library for a in answers()})
    for name, version in versions:
        adapter = library(name)
        pins = [*adapter.npm, *(package.replace("==", "@") for package in adapter.packages)]
        assert not pins or version.split("+")[0] == pins[0].rpartition("@")[2], name
    assert titles().keys() == set(NAMES)


def test_places_number_what_is_taken_and_begin_with_ours():
    for name in QUESTIONS:
        numbers = places(name)
        assert sorted(numbers.values()) == list(range(len(numbers)))
        assert numbers.keys() == {a.reading for a in answers() if a.question == name} - {
            NONE,
            REFUSED,
            SILENT,
        }
        ours = {a.reading for a in answers() if (a.library, a.question, a.variant) == ("ours", name, "")}
        assert ours <= {REFUSED} or {numbers[reading] for reading in ours} == {0}


def test_the_groups_hold_every_question_once_and_in_order():
    assert [name for names in GROUPS.values() for name in names] == list(QUESTIONS)


def test_who_is_asked_alone_leaves_the_others_in_the_file(tmp_path, monkeypatch):
    """On a machine that has no answers of theirs."""
    file = tmp_path / "dialects.json"
    file.write_bytes(recorded.FILE.read_bytes())
    monkeypatch.setattr(record, "FILE", file)
    monkeypatch.setattr(record, "place", lambda: tmp_path)
    monkeypatch.setattr(record, "answers_of", lambda name: None)
    record.main("torch")
    assert file.read_bytes() == recorded.FILE.read_bytes()


def test_the_file_is_small_enough_for_a_page():
    assert os.path.getsize(recorded.FILE) < 300_000


# Moving a model.

TAKEN = {
    name: {a.reading for a in answers() if a.question == name} & question.readings.keys()
    for name, question in QUESTIONS.items()
}
MOVES = [
    (name, says, wanted)
    for name, taken in TAKEN.items()
    for says in sorted(taken)
    for wanted in sorted(taken - {says})
]
NO_LINE = {  # what is gone, or what nobody wants back, or takes more than the call
    ("weights-per-head", "per head"),
    ("softcap-and-mask", "hidden keys have the score −C"),
    ("softcap-and-mask", "the mask is added to the scores"),
    ("causal-fewer-queries", "top left, but the last query sees every key"),
    ("half-beyond-its-range", "NaN"),
    ("half-many-keys", "1/2, the sum stops"),
    ("storage-of-weights", "3 · out, in"),
    ("nan-in-a-hidden-key", "NaN in every row"),
    ("nan-in-a-hidden-value", "NaN in every row"),
    ("empty-row-by-padding-and-causal", "as if unmasked"),
    ("bias-and-causal", "causal only"),
    *(("weights-and-dropout", wanted) for wanted in TAKEN["weights-and-dropout"]),
    *(("start-values", wanted) for wanted in TAKEN["start-values"]),
    *((name, wanted) for name in ("nan-in-a-later-key", "nan-in-a-later-value") for wanted in TAKEN[name]),
}


def adds_booleans(reading):
    return "added" in reading


@pytest.mark.parametrize(("name", "says", "wanted"), MOVES, ids="/".join)
def test_a_line_brings_one_reading_to_the_numbers_of_the_other(name, says, wanted):
    line, question = agreement(name, "", says, wanted), QUESTIONS[name]
    if line is None:
        assert (
            (name, wanted) in NO_LINE or adds_booleans(says) or adds_booleans(wanted) or "gradients" in name
        )
        return
    numbers = with_line(question, "", line, lambda asked: told(question, "", says, asked))
    assert close(numbers, question.expected(wanted), question.asked.Q.dtype.name)
    assert not close(question.expected(says), question.expected(wanted), question.asked.Q.dtype.name)


def test_every_line_is_of_use_to_somebody():
    used = {
        agreement(name, variant, says, wanted, booleans)
        for name, question in QUESTIONS.items()
        for variant in question.inputs
        for says in TAKEN[name] | {REFUSED}
        for wanted in TAKEN[name]
        for booleans in ("what is 1 may be seen", "what is 1 is hidden")
        if says != wanted
    }
    written = {line for readings in LINES.values() for lines in readings.values() for line in lines}
    assert written <= used


def test_lines_name_readings():
    for name, readings in LINES.items():
        assert readings.keys() <= QUESTIONS[name].readings.keys()


@pytest.mark.parametrize("name", HERE)
@pytest.mark.filterwarnings("ignore")
def test_a_line_holds_in_the_library_itself(name, monkeypatch):
    """Each door of PyTorch's and of ours, each of its answers, each other reading that somebody takes."""
    for variable, value in library(name).settings.items():
        monkeypatch.setenv(variable, value)
    held = 0
    known = {door.name: door for door in library(name).doors if not door.name.startswith("triton")}
    for answer in answers():
        question = QUESTIONS[answer.question]
        if answer.library != name or answer.door not in known or answer.reading == SILENT:
            continue
        if question.asked.wants in ("storage", "start") or answer.variant == "66 queries":
            continue
        door, booleans = known[answer.door], reading(name, answer.door, "mask-of-booleans")
        for wanted in TAKEN[answer.question] - {answer.reading}:
            line = agreement(answer.question, answer.variant, answer.reading, wanted, booleans)
            if line is not None and (numbers := asked_with(question, answer.variant, line, door)) is not None:
                dtype = question.variant(answer.variant).Q.dtype.name
                expected = question.expected(wanted, answer.variant)
                assert close(numbers, expected, dtype), (answer, wanted, line)
                held += 1
    assert held > 100


def asked_with(question, variant, line, door):
    """What the door says to a call with that line; None where it has no argument for what the line says."""

    def tell(asked):
        if door.lacks(asked):
            raise LookupError
        return question.pick(door.call(asked).run())

    try:
        return with_line(question, variant, line, tell)
    except LookupError:
        return None


def test_moving_says_what_changes_and_how_to_undo_it():
    changes = {
        c.question: c for c in moving("torch/MultiheadAttention, evaluation", "jax/dot_product_attention")
    }
    polarity, empty = changes["mask-of-booleans"], changes["empty-row"]
    assert (polarity.before.reading, polarity.after.reading) == (
        "what is 1 is hidden",
        "what is 1 may be seen",
    )
    assert polarity.line == "mask = ~mask"
    assert polarity.before.numbers.tolist() == [0, 0]
    assert polarity.after.numbers.tolist() == [1, 1]
    assert (empty.before.reading, empty.after.reading) == ("zeros", "mean of all keys")
    assert empty.line == "O = np.where(mask.any(-1, keepdims=True), O, 0)"
    assert "sink" not in changes


@pytest.mark.parametrize("door", doors())
def test_who_stays_changes_nothing(door):
    assert moving(door, door) == ()


def test_there_and_back_are_the_same_questions():
    one, other = "keras_jax/MultiHeadAttention", "transformers/sdpa"
    there, back = moving(one, other), moving(other, one)
    assert [c.question for c in there] == [c.question for c in back]
    assert [c.before for c in there] == [c.after for c in back]


def test_an_unknown_door_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"^to is 'jax/attention'; wanted one of jax/dot_product_attention$"):
        moving("jax/dot_product_attention", "jax/attention")
    with pytest.raises(ValueError, match=r"^from_ is 'theano'; wanted one of diffusers, equinox, "):
        moving("theano", "jax/dot_product_attention")


# The definition.


@pytest.mark.parametrize("sentence", DEFINITION, ids=lambda sentence: sentence.says[:40])
def test_every_sentence_of_the_definition_holds_for_every_implementation(sentence):
    for name, implementation in IMPLEMENTATIONS.items():
        runs = implementation.device == "cpu" and implementation.why_not() is None
        if runs and not name.startswith("triton"):
            assert {question: now(question, name) for question in sentence.settles} == sentence.settles


def test_the_definition_settles_every_question_that_we_can_be_asked_once():
    settled = [question for sentence in DEFINITION for question in sentence.settles]
    assert sorted(settled) == sorted({a.question for a in answers() if a.library == "ours"})


def test_the_chapter_has_the_definition_word_for_word():
    cells = json.loads((ROOT / "notebooks/18_dialects.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for number, sentence in enumerate(DEFINITION, 1):
        assert f"{number}. {sentence.says} *{', '.join(sentence.settles)}*" in prose
