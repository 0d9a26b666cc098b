"""Properties of `selective_kernel(F, W_1, W_2) -> (F', a)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
# Two pictures, three branches, five channels.
F, W_1, W_2 = (_rng.normal(size=s) for s in [(2, 3, 5, 4, 7), (5, 11), (3, 11, 5)])


def shapes(function):
    """One picture of the branches, and a weight for each branch and channel."""
    mixed, a = function(F, W_1, W_2)
    np.testing.assert_((mixed.shape, a.shape) == ((2, 5, 4, 7), (2, 3, 5, 1, 1)))


def no_scores(function):
    """At scores of 0 every branch has weight 1/3: a test that cannot see how scores are made."""
    np.testing.assert_allclose(function(F, W_1, 0 * W_2)[0], F.mean(1))


def branches_sum_to_one(function):
    """The weights of a channel's branches sum to one."""
    np.testing.assert_allclose(function(F, W_1, W_2)[1].sum(1), np.ones((2, 5, 1, 1)))


def equal_branches(function):
    """Three times the same branch comes out as it was."""
    same = np.repeat(F[:, :1], 3, axis=1)
    np.testing.assert_allclose(function(same, W_1, W_2)[0], F[:, 0])


def one_picture_at_a_time(function):
    """A picture has the weights in a batch that it has alone."""
    alone = function(F[1:], W_1, W_2)[1][0]
    np.testing.assert_allclose(function(F, W_1, W_2)[1][1], alone)


def branches_renamed(function):
    """Branches in another order, and their matrices with them, change nothing."""
    order = [1, 2, 0]
    np.testing.assert_allclose(function(F[:, order], W_1, W_2[order])[0], function(F, W_1, W_2)[0])


def channels_for_themselves(function):
    """What another channel scores does not change how this one is mixed."""
    louder = W_2.copy()
    louder[0, :, 2] += 1
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(function(F, W_1, louder)[1][:, :, kept], function(F, W_1, W_2)[1][:, :, kept])


def formula(function):
    """Equal to the formula."""
    for ours, right in zip(function(F, W_1, W_2), formulas.selective_kernel(F, W_1, W_2), strict=True):
        np.testing.assert_allclose(ours, right)


def by_hand(function):
    """Branches 1 and 3, one channel: scores ln 3 and 0, weights 3/4 and 1/4."""
    branches = np.array([1.0, 3]).reshape(2, 1, 1, 1)
    mixed, a = function(branches, np.ones((1, 1)), np.array([np.log(3) / 4, 0]).reshape(2, 1, 1))
    np.testing.assert_allclose(a.ravel(), [3 / 4, 1 / 4])
    np.testing.assert_allclose(mixed, [[[3 / 2]]])
