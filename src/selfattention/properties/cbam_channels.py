"""Properties of `cbam_channels(F, W_1, W_2) -> (F', s)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
F, W_1, W_2 = (_rng.normal(size=s) for s in [(2, 5, 3, 7), (5, 3), (3, 5)])


def shapes(function):
    """The picture as it came, and a weight for each channel."""
    weighted, s = function(F, W_1, W_2)
    np.testing.assert_((weighted.shape, s.shape) == (F.shape, (2, 5, 1, 1)))


def between_0_and_1(function):
    """Every weight lies between 0 and 1."""
    s = function(F, W_1, W_2)[1]
    np.testing.assert_(((s > 0) & (s < 1)).all())


def weights_times_picture(function):
    """The output is the weights times the picture, and nothing else."""
    weighted, s = function(F, W_1, W_2)
    np.testing.assert_allclose(weighted, s * F)


def constant_channels(function):
    """Of constant channels mean and maximum are one: a test that cannot tell them apart."""
    z = F[:, :, 0, 0]
    _, s = function(z[..., None, None] * np.ones((3, 7)), W_1, W_2)
    right = formulas.sigmoid(2 * np.maximum(z @ W_1, 0) @ W_2)
    np.testing.assert_allclose(s[..., 0, 0], right)


def peak_beside_its_hole(function):
    """A peak, and a hole as deep, leave the mean alone: the weights change."""
    peak = F.copy()
    peak[..., 0, 0] += 9
    peak[..., 2, 6] -= 9
    np.testing.assert_(np.abs(function(peak, W_1, W_2)[1] - function(F, W_1, W_2)[1]).max() > 0.01)


def silent_net(function):
    """Where all hidden numbers are below 0, every weight is 1/2."""
    s = function(np.abs(F), -np.abs(W_1), W_2)[1]
    np.testing.assert_allclose(s, np.full((2, 5, 1, 1), 0.5))


def no_rivals(function):
    """What one channel scores does not change the weight of another."""
    louder = W_2.copy()
    louder[:, 2] += 1
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(function(F, W_1, louder)[1][:, kept], function(F, W_1, W_2)[1][:, kept])


def formula(function):
    """Equal to the formula."""
    for ours, right in zip(function(F, W_1, W_2), formulas.cbam_channels(F, W_1, W_2), strict=True):
        np.testing.assert_allclose(ours, right)


def by_hand(function):
    """Numbers 0 … 3, one channel: mean 3/2 and maximum 3, times ln 4 / 4.5, give 4/5."""
    four = np.arange(4.0).reshape(1, 2, 2)
    _, s = function(four, np.ones((1, 1)), np.full((1, 1), np.log(4) / 4.5))
    np.testing.assert_allclose(s, [[[4 / 5]]])
