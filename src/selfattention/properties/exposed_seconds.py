"""Properties of `exposed_seconds(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency)`."""

import numpy as np


def by_hand(seconds):
    """Six seconds of computing, four messages that wait half a second each, 40 bytes in four seconds."""
    np.testing.assert_allclose(seconds(3, 600, 40, 100, 10, 0.5), 6 + 4 * 0.5 + 4)


def both_take_their_time(seconds):
    """More work is more seconds, and so are more bytes."""
    usual = seconds(2, 600, 40, 100, 10, 0)
    np.testing.assert_allclose(seconds(2, 700, 40, 100, 10, 0) - usual, 1)
    np.testing.assert_allclose(seconds(2, 600, 60, 100, 10, 0) - usual, 2)


def one_rank_more(seconds):
    """Two messages more that wait."""
    np.testing.assert_allclose(seconds(8, 0, 40, 100, 10, 0.5) - seconds(7, 0, 40, 100, 10, 0.5), 1)


def alone(seconds):
    """One rank sends nothing, so that nothing waits."""
    np.testing.assert_allclose(seconds(1, 600, 0, 100, 10, 0.5), 6)
