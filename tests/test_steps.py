"""attention.steps: on a cache, step by step, the same numbers as `attention` on what the cache holds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattention import masks
from selfattention.implementations import numba_tiled, numpy_direct, stepping
from selfattention.masks import Rule, bottom_right, causal, documents, everybody, padding, sinks, window

BOTH = pytest.mark.parametrize("module", [numpy_direct, numba_tiled], ids=["numpy_direct", "numba_tiled"])
LAYERS, ROOM = 2, 150
RULES = {
    "causal": causal,
    "everybody": everybody,
    "window": causal & window(7),
    "window and sinks": causal & (window(5) | sinks(3)),
    "far away": causal & ~window(90),  # the first rows see nobody
    "documents": causal & documents(np.arange(ROOM) // 11),
    "left padding": causal & ~padding([3, 70]),
    "heads": masks.Table(np.random.default_rng(7).random((6, ROOM, ROOM)) < 0.5),
}


def drawn(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def cached(batch=(), g=2, d=8, d_v=5, dtype=np.float32, room=ROOM):
    """K and V of all layers, with NaN where nothing has been written."""
    K, V = (drawn(LAYERS, *batch, g, room, width, seed=width, dtype=dtype) for width in (d, d_v))
    return K, V


def assert_same(came, wanted):
    """Equal but for the order in which a product may be summed."""
    for one, other in zip(came, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def by_attention(module, Q, K, V, length, rule=causal, scale=None, **rest):
    mask = bottom_right(rule, Q.shape[-2], length)
    return module.attention(Q, K[..., :length, :], V[..., :length, :], mask=mask, scale=scale, **rest)


@BOTH
@settings(max_examples=60)
@given(
    name=st.sampled_from([*RULES]),
    batch=st.sampled_from([(), (2,), (1, 2)]),
    g=st.sampled_from([1, 2, 3, 6]),
    n=st.integers(1, 9),
    before=st.integers(0, ROOM - 9),
    d=st.sampled_from([1, 8, 17]),
    scale=st.sampled_from([None, 0.3, -1.0]),
    softcap=st.sampled_from([None, 0.7]),
    sinks_of_layers=st.booleans(),
)
def test_a_step_is_attention_on_what_the_cache_holds(
    module, name, batch, g, n, before, d, scale, softcap, sinks_of_layers
):
    batch = (2,) if name == "left padding" else batch
    K, V = cached(batch, g, d)
    length = before + n
    K[..., length:, :] = V[..., length:, :] = np.nan  # room that nobody has filled yet
    Q = drawn(*batch, 6, n, d, seed=1)
    sink = drawn(LAYERS, 6, seed=2) if sinks_of_layers else None
    attends = module.steps(K, V, mask=RULES[name], scale=scale, softcap=softcap, sink=sink)
    for layer in range(LAYERS):
        came, rest = attends[layer](Q, length), {"softcap": softcap}
        if sink is not None:
            rest["sink"] = sink[layer]
        assert_same(came, by_attention(module, Q, K[layer], V[layer], length, RULES[name], scale, **rest))


@BOTH
@pytest.mark.parametrize("name", RULES)
def test_step_after_step_in_pieces_of_any_size(module, name):
    """The cache is filled while its steps are in use: what is asked once must not be what changes."""
    batch = (2,) if name == "left padding" else ()
    K, V = cached(batch)
    room = np.full_like(K, np.nan), np.full_like(V, np.nan)
    attends, length = module.steps(*room, mask=RULES[name]), 0
    for n in 1, 5, 1, 1, 64, 1, 2, 1, 1:
        rows, length = slice(length, length + n), length + n
        for layer in range(LAYERS):
            room[0][layer, ..., rows, :], room[1][layer, ..., rows, :] = (
                K[layer, ..., rows, :],
                V[layer, ..., rows, :],
            )
            Q = drawn(*batch, 6, n, 8, seed=length + layer)
            assert_same(
                attends[layer](Q, length), by_attention(module, Q, K[layer], V[layer], length, RULES[name])
            )


@BOTH
def test_a_cache_that_forgets_gives_what_the_whole_gives(module):
    """Of window(5) and sinks(3): the first three rows and the last five, whatever came between."""
    rule, (K, V) = RULES["window and sinks"], cached()
    kept = np.r_[0:3, 96:101]
    short = (array[..., kept, :].copy() for array in (K, V))
    Q = drawn(6, 1, 8)
    for attend, whole in zip(module.steps(*short, mask=rule), module.steps(K, V, mask=rule), strict=True):
        assert_same(attend(Q, len(kept)), whole(Q, 101))


@BOTH
def test_one_head_needs_no_axis_for_it(module):
    K, V = cached()
    K, V, Q = K[:, 0], V[:, 0], drawn(3, 8)
    for attend, keys, values in zip(module.steps(K, V), K, V, strict=True):
        assert_same(attend(Q, 11), by_attention(module, Q, keys, values, 11))


@BOTH
@pytest.mark.parametrize(
    "what", ["half", "read-only", "not in order", "Q not in order", "no rows", "no keys"]
)
def test_whatever_the_arithmetic_has_no_short_way_for_goes_the_long_one(module, what):
    K, V = cached(dtype=np.float16 if what == "half" else np.float32)
    Q, length = drawn(6, 0 if what == "no rows" else 2, 8, dtype=K.dtype), 0 if what == "no keys" else 70
    if what == "not in order":
        K, V = (np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2) for array in (K, V))
    if what == "Q not in order":
        Q = np.asfortranarray(Q)
    K.flags.writeable = what != "read-only"
    for attend, keys, values in zip(module.steps(K, V), K, V, strict=True):
        assert_same(attend(Q, length), by_attention(module, Q, keys, values, length))


# What is not finite ------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", ["Q", "K", "V"])
def test_what_is_not_finite_is_as_the_contract_says(module, bad, where):
    """NaN where it is seen, or where a score overflows; not a bit where it is hidden; 3e38 is finite."""
    K, V = cached()
    Q, length = drawn(6, 3, 8), 80
    clean = module.steps(K, V, mask=RULES["window"])[0](Q, length)
    for row in 79, 74, 20:  # the last query sees it; all see it; nobody does
        k, v, q = K.copy(), V.copy(), Q.copy()
        {"Q": q[:, 2], "K": k[0, :, row], "V": v[0, :, row]}[where][..., 1] = bad
        came = module.steps(k, v, mask=RULES["window"])[0](q, length)
        wanted = by_attention(module, q, k[0], v[0], length, RULES["window"])
        for one, other in zip(came, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        if row == 20 and where != "Q":
            np.testing.assert_array_equal(came[0], clean[0])
            np.testing.assert_array_equal(came[1], clean[1])
        elif bad != 3e38:
            assert np.isnan(came[0][:, 2]).all()
            assert np.isnan(came[1][:, 2]).all()


@BOTH
def test_scores_that_overflow_to_both_sides_are_nan(module):
    """−∞ alone would be a weight of 0, and nobody would notice."""
    K, V = cached()
    K[0, :, 5] = -1e30
    O, L = module.steps(K, V)[0](np.full((6, 1, 8), 1e30, np.float32), 9)
    assert np.isnan(O).all()
    assert np.isnan(L).all()


@BOTH
def test_rows_that_see_nobody_are_zero_whatever_stands_in_them(module):
    K, V = cached()
    Q = drawn(6, 2, 8)
    Q[:, 0] = np.nan
    O, L = module.steps(K, V, mask=causal & ~window(1))[0](Q, 3)  # the first of the two sees key 0 alone
    assert np.isnan(O[:, 0]).all()
    O, L = module.steps(K, V, mask=causal & ~window(2))[0](Q, 3)  # and now nobody
    np.testing.assert_array_equal(O[:, 0], 0)
    np.testing.assert_array_equal(L[:, 0], -np.inf)
    assert np.isfinite(O[:, 1]).all()


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sink_that_is_not_finite_is_as_the_contract_says(module, bad):
    """NaN in its own head and layer; −∞ is none."""
    K, V = cached()
    Q, sink = drawn(6, 2, 8), drawn(LAYERS, 6, seed=2)
    sink[1, 3] = bad
    first, second = (attend(Q, 80) for attend in module.steps(K, V, sink=sink))
    assert_same(first, by_attention(module, Q, K[0], V[0], 80, sink=sink[0]))
    assert_same(second, by_attention(module, Q, K[1], V[1], 80, sink=sink[1]))
    assert np.isnan(second[0][3]).all() == np.isnan(second[1][3]).all() == (bad != -np.inf)
    assert np.isfinite(np.delete(second[0], 3, axis=0)).all()


@BOTH
def test_a_score_that_overflows_before_the_cap_is_nan(module):
    K, V = cached()
    K[0, :, 5] = 1e30
    O, L = module.steps(K, V, softcap=2.0)[0](np.full((6, 1, 8), 1e30, np.float32), 9)
    assert np.isnan(O).all()
    assert np.isnan(L).all()


@BOTH
def test_a_step_that_sees_the_sink_alone(module):
    K, V = cached()
    sink = drawn(LAYERS, 6, seed=2)
    O, L = module.steps(K, V, mask=causal & ~window(2), sink=sink)[0](drawn(6, 2, 8), 3)
    np.testing.assert_array_equal(O[:, 0], 0)
    np.testing.assert_array_equal(L[:, 0], sink[0])


# Asked once --------------------------------------------------------------------------------------------


class Counting(Rule):
    """Causal, and counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, i, j):
        self.asked += 1
        return j <= i


@BOTH
def test_the_rule_and_the_shapes_are_asked_once_for_all_layers_of_a_step(module, monkeypatch):
    forms, form = [], stepping.Form
    monkeypatch.setattr(stepping, "Form", lambda *arguments: forms.append(1) or form(*arguments))
    K, V = (np.repeat(array, 15, axis=0) for array in cached())
    asked = []
    for attends, rule in [
        (module.steps(K[:count], V[:count], mask=rule), rule) for count in (1, 30) for rule in [Counting()]
    ]:
        for length in 20, 21, 22:
            for attend in attends:
                attend(drawn(6, 1, 8), length)
        asked.append((rule.asked, len(forms)))
        forms.clear()
    assert asked[0] == asked[1]
    assert asked[0][1] == 3


@BOTH
@pytest.mark.parametrize("name", ["window", "window and sinks", "far away", "heads"])
def test_what_hides_keys_is_no_reason_to_go_the_long_way(module, name):
    """Whoever computes NaN there gives the right answer all the same, by way of `attention`, and slowly."""
    K, V = cached()
    attend, Q = module.steps(K, V, mask=RULES[name])[0], drawn(6, 3, 8)
    wanted = by_attention(module, Q, K[0], V[0], ROOM, RULES[name])
    attend.__self__.sequence.attention = None
    assert_same(attend(Q, ROOM), wanted)


@BOTH
def test_a_cap_and_a_sink_are_no_reason_to_go_the_long_way(module):
    K, V = cached()
    Q, sink = drawn(6, 3, 8), drawn(LAYERS, 6, seed=2)
    attend = module.steps(K, V, softcap=0.7, sink=sink)[1]
    wanted = by_attention(module, Q, K[1], V[1], ROOM, softcap=0.7, sink=sink[1])
    attend.__self__.sequence.attention = None
    assert_same(attend(Q, ROOM), wanted)


def test_whoever_has_been_given_attention_finds_its_steps():
    assert numba_tiled.attention.steps is numba_tiled.steps
    assert numpy_direct.attention.steps is numpy_direct.steps


# What is refused ---------------------------------------------------------------------------------------

K, V = cached()
BEGIN = {
    "list": (([[1.0]], V, causal), TypeError, "K is a list; wanted a NumPy array"),
    "tensor": ((torch.zeros(2, 2, 9, 8), V, causal), TypeError, "K is a torch Tensor"),
    "integers": ((K, V.astype(int), causal), TypeError, "V has dtype int64; wanted floats"),
    "dtypes": ((K, V.astype(float), causal), TypeError, "V has dtype float64; wanted that of K"),
    "rooms": ((K, V[..., :-1, :], causal), ValueError, r"V has shape \(2, 2, 149, 5\); wanted the axes of K"),
    "axes": ((K[0, 0], V[0, 0], causal), ValueError, r"K has shape \(150, 8\); wanted \(layers"),
    "mask": ((K, V, np.ones((3, 3), bool)), TypeError, "mask is a ndarray; wanted a rule"),
    "nothing": ((K, V, None), TypeError, "mask is a NoneType; wanted a rule"),
}
STEP = {
    "width": ((drawn(6, 1, 7), 9), ValueError, "K has width 8; wanted that of Q, 7"),
    "heads": ((drawn(5, 1, 8), 9), ValueError, "K has 2 heads; wanted a divisor of the 5"),
    "batch": ((drawn(3, 6, 1, 8), 9), ValueError, "K has shape"),
    "axis": ((drawn(8), 9), ValueError, "Q has shape"),
    "dtype": ((drawn(6, 1, 8, dtype=float), 9), TypeError, "K has dtype float32; wanted that of Q"),
    "list": (([[[1.0] * 8]], 9), TypeError, "Q is a list"),
    "tensor": ((torch.zeros(6, 1, 8), 9), TypeError, "Q is a torch Tensor"),
    "too long": ((drawn(6, 1, 8), 151), ValueError, "length is 151; wanted 0 to 150"),
    "negative": ((drawn(6, 1, 8), -1), ValueError, "length is -1; wanted"),
    "half": ((drawn(6, 1, 8), 1.5), ValueError, "length is 1.5; wanted"),
    "true": ((drawn(6, 1, 8), True), ValueError, "length is True; wanted"),
}


@BOTH
@pytest.mark.parametrize("name", BEGIN)
def test_a_cache_that_does_not_fit_is_refused_by_name(module, name):
    (keys, values, mask), kind, message = BEGIN[name]
    with pytest.raises(kind, match=message):
        module.steps(keys, values, mask=mask)


@BOTH
@pytest.mark.parametrize("name", STEP)
def test_a_step_that_does_not_fit_is_refused_by_name_and_the_next_one_taken(module, name):
    (Q, length), kind, message = STEP[name]
    attend = module.steps(K, V)[0]
    with pytest.raises(kind, match=message):
        attend(Q, length)
    Q = drawn(6, 1, 8)
    assert_same(attend(Q, 9), by_attention(module, Q, K[0], V[0], 9))
    with pytest.raises(kind, match=message):  # nor after one that fitted
        attend(STEP[name][0][0], length)


SINKS = {
    "list": ([[0.0] * 6] * 2, TypeError, "sink is a list; wanted a NumPy array"),
    "tensor": (torch.zeros(2, 6), TypeError, "sink is a torch Tensor"),
    "integers": (np.zeros((2, 6), int), TypeError, "sink has dtype int64; wanted floats"),
    "of one layer": (
        np.zeros(6),
        ValueError,
        r"sink has shape \(6,\); wanted \(2, h\), a row for each layer",
    ),
    "layers": (np.zeros((3, 6)), ValueError, r"sink has shape \(3, 6\); wanted \(2, h\)"),
}


@BOTH
@pytest.mark.parametrize("name", SINKS)
def test_sinks_that_do_not_fit_are_refused_by_name(module, name):
    sink, kind, message = SINKS[name]
    with pytest.raises(kind, match=message):
        module.steps(K, V, sink=sink)


@BOTH
def test_a_cap_and_heads_that_do_not_fit_are_refused_when_a_query_comes(module):
    attend = module.steps(K, V, sink=np.zeros((2, 5)))[0]
    with pytest.raises(ValueError, match=r"^sink has shape \(5,\) in each layer; wanted \(6,\)"):
        attend(drawn(6, 1, 8), 9)
    with pytest.raises(ValueError, match=r"^softcap is -1; wanted .* or more"):
        module.steps(K, V, softcap=-1)[0](drawn(6, 1, 8), 9)


@BOTH
def test_a_rule_that_ends_too_early_is_refused(module):
    attend = module.steps(K, V, mask=causal & documents([0] * 20))[0]
    attend(drawn(6, 1, 8), 20)
    with pytest.raises(ValueError, match="mask ends before query"):
        attend(drawn(6, 1, 8), 21)
