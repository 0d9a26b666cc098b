"""Properties of `eca_kernel_size(C)`."""

import numpy as np

from selfattention import formulas

CHANNELS = [1, 2, 3, 16, 24, 64, 100, 128, 129, 256, 512, 1024, 2048, 4096]


def odd(kernel_size):
    """An odd number, 1 or more: one tap is the middle."""
    sizes = [kernel_size(C) for C in CHANNELS]
    np.testing.assert_(all(k >= 1 and k % 2 == 1 for k in sizes))


def never_falls(kernel_size):
    """More channels never have fewer neighbours, and 2,048 have more than 64."""
    sizes = [kernel_size(C) for C in CHANNELS]
    np.testing.assert_(sizes == sorted(sizes))
    np.testing.assert_(kernel_size(2048) > kernel_size(64))


def three_to_five(kernel_size):
    """64 channels have 3, 256 have 5: where no reading disagrees."""
    np.testing.assert_([kernel_size(C) for C in (64, 256, 512, 1024)] == [3, 5, 5, 5])


def nearest_odd(kernel_size):
    """An odd number as near to (log₂ C + 1) / 2 as any."""
    np.testing.assert_(all(kernel_size(C) in formulas.eca_nearest_odd(C) for C in CHANNELS))


def formula(kernel_size):
    """Equal to the formula."""
    np.testing.assert_([kernel_size(C) for C in CHANNELS] == [formulas.eca_kernel_size(C) for C in CHANNELS])
