"""The chat, with a model of three small layers: what it prints, what it keeps, what it refuses."""

import io
import sys
from dataclasses import replace
from importlib import import_module

import pytest
from tiny_llama import WORDS, tiny

from selfattention import chat
from selfattention.trained import smollm2

MODEL = replace(tiny(), ends=frozenset())


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    monkeypatch.setattr(smollm2, "load", lambda: MODEL)


def words(tokens):
    return " ".join(WORDS[token] for token in tokens if token)


def said(tokens, count):
    return [*MODEL.generate(tokens, count)]


def test_a_question_is_asked_as_the_model_was_taught(capsys):
    assert chat.main(["a b", "--tokens", "5"]) == 0
    assert capsys.readouterr().out == words(said(MODEL.tokens("j a b i"), 5)) + "\n"


def test_raw_goes_on_with_the_text_itself(capsys):
    assert chat.main(["a b", "--tokens", "5", "--raw"]) == 0
    assert capsys.readouterr().out == words(said([1, 2], 5)) + "\n"


def test_without_a_question_it_asks_until_a_line_is_empty(capsys, monkeypatch):
    """The second answer follows the first question, its answer and the second question, all in one cache."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\nc\n\nd\n"))
    assert chat.main(["--tokens", "5"]) == 0
    first = MODEL.tokens("j a b i")
    first += said(first, 5)
    second = first + MODEL.tokens("<end> j c i")
    answers = [line.removeprefix("> ") for line in capsys.readouterr().out.splitlines()]
    assert answers[:2] == [words(first[4:]), words(said(second, 5))]


@pytest.mark.parametrize(
    "options",
    [
        ["--implementation", "numpy_tiled"],
        ["--implementation", "torch_direct"],
        ["--window", "50"],
        ["--window", "50", "--sinks", "4"],
        ["--temperature", "0.0001"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_matter_here_change_nothing(capsys, options):
    chat.main(["a b c d", "--tokens", "9"])
    plain = capsys.readouterr().out
    assert chat.main(["a b c d", "--tokens", "9", *options]) == 0
    assert capsys.readouterr().out == plain


@pytest.mark.parametrize(("name", "module"), [("numba_tiled", "numba"), ("numpy_tiled", "numpy")])
def test_products_are_fast_and_compiled_where_attention_is(name, module):
    products = import_module(f"selfattention.implementations.{module}_products")
    talk = chat.Talk(lambda: MODEL, chat.arguments_of(["a", "--implementation", name]))
    assert type(talk.model.head) is products.Floats
    assert type(talk.model.layers[-1]["W_down"]) is products.Floats


@pytest.mark.parametrize("kept", ["float16", "int8", "int4"])
def test_caches_of_other_kinds_are_used(kept, capsys):
    assert chat.main(["a b c d", "--tokens", "9", "--cache", kept]) == 0
    asked = chat.arguments_of(["a", "--cache", kept])
    talk = chat.Talk(lambda: MODEL, asked)
    assert talk.cache.nbytes < chat.Talk(lambda: MODEL, chat.arguments_of(["a"])).cache.nbytes
    assert len(capsys.readouterr().out.split()) > 1


def test_a_window_forgets_what_it_will_not_see_again():
    talk = chat.Talk(
        lambda: MODEL, chat.arguments_of(["a", "--window", "4", "--sinks", "2", "--tokens", "9"])
    )
    "".join(talk.answer("a b c"))
    assert (talk.cache.taken, talk.cache.held) == (5 + 8, 2 + 3)


def test_the_seed_decides_what_is_drawn(capsys):
    def drawn(seed):
        chat.main(["a b", "--tokens", "20", "--temperature", "5", "--seed", str(seed)])
        return capsys.readouterr().out

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([" "], "argument question: it is empty; wanted some text"),
        (["a", "--sinks", "4"], "argument --sinks: wanted --window"),
        (["a", "--window", "0"], "argument --window: it is 0; wanted a whole number from 1 on"),
        (["a", "--sinks", "-1"], "argument --sinks: it is -1; wanted a whole number from 0 on"),
        (["a", "--tokens", "x"], "argument --tokens: it is x; wanted a whole number from 1 on"),
        (
            ["a", "--temperature", "-1"],
            "argument --temperature: it is -1.0; wanted a finite number, 0 or more",
        ),
        (["a", "--cache", "int2"], "argument --cache: invalid choice: 'int2'"),
        (["a", "--implementation", "flash"], "argument --implementation: invalid choice: 'flash'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(arguments, complaint, capsys, monkeypatch):
    monkeypatch.setattr(smollm2, "load", None)
    with pytest.raises(SystemExit) as end:
        chat.main(arguments)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_where_the_model_cannot_be_fetched_one_sentence_says_so(capsys, monkeypatch):
    def load():
        raise OSError("it could not be fetched")

    monkeypatch.setattr(smollm2, "load", load)
    assert chat.main(["a"]) == 1
    assert capsys.readouterr().err == "it could not be fetched\n"


def test_a_question_that_finds_no_room_is_refused_and_the_next_one_answered(capsys, monkeypatch):
    """64 positions; 70 tokens do not fit, and are not half taken."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\n" + "c " * 70 + "\nd\n\n"))
    assert chat.main(["--tokens", "5"]) == 1
    out, err = capsys.readouterr()
    assert "tokens brings 7" in err
    assert "wanted at most 64 in all" in err
    first = MODEL.tokens("j a b i")
    first += said(first, 5)
    assert words(said(first + MODEL.tokens("<end> j d i"), 5)) in out


def test_an_answer_that_is_interrupted_is_in_the_cache_as_far_as_it_came(capsys, monkeypatch):
    talk = chat.Talk(lambda: MODEL, chat.arguments_of(["--tokens", "9"]))
    answer = talk.answer("a b")
    for _ in range(3):
        next(answer)
    answer.close()
    assert talk.said[:4] == MODEL.tokens("j a b i")
    assert talk.said[4:] == said(talk.said[:4], 3)
    assert talk.cache.taken <= len(talk.said)
    rest = [*talk.answer("c")]
    follows = [*MODEL.tokens("j a b i"), *said(MODEL.tokens("j a b i"), 3), *MODEL.tokens("<end> j c i")]
    assert "".join(rest) == words(said(follows, 9))


def test_a_letter_of_several_tokens_comes_whole():
    class Bytes:
        def text(self, tokens):
            return bytes(tokens).decode(errors="replace")

    letters = [*"aé🙂b".encode()]
    assert [*chat.pieces(Bytes(), letters)] == ["a", "é", "🙂", "b", ""]
    assert "".join(chat.pieces(Bytes(), letters[:-2])) == "aé�"
