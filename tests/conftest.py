"""What every test may use: a seeded source of random numbers; Hypothesis without a clock.

Hypothesis draws the same examples each time, so that a red run is red again; no deadline, because
two workers on two cores make the first example slow. Importing `execute` gives the tests one thread
each, as it does the notebooks: two workers with two threads each would wait for one another.
"""

import execute  # noqa: F401
import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("course", deadline=None, derandomize=True, database=None)
settings.load_profile("course")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
