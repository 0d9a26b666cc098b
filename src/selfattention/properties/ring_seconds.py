"""Properties of `ring_seconds`, which are given the formula's arguments in its order."""

import numpy as np


def step_by_step(seconds):
    """Three tiles of two seconds, and beside the first two a message of two and a half."""
    took = [seconds(3, 600, 40, 100, 10, 0.5, overlap) for overlap in (0, 0.5, 1)]
    np.testing.assert_allclose(took, [3 * 2 + 2 * 2.5, 2 * (2.5 + 1) + 2, 2 * 2.5 + 2])


def nothing_to_send(seconds):
    """Then it takes what the work takes."""
    np.testing.assert_allclose(seconds(5, 600, 0, 100, 10, 0, 1), 6)


def all_hidden(seconds):
    """Behind tiles of three seconds, messages of two and a half take no time."""
    np.testing.assert_allclose(seconds(3, 900, 40, 100, 10, 0.5, 1), 9)


def nothing_to_compute(seconds):
    """Without tiles, p − 1 messages one after the other."""
    np.testing.assert_allclose(seconds(5, 0, 40, 100, 10, 0.5, 1), 4 * 0.5 + 4)


def alone(seconds):
    """One rank has its work, and nobody to send to."""
    np.testing.assert_allclose(seconds(1, 600, 0, 100, 10, 0, 0.5), 6)
