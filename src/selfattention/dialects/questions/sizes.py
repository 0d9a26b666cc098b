"""No keys, no queries, and a window's count."""

import numpy as np

from selfattention.dialects.questions.question import Question, case
from selfattention.dialects.readings import attend, first_column, not_a_number, output, zeros

ONES = case(np.ones((6, 6)), [1, 2, 4, 8, 16, 32], window=2)
PAIR = case(np.ones((2, 3)), [1, 2, 6])
NO_KEYS = PAIR.but(K=PAIR.K[:, :, :0], V=PAIR.V[:, :, :0])
NO_QUERIES = PAIR.but(Q=PAIR.Q[:, :, :0])


def _back(low, high):
    """low ≤ i − j ≤ high."""

    def seen(asked):
        n, m = asked.Q.shape[2], asked.K.shape[2]
        back = np.arange(n)[:, None] - np.arange(m)
        return ((low <= back) & (back <= high))[None, None]

    return output(seen)


def _nan_without_keys(asked):
    """NaN queries that see a key which is not there: one is put there."""
    return not_a_number(lambda asked: np.zeros((1, 1, 2, 1), bool))(
        asked.but(K=np.zeros((1, 1, 1, 16)), V=np.zeros((1, 1, 1, 16)))
    )


def _no_rows(asked):
    """As if there were no queries either."""
    return first_column(attend(asked.but(Q=asked.Q[:, :, :0]))[0])


QUESTIONS = [
    Question(
        "no-keys",
        "There are queries, and no keys at all: what comes out?",
        "An empty cache or a document without neighbours is such a call.",
        NO_KEYS,
        {"zeros": zeros(), "NaN": _nan_without_keys, "no rows": _no_rows},
        theoretical=frozenset({"NaN"}),
    ),
    Question(
        "no-queries",
        "There are keys, and no queries: is that a call?",
        "The last shard of a batch may be empty.",
        NO_QUERIES,
        {"an empty output": lambda asked: first_column(attend(asked)[0])},
    ),
    Question(
        "window-of-two",
        "A window of 2, causal: how many keys does a query see?",
        "Two libraries' windows of one number differ by a key, in every layer.",
        ONES.but(causal=True),
        {
            "two keys, its own among them": _back(0, 1),
            "three keys, its own among them": _back(0, 2),
        },
    ),
    Question(
        "window-without-causal",
        "A window of 2, and no causal flag: how far does a query see, and to which sides?",
        "A window that looks ahead reads the future in a language model.",
        ONES,
        {
            "one key to each side": _back(-1, 1),
            "two keys to each side": _back(-2, 2),
            "its own and one before": _back(0, 1),
            "its own and two before": _back(0, 2),
            "its own, two before and all behind": _back(-9, 2),
        },
        theoretical=frozenset({"its own and one before", "its own and two before"}),
    ),
]
