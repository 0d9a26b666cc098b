"""What a mask of this or that dtype means: two keys with equal scores and values 1 and 0."""

import numpy as np

from selfattention.dialects.questions.question import Question, case
from selfattention.dialects.readings import output

TWO = case(np.ones((2, 2)), [1, 0])
SHOWS, HIDES = "what is 1 may be seen", "what is 1 is hidden"


def _literal(values, dtype):
    return TWO.but(literal=np.broadcast_to(np.array(values, dtype), (1, 1, 2, 2)).copy())


def _first(asked):
    return np.array([True, False])[None, None, None]


def _second(asked):
    return ~_first(asked)


KEEP = {
    SHOWS: output(_first),
    HIDES: output(_second),
    "added to the scores": output(bias=np.array([[[[1.0, 0.0]]]])),
    "ignored": output(),
}
ADDED = {
    "added to the scores": output(_first),
    "0 is hidden, −∞ is seen": output(_second),
    "ignored": output(),
}


def _as(dtype):
    return lambda asked: asked.but(literal=asked.literal.astype(dtype))


def _minus_a_billion(asked):
    return asked.but(literal=np.where(np.isneginf(asked.literal), np.float32(-1e9), 0).astype(np.float32))


QUESTIONS = [
    Question(
        "mask-of-booleans",
        "A boolean mask: does True say that a key may be seen, or that it is hidden?",
        "Both are in use, in one and the same library.",
        _literal([1, 0], bool),
        KEEP,
        theoretical=frozenset({"ignored"}),
    ),
    Question(
        "mask-of-float-ones",
        "A float mask of 1 and 0: is it a mask, or is it added to the scores?",
        "Added, it hides nobody: it makes the kept keys e times as heavy.",
        _literal([1, 0], np.float32),
        KEEP,
        {"float16 with it": lambda asked: asked.but(literal=asked.literal.astype(np.float16))},
        theoretical=frozenset({"what is 1 is hidden", "ignored"}),
    ),
    Question(
        "mask-of-integers",
        "An integer mask of 1 and 0, as a tokenizer returns it: keep, drop, or a number to add?",
        "Masks come as integers, and where they are added nothing is hidden and nothing is said.",
        _literal([1, 0], np.int64),
        KEEP,
        {"int32": _as(np.int32)},
        theoretical=frozenset({"what is 1 is hidden", "ignored"}),
    ),
    Question(
        "mask-of-bytes",
        "A mask of uint8 of 1 and 0: keep, drop, or a number to add?",
        "What a mask means changes when it comes back from a file as bytes.",
        _literal([1, 0], np.uint8),
        KEEP,
        theoretical=frozenset({"ignored"}),
    ),
    Question(
        "mask-of-zero-and-minus-infinity",
        "An additive mask, 0 and −∞, in the place of the mask: is it added?",
        "Where it is read as a truth value, −∞ is true: the key that was hidden is the only one seen.",
        _literal([0, -np.inf], np.float32),
        ADDED,
        {"−1e9 for −∞": _minus_a_billion},
        theoretical=frozenset({"ignored"}),
    ),
]
