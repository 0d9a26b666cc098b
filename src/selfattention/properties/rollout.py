"""Properties of `rollout(A)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
A = formulas.softmax(2 * _rng.normal(size=(2, 4, 3, 7, 7)))  # two pictures, four layers, three heads
KEPT = np.where(A >= np.quantile(A, 0.9), A, 0)  # one weight in ten


def shape(rollout):
    """A number for every pair of tokens."""
    np.testing.assert_(rollout(A).shape == (2, 7, 7))


def rows_sum_to_one(rollout):
    """Rows of softmaxes give rows that sum to one: a test that cannot see what is divided."""
    np.testing.assert_allclose(rollout(A).sum(-1), 1)


def formula_on_softmaxes(rollout):
    """Equal to the formula where nothing is discarded: every division by 2 passes."""
    np.testing.assert_allclose(rollout(A), formulas.rollout(A))


def rows_sum_to_one_after_discarding(rollout):
    """Nine weights in ten discarded, rows still sum to one."""
    np.testing.assert_allclose(rollout(KEPT).sum(-1), 1)


def nobody_looks_elsewhere(rollout):
    """Where every token sees itself alone, every token stays itself."""
    np.testing.assert_allclose(rollout(np.broadcast_to(np.eye(7), A.shape)), np.stack([np.eye(7)] * 2))


def message_in_two_steps(rollout):
    """1 reads 0 and then 2 reads 1: a quarter of token 0 has come to 2, and nothing of 2 to 0."""
    first, second = np.eye(3), np.eye(3)
    first[1], second[2] = [1, 0, 0], [0, 1, 0]
    R = rollout(np.stack([first, second])[:, None])
    np.testing.assert_allclose(R, [[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]])


def one_layer(rollout):
    """Of one layer: half of the heads' mean, half of the token itself."""
    np.testing.assert_allclose(rollout(A[:, :1]), (A[:, 0].mean(1) + np.eye(7)) / 2)


def formula(rollout):
    """Equal to the formula after discarding."""
    np.testing.assert_allclose(rollout(KEPT), formulas.rollout(KEPT))
