"""Exercises of chapter 04."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import numbers, show, told_apart
from selfattention.formulas import dot_scores, softmax


def entry_of_a_key(inputs, fan):
    """How an entry of a key comes by its variance, with so many terms in the sum."""
    of_a_weight = 2 / fan
    return (
        f"A weight of W_K has variance {show(of_a_weight)}, and a sum of {inputs} of them has "
        f"{show(inputs * of_a_weight)}."
    )


def keys_that_such_scores_reach(trial):
    (variance,) = trial.given
    if not variance >= 0:
        return f"You gave {show(variance)}; a variance is not negative."
    return f"Scores of variance {show(variance)} would reach {_reached(64, variance)} of 64 keys."


def _reached(m, variance):
    """The effective number of keys, in words where the theory ends."""
    keys = m * np.exp(-variance / 2)
    return f"about {show(keys)}" if keys > 1 else "hardly one"


@exercise(
    rtol=0.005,
    evidence=keys_that_such_scores_reach,
    worth_trying="kdim=64 and vdim=192. Are the matrices separate, and is the variance 1 or 1/4?",
)
def unpacked_variance():
    """Inputs times 2/(inputs + outputs): 1 for a query's entry, 192 · 2/256 for a key's."""
    query, key = 64 * 2 / (64 + 64), 192 * 2 / (192 + 64)
    return query * key


@unpacked_variance.mistake
def packed_variance():
    """That is the packed layer, where three matrices count as one with three times the outputs."""
    return 1 / 4


@unpacked_variance.mistake
def variance_of_linear():
    """That is the rule of torch.nn.Linear, with 1/3 for queries and for keys."""
    return 1 / 9


@unpacked_variance.mistake_shown_by(lambda trial: entry_of_a_key(192, fan=192 + 64))
def keys_like_queries():
    """You take an entry of a key for one of a query: it is a sum of three times as many terms."""
    return 1.0


@unpacked_variance.mistake_shown_by(lambda trial: entry_of_a_key(192, fan=192 + 64))
def sum_over_the_outputs():
    """An entry of a key is a sum over the 192 inputs of W_K, not over its 64 outputs."""
    return 64 * 2 / (192 + 64)


@unpacked_variance.mistake
def not_divided():
    """That is the variance of the raw scores, before the division by √64."""
    return 64 * 1.5


@unpacked_variance.mistake
def divided_by_the_root_only():
    """Dividing a number by √64 divides its variance by 64: you divided by 8."""
    return 8 * 1.5


@unpacked_variance.mistake
def standard_deviation():
    """That is the standard deviation; its square was asked for."""
    return 1.5**0.5


def two_numbers(answer):
    """The two scores as plain numbers, whatever arrays they came in."""
    return np.array([np.asarray(score, dtype=float).reshape(()) for score in answer])


def range_of_float16(trial):
    largest = float(np.finfo(np.float16).max)
    return f"The dot product is 64 · 40² = {64 * 40**2}; the largest number of float16 is {largest:.0f}."


def what_is_summed(trial):
    factor = 40 * 64**-0.25
    return f"Each of the 64 terms is {show(factor)}² = {show(factor**2)} before it is added."


@exercise(
    seen_as=two_numbers,
    evidence=range_of_float16,
    rtol=0.01,  # float16 rounds the factors and the sum
    worth_trying="bfloat16, which reaches as far as float32. Does the order still matter, and for what?",
)
def fourth_roots():
    """Divided late, the sum has left the range; divided early, it never does."""
    Q = np.full((1, 64), 40, dtype=np.float16)
    with np.errstate(over="ignore"):
        late = (Q @ Q.T) * 64**-0.5
    early = (Q * 64**-0.25) @ (Q * 64**-0.25).T
    return late, early


@fourth_roots.mistake
def swapped():
    """The two are swapped: late is the one that divides after the product."""
    return 12800.0, np.inf


@fourth_roots.mistake_shown_by(what_is_summed)
def infinite_both_ways():
    """Dividing first keeps the sum in range: that is what the fourth roots are for."""
    return np.inf, np.inf


@fourth_roots.mistake
def finite_both_ways():
    """The same on paper, and in float64; not in float16."""
    return 12800.0, 12800.0


@fourth_roots.mistake
def saturated():
    """An overflow does not stop at the largest number, to be divided from there: it is infinite."""
    return 65504 / 8, 12800.0


@fourth_roots.mistake_shown_by(what_is_summed)
def one_fourth_root():
    """Only one of the two factors is divided: both are."""
    return np.inf, 64 * 40**2 * 64**-0.25


@fourth_roots.mistake_shown_by(what_is_summed)
def two_square_roots():
    """Two square roots divide by 64: two fourth roots make one square root."""
    return np.inf, 40.0**2


def keys_reached(trial):
    (scale,) = trial.given
    wanted, m, variance = trial.inputs.values()
    if not (np.isfinite(scale) and scale >= 0):
        return numbers(trial)
    spread = scale**2 * variance
    return (
        f"Of {m} keys, raw variance {show(variance)}: your scale makes the variance {show(spread)}, which "
        f"by the theory reaches {_reached(m, spread)} of them; wanted {wanted}."
    )


@exercise(
    cases=[(32, 64, 256.0), (5, 1000, 3.0), (3, 7, 0.25), (64, 64, 256.0)],
    evidence=keys_reached,
    worth_trying="one key of 64. Measure how many are reached: where does the theory stop?",
)
def scale_for_keys(wanted, m, variance):
    """τ² = 2 ln(m / wanted), and τ is the scale times the standard deviation."""
    return (2 * np.log(m / wanted) / variance) ** 0.5


@scale_for_keys.mistake
def unit_variance(wanted, m, variance):
    """This is the scale that makes the variance 1, however many keys are wanted."""
    return variance**-0.5


@scale_for_keys.mistake
def raw_variance_forgotten(wanted, m, variance):
    """This is τ itself: it has to be divided by the standard deviation that the scores have already."""
    return (2 * np.log(m / wanted)) ** 0.5


@scale_for_keys.mistake
def variance_for_deviation(wanted, m, variance):
    """τ is divided by the variance, where it should be divided by its root."""
    return (2 * np.log(m / wanted)) ** 0.5 / variance


@scale_for_keys.mistake
def root_forgotten(wanted, m, variance):
    """This is τ² over the variance: the root of it is the scale."""
    return 2 * np.log(m / wanted) / variance


@scale_for_keys.mistake
def two_forgotten(wanted, m, variance):
    """The 2 of τ²/2 is lost."""
    return (np.log(m / wanted) / variance) ** 0.5


@scale_for_keys.mistake
def fraction_turned_over(wanted, m, variance):
    """The fraction is upside down: the logarithm of wanted / m is negative, and has no root."""
    return (2 * np.log(wanted / m) / variance) ** 0.5


def _chased(scale, q, K, target, step, steps, normalised):
    """`chase` of the chapter with a step of its own and a rule that makes pulls out of pulls."""
    weights = []
    for _ in range(steps):
        A = softmax(scale * dot_scores(q, K))
        a_t = A[np.arange(len(q)), target]
        weights.append(a_t)
        q = q + step * normalised(a_t[:, None] * (K[target] - A @ K))
    return np.array(weights)


def where_the_chase_is(trial):
    if not isinstance(trial.given, tuple) or trial.given[0].shape != trial.wanted[0].shape:
        return numbers(trial)
    (given,), (wanted,) = trial.given, trial.wanted
    wrong = np.argwhere(~np.isclose(given, wanted, equal_nan=True))
    if not len(wrong):
        return numbers(trial)
    step, query = wrong[0]
    yours, right = told_apart(given[step, query], wanted[step, query])
    return (
        f"With scale {show(trial.inputs['scale'])}, query {query} gives its target {yours} in step {step}; "
        f"wanted {right}."
    )


def _seekers(n, m, d, lead):
    draw = np.random.default_rng(0)
    K, target = draw.normal(size=(m, d)), draw.integers(m, size=n)
    return draw.normal(size=(n, d)) + lead * K[(target + 1) % m], K, target


@exercise(
    cases=[
        (0.5, *_seekers(2, 3, 5, lead=0), 0.5, 3),
        (1.0, *_seekers(3, 7, 5, lead=4), 1.0, 4),
        (1.0, *_seekers(2, 1, 3, lead=0), 1.0, 2),
    ],
    evidence=where_the_chase_is,
    worth_trying="one length for all queries, as an optimiser of W_Q sees them. How many arrive then?",
)
def normalised_chase(scale, q, K, target, eta=1, steps=200):
    """Every query has a pull of length one, however little weight its key has."""
    weights = []
    for _ in range(steps):
        A = softmax(scale * dot_scores(q, K))
        a_t = A[np.arange(len(q)), target]
        weights.append(a_t)
        pull = a_t[:, None] * (K[target] - A @ K)
        pull /= np.linalg.norm(pull, axis=1, keepdims=True) + 1e-300
        q = q + eta / (scale * q.shape[-1] ** 0.5) * pull
    return np.array(weights)


def _each(pull):
    return pull / (np.linalg.norm(pull, axis=1, keepdims=True) + 1e-300)


@normalised_chase.mistake
def not_normalised(scale, q, K, target, eta=1, steps=200):
    """The pulls are as long as they were: only the step has changed."""
    return _chased(scale, q, K, target, eta / (scale * q.shape[-1] ** 0.5), steps, lambda pull: pull)


@normalised_chase.mistake
def one_length_for_all(scale, q, K, target, eta=1, steps=200):
    """One length for all queries together: the short pulls stay short beside the long ones."""
    step = eta / (scale * q.shape[-1] ** 0.5)
    return _chased(scale, q, K, target, step, steps, lambda pull: pull / (np.linalg.norm(pull) + 1e-300))


@normalised_chase.mistake
def zero_over_zero(scale, q, K, target, eta=1, steps=200):
    """Who has arrived feels no pull, and its length is zero: without the 1e-300 that is 0/0."""
    step = eta / (scale * q.shape[-1] ** 0.5)
    return _chased(
        scale, q, K, target, step, steps, lambda pull: pull / np.linalg.norm(pull, axis=1, keepdims=True)
    )


@normalised_chase.mistake
def step_as_before(scale, q, K, target, eta=1, steps=200):
    """The pulls have length one, and the step is the old one, with scale² and d_k."""
    return _chased(scale, q, K, target, eta / (scale**2 * q.shape[-1]), steps, _each)


@normalised_chase.mistake
def away_from_the_key(scale, q, K, target, eta=1, steps=200):
    """Down instead of up: the queries run away from their keys."""
    return _chased(scale, q, K, target, -eta / (scale * q.shape[-1] ** 0.5), steps, _each)


@normalised_chase.mistake
def features_normalised(scale, q, K, target, eta=1, steps=200):
    """Normalised along the wrong axis: each feature has length one over all queries, not each query."""
    step = eta / (scale * q.shape[-1] ** 0.5)
    return _chased(
        scale, q, K, target, step, steps, lambda pull: pull / (np.linalg.norm(pull, axis=0) + 1e-300)
    )


@normalised_chase.mistake
def last_weights_only(scale, q, K, target, eta=1, steps=200):
    """The weights of the last step alone: `chase` returns those of every step."""
    return normalised_chase.solution(scale, q, K, target, eta, steps)[-1]
