"""Properties of `attention_backward(dO, Q, K, V, O, L, *, softcap, sink) -> (dQ, dK, dV)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
Q, K, V, dO = (_rng.normal(size=shape) for shape in [(2, 5, 3), (2, 7, 3), (2, 7, 4), (2, 5, 4)])
Q *= 3
SINK = np.array([0.5, 1.5])
DIRECTION = [_rng.normal(size=X.shape) for X in (Q, K, V)]


def _forward(Q, K, V, softcap, sink=None):
    """O and L by the formulas."""
    S = formulas.softcap(formulas.scaled_scores(Q, K), softcap)
    O, L = formulas.softmax(S) @ V, formulas.log_sum_exp(S)
    return (O, L) if sink is None else formulas.with_sink(O, L, sink[:, None] + 0 * L)


def _gradients(backward, **options):
    return backward(dO, Q, K, V, *_forward(Q, K, V, **options), **options)


def shape(backward):
    """Gradients have the shapes of what they belong to."""
    shapes = [gradient.shape for gradient in _gradients(backward, softcap=2.0, sink=SINK)]
    np.testing.assert_(shapes == [Q.shape, K.shape, V.shape])


def finite_differences(backward):
    """Along one random direction of Q, K and V together, capped and beside a sink."""
    options = {"softcap": 2.0, "sink": SINK}

    def loss(step):
        moved = [X + step * D for X, D in zip((Q, K, V), DIRECTION, strict=True)]
        return (_forward(*moved, **options)[0] * dO).sum()

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    ours = sum((g * D).sum() for g, D in zip(_gradients(backward, **options), DIRECTION, strict=True))
    np.testing.assert_allclose(ours, slope, rtol=1e-6)


def a_high_cap_is_the_formula(backward):
    """C = 10⁶ and no sink: the gradients of attention."""
    right = formulas.attention_backward(dO, Q, K, V)
    for ours, theirs in zip(_gradients(backward, softcap=1e6), right, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def saturated_scores_learn_nothing(backward):
    """Scores a hundred times beyond the cap: tanh is flat there."""
    loud = 1e3 * Q
    O, L = _forward(loud, K, V, softcap=1.0, sink=SINK)
    dQ, _, _ = backward(dO, loud, K, V, O, L, softcap=1.0, sink=SINK)
    np.testing.assert_allclose(dQ, 0, atol=1e-6)


def values_get_their_weights(backward):
    """dO = 1: each value gets the sum of its weights, and all of them what the sinks have left."""
    O, L = _forward(Q, K, V, softcap=2.0, sink=SINK)
    _, _, dV = backward(np.ones_like(dO), Q, K, V, O, L, softcap=2.0, sink=SINK)
    np.testing.assert_allclose(dV[..., 0].sum(-1), (1 - np.exp(SINK[:, None] - L)).sum(-1))
