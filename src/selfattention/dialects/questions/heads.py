"""Which axis is which: heads, groups, samples, and a mask with fewer axes than the scores."""

import numpy as np

from selfattention.dialects.asking import heads_last
from selfattention.dialects.questions.question import Question, case
from selfattention.dialects.readings import attend, first_column, output, weights

GROUPED = case(np.ones((4, 2, 2)), [[10, 12], [20, 22], [0, 0], [0, 0]])
GROUPED = GROUPED.but(K=GROUPED.K[:, :2].copy(), V=GROUPED.V[:, :2].copy())

SQUARE = case(np.ones((2, 2, 2, 2)), [[[1, 2], [4, 8]], [[16, 32], [64, 128]]])
TWO_SAMPLES = case(np.ones((2, 1, 2, 2)), [[[1, 2]], [[16, 32]]])
ROWS = np.array([[True, False], [True, True]])

LAID = case([[[1, 3], [5, 1]], [[2, 1], [1, 4]]], [[1, 2], [4, 8]], as_it_lies=True)
FLAT = LAID.but(Q=LAID.Q[0], K=LAID.K[0], V=LAID.V[0])
TWO_HEADS = case([[[1, 3]], [[4, 1]]], [[1, 2], [1, 2]], wants="weights")


def _tiled(asked):
    """Head i reads group i mod g: one copy of all keys behind the other."""
    copies = asked.Q.shape[1] // asked.K.shape[1]
    K, V = (np.concatenate([X] * copies, 1) for X in (asked.K, asked.V))
    return first_column(attend(asked.but(K=K, V=V))[0])


def _per_sample(asked):
    return asked.mask[:, None, None, :]


def _per_query(asked):
    return asked.mask[None, None]


def _hiding(rows):
    """Hiding what the mask names."""
    return lambda asked: ~rows(asked)


def _per_head(asked):
    return asked.mask[None]


def _per_sample_and_query(asked):
    return asked.mask[:, None]


def _heads_first(asked):
    return first_column(attend(asked)[0])


def _positions_first(asked):
    """The first of the two axes counts positions, the second heads or samples."""
    if asked.Q.ndim == 3:
        Q, K, V = (X.swapaxes(0, 1) for X in (asked.Q, asked.K, asked.V))
        return first_column(attend(asked.but(Q=Q, K=K, V=V))[0].swapaxes(0, 1))
    Q, K, V = map(heads_last, (asked.Q, asked.K, asked.V))
    return first_column(heads_last(attend(asked.but(Q=Q, K=K, V=V))[0]))


def _three_axes(asked):
    return asked.but(**{letter: getattr(asked, letter)[0] for letter in "QKV"})


def _mean_over_heads(asked):
    return weights(asked).mean(1).ravel()


QUESTIONS = [
    Question(
        "grouped-heads",
        "Four query heads, two heads of keys: which keys does query head 1 read?",
        "Weights that were trained under one order are noise under the other, and nothing says so.",
        GROUPED,
        {"head i reads group i // 2": output(), "head i reads group i mod 2": _tiled},
    ),
    Question(
        "mask-of-two-axes",
        "A mask (2, 2) where batch and positions are 2: is it (batch, keys), or (queries, keys)?",
        "A padding mask as tokenizers return it passes silently as a mask for queries once both sizes agree.",
        TWO_SAMPLES.but(mask=ROWS),
        {"(queries, keys)": output(_per_query), "(batch, keys)": output(_per_sample)},
    ),
    Question(
        "mask-of-three-axes",
        "A mask (2, 2, 2) where batch, heads and positions are 2: is its first axis the batch, or the heads?",
        "One sample's mask is laid on another sample's head.",
        SQUARE.but(mask=np.array([[[True, False], [True, True]], [[False, True], [True, False]]])),
        {
            "(heads, queries, keys)": output(_per_head),
            "(batch, queries, keys)": output(_per_sample_and_query),
        },
    ),
    Question(
        "axes",
        "An array (1, 2, 2, 16): which axis counts the heads, and which the positions?",
        "With equal sizes the wrong order raises nothing and mixes heads with positions.",
        LAID,
        {"heads first": _heads_first, "positions first": _positions_first},
    ),
    Question(
        "axes-of-three",
        "An array (2, 2, 16): does the first axis count positions, or what is apart: samples or heads?",
        "Read the other way round, every token attends to the tokens of other samples in its own place.",
        FLAT,
        {"positions second": _heads_first, "positions first": _positions_first},
    ),
    Question(
        "weights-per-head",
        "Are the weights that are returned those of every head, or their mean?",
        "A mean over heads hides the head that looks at one token.",
        TWO_HEADS,
        {"per head": lambda asked: weights(asked).ravel(), "mean over heads": _mean_over_heads},
        pick=lambda A: np.asarray(A, np.float64).ravel(),
    ),
]
