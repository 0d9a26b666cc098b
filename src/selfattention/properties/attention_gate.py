"""Properties of `attention_gate(F, G, W_F, W_G, w) -> (F', α)`: the skip F, the coarser level G.

Skip and coarser level have five channels each. With unequal numbers some mistakes cannot run, and so are
found; here they run.
"""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
F, G, W_F, W_G, w = (_rng.normal(size=s) for s in [(2, 5, 3, 7), (2, 5, 3, 7), (5, 4), (6, 4), (5,)])


def shapes(gate):
    """The picture as it came, and a weight for each position."""
    weighted, alpha = gate(F, G, W_F, W_G, w)
    np.testing.assert_((weighted.shape, alpha.shape) == (F.shape, (2, 1, 3, 7)))


def same_signal_twice(gate):
    """Where both signals are the same picture: a test that cannot see which one is kept."""
    weighted, alpha = gate(F, F, W_F, W_G, w)
    right, weights = formulas.attention_gate(F, F, W_F, W_G, w)
    np.testing.assert_allclose(weighted, right)
    np.testing.assert_allclose(alpha, weights)


def skip_kept(gate):
    """The output is the skip, position by position times its weight."""
    weighted, alpha = gate(F, G, W_F, W_G, w)
    np.testing.assert_allclose(weighted, alpha * F)


def empty_skip(gate):
    """Where the skip is empty nothing comes through, whoever asks."""
    np.testing.assert_array_equal(gate(0 * F, G, W_F, W_G, w)[0], 0 * F)


def both_are_asked(gate):
    """The weights change with the skip, and with the coarser level."""
    alpha = gate(F, G, W_F, W_G, w)[1]
    for other in ((-F, G), (F, -G)):
        np.testing.assert_(np.abs(gate(*other, W_F, W_G, w)[1] - alpha).max() > 0.01)


def each_position_for_itself(gate):
    """A weight does not change with what stands elsewhere."""
    elsewhere = F.copy()
    elsewhere[..., 0, 0] += 3
    ours, right = (gate(X, G, W_F, W_G, w)[1].reshape(2, 21)[:, 1:] for X in (elsewhere, F))
    np.testing.assert_allclose(ours, right)


def equal_matrices(gate):
    """With one matrix for both and no bias the roles could be changed: a test that cannot tell F from G."""
    _, alpha = gate(F, G, W_F, np.vstack([W_F, np.zeros(4)]), w)
    np.testing.assert_allclose(alpha, gate(G, F, W_F, np.vstack([W_F, np.zeros(4)]), w)[1])


def formula(gate):
    """Equal to the formula."""
    given = F, G, W_F, W_G, w
    for ours, right in zip(gate(*given), formulas.attention_gate(*given), strict=True):
        np.testing.assert_allclose(ours, right)


def by_hand(gate):
    """Skip 2, coarser level 1 and 5: hidden 2 − g, at least 0; times ln 3, weights 3/4 and 1/2."""
    weighted, alpha = gate(
        np.full((1, 1, 2), 2.0),
        np.array([[[1.0, 5]]]),
        np.ones((1, 1)),
        np.array([[-1.0], [0]]),
        np.array([np.log(3), 0]),
    )
    np.testing.assert_allclose(alpha, [[[3 / 4, 1 / 2]]])
    np.testing.assert_allclose(weighted, [[[3 / 2, 1]]])
