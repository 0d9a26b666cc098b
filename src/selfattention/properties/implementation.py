"""Properties of `attention(Q, K, V, *, mask) -> (O, L)` by the contract of the implementations."""

import numpy as np

from selfattention import formulas, masks

_rng = np.random.default_rng(0)
Q, K, V = (_rng.normal(size=shape) for shape in [(2, 6, 5, 3), (2, 2, 7, 3), (2, 2, 7, 4)])


def shape(attention):
    """O and L have a row for each query of each head."""
    O, L = attention(Q, K, V)
    np.testing.assert_((O.shape, L.shape) == ((2, 6, 5, 4), (2, 6, 5)))


def one_group(attention):
    """With as many groups as heads it is the formula, head by head."""
    np.testing.assert_allclose(attention(Q[:, :2], K, V)[0], formulas.attention(Q[:, :2], K, V))


def groups_of_heads(attention):
    """Three heads in a row read the same keys."""
    K6, V6 = np.repeat(K, 3, axis=1), np.repeat(V, 3, axis=1)
    np.testing.assert_allclose(attention(Q, K, V)[0], formulas.attention(Q, K6, V6))


def log_sum_exp(attention):
    """L normalises the scores: exp(S − L) sums to one."""
    S = formulas.scaled_scores(Q, np.repeat(K, 3, axis=1))
    np.testing.assert_allclose(np.exp(S - attention(Q, K, V)[1][..., None]).sum(-1), 1)


def hidden_nan(attention):
    """NaN in a value that nobody may see reaches nothing."""
    poisoned = V.copy()
    poisoned[..., 5:, :] = np.nan
    O, _ = attention(Q, K, poisoned, mask=masks.prefix(5))
    np.testing.assert_array_equal(O, attention(Q, K, V, mask=masks.prefix(5))[0])


def hidden_scores(attention):
    """Hidden keys ten thousand times as long, with scores to match, change nothing."""
    loud = K.copy()
    loud[..., 5:, :] *= 1e4
    for ours, quiet in zip(
        attention(Q, loud, V, mask=masks.prefix(5)), attention(Q, K, V, mask=masks.prefix(5)), strict=True
    ):
        np.testing.assert_allclose(ours, quiet)


def each_sequence_its_padding(attention):
    """Lengths 4 and 6: each member of the batch sees its own."""
    O, _ = attention(Q, K, V, mask=masks.padding([4, 6]))
    for b, length in enumerate([4, 6]):
        alone, _ = attention(Q[b], K[b, :, :length], V[b, :, :length])
        np.testing.assert_allclose(O[b], alone)


def empty_rows(attention):
    """A row that may see nothing gives zeros, and minus infinity."""
    O, L = attention(Q, K, V, mask=masks.padding([0, 7]))
    np.testing.assert_((O[0] == 0).all())
    np.testing.assert_(np.isneginf(L[0]).all())
