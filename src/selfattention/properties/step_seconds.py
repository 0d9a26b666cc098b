"""Properties of `step_seconds(computing, sending, overlap)`."""

import numpy as np


def one_after_the_other(step):
    """Without overlap both take their time."""
    np.testing.assert_allclose([step(3, 2, 0), step(2, 3, 0)], 5)


def side_by_side(step):
    """With all of it the longer one says how long it takes."""
    np.testing.assert_allclose([step(3, 2, 1), step(2, 3, 1)], 3)


def whichever_is_longer(step):
    """A tile beside a message is as long as a message beside a tile."""
    np.testing.assert_allclose(step(1, 4, 0.25), step(4, 1, 0.25))


def a_quarter_hidden(step):
    """A quarter of the shorter one's two seconds."""
    np.testing.assert_allclose(step(3, 2, 0.25), 5 - 0.5)


def nothing_to_send(step):
    """Behind a tile alone nothing is hidden."""
    np.testing.assert_allclose(step(3, 0, 0.5), 3)
