"""When two arrays count as the same in a property: in whichever precision a candidate computes."""

import numpy as np


def agree(given, wanted):
    """Assert that they differ by no more than float32 rounds on these small inputs, of numbers about 1.

    A table of cosines or a root kept in float32 is no mistake, and no named mistake is as small.
    """
    largest = max(1.0, np.abs(wanted).max(initial=0.0))
    np.testing.assert_allclose(given, wanted, rtol=0, atol=64 * np.finfo(np.float32).eps * largest)
