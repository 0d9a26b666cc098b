"""Properties of `rotary_step(Q, K, V, past_K, past_V, *, base) -> (O, K, V)`."""

import numpy as np

from selfattention import formulas

_rng = np.random.default_rng(0)
# Six heads in two groups; seven tokens.
Q, K, V = (_rng.normal(size=shape) for shape in [(6, 7, 4), (2, 7, 4), (2, 7, 8)])
PLACES = np.arange(7)


def _steps(step, ends, Q=Q, K=K, V=V):
    """O of all tokens, in steps that end before these places, and the last cache."""
    cache, outputs = (K[:, :0], V[:, :0]), []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        new = slice(start, end)
        O, *cache = step(Q[:, new], K[:, new], V[:, new], *cache)
        outputs.append(O)
    return np.concatenate(outputs, axis=1), *cache


def _at_once():
    turned = formulas.rotary(Q, PLACES), np.repeat(formulas.rotary(K, PLACES), 3, axis=0)
    return formulas.masked_attention(*turned, np.repeat(V, 3, axis=0), np.tri(7, dtype=bool))


def shape(step):
    """A row of O for each new token of each head, and a row of the cache for each token."""
    O, *cache = step(Q[:, 5:], K[:, 5:], V[:, 5:], K[:, :5], V[:, :5])
    np.testing.assert_((O.shape, *(x.shape for x in cache)) == ((6, 2, 8), K.shape, V.shape))


def prompt_at_once(step):
    """From an empty cache it is causal attention of turned queries and keys."""
    np.testing.assert_allclose(_steps(step, [7])[0], _at_once(), atol=1e-12)


def one_at_a_time(step):
    """Token by token, every token gets what it gets at once."""
    np.testing.assert_allclose(_steps(step, range(1, 8))[0], _steps(step, [7])[0], atol=1e-12)


def in_chunks(step):
    """A chunk of three and one of four: the same as at once."""
    np.testing.assert_allclose(_steps(step, [3, 7])[0], _steps(step, [7])[0], atol=1e-12)


def distance_alone(step):
    """Of equal tokens, the one before and the token itself are weighed alike wherever they stand."""
    one = 3 * np.broadcast_to(Q[0, 0], (1, 7, 4))
    A = _steps(step, range(1, 8), one, one, np.eye(7)[None])[0][0]  # values are names: O is the weights
    before = np.diagonal(A, -1) / np.diagonal(A)[1:]
    np.testing.assert_allclose(before, before[0])
    np.testing.assert_(abs(before[0] - 1) > 0.01)


def cached_keys_stay(step):
    """What is in the cache is not touched again, to the bit."""
    _, *cache = step(Q[:, 5:], K[:, 5:], V[:, 5:], K[:, :5], V[:, :5])
    for ours, past in zip(cache, (K[:, :5], V[:, :5]), strict=True):
        np.testing.assert_array_equal(ours[:, :5], past)


def values_kept(step):
    """Values go into the cache as they came."""
    np.testing.assert_array_equal(_steps(step, [3, 7])[2], V)


def cache_by_complex_numbers(step):
    """The cached keys, times complex numbers of modulus one, each by its own position."""
    z = (K[..., 0::2] + 1j * K[..., 1::2]) * np.exp(1j * PLACES[:, None] * np.array([1, 0.01]))
    turned = np.stack([z.real, z.imag], axis=-1).reshape(K.shape)
    np.testing.assert_allclose(_steps(step, range(1, 8))[1], turned, atol=1e-12)


def another_base(step):
    """With base 100 the cached keys are those of base 100."""
    _, ours, _ = step(Q, K, V, K[:, :0], V[:, :0], base=100.0)
    np.testing.assert_allclose(ours, formulas.rotary(K, PLACES, base=100.0), atol=1e-12)
