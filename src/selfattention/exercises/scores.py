"""Exercises of chapter 03."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import inputs, show, told_apart
from selfattention.formulas import additive_scores, dot_scores, softmax


def behind_the_favourite(trial):
    (chosen,), S = trial.given, _staircase()
    if not np.isin(chosen, range(5)).all():
        return f"You gave {show(chosen)}; the keys are numbered from 0 to 4."
    behind = S.max(1) - S[range(5), chosen.astype(int)]
    query = behind.argmax()
    less = show(behind[query])
    return f"Query {query} scores your key {show(chosen[query])} lower than its favourite, by {less}."


def _staircase():
    """The additive scores of the chapter's figure: one hidden unit, queries between the keys."""
    keys, steep = np.arange(5.0)[:, None], np.array([[4.0]])
    return additive_scores(keys + 0.5, keys, W_1=steep, W_2=-steep, w=np.ones(1))


@exercise(
    evidence=behind_the_favourite,
    worth_trying="a minus before w. Which key is everybody's favourite now? And with two hidden units?",
)
def favourite_keys():
    """tanh(q W_1 + k W_2) falls as k grows, W_2 being negative: the smallest key wins every row."""
    return _staircase().argmax(1)


@favourite_keys.mistake
def the_nearest_key():
    """Each its nearest is what a Gaussian score would prefer: a staircase has no peak."""
    return np.arange(5)


@favourite_keys.mistake
def the_largest_key():
    """The largest key is what dot scores prefer here, and what W_2 would if it were positive."""
    return np.full(5, 4)


@favourite_keys.mistake
def counted_from_one():
    """The first key is number 0."""
    return np.ones(5, dtype=int)


def weight_at_that_temperature(trial):
    (T,) = trial.given
    if not T > 0:
        return f"You gave {show(T)}; a temperature is positive."
    best = 1 / (1 + 999 * np.exp(-2 / T))
    return f"At T = {show(T)} the perfect key gets a weight of {show(best)} at best."


@exercise(
    rtol=0.005,
    evidence=weight_at_that_temperature,
    worth_trying="a million keys. How much colder must the layer be? The answer is less than one fears.",
)
def highest_temperature():
    """0.9 = 1 / (1 + 999 exp(−2/T)) gives exp(2/T) = 9 · 999."""
    return 2 / np.log(9 * 999)


@highest_temperature.mistake
def others_at_right_angles():
    """The other keys are at right angles, cosine 0; at best they point the other way, cosine −1."""
    return 1 / np.log(9 * 999)


@highest_temperature.mistake
def weight_of_one_half():
    """The nine is lost: this is the temperature for a weight of one half."""
    return 2 / np.log(999)


@highest_temperature.mistake
def divided_by_nine():
    """0.9 to 0.1 is nine to one; here it became one to nine."""
    return 2 / np.log(999 / 9)


@highest_temperature.mistake
def inverse_of_the_temperature():
    """This is 1/T, by which a layer that learns a factor would multiply."""
    return np.log(9 * 999) / 2


@highest_temperature.mistake
def logarithm_in_base_ten():
    """A logarithm in base ten, where the exponential wants the natural one."""
    return 2 / np.log10(9 * 999)


def weights(longer, Q, K, tau):
    """What the kernel makes of the longer queries and keys."""
    return softmax(dot_scores(*longer))


def weights_far_apart(trial):
    (given,), (wanted,) = trial.given, trial.wanted
    i, j = np.unravel_index(np.abs(given - wanted).argmax(), wanted.shape)
    yours, right = told_apart(given[i, j], wanted[i, j])
    return f"For {inputs(trial)}, query {i} gives key {j} a weight of {yours}; wanted {right}."


def _queries_and_keys(n, m, d):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d))


@exercise(
    cases=[(*_queries_and_keys(1, 2, 3), 0.7), (*_queries_and_keys(5, 7, 2), 2.5)],
    seen_as=weights,
    evidence=weights_far_apart,
    worth_trying="float32, with all queries and keys moved by 1000: Gaussian scores hardly mind. Do yours?",
)
def extra_column(Q, K, tau):
    """(q, 1)/τ · (k, −‖k‖²/2): the score, and the fine for the key's length."""
    fine = -(K**2).sum(1, keepdims=True) / 2
    return np.append(Q, np.ones((len(Q), 1)), axis=1) / tau, np.append(K, fine, axis=1)


def _joined(Q, K, of_query, of_key):
    """Queries and keys with one more column each."""
    ones_q, ones_k = np.ones((len(Q), 1)), np.ones((len(K), 1))
    return np.append(Q, of_query * ones_q, axis=1), np.append(K, of_key * ones_k, axis=1)


def _squares(M):
    return (M**2).sum(1, keepdims=True)


@extra_column.mistake
def fine_not_divided_by_tau(Q, K, tau):
    """The product is divided by τ, the fine is not."""
    return _joined(Q / tau, K, 1, -_squares(K) / 2)


@extra_column.mistake
def tau_forgotten(Q, K, tau):
    """τ is not used."""
    return _joined(Q, K, 1, -_squares(K) / 2)


@extra_column.mistake
def tau_twice(Q, K, tau):
    """Queries and keys are both divided by τ, and their product by its square."""
    return _joined(Q / tau, K / tau, 1, -_squares(K) / (2 * tau))


@extra_column.mistake
def half_forgotten(Q, K, tau):
    """The fine is ‖k‖² and not half of it: the 2 of −‖q − k‖² / 2τ is lost."""
    return _joined(Q / tau, K, 1 / tau, -_squares(K))


@extra_column.mistake
def length_for_its_square(Q, K, tau):
    """The fine is the key's length, not its square."""
    return _joined(Q / tau, K, 1 / tau, -(_squares(K) ** 0.5) / 2)


@extra_column.mistake
def reward_for_a_fine(Q, K, tau):
    """The minus is lost: long keys are rewarded, where they should be fined."""
    return _joined(Q / tau, K, 1 / tau, _squares(K) / 2)


@extra_column.mistake
def fine_for_the_query(Q, K, tau):
    """The fine is the query's: it is the same for all keys, and the softmax does not see it."""
    return _joined(Q / tau, K, -_squares(Q) / (2 * tau), 1)


def _samples(b, m, d, d_hidden):
    draw = np.random.default_rng(0).normal
    W = draw(size=(d, d_hidden)), draw(size=(d, d_hidden)), draw(size=d_hidden)
    return draw(size=(b, d)), draw(size=(b, m, d)), *W


@exercise(
    cases=[_samples(1, 2, 3, 5), _samples(2, 3, 5, 7), _samples(3, 2, 5, 7)],
    worth_trying=(
        "repeating nothing: with one axis more, (Q @ W_1)[:, None] + K @ W_2, NumPy knows whose query it is."
    ),
)
def one_query_per_sample(Q, K, W_1, W_2, w):
    """np.repeat keeps the copies of a query together, as the flattened keys of its sample are."""
    b, m, d = K.shape
    queries = np.repeat(Q @ W_1, m, axis=0)
    keys = K.reshape(b * m, d) @ W_2
    return (np.tanh(queries + keys) @ w).reshape(b, m)


@one_query_per_sample.as_found
def queries_tiled(Q, K, W_1, W_2, w):
    """Queries 0 1 0 1 0 1 for keys 0 0 0 1 1 1."""
    b, m, d = K.shape
    queries = np.tile(Q @ W_1, (m, 1))
    keys = K.reshape(b * m, d) @ W_2
    return (np.tanh(queries + keys) @ w).reshape(b, m)


@one_query_per_sample.mistake
def scores_not_turned_back(Q, K, W_1, W_2, w):
    """The keys were turned to meet the tiled queries, and the scores not turned back."""
    b, m, d = K.shape
    keys = K.swapaxes(0, 1).reshape(m * b, d) @ W_2
    return (np.tanh(np.tile(Q @ W_1, (m, 1)) + keys) @ w).reshape(b, m)


@one_query_per_sample.mistake
def first_query_for_all(Q, K, W_1, W_2, w):
    """All samples are asked what the first one wants to know."""
    return np.tanh(Q[:1] @ W_1 + K @ W_2) @ w


@one_query_per_sample.mistake
def everybody_asked(Q, K, W_1, W_2, w):
    """All queries meet all keys: an axis too many, and most of it between strangers."""
    return np.tanh((Q @ W_1)[:, None, None] + K @ W_2) @ w
