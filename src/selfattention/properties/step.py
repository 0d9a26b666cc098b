"""Properties of `step(Q, K, V, past_K, past_V) -> (O, K, V)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
# Six heads in two groups; seven tokens.
Q, K, V = (_rng.normal(size=shape) for shape in [(6, 7, 3), (2, 7, 3), (2, 7, 4)])


def _beside(cached, Q=Q, K=K, V=V):
    """The arguments of a step of all tokens that are not cached yet; the cache may be written to."""
    past, new = np.s_[:, :cached], np.s_[:, cached:]
    return Q[new], K[new], V[new], K[past].copy(), V[past].copy()


def _steps(step, ends, Q=Q, K=K, V=V):
    """O of all tokens, in steps that end before these places, and the last cache."""
    cache, outputs = (K[:, :0], V[:, :0]), []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        new = slice(start, end)
        O, *cache = step(Q[:, new], K[:, new], V[:, new], *(x.copy() for x in cache))
        outputs.append(O)
    return np.concatenate(outputs, axis=1), *cache


def _at_once():
    repeated = (np.repeat(x, 3, axis=0) for x in (K, V))
    return formulas.masked_attention(Q, *repeated, np.tri(7, dtype=bool))


def shape(step):
    """A row of O for each new token of each head."""
    O, *_ = step(*_beside(5))
    np.testing.assert_(O.shape == (6, 2, 4))


def first_token(step):
    """The first token of all sees itself alone."""
    O, *_ = step(Q[:, :1], K[:, :1], V[:, :1], K[:, :0], V[:, :0])
    np.testing.assert_allclose(O, np.repeat(V[:, :1], 3, axis=0))


def prompt_at_once(step):
    """From an empty cache it is causal attention: a test that cannot see the cache."""
    np.testing.assert_allclose(_steps(step, [7])[0], _at_once(), atol=1e-12)


def one_at_a_time(step):
    """Token by token, the cache handed on, every token gets what it gets at once."""
    np.testing.assert_allclose(_steps(step, range(1, 8))[0], _at_once(), atol=1e-12)


def in_chunks(step):
    """A chunk of three and one of four: the same."""
    np.testing.assert_allclose(_steps(step, [3, 7])[0], _at_once(), atol=1e-12)


def future_unseen(step):
    """In a chunk behind a cache, an enormous last value reaches no earlier token."""
    loud = V.copy()
    loud[:, 6] = 1e9
    quiet, heard = (step(*_beside(4, V=v))[0] for v in (V, loud))
    np.testing.assert_array_equal(quiet[:, :2], heard[:, :2])


def oldest_seen(step):
    """The newest token hears the oldest value."""
    loud = V.copy()
    loud[:, 0] = 1e9
    quiet, heard = (step(*_beside(6, V=v))[0] for v in (V, loud))
    np.testing.assert_((np.abs(heard - quiet) > 1).all())


def cache_appended(step):
    """The next cache is the old one with the new rows behind it, to the bit."""
    _, *cache = step(*_beside(5))
    for ours, wanted in zip(cache, (K, V), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def cache_left_alone(step):
    """The arrays that were given are as they were."""
    *new, past_K, past_V = _beside(5)
    step(*new, past_K, past_V)
    for ours, before in zip((past_K, past_V), (K[:, :5], V[:, :5]), strict=True):
        np.testing.assert_array_equal(ours, before)


def pages_in_any_order(step):
    """The newest token does not know in which order its cache lies."""
    order = [3, 0, 5, 1, 4, 2]
    *new, past_K, past_V = _beside(6)
    O, *_ = step(*new, past_K[:, order], past_V[:, order])
    np.testing.assert_allclose(O, step(*_beside(6))[0], atol=1e-12)


def one_group(step):
    """All heads read one group: a test that cannot see how groups are dealt."""
    O, *_ = step(*_beside(6, K=K[:1], V=V[:1]))
    np.testing.assert_allclose(O, formulas.attention(Q[:, 6:], K[:1], V[:1]), atol=1e-12)


def groups_of_heads(step):
    """Three heads in a row read the same group."""
    O, *_ = step(*_beside(6))
    np.testing.assert_allclose(O, _at_once()[:, 6:], atol=1e-12)
