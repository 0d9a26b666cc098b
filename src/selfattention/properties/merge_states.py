"""Properties of `merge_states(c_1, Z_1, O_1, c_2, Z_2, O_2) -> (c, Z, O)`."""

import numpy as np

from selfattention import formulas
from selfattention.properties.single_precision import agree

_rng = np.random.default_rng(0)
S, V = _rng.normal(size=(2, 5, 9)) * 3, _rng.normal(size=(2, 9, 4))


def _state(first, last, S=S):
    return formulas.tile_state(S[..., first:last], V[:, first:last])


def _same(a, b):
    for x, y in zip(a, b, strict=True):
        agree(x, y)


def shape(merge):
    """A state has the shapes of a state."""
    np.testing.assert_([x.shape for x in merge(*_state(0, 4), *_state(4, 9))] == [(2, 5), (2, 5), (2, 5, 4)])


def two_tiles_are_one(merge):
    """The states of two tiles make the state of both together."""
    _same(merge(*_state(0, 4), *_state(4, 9)), _state(0, 9))


def finished_output(merge):
    """Merged and finished, it is softmax(S) V."""
    O, _ = formulas.finish_state(*merge(*_state(0, 4), *_state(4, 9)))
    agree(O, formulas.weighted_sum(formulas.softmax(S), V))


def equal_scores(merge):
    """With all scores equal nothing needs rescaling: an input that hides most mistakes."""
    flat = np.zeros_like(S)
    _same(merge(*_state(0, 4, flat), *_state(4, 9, flat)), _state(0, 9, flat))


def order(merge):
    """Which tile comes first does not matter."""
    _same(merge(*_state(0, 4), *_state(4, 9)), merge(*_state(4, 9), *_state(0, 4)))


def associative(merge):
    """Three tiles give the same, merged from the left or from the right."""
    a, b, c = _state(0, 3), _state(3, 5), _state(5, 9)
    _same(merge(*merge(*a, *b), *c), merge(*a, *merge(*b, *c)))


def empty_tile(merge):
    """A tile without keys changes nothing, and two of them are still empty."""
    _same(merge(*_state(0, 9), *_state(0, 0)), _state(0, 9))
    _same(merge(*_state(0, 0), *_state(0, 0)), _state(0, 0))


def falling_scores(merge):
    """Two tiles are one where the scores fall by a thousand between them."""
    steep = S - 1000 * (np.arange(9) > 3)
    _same(merge(*_state(0, 4, steep), *_state(4, 9, steep)), _state(0, 9, steep))
