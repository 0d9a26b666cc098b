"""Wrong `attention_backward(dO, Q, K, V, O, L, *, softcap, sink) -> (dQ, dK, dV)`, of one head per group."""

import numpy as np

from selfattention.implementations.numpy_direct import attention, attention_backward


def _backward(dO, Q, K, V, delta, S, A, slope):
    dS = A * (dO @ V.swapaxes(-1, -2) - delta[..., None]) * slope * Q.shape[-1] ** -0.5
    return dS @ K, dS.swapaxes(-1, -2) @ Q, A.swapaxes(-1, -2) @ dO


def _forward(Q, K, L, softcap):
    """tanh, the capped scores and the weights."""
    tanh = np.tanh(Q @ K.swapaxes(-1, -2) * Q.shape[-1] ** -0.5 / softcap)
    return tanh, softcap * tanh, np.exp(softcap * tanh - L[..., None])


def slope_forgotten(dO, Q, K, V, O, L, *, softcap=1.0, sink=None):
    """The gradient of the capped scores for that of the scores: 1 − tanh² forgotten. Chapter 04."""
    _, S, A = _forward(Q, K, L, softcap)
    return _backward(dO, Q, K, V, (dO * O).sum(-1), S, A, 1)


def slope_of_the_capped(dO, Q, K, V, O, L, *, softcap=1.0, sink=None):
    """The slope taken at the capped scores: 1 − tanh² of what has been through tanh. Chapter 04."""
    tanh, S, A = _forward(Q, K, L, softcap)
    return _backward(dO, Q, K, V, (dO * O).sum(-1), S, A, 1 - np.tanh(tanh) ** 2)


def slope_divided_by_the_cap(dO, Q, K, V, O, L, *, softcap=1.0, sink=None):
    """The slope divided by C: it has been divided and multiplied by it already. Chapter 04."""
    tanh, S, A = _forward(Q, K, L, softcap)
    return _backward(dO, Q, K, V, (dO * O).sum(-1), S, A, (1 - tanh**2) / softcap)


def slope_on_the_values_too(dO, Q, K, V, O, L, *, softcap=1.0, sink=None):
    """The slope multiplied into the weights, so that dV has it as well. Chapter 04."""
    tanh, S, A = _forward(Q, K, L, softcap)
    return _backward(dO, Q, K, V, (dO * O).sum(-1), S, A * (1 - tanh**2), 1)


def sink_forgotten(dO, Q, K, V, O, L, *, softcap=1.0, sink=None):
    """The weights divided by a sum without the sink, which has been in the forward pass. Chapter 15."""
    return attention_backward(dO, Q, K, V, O, L, softcap=softcap)


def delta_of_the_keys(dO, Q, K, V, O, L, *, softcap=1.0, sink=None):
    """δ from an output without the sink: a row of dS no longer sums to what the sink gets. Chapter 15."""
    tanh, S, A = _forward(Q, K, L, softcap)
    alone, _ = attention(Q, K, V, softcap=softcap)
    return _backward(dO, Q, K, V, (dO * alone).sum(-1), S, A, 1 - tanh**2)
