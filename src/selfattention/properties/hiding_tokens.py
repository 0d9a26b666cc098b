"""Properties of `hiding_tokens`, which are given the formula's arguments in its order."""

import numpy as np

MACHINE = 2, 100.0, 10.0  # bytes of a number; operations and bytes a second


def as_long_as_its_message(hides_from):
    """With so many tokens a tile takes what its message takes."""
    h, g, d_k, d_v, seen, latency = 6, 2, 3, 5, 0.5, 0.7
    x = hides_from(h, g, d_k, d_v, seen, *MACHINE, latency)
    tile = 4 * seen * h * x**2 * (d_k + d_v) / 2 / 100
    np.testing.assert_allclose(tile, latency + x * g * (d_k + d_v) * 2 / 10, rtol=1e-12)


def half_of_the_pairs(hides_from):
    """Without latency, a mask that hides half of the pairs asks for twice the tokens."""
    dense, causal = (hides_from(6, 2, 3, 5, seen, *MACHINE, 0.0) for seen in (1, 0.5))
    np.testing.assert_allclose(causal, 2 * dense)


def shared_keys(hides_from):
    """Without latency, two heads that share their keys need half the tokens of two that do not."""
    own, shared = (hides_from(2, g, 3, 5, 1, *MACHINE, 0.0) for g in (2, 1))
    np.testing.assert_allclose(own, 2 * shared)


def latency_alone(hides_from):
    """Where bytes take no time, four times the latency asks for twice the tokens."""
    short, long = (hides_from(1, 1, 3, 5, 1, 2, 100.0, 1e30, latency) for latency in (1.0, 4.0))
    np.testing.assert_allclose([long, short], [2 * short, (100 / 16) ** 0.5], rtol=1e-6)
