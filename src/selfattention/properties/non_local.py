"""Properties of `non_local(F, W_Q, W_K, W_V, W_O) -> (F', A)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
F, *WEIGHTS = (_rng.normal(size=s) for s in [(2, 5, 3, 7), (5, 2), (5, 2), (5, 4), (4, 5)])
SAME = [np.eye(5)] * 4


def shape(function):
    """The picture as it came."""
    np.testing.assert_(function(F, *WEIGHTS)[0].shape == F.shape)


def constant_picture(function):
    """Of a constant picture every position gets what all get: an input that hides most mistakes."""
    flat = F[..., :1, :1] * np.ones((3, 7))
    np.testing.assert_allclose(function(flat, *SAME)[0], 2 * flat)


def identity_at_the_start(function):
    """With W_O = 0 the picture comes out as it went in."""
    np.testing.assert_array_equal(function(F, *WEIGHTS[:3], 0 * WEIGHTS[3])[0], F)


def weights_sum_to_one(function):
    """The 21 weights of each of 21 positions sum to one, none below zero."""
    A = function(F, *WEIGHTS)[1]
    np.testing.assert_(A.shape == (2, 21, 21))
    np.testing.assert_(A.min() >= 0)
    np.testing.assert_allclose(A.sum(-1), 1)


def one_picture_at_a_time(function):
    """A picture alone gets what it gets in a batch."""
    np.testing.assert_allclose(function(F[1:], *WEIGHTS)[0][0], function(F, *WEIGHTS)[0][1])


def far_pixel(function):
    """What stands in one corner is felt in the other."""
    other = F.copy()
    other[..., 0, 0] += 1
    W_Q, *rest = WEIGHTS
    felt = np.abs(function(other, W_Q / 9, *rest)[0] - function(F, W_Q / 9, *rest)[0])
    np.testing.assert_(felt[..., -1, -1].max(-1).min() > 1e-3)


def positions_permuted(function):
    """Positions in another order come out in that order."""
    order = np.random.default_rng(1).permutation(21)
    ours = function(F.reshape(2, 5, 21)[..., order].reshape(F.shape), *WEIGHTS)[0]
    np.testing.assert_allclose(ours.reshape(2, 5, 21), function(F, *WEIGHTS)[0].reshape(2, 5, 21)[..., order])


def likeness(function):
    """Positions that look alike see each other, and not the one that looks unlike them."""
    picture = np.array([[[3.0, 3, -3]]])
    A = function(picture, *[np.ones((1, 1))] * 4)[1]
    np.testing.assert_allclose(A, [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-6)


def formula(function):
    """Equal to the formula."""
    np.testing.assert_allclose(function(F, *WEIGHTS)[0], formulas.non_local(F, *WEIGHTS)[0])
