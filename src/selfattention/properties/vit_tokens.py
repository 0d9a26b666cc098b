"""Properties of `vit_tokens(F, W_E, b_E, x_class, P)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
# Two pictures of five channels, two patches high and three wide.
F, W_E, b_E, x_class, P = (_rng.normal(size=s) for s in [(2, 5, 4, 6), (5, 2, 2, 11), (11,), (11,), (7, 11)])


def shape(tokens):
    """A token more than the picture has patches."""
    np.testing.assert_(tokens(F, W_E, b_E, x_class, P).shape == (2, 7, 11))


def no_positions(tokens):
    """Where P is zero it is the class token and the patches: a test that cannot see positions."""
    X = formulas.with_class_token(formulas.patch_embedding(F, W_E, b_E), x_class)
    np.testing.assert_allclose(tokens(F, W_E, b_E, x_class, 0 * P), X)


def nothing_but_positions(tokens):
    """Of a black picture, without bias and class, the positions are left."""
    np.testing.assert_array_equal(tokens(0 * F, W_E, 0 * b_E, 0 * x_class, P), np.stack([P, P]))


def equal_patches_differ(tokens):
    """Patches that look alike differ by their places, all of them."""
    X = tokens(np.ones_like(F), W_E, b_E, x_class, P)[0, 1:]
    apart = np.abs(X[:, None] - X).max(-1) + np.eye(6)
    np.testing.assert_(apart.min() > 0.01)


def one_picture_at_a_time(tokens):
    """A picture alone gets what it gets in a batch."""
    alone = tokens(F[1:], W_E, b_E, x_class, P)[0]
    np.testing.assert_allclose(alone, tokens(F, W_E, b_E, x_class, P)[1])


def class_token_first(tokens):
    """The first token is the same for every picture."""
    X = tokens(F, W_E, b_E, x_class, P)
    np.testing.assert_array_equal(X[0, 0], X[1, 0])
    np.testing.assert_(np.abs(X[0, 1:] - X[1, 1:]).max(-1).min() > 0.01)


def lit_patch(tokens):
    """Light the last patch of the first row, and token 3 alone changes."""
    lit = F.copy()
    lit[..., :2, 4:] += 1
    changed = (tokens(lit, W_E, b_E, x_class, P) != tokens(F, W_E, b_E, x_class, P)).any((0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed), [3])


def formula(tokens):
    """Equal to the formula."""
    given = F, W_E, b_E, x_class, P
    np.testing.assert_allclose(tokens(*given), formulas.vit_tokens(*given))
