"""Log-sum-exp and dropout, and how a layer keeps its weights."""

import math

import numpy as np

from selfattention.dialects.asking import Asked
from selfattention.dialects.questions.question import Question, case
from selfattention.dialects.readings import attend, distinct, everything, weights

STATE = case([[1, 2, 5], [3, 1, 4]], [1, 2, 6], wants="log-sum-exp")
MANY = Asked(*(np.float32(X)[None, None] for X in (np.zeros((4, 16)), np.zeros((16, 16)), np.eye(16))))
WIDTH, HEADS = 256, 8


def _thinned(asked):
    """Weights of 0 and of 1/(1 − p) times what they were."""
    return distinct(np.stack([0 * weights(asked), weights(asked) / (1 - asked.dropout)]))


def _whole(asked):
    return distinct(weights(asked))


DROPPED = {"nothing is dropped": _whole, "weights are dropped": _thinned}


def _layer(wants):
    """A layer of 8 heads for X of width 256."""
    X = np.zeros((1, HEADS, 2, WIDTH // HEADS), np.float32)
    return Asked(X, X, X, wants=wants)


def largest(W: np.ndarray) -> np.ndarray:
    """The largest of the start values, to two digits: 65,536 uniform ones come that near to their bound."""
    return np.array([float(f"{np.abs(np.asarray(W, np.float64)).max():.2g}")])


def _bound(bound):
    return lambda asked: np.array([float(f"{bound:.2g}")])


def kept(stored_and_applied) -> np.ndarray:
    """The shape of the array, and whether it is the transpose of the matrix that X is multiplied by.

    The second array is what the layer makes of the rows of the identity, where it can be asked for that
    alone.
    """
    stored, applied = stored_and_applied
    turned = applied is not None and stored.ndim == 2 and np.allclose(applied, stored.T, atol=1e-3)
    return np.array([*stored.shape, float(turned)])


def _shape(*shape):
    return lambda asked: np.array(shape, float)


QUESTIONS = [
    Question(
        "log-sum-exp-base",
        "Which logarithm is the log-sum-exp that is returned?",
        "Two partial results whose logarithms have different bases merge to wrong weights.",
        STATE,
        {
            "natural": lambda asked: everything(attend(asked)[1]),
            "base 2": lambda asked: everything(attend(asked)[1]) / math.log(2),
        },
        pick=everything,
        theoretical=frozenset({"base 2"}),
    ),
    Question(
        "dropout-unsaid",
        "Dropout of 0.5 is given, and nothing is said of training: is anything dropped?",
        "A function does not know that its module evaluates; a served model then answers anew each time.",
        MANY.but(dropout=0.5),
        DROPPED,
        pick=distinct,
    ),
    Question(
        "weights-and-dropout",
        "While dropout works, are the weights that are returned those before it, or after?",
        "After dropout rows do not sum to one: a picture of them shows noise.",
        MANY.but(dropout=0.5, training=True, wants="weights"),
        {"before": _whole, "after": _thinned},
        pick=distinct,
    ),
    Question(
        "start-values",
        "A layer of width 256 with 8 heads: how large are the weights of the queries at the start?",
        "Scores of standardised tokens have variance 1 for √(6/512), 1/4 for √(6/1024), 1/9 for 1/16.",
        _layer("start"),
        {
            "√(6/512), Glorot": _bound(math.sqrt(6 / 512)),
            "√(6/1024), Glorot for three matrices in one": _bound(math.sqrt(6 / 1024)),
            "1/√256": _bound(1 / 16),
            "2.27/√256, a normal cut off": _bound(2 / 16 / 0.87962566103423978),
        },
        pick=largest,
    ),
    Question(
        "storage-of-weights",
        "A layer for X of width 256 with 8 heads: which shape has the array of the queries' weights?",
        "(in, out) and (out, in) have one shape where both are 256, and the wrong one loads in silence.",
        _layer("storage"),
        {
            "in, out": _shape(256, 256, False),
            "out, in": _shape(256, 256, True),
            "3 · out, in": _shape(768, 256, False),
            "in, 3 · out": _shape(256, 768, False),
            "in, heads, d": _shape(256, 8, 32, False),
        },
        pick=kept,
        theoretical=frozenset({"in, 3 · out"}),
    ),
]
