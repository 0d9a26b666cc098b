"""Exercises of chapter 10."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.formulas import masked_scores, softmax
from selfattention.masks import Rule, Says, causal, documents, padding, window

S, VISIBLE = np.log([1.0, 2.0, 5.0]), np.array([True, True, False])


def scores_that_enter(trial):
    entered = f"The scores that enter the softmax are S · visible = {show(S * VISIBLE)}"
    return f"{entered}; you gave {show(trial.given[0])}."


@exercise(
    rtol=0.005,
    evidence=scores_that_enter,
    worth_trying="the same mask on scores that are all negative. Who gets the largest weight now?",
)
def score_times_zero():
    """The third score is 0, and e⁰ = 1: weights 1 : 2 : 1."""
    return softmax((S * VISIBLE)[None])[0]


@score_times_zero.mistake
def as_if_hidden():
    """These are the weights of a mask that works: a score of zero is not a weight of zero."""
    return softmax(masked_scores(S[None], VISIBLE[None]))[0]


@score_times_zero.mistake
def as_if_visible():
    """These are the weights without a mask; the third score does change, from ln 5 to 0."""
    return softmax(S[None])[0]


@score_times_zero.mistake
def weights_times_zero():
    """Here the weight is multiplied by zero, after the softmax; the colleague multiplies the score."""
    return softmax(S[None])[0] * VISIBLE


@score_times_zero.mistake
def exponentials_not_divided():
    """The exponentials are right, and still have to be divided by their sum."""
    return np.exp(S * VISIBLE)


@score_times_zero.mistake
def scores_for_weights():
    """These are the scores; the softmax is still to come."""
    return S * VISIBLE


RULES = {
    "causal & window(3)": causal & window(3),
    "causal": causal,
    "causal & documents of 8": causal & documents(np.arange(32) // 8),
}


def steps_back(trial):
    rule, layers, n = trial.inputs.values()
    name = next(name for name, known in RULES.items() if known is rule)
    through = "one layer" if layers == 1 else f"{layers} layers"
    return (
        f"Under {name}, the last of {n} tokens reaches {show(trial.wanted[0])} back through {through}; "
        f"you say {show(trial.given[0])}."
    )


@exercise(
    cases=[
        (RULES["causal & window(3)"], 4, 32),
        (RULES["causal & window(3)"], 1, 11),
        (RULES["causal & documents of 8"], 9, 32),
        (RULES["causal"], 40, 32),  # with more ways from end to end than int64 can count
    ],
    evidence=steps_back,
    worth_trying="layers that take turns, one causal & window(3), the next causal, as some models have them.",
)
def reach(rule, layers, n):
    """The last row of the mask's power: a product of booleans is "and", their sum is "or"."""
    sees = rule.tile(range(n), range(n))
    reached = np.linalg.matrix_power(sees, layers)
    return n - 1 - np.flatnonzero(reached[-1])[0]


@reach.mistake
def ways_counted(rule, layers, n):
    """Integers count the ways from token to token, and forty layers have more ways than int64 can count."""
    ways = np.linalg.matrix_power(rule.tile(range(n), range(n)).astype(np.int64), layers)
    return n - 1 - np.flatnonzero(ways[-1] > 0)[0]


@reach.mistake
def one_layer(rule, layers, n):
    """This is the reach of one layer: `**` raises each entry by itself, a matrix power is wanted."""
    return n - 1 - np.flatnonzero(rule.tile(range(n), range(n))[-1])[0]


@reach.mistake
def itself_counted_in_every_layer(rule, layers, n):
    """A token sees itself in every layer, and itself is no step back."""
    return layers * (one_layer(rule, 1, n) + 1)


@reach.mistake
def layers_times_one(rule, layers, n):
    """Layers times the reach of one is right for a window, until a document or the text begins."""
    return layers * one_layer(rule, 1, n)


@reach.mistake
def tokens_counted(rule, layers, n):
    """This counts the tokens that are seen, the last one included; the question was how far back."""
    return reach.solution(rule, layers, n) + 1


def table(rule, lengths, n):
    """The rule, spelt out for the whole batch."""
    return rule.tile(range(n), range(n))


def columns_seen(trial):
    (given,), (wanted,) = trial.given, trial.wanted
    member, _, row, _ = np.argwhere(given != wanted)[0]
    length, n = trial.inputs["lengths"][member], trial.inputs["n"]
    given, wanted = (show(np.flatnonzero(t[member, 0, row])) for t in (given, wanted))
    return f"With {length} tokens in {n} columns, query {row} sees the columns {given}; wanted {wanted}."


@exercise(
    cases=[(np.array([3, 5]), 5), (np.array([1, 7, 2, 4]), 7)],
    seen_as=table,
    evidence=columns_seen,
    worth_trying="a batch with padding on both sides. Which rules does it take, and which two arrays?",
)
def left_padded(lengths, n):
    """Causal, and not one of the first n − length."""
    return causal & ~padding(n - lengths)


@left_padded.mistake
def padded_on_the_right(lengths, n):
    """This is padding on the right: the first keys are seen and the last are not."""
    return causal & padding(lengths)


@left_padded.mistake
def tokens_forbidden(lengths, n):
    """As many keys are forbidden as there are tokens; the padding has n − length."""
    return causal & ~padding(lengths)


@left_padded.mistake
def padding_seen(lengths, n):
    """The padding is seen, and nothing else: the `~` is missing."""
    return causal & padding(n - lengths)


@left_padded.mistake
def future_seen(lengths, n):
    """The padding is hidden, but the rule is not causal."""
    return ~padding(n - lengths)


@left_padded.mistake
def one_rule_is_enough(lengths, n):
    """With `|` one of the rules is enough: the padding sees the tokens, and is seen."""
    return causal | ~padding(n - lengths)


@left_padded.mistake
def padding_sees_itself(lengths, n):
    """The padding sees itself, so that no row is empty; it is to be hidden from itself as well."""
    return causal & ~padding(n - lengths) | window(1)


class Every(Rule):
    """The keys whose distance is a multiple of k."""

    def __init__(self, k):
        self.k = k

    def __call__(self, i, j):
        return (i - j) % self.k == 0

    def says(self, rows, columns):
        nearest = rows.start - columns.stop + 1
        farthest = rows.stop - 1 - columns.start
        if farthest // self.k * self.k < nearest:
            return Says.NOBODY
        single = nearest == farthest
        known = self.k == 1 or single
        return Says.EVERYBODY if known else Says.SOMEBODY


TILES = [
    (range(i, i + tall), range(j, j + wide))
    for tall, wide in [(1, 1), (1, 3), (2, 2), (3, 2), (4, 4)]
    for i in range(0, 12, tall)
    for j in range(0, 12, wide)
]


def answers(rule, k):
    """What the rule says of positions, and of tiles."""
    positions = rule.tile(range(12), range(12))
    return positions, np.array([rule.says(*tile).name for tile in TILES])


def first_difference(trial):
    (given, said), (wanted, known), k = trial.given, trial.wanted, trial.inputs["k"]
    if (given != wanted).any():
        i, j = np.argwhere(given != wanted)[0]
        verb = "sees" if given[i, j] else "does not see"
        return f"With k = {k}, query {i} {verb} key {j}, at distance {i - j}."
    promises = [at for at, name in enumerate(said) if name not in (known[at], "SOMEBODY")]
    at = (promises or np.flatnonzero(said != known))[0]
    rows, columns = ([*part] for part in TILES[at])
    fact = {"NOBODY": "none", "SOMEBODY": "some, not all", "EVERYBODY": "all"}[known[at]]
    return (
        f"With k = {k}, of queries {rows} and keys {columns} you say {said[at]}; "
        f"of their pairs {fact} may see{' (allowed, and a chance lost)' if not promises else ''}."
    )


@exercise(
    cases=[(1,), (2,), (4,), (7,)],
    seen_as=answers,
    evidence=first_difference,
    worth_trying="masks.causal & your rule. Which tiles that nobody may see does the pair not know?",
)
def every(k):
    """A stretch of distances holds no multiple of k if the last one before its end lies before its start."""
    return Every(k)


class _CountedFromTheStart(Every):
    def __call__(self, i, j):
        return (j % self.k == 0) & (i == i)


class _NoPromise(Every):
    def says(self, rows, columns):
        return Says.SOMEBODY


class _Corners(Every):
    def says(self, rows, columns):
        corners = {bool(self(i, j)) for i in (rows[0], rows[-1]) for j in (columns[0], columns[-1])}
        return Says.SOMEBODY if len(corners) > 1 else Says.EVERYBODY if corners == {True} else Says.NOBODY


class _ShorterThanK(Every):
    def says(self, rows, columns):
        distances = len(rows) + len(columns) - 1
        return Says.NOBODY if distances < self.k else super().says(rows, columns)


class _NeverEverybody(Every):
    def says(self, rows, columns):
        known = super().says(rows, columns)
        return Says.SOMEBODY if known is Says.EVERYBODY else known


class _PastOnly(Every):
    def says(self, rows, columns):
        return Says.NOBODY if rows.stop - 1 < columns.start else super().says(rows, columns)


@every.mistake
def counted_from_the_start(k):
    """The multiple of k has to be the distance i − j, not the key's own position."""
    return _CountedFromTheStart(k)


@every.mistake
def no_promise(k):
    """It says SOMEBODY of every tile: no promise is broken, and no tile is skipped."""
    return _NoPromise(k)


@every.mistake
def corners_only(k):
    """The corners of a tile are asked, and the distances between them are not."""
    return _Corners(k)


@every.mistake
def shorter_than_k(k):
    """A tile with fewer than k distances need not be empty: one of them may be a multiple."""
    return _ShorterThanK(k)


@every.mistake
def never_everybody(k):
    """The tiles that nobody may see are known; those that everybody may see are not."""
    return _NeverEverybody(k)


@every.mistake
def past_only(k):
    """Tiles of later keys are skipped, but the rule is not causal: a distance may be negative."""
    return _PastOnly(k)
