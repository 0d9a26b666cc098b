"""Properties of `shared_rate(rate, p, devices)`."""

import numpy as np


def one_device_each(shared):
    """Up to as many ranks as devices, each has one of its own."""
    np.testing.assert_equal([shared(6.0, p, 4) for p in (1, 2, 3, 4)], [6.0] * 4)


def three_on_two(shared):
    """Two of three ranks share a device, and all wait for them."""
    np.testing.assert_equal(shared(6.0, 3, 2), 3.0)


def one_more(shared):
    """Whoever comes fifth where two devices have two ranks each makes a third on one of them."""
    np.testing.assert_equal([shared(6.0, p, 2) for p in (4, 5, 6)], [3.0, 2.0, 2.0])
