"""Chapter 15: a step with its cache, what a cache costs, and what may change in it without harm."""

from fractions import Fraction
from functools import partial, reduce

import language
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention import masks
from selfattention.formulas import (
    attention,
    attention_flops,
    cache_bytes,
    decode_intensity,
    finish_state,
    latent_cache_bytes,
    layer_norm,
    log_sum_exp,
    masked_attention,
    masked_scores,
    merge_states,
    quantised,
    restored,
    rms_norm,
    rotary,
    rotary_step,
    scaled_scores,
    silu,
    softmax,
    step,
    swiglu,
    tile_state,
    with_sink,
)
from selfattention.implementations import numpy_direct
from selfattention.mutants import decoding_prices
from selfattention.trained import smollm2
from selfattention.trained.language_model import perplexity

# The chapter's example: keys ln 1, ln 2, ln 5 in one dimension, the query 1, values 8, 4, 0.
K = np.log([[[1.0], [2.0], [5.0]]])
V = np.array([[[8.0], [4.0], [0.0]]])
ONE = np.ones((1, 1, 1))


def test_rms_norm_by_hand():
    """1 and 7 have the mean square 25, and 3 and 4 half of it."""
    np.testing.assert_allclose(rms_norm(np.array([[1.0, 7.0]]), np.array([5.0, 10.0]), epsilon=0), [[1, 14]])
    np.testing.assert_allclose(rms_norm(np.array([[1.0, 7.0]]), np.ones(2), epsilon=11), [[1 / 6, 7 / 6]])


def test_rms_norm_of_centred_rows_is_layer_norm(rng):
    X, g = rng.normal(size=(5, 7)), rng.normal(size=7)
    X -= X.mean(1, keepdims=True)
    ours = rms_norm(X, g, epsilon=1e-5)
    np.testing.assert_allclose(ours, layer_norm(X, g, np.zeros(7), epsilon=1e-5), rtol=1e-13)


def test_rms_norm_agrees_with_torch(rng):
    X, g = rng.normal(size=(2, 5, 7)), rng.normal(size=7)
    theirs = torch.nn.functional.rms_norm(torch.from_numpy(X), (7,), torch.from_numpy(g), 1e-5)
    np.testing.assert_allclose(rms_norm(X, g), theirs, rtol=1e-13)


def test_rms_norm_does_not_take_an_infinite_mean_square():
    with pytest.raises(ValueError, match=r"^X, g leave the range of float32: _mean_square gives inf"):
        rms_norm(np.full((1, 2), 1e30, "f4"), np.ones(2, "f4"))
    with pytest.raises(ValueError, match=r"leave the range of float64: rms_norm divides by the root of 1"):
        rms_norm(np.full((1, 2), 1e-160), np.ones(2), epsilon=0)


def test_silu_by_hand():
    """e^(ln 3) = 3, so ln 3 · 3/4 and −ln 3 · 1/4."""
    np.testing.assert_allclose(silu(np.log([3.0, 1 / 3, 1])), np.log(3) * np.array([3 / 4, -1 / 4, 0]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_silu_far_out(dtype):
    """0 on the left, x on the right, and no overflow on the way."""
    np.testing.assert_array_equal(silu(np.array([-60_000, 60_000], dtype)), np.array([0, 60_000], dtype))


def test_swiglu_by_hand():
    """One token (1, 2): the gate ln 3 + 0 opens by 3/4 of ln 3, the other branch holds 1 + 2 · 4 = 9."""
    X, W_gate, W_up = np.array([[1.0, 2.0]]), np.array([[np.log(3)], [0]]), np.array([[1.0], [4.0]])
    Y = swiglu(X, W_gate, W_up, np.array([[2.0, -1.0]]))
    np.testing.assert_allclose(Y, np.log(3) * 27 / 4 * np.array([[2, -1]]))


def test_swiglu_agrees_with_torch(rng):
    X, W_gate, W_up, W_down = (rng.normal(size=s) for s in [(2, 5, 7), (7, 11), (7, 11), (11, 7)])
    x, gate, up, down = map(torch.from_numpy, (X, W_gate, W_up, W_down))
    theirs = (torch.nn.functional.silu(x @ gate) * (x @ up)) @ down
    np.testing.assert_allclose(swiglu(X, W_gate, W_up, W_down), theirs, rtol=1e-12, atol=1e-13)


def test_step_by_hand():
    """Two keys in the cache, the third arrives: (1 · 8 + 2 · 4 + 5 · 0) / 8 = 2."""
    O, all_K, all_V = step(ONE, K[:, 2:], V[:, 2:], K[:, :2], V[:, :2])
    np.testing.assert_allclose(O, [[[2]]])
    np.testing.assert_array_equal(all_K, K)
    np.testing.assert_array_equal(all_V, V)


def test_step_of_several_by_hand():
    """Key ln 1 cached, two arrive: the first sees 8 and 4 with weights 1/3 and 2/3, the second all."""
    O, _, _ = step(np.ones((1, 2, 1)), K[:, 1:], V[:, 1:], K[:, :1], V[:, :1])
    np.testing.assert_allclose(O, [[[16 / 3], [2]]])


def test_step_from_nothing():
    """The first token sees itself alone."""
    O, _, _ = step(ONE, K[:, :1], V[:, :1], K[:, :0], V[:, :0])
    np.testing.assert_array_equal(O, V[:, :1])


def test_step_heads_in_groups_by_hand():
    """Four heads, two groups: heads 0 and 1 read group 0, heads 2 and 3 group 1."""
    V = np.array([[[3.0]], [[7.0]]])
    O, _, _ = step(np.ones((4, 1, 1)), np.ones((2, 1, 1)), V, np.ones((2, 0, 1)), np.ones((2, 0, 1)))
    np.testing.assert_array_equal(O.ravel(), [3, 3, 7, 7])


def test_step_wants_as_many_heads_for_each_group():
    Q, K = np.ones((3, 1, 2)), np.ones((2, 1, 2))
    with pytest.raises(ValueError, match=r"^Q has 3 heads; wanted a multiple of the 2 of K"):
        step(Q, K, K, K, K)


def test_step_leaves_the_cache_it_was_given(rng):
    Q, K, V, past_K, past_V = (rng.normal(size=(2, n, 3)) for n in (1, 1, 1, 5, 5))
    before = past_K.copy(), past_V.copy()
    _, all_K, all_V = step(Q, K, V, past_K, past_V)
    all_K[:], all_V[:] = 0, 0
    np.testing.assert_array_equal(past_K, before[0])
    np.testing.assert_array_equal(past_V, before[1])


def test_step_without_a_cache_and_one_token_is_attention(rng):
    Q, K, V = (rng.normal(size=(2, 1, 3)) for _ in range(3))
    np.testing.assert_array_equal(step(Q, K, V, K[:, :0], V[:, :0])[0], attention(Q, K, V))


H, G, N, D_K, D_V = 6, 2, 7, 4, 3


def sequence(rng, dtype=np.float64, n=N, g=G):
    """Q of six heads, K and V of two groups, for seven tokens."""
    shapes = (H, n, D_K), (g, n, D_K), (g, n, D_V)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def in_chunks(step, Q, K, V, ends):
    """O, K and V after steps that end before these tokens."""
    cache, outputs = (K[:, :0], V[:, :0]), []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        new = slice(start, end)
        O, *cache = step(Q[:, new], K[:, new], V[:, new], *cache)
        outputs.append(O)
    return np.concatenate(outputs, axis=1), *cache


def assert_close(ours, theirs, atol):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-13), (np.float32, 5e-6)])
def test_step_is_recomputation(rng, dtype, atol):
    """Claim: one token at a time from a cache gives what all tokens at once give, up to rounding."""
    Q, K, V = sequence(rng, dtype)
    visible = np.tri(N, dtype=bool)
    for t in range(1, N + 1):
        O, *cache = in_chunks(step, Q[:, :t], K[:, :t], V[:, :t], range(1, t + 1))
        repeated = (np.repeat(x[:, :t], H // G, axis=0) for x in (K, V))
        afresh = masked_attention(Q[:, :t], *repeated, visible[:t, :t])
        np.testing.assert_allclose(O, afresh, atol=atol, rtol=0)
        assert_close(cache, (K[:, :t], V[:, :t]), 0)


@settings(max_examples=20)
@given(st.sets(st.integers(1, N - 1)))
def test_step_in_chunks(cuts):
    """Claim: however a prompt is cut into chunks, outputs and cache are those of one chunk."""
    Q, K, V = sequence(np.random.default_rng(0))
    whole = step(Q, K, V, K[:, :0], V[:, :0])
    assert_close(in_chunks(step, Q, K, V, [*sorted(cuts), N]), whole, 1e-13)


def test_step_grouped_heads(rng):
    """Claim: heads in groups are heads with equal keys and values, to the bit, in g / h of the cache."""
    Q, K, V = sequence(rng)
    tied = [np.repeat(x, H // G, axis=0) for x in (K, V)]
    O, *cache = step(Q, K, V, K[:, :0], V[:, :0])
    O_tied, *cache_tied = step(Q, *tied, *(x[:, :0] for x in tied))
    np.testing.assert_array_equal(O, O_tied)
    for ours, theirs in zip(cache, cache_tied, strict=True):
        assert ours.nbytes * H == theirs.nbytes * G


def test_step_left_padding(rng):
    """Claim: padded on the left and told so, a short member of a batch gets what it gets alone.

    Whatever stands in the padding, and though its positions are counted from the first column:
    turned keys and queries know only how far they are apart.
    """
    lengths = [4, N]
    members = [sequence(np.random.default_rng(seed), n=n) for seed, n in enumerate(lengths)]
    columns = np.arange(N)
    padded = [np.full((2, heads, N, d), 9.0) for heads, d in ((H, D_K), (G, D_K), (G, D_V))]
    for b, member in enumerate(members):
        for whole, own in zip(padded, member, strict=True):
            whole[b, :, N - lengths[b] :] = own
    Q, K, V = (rotary(padded[0], columns), rotary(padded[1], columns), padded[2])
    allowed = masks.causal & ~masks.padding([N - n for n in lengths])
    for t in range(max(N - lengths[0], 1), N):  # a step of all members, each with its own last token
        rule = masks.bottom_right(allowed, 1, t + 1)
        O, _ = numpy_direct.attention(Q[:, :, t : t + 1], K[:, :, : t + 1], V[:, :, : t + 1], mask=rule)
        for b, n in enumerate(lengths):
            own = [x[:, : t + 1 - N + n] for x in members[b]]
            alone, *_ = rotary_step(*own, own[1][:, :0], own[2][:, :0])
            np.testing.assert_allclose(O[b, :, 0], alone[:, -1], atol=1e-13)


def test_step_any_order(rng):
    """Claim: the newest token's output does not know in which order its cache lies, or in which pages."""
    Q, K, V = sequence(rng, n=23)
    last = Q[:, -1:]
    O, *_ = step(last, K[:, -1:], V[:, -1:], K[:, :-1], V[:, :-1])
    pages = [slice(at, at + 4) for at in (20, 4, 0, 16, 8, 12)]
    jumbled = [np.concatenate([x[:, page] for page in pages], axis=1) for x in (K, V)]
    shuffled, *_ = step(last, jumbled[0][:, -1:], jumbled[1][:, -1:], *(x[:, :-1] for x in jumbled))
    np.testing.assert_allclose(shuffled, O, atol=1e-13)
    K, V = (np.repeat(x, H // G, axis=0) for x in (K, V))
    states = [tile_state(scaled_scores(last, K[:, page]), V[:, page]) for page in pages]
    merged, _ = finish_state(*reduce(lambda a, b: merge_states(*a, *b), states))  # a page alone, then all
    np.testing.assert_allclose(merged, O, atol=1e-13)


@pytest.mark.parametrize(("w", "k"), [(5, 0), (5, 2), (1, 1), (30, 2)])
def test_step_forgetting(rng, w, k):
    """Claim: under a window of w and k sinks, a cache of k + w − 1 rows gives what the whole cache gives."""
    rule = masks.causal & (masks.window(w) | masks.sinks(k))
    Q, K, V = sequence(rng, n=23)
    whole, _ = numpy_direct.attention(Q, K, V, mask=rule)
    cache = K[:, :0], V[:, :0]
    for t in range(23):
        O, *cache = step(Q[:, t : t + 1], K[:, t : t + 1], V[:, t : t + 1], *cache)
        np.testing.assert_allclose(O, whole[:, t : t + 1], atol=1e-13)
        held = cache[0].shape[1]
        if held == k + w:  # the next token's window has moved on
            cache = [np.delete(x, k, axis=1) for x in cache]
        assert cache[0].shape[1] <= k + w - 1


def test_rotary_step_by_hand():
    """Two columns turn by one radian a token: the third token meets the first 2 radians away, itself at 0."""
    one = np.array([[[1.0, 0.0]]])
    past_K = rotary(np.repeat(one, 2, axis=1), np.arange(2))
    values = np.array([[[1.0], [0.0], [0.0]]])
    O, K, _ = rotary_step(one, one, values[:, 2:], past_K, values[:, :2])
    e = np.exp(np.cos([2, 1, 0]) / 2**0.5)
    np.testing.assert_allclose(O[0, 0, 0], e[0] / e.sum())
    np.testing.assert_allclose(K[0, 2], [np.cos(2), np.sin(2)])


@settings(max_examples=20)
@given(st.sets(st.integers(1, N - 1)))
def test_rotary_step_turned_once(cuts):
    """Claim: a key is turned once, by its own position, however the tokens come: in chunks as at once."""
    Q, K, V = sequence(np.random.default_rng(0))
    O, turned, _ = in_chunks(rotary_step, Q, K, V, [*sorted(cuts), N])
    places = np.arange(N)
    at_once = step(rotary(Q, places), rotary(K, places), V, K[:, :0], V[:, :0])
    assert_close((O, turned), at_once[:2], 1e-13)


def test_rotary_step_shifted(rng):
    """Claim: a cache whose positions all began later gives the same, one turned by one too many does not."""
    Q, K, V = sequence(rng)
    new, past = np.s_[:, -1:], np.s_[:, :-1]
    right, *_ = rotary_step(Q[new], K[new], V[new], rotary(K[past], np.arange(N - 1)), V[past])
    later = [rotary(x, np.arange(100, 100 + N)) for x in (Q, K)]
    shifted, *_ = step(later[0][new], later[1][new], V[new], later[1][past], V[past])
    np.testing.assert_allclose(shifted, right, atol=1e-13)
    off, *_ = rotary_step(Q[new], K[new], V[new], rotary(K[past], 1 + np.arange(N - 1)), V[past])
    assert np.abs(off - right).max() > 0.01


def test_rotary_step_wants_columns_in_pairs():
    odd = np.ones((1, 1, 3))
    with pytest.raises(ValueError, match=r"^Q has width 3; wanted an even one"):
        rotary_step(odd, odd, odd, odd, odd)


# layers, groups, width: Llama-2-7B, Llama-2-70B and Llama-3-8B in bfloat16, SmolLM2-135M in float32.
@pytest.mark.parametrize(
    ("layers", "g", "d", "word_bytes", "per_token"),
    [
        (32, 32, 128, 2, 524_288),
        (80, 8, 128, 2, 327_680),
        (32, 8, 128, 2, 131_072),
        (30, 3, 64, 4, 46_080),
    ],
)
def test_cache_bytes_known(layers, g, d, word_bytes, per_token):
    assert cache_bytes(1, layers, g, d, word_bytes) == per_token
    assert cache_bytes(4096, layers, g, d, word_bytes) == 4096 * per_token


def test_cache_bytes_are_those_of_the_arrays():
    cache = [[np.zeros((2, 5, 3), "f4") for _ in "KV"] for _ in range(7)]
    assert cache_bytes(5, 7, 2, 3, 4) == sum(array.nbytes for pair in cache for array in pair) == 1680


# DeepSeek-V3 and V2: 512 columns and 64 turned ones, in bfloat16.
@pytest.mark.parametrize(("layers", "per_token"), [(61, 70_272), (60, 69_120)])
def test_latent_cache_bytes_known(layers, per_token):
    assert latent_cache_bytes(1, layers, 512, 64, 2) == per_token
    assert latent_cache_bytes(1000, layers, 512, 64, 2) == 1000 * per_token


def test_latent_cache_bytes_in_groups():
    """Claim: 512 + 64 columns cost what two and a quarter groups of width 128 would."""
    groups = Fraction(latent_cache_bytes(1, 61, 512, 64, 2), cache_bytes(1, 61, 1, 128, 2))
    assert groups == Fraction(9, 4)


def test_decode_intensity_by_hand():
    """One layer, one head, three keys of width 5, two bytes each: 60 operations for 60 bytes."""
    assert decode_intensity(3, 1, 1, 1, 5, 2) == attention_flops(1, 3, 5, 5) / 60 == 1
    assert decode_intensity(3, 1, 1, 1, 5, 2, weights=10) == 80 / 80
    assert decode_intensity(3, 1, 4, 1, 5, 2, weights=10) == (240 + 20) / 80
    assert decode_intensity(3, 1, 1, 1, 5, 2, weights=10, b=2) == 160 / 140
    assert decode_intensity(3, 1, 1, 1, 5, 2, weights=10, n=2) == 160 / 80


@given(*[st.integers(1, 1000)] * 4, st.sampled_from([1, 2, 4]), st.integers(1, 100))
def test_decode_intensity_of_attention(m, layers, g, d, word_bytes, n):
    """Claim: of attention alone, 2 n h / (g B), whatever the context; a batch shares weights, no cache."""
    intensity = partial(decode_intensity, m, layers, 4 * g, g, d, word_bytes)
    assert intensity(n=n) == intensity(n=n, b=7) == 2 * n * 4 / word_bytes
    alone, batch = (decode_intensity(0, layers, g, g, d, word_bytes, weights=99, b=b) for b in (1, 7))
    assert batch == pytest.approx(7 * alone)


def test_decode_intensity_of_nothing_is_refused():
    with pytest.raises(
        ValueError, match=r"^m is 0, with layers 5 and weights 0; wanted something to be read"
    ):
        decode_intensity(0, 5, 1, 1, 2, 4)


def test_with_sink_by_hand():
    """L = ln 8, as in the example, and a sink of score ln 8: half the attention goes there."""
    O, L = with_sink(np.array([[2.0]]), np.log([8.0]), np.log([8.0]))
    np.testing.assert_allclose(O, [[1]])
    np.testing.assert_allclose(L, np.log([16]))


@given(st.floats(-50, 50))
def test_with_sink_is_one_key_more(s):
    """Claim: what a further key of score s and value 0 does, for each row; who sees nothing gives it all."""
    rng = np.random.default_rng(0)
    S, V = np.where(rng.random((5, 7)) < 0.7, rng.normal(size=(5, 7)), -np.inf), rng.normal(size=(7, 3))
    S[0] = -np.inf
    O, L = with_sink(softmax(S) @ V, log_sum_exp(S), np.full(5, s))
    more = np.concatenate([np.full((5, 1), s), S], axis=1)
    A = softmax(more)
    np.testing.assert_allclose(O, A @ np.concatenate([np.zeros((1, 3)), V]), atol=1e-13)
    np.testing.assert_allclose(L, log_sum_exp(more), rtol=1e-12, atol=1e-12)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(A[:, 0], 1 / (1 + np.exp(log_sum_exp(S) - s)), rtol=1e-9)
    assert A[0, 0] == 1


def test_with_sink_agrees_with_a_softmax_with_one_more_below(rng):
    """s = 0: e^{s_j} / (1 + Σ e^{s_j}), the softmax that may say nothing, spelt out in torch."""
    S, V = rng.normal(size=(5, 7)), rng.normal(size=(7, 3))
    e = torch.exp(torch.from_numpy(S))
    theirs = e / (1 + e.sum(-1, keepdim=True)) @ torch.from_numpy(V)
    O, _ = with_sink(softmax(S) @ V, log_sum_exp(S), np.zeros(5))
    np.testing.assert_allclose(O, theirs, atol=1e-14)


def test_quantised_by_hand():
    """Four bits, from −7 to 7: the largest, 3.5, is 7 steps of a half; 1.2 is 2.4 steps."""
    q, step = quantised(np.array([[3.5, -1.2, 0.3, -3.4], [0.0, 0, 0, 0]]), 4)
    np.testing.assert_array_equal(q, [[7, -2, 1, -7], [0, 0, 0, 0]])
    np.testing.assert_allclose(step, [0.5, 0])
    assert q.dtype == np.int8


def test_quantised_has_a_step_for_each_head_and_token(rng):
    X = rng.normal(size=(3, 5, 8))
    q, step = quantised(X, 8)
    assert step.shape == (3, 5)
    assert (np.abs(q).max(-1) == 127).all()
    for at in np.ndindex(3, 5):
        alone, its_step = quantised(X[at][None], 8)
        np.testing.assert_array_equal(q[at], alone[0])
        assert step[at] == its_step


numbers = st.floats(-1e4, 1e4, width=32).map(lambda x: x if abs(x) > 1e-30 else 0)
rows = arrays(np.float32, (3, 5), elements=numbers)


@given(rows, st.integers(2, 8))
def test_quantised_half_step(X, bits):
    """Claim: no number is off by more than half a step, and the largest of a row by nothing but rounding."""
    q, step = quantised(X, bits)
    error = np.abs(restored(q, step).astype(np.float64) - X)
    rounding = 2 * np.finfo(np.float32).eps * np.abs(X).max(-1, keepdims=True)
    assert (error <= step[:, None] / 2 + rounding).all()
    largest = np.abs(X) == np.abs(X).max(-1, keepdims=True)
    assert (error[largest] <= np.broadcast_to(rounding, X.shape)[largest]).all()


def test_quantised_scores(rng):
    """Claim: a score q · k moves by no more than Δ / 2 times the sum of abs(q)."""
    Q, K = rng.normal(size=(5, 64)), rng.normal(size=(11, 64))
    for bits in (8, 4):
        q, step = quantised(K, bits)
        moved = np.abs(Q @ restored(q, step).T - Q @ K.T)
        bound = np.abs(Q).sum(1)[:, None] * step / 2
        assert (moved <= bound).all()
        assert moved.max() > bound.max() / 50


def test_quantised_of_what_float32_hardly_knows_is_refused():
    with pytest.raises(ValueError, match=r"^X leave the range of float32: quantised divides by"):
        quantised(np.full((1, 2), 1e-43, "f4"), 8)


def test_quantised_rows_without_numbers_have_no_step():
    q, step = quantised(np.zeros((2, 0)), 8)
    assert q.shape == (2, 0)
    np.testing.assert_array_equal(step, [0, 0])


def test_quantised_down_to_the_smallest_step_that_keeps_its_digits():
    """127 times the smallest normal number: that number is the step. The first below it is refused."""
    tiny = np.finfo(np.float32).tiny
    X = np.array([[127 * tiny], [127 * tiny / 2], [127 * tiny / 4]], np.float32)
    q, step = quantised(X[:1], 8)
    assert (q.item(), step.item()) == (127, tiny)
    with pytest.raises(ValueError, match=f"quantised divides by {tiny / 2};"):
        quantised(X, 8)


@pytest.mark.parametrize("bits", [1, 9])
def test_quantised_wants_two_to_eight_bits(bits):
    with pytest.raises(ValueError, match=f"^bits is {bits}; wanted an integer from 2 to 8$"):
        quantised(np.ones((1, 2)), bits)


def test_restored_by_hand():
    np.testing.assert_allclose(restored(np.array([[7, -2], [1, 0]]), np.array([0.5, 3])), [[3.5, -1], [3, 0]])


def test_restored_is_kept(rng):
    """What was restored is quantised to the same whole numbers: a second time nothing is lost."""
    for bits in range(2, 9):
        q, step = quantised(rng.normal(size=(5, 8)), bits)
        again, its_step = quantised(restored(q, step), bits)
        np.testing.assert_array_equal(again, q)
        np.testing.assert_allclose(its_step, step)


# ---- the claims about the language model, on the beginning of its story


@pytest.fixture(scope="module")
def model():
    language.needed()
    return smollm2.load()


@pytest.fixture(scope="module")
def story(model):
    return model.tokens(smollm2.story())[:200]


class Hidden(masks.Rule):
    """These keys, hidden from the queries from `since` on."""

    def __init__(self, keys, since):
        self.keys, self.since = keys, since

    def __call__(self, i, j):
        return ~(np.isin(j, self.keys) & (i >= self.since))


@pytest.fixture(scope="module")
def cost(model, story):
    """Perplexity of the story's second half, by what its queries may see."""
    rules = {
        "everything": masks.causal,
        "no key 0": masks.causal & Hidden([0], 64),
        "no keys 4 to 63": masks.causal & Hidden(range(4, 64), 64),
        "window and key 0": masks.causal & (masks.window(63) | masks.sinks(1)),
        "key 0 for nobody else": masks.causal & Hidden([0], 1),
    }
    scores = {name: model.logits(story, rule=rule) for name, rule in rules.items()}
    return {name: perplexity(S[96:-1], story[97:]) for name, S in scores.items()}


def test_decoding_model_cache(model):
    """Claim: after each token, logits from a cache are those of the whole text; not to the last bit."""
    tokens = model.tokens("The capital of France is Paris. The")
    cache, off = model.cache(), []
    for t in range(5, len(tokens) + 1):
        from_cache = model.logits(tokens[cache.taken : t], cache)[-1]
        off.append(np.abs(from_cache - model.logits(tokens[:t])[-1]).max())
    assert 0 < max(off) < 2e-4


def test_decoding_paris_is_no_test():
    """Claim: a mistake says Paris at five times the perplexity; one is rewarded; one changes no choice."""
    prices = decoding_prices.load()
    rows = {row["name"]: row for row in prices["rows"] if "perplexity" in row}
    right = rows["rotary_step"]["perplexity"]
    assert rows["the_other_convention"]["paris"]
    assert rows["the_other_convention"]["perplexity"] > 5 * right
    assert rows["future_seen"]["perplexity"] < right / 2
    assert rows["one_place_too_early"]["top1"] == 1
    assert rows["one_place_too_early"]["perplexity"] < 1.001 * right
    assert rows["one_place_too_early"]["largest"] > 1


def test_decoding_first_key(model, story):
    """Claim: from layer 12 on the first token gets a quarter of all attention, and its value is short."""
    shares, lengths = [], []

    def listening(Q, K, V, mask):
        repeated = np.repeat(K, Q.shape[0] // K.shape[0], axis=0)
        A = softmax(masked_scores(scaled_scores(Q, repeated), np.tri(len(story), dtype=bool)))
        shares.append(A[:, 64:, 0].mean())
        norms = np.linalg.norm(V, axis=-1)
        lengths.append((norms[:, 0] / np.median(norms, axis=-1)).mean())
        return numpy_direct.attention(Q, K, V, mask=mask)

    model.logits(story, attention=listening)
    assert min(shares[12:]) > 0.25
    assert max(lengths[12:]) < 0.5


def test_decoding_sink_hidden(cost):
    """Claim: one key taken away costs more than sixty, and than a window that leaves it in sight."""
    assert cost["no key 0"] > 2 * cost["everything"]
    assert max(cost["no keys 4 to 63"], cost["window and key 0"]) < 1.5 * cost["everything"]


def test_decoding_sink_moves(cost):
    """Claim: hidden from everybody from the start, the first key costs next to nothing."""
    assert cost["key 0 for nobody else"] < 1.05 * cost["everything"]
