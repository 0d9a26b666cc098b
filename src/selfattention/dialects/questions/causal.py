"""The causal mask where it can lie in two ways, or meets another mask."""

import numpy as np

from selfattention.dialects.questions.question import Question, case, half, learning, narrow_values, table
from selfattention.dialects.readings import (
    bottom_right,
    every_key,
    masked,
    masked_and_causal,
    mean_of_all,
    not_a_number,
    output,
    top_left,
)

FEWER = case(np.ones((2, 4)), [1, 2, 4, 8], causal=True)
MORE = case(np.ones((4, 2)), [1, 2], causal=True)
ALONE = case(np.ones((1, 4)), [1, 2, 4, 8], causal=True)
CHANGED = case(np.ones((3, 3)), [1, 2, 6], mask=table([[1, 1, 1], [0, 1, 1], [1, 0, 1]]), causal=True)
BIASED = case(
    np.ones((3, 3)),
    [1, 2, 6],
    bias=np.log([[[[1, 2, 3], [3, 1, 5], [1, 4, 2]]]]).astype(np.float32),
    causal=True,
)
NARROW = {"float16": half, "d_v = 8": narrow_values, "learning": learning}


def _last_sees_all(asked):
    """Query 0 beside key 0, and the last query sees every key."""
    seen = top_left(asked).copy()
    seen[..., -1, :] = True
    return seen


QUESTIONS = [
    Question(
        "causal-fewer-queries",
        "Two queries, four keys, causal: does the first query stand beside the first key?",
        "With a cache the queries are the last ones; at the top left they see one key and forget the rest.",
        FEWER,
        {
            "top left": output(top_left),
            "bottom right": output(bottom_right),
            "every key": output(every_key),
            "top left, but the last query sees every key": output(_last_sees_all),
        },
        NARROW,
        theoretical=frozenset({"every key"}),
    ),
    Question(
        "causal-more-queries",
        "Four queries, two keys, causal: where do they lie?",
        "At the bottom right two rows see nothing, and then the question of the empty row comes back.",
        MORE,
        {
            "top left": output(top_left),
            "bottom right, zeros": output(bottom_right),
            "bottom right, the mean of all keys": mean_of_all(bottom_right),
            "bottom right, NaN": not_a_number(bottom_right),
            "every key": output(every_key),
        },
        NARROW,
        theoretical=frozenset({"bottom right, zeros", "bottom right, NaN"}),
    ),
    Question(
        "causal-one-query",
        "One query, four keys, causal: which keys does it see?",
        "This is a step of decoding. At the top left the new token sees the first token only.",
        ALONE,
        {"key 0": output(top_left), "every key": output(every_key)},
        NARROW,
    ),
    Question(
        "causal-with-a-cache",
        "Two keys come out of a cache, two are new, causal: do the cached ones count as earlier positions?",
        "If not, every token after the first call attends to the beginning of the text.",
        FEWER.but(past=2),
        {
            "the cache counts": output(bottom_right),
            "it does not": output(top_left),
            "every key": output(every_key),
        },
        theoretical=frozenset({"every key"}),
    ),
    Question(
        "mask-and-causal",
        "A boolean mask and the causal flag are both given: do both hold?",
        "Where one is dropped without a word, padding is read or the future is.",
        CHANGED,
        {
            "both hold": output(masked_and_causal),
            "the mask only": output(masked),
            "causal only": output(top_left),
        },
        NARROW,
    ),
    Question(
        "bias-and-causal",
        "A bias and the causal flag are both given: do both hold?",
        "ALiBi with causal is such a call: without the flag it reads the future, without the bias no order.",
        BIASED,
        {
            "both hold": output(top_left),
            "the bias only": output(every_key),
            "causal only": output(top_left, bias=None),
        },
        NARROW,
    ),
]
