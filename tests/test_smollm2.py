"""The language model of chapter 15, as it was trained: what it says, and that it is computed rightly.

Everything that loads it for long is in this file, so that one worker does, once.
"""

from dataclasses import replace
from functools import partial

import language
import numpy as np
import plain_llama
import pytest

from selfattention import chat, masks
from selfattention.formulas import cache_bytes, rotary_step, softmax
from selfattention.mutants import decoding_prices
from selfattention.trained import recorded, smollm2
from selfattention.trained.cache import PagedRows, QuantisedRows
from selfattention.trained.language_model import left_padded, perplexity

FRANCE = "The capital of France is"
CONTINUED = " Paris.\n\nThe answer is: 2018-01-22 "


@pytest.fixture(scope="module")
def model():
    language.needed()
    return smollm2.load()


@pytest.fixture(scope="module")
def story(model):
    return model.tokens(smollm2.story())


@pytest.fixture(scope="module")
def S(model, story):
    """Logits of the story's first 200 tokens, at once."""
    return model.logits(story[:200])


@pytest.fixture(scope="module")
def upper(model):
    """Its first four layers, in float64."""
    return replace(model, layers=model.layers[:4]).astype(np.float64)


# What the file holds -----------------------------------------------------------------------------------


def test_the_weights_are_all_there(model):
    shapes = {name: W.shape for name, W in model.layers[0].items()}
    assert shapes == {
        "g_1": (576,),
        "W_QKV": (576, 960),
        "W_O": (576, 576),
        "g_2": (576,),
        "W_gate": (576, 1536),
        "W_up": (576, 1536),
        "W_down": (1536, 576),
    }
    assert all({n: W.shape for n, W in layer.items()} == shapes for layer in model.layers)
    arrays = [model.T, model.g_N, *(W for layer in model.layers for W in layer.values())]
    assert sum(W.size for W in arrays) == 134_515_008
    assert {W.dtype for W in arrays} == {np.dtype(np.float32)}
    assert (len(model.layers), model.h, model.g, model.d, model.most) == (30, 9, 3, 64, 8192)
    assert (model.base, round(model.epsilon, 9), sorted(model.ends)) == (1e5, 1e-5, [0, 2])


def test_another_file_is_refused(tmp_path):
    (tmp_path / "other.gguf").write_bytes(b"GGML" + bytes(30))
    with pytest.raises(ValueError, match="wanted b'GGUF', version 3"):
        smollm2.load(tmp_path / "other.gguf")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (FRANCE, [504, 3575, 282, 4649, 314]),
        ("1234 apples in 2026", [33, 34, 35, 36, 13855, 281, 216, 34, 32, 34, 38]),
        ("naïve café\n\n  two", [3546, 46494, 37366, 8866, 827]),
        ("don't", [12420, 982]),
        ("<|im_start|>user\nHi<|im_end|>", [1, 4093, 198, 26843, 2]),
        ("", []),
    ],
)
def test_text_becomes_tokens(model, text, tokens):
    """The same as transformers makes of it: digits one by one, bytes merged, marks whole."""
    assert model.tokens(text) == tokens
    assert model.text(tokens) == text.replace("<|im_start|>", "").replace("<|im_end|>", "")


def test_any_text_comes_back(model):
    text = "δ = Σ dO ∘ O\t— 注意力 🙂\r\n" + "".join(map(chr, range(32, 1000)))
    assert model.text(model.tokens(text)) == text


# What it says ------------------------------------------------------------------------------------------


def test_the_capital_of_france(model):
    p = softmax(model.logits(model.tokens(FRANCE))[-1:].astype(np.float64))[0]
    assert model.text([p.argmax()]) == " Paris"
    assert p.max() == pytest.approx(0.7725, abs=1e-3)


def test_it_goes_on_as_it_did(model):
    """Token for token: each was ahead of the next by 0.14 or more, where rounding moves 1e-4."""
    said = [*model.generate(model.tokens(FRANCE), 20)]
    assert said == [7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34, 216]
    assert model.text(said) == CONTINUED


def test_the_chat_answers(model, monkeypatch, capsys):
    monkeypatch.setattr(smollm2, "load", lambda: model)
    assert chat.main(["What is the capital of France?"]) == 0
    assert capsys.readouterr().out == "The capital of France is Paris.\n"
    options = ["--raw", "--tokens", "2", "--window", "30", "--sinks", "4", "--cache", "int8"]
    assert chat.main([FRANCE, *options]) == 0
    assert capsys.readouterr().out == " Paris.\n"


# Computed rightly --------------------------------------------------------------------------------------


def test_in_float64_it_is_the_forward_pass_of_plain_torch(upper, story):
    """To 1e-12, four layers of it; 3e-13 has been seen."""
    wanted = plain_llama.logits(upper, story[:40])
    np.testing.assert_allclose(upper.logits(story[:40]), wanted, rtol=0, atol=1e-12)


def test_in_float32_it_is_that_of_plain_torch(model, story):
    """To 1e-4; to 2e-4 for the first token, taken at once with others. Its state leaps to 22,552, and many
    rows are summed less exactly than one: 3e-5 to 1.1e-4, with OpenBLAS for four kinds of processor."""
    cache = model.cache()
    ours = np.concatenate([model.logits(story[:1], cache), model.logits(story[1:60], cache)])
    wanted = plain_llama.logits(model, story[:60])
    assert np.abs(ours - wanted).max() <= 1e-4
    off = np.abs(model.logits(story[:60]) - wanted)
    assert off[1:].max() <= 1e-4
    assert off[0].max() <= 2e-4


def one_by_one(model, tokens, dtype):
    """Logits of tokens that come singly, from a cache."""
    cache = model.cache(dtype=dtype)
    return np.concatenate([model.logits([token], cache) for token in tokens])


def test_a_cache_changes_rounding_only_in_float64(model, story):
    """To 5e-13, through all thirty layers; 1.4e-13 has been seen."""
    exact = model.astype(np.float64)
    steps = one_by_one(exact, story[:12], float)
    np.testing.assert_allclose(steps, exact.logits(story[:12]), rtol=0, atol=5e-13)


def test_a_cache_changes_rounding_only_in_float32(model):
    """To 1.5e-4, and to 2e-4 for the first token, whose state leaps; not bit for bit, since one row is summed
    in another order than many. With OpenBLAS's kernels for four kinds of processor 4e-5 to 1.2e-4 have been
    seen of the first, 6e-5 to 1e-4 of the others."""
    tokens = model.tokens(FRANCE + CONTINUED)
    off = np.abs(one_by_one(model, tokens, np.float32) - model.logits(tokens))
    assert 0 < off[0].max() < 2e-4
    assert off[1:].max() < 1.5e-4


def test_a_batch_in_chunks_from_pages_is_each_text_alone(model, story):
    texts = [model.tokens(FRANCE), story[:40], model.tokens("Water boils at")]
    tokens, starts = left_padded(texts)
    cache = model.cache((3,), starts=starts, rows=PagedRows, capacity=0)
    S = np.concatenate(
        [model.logits(tokens[:, part], cache) for part in (np.s_[:7], np.s_[7:36], np.s_[36:])], 1
    )
    for row, start, text in zip(S, starts, texts, strict=True):
        alone = model.logits(text)
        assert np.abs(row[start:] - alone).max() < 1.5e-4
        assert (row[start:].argmax(-1) == alone.argmax(-1)).all()


def test_grouped_heads_are_many_heads_with_tied_weights(model):
    """All thirty layers, to 1e-4 in float32, at once and one by one; 0 to 4.6e-5 has been seen, since a wider
    W_QKV may be summed in another order. The cache is three times as large."""

    def tied(W):
        K, V = (
            np.repeat(part.reshape(576, 3, 64), 3, axis=1).reshape(576, 576)
            for part in np.split(W[:, 576:], 2, 1)
        )
        return np.asfortranarray(np.hstack([W[:, :576], K, V]))  # as W itself lies

    many = replace(model, g=9, layers=tuple({**W, "W_QKV": tied(W["W_QKV"])} for W in model.layers))
    tokens = model.tokens(FRANCE)
    np.testing.assert_allclose(many.logits(tokens), model.logits(tokens), rtol=0, atol=1e-4)
    steps = (one_by_one(either, tokens, np.float32) for either in (many, model))
    np.testing.assert_allclose(*steps, rtol=0, atol=1e-4)
    assert many.cache().nbytes == 3 * model.cache().nbytes


def test_a_cache_takes_46080_bytes_a_token(model):
    assert model.cache(capacity=10).nbytes == 10 * 46_080 == cache_bytes(10, 30, 3, 64, 4)


# What fewer bits, windows and mistakes cost ------------------------------------------------------------


def test_a_cache_of_8_bits_costs_little_and_one_of_4_bits_much(model, story, S):
    """Perplexity of 199 tokens, beside that of float32."""
    whole = perplexity(S[:-1], story[1:200])
    eight, four = (
        perplexity(
            model.logits(story[:200], model.cache(rows=partial(QuantisedRows, bits=bits)))[:-1], story[1:200]
        )
        for bits in (8, 4)
    )
    assert abs(eight / whole - 1) < 0.01
    assert 1.15 < four / whole < 1.6


def test_recorded_attention_is_the_models(model):
    there, ours = smollm2.recorded()["attention"], recorded.attention(model)
    assert there["tokens"] == ours["tokens"]
    assert there["layers"] == list(ours["layers"])
    flat = [
        [number for layer in part["A"] for head in layer for row in head for number in row]
        for part in (there, ours)
    ]
    assert np.abs(np.subtract(*flat)).max() <= 1
    assert [[word for word, _ in row] for row in there["next"]] == [
        [word for word, _ in row] for row in ours["next"]
    ]


def test_every_mistake_of_a_step_has_its_price_and_no_price_is_left_over(model):
    """After a change to the mutants: make prices."""
    wanted = [(target, name, says) for target, name, says, _ in decoding_prices.priced(model)]
    assert wanted == [(row["target"], row["name"], row["says"]) for row in decoding_prices.load()["rows"]]


@pytest.fixture(scope="module")
def in_pieces(model, story):
    """Logits of the right step, on the pieces that mistakes are priced on."""
    tokens = story[: decoding_prices.TOKENS]
    return tokens, decoding_prices.read_in_pieces(decoding_prices.reading(model, rotary_step), tokens)


@pytest.mark.parametrize("name", ["every_step_at_zero", "one_place_too_far"])
def test_a_price_is_what_the_model_gives(model, in_pieces, name):
    """`make prices` counts them all."""
    tokens, reference = in_pieces
    (fresh,) = [fresh for _, own, _, fresh in decoding_prices.priced(model) if own == name]
    (row,) = [row for row in decoding_prices.load()["rows"] if row["name"] == name]
    counted = decoding_prices.price(model, fresh, tokens, reference)
    for kind, digits in {"perplexity": 1e-3, "top1": 0.021, "largest": 0.01}.items():
        assert counted[kind] == pytest.approx(row[kind], rel=digits, abs=1e-9), kind
    assert counted["paris"] == row["paris"]
    assert ("Paris" in counted["answer"]) == ("Paris" in row["answer"])


def test_the_right_step_is_the_model_and_has_the_price_of_it(in_pieces, S):
    tokens, reference = in_pieces
    assert np.abs(reference[:200] - S).max() < 3e-4
    row = decoding_prices.load()["rows"][0]
    counted = perplexity(reference[decoding_prices.PROMPT : -1], tokens[decoding_prices.PROMPT + 1 :])
    assert row["perplexity"] == pytest.approx(counted, rel=1e-3)
    assert (row["name"], row["top1"], row["largest"], row["paris"]) == ("rotary_step", 1, 0, True)


def test_a_window_forgets_and_says_the_same(model, story):
    rule = masks.causal & (masks.window(60) | masks.sinks(4))
    cache = model.cache()
    for start in range(0, 120, 40):
        part = model.logits(story[start : start + 40], cache, rule)
        cache.forget(rule)
    assert cache.held == 63
    assert np.abs(part - model.logits(story[:120], rule=rule)[80:]).max() < 3e-4
