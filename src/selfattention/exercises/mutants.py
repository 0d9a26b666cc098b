"""Exercises of chapter 19."""

from itertools import combinations

import numpy as np

from selfattention import formulas
from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.exercises.testing import exercise_in_testing
from selfattention.formulas import greedy_suite
from selfattention.mutants.attention import scale_by_d_k, softmax_over_the_queries
from selfattention.mutants.kill_matrix import killers


def weights_of_two_queries(trial):
    Q, K = np.array([[2.0, 0], [0, 1]]), np.array([[2.0, 0], [0, 2], [1, 1]])
    A = softmax_over_the_queries(Q, K, np.eye(3))
    return f"For two queries and three keys the mutant's weights are {show(A.round(2))}."


@exercise(
    evidence=weights_of_two_queries,
    worth_trying=(
        "why convex_hull is kept: rows that sum to less than one pull the output towards zero, and the "
        "box of random values holds zero. Which values would the property need?"
    ),
)
def lost_properties():
    """Rows no longer sum to one, and a query's weights depend on who else asks."""
    return "loses", "keeps", "loses"


@lost_properties.mistake
def rows_as_before():
    """Seven columns that sum to one make seven in all, where five rows would make five."""
    return "keeps", "keeps", "loses"


@lost_properties.mistake
def order_matters():
    """Each key is normalised by itself, so keys that move take their weights with them."""
    return "loses", "loses", "loses"


@lost_properties.mistake
def queries_apart():
    """A query alone is alone in every column, and all its weights are one."""
    return "loses", "keeps", "keeps"


def at_temperature(T):
    """Attention whose scores are divided by T once more: for each T but 1 a mutant."""

    def attention(Q, K, V):
        return formulas.attention(Q / T, K, V)

    attention.__name__ = f"attention_at_temperature_{T:g}"
    return attention


@exercise_in_testing(
    cases=[(formulas.attention,), (at_temperature(1.1),), (at_temperature(0.5),), (scale_by_d_k,)],
    worth_trying="the temperature nearest to 1 that your test still tells, in float64 and in float32.",
)
def temperature_test(suspect):
    """Scores ln 2 and 0 give the weights 2/3 and 1/3: values 3 and 0 make 2."""
    Q, K = np.array([[2 * np.log(2), 0, 0, 0]]), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    return np.allclose(suspect(Q, K, np.array([[3.0], [0]])), 2)


@temperature_test.mistake
def rows_tested(suspect):
    """Everybody passes: weights sum to one at every temperature."""
    Q, K = np.random.default_rng(0).normal(size=(2, 5, 3))
    return np.allclose(suspect(Q, K, np.eye(5)).sum(-1), 1)


@temperature_test.mistake
def one_column(suspect):
    """With d_k = 1 nobody can tell d_k from √d_k: the wrong scale passes."""
    Q, K = np.array([[np.log(2)]]), np.array([[1.0], [0]])
    return np.allclose(suspect(Q, K, np.array([[3.0], [0]])), 2)


@temperature_test.mistake
def scale_forgotten(suspect):
    """Nobody passes: your pencil forgot to divide by √d_k."""
    Q, K = np.array([[np.log(2), 0, 0, 0]]), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    return np.allclose(suspect(Q, K, np.array([[3.0], [0]])), 2)


TWO_ARE_ENOUGH = np.array(  # and greedy takes three: the middle one first
    [[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 0, 1]], dtype=bool
)
ONE_SURVIVES = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=bool)


@exercise(
    cases=[(ONE_SURVIVES,), (TWO_ARE_ENOUGH,), (TWO_ARE_ENOUGH[:, [1, 0]],)],
    worth_trying="the kill matrix of masked_attention. How many suites of the smallest size are there?",
)
def smallest_suite(killed):
    """The least number of columns that kill all that the whole matrix kills: try 0, 1, 2 … of them."""
    everything = killed.any(axis=1)
    for size in range(killed.shape[1] + 1):
        for columns in combinations(range(killed.shape[1]), size):
            if (killed[:, list(columns)].any(axis=1) == everything).all():
                return size


@smallest_suite.mistake
def greedy_size(killed):
    """This is the size of the greedy suite, which need not be the smallest."""
    return len(greedy_suite(killed))


@smallest_suite.mistake
def useful_properties(killed):
    """These are all properties that kill anybody; several may kill the same."""
    return int(killed.any(axis=0).sum())


@smallest_suite.mistake
def all_mutants_killed(killed):
    """Nobody can be asked to kill a mutant that survives the whole suite: then your search ends empty."""
    sizes = range(killed.shape[1] + 1)
    chosen = (c for size in sizes for c in combinations(range(killed.shape[1]), size))
    return next((len(c) for c in chosen if killed[:, list(c)].any(axis=1).all()), killed.shape[1] + 1)


def fate(suspect, attention):
    """What becomes of a mutant: it is killed, or survives; or it is no mutant."""
    if killers("attention", suspect):
        return "killed"
    return "survives" if any(_differs(suspect, attention, *shape) for shape in SHAPES) else "never wrong"


SHAPES = [(1, 1, 1, 1), (5, 7, 3, 2), (2, 300, 5, 3), (300, 3, 5, 2), (5, 7, 131, 2), (5, 7, 3, 131)]


def _differs(suspect, attention, n, m, d_k, d_v):
    rng = np.random.default_rng(0)
    plain = [rng.normal(size=shape) for shape in [(n, d_k), (m, d_k), (m, d_v)]]
    rounded = [x.astype(np.float32) for x in plain]
    peaked, flat = ([factor * plain[0], *plain[1:]] for factor in (100, 0))
    return any(
        not np.allclose(suspect(*inputs), attention(*inputs), rtol=1e-4)
        for inputs in (plain, rounded, peaked, flat)
    )


def who_tells(trial):
    names = killers("attention", trial.result)
    if names:
        return f"Of the properties, {', '.join(names[:3])}{' and others' if names[3:] else ''} tell it."
    return f"It gives the formula's numbers on all {4 * len(SHAPES)} inputs that we tried."


@exercise(
    cases=[(formulas.attention,)],
    seen_as=fate,
    evidence=who_tells,
    worth_trying="the property that kills yours, in five lines; then the next mutant.",
)
def sabotage(attention):
    """All properties are tried on seven keys. Beyond a hundred, forget the rest."""

    def first_hundred_keys(Q, K, V):
        return attention(Q, K[..., :100, :], V[..., :100, :])

    return first_hundred_keys


@sabotage.mistake
def values_doubled(attention):
    """This one is killed."""
    return lambda Q, K, V: attention(Q, K, 2 * V)


@sabotage.mistake
def nothing_changed(attention):
    """A mutant has to be wrong somewhere."""
    return lambda Q, K, V: attention(Q, K, V)
