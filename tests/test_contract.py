"""What the contract does before and after an implementation's arithmetic, where its numbers do not tell.

`test_implementations` and its neighbours ask implementations; these ask the `Form` of a call: what is
searched, what is hidden, what stands for what is not finite, and how much is looked at at a time.
"""

import math
import sys

import numpy as np
import pytest

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS, numpy_direct
from selfattention.implementations.arguments import accumulator
from selfattention.implementations.contract import (
    Form,
    _visible,
    before_cap,
    capped,
    forward_that_tells,
)
from selfattention.masks import Rule

MOST = float(np.finfo(np.float32).max)
TAME = np.finfo(np.float64).max * np.finfo(np.float64).eps / 8  # of a product of norms


def form_of(Q, K, V=None, mask=None, bias=None, scale=None):
    """A call's form, with K for V where none is given."""
    return Form(Q, K, K if V is None else V, mask, bias, scale, accumulator)


def numbers(*values, dtype=np.float32):
    """Rows of one number each, (1, 1, rows, 1)."""
    return np.array(values, dtype).reshape(1, 1, -1, 1)


# Which scores are searched, and what is found


def poisoned(Q, K, scale, bias=None):
    """Which queries (n) see what is not finite, of queries and keys of one number."""
    Q, K = numbers(*Q), numbers(*K)
    _, found, _ = form_of(Q, K, bias=bias, scale=scale).clean(Q, K, K)
    return None if found is None else found[0, 0].tolist()


@pytest.mark.parametrize(
    ("Q", "K", "scale", "wanted"),
    [
        ([1.0], [1.0], 1.0, None),  # nothing to search for
        ([1e20], [1e20], 0.1, [True]),
        ([1e20], [1e19], 0.1, [True]),  # the product overflows, before it is scaled
        ([1.3e19], [1.5e19], 1.0, [False]),
        ([1e19], [1e19], 2.0, [False]),
        ([1e19], [2e19], 4.0, [True]),
        ([1e19], [2e19], -4.0, [True]),
        ([0.0, MOST], [MOST], 2.0, [False, True]),  # each row by itself
        ([1e19], [1e19], 0.01, [False]),
    ],
)
def test_a_row_whose_scores_overflow_is_found(Q, K, scale, wanted):
    assert poisoned(Q, K, scale) == wanted


def test_a_score_is_searched_with_its_bias():
    assert poisoned([1e19], [3e19], 0.01, numbers(2e38)) == [False]
    assert poisoned([1e19], [3e19], 1.0, numbers(2e38)) == [True]


@pytest.mark.parametrize(
    ("product", "scale", "wanted"),
    [
        (0.99, 1, True),
        (1.01, 1, False),
        (1.01, 0.5, False),
        (0.6, 2, False),
        (0.49, 2, True),
        (0.49, -2, True),
    ],
)
def test_scores_are_tame_where_no_bias_could_make_them_overflow(product, scale, wanted):
    root = numbers((product * TAME) ** 0.5, dtype=np.float64)
    assert form_of(root, root, scale=scale)._scores_are_tame(root, root) is wanted


@pytest.mark.parametrize(
    ("bias", "wanted"), [(0.0, True), (-np.inf, True), (-MOST, True), (np.inf, False), (np.nan, False)]
)
def test_a_bias_is_tame_that_is_finite_or_hides(bias, wanted):
    X = numbers(1.0)
    assert form_of(X, X, bias=numbers(bias)).bias_is_tame() is wanted


def test_beside_scores_that_may_overflow_no_bias_is_infinite():
    """+∞ − ∞ would be NaN. The rule hides in its place."""
    Q, K = numbers(1e20), numbers(1e20, 1.0)
    bias = np.array([[[[-np.inf, 0.5]]]], np.float32)
    arguments, found, _ = form_of(Q, K, bias=bias, scale=1.0).clean(Q, K, K)
    assert np.isfinite(arguments.bias).all()
    assert arguments.rule.tile(range(1), range(2)).tolist() == [[[[False, True]]]]
    assert not found.any()


# The unit of values


@pytest.mark.parametrize("m", [1, 7])
def test_large_values_are_multiplied_by_a_power_of_two_that_leaves_room(m):
    """A sum of m values with weights of 2⁸ stays below the largest number, and not by much."""
    Q, K, V = np.ones((1, 1, 2, 3), np.float32), np.ones((1, 1, m, 3), np.float32), numbers(*[MOST] * m)
    arguments, _, unit = form_of(Q, K, V).clean(Q, K, V)
    assert math.frexp(unit)[0] == 1 / 2
    assert 1 / 4 <= m * 2**8 * unit <= 1 / 2
    np.testing.assert_array_equal(arguments.V, V * np.float32(unit))


def test_a_query_that_is_no_number_and_has_no_keys_gets_zero():
    Q, K, V = numbers(np.nan), np.ones((1, 1, 0, 1), np.float32), np.ones((1, 1, 0, 5), np.float32)
    O, L = numpy_direct.attention(Q, K, V)
    np.testing.assert_array_equal(O, np.zeros((1, 1, 1, 5)))
    np.testing.assert_array_equal(L, [[[-np.inf]]])


# Sizes, masks and biases of any shape


def test_without_an_axis_of_heads_there_is_one():
    X = np.ones((5, 3))
    form = form_of(X, X)
    assert (form.h, form.g, form.n, form.m, form.batch) == (1, 1, 5, 5, ())


def test_where_nobody_asks_no_rule_is_asked():
    assert form_of(np.ones((0, 3)), np.ones((5, 3)), mask=masks.causal).rule is masks.everybody


class Asked(Rule):
    """Remembers which queries and keys it was asked about, and lets everybody see."""

    def __call__(self, i, j):
        self.about = np.unique(i).tolist(), np.unique(j).tolist()
        return np.ones(np.broadcast_shapes(np.shape(i), np.shape(j)), bool)


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("m", [1, 2, 7])
def test_a_rule_is_asked_about_the_last_two_queries_and_keys(n, m):
    """And about none that there is not."""
    rule = Asked()
    form_of(np.ones((n, 3)), np.ones((m, 3)), mask=rule)
    assert rule.about == ([*range(n)][-2:], [*range(m)][-2:])


@pytest.mark.parametrize(
    "shape", [(7,), (5, 1), (1, 7), (3, 1, 7), (2, 1, 1, 7), (2, 3, 5, 1), (1, 3, 5, 7), (2, 1, 5, 7)]
)
def test_masks_and_biases_broadcast_to_the_scores(shape):
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3, 7, 4)), rng.normal(size=(2, 3, 7, 4))
    mask, bias = rng.random(shape) < 0.7, rng.normal(size=shape)
    whole = (np.broadcast_to(array, (2, 3, 5, 7)).copy() for array in (mask, bias))
    given = numpy_direct.attention(Q, K, V, mask=mask, bias=bias)
    spelt_out = numpy_direct.attention(Q, K, V, **dict(zip(("mask", "bias"), whole, strict=True)))
    for one, other in zip(given, spelt_out, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_largest_scale_is_taken():
    X = numbers(1e-30)
    assert form_of(X, X, scale=MOST).scale == MOST
    with pytest.raises(ValueError, match=r"^scale is .*; wanted a number in the range of float32$"):
        form_of(X, X, scale=2 * MOST)


def test_arrays_of_numpy_need_no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert form_of(np.ones((5, 3)), np.ones((5, 3))).kept is False


def test_a_mask_is_copied_for_whoever_comes_back_to_it_and_for_nobody_else():
    torch = pytest.importorskip("torch")
    X, mask = torch.ones(1, 1, 5, 3, requires_grad=True), torch.ones(1, 1, 5, 5, dtype=torch.bool)
    assert form_of(X, X, mask=mask).rule.allowed.data_ptr() != mask.data_ptr()
    assert form_of(X.detach(), X.detach(), mask=mask).rule.allowed.data_ptr() == mask.data_ptr()
    with torch.no_grad():
        assert form_of(X, X, mask=mask).rule.allowed.data_ptr() == mask.data_ptr()


# How much is looked at at a time


@pytest.mark.parametrize(
    ("shape", "at_a_time", "sizes"),
    [
        ((1, 1, 5, 3), 6, [2, 2, 1]),
        ((1, 1, 5, 3), 1, [1] * 5),  # less than a row
        ((1, 1, 5, 1), 4, [4, 1]),
        ((2, 3, 4, 5), 60, [2, 2]),  # 30 scores for a query of every head and text
        ((2, 3, 4, 5), 30, [1] * 4),
        ((1, 1, 5, 0), 4, []),
        ((1, 1, 0, 3), 4, []),
    ],
)
def test_scores_are_looked_at_some_rows_at_a_time(shape, at_a_time, sizes):
    b, h, n, m = shape
    Q, K = np.ones((b, h, n, 2)), np.ones((b, h, m, 2))
    parts = [*_visible(Q, K, masks.causal, None, at_a_time)]
    assert [visible.shape for _, visible in parts] == [(b, h, size, m) for size in sizes]
    if parts:
        together = np.concatenate([visible for _, visible in parts], axis=2)
        np.testing.assert_array_equal(together[0, 0], masks.causal.tile(range(n), range(m)))


# Whoever tells afterwards


def telling(tame, calls):
    """numpy_direct's arithmetic, with a word on whether its scores were tame; notes its calls."""

    def attention(Q, K, V, rule, bias, scale, softcap):
        """O and L, and whether Q and K were tame."""
        calls.append(np.isfinite(Q).all() and (bias is None or not (bias == np.inf).any()))
        O, L = numpy_direct.attention(Q, K, V, mask=rule, bias=bias, scale=scale)
        return O, L, tame

    return forward_that_tells(attention)


@pytest.mark.parametrize(
    ("tame", "query", "bias", "clean"),
    [
        (True, 1.0, 0.0, [True]),  # one look
        (False, 1.0, 0.0, [True, True]),  # not sure: once more, of what was searched
        (True, np.nan, 0.0, [False, True]),  # seen in O
        (True, 1.0, np.inf, [True]),  # seen in the bias, and never computed as it is
    ],
)
def test_who_tells_is_asked_again_only_where_something_is_not_finite(tame, query, bias, clean):
    calls, X = [], numbers(1.0, 2.0)
    Q = numbers(query, 3.0)
    O, L = telling(tame, calls)(Q, X, X, bias=np.array([[bias, 0.0], [0.0, 0.0]], np.float32))
    assert calls == clean
    lost = not (np.isfinite(query) and np.isfinite(bias))
    assert np.isnan(O[0, 0, 0, 0]) == np.isnan(L[0, 0, 0]) == lost
    assert np.isfinite(O[0, 0, 1]).all()


# What is sent back


def test_what_is_not_finite_in_dO_reaches_the_keys_of_its_own_group_only():
    """Four heads in two groups, one text: a NaN in the first head's dO."""
    rng = np.random.default_rng(0)
    Q, dO = rng.normal(size=(2, 1, 4, 3, 5))
    K, V = rng.normal(size=(2, 1, 2, 7, 5))
    O, L = numpy_direct.attention(Q, K, V)
    clean = numpy_direct.attention_backward(dO, Q, K, V, O, L)
    dO[0, 0, 1, 2] = np.nan
    dQ, dK, dV = numpy_direct.attention_backward(dO, Q, K, V, O, L)
    assert np.isnan(dQ[0, 0, 1]).all()
    np.testing.assert_array_equal(dQ[0, 1:], clean[0][0, 1:])
    for gradient, before in (dK, clean[1]), (dV, clean[2]):
        assert np.isnan(gradient[0, 0]).all()
        np.testing.assert_array_equal(gradient[0, 1], before[0, 1])


@pytest.mark.parametrize("name", ["torch_direct", "torch_tiled"])
def test_a_loss_of_L_is_sent_back_where_L_is_large(name):
    """The gradient of Σ w L, of scores around 1800 that lie close together, as in float64."""
    torch = pytest.importorskip("torch")
    attention = IMPLEMENTATIONS[name].load().attention
    generator = torch.Generator().manual_seed(0)
    Q = 30 + torch.randn(1, 1, 3, 4, generator=generator)
    K = 30 + torch.randn(1, 1, 5, 4, generator=generator) / 30
    w = torch.tensor([1.0, -2.0, 3.0])
    q, k = (X.clone().requires_grad_() for X in (Q, K))
    (attention(q, k, K)[1] * w).sum().backward()
    exact_q, exact_k = (X.double().requires_grad_() for X in (Q, K))
    S = exact_q @ exact_k.mT / 2
    assert S.min() > 1000
    (torch.logsumexp(S, -1) * w).sum().backward()
    # float32 rounds scores of 1800 by 6e-5, and the weights with them; what is summed is of the size of 30.
    for ours, exact in (q.grad, exact_q.grad), (k.grad, exact_k.grad):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-2)


# The cap and the sink


@pytest.mark.parametrize(
    ("softcap", "message"),
    [
        (0, "softcap is 0; wanted 1.2e-38 or more, or None for no cap"),
        (-50.0, "softcap is -50.0; wanted 1.2e-38 or more"),
        (1e-39, "softcap is 1e-39; wanted 1.2e-38 or more"),
        (np.nan, "softcap is nan; wanted a finite number"),
        (np.inf, "softcap is inf; wanted a finite number"),
        (True, "softcap is True; wanted a finite number"),
        ("50", "softcap is '50'; wanted a finite number"),
        (1e39, r"softcap is 1e\+39; wanted a number in the range of float32"),
    ],
)
def test_a_cap_is_a_positive_number(softcap, message):
    X = numbers(1.0)
    with pytest.raises(ValueError, match=f"^{message}"):
        numpy_direct.attention(X, X, X, softcap=softcap)


def test_the_smallest_cap_and_the_largest_are_taken():
    """The one makes all scores equal, the other changes none."""
    Q, K, V = np.random.default_rng(0).normal(size=(3, 1, 5, 4)).astype(np.float32)
    flat, _ = numpy_direct.attention(Q, K, V, softcap=float(np.finfo(np.float32).tiny))
    np.testing.assert_allclose(flat, np.broadcast_to(V.mean(-2, keepdims=True), flat.shape), rtol=1e-5)
    plain, _ = numpy_direct.attention(Q, K, V)
    np.testing.assert_allclose(numpy_direct.attention(Q, K, V, softcap=MOST)[0], plain, rtol=1e-5, atol=1e-6)


SINKS = {
    "a list": ([0.0, 0.0], TypeError, "sink is a list; wanted an array of floats, one for each head"),
    "integers": (np.zeros(2, int), TypeError, "sink has dtype int64; wanted floats, one for each head"),
    "one number": (np.zeros(()), ValueError, r"sink has shape \(\); wanted \(2,\), one for each head"),
    "a row of one": (np.zeros(1), ValueError, r"sink has shape \(1,\); wanted \(2,\)"),
    "one per row": (np.zeros((2, 5)), ValueError, r"sink has shape \(2, 5\); wanted \(2,\)"),
}


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_is_a_number_for_each_head(name):
    X = np.ones((3, 2, 5, 4))
    sink, error, message = SINKS[name]
    with pytest.raises(error, match=f"^{message}"):
        numpy_direct.attention(X, X, X, sink=sink)


def test_a_sink_of_torch_beside_arrays_is_named():
    torch = pytest.importorskip("torch")
    X = np.ones((2, 5, 4))
    with pytest.raises(TypeError, match=r"^sink is a torch Tensor beside a NumPy array Q"):
        numpy_direct.attention(X, X, X, sink=torch.zeros(2))


def test_without_an_axis_of_heads_there_is_one_sink():
    X = np.random.default_rng(0).normal(size=(5, 4))
    O, L = numpy_direct.attention(X, X, X, sink=np.array([0.5]))
    alone, L_alone = numpy_direct.attention(X, X, X)
    np.testing.assert_allclose(L, np.logaddexp(L_alone, 0.5))
    np.testing.assert_allclose(O, alone * np.exp(L_alone - L)[:, None])


def test_a_sink_comes_in_any_dtype_and_changes_none():
    """What the dtype of the sums cannot hold is not finite."""
    X = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    right = numpy_direct.attention(X, X, X, sink=np.array([0.5, -1.0], np.float32))
    for dtype in np.float16, np.float64:
        came = numpy_direct.attention(X, X, X, sink=np.array([0.5, -1.0], dtype))
        for one, other in zip(came, right, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_array_equal(one, other)
    O, L = numpy_direct.attention(X, X, X, sink=np.array([0.5, 1e300]))
    assert np.isnan(O[1]).all()
    assert np.isnan(L[1]).all()
    np.testing.assert_array_equal(O[0], right[0][0])


def test_a_heads_sink_is_found_to_be_none_or_not():
    X = np.ones((1, 3, 5, 4))
    for sink, bad in ([0.0, -np.inf, 1.0], None), ([0.0, np.inf, np.nan], [[False], [True], [True]]):
        form = Form(X, X, X, None, None, None, accumulator, sink=np.array(sink))
        assert (None if form.bad_sink is None else form.bad_sink.tolist()) == bad
    np.testing.assert_array_equal(form.sink, np.zeros((3, 1)))
    assert form.clean(X, X, X)[1].tolist() == [[[False] * 5, [True] * 5, [True] * 5]]


def test_a_bad_sink_and_a_bad_query_are_found_together():
    X = np.ones((1, 2, 3, 4))
    Q = X.copy()
    Q[0, 0, 1] = np.nan
    form = Form(Q, X, X, None, None, None, accumulator, sink=np.array([0.0, np.nan]))
    assert form.clean(Q, X, X)[1].tolist() == [[[False, True, False], [True] * 3]]


@pytest.mark.parametrize(("bias", "lost"), [(0.0, False), (MOST, False), (-MOST, False)])
def test_a_capped_score_is_searched_with_its_bias(bias, lost):
    """Score and bias would overflow, the cap and the bias do not."""
    Q, K = numbers(1e19), numbers(math.copysign(3e19, bias))
    form = form_of(Q, K, bias=numbers(bias), scale=1.0)
    form.softcap = 2.0
    assert form.clean(Q, K, K)[1][0, 0].tolist() == [lost]
    form.softcap = None
    assert form.clean(Q, K, K)[1][0, 0].tolist() == [bias != 0]


def test_a_score_that_overflows_before_the_cap_is_found():
    Q, K = numbers(1e20, 1.0), numbers(1e20)
    form = Form(Q, K, K, None, None, 1.0, accumulator, 2.0)
    assert form.clean(Q, K, K)[1][0, 0].tolist() == [True, False]


@pytest.mark.parametrize("sink", [[0.5, -1.0], [np.nan, 0.5]])
def test_who_tells_is_asked_once_beside_a_sink_that_is_finite(sink):
    """And of one that is not, of what was searched alone."""
    calls, rng = [], np.random.default_rng(0)
    Q, K, V = rng.normal(size=(3, 1, 2, 5, 4)).astype(np.float32)
    came = telling(True, calls)(Q, K, V, sink=np.array(sink))
    assert calls == [True]
    for one, other in zip(came, numpy_direct.attention(Q, K, V, sink=np.array(sink)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_cap_has_the_slope_of_a_hyperbolic_tangent():
    s = np.array([-3.0, -0.1, 0.0, 2.0, 40.0])
    step, C = 1e-6, 2.0
    measured = (capped(s + step, C) - capped(s - step, C)) / (2 * step)
    np.testing.assert_allclose(before_cap(np.ones(5), capped(s, C), C), measured, atol=1e-9)
    assert capped(s, None) is s
    assert before_cap(s, s, None) is s
