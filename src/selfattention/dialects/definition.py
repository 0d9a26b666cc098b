"""Attention defined so that nothing is left open: every sentence settles questions, and we are asked them.

The sentences stand in chapter 18 as they stand here; `now` asks an implementation afresh.
"""

from dataclasses import dataclass

import numpy as np

from selfattention.dialects.answering import answer, question_and_variant
from selfattention.dialects.libraries import ours
from selfattention.dialects.questions.mask_types import SHOWS
from selfattention.dialects.readings import REFUSED
from selfattention.implementations import IMPLEMENTATIONS

HOLD = "both hold"


@dataclass(frozen=True)
class Sentence:
    """One sentence, and for each question that it settles the reading that it means."""

    says: str
    settles: dict[str, str]


DEFINITION = (
    Sentence(
        "The last three axes of Q, K and V count heads, positions and the width of a head, in this order.",
        {"axes": "heads first", "axes-of-three": "positions second"},
    ),
    Sentence(
        "With fewer heads of keys than of queries, neighbouring heads of queries share one.",
        {"grouped-heads": "head i reads group i // 2"},
    ),
    Sentence(
        "Scores are multiplied by the scale that is given, 0 included, and where none is, by one over the "
        "root of the width of the keys.",
        {"scale-by-default": "1/√d_k", "scale-with-wide-values": "1/√d_k", "scale-of-zero": "0"},
    ),
    Sentence(
        "A soft cap comes next, a bias is added to what it gives, and a mask comes last.",
        {
            "softcap-and-bias": "the bias is added after the cap",
            "softcap-and-mask": "hidden keys stay hidden",
        },
    ),
    Sentence(
        "A mask is boolean, and True means may see; a mask of numbers is refused.",
        {
            "mask-of-booleans": SHOWS,
            "mask-of-float-ones": REFUSED,
            "mask-of-integers": REFUSED,
            "mask-of-bytes": REFUSED,
            "mask-of-zero-and-minus-infinity": REFUSED,
        },
    ),
    Sentence(
        "The last axes of a mask are those of the scores: heads, queries, keys.",
        {"mask-of-two-axes": "(queries, keys)", "mask-of-three-axes": "(heads, queries, keys)"},
    ),
    Sentence(
        "Query i stands beside key i, or behind all keys that a cache holds, and causal hides what is later.",
        {
            "causal-fewer-queries": "top left",
            "causal-more-queries": "top left",
            "causal-one-query": "key 0",
            "causal-with-a-cache": "the cache counts",
        },
    ),
    Sentence(
        "A window of w keeps the keys that are nearer than w to the query, itself among them, to both sides.",
        {
            "window-of-two": "two keys, its own among them",
            "window-without-causal": "one key to each side",
        },
    ),
    Sentence(
        "Whatever is said of who sees whom holds together with all else that is said.",
        {"mask-and-causal": HOLD, "bias-and-causal": HOLD},
    ),
    Sentence(
        "What a query may not see can hold anything, NaN included, and the output does not depend on it.",
        {
            "nan-in-a-hidden-key": "nothing",
            "nan-in-a-hidden-value": "nothing",
            "nan-in-a-later-key": "the last row only",
            "nan-in-a-later-value": "the last row only",
        },
    ),
    Sentence(
        "A query that sees no key gets zeros and sends no gradient back, for whatever reason it sees none.",
        {
            "empty-row": "zeros",
            "empty-row-by-minus-infinity": "zeros",
            "empty-row-by-padding-and-causal": "zeros",
            "sample-of-padding": "zeros",
            "no-keys": "zeros",
            "no-queries": "an empty output",
            "gradients-with-an-empty-row": "the empty row sends nothing back",
        },
    ),
    Sentence(
        "A finite bias hides nobody, however low it is.",
        {"empty-row-by-lowest-float": "mean of all keys"},
    ),
    Sentence(
        "A learned sink is one key more with value zero, whose score is the sink, unscaled.",
        {"sink": "as one key more, unscaled, with value 0"},
    ),
    Sentence(
        "Half precision goes in and comes out, and everything between is computed in float32.",
        {"half-beyond-its-range": "right", "half-many-keys": "1"},
    ),
    Sentence(
        "Beside the output comes the log-sum-exp of each row, natural, and −∞ for a row that sees no key.",
        {"log-sum-exp-base": "natural", "log-sum-exp-of-an-empty-row": "−∞"},
    ),
)


def now(question: str, implementation: str = "numpy_direct") -> str:
    """The reading that one of our implementations gives today: asked, and recognised by its numbers."""
    said = answer(ours.door(IMPLEMENTATIONS[implementation]), f"{question}/")
    if "numbers" not in said:
        return REFUSED
    asked, variant = question_and_variant(f"{question}/")
    return asked.recognised(np.array(said["numbers"], float), variant)
