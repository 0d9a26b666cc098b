"""Exercises of chapter 15."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.formulas import cache_bytes, quantised, rotary, rotary_step
from selfattention.mutants import rotary_step as misplaced
from selfattention.mutants import step as wrong
from selfattention.recipes.step import ROTARY_STEP

# As in each model's config.json. `num_key_value_heads` came with groups, `head_dim` with models that
# have another width than hidden_size / num_attention_heads; where they are missing, nothing is new.
LLAMA_7B = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32}
LLAMA_3_8B = LLAMA_7B | {"num_key_value_heads": 8}
QWEN_3_32B = {"num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 64}
QWEN_3_32B |= {"num_key_value_heads": 8, "head_dim": 128}
NAMES = {"Llama 7B": LLAMA_7B, "Llama 3 8B": LLAMA_3_8B, "Qwen3 32B": QWEN_3_32B}


def bytes_of_a_model(trial):
    config, tokens, word_bytes = trial.inputs.values()
    name = next(name for name, known in NAMES.items() if known == config)
    where = f"{name}, {tokens} token{'s' * (tokens > 1)} and {word_bytes} bytes a number"
    return f"For {where} you give {show(trial.given[0])}; wanted {show(trial.wanted[0])}."


@exercise(
    cases=[(LLAMA_7B, 1, 2), (LLAMA_3_8B, 1, 2), (QWEN_3_32B, 1, 2), (LLAMA_3_8B, 8192, 4)],
    evidence=bytes_of_a_model,
    worth_trying="the same for a model whose layers take turns: a window of 1024, then everything.",
)
def bytes_of_config(config, tokens, word_bytes):
    """2 · layers · g · d · bytes for each token; d and g are the config's own, where it has them."""
    h = config["num_attention_heads"]
    d = config.get("head_dim", config["hidden_size"] // h)
    g = config.get("num_key_value_heads", h)
    return cache_bytes(tokens, config["num_hidden_layers"], g, d, word_bytes)


@bytes_of_config.mistake
def groups_not_asked_for(config, tokens, word_bytes):
    """Every head has keys of its own here; heads in groups share them, and only the groups' are kept."""
    return bytes_of_config.solution(
        config | {"num_key_value_heads": config["num_attention_heads"]}, tokens, word_bytes
    )


@bytes_of_config.mistake
def width_of_a_head_computed(config, tokens, word_bytes):
    """The width of a head is hidden_size / heads in most models; this one says another in `head_dim`."""
    return bytes_of_config.solution({k: v for k, v in config.items() if k != "head_dim"}, tokens, word_bytes)


@bytes_of_config.mistake
def hidden_size_kept(config, tokens, word_bytes):
    """A whole row of the hidden state is counted for K and one for V: neither the groups nor `head_dim`."""
    return 2 * config["num_hidden_layers"] * config["hidden_size"] * word_bytes * tokens


@bytes_of_config.mistake
def size_of_a_group(config, tokens, word_bytes):
    """`num_key_value_heads` is how many groups there are, and here it is taken for the heads of a group."""
    h = config["num_attention_heads"]
    groups = h // config["num_key_value_heads"] if "num_key_value_heads" in config else h
    return bytes_of_config.solution(config | {"num_key_value_heads": groups}, tokens, word_bytes)


@bytes_of_config.mistake
def keys_alone(config, tokens, word_bytes):
    """Half of it: a key is kept for every token, and a value."""
    return bytes_of_config.solution(config, tokens, word_bytes) // 2


@bytes_of_config.mistake
def one_layer_alone(config, tokens, word_bytes):
    """This is the cache of one layer; every layer has one of its own."""
    return bytes_of_config.solution(config | {"num_hidden_layers": 1}, tokens, word_bytes)


@bytes_of_config.mistake
def groups_times_hidden_size(config, tokens, word_bytes):
    """A row of the hidden state for every head: the heads share its width, they do not each have it."""
    row = config["num_attention_heads"] * config["hidden_size"]
    return 2 * config["num_hidden_layers"] * row * word_bytes * tokens


@bytes_of_config.mistake
def numbers_counted(config, tokens, word_bytes):
    """These are numbers; each of them has `word_bytes` bytes."""
    return bytes_of_config.solution(config, tokens, 1)


def _sequence(h, g, n, past, d_k, d_v):
    """Q, K, V of n tokens beside a cache of `past`, whose keys are turned."""
    rng = np.random.default_rng(h * n + past)
    shapes = [(h, n, d_k), (g, n, d_k), (g, n, d_v), (g, past, d_k), (g, past, d_v)]
    Q, K, V, past_K, past_V = (rng.normal(size=shape) for shape in shapes)
    return Q, K, V, rotary(past_K, np.arange(past)), past_V


def first_part_off(trial):
    """Which of O, K and V is off, and how many new tokens came to how large a cache."""
    n, past = (trial.inputs[name].shape[1] for name in ("K", "past_K"))
    off = [
        f"{name} by up to {show(np.abs(given - wanted).max())}"
        if given.shape == wanted.shape
        else f"{name} has shape {given.shape} for {wanted.shape}"
        for name, given, wanted in zip(["O", "K", "V"], trial.given, trial.wanted, strict=True)
        if given.shape != wanted.shape or not np.allclose(given, wanted)
    ]
    came = f"{n} new token{'s' * (n > 1)} beside a cache of {past}"
    return f"With {came}, these are off: {'; '.join(off)}."


@exercise(
    cases=[
        _sequence(1, 1, 1, 0, 2, 2),
        _sequence(4, 2, 1, 5, 4, 6),
        _sequence(6, 2, 3, 0, 4, 6),
        _sequence(6, 3, 4, 7, 4, 6),
    ],
    evidence=first_part_off,
    recipe=ROTARY_STEP,
    worth_trying="a prompt of 30 tokens in one step, in three, one by one. How far apart are the outputs?",
)
def decode_step(Q, K, V, past_K, past_V):
    """Turn by past + i, append, and read j ≤ i + past, h / g heads for each group."""
    return rotary_step(Q, K, V, past_K, past_V)


def _behind_the_rotation(step, Q, K, V, past_K, past_V):
    """A step that is given turned queries and keys."""
    positions = past_K.shape[-2] + np.arange(K.shape[-2])
    return step(rotary(Q, positions), rotary(K, positions), V, past_K, past_V)


for _function in (
    misplaced.every_step_at_zero,
    misplaced.each_chunk_from_zero,
    misplaced.one_place_too_far,
    misplaced.one_place_too_early,
    misplaced.cache_turned_again,
    misplaced.keys_not_turned,
    misplaced.queries_not_turned,
):
    decode_step.mistake(_function)


@decode_step.mistake
def mask_at_the_top_left(Q, K, V, past_K, past_V):
    """The causal mask lies top left, j ≤ i: beside a cache, the first new token sees the oldest key alone."""
    return _behind_the_rotation(wrong.top_left_mask, Q, K, V, past_K, past_V)


@decode_step.mistake
def chunk_without_a_mask(Q, K, V, past_K, past_V):
    """A single new token needs no mask; of several, the first must not see the last, and here it does."""
    return _behind_the_rotation(wrong.future_seen, Q, K, V, past_K, past_V)


@decode_step.mistake
def itself_left_out(Q, K, V, past_K, past_V):
    """The new token sees the cache, and not itself: the mask is one place too strict."""
    return _behind_the_rotation(wrong.itself_not_seen, Q, K, V, past_K, past_V)


@decode_step.mistake
def heads_dealt_out(Q, K, V, past_K, past_V):
    """Head i reads group i mod g, as `tile` has it; heads of a group stand side by side, as in `repeat`."""
    return _behind_the_rotation(wrong.groups_tiled, Q, K, V, past_K, past_V)


@decode_step.mistake
def cache_not_read(Q, K, V, past_K, past_V):
    """The cache grows, and the new tokens see one another only."""
    return _behind_the_rotation(wrong.cache_never_read, Q, K, V, past_K, past_V)


@decode_step.mistake
def cache_not_grown(Q, K, V, past_K, past_V):
    """The output is right, and the cache goes back as it came: the next token will not see this one."""
    return _behind_the_rotation(wrong.cache_never_grows, Q, K, V, past_K, past_V)


@decode_step.mistake
def new_before_old(Q, K, V, past_K, past_V):
    """New rows are put before the old ones. One token alone would not notice; the mask of several does."""
    return _behind_the_rotation(wrong.newest_first, Q, K, V, past_K, past_V)


def how_often(rows, m, w, k):
    """How often each of m rows is kept; then how many were named."""
    rows = np.asarray(rows).ravel()
    return np.array([*((rows == j).sum() for j in range(m)), rows.size])


def rows_that_were_kept(trial):
    m, w, k = trial.inputs.values()
    (given,), (wanted,) = trial.given, trial.wanted
    yours, right = (show(np.flatnonzero(counts[:-1])) for counts in (given, wanted))
    twice = ", some of them twice" if (given[:-1] > 1).any() else ""
    beyond = f", and {given[-1] - given[:-1].sum()} that are not there" * bool(given[-1] > given[:-1].sum())
    return f"Of {m} rows, w = {w} and k = {k}, you keep {yours}{twice}{beyond}; wanted {right}."


@exercise(
    cases=[(9, 4, 2), (9, 1, 2), (9, 4, 0), (5, 4, 2), (4, 4, 2), (2, 4, 1), (0, 3, 2), (30, 8, 1)],
    seen_as=how_often,
    evidence=rows_that_were_kept,
    worth_trying="two layers with windows of 4. Does the second still give what it gave with all rows?",
)
def kept_rows(m, w, k):
    """The first k, and of the rest the last w − 1: the next token is the w-th of its window."""
    first = min(k, m)
    return np.array([*range(first), *range(max(m - w + 1, first), m)], dtype=int)


@kept_rows.mistake
def window_of_cached_rows(m, w, k):
    """A window of w holds the next token itself, so w − 1 rows of the cache; here it is w."""
    return kept_rows.solution(m, w + 1, k)


@kept_rows.mistake
def sinks_inside_the_window(m, w, k):
    """The sinks take their places from the window here; the window that was asked for is beside them."""
    return kept_rows.solution(m, max(w - k, 1), k)


@kept_rows.mistake
def sinks_lost(m, w, k):
    """The window is right, and the first k rows are gone."""
    return kept_rows.solution(m, w, 0)


@kept_rows.mistake
def kept_twice(m, w, k):
    """While the window still reaches the first k rows, they are kept twice, and would weigh double."""
    return np.array([*range(min(k, m)), *range(max(m - w + 1, 0), m)], dtype=int)


@kept_rows.mistake
def minus_nothing(m, w, k):
    """With w = 1 the last w − 1 rows are none; `rows[-0:]` are all of them."""
    rest = list(range(min(k, m), m))
    return np.array([*range(min(k, m)), *rest[-(w - 1) :]], dtype=int)


@kept_rows.mistake
def rows_before_the_first(m, w, k):
    """A short cache has no m − w + 1 yet: it is negative, and counts from the end or stops."""
    return np.array([*range(k), *range(max(m - w + 1, k), m)], dtype=int)


@kept_rows.mistake
def last_k_kept(m, w, k):
    """The sinks are the first rows of all; these are the k rows before the window."""
    first = max(m - w + 1 - k, 0)
    return np.arange(first, m) if m else np.zeros(0, dtype=int)


# By pencil: the sink weighs 4 of 8, and the mean of the other keys' values is (8, 2).
PENCIL = np.array([[4.0, 3.0]]), np.log([8.0]), np.log([4.0]), np.array([0.0, 4.0])


def _seen_with_the_sink(n, m, shift):
    """O and L of n queries, and the first key's scores and value: that key is to be taken away."""
    rng = np.random.default_rng(n + m)
    S, V = rng.normal(size=(n, m)) + shift, rng.normal(size=(m, 3))
    E = np.exp(S - S.max(1, keepdims=True))
    L = S.max(1) + np.log(E.sum(1))
    return E @ V / E.sum(1, keepdims=True), L, S[:, 0], V[0]


@exercise(
    cases=[PENCIL, _seen_with_the_sink(5, 7, 0), _seen_with_the_sink(3, 5, 800)],
    worth_trying="a query that saw nothing but the sink. What is left of it, and what does the contract say?",
)
def without_the_sink(O, L, s, v):
    """Its weight was a = e^(s − L): (O − a v) / (1 − a), and L + ln(1 − a)."""
    a = np.exp(s - L)
    return (O - a[:, None] * v) / (1 - a)[:, None], L + np.log1p(-a)


@without_the_sink.mistake
def taken_out_and_not_divided(O, L, s, v):
    """The sink's part is taken out of O, and the other weights no longer sum to one."""
    a = np.exp(s - L)
    return O - a[:, None] * v, L + np.log1p(-a)


@without_the_sink.mistake
def value_taken_for_nothing(O, L, s, v):
    """Divided by what is left of the weights, as if the sink's value were zero; it is v."""
    a = np.exp(s - L)
    return O / (1 - a)[:, None], L + np.log1p(-a)


@without_the_sink.mistake
def sink_added_once_more(O, L, s, v):
    """This puts the sink in a second time; it was to be taken away."""
    a = np.exp(s - L)
    return (O + a[:, None] * v) / (1 + a)[:, None], L + np.log1p(a)


@without_the_sink.mistake
def log_sum_exp_left(O, L, s, v):
    """O is right; L still counts the sink, and whoever merges this row next will weigh it too much."""
    return without_the_sink.solution(O, L, s, v)[0], L


@without_the_sink.mistake
def logarithms_subtracted(O, L, s, v):
    """O is right; of L the exponentials are to be subtracted, not the logarithms."""
    return without_the_sink.solution(O, L, s, v)[0], L - s


@without_the_sink.mistake
def exponentials_taken_whole(O, L, s, v):
    """Right on paper; but exp(800) is infinite, and only s − L is small."""
    Z, a = np.exp(L), np.exp(s)
    left = Z - a
    return (O * Z[:, None] - a[:, None] * v) / left[:, None], np.log(left)


@without_the_sink.mistake
def score_for_weight(O, L, s, v):
    """The sink's weight is taken for e^(L − s): the other way up, it is more than one."""
    return without_the_sink.solution(O, s, L, v)[0], L + np.log1p(-np.exp(s - L))


CACHE = np.random.default_rng(0).normal(size=(2, 3, 5)) * np.array([1, 30, 0.1])[:, None]
WITH_ZEROS = np.concatenate([CACHE, np.zeros((2, 1, 5))], axis=1)


def largest_error_in_steps(trial):
    (X,) = trial.inputs.values()
    q, step = trial.given
    step = np.broadcast_to(np.reshape(step, step.shape + (1,) * (X.ndim - step.ndim)), X.shape)
    off = np.abs(q * step - X) / np.where(step == 0, 1, step)
    at = np.unravel_index(np.nan_to_num(off, nan=np.inf).argmax(), X.shape)
    where = f"X{list(map(int, at))} = {show(X[at])}"
    return f"{where} comes back as {show((q * step)[at])}, {show(off[at])} steps off; half a step is allowed."


def coarsest_row(trial):
    """The row whose step is largest for what it holds."""
    (X,), (_, step), (_, right) = trial.inputs.values(), trial.given, trial.wanted
    at = np.unravel_index((step / np.where(right == 0, 1, right)).argmax(), step.shape)
    largest = show(np.abs(X[at]).max())
    row = f"X{list(map(int, at))}"
    return f"The largest number of {row} is {largest}, its step {show(step[at])}; {show(right[at])} would do."


@exercise(
    cases=[(CACHE[:1, :2],), (CACHE,), (WITH_ZEROS,)],
    evidence=largest_error_in_steps,
    worth_trying="four bits, and a row that holds a hundred beside numbers near one. What is left of those?",
)
def eight_bits(X):
    """A step for each row, its largest number over 127; round to the nearest."""
    q, step = quantised(X, 8)
    return q, step


def _rounded(X, step, round=np.rint):
    return round(X / np.where(step == 0, 1, step)[..., None]).astype(np.int8)


def _steps(X, largest=127):
    return np.abs(X).max(-1) / largest


@eight_bits.mistake
def cut_off(X):
    """Cut off, not rounded: every number moves towards zero, by up to a whole step."""
    return _rounded(X, _steps(X), np.trunc), _steps(X)


@eight_bits.mistake_shown_by(coarsest_row)
def one_step_for_all(X):
    """One step for the whole cache: a row with small numbers is left with few of them, or with zeros."""
    step = np.full(X.shape[:-1], np.abs(X).max() / 127)
    return _rounded(X, step), step


@eight_bits.mistake_shown_by(coarsest_row)
def one_step_for_a_head(X):
    """One step for all tokens of a head: the loudest token decides how coarse the others become."""
    step = np.broadcast_to(np.abs(X).max((-1, -2), keepdims=True)[..., 0] / 127, X.shape[:-1]).copy()
    return _rounded(X, step), step


@eight_bits.mistake
def one_too_many(X):
    """128 steps to the largest number: int8 ends at 127, and 128 comes back as −128."""
    step = _steps(X, 128)
    q = np.rint(X / np.where(step == 0, 1, step)[..., None]).astype(np.int64)
    return ((q + 128) % 256 - 128).astype(np.int8), step


@eight_bits.mistake
def signs_forgotten(X):
    """The largest number, not the largest absolute one: a row whose largest is negative overflows."""
    step = X.max(-1) / 127
    q = np.rint(X / np.where(step == 0, 1, step)[..., None]).astype(np.int64)
    return ((q + 128) % 256 - 128).astype(np.int8), step


@eight_bits.mistake
def half_of_the_range(X):
    """255 steps to the largest absolute number need nine bits, and every large one wraps around."""
    step = _steps(X, 255)
    q = np.rint(X / np.where(step == 0, 1, step)[..., None]).astype(np.int64)
    return ((q + 128) % 256 - 128).astype(np.int8), step
