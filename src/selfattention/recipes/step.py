"""A step of decoding in parts: turned, appended to the cache, attended to behind a mask, and handed on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from selfattention.mutants import rotary_step as misplaced
from selfattention.mutants import step as wrong
from selfattention.recipes import attention, masks
from selfattention.recipes.attention import Attention
from selfattention.recipes.recipe import Convention, Known, Mistake
from selfattention.recipes.rotary import HALVES, Rotary

# The parts, each as it should be.


def behind_the_cache(n, past):
    return np.arange(past, past + n)


def not_at_all(X, positions):
    return X


def queries_and_keys(p, Q, K, V, past_K, past_V):
    positions = p.places(K.shape[-2], past_K.shape[-2])
    return p.rotate(Q, positions), p.rotate(K, positions), V, past_K, past_V


def behind(past, new):
    return np.concatenate([past, new], axis=-2)


def bottom_right(n, m):
    return np.tri(n, m, m - n, dtype=bool)


def side_by_side(X, h):
    """Head i reads group i // (h / g)."""
    return np.repeat(X, h // X.shape[-3], axis=-3) if X.ndim > 2 else X


def the_whole_cache(K, V, n):
    return K, V


def as_appended(K, V, past_K, past_V):
    return K, V


def all_three(O, K, V):
    return O, K, V


@dataclass(frozen=True)
class Step:
    """(O, K', V') of new Q, K, V (…, n, d) and a cache (…, past, d); `rotate` is a `Rotary`, or nothing."""

    rotate: Callable = not_at_all
    places: Callable = behind_the_cache
    turn: Callable = queries_and_keys
    append: Callable = behind
    read: Callable = the_whole_cache
    mask: Callable = bottom_right
    groups: Callable = side_by_side
    attend: Attention = Attention()  # noqa: RUF009 (it is frozen)
    keep: Callable = as_appended
    returned: Callable = all_three

    def __call__(self, Q, K, V, past_K, past_V):
        Q, K, V, past_K, past_V = self.turn(self, Q, K, V, past_K, past_V)
        n = K.shape[-2]
        K, V = self.append(past_K, K), self.append(past_V, V)
        kept = self.keep(K, V, past_K, past_V)
        seen = [self.groups(X, Q.shape[-3] if Q.ndim > 2 else 1) for X in self.read(K, V, n)]
        return self.returned(self.attend(Q, *seen, self.mask(n, seen[0].shape[-2])), *kept)


# The parts that people write instead.


def beside_a_cache_zero(n, past):
    return np.arange(n) * (past == 0)


def from_zero_again(n, past):
    return np.arange(n)


def one_too_far(n, past):
    return np.arange(n) + past + (past > 0)


def one_too_early(n, past):
    return np.arange(n) + past - (past > 0)


def all_the_first(n, past):
    return np.full(n, past)


def from_one(n, past):
    """Positions counted from one, in the prompt and beside the cache. Chapter 15."""
    return np.arange(1, n + 1) + past


def all_keys_again(p, Q, K, V, past_K, past_V):
    n, past = K.shape[-2], past_K.shape[-2]
    positions = p.places(n, past)
    return p.rotate(Q, positions), p.rotate(K, positions), V, p.rotate(past_K, np.arange(past)), past_V


def queries_alone(p, Q, K, V, past_K, past_V):
    return p.rotate(Q, p.places(K.shape[-2], past_K.shape[-2])), K, V, past_K, past_V


def keys_alone(p, Q, K, V, past_K, past_V):
    return Q, p.rotate(K, p.places(K.shape[-2], past_K.shape[-2])), V, past_K, past_V


def values_as_well(p, Q, K, V, past_K, past_V):
    positions = p.places(K.shape[-2], past_K.shape[-2])
    return (*(p.rotate(X, positions) for X in (Q, K, V)), past_K, past_V)


def in_front(past, new):
    return np.concatenate([new, past], axis=-2)


def one_too_early_written(past, new):
    return np.concatenate([past[..., :-1, :], new], axis=-2)


def without_the_oldest(past, new):
    return np.concatenate([past[..., 1:, :], new], axis=-2)


def top_left(n, m):
    return np.tri(n, m, dtype=bool)


def but_itself(n, m):
    return np.tri(n, m, m - n - 1, dtype=bool)


def everybody(n, m):
    return np.ones((n, m), dtype=bool)


def and_the_next(n, m):
    """Each new token sees the next one, too: the triangle begins one place too late. Chapter 15."""
    return np.tri(n, m, m - n + 1, dtype=bool)


def dealt_out(X, h):
    copies = (h // X.shape[-3], 1, 1) if X.ndim > 2 else (1, 1)
    return np.tile(X, copies)


def their_mean(X, h):
    return np.repeat(X.mean(-3, keepdims=True), h, axis=-3) if X.ndim > 2 else X


def the_new_alone(K, V, n):
    return K[..., -n:, :], V[..., -n:, :]


def as_it_came(K, V, past_K, past_V):
    return past_K, past_V


def new_ones_alone(K, V, past_K, past_V):
    """The new keys and values are handed on without the old ones. Chapter 15."""
    past = past_K.shape[-2]
    return K[..., past:, :], V[..., past:, :]


def last_value_repeated(K, V, past_K, past_V):
    last = past_V.shape[-2] - 1
    return K, V[..., np.minimum(np.arange(V.shape[-2]), max(last, 0)), :]


def halves_rounded(past, new):
    return behind(past, new.astype(np.float16).astype(new.dtype))


def output_alone(O, K, V):
    return O


def turned_as_they_come():
    """Queries and keys turned as they come, rotary positions. Chapter 15."""


def turned_in_halves():
    """Queries and keys turned as they come, rotary positions in halves. Chapter 15."""


MISTAKES = (
    Mistake("places", beside_a_cache_zero, misplaced.every_step_at_zero),
    Mistake("places", from_zero_again, misplaced.each_chunk_from_zero),
    Mistake("places", one_too_far, misplaced.one_place_too_far),
    Mistake("places", one_too_early, misplaced.one_place_too_early),
    Mistake("places", all_the_first, misplaced.positions_never_move),
    Mistake("turn", all_keys_again, misplaced.cache_turned_again),
    Mistake("turn", queries_alone, misplaced.keys_not_turned),
    Mistake("turn", keys_alone, misplaced.queries_not_turned),
    Mistake("turn", values_as_well, misplaced.values_turned_too),
    Mistake("append", in_front, wrong.newest_first),
    Mistake("append", one_too_early_written, wrong.last_overwritten),
    Mistake("append", without_the_oldest, wrong.oldest_forgotten),
    Mistake("append", halves_rounded, wrong.kept_in_half_precision),
    Mistake("read", the_new_alone, wrong.cache_never_read),
    Mistake("mask", top_left, wrong.top_left_mask),
    Mistake("mask", but_itself, wrong.itself_not_seen),
    Mistake("mask", everybody, wrong.future_seen),
    Mistake("mask", and_the_next, and_the_next),
    Mistake("groups", dealt_out, wrong.groups_tiled),
    Mistake("groups", their_mean, wrong.groups_averaged),
    Mistake("attend.scale", attention.unscaled, wrong.not_scaled),
    Mistake("attend.scale", attention.by_d_k, wrong.scaled_twice),
    Mistake("keep", as_it_came, wrong.cache_never_grows),
    Mistake("keep", new_ones_alone, new_ones_alone),
    Mistake("keep", last_value_repeated, wrong.values_not_appended),
    *(
        m.inside("attend")
        for m in attention.MISTAKES
        if m.path.startswith("softmax") and m.said.__name__ != "softmax_over_the_heads"
    ),
)
NEIGHBOURS = Convention("rotate", Rotary(), turned_as_they_come)
CONVENTIONS = NEIGHBOURS, Convention("rotate", Rotary(pairing=HALVES), turned_in_halves)
READINGS = tuple(reading.inside("attend") for reading in masks.READINGS)
ORDERS = tuple(order.inside("attend") for order in attention.ORDERS)
STEP = Known("step beside a cache", Step(), MISTAKES, CONVENTIONS, READINGS, ORDERS)
ROTARY_STEP = replace(STEP, recipe=NEIGHBOURS.of(STEP.recipe))
"""The step of chapter 15."""
OUTPUT_ALONE = replace(
    STEP,
    recipe=replace(STEP.recipe, returned=output_alone),
    mistakes=tuple(m for m in MISTAKES if m.path != "keep"),
)
"""For a function that keeps its cache to itself."""
