"""Wrong `rotary_step(Q, K, V, past_K, past_V, *, base) -> (O, K, V)`."""

import numpy as np

from selfattention.formulas import rotary, rotary_halves, rotary_step, step


def _at(positions, Q, K, V, past_K, past_V, base, turn=rotary):
    return step(turn(Q, positions, base=base), turn(K, positions, base=base), V, past_K, past_V)


def _places(K, past_K):
    past, n = past_K.shape[-2], K.shape[-2]
    return np.arange(past, past + n)


def every_step_at_zero(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Every token beside a cache stands at position zero. Chapter 15."""
    places = _places(K, past_K) * (past_K.shape[-2] == 0)
    return _at(places, Q, K, V, past_K, past_V, base)


def each_chunk_from_zero(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Every chunk counts its positions from zero again. Chapter 15."""
    return _at(np.arange(K.shape[-2]), Q, K, V, past_K, past_V, base)


def one_place_too_far(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Beside a cache, positions are one too large. Chapter 15."""
    places = _places(K, past_K) + (past_K.shape[-2] > 0)
    return _at(places, Q, K, V, past_K, past_V, base)


def one_place_too_early(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Beside a cache, positions are one too small. Chapter 15."""
    places = _places(K, past_K) - (past_K.shape[-2] > 0)
    return _at(places, Q, K, V, past_K, past_V, base)


def positions_never_move(Q, K, V, past_K, past_V, *, base=10_000.0):
    """All tokens of a chunk have the position of its first. Chapter 15."""
    return _at(np.full(K.shape[-2], past_K.shape[-2]), Q, K, V, past_K, past_V, base)


def cache_turned_again(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Appended before the rotation: cached keys are turned again at every step. Chapter 15."""
    past_K = rotary(past_K, np.arange(past_K.shape[-2]), base=base)
    return _at(_places(K, past_K), Q, K, V, past_K, past_V, base)


def keys_not_turned(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Keys go into the cache as they are, and only queries are turned. Chapter 15."""
    return step(rotary(Q, _places(K, past_K), base=base), K, V, past_K, past_V)


def queries_not_turned(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Keys are turned, and the query that asks them is not. Chapter 15."""
    return step(Q, rotary(K, _places(K, past_K), base=base), V, past_K, past_V)


def values_turned_too(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Values are turned like keys. Chapter 15."""
    places = _places(K, past_K)
    return step(
        rotary(Q, places, base=base),
        rotary(K, places, base=base),
        rotary(V, places, base=base),
        past_K,
        past_V,
    )


def the_other_convention(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Columns paired with the other half instead of their neighbour. Chapter 15, chapter 11."""
    return _at(_places(K, past_K), Q, K, V, past_K, past_V, base, turn=rotary_halves)


def not_turned(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Nothing is turned: a step without positions. Chapter 15."""
    return step(Q, K, V, past_K, past_V)


def base_forgotten(Q, K, V, past_K, past_V, *, base=10_000.0):
    """Turned with base 10,000, whichever base the model was trained with. Chapter 15."""
    return rotary_step(Q, K, V, past_K, past_V)
