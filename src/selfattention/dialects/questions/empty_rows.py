"""Rows that may see nothing: the formula divides 0 by 0."""

import numpy as np

from selfattention.dialects.questions.question import (
    Question,
    by_minus_infinity,
    case,
    half,
    learning,
    many_queries,
    narrow_values,
    one_query,
    one_row,
    table,
)
from selfattention.dialects.readings import (
    as_if_only,
    as_if_unmasked,
    attend,
    everything,
    first_column,
    masked,
    masked_and_causal,
    mean_of,
    mean_of_all,
    not_a_number,
    output,
    top_left,
    zeros,
)
from selfattention.implementations import IMPLEMENTATIONS

EMPTY = case(
    [[1, 2, 5], [1, 2, 5], [3, 1, 4]],
    [1, 2, 6],
    mask=table([[1, 1, 0], [0, 0, 0], [1, 0, 1]]),
)
READINGS = {
    "zeros": zeros(),
    "NaN": not_a_number(),
    "mean of all keys": mean_of_all(),
    "as if unmasked": as_if_unmasked(),
}
ADDED = {"added to the scores": lambda asked: _added(asked)}
VARIANTS = {
    "float16": half,
    "d_v = 8": narrow_values,
    "one query": one_query(1),
    "66 queries": many_queries,
    "learning": learning,
}
LOWEST_32 = np.finfo(np.float32).min

PADDED = case(
    [[1, 2, 5, 3], [2, 1, 4, 1], [3, 1, 1, 5], [1, 4, 3, 2]],
    [1, 2, 4, 8],
    mask=table([[0, 1, 1, 1]] * 4),
    causal=True,
)
SAMPLES = case(
    [[[[1, 2, 5], [3, 1, 4]]], [[[1, 2, 5], [3, 1, 4]]]],
    [[[1, 2, 6]], [[2, 3, 7]]],
    mask=np.array([[[1, 1, 0]] * 2, [[0, 0, 0]] * 2], bool)[:, None],
)


def _added(asked, read=first_column):
    """True is 1, and hides nobody."""
    return read(attend(asked, bias=asked.mask.astype(float))[0])


def _as_weights(reading):
    """The weights are the output for values that are the rows of the identity."""
    return lambda asked: reading(asked.but(V=np.eye(asked.K.shape[2])[None, None]))


def _healthy_rows_only(asked):
    """dO: the loss reads the rows that see somebody, and no other."""
    rows = np.broadcast_to(masked(asked).any(-1, keepdims=True), (*asked.Q.shape[:-1], 1))
    return np.ascontiguousarray(
        np.broadcast_to(rows, (*asked.Q.shape[:-1], asked.V.shape[-1])), asked.Q.dtype
    )


def _sent_back(asked, mask, dO, **options):
    ours = IMPLEMENTATIONS["numpy_direct"].load()
    Q, K, V = (np.asarray(X, np.float64) for X in (asked.Q, asked.K, asked.V))
    O, L = ours.attention(Q, K, V, mask=mask, **options)
    return row_sums(ours.attention_backward(dO.astype(np.float64), Q, K, V, O, L, mask=mask, **options))


def _nothing_from_the_empty_row(asked):
    return _sent_back(asked, masked(asked), asked.dO)


def _as_if_added(asked):
    return _sent_back(asked, None, asked.dO, bias=(masked(asked) * 1.0))


def _nan_from_the_empty_row(asked):
    """As if it saw everybody, and its dO were NaN."""
    empty = ~masked(asked).any(-1, keepdims=True)
    return _sent_back(asked, masked(asked) | empty, np.where(empty, np.nan, asked.dO))


def row_sums(gradients) -> np.ndarray:
    """dQ, dK and dV, each summed over its columns, one behind the other."""
    return np.concatenate([np.asarray(gradient, np.float64).sum(-1).ravel() for gradient in gradients])


def _state(asked, empty_row):
    """L of every row, and what stands for that of the empty one."""
    L = attend(asked, masked(asked))[1].ravel()
    return np.where(np.isneginf(L), empty_row, L)


QUESTIONS = [
    Question(
        "empty-row",
        "What comes out of a row whose keys are all hidden by a boolean mask?",
        "Padding makes such rows in every batch; NaN there reaches the loss, a mean looks like an answer.",
        EMPTY,
        READINGS | ADDED,
        VARIANTS,
        alike={"one query": frozenset(ADDED)},  # of a row of False there is nothing to add
    ),
    Question(
        "empty-row-by-minus-infinity",
        "What comes out of a row whose keys are all hidden by a bias of −∞?",
        "The same row, said in numbers: several libraries then say something else.",
        EMPTY.but(mask=None, bias=by_minus_infinity(EMPTY).bias),
        READINGS,
        VARIANTS,
        theoretical=frozenset({"mean of all keys", "as if unmasked"}),
    ),
    Question(
        "empty-row-by-lowest-float",
        "What comes out of a row whose keys are all hidden by the lowest float, as finfo(dtype).min?",
        "The usual way round NaN; it makes the row a mean of what it must not see.",
        EMPTY.but(mask=None, bias=np.where(EMPTY.mask, 0, LOWEST_32).astype(np.float32)),
        READINGS,
        {name: variant for name, variant in VARIANTS.items() if name != "learning"},
        theoretical=frozenset({"NaN"}),
    ),
    Question(
        "empty-row-by-padding-and-causal",
        "Key 0 is padding and the mask is causal: what does query 0 get, to whom both leave nothing?",
        "Left padding makes this row; a mean of all keys is a mean of the future and of padding.",
        PADDED,
        {
            "zeros": zeros(masked_and_causal),
            "NaN": not_a_number(masked_and_causal),
            "mean of all keys": mean_of_all(masked_and_causal),
            "mean of the keys that are no padding": mean_of(masked, masked_and_causal),
            "causal wins in that row": as_if_only(top_left, masked_and_causal),
            "padding wins in that row": as_if_only(masked, masked_and_causal),
            "as if unmasked": as_if_unmasked(masked_and_causal),
            "the mask is ignored": output(top_left),
            "causal is ignored": output(masked),
        },
        {"float16": half, "d_v = 8": narrow_values, "one row for all queries": one_row},
        theoretical=frozenset({"mean of the keys that are no padding", "padding wins in that row"}),
    ),
    Question(
        "sample-of-padding",
        "A sample of the batch is all padding: what comes out of it?",
        "The last batch of an epoch is filled up so; the other samples must not feel it.",
        SAMPLES,
        READINGS | ADDED,
        {"float16": half, "one row for all queries": one_row},
    ),
    Question(
        "weights-of-an-empty-row",
        "Which weights are returned for a row whose keys are all hidden?",
        "A picture of the weights shows what the output hides.",
        EMPTY.but(wants="weights"),
        {
            "zeros": _as_weights(zeros(read=everything)),
            "NaN": _as_weights(not_a_number(read=everything)),
            "mean of all keys": _as_weights(mean_of_all(read=everything)),
            "as if unmasked": _as_weights(as_if_unmasked(read=everything)),
            "added to the scores": _as_weights(lambda asked: _added(asked, everything)),
        },
        pick=everything,
        theoretical=frozenset({"as if unmasked"}),
    ),
    Question(
        "gradients-with-an-empty-row",
        "The loss reads only rows that see somebody: are the gradients numbers?",
        "One NaN in a gradient is NaN in every weight after the step.",
        EMPTY.but(wants="gradients", dO=_healthy_rows_only(EMPTY)),
        {
            "the empty row sends nothing back": _nothing_from_the_empty_row,
            "NaN": _nan_from_the_empty_row,
            "as if the mask were added to the scores": _as_if_added,
        },
        {"by −∞": by_minus_infinity},
        pick=row_sums,
    ),
    Question(
        "log-sum-exp-of-an-empty-row",
        "Which log-sum-exp is returned for a row whose keys are all hidden?",
        "Partial results are merged by it, and only −∞ has no weight in a merge.",
        EMPTY.but(wants="log-sum-exp"),
        {
            "−∞": lambda asked: _state(asked, -np.inf),
            "0": lambda asked: _state(asked, 0),
            "NaN": lambda asked: _state(asked, np.nan),
            "the lowest float32": lambda asked: _state(asked, LOWEST_32),
            "0.7 times the lowest float32": lambda asked: _state(asked, 0.7 * LOWEST_32),
        },
        {"by −∞": by_minus_infinity},
        pick=everything,
        theoretical=frozenset({"NaN", "the lowest float32"}),
    ),
]
