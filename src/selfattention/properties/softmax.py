"""Properties of `softmax(S)`."""

import numpy as np

from selfattention.properties.single_precision import agree

S = np.random.default_rng(0).normal(size=(2, 5, 7))


def shape(softmax):
    """Weights have the shape of the scores."""
    np.testing.assert_(softmax(S).shape == S.shape)


def rows_sum_to_one(softmax):
    """Each row sums to one."""
    agree(softmax(S).sum(-1), 1)


def between_zero_and_one(softmax):
    """No weight is negative or above one."""
    np.testing.assert_(((softmax(S) >= 0) & (softmax(S) <= 1)).all())


def shift(softmax):
    """A number added to a row changes nothing."""
    agree(softmax(S + np.arange(5.0)[:, None]), softmax(S))


def finite(softmax):
    """Scores of a thousand give weights, not NaN."""
    np.testing.assert_(np.isfinite(softmax(1000 * S)).all())


def all_equal_scores(softmax):
    """Seven equal scores give a seventh each: an input that hides most mistakes."""
    agree(softmax(np.ones((1, 7))), 1 / 7)


def one_row_at_a_time(softmax):
    """A row alone has the weights that it has in a batch, however far the rows lie apart."""
    far = S + 1000 * np.arange(5.0)[:, None]
    agree(softmax(far)[:, 2:3], softmax(far[:, 2:3]))


def by_hand(softmax):
    """ln 1, ln 2, ln 5 give one, two and five eighths."""
    agree(softmax(np.log([[1.0, 2.0, 5.0]])), [[1 / 8, 2 / 8, 5 / 8]])
