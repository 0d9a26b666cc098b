"""Properties of `attention(Q, K, V, *, mask, bias, softcap) -> (O, L)`: the cap before bias and mask."""

import numpy as np

from selfattention import formulas, masks

_rng = np.random.default_rng(0)
Q, K, V = (_rng.normal(size=shape) for shape in [(2, 5, 3), (2, 7, 3), (2, 7, 4)])
BIAS = _rng.normal(size=(5, 7))


def shape(attention):
    """O and L have a row for each query."""
    O, L = attention(Q, K, V, softcap=2.0)
    np.testing.assert_((O.shape, L.shape) == ((2, 5, 4), (2, 5)))


def by_hand(attention):
    """d_k = 4, scores 0 and 2 artanh ½ = ln 3, a cap of 2: capped to 0 and 1."""
    q, k = np.array([[2.0, 0, 0, 0]]), np.array([[0.0, 0, 0, 0], [np.log(3), 0, 0, 0]])
    O, L = attention(q, k, np.array([[0.0], [1.0]]), softcap=2.0)
    np.testing.assert_allclose(O, [[np.e / (1 + np.e)]])
    np.testing.assert_allclose(L, [np.log(1 + np.e)])


def formula(attention):
    """softmax(C tanh(S / C)) V."""
    S = formulas.softcap(formulas.scaled_scores(3 * Q, K), 2.0)
    np.testing.assert_allclose(attention(3 * Q, K, V, softcap=2.0)[0], formulas.softmax(S) @ V)


def keeps_the_order(attention):
    """Of two keys whose scores are beyond the cap, the higher one weighs more."""
    q, k = np.array([[1.0]]), np.array([[3.0], [4.0]])
    O, _ = attention(q, k, np.array([[0.0], [1.0]]), softcap=2.0)
    np.testing.assert_(O[0, 0] > 0.5)


def a_high_cap_is_none(attention):
    """C = 10⁶ changes nothing that shows."""
    O, L = attention(Q, K, V, softcap=1e6)
    np.testing.assert_allclose(O, formulas.attention(Q, K, V), rtol=1e-9)
    np.testing.assert_allclose(L, formulas.log_sum_exp(formulas.scaled_scores(Q, K)), rtol=1e-9)


def no_weight_beyond(attention):
    """However large the scores, no weight of a row is more than e^{2C} times another."""
    A, _ = attention(1e3 * Q, K, np.broadcast_to(np.eye(7), (2, 7, 7)), softcap=2.0)
    np.testing.assert_((A.max(-1) <= np.exp(4) * A.min(-1) * (1 + 1e-9)).all())


def hidden_keys(attention):
    """What a mask hides has the weight 0, exactly, and changes nothing."""
    visible = attention(Q, K[:, :5], V[:, :5], softcap=2.0)
    for ours, alone in zip(attention(Q, K, V, mask=masks.prefix(5), softcap=2.0), visible, strict=True):
        np.testing.assert_allclose(ours, alone)


def a_bias_is_not_capped(attention):
    """A bias of 100 on one key gives it all the weight, with a cap of 2."""
    bias = np.where(np.arange(7) == 3, 100.0, 0.0) + np.zeros((5, 1))
    np.testing.assert_allclose(attention(Q, K, V, bias=bias, softcap=2.0)[0], V[:, [3] * 5], rtol=1e-9)


def bias_and_mask(attention):
    """Cap, bias and mask in this order."""
    S = formulas.softcap(formulas.scaled_scores(3 * Q, K), 2.0) + BIAS
    S = np.where(masks.causal.tile(range(5), range(7)), S, -np.inf)
    O, L = attention(3 * Q, K, V, mask=masks.causal, bias=BIAS, softcap=2.0)
    np.testing.assert_allclose(O, formulas.softmax(S) @ V)
    np.testing.assert_allclose(L, formulas.log_sum_exp(S))
