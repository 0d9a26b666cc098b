"""Properties of `masked_attention(Q, K, V, visible)`."""

import numpy as np

from selfattention import formulas
from selfattention.properties.single_precision import agree

_rng = np.random.default_rng(0)
Q, K, V = (_rng.normal(size=(2, *shape)) for shape in [(5, 3), (7, 3), (7, 2)])
VISIBLE = _rng.random((2, 5, 7)) < 0.6
VISIBLE[:, 0] = [True, False, False, True, False, False, False]
SQUARE = list(_rng.normal(size=(3, 2, 6, 6)))


def shape(function):
    """One row per query, as wide as the values."""
    np.testing.assert_(function(Q, K, V, VISIBLE).shape == (2, 5, 2))


def nothing_hidden(function):
    """A mask that hides nothing changes nothing: a test that cannot see most mistakes."""
    agree(function(Q, K, V, np.ones_like(VISIBLE)), formulas.attention(Q, K, V))


def constant_values(function):
    """Equal values come out unchanged."""
    agree(function(Q, K, np.ones((2, 7, 2)), VISIBLE), np.ones((2, 5, 2)))


def hidden_keys_deleted(function):
    """A key hidden from everybody might as well not be there."""
    visible = np.arange(7) < 4 * np.ones((2, 5, 1))
    agree(function(Q, K, V, visible), formulas.attention(Q, K[:, :4], V[:, :4]))


def hidden_values_changed(function):
    """The value of a hidden key does not matter, be it a million."""
    visible = np.arange(7) < 4 * np.ones((2, 5, 1))
    poisoned = np.where(np.arange(7)[:, None] < 4, V, 1e6)
    np.testing.assert_array_equal(function(Q, K, poisoned, visible), function(Q, K, V, visible))


def prefix_consistency(function):
    """Under a causal mask the first three tokens do not know the rest."""
    causal = np.tri(6, dtype=bool) * np.ones((2, 1, 1), dtype=bool)
    first = [x[:, :3] for x in SQUARE]
    agree(function(*SQUARE, causal)[:, :3], function(*first, causal[:, :3, :3]))


def cache_is_recomputation(function):
    """The last query with all keys gets the last row of the whole."""
    causal = np.tri(6, dtype=bool) * np.ones((2, 1, 1), dtype=bool)
    last = function(SQUARE[0][:, -1:], *SQUARE[1:], causal[:, -1:])
    agree(last, function(*SQUARE, causal)[:, -1:])


def empty_row_is_zero(function):
    """A query that may see nothing gets nothing."""
    visible = VISIBLE.copy()
    visible[1, 2] = False
    np.testing.assert_array_equal(function(Q, K, V, visible)[1, 2], 0)


def low_scores_seen(function):
    """A visible key with a score of minus a thousand still beats a hidden one."""
    visible = np.array([[[True, False]]])
    q, k = np.array([[[-1000.0]]]), np.array([[[1.0], [1.0]]])
    agree(function(q, k, np.array([[[3.0], [5.0]]]), visible), [[[3.0]]])


def one_query_at_a_time(function):
    """A query with its own row of the mask gets what it gets in company."""
    alone = function(Q[:, 3:4], K, V, VISIBLE[:, 3:4])
    agree(alone, function(Q, K, V, VISIBLE)[:, 3:4])


def formula(function):
    """Equal to the formula."""
    agree(function(Q, K, V, VISIBLE), formulas.masked_attention(Q, K, V, VISIBLE))
