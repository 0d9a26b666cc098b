"""Properties of `window_attention(Q, K, V, T, *, shift) -> (O, A)`."""

import numpy as np

from selfattention import formulas
from selfattention.masks import shifted_windows

_rng = np.random.default_rng(0)
# Two heads; a map of 6 × 9, windows of 3 × 3.
Q, K, V, T = (_rng.normal(size=s) for s in [(2, 4, 6, 9), (2, 4, 6, 9), (2, 5, 6, 9), (25, 2)])


def shape(function):
    """A map as wide as the values."""
    np.testing.assert_(function(Q, K, V, T, shift=1)[0].shape == V.shape)


def constant_values(function):
    """Equal values come out unchanged: an input that hides most mistakes."""
    np.testing.assert_allclose(function(Q, K, np.ones_like(V), T, shift=1)[0], np.ones_like(V))


def one_window(function):
    """A window as large as the map: attention with the table's bias, head by head."""
    square = [formulas.patches(X[..., 3:, :3], 1) for X in (Q, K, V)]
    A = formulas.softmax(formulas.scaled_scores(*square[:2]) + formulas.relative_bias(T))
    O = function(Q[..., 3:, :3], K[..., 3:, :3], V[..., 3:, :3], T)[0]
    np.testing.assert_allclose(formulas.patches(O, 1), A @ square[2])


def _changed(function, place, shift):
    """Where the output changes with the value at one place."""
    other = V.copy()
    other[..., place[0], place[1]] += 1
    apart = np.abs(function(Q, K, other, T, shift=shift)[0] - function(Q, K, V, T, shift=shift)[0])
    return apart.max((0, 1)) > 1e-12


def windows_for_themselves(function):
    """Unshifted, what stands in the first window is felt in all of it and nowhere else."""
    seen = np.zeros((6, 9), dtype=bool)
    seen[:3, :3] = True
    np.testing.assert_array_equal(_changed(function, (0, 0), 0), seen)


def last_window_is_whole(function):
    """Unshifted, the last window is one: its first place is felt in all nine."""
    np.testing.assert_(_changed(function, (3, 6), 0)[3:, 6:].all())


def borders_move(function):
    """Shifted by one, neighbours meet whom the border of two windows kept apart."""
    seen = np.zeros((6, 9), dtype=bool)
    seen[1:4, 1:4] = True
    np.testing.assert_array_equal(_changed(function, (2, 2), 1), seen)


def edges_do_not_meet(function):
    """Shifted, the corner is felt by itself alone: nobody looks around the picture's edge."""
    seen = np.zeros((6, 9), dtype=bool)
    seen[0, 0] = True
    np.testing.assert_array_equal(_changed(function, (0, 0), 1), seen)


def everybody_sees_itself(function):
    """A table that lets everybody see itself alone leaves every value where it was."""
    itself = np.zeros((25, 2))
    itself[12] = 1000
    np.testing.assert_allclose(function(Q, K, V, itself, shift=2)[0], V)


def to_the_right(function):
    """A table for the neighbour on the right: in a window's first two columns its value comes."""
    right = np.zeros((25, 2))
    right[11] = 1000  # Δx = x_i − x_j = −1
    O = function(Q, K, V, right)[0]
    np.testing.assert_allclose(O[..., 0:2], V[..., 1:3])


def rule_of_the_whole_picture(function):
    """Attention of the whole picture under the rule `shifted_windows`, no token moved and no bias."""
    rule = shifted_windows(6, 9, 3, 2)(np.arange(54)[:, None], np.arange(54))
    tokens = [formulas.patches(X, 1) for X in (Q, K, V)]
    O = function(Q, K, V, np.zeros((25, 2)), shift=2)[0]
    np.testing.assert_allclose(formulas.patches(O, 1), formulas.masked_attention(*tokens, rule))


def formula(function):
    """Equal to the formula."""
    for shift in (0, 1):
        ours, right = (f(Q, K, V, T, shift=shift)[0] for f in (function, formulas.window_attention))
        np.testing.assert_allclose(ours, right)
