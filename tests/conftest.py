"""What every test may use: a seeded source of random numbers."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)
