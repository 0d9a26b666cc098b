"""Properties of `attention(Q, K, V, *, mask, sink) -> (O, L)`, one score per head beside its keys."""

import numpy as np

from selfattention import formulas, masks

_rng = np.random.default_rng(0)
Q, K, V = (_rng.normal(size=shape) for shape in [(2, 6, 5, 3), (2, 2, 7, 3), (2, 2, 7, 4)])
K_EACH, V_EACH = (np.repeat(X, 3, axis=1) for X in (K, V))
SINK = np.array([0.5, -1.0, 2.0, 0.0, 1.0, -0.5])


def _of_the_keys():
    """O and L without a sink."""
    L = formulas.log_sum_exp(formulas.scaled_scores(Q, K_EACH))
    return formulas.attention(Q, K_EACH, V_EACH), L


def shape(attention):
    """O and L have a row for each query of each head."""
    O, L = attention(Q, K, V, sink=SINK)
    np.testing.assert_((O.shape, L.shape) == ((2, 6, 5, 4), (2, 6, 5)))


def by_hand(attention):
    """Four keys of score 0 in two heads, sinks ln 4 and ln 12: one half is left, and one quarter."""
    zeros, V = np.zeros((2, 1, 1)), np.full((2, 4, 1), 8.0)
    O, L = attention(zeros, np.zeros((2, 4, 1)), V, sink=np.log([4.0, 12.0]))
    np.testing.assert_allclose(O.ravel(), [4, 2])
    np.testing.assert_allclose(L.ravel(), np.log([8.0, 16.0]))


def one_column_more(attention):
    """The softmax of the scores and one column more, which is dropped with its weights."""
    S = formulas.scaled_scores(Q, K_EACH)
    column = np.broadcast_to(SINK[:, None, None], (2, 6, 5, 1))
    A = formulas.softmax(np.concatenate([S, column], axis=-1))[..., :-1]
    np.testing.assert_allclose(attention(Q, K, V, sink=SINK)[0], A @ V_EACH)


def weights_sum_to_what_is_left(attention):
    """Values of one give the sum of the weights, 1 − e^{s − L}."""
    O, L = attention(Q, K, np.ones_like(V), sink=SINK)
    np.testing.assert_allclose(O[..., 0], 1 - np.exp(SINK[:, None] - L))


def a_merge(attention):
    """O and L of the keys alone, merged with the state (s, 1, 0)."""
    O, L = _of_the_keys()
    ours = attention(Q, K, V, sink=SINK)
    for one, other in zip(ours, formulas.with_sink(O, L, SINK[:, None] + 0 * L), strict=True):
        np.testing.assert_allclose(one, other)


def each_head_its_own(attention):
    """Raising one head's sink changes that head alone."""
    raised = np.where(np.arange(6) == 4, 3.0, SINK)
    change = np.abs(attention(Q, K, V, sink=raised)[0] - attention(Q, K, V, sink=SINK)[0]).max((0, 2, 3))
    np.testing.assert_array_equal(change > 0, np.arange(6) == 4)


def a_low_sink_is_none(attention):
    """s = −1000 takes nothing."""
    for ours, plain in zip(attention(Q, K, V, sink=np.full(6, -1e3)), _of_the_keys(), strict=True):
        np.testing.assert_allclose(ours, plain)


def moved_with_the_scores(attention):
    """Scores and sinks higher by 3 give the same O and an L that is higher by 3."""
    ones = np.ones((2, 6, 5, 1)), np.full((2, 2, 7, 1), 3 * 4**0.5)  # one feature more, and its product
    Q4, K4 = np.concatenate([Q, ones[0]], -1), np.concatenate([K, ones[1]], -1)
    O, L = attention(np.concatenate([Q, 0 * ones[0]], -1), K4, V, sink=SINK)
    moved_O, moved_L = attention(Q4, K4, V, sink=SINK + 3)
    np.testing.assert_allclose(moved_O, O)
    np.testing.assert_allclose(moved_L, L + 3)


def no_key_at_all(attention):
    """A row that may see no key sees the sink: O = 0 and L = s."""
    O, L = attention(Q, K, V, mask=masks.padding([0, 7]), sink=SINK)
    np.testing.assert_((O[0] == 0).all())
    np.testing.assert_allclose(L[0], np.broadcast_to(SINK[:, None], (6, 5)))
