"""The number by which scores are divided, and softcap and sink where a library has them."""

import numpy as np

from selfattention.dialects.questions.question import Question, case
from selfattention.dialects.readings import output

USUAL = case([[3, 1], [1, 2]], [1, 2])


def _wide(asked):
    return asked.but(V=np.repeat(asked.V, 4, -1))


QUESTIONS = [
    Question(
        "scale-by-default",
        "No scale is given: by what are the scores multiplied?",
        "A model moved to a library with another default has weights that are too sharp or too flat.",
        USUAL.but(tersely=True),
        {
            "1/√d_k": output(scale=16**-0.5),
            "1": output(scale=1.0),
            "1/d_k": output(scale=1 / 16),
        },
        theoretical=frozenset({"1/d_k"}),
    ),
    Question(
        "scale-with-wide-values",
        "d_k = 16 and d_v = 64: which of them makes the scale, and is it allowed at all?",
        "Models with latent keys have d_k ≠ d_v, and not every call takes them.",
        _wide(USUAL).but(tersely=True),
        {"1/√d_k": output(scale=16**-0.5), "1/√d_v": output(scale=64**-0.5), "1": output(scale=1.0)},
        theoretical=frozenset({"1/√d_v"}),
    ),
    Question(
        "scale-of-zero",
        "A scale of 0 is given: are all weights equal, or is it taken for none?",
        "`if scale:` and `scale or default` read 0 as absent.",
        USUAL.but(scale=0.0),
        {"0": output(scale=0.0), "taken for none": output(scale=16**-0.5), "1": output(scale=1.0)},
        theoretical=frozenset({"1"}),
    ),
]
