"""The contract's rule for what is not finite, and for numbers so large that little is left of them.

What is not finite in anything that a row may see gives NaN in that row of O and L; what it may not see
changes no bit. Everything here is float32, so that Numba compiles once.
"""

import doctest
import inspect

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS

NAMES = ["O", "L", "dQ", "dK", "dV"]
HERE = {name: i for name, i in IMPLEMENTATIONS.items() if i.device == "cpu"}
MODES = [(name, False) for name in IMPLEMENTATIONS]
MODES += [(name, True) for name, i in IMPLEMENTATIONS.items() if i.library == "torch"]
LARGEST = np.finfo(np.float32).max


@pytest.fixture(params=MODES, ids=lambda mode: mode[0] + " by autograd" * mode[1])
def both_passes(request):
    """`(Q, K, V, dO, mask, bias, **rest) -> O, L, dQ, dK, dV`, by an implementation or autograd through it.

    The rest is a softcap and a sink.
    """
    return passes(*request.param)


def passes(name, by_autograd=False):
    implementation = IMPLEMENTATIONS[name]
    if why := implementation.why_not():
        pytest.skip(why)
    module = implementation.load()

    def give(x):
        if x is None or isinstance(x, masks.Rule | float):
            return x
        return x if implementation.library == "numpy" else torch.tensor(x, device=implementation.device)

    def run(Q, K, V, dO, mask=None, bias=None, **rest):
        Q, K, V, dO, mask, bias = map(give, (Q, K, V, dO, mask, bias))
        options = {"mask": mask, "bias": bias} | {name: give(x) for name, x in rest.items()}
        if by_autograd:
            leaves = [x.requires_grad_() for x in (Q, K, V)]
            O, L = module.attention(*leaves, **options)
            gradients = torch.autograd.grad(O, leaves, dO)
        else:
            O, L = module.attention(Q, K, V, **options)
            gradients = module.attention_backward(dO, Q, K, V, O, L, **options)
        return [x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x for x in (O, L, *gradients)]

    return run


def inputs(b=1, h=2, g=1, n=7, m=11, d_k=3, d_v=5):
    """Q, K, V, dO and a bias."""
    rng = np.random.default_rng(0)
    shapes = (b, h, n, d_k), (b, g, m, d_k), (b, g, m, d_v), (b, h, n, d_v), (h, n, m)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def assert_same_bits(ours, theirs, but_for=()):
    """Rows in `but_for` (b, h, n) are left out of what has one number or vector per query."""
    for name, a, b in zip(NAMES, ours, theirs, strict=True):
        if name in ("O", "L", "dQ") and len(but_for):
            a, b = a[~but_for], b[~but_for]
        np.testing.assert_array_equal(a, b, err_msg=name)


def assert_spoilt(answers, rows):
    """NaN in all of O and L of just these rows; and nothing comes back from them."""
    O, L, dQ, dK, dV = answers
    np.testing.assert_array_equal(np.isnan(O).all(-1), rows)
    np.testing.assert_array_equal(np.isnan(O).any(-1), rows)
    np.testing.assert_array_equal(np.isnan(L), rows)
    assert not dQ[rows].any()
    assert all(np.isfinite(gradient).all() for gradient in (dQ, dK, dV))


HIDDEN = 8  # keys from here on are hidden
ANYTHING = np.array([np.nan, np.inf, -np.inf, LARGEST, -LARGEST], np.float32)
WAYS = {
    "by a rule": lambda mask, bias: (masks.prefix(HIDDEN), bias),
    "by an array": lambda mask, bias: (np.broadcast_to(np.arange(mask.shape[-1]) < HIDDEN, mask.shape), bias),
    "by the bias": lambda mask, bias: (None, np.where(np.arange(mask.shape[-1]) < HIDDEN, bias, -np.inf)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hidden_key_may_hold_anything(both_passes, way):
    """NaN, infinity, and what makes every score with it overflow."""
    Q, K, V, dO, bias = inputs(m=13)
    mask, bias = WAYS[way](np.ones((7, 13), bool), bias)
    bias = bias.astype(np.float32)
    clean = both_passes(Q, K, V, dO, mask, bias)
    assert np.isfinite(clean[1]).all()
    K[..., HIDDEN:, :], V[..., HIDDEN:, :] = ANYTHING[:, None], ANYTHING
    assert_same_bits(both_passes(Q, K, V, dO, mask, bias), clean)


@pytest.mark.parametrize("size", [30, 300, 1e4, 1e9, 1e18])
def test_what_nobody_sees_may_be_of_any_size(both_passes, size):
    """Large, and no score overflows yet; but its exponential might. Keys, and queries that see nobody."""
    Q, K, V, dO, _ = inputs(n=11, m=13)
    mask = masks.Moved(masks.causal, -4) & masks.prefix(HIDDEN)
    clean = both_passes(Q, K, V, dO, mask)
    Q[..., :4, :], K[..., HIDDEN:, :], V[..., HIDDEN:, :] = size, size, -size
    assert_same_bits(both_passes(Q, K, V, dO, mask), clean)


def test_a_bias_that_nobody_may_see_may_be_anything(both_passes):
    Q, K, V, dO, bias = inputs()
    hidden = np.random.default_rng(1).random((7, 11)) < 0.3
    clean = both_passes(Q, K, V, dO, ~hidden, bias)
    spoilt = np.where(hidden, np.resize(ANYTHING, bias.shape), bias)
    assert_same_bits(both_passes(Q, K, V, dO, ~hidden, spoilt), clean)


@pytest.mark.parametrize("way", ["by a rule", "by the bias"])
def test_a_row_that_sees_nobody_may_hold_anything(both_passes, way):
    """Its query, its biases, and what comes back to it."""
    Q, K, V, dO, bias = inputs(n=11)
    empty = np.arange(11) < 4
    mask = masks.Moved(masks.causal, -4)
    if way == "by the bias":
        mask, bias = None, np.where(np.tri(11, k=-4, dtype=bool), bias, -np.inf).astype(np.float32)
    clean = both_passes(Q, K, V, dO, mask, bias)
    O, L, dQ, _, _ = clean
    assert not O[..., empty, :].any()
    assert (L[..., empty] == -np.inf).all()
    assert not dQ[..., empty, :].any()
    assert np.isfinite(L[..., ~empty]).all()
    Q[..., empty, :], dO[..., empty, 1:] = ANYTHING[:4, None], ANYTHING[:4]
    assert_same_bits(both_passes(Q, K, V, dO, mask, bias), clean)


@pytest.mark.parametrize("which", ["Q", "K", "V", "bias"])
def test_whoever_sees_it_shows_it(both_passes, which):
    """NaN, ∞ and −∞ in one number each, which three queries may see; in a group's keys, two heads see it.

    −∞ in the bias is none of it: that is "may not see".
    """
    arrays = dict(zip(("Q", "K", "V", "dO", "bias"), inputs(h=4, g=2, n=11), strict=True))
    heads = {"Q": [1], "K": [2, 3], "V": [0, 1], "bias": [3]}[which]
    spoilt, rows = arrays | {which: arrays[which].copy()}, np.zeros((1, 4, 11), bool)
    for at, value in (1, np.nan), (5, np.inf), (9, -np.inf):
        place = {"Q": (0, 1, at, 2), "K": (0, 1, at, 0), "V": (0, 0, at, 4), "bias": (3, at, at)}[which]
        spoilt[which][place] = value
        near = [at] if which in ("Q", "bias") else [at - 1, at, at + 1]
        rows[0, np.array(heads)[:, None], near] = which != "bias" or value != -np.inf
    came = both_passes(**spoilt, mask=masks.window(2))
    assert_spoilt(came, rows)
    silent = arrays | {"dO": np.where(rows[..., None], 0, arrays["dO"])}
    if which == "bias":
        silent["bias"] = np.where(spoilt["bias"] == -np.inf, -np.inf, arrays["bias"])
    assert_same_bits(came, both_passes(**silent, mask=masks.window(2)), but_for=rows)


@pytest.mark.parametrize("sign", [1, -1], ids=["above", "below"])
def test_a_score_that_overflows_is_seen(both_passes, sign):
    """Above or below: as a weight of zero it would say that nobody was there.

    In one entry, which is 0 for all other queries: their scores of 10²⁰ would not be the same twice.
    """
    Q, K, V, dO, bias = inputs(n=11)
    Q[..., 0] = 0
    Q[0, 0, 7, 0], K[0, 0, 4, 0] = 1e20, sign * 1e20
    rows = np.zeros((1, 2, 11), bool)
    rows[0, 0, 7] = True
    for added in None, bias:
        assert_spoilt(both_passes(Q, K, V, dO, masks.causal, added), rows)


@pytest.mark.parametrize(
    "mask", [None, masks.causal, np.tri(7, 11, 4, dtype=bool)], ids=["none", "rule", "array"]
)
def test_a_score_that_overflows_where_the_bias_hides_it_is_not(both_passes, mask):
    """+∞ − ∞: query and key see others, and are seen. 10²⁰ times 0 is nothing to anybody."""
    Q, K, V, dO, bias = inputs()
    bias[:, 3, 2] = -np.inf
    Q[..., 2], K[..., 2] = 0, 0
    clean = both_passes(Q, K, V, dO, mask, bias)
    Q[..., 3, 2], K[..., 2, 2] = 1e20, 1e20
    O, L, dQ, dK, dV = both_passes(Q, K, V, dO, mask, bias)
    dQ[..., 2], dK[..., 2] = clean[2][..., 2], clean[3][..., 2]  # 10²⁰ as others feel it
    for name, ours, theirs in zip(NAMES, (O, L, dQ, dK, dV), clean, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7, err_msg=name)


def test_a_bias_that_makes_a_score_overflow_is_seen(both_passes):
    Q, K, V, dO, bias = inputs()
    Q[0, 0, 3], K[..., 1:, :] = 1e19, np.abs(K[..., 1:, :])
    K[..., 0, :] = -1e19
    bias[0, 3, 0] = -LARGEST
    rows = np.zeros((1, 2, 7), bool)
    rows[0, 0, 3] = True
    assert_spoilt(both_passes(Q, K, V, dO, None, bias), rows)


def test_a_gradient_that_is_not_finite_reaches_what_its_row_sees(both_passes):
    Q, K, V, dO, bias = inputs(n=11)
    clean = both_passes(Q, K, V, dO, masks.causal, bias)
    dO[0, 1, 5, 0], dO[0, 1, 3, 1] = np.nan, np.inf
    came = both_passes(Q, K, V, dO, masks.causal, bias)
    rows, keys = np.zeros((1, 2, 11), bool), np.zeros((1, 1, 11), bool)
    rows[0, 1, [3, 5]], keys[0, 0, :6] = True, True
    for name, ours, theirs, spoilt in zip(NAMES, came, clean, (0, 0, rows, keys, keys), strict=True):
        spoilt = np.broadcast_to(spoilt, ours.shape[:3]).astype(bool)
        assert np.isnan(ours[spoilt]).all(), name
        np.testing.assert_array_equal(ours[~spoilt], theirs[~spoilt], err_msg=name)


@pytest.mark.parametrize("name", HERE)
def test_beyond_one_tile(name):
    """Keys hidden in one tile and seen in the next, one value that is none, and an empty stretch of rows."""
    both, n = passes(name), 140 if name == "triton_fused" else 280  # the interpreter takes its time per tile
    Q, K, V, dO, _ = inputs(h=2, g=1, n=n, m=2 * n, d_k=8, d_v=8)
    mask = masks.bottom_right(masks.causal & masks.window(100), n, 2 * n) & masks.padding([2 * n - 9])
    clean = both(Q, K, V, dO, mask)
    rows = np.zeros((1, 2, n), bool)
    K[..., 2 * n - 9 :, :], V[..., : n - 99, :] = np.nan, np.inf  # nobody sees the first
    assert_same_bits(both(Q, K, V, dO, mask), clean)
    V[..., n + 20, 3], Q[0, 1, 10, 2] = np.nan, -np.inf
    rows[..., 20:120], rows[0, 1, 10] = True, True
    came = both(Q, K, V, dO, mask)
    assert_spoilt(came, rows)
    finite = [np.nan_to_num(x, posinf=0, neginf=0) for x in (Q, K, V)]
    silent = both(*finite, np.where(rows[..., None], 0, dO), mask)
    assert_same_bits(came, silent, but_for=rows)


@pytest.mark.parametrize("name", HERE)
def test_one_number_anywhere(name):
    """A rule, a place and a value drawn; who shows it, by a loop over all pairs."""
    both, drawn = passes(name), 5 if name == "triton_fused" else 40
    rules = st.sampled_from(
        [None, masks.causal, masks.window(2), ~masks.causal, masks.prefix(3), masks.prefix(0)]
    )

    @settings(max_examples=drawn)
    @given(
        rules, st.sampled_from(["Q", "K", "V", "bias"]), st.sampled_from([np.nan, np.inf, -np.inf]), st.data()
    )
    def check(rule, which, value, data):
        arrays = dict(zip(("Q", "K", "V", "dO", "bias"), inputs(), strict=True))
        visible = np.ones((7, 11), bool) if rule is None else rule.tile(range(7), range(11))
        visible = np.broadcast_to(visible, (2, 7, 11)).copy()
        place = tuple(data.draw(st.integers(0, size - 1)) for size in arrays[which].shape)
        spoilt = arrays | {which: arrays[which].copy()}
        spoilt[which][place] = value
        if which == "bias" and value == -np.inf:
            visible[place], arrays = False, spoilt
        rows = np.zeros((1, 2, 7), bool)
        for head, i, j in np.argwhere(visible):
            met = {"Q": (0, head, i), "K": (0, 0, j), "V": (0, 0, j), "bias": (head, i, j)}[which]
            rows[0, head, i] |= (
                met == place[: len(met)] and not np.isfinite(spoilt[which][place]) and arrays is not spoilt
            )
        came = both(**spoilt, mask=rule)
        assert_spoilt(came, rows)
        silent = arrays | {"dO": np.where(rows[..., None], 0, arrays["dO"])}
        assert_same_bits(came, both(**silent, mask=rule), but_for=rows)

    check()


# A cap and a sink: no reason to look away.

BOTH = {"softcap": 2.0, "sink": np.array([0.5, -1.0], np.float32)}


@pytest.mark.parametrize("way", WAYS)
def test_behind_a_cap_and_beside_a_sink_a_hidden_key_may_hold_anything(both_passes, way):
    """−∞ behind the cap, or a hidden key of any size would have the weight of a score of −C."""
    Q, K, V, dO, bias = inputs(m=13)
    mask, bias = WAYS[way](np.ones((7, 13), bool), bias)
    bias = bias.astype(np.float32)
    clean = both_passes(Q, K, V, dO, mask, bias, **BOTH)
    without = both_passes(Q, K[..., :HIDDEN, :], V[..., :HIDDEN, :], dO, None, bias[..., :HIDDEN], **BOTH)
    for one, other in zip(clean[:3], without[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert not clean[3][..., HIDDEN:, :].any()
    K[..., HIDDEN:, :], V[..., HIDDEN:, :] = ANYTHING[:, None], ANYTHING
    assert_same_bits(both_passes(Q, K, V, dO, mask, bias, **BOTH), clean)


@pytest.mark.parametrize("which", ["Q", "K", "V", "bias"])
def test_behind_a_cap_whoever_sees_it_shows_it(both_passes, which):
    """tanh makes a number of ∞: the cap must not hide what a row has met."""
    Q, K, V, dO, bias = inputs(n=11)
    for value in np.nan, np.inf, -np.inf:
        arrays = {"Q": Q.copy(), "K": K.copy(), "V": V.copy(), "bias": bias.copy()}
        arrays[which][(0, 5, 5) if which == "bias" else (0, 0, 5, 1)] = value
        rows = np.zeros((1, 2, 11), bool)
        heads = [0] if which in ("Q", "bias") else [0, 1]
        rows[0, heads, 5] = which != "bias" or value != -np.inf
        if which in ("K", "V"):
            rows[0, :, 6] = True
        assert_spoilt(both_passes(**arrays, dO=dO, mask=masks.causal & masks.window(2), **BOTH), rows)


@pytest.mark.parametrize("sign", [1, -1], ids=["above", "below"])
def test_behind_a_cap_a_score_that_overflows_is_seen(both_passes, sign):
    """Hidden, it is none of anybody's business."""
    Q, K, V, dO, bias = inputs(n=11)
    Q[0, 0, 7], K[0, 0, 4] = 1e20, sign * 1e20
    rows = np.zeros((1, 2, 11), bool)
    rows[0, 0, 7] = True
    for added in None, bias:
        assert_spoilt(both_passes(Q, K, V, dO, masks.causal, added, **BOTH), rows)
    O, *_ = both_passes(Q, K, V, dO, masks.causal & ~masks.Moved(masks.window(1), -3), **BOTH)
    assert np.isfinite(O).all()


def test_behind_a_cap_a_bias_may_be_as_large_as_it_likes(both_passes):
    """C + bias is finite where score + bias would not be."""
    Q, K, V, dO, bias = inputs()
    Q[0, 0, 3], K[..., 0, :] = 1e19, 1e19
    bias[0, 3, 0] = LARGEST
    O, L, *gradients = both_passes(Q, K, V, dO, None, bias, softcap=2.0)
    assert np.isfinite(O).all()
    np.testing.assert_allclose(O[0, 0, 3], V[0, 0, 0], rtol=1e-6)
    assert L[0, 0, 3] == LARGEST
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_row_that_sees_the_sink_alone(both_passes):
    """O = 0 and L = s, and nothing comes back, whatever stands in the row."""
    Q, K, V, dO, bias = inputs(n=11)
    empty, mask = np.arange(11) < 4, masks.Moved(masks.causal, -4)
    clean = both_passes(Q, K, V, dO, mask, bias, **BOTH)
    O, L, dQ, _, _ = clean
    assert not O[..., empty, :].any()
    np.testing.assert_array_equal(L[..., empty], np.broadcast_to(BOTH["sink"][:, None], (1, 2, 4)))
    assert not dQ[..., empty, :].any()
    Q[..., empty, :], dO[..., empty, 1:] = ANYTHING[:4, None], ANYTHING[:4]
    assert_same_bits(both_passes(Q, K, V, dO, mask, bias, **BOTH), clean)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_every_row_of_its_head_sees_a_sink(both_passes, value):
    Q, K, V, dO, bias = inputs(h=4, g=2, n=11)
    sink = np.array([0.5, -1.0, 2.0, 0.0], np.float32)
    rows = np.broadcast_to(np.arange(4)[:, None] == 2, (1, 4, 11))
    quiet = both_passes(Q, K, V, np.where(rows[..., None], 0, dO), masks.causal, bias, sink=sink)
    sink[2] = value
    came = both_passes(Q, K, V, dO, masks.causal, bias, sink=sink)
    assert_spoilt(came, rows)
    assert_same_bits(came, quiet, but_for=rows)


def test_a_sink_of_minus_infinity_is_none(both_passes):
    Q, K, V, dO, bias = inputs(n=11)
    mask = masks.Moved(masks.causal, -4)
    nothing = np.full(2, -np.inf, np.float32)
    came, without = both_passes(Q, K, V, dO, mask, bias, sink=nothing), both_passes(Q, K, V, dO, mask, bias)
    assert_same_bits(came, without)


def test_beside_a_sink_a_gradient_that_is_not_finite_reaches_what_its_row_sees(both_passes):
    Q, K, V, dO, bias = inputs(n=11)
    clean = both_passes(Q, K, V, dO, masks.causal, bias, **BOTH)
    dO[0, 1, 5, 0], dO[0, 1, 3, 1] = np.nan, np.inf
    came = both_passes(Q, K, V, dO, masks.causal, bias, **BOTH)
    rows, keys = np.zeros((1, 2, 11), bool), np.zeros((1, 1, 11), bool)
    rows[0, 1, [3, 5]], keys[0, 0, :6] = True, True
    for name, ours, theirs, spoilt in zip(NAMES, came, clean, (0, 0, rows, keys, keys), strict=True):
        spoilt = np.broadcast_to(spoilt, ours.shape[:3]).astype(bool)
        assert np.isnan(ours[spoilt]).all(), name
        np.testing.assert_array_equal(ours[~spoilt], theirs[~spoilt], err_msg=name)


@pytest.mark.parametrize("shift", [-1e30, -500, 500, 1e30])
def test_scores_and_sinks_may_be_far_from_each_other_and_from_zero(both_passes, shift):
    """Scores and sinks moved by as much give the same; a far sink takes all or nothing."""
    Q, K, V, dO, bias = inputs(n=5)
    Q, bias = 0 * Q, np.round(bias)
    sink = np.array([2.0, -1.0], np.float32)
    far = sink + np.float32(shift)
    came = both_passes(Q, K, V, dO, None, bias, sink=far)
    if abs(shift) == 500:
        right = both_passes(Q, K, V, dO, None, bias, sink=sink)
        came = both_passes(Q, K, V, dO, None, bias + np.float32(shift), sink=far)
        np.testing.assert_allclose(came[1] - np.float32(shift), right[1], atol=1e-4)
        for name, ours, theirs in zip(NAMES[2:], came[2:], right[2:], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4, err_msg=name)
    elif shift > 0:
        assert not any(x.any() for x in (came[0], *came[2:]))
        np.testing.assert_array_equal(came[1], np.broadcast_to(far[:, None], came[1].shape))
    else:
        assert_same_bits(came, both_passes(Q, K, V, dO, None, bias))


# Large numbers: what is finite is computed with, however large.


def exactly(Q, K, V, dO, bias):
    """The formula in float64, for the scores that float32 has."""
    visible = torch.ones(Q.shape[2], K.shape[2], dtype=torch.bool)
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (Q, K, V)]
    O, L = oracle.attention(*leaves, visible, torch.tensor(bias, dtype=torch.float64))
    return [
        x.detach().numpy()
        for x in (O, L, *torch.autograd.grad(O, leaves, torch.tensor(dO, dtype=torch.float64)))
    ]


@pytest.mark.parametrize("value", [-1e4, -1e9, -1e30, -LARGEST])
def test_a_large_negative_bias_hides_nobody(both_passes, value):
    """Where it stands in a whole row; where in part of one, the rest has all the weight.

    The scores are 0: what the bias leaves of them is not in question here.
    """
    Q, K, V, dO, bias = inputs(n=5, m=140)
    Q, bias = 0 * Q, 0 * bias
    bias[:, 1], bias[:, 2, 40:] = value, value
    came, right = both_passes(Q, K, V, dO, None, bias), exactly(Q, K, V, dO, bias)
    for name, ours, truth in zip(NAMES, came, right, strict=True):
        np.testing.assert_allclose(
            ours,
            truth,
            rtol=1e-6,
            atol=3e-6 * np.abs(truth[np.abs(truth) < 1e3]).max(initial=1),
            err_msg=name,
        )


def test_a_large_negative_bias_takes_scores_to_its_own_grid(both_passes):
    """At −10⁹ float32 counts in steps of 64: a key that lies ten steps higher has all the weight."""
    Q, K, V, dO, bias = inputs(n=5, m=140)
    bias = 0 * bias - np.float32(1e9)
    bias[:, :, 17] += 640
    came = both_passes(Q, K, V, dO, None, bias)
    np.testing.assert_allclose(came[0], np.repeat(V[:, :, 17:18], 2, axis=1).repeat(5, axis=2), rtol=1e-6)
    np.testing.assert_allclose(came[4].sum(-2), dO.sum((1, 2))[:, None], rtol=1e-4, atol=1e-4)
    assert not np.delete(came[4], 17, axis=2).any()


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("value", [-1e3, -1e5, -1e9, -1e14])
def test_a_large_negative_bias_costs_no_digits_in_float64_either(name, value):
    """The digits that L has lost are as many in any dtype."""
    Q, K, V, dO, bias = (x.astype(np.float64) for x in inputs(n=5, m=9))
    Q, bias = 0 * Q, 0 * bias
    bias[:, 1], bias[:, 2, 4:] = value, value
    came, right = passes(name)(Q, K, V, dO, None, bias), exactly(Q, K, V, dO, bias)
    for part, ours, truth in zip(NAMES, came, right, strict=True):
        np.testing.assert_allclose(ours, truth, rtol=1e-13, atol=1e-13, err_msg=part)


@pytest.mark.parametrize("value", [1e36, 3e38, LARGEST])
@pytest.mark.parametrize("signs", [[1], [1, 1, -1]], ids=["one sign", "two signs"])
def test_a_mean_of_values_near_the_largest_number(both_passes, value, signs):
    """Σ e^{s − c} v may overflow, the mean of v does not. Nor do gradients that are no larger."""
    Q, K, V, dO, bias = inputs(n=5, m=40)
    V = np.resize(np.array(signs, np.float32), V.shape) * np.float32(value)
    dO *= np.float32(1e-37)
    came, right = both_passes(Q, K, V, dO, None, bias), exactly(Q, K, V, dO, bias)
    for name, ours, truth in zip(NAMES, came, right, strict=True):
        size = 1e-37 * value if name in ("dQ", "dK") else np.abs(truth).max()
        assert np.isfinite(ours).all(), name
        np.testing.assert_allclose(ours / size, truth / size, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", HERE)
def test_a_mean_of_values_near_the_largest_float64(name):
    Q, K, V, dO, _ = (x.astype(np.float64) for x in inputs())
    V = 0 * V + 1.7e308
    O, *rest = passes(name)(Q, K, V, 1e-308 * dO)
    np.testing.assert_allclose(O, 1.7e308, rtol=1e-15)
    assert all(np.isfinite(x).all() for x in rest)


@pytest.mark.parametrize("size", [2.0**13, 2.0**20, 2.0**27, 2.0**100])
def test_the_weights_of_large_scores_sum_to_one(both_passes, size):
    """In the backward pass, too: with dO = 1 each row sends one to the values. Two keys tie in each row.

    Quarters, powers of two, and a scale of 1/4: the products are exact in any order, so that a tie is one.
    """
    Q, K, V, dO, _ = inputs(n=37, m=40, d_k=16)
    Q, K = (np.round(4 * X) / 4 for X in (Q, K))
    K[..., 20:, :] = K[..., :20, :]
    Q *= np.float32(size)
    _, L, dQ, dK, dV = both_passes(Q, K, V, 1 + 0 * dO)
    assert np.isfinite(L).all()
    assert all(np.isfinite(x).all() for x in (dQ, dK, dV))
    np.testing.assert_allclose(dV.sum(-2), 2 * 37, rtol=1e-5)  # two heads read these values
    np.testing.assert_allclose(dV[..., 20:, :], dV[..., :20, :], rtol=1e-5)


@pytest.mark.parametrize("name", HERE)
def test_a_large_score_is_right_with_anybodys_L(name):
    """L in float64, rounded; or from another implementation."""
    Q, K, V, dO, _ = inputs(n=37, m=40, d_k=20)
    Q *= 1e7
    own, module = passes(name)(Q, K, V, dO), HERE[name].load()
    _, wide = IMPLEMENTATIONS["numpy_direct"].load().attention(*(x.astype(np.float64) for x in (Q, K, V)))
    arrays = [dO, Q, K, V, own[0], wide.astype(np.float32)]
    given = module.attention_backward(
        *(arrays if HERE[name].library == "numpy" else map(torch.tensor, arrays))
    )
    for ours, theirs in zip(given, own[2:], strict=True):
        np.testing.assert_array_equal(np.asarray(ours), theirs)


def test_halves_whose_scores_are_none(both_passes):
    """A score of 5 · 10⁵ is no float16, and no matter."""
    Q, K, V, dO, _ = (x.astype(np.float16) for x in inputs(n=11))
    Q[..., 0], K[..., 0], K[..., 1] = 1000, 900, 0
    came, right = (
        both_passes(Q, K, V, dO, masks.causal),
        both_passes(*(x.astype(np.float32) for x in (Q, K, V, dO)), masks.causal),
    )
    assert np.isfinite(came[0]).all()
    assert came[1].min() > 1e5
    for i in 0, 1, 4:  # in dQ and dK, 1000 times what δ loses in O's dtype
        np.testing.assert_allclose(came[i], right[i], rtol=5e-3, atol=5e-3, err_msg=NAMES[i])


# The smallest of everything.


@pytest.mark.parametrize("small", ["b=0", "n=0", "m=0", "d_v=0", "one of each", "h=0"])
def test_the_smallest_sizes(both_passes, small):
    sizes = {
        "b=0": {"b": 0},
        "n=0": {"n": 0},
        "m=0": {"m": 0},
        "d_v=0": {"d_v": 0},
        "one of each": dict.fromkeys(("b", "h", "g", "n", "m", "d_k", "d_v"), 1),
        "h=0": {"h": 0, "g": 1},
    }[small]
    Q, K, V, dO, bias = inputs(**sizes)
    padding, table = masks.padding(np.full(len(Q), K.shape[2])), np.ones((Q.shape[2], K.shape[2]), bool)
    for mask, added in (None, None), (masks.causal, bias), (padding, None), (table, bias):
        O, L, *gradients = both_passes(Q, K, V, dO, mask, added)
        assert O.shape == (*Q.shape[:3], V.shape[3])
        assert L.shape == Q.shape[:3]
        assert [x.shape for x in gradients] == [Q.shape, K.shape, V.shape]
        if small == "m=0":
            assert not O.any()
            assert (L == -np.inf).all()
        if small == "one of each":
            np.testing.assert_array_equal(O, V)
            np.testing.assert_array_equal(gradients[2], dO)


@pytest.mark.parametrize("name", HERE)
def test_no_width_and_a_scale(name):
    """Every score is 0: O is the mean."""
    implementation = HERE[name]
    if why_not := implementation.why_not():
        pytest.skip(why_not)
    Q, K, V, _, _ = inputs(d_k=0)
    arrays = (Q, K, V) if implementation.library == "numpy" else map(torch.tensor, (Q, K, V))
    O, _ = implementation.load().attention(*arrays, scale=1.0)
    mean = np.broadcast_to(V.mean(-2, keepdims=True).repeat(2, 1), O.shape)
    np.testing.assert_allclose(np.asarray(O), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", HERE)
def test_a_bias_that_the_sums_cannot_hold_is_an_overflow(name):
    """−10³⁰⁰ is a number and hides nobody; as a float32 it would be −∞."""
    both = passes(name)
    Q, K, V, dO, bias = inputs()
    bias = bias.astype(np.float64)
    bias[:, 3, 2], bias[:, 1, 4] = -1e300, -np.inf
    rows = np.broadcast_to(np.arange(7) == 3, (1, 2, 7))
    assert_spoilt(both(Q, K, V, dO, None, bias), rows)


@pytest.mark.parametrize("name", [name for name in HERE if HERE[name].library == "numpy"])
def test_other_bytes_and_other_places_are_taken(name, tmp_path):
    """The other byte order, a file in memory, read-only, backwards, between other bytes."""
    both, X = passes(name), np.stack(inputs(h=1, m=7, d_k=5)[:4])
    right = both(*X)
    X.tofile(tmp_path / "X")
    packed = np.zeros(X.shape, np.dtype([("before", "u1"), ("x", "f4")]))
    packed["x"] = X
    mapped = np.memmap(tmp_path / "X", np.float32, "r", shape=X.shape)
    for other in X.astype(">f4"), mapped, packed["x"], X[..., ::-1].copy()[..., ::-1]:
        came = both(*other)
        assert_same_bits(came, right)
        assert {(type(x), x.dtype.str) for x in came} == {(np.ndarray, right[0].dtype.str)}


# How to call.


@pytest.mark.parametrize("function", ["attention", "attention_backward"])
@pytest.mark.parametrize("name", HERE)
def test_help_shows_a_call_that_works(name, function):
    if why := HERE[name].why_not():
        pytest.skip(why)
    called = getattr(HERE[name].load(), function)
    arrays = "Q, K, V" if function == "attention" else "dO, Q, K, V, O, L"
    options = "mask=None, bias=None, scale=None, softcap=None, sink=None"
    assert str(inspect.signature(called)) == f"({arrays}, *, {options})"
    assert inspect.unwrap(called) is called
    assert called.__module__.endswith(f".{HERE[name].name}")
    (test,) = doctest.DocTestFinder(recurse=False).find(called, called.__name__, globs={})
    assert len(test.examples) >= 6
    assert doctest.DocTestRunner().run(test).failed == 0
