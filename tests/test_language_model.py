"""A language model of three small layers, in float64: what a cache may change, and what is refused."""

from dataclasses import replace
from functools import partial

import numpy as np
import plain_llama
import pytest
from tiny_llama import LAYERS, D, G, H, tiny

from selfattention import masks
from selfattention.formulas import cache_bytes
from selfattention.implementations import IMPLEMENTATIONS, numpy_direct
from selfattention.trained.cache import PagedRows, QuantisedRows
from selfattention.trained.language_model import attention_of, chosen, left_padded, perplexity

MODEL = tiny()
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2]
RULES = {
    "causal": masks.causal,
    "window": masks.causal & masks.window(4),
    "sinks": masks.causal & (masks.window(3) | masks.sinks(2)),
}
close = partial(np.testing.assert_allclose, rtol=0, atol=1e-13)
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def in_steps(model, tokens, cache, *cuts, rule=masks.causal, forget=False):
    """The logits of all tokens, which come in pieces that begin at these places."""
    pieces = []
    for piece in np.split(np.asarray(tokens), cuts, axis=-1):
        pieces.append(model.logits(piece, cache, rule))
        if forget:
            cache.forget(rule)
    return np.concatenate(pieces, axis=-2)


# The same numbers, however they come -------------------------------------------------------------------


def test_the_forward_pass_is_that_of_plain_torch():
    close(MODEL.logits(TOKENS), plain_llama.logits(MODEL, TOKENS))


@each_rule
@pytest.mark.parametrize("cuts", [range(1, 17), [9], [1, 2, 12], [16]], ids=str)
def test_from_a_cache_in_any_pieces_is_at_once(rule, cuts):
    close(
        in_steps(MODEL, TOKENS, MODEL.cache(dtype=float), *cuts, rule=rule), MODEL.logits(TOKENS, rule=rule)
    )


@pytest.mark.parametrize("name", sorted({i.name for i in IMPLEMENTATIONS.values() if i.compiler != "triton"}))
@each_rule
def test_every_implementation_gives_it(name, rule):
    """At once, and from a cache; triton's interpreter takes minutes for it."""
    if reason := IMPLEMENTATIONS[name].why_not():
        pytest.skip(reason)
    attention = attention_of(name)
    expected = MODEL.logits(TOKENS, rule=rule)
    np.testing.assert_allclose(MODEL.logits(TOKENS, rule=rule, attention=attention), expected, atol=1e-10)
    cache = MODEL.cache(dtype=float)
    MODEL.prefill(TOKENS[:-1], cache, rule, attention, chunk=5)
    last = MODEL.logits(TOKENS[-1:], cache, rule, attention)
    np.testing.assert_allclose(last, expected[-1:], atol=1e-10)


@each_rule
def test_a_batch_padded_on_the_left_is_each_text_alone(rule):
    """Whatever stands in the padding; in pieces, too: the first one is padding only for one of them."""
    texts = [TOKENS[:3], TOKENS, TOKENS[5:12]]
    alone = [MODEL.logits(text, rule=rule) for text in texts]
    for filler in (0, 7):
        tokens, starts = left_padded(texts, filler)
        for cuts in ([], [2, 11], range(1, 17)):
            cache = MODEL.cache((3,), float, starts=starts)
            S = in_steps(MODEL, tokens, cache, *cuts, rule=rule)
            for row, start, expected in zip(S, starts, alone, strict=True):
                close(row[start:], expected)


def test_texts_of_one_length_need_no_padding():
    tokens = np.array([TOKENS, TOKENS[::-1]])
    close(MODEL.logits(tokens), [MODEL.logits(TOKENS), MODEL.logits(TOKENS[::-1])])
    close(MODEL.logits(tokens[None]), [[MODEL.logits(TOKENS), MODEL.logits(TOKENS[::-1])]])


@pytest.mark.parametrize("size", [1, 3, 16])
def test_blocks_in_any_order_are_one_array(size):
    cache = MODEL.cache(dtype=float, capacity=5, rows=partial(PagedRows, size=size))
    np.testing.assert_array_equal(
        in_steps(MODEL, TOKENS, cache, 4, 5, 11), in_steps(MODEL, TOKENS, MODEL.cache(dtype=float), 4, 5, 11)
    )
    assert cache.K.table == sorted(cache.K.table, reverse=True)  # not in the order of the text
    assert cache.K.capacity == -(-17 // size) * size  # and none allocated before it is needed


@pytest.mark.parametrize("name", ["window", "sinks"])
@pytest.mark.parametrize("rows", [{}, {"rows": partial(PagedRows, size=3)}], ids=["contiguous", "paged"])
def test_what_no_query_will_see_again_may_be_forgotten(name, rows):
    """A window of 4 needs the 3 keys before, 2 sinks and a window of 3 need 4: no more room is taken."""
    rule, cache = RULES[name], MODEL.cache(dtype=float, capacity=6, **rows)
    held = []
    for piece in np.split(np.array(TOKENS), [2, *range(3, 17)]):
        held.append(cache.held)
        close(MODEL.logits(piece, cache, rule), MODEL.logits(TOKENS[: cache.taken], rule=rule)[-len(piece) :])
        cache.forget(rule)
    assert max(held) == {"window": 3, "sinks": 4}[name]
    assert (cache.taken, cache.K.capacity) == (17, 6)


def test_grouped_heads_are_many_heads_with_tied_weights():
    """To 1e-13: W_QKV is wider, and a wider product may be summed in another order. A third of the cache."""
    queries, keys, values = H * D, (H + G) * D, (H + 2 * G) * D

    def tied(W):
        K, V = (
            np.repeat(part.reshape(len(W), G, D), H // G, axis=1).reshape(len(W), -1)
            for part in (W[:, queries:keys], W[:, keys:values])
        )
        return np.hstack([W[:, :queries], K, V])

    many = replace(MODEL, g=H, layers=tuple({**W, "W_QKV": tied(W["W_QKV"])} for W in MODEL.layers))
    close(many.logits(TOKENS), MODEL.logits(TOKENS))
    assert many.cache().nbytes == 3 * MODEL.cache().nbytes


# Caches ------------------------------------------------------------------------------------------------


def test_a_cache_takes_what_the_formula_says():
    for dtype, size in ((np.float32, 4), (np.float16, 2), (np.float64, 8)):
        assert MODEL.cache(dtype=dtype, capacity=10).nbytes == cache_bytes(10, LAYERS, G, D, size)
    assert MODEL.cache((5,), capacity=10).nbytes == 5 * cache_bytes(10, LAYERS, G, D, 4)
    eight, four = (MODEL.cache(capacity=10, rows=partial(QuantisedRows, bits=bits)).nbytes for bits in (8, 4))
    assert eight == cache_bytes(10, LAYERS, G, D, 1) + cache_bytes(10, LAYERS, G, 1, 4)
    assert four == cache_bytes(10, LAYERS, G, D // 2, 1) + cache_bytes(10, LAYERS, G, 1, 4)


def test_a_cache_is_allocated_once_and_doubles_where_it_is_full():
    cache = MODEL.cache(capacity=8)
    array = cache.K.array
    in_steps(MODEL, TOKENS[:8], cache, 5)
    assert cache.K.array is array
    in_steps(MODEL, TOKENS[8:], cache, 1)
    assert cache.K.capacity == cache.V.capacity == 32
    MODEL.logits([1] * 40, cache)
    assert cache.K.capacity == cache.V.capacity == 64
    assert (cache.taken, cache.held) == (57, 57)


@pytest.mark.parametrize("bits", [8, 4])
def test_what_a_quantised_cache_gives_back_is_off_by_half_a_step_at_most(bits, rng):
    rows = QuantisedRows(2, (), 3, 7, 8, bits=bits)
    X = rng.normal(size=(3, 5, 8)).astype(np.float32)
    rows.write(1, 0, X[:, :2])
    rows.write(1, 2, X[:, 2:])
    rows.reserve(9)
    off = np.abs(rows.read(1, 5, X.dtype) - X)
    step = np.abs(X).max(-1, keepdims=True) / {8: 127, 4: 7}[bits]
    assert (off <= step * 0.5001).all()
    assert off.max() > step.max() / 4
    rows.keep(np.array([1, 4]))
    np.testing.assert_array_equal(
        rows.read(1, 2, X.dtype) - X[:, [1, 4]], (rows.read(1, 5, X.dtype)[:, :2] - X[:, [1, 4]])
    )
    assert np.abs(rows.read(1, 2, X.dtype) - X[:, [1, 4]]).max() <= step.max() / 2 * 1.0001


def test_other_bits_are_refused():
    with pytest.raises(ValueError, match="bits is 5; wanted 4 or 8"):
        MODEL.cache(rows=partial(QuantisedRows, bits=5))


# What comes next ---------------------------------------------------------------------------------------


def test_generate_takes_the_likeliest_and_computes_nothing_twice():
    said, tokens, rows = [], list(TOKENS), []

    def counting(Q, K, V, **rest):
        rows.append(Q.shape[-2])
        return numpy_direct.attention(Q, K, V, **rest)

    for _ in range(6):
        said.append(int(MODEL.logits(tokens)[-1].argmax()))
        tokens.append(said[-1])
    cache = MODEL.cache(dtype=float)
    assert [*MODEL.generate(TOKENS, 6, cache=cache, attention=counting)] == said
    assert rows == [17] * LAYERS + [1] * 5 * LAYERS  # the last token is given out, and not taken
    assert cache.taken == 17 + 5


def test_generate_stops_where_the_answer_ends():
    first = int(MODEL.logits(TOKENS)[-1].argmax())
    assert [*replace(MODEL, ends=frozenset({first})).generate(TOKENS, 6)] == []
    assert [*MODEL.generate(TOKENS, 0)] == []


def test_with_a_temperature_tokens_are_drawn_by_their_weights():
    S = np.log([0.5, 0.3, 0.2])
    rng = np.random.default_rng(0)
    drawn = np.bincount([chosen(S, 1.0, rng) for _ in range(4000)]) / 4000
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.2], atol=0.03)
    assert {chosen(S, 0.01, rng) for _ in range(50)} == {0}
    assert chosen(S) == 0
    with pytest.raises(ValueError, match=r"temperature is -1; wanted a finite number, 0 or more"):
        chosen(S, -1, rng)
    with pytest.raises(ValueError, match=r"rng is None; wanted np\.random\.default_rng"):
        chosen(S, 1.0)


def test_perplexity_by_hand():
    """p = 1/2, then 1/8: the mean surprise is ln 4."""
    S = np.log([[2.0, 1.0, 1.0], [6.0, 1.0, 1.0]]) - np.array([[-5.0], [700.0]])
    assert perplexity(S, [0, 2]) == pytest.approx(4)


def test_matrices_may_be_anything_that_knows_its_product():
    class Doubled:
        __array_ufunc__ = None

        def __init__(self, W):
            self.W = W

        def __rmatmul__(self, X):
            return X @ (2 * self.W)

    expected = MODEL.with_matrices(lambda W: 2 * W).logits(TOKENS)
    close(MODEL.with_matrices(Doubled).logits(TOKENS), expected)
    assert np.abs(expected - MODEL.logits(TOKENS)).max() > 0.1


def test_astype_changes_every_number():
    narrow = MODEL.astype(np.float32)
    assert narrow.logits(TOKENS).dtype == np.float32
    np.testing.assert_allclose(narrow.logits(TOKENS), MODEL.logits(TOKENS), atol=1e-4)


# What is refused, and changes nothing ------------------------------------------------------------------


def a_cache(**settings):
    cache = MODEL.cache(**{"dtype": float, "capacity": 4, **settings})
    MODEL.logits(np.broadcast_to(TOKENS[:3], (*cache.batch, 3)), cache)
    return cache


@pytest.mark.parametrize(
    ("tokens", "cache", "error", "complaint"),
    [
        ([], a_cache(), ValueError, "tokens is empty; wanted one token or more"),
        ([[]], a_cache(), ValueError, "tokens is empty; wanted one token or more"),
        ([11], a_cache(), ValueError, "tokens holds 11; wanted integers from 0 to 10"),
        ([3, -1], a_cache(), ValueError, "tokens holds -1; wanted integers from 0 to 10"),
        ([0.5], a_cache(), TypeError, r"tokens is \[0.5\]; wanted integers, one for each token"),
        ("text", a_cache(), TypeError, "tokens is 'text'; wanted integers"),
        (3, a_cache(), TypeError, "tokens is 3; wanted integers"),
        ([[3], [4]], a_cache(), ValueError, r"tokens has shape \(2, 1\); wanted \('n',\), the cache's batch"),
        ([3], a_cache(batch=(2,)), ValueError, r"tokens has shape \(1,\); wanted \(2, 'n'\)"),
        ([3] * 62, a_cache(), ValueError, "tokens brings 62 after 3; wanted at most 64 in all"),
        ([3], {}, TypeError, r"cache is a dict; wanted one that model.cache\(\) has made"),
        ([3], replace(MODEL, g=3).cache(), ValueError, r"cache has .* \(3, 3, 4\); wanted \(3, 2, 4\)"),
    ],
)
@pytest.mark.parametrize("call", ["logits", "prefill", "generate"])
def test_what_does_not_fit_is_named_and_the_cache_stays(call, tokens, cache, error, complaint):
    before = getattr(cache, "taken", 0)
    calls = {
        "logits": lambda: MODEL.logits(tokens, cache),
        "prefill": lambda: MODEL.prefill(tokens, cache, chunk=2),
        "generate": lambda: next(MODEL.generate(tokens, 1, cache=cache)),
    }
    with pytest.raises(error, match=complaint):
        calls[call]()
    assert getattr(cache, "taken", 0) == before


def test_after_an_interruption_the_cache_is_as_it_was():
    cache, calls = a_cache(), []

    def interrupted(*arrays, **rest):
        calls.append(arrays)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return numpy_direct.attention(*arrays, **rest)

    with pytest.raises(KeyboardInterrupt):
        MODEL.logits([7, 7, 7, 7, 7], cache, attention=interrupted)
    assert cache.taken == 3
    close(MODEL.logits(TOKENS[3:], cache), MODEL.logits(TOKENS)[3:])


def test_starts_and_texts_are_as_many():
    with pytest.raises(ValueError, match=r"starts has 3 numbers; wanted one for each text of \(2,\)"):
        MODEL.cache((2,), starts=[0, 1, 2])
    with pytest.raises(ValueError, match="starts holds -1; wanted whole numbers, 0 or more"):
        MODEL.cache((2,), starts=[0, -1])
    for texts in ([], [[1, 2], []]):
        with pytest.raises(ValueError, match=r"texts has lengths .* none of them empty"):
            left_padded(texts)
    with pytest.raises(ValueError, match="cache begins its texts at several places"):
        MODEL.cache((2,), starts=[0, 1]).forget(masks.causal)


def test_an_implementation_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="implementation is 'flash'; wanted one of numpy_direct"):
        attention_of("flash")
    absent = next((name for name, i in IMPLEMENTATIONS.items() if i.why_not()), None)
    if absent:
        with pytest.raises(ValueError, match=f"implementation {absent} cannot run here: "):
            attention_of(absent)


@pytest.mark.parametrize("rule", [None, np.tri(3, dtype=bool), "causal"])
def test_what_is_no_rule_is_refused(rule):
    """None would be no mask at all."""
    for call in (MODEL.logits, MODEL.prefill):
        with pytest.raises(
            TypeError, match=r"rule is a \w+; wanted one of selfattention\.masks, like causal"
        ):
            call(TOKENS[:3], MODEL.cache(), rule)


def test_a_rule_that_ends_too_early_is_named():
    """At once, from a cache, in a batch that is padded, and where rows are forgotten."""
    table = masks.Table(np.tri(5, dtype=bool))
    cache = a_cache()
    batch = MODEL.cache((2,), float, starts=[0, 1])
    for call in (
        lambda: MODEL.logits(TOKENS[:6], rule=table),
        lambda: MODEL.logits(TOKENS[:3], cache, table),
        lambda: MODEL.logits([TOKENS[:6], TOKENS[:6]], batch, table),
    ):
        with pytest.raises(ValueError, match="mask ends before"):
            call()
    close(MODEL.logits(TOKENS[3:5], cache, table), MODEL.logits(TOKENS[:5])[3:])
    cache.forget(masks.causal & masks.window(2))
    with pytest.raises(ValueError, match="rule ends before position 5: it is Table"):
        MODEL.logits([1], cache, table)
