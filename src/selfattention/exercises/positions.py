"""Exercises of chapter 11."""

from dataclasses import replace

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.exercises.testing import exercise_in_testing
from selfattention.formulas import (
    append_ones,
    frequencies,
    rotary,
    rotation,
    scaled_scores,
    sinusoids,
    softmax,
)
from selfattention.masks import causal
from selfattention.mutants.rotary import (
    clockwise,
    one_frequency,
    positions_from_one,
    positions_ignored,
    sines_forgotten,
    the_other_convention,
)
from selfattention.recipes.recipe import Mistake
from selfattention.recipes.rotary import HALVES, ROTARY

NEIGHBOURS_ONLY = replace(
    ROTARY, mistakes=(*ROTARY.mistakes, Mistake("pairing", HALVES, the_other_convention))
)
"""Rotary positions for whoever was asked for neighbours."""


def one_readout_for_all_places(trial):
    rng = np.random.default_rng(0)
    features, readout = rng.normal(size=(8, 3)), rng.normal(size=3)
    here, there = features @ readout, features[::-1] @ readout
    return (
        f"Turn a set round, and the scores of one readout for all places turn round with it: "
        f"what scored {show(here[0])} at place 0 scores {show(there[-1])} at place 7."
    )


def scores_of_places_never_wanted(trial):
    rng = np.random.default_rng(0)
    features, odd = append_ones(rng.normal(size=(256, 24))), rng.integers(4, size=256)
    scores = features @ np.linalg.lstsq(features, np.eye(8)[odd])[0]
    late, early = np.abs(scores[:, 4:]).max(), scores[:, :4].max(1).min()
    return (
        f"Fitted to 256 sets of random numbers, the odd one early in each, a readout that knows places gives "
        f"every late place a score of {show(late)}, and the best early one never less than {show(early)}."
    )


@exercise(
    worth_trying="sets with the odd one among all eight places, but late in one of every hundred only.",
)
def unseen_places():
    """The first cannot know that anything changed; the second was taught zeros, and learned them."""
    return "as ever", "never"


@unseen_places.mistake_shown_by(one_readout_for_all_places)
def equivariant_by_chance():
    """No place is new to the equivariant readout: it uses the same seven numbers at every one."""
    return "by chance", "never"


@unseen_places.mistake_shown_by(one_readout_for_all_places)
def equivariant_never():
    """What the equivariant readout learned of early places it applies to late ones as well."""
    return "never", "never"


@unseen_places.mistake_shown_by(scores_of_places_never_wanted)
def by_place_by_chance():
    """Chance would be right if it knew nothing of the late places; it was taught that they score zero."""
    return "as ever", "by chance"


@unseen_places.mistake_shown_by(scores_of_places_never_wanted)
def by_place_as_ever():
    """A readout with numbers of their own for all places cannot use the early ones' for the late ones."""
    return "as ever", "as ever"


def _queries(n, d):
    return np.random.default_rng(0).normal(size=(n, d))


@exercise(
    cases=[(_queries(2, 4), np.array([0, 3])), (_queries(5, 8), np.array([0, 1, 2, 30, 4000]))],
    recipe=NEIGHBOURS_ONLY,
    worth_trying="float32, columns in Fortran's order, two heads with leading axes. What does `.view` say?",
)
def complex_rotary(Q, positions):
    """Each pair of neighbours is a complex number, and turning it is a product."""
    turns = np.exp(1j * positions[:, None] * frequencies(Q.shape[-1]))
    return (Q.view(complex) * turns).view(float)


complex_rotary.mistake(the_other_convention)
complex_rotary.mistake(clockwise)
complex_rotary.mistake(positions_from_one)
complex_rotary.mistake(one_frequency)
complex_rotary.mistake(positions_ignored)
complex_rotary.mistake(sines_forgotten)


@complex_rotary.mistake
def left_complex(Q, positions):
    """The numbers are right and still complex: `.view(float)` makes columns of them."""
    return rotary(Q, positions).view(complex)


def doubled_exponent(n, d_model):
    """Sines and cosines with θ_c = 10000^(−4c/d): not the table of the formula."""
    angles = np.arange(n)[:, None] * frequencies(d_model) ** 2
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(n, d_model)


@exercise_in_testing(
    cases=[(sinusoids,), (doubled_exponent,)],
    worth_trying="a table whose cosines come first. Which of the colleague's three tests tells that one?",
)
def table_test(table):
    """A number known beforehand, from a pair whose frequency is not 1: sin 10000^(−2/8) = sin 0.1."""
    return np.isclose(table(2, 8)[1, 2], np.sin(0.1))


@table_test.mistake
def suspect_passes(table):
    """Nobody is unmasked: your test is one that any frequencies pass, or looks at the first pair only."""
    P = table(64, 8)
    return np.allclose((P * P).sum(1), 4)


@table_test.mistake
def sinusoids_fail(table):
    """The right table does not pass either."""
    return np.isclose(table(2, 8)[1, 2], np.sin(0.2))


@table_test.mistake
def wrong_way_round(table):
    """The test is the wrong way round: the suspect passes, and the right table does not."""
    return not np.isclose(table(2, 8)[1, 2], np.sin(0.1))


def score_of_all_ones(trial):
    ones, there = np.ones((1, 64)), [np.array([distance]) for distance in (0, 10, 1000)]
    scores = [(rotary(ones, at) @ ones.T).item() for at in there]
    near, farther, far = map(show, scores)
    return f"Query and key all ones: a score of {near} at distance 0, {farther} at 10, {far} at 1000."


def size_of_random_scores(trial):
    q, k = np.random.default_rng(0).normal(size=(2, 2000, 64))
    near, far = ((rotary(q, np.full(2000, distance)) * k).sum(1).std() for distance in (0, 1000))
    spread = "Of 2000 normal pairs the scores have a standard deviation of"
    return f"{spread} {show(near)} at distance 0, and of {show(far)} at 1000."


@exercise(
    worth_trying="a query and a key that agree in the last ten pairs only. How far does their score reach?",
)
def scores_far_apart():
    """Aligned pairs get out of step with one another; a turned normal vector is as normal as before."""
    return "decays", "stays"


@scores_far_apart.mistake_shown_by(score_of_all_ones)
def aligned_stays():
    """Equal vectors have their largest score at distance zero, where all pairs are in step."""
    return "stays", "stays"


@scores_far_apart.mistake_shown_by(score_of_all_ones)
def aligned_vanishes():
    """It falls, but not to nothing: the slowest pairs have hardly turned."""
    return "vanishes", "stays"


@scores_far_apart.mistake_shown_by(size_of_random_scores)
def random_decays():
    """A normal key, turned, is a normal key: its scores cannot know how far it came."""
    return "decays", "decays"


@scores_far_apart.mistake_shown_by(size_of_random_scores)
def random_vanishes():
    """The bound falls, not what it bounds: independent vectors score as they did."""
    return "decays", "vanishes"


def _scores(vectors):
    """The scores of one query and one key at 50 positions each."""
    q, k = (np.asarray(vector, dtype=float).reshape(1, 64).repeat(50, axis=0) for vector in vectors)
    places = np.arange(50)
    return scaled_scores(rotary(q, places), rotary(k, places))


def favourite_distance(vectors):
    """Whom the query likes best, if all could be seen, and how decidedly."""
    S, places = _scores(vectors), np.arange(50)
    distances = {int(place - best) for place, best in zip(places[1:-1], S.argmax(1)[1:-1], strict=True)}
    if distances != {1}:
        return {(0,): "itself", (-1,): "the next"}.get(tuple(distances), "others")
    A = softmax(np.where(causal.tile(range(50), range(50)), S, -np.inf))
    return "the one before" if np.diagonal(A, -1).min() > 0.99 else "the one before, not decidedly"


def weight_of_the_one_before(trial):
    S = _scores(trial.result)
    if not np.isfinite(S).all():
        return "Your scores are not all finite: too long a query is no colder, it overflows."
    A = softmax(np.where(causal.tile(range(50), range(50)), S, -np.inf))
    before = np.diagonal(A, -1)
    query = before.argmin() + 1
    return (
        f"Query {query} gives the token before it a weight of {show(before[query - 1])}, "
        f"and itself one of {show(A[query, query])}."
    )


@exercise(
    seen_as=favourite_distance,
    evidence=weight_of_the_one_before,
    worth_trying="the head that looks seven back; then one with base 100, and 500 positions.",
)
def look_back():
    """k all ones, q the same turned back by one and made long: the largest score is at distance 1."""
    ones = np.ones((1, 64))
    return (20 * ones @ rotation(-1, 64))[0], ones[0]


@look_back.mistake
def favourite_is_itself():
    """Every token looks at itself: an equal query and key agree best at distance zero."""
    return np.full(64, 20.0), np.ones(64)


@look_back.mistake
def turned_the_wrong_way():
    """Turned the wrong way: the favourite is the token after, which the mask hides."""
    return (20 * np.ones((1, 64)) @ rotation(1, 64))[0], np.ones(64)


@look_back.mistake
def not_long_enough():
    """The right direction; but the scores lie so close together that the softmax does not decide."""
    return (np.ones((1, 64)) @ rotation(-1, 64))[0], np.ones(64)


@look_back.mistake
def two_random_vectors():
    """Query and key agree best at another distance, or at one here and at another there."""
    return tuple(20 * np.random.default_rng(0).normal(size=(2, 64)))
