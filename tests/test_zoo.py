"""Released architectures in our contract: what the file says of them is made again, without their library."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from selfattention import masks
from selfattention.dialects.processes import Ended, lines_of
from selfattention.dialects.zoo import (
    EXACT,
    counted,
    families,
    how,
    ingredients,
    record,
    recorded,
    traced,
    versions,
)
from selfattention.dialects.zoo.answering import together
from selfattention.implementations.numpy_direct import attention

RUN = [family for family in families() if family.calls]
SAID = [family for family in RUN if family.verdict in ("exact", "term from the input")]


# The file ---------------------------------------------------------------------------------------------


def test_hundreds_of_architectures_are_our_formula_to_rounding():
    exact = [family for family in families() if family.verdict == "exact"]
    assert len(exact) >= 300
    assert max(family.error for family in exact) < EXACT
    assert sum(call.count for family in exact for call in family.calls) > 800


def test_the_file_is_small_dated_and_says_its_command():
    assert recorded.FILE.stat().st_size < 120_000
    file = json.loads(recorded.FILE.read_text("utf-8"))
    assert file["command"] == "make zoo"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", versions()["date"])
    assert versions()["transformers"] == "5.24.0"


def test_nobody_is_dropped_without_a_reason():
    """Every architecture has calls, parts that stand in the file, or words for why it has neither."""
    names = {family.name for family in families()}
    for family in families():
        if family.verdict == "missing":
            assert family.missing
        elif family.verdict == "parts":
            assert names >= set(family.parts)
        elif family.verdict == "another formula":
            assert (
                family.instead or family.unread or any(call.sink == "from the input" for call in family.calls)
            )
        else:
            assert family.calls or family.verdict == "no attention"


def test_what_is_counted_is_in_calls():
    for words in counted().values():
        for word, number in words.items():
            assert number == sum(word in family.ingredients for family in families()) > 0


# A line for each call ---------------------------------------------------------------------------------


def arrays(call, rng):
    """What a call's line names, of the model's sizes."""
    h, g, n, m = call.h, call.g, call.n, call.m
    table = rng.random((n, m)) < 0.5
    table[:, 0] = True
    return vars(masks) | {
        "attention": attention,
        "Q": rng.normal(size=(h, n, call.d_k)),
        "K": rng.normal(size=(g, m, call.d_k)),
        "V": rng.normal(size=(g, m, call.d_v)),
        "i": np.arange(n),
        "j": np.arange(m),
        "n": n,
        "m": m,
        "d_k": call.d_k,
        "table": table,
        "bias": rng.normal(size=(h, n, m)),
        "term": rng.normal(size=(h, n, m)),
        "slopes": ingredients.alibi_slopes(h)[:, None, None],
        "sink": rng.normal(size=h),
        "factor": rng.uniform(0.5, 2, size=(h, 1, 1)),
    }


@pytest.mark.parametrize("family", SAID, ids=lambda family: family.name)
def test_every_line_runs_and_says_more_than_the_plain_call(family, rng):
    for call in family.calls:
        names = arrays(call, rng)
        O, _ = eval(call.line, names)
        assert O.shape == (call.h, call.n, call.d_v)
        plain, _ = attention(names["Q"], names["K"], names["V"])
        same = np.allclose(O, plain, atol=1e-9)
        assert same == (call.line == "attention(Q, K, V)") or call.m == 1 or only_in_words(call)


def only_in_words(call):
    """A scale that is the usual one to all digits that were written, or a cap that nothing reaches."""
    return call.line.startswith("attention(Q, K, V, scale=") and abs(call.scale * call.d_k**0.5 - 1) < 1e-4


# Some of them, made again -----------------------------------------------------------------------------


def softmax(S):
    E = np.exp(S - S.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True)


def by_hand(call, names, S):
    """The output of scores (h, n, m), each head with the values of its group."""
    return softmax(S) @ np.repeat(names["V"], call.h // call.g, 0)


def scores(call, names):
    return names["Q"] @ np.repeat(names["K"], call.h // call.g, 0).swapaxes(-1, -2)


def test_gemma_2_scales_caps_and_only_then_hides(rng):
    """50 tanh(S / 50) of scores times 256^−½; its window of 4 holds the query and the three before it."""
    (call,) = (call for call in how("gemma2").calls if "window" in call.mask)
    names = arrays(call, rng)
    names["Q"] *= 100  # so that the cap is reached
    S = 50 * np.tanh(scores(call, names) / 256**0.5 / 50)
    i, j = np.mgrid[: call.n, : call.m]
    hidden = (j > i) | (j < i - 3)
    np.testing.assert_allclose(eval(call.line, names)[0], by_hand(call, names, np.where(hidden, -np.inf, S)))


@pytest.mark.parametrize("name", ["gpt_oss", "granite_swa"])
def test_a_sink_is_one_more_column_that_is_dropped_or_a_gate_of_the_output(name, rng):
    (call,) = (call for call in how(name).calls if "window" not in call.mask)
    names = arrays(call, rng)
    S = scores(call, names) * (call.d_k**-0.5 if call.scale is None else call.scale)
    S = np.where(np.tri(call.n, dtype=bool), S, -np.inf)
    sink = names["sink"][:, None, None]
    values = np.repeat(names["V"], call.h // call.g, 0)
    column = softmax(np.concatenate([S, np.broadcast_to(sink, (*S.shape[:2], 1))], -1))[..., :-1] @ values
    gate = 1 / (1 + np.exp(sink - np.log(np.exp(S).sum(-1, keepdims=True))))
    for O in (column, gate * (softmax(S) @ values)):
        np.testing.assert_allclose(eval(call.line, names)[0], O)


def test_alibi_has_three_sizes(rng):
    """BLOOM's and MPT's differ by a number for each head, which no softmax sees; Falcon's by 2/√d."""
    line = {name: how(name).calls[0] for name in ("bloom", "mpt", "falcon (alibi=True)")}
    call = line["bloom"]
    names = arrays(call, rng)
    S = scores(call, names) / call.d_k**0.5
    slopes = np.array([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])[
        :, None, None
    ]  # six heads: four, and two between
    for name, size in (("bloom", 1), ("mpt", 1), ("falcon (alibi=True)", 2 / call.d_k**0.5)):
        hidden = np.where(np.tri(call.n, dtype=bool), S + size * slopes * np.arange(call.m), -np.inf)
        np.testing.assert_allclose(eval(line[name].line, names)[0], by_hand(call, names, hidden))


def test_t5_does_not_scale_and_adds_a_number_for_each_distance():
    for name in ("t5", "mt5", "umt5"):
        own = [call for call in how(name).calls if call.bias]
        assert {(call.scale, call.bias, call.learned) for call in own} == {
            (1.0, "a number for each head and distance", True)
        }


def test_scales_that_are_not_one_over_the_root_of_d():
    """GPT-Neo has none; CvT's is of the model's width: 24 and 48 are our second and third stage's."""
    assert {call.scale for call in how("gpt_neo").calls} == {1.0}
    assert {call.scale for call in how("cvt").calls} == {None, *(float(f"{w**-0.5:.6g}") for w in (24, 48))}
    (whisper,) = {(call.scale, round(call.in_Q * call.d_k**0.5, 4)) for call in how("opt").calls}
    assert whisper == (1.0, 1.0)  # the usual scale, in Q


def test_a_window_that_looks_back_counts_the_query():
    for family in SAID:
        w = family.settings.get("sliding_window")
        for call in family.calls:
            if "window(" in call.mask and "causal" in call.mask and w:
                rule = ingredients.written(call.mask, call.n, call.m)
                assert rule.tile(range(call.n), range(call.m)).sum(1).max() == w, family.name


def test_llama_4_starts_again_with_every_chunk():
    chunked, whole = how("llama4_text").calls
    rule = ingredients.written(chunked.mask, chunked.n, chunked.m)
    assert rule.tile(range(11), range(11)).sum(1).tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]
    assert whole.mask == "causal"


def test_norms_stand_on_either_side_of_rope():
    assert how("qwen3").calls[0].inside == "norm, RoPE"
    assert how("hunyuan_v1_dense").calls[0].inside == "RoPE, norm"
    assert how("llama").calls[0].inside == "RoPE"


# Asking -----------------------------------------------------------------------------------------------


def test_how_takes_model_types_and_classes_and_names_the_nearest():
    assert how("gpt-oss") is how("gpt_oss") is how("GptOssModel")
    with pytest.raises(KeyError, match=r"'gema2'; near it: .*gemma2.*families\(\) has \d+"):
        how("gema2")
    assert str(how("gemma2")).splitlines()[1].strip() == how("gemma2").lines[0]
    assert str(how("fnet")).startswith("fnet (FNetModel): no: a Fourier transform")


# How it was read --------------------------------------------------------------------------------------


def read(function, *shapes):
    """The one call in what a function of random tensors does."""
    numbers = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=numbers, dtype=torch.float64) for shape in shapes]
    (call,), why = traced.calls(traced.steps_of(lambda: function(*tensors)))
    assert why == []
    return ingredients.row(call, call)


QKV = (2, 4, 7, 8), (2, 2, 7, 8), (2, 2, 7, 6)


def wide(X):
    return X.repeat_interleave(2, 1)


def hidden(n):
    return torch.full((n, n), -1e30).triu(1)


def test_a_call_is_read_from_operations_in_any_order_of_axes():
    def keys_first(Q, K, V):
        S = (wide(K) * 0.5) @ Q.transpose(-1, -2)
        return S.transpose(-1, -2).softmax(-1) @ wide(V)

    said = read(keys_first, *QKV)
    assert (said["h"], said["g"], said["d_v"], said["in_Q"], said["scale"]) == (4, 2, 6, 0.5, 1.0)
    assert said["error"] < 1e-15


def test_scale_cap_mask_and_sink_are_read():
    def capped(Q, K, V, s):
        S = 3 * torch.tanh(Q @ wide(K).transpose(-1, -2) * 0.7 / 3) + hidden(7)
        S = torch.cat([S, s.view(1, 4, 1, 1).expand(2, 4, 7, 1)], -1)
        S = S - S.amax(-1, keepdim=True)
        return S.float().softmax(-1)[..., :-1].double() @ wide(V)

    said = read(capped, *QKV, (4,))
    assert (said["mask"], said["sink"]) == ("causal", "learned")
    assert (said["scale"], said["softcap"]) == pytest.approx((0.7, 3))
    assert said["error"] < 1e-6


def test_a_term_that_is_a_product_itself_is_from_the_input():
    def disentangled(Q, K, V, R):
        return (Q @ wide(K).transpose(-1, -2) + Q @ R).softmax(-1) @ wide(V)

    assert read(disentangled, *QKV, (2, 4, 8, 7))["bias"] == "from the input"


def test_the_order_of_norm_and_rope_is_read():
    def turned(X):
        half = torch.cat([-X[..., 4:], X[..., :4]], -1)
        return X * torch.ones(8).cos() + half * torch.ones(8).sin()

    def normed(X):
        return torch.nn.functional.rms_norm(X, (8,))

    for order, text in (((normed, turned), "norm, RoPE"), ((turned, normed), "RoPE, norm")):

        def function(Q, K, V, order=order):
            for step in order:
                Q, K = step(Q), step(K)
            return (Q @ wide(K).transpose(-1, -2)).softmax(-1) @ wide(V)

        assert read(function, *QKV)["inside"] == text


def test_every_rule_that_is_tried_is_named_by_the_simplest_text():
    n = 9
    for text in ingredients.rules(n, n):
        rule = ingredients.written(text, n, n)
        table = np.broadcast_to(rule.tile(range(n), range(n)), (2, 3, n, n))
        found, name = ingredients.named_mask(table)
        if name == "":
            assert table.all()
        else:
            np.testing.assert_array_equal(found.tile(range(n), range(n)), table[0, 0])
    assert ingredients.named_mask(np.tri(n, dtype=bool)[None, None][..., ::-1])[1] == "table"


def test_slopes_of_six_heads_are_those_of_four_and_every_second_of_eight():
    np.testing.assert_allclose(ingredients.alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    np.testing.assert_allclose(ingredients.alibi_slopes(6), [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])


# How it was written down ------------------------------------------------------------------------------


def test_rows_are_written_without_what_is_usual_and_read_again():
    one = {"h": 2, "g": 2, "n": 3, "m": 3, "d_k": 4, "d_v": 4, "scale": 0.5, "in_Q": 1.0, "softcap": None,
           "inside": "", "after": [], "error": 1e-16}  # fmt: skip
    other = one | {"g": 1, "scale": 1.0, "after": ["gate"], "error": 3e-16}
    kinds = together([one, one | {"error": 2e-16}, other])
    shortened = record.shortened({"calls": kinds})["calls"]
    assert shortened == [
        {"h": 2, "n": 3, "d_k": 4, "count": 2, "error": 2e-16},
        {"h": 2, "g": 1, "n": 3, "d_k": 4, "scale": 1.0, "after": ["gate"], "error": 3e-16},
    ]
    text = record.together({"transformers": "0"}, {"b": {"model": "B"}, "a": {"model": "A"}})
    assert list(json.loads(text)["families"]) == ["a", "b"]


def test_a_process_that_dies_or_is_silent_says_so():
    def lines(code):
        return lines_of([sys.executable, "-c", code], {}, 20, 0.5)

    assert list(lines("print(1)")) == [1]
    for code, why in (
        ("print(1); raise SystemExit(3)", "ended with 3"),
        ("import os; print(1, flush=True); os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import time; print(1, flush=True); time.sleep(60)", "nothing for 0 s"),
    ):
        said = lines(code)
        assert next(said) == 1
        with pytest.raises(Ended, match=why):
            next(said)
