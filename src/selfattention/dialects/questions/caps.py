"""What the field has added to the scores: a soft cap on them, and a sink beside them."""

import numpy as np

from selfattention.dialects.asking import Asked
from selfattention.dialects.questions.question import Question, by_minus_infinity, case, table
from selfattention.dialects.readings import attend, first_column, masked, output

SCORES = case([[1, 9, 30], [25, 1, 4], [3, 40, 1]], [1, 2, 6], softcap=2.0)
BIASED = SCORES.but(bias=np.array([[[[3, 0, -1], [0, 4, 1], [2, -1, 3]]]], np.float32))
MASKED = SCORES.but(mask=table([[1, 1, 0], [0, 1, 1], [1, 1, 0]]))
SINK = case([[1, 2, 5], [3, 1, 4], [2, 2, 1]], [1, 2, 6], sink=np.log(np.array([3], np.float32)))


def _scores(asked: Asked) -> np.ndarray:
    """S without a bias, scaled as usual."""
    return asked.Q.astype(np.float64) @ asked.K.swapaxes(-1, -2) * asked.Q.shape[-1] ** -0.5


def _with_scores(asked, S):
    """The output for these scores: scale 0, and all of them handed over as a bias."""
    return first_column(attend(asked, None, scale=0.0, bias=S, softcap=None)[0])


def _bias_is_capped(asked):
    C = asked.softcap
    return _with_scores(asked, C * np.tanh((_scores(asked) + asked.bias) / C))


def _mask_is_capped(asked):
    """−∞ comes out of the cap as −C."""
    C = asked.softcap
    return _with_scores(asked, np.where(masked(asked), C * np.tanh(_scores(asked) / C), -C))


def _added(asked):
    """True is 1, and hides nobody."""
    return first_column(attend(asked, bias=asked.mask.astype(float))[0])


def _scaled_sink(asked):
    return first_column(attend(asked, sink=asked.sink * asked.Q.shape[-1] ** -0.5)[0])


QUESTIONS = [
    Question(
        "softcap-and-bias",
        "A softcap of 2 and a bias are given: is the bias inside the cap, or added after it?",
        "Inside, no bias can say more than ±2: ALiBi forgets all distances but the nearest.",
        BIASED,
        {
            "the bias is added after the cap": output(),
            "the bias is capped": _bias_is_capped,
            "no cap": output(softcap=None),
        },
        theoretical=frozenset({"no cap"}),
    ),
    Question(
        "softcap-and-mask",
        "A softcap of 2 and a mask are given: does what is hidden stay hidden?",
        "A cap behind the mask turns −∞ into −2, and padding has a weight again.",
        MASKED,
        {
            "hidden keys stay hidden": output(masked, bias=None),
            "hidden keys have the score −C": _mask_is_capped,
            "no cap": output(masked, bias=None, softcap=None),
            "the mask is added to the scores": _added,
        },
        {"by −∞": by_minus_infinity},
        alike={"by −∞": frozenset({"the mask is added to the scores"})},
        theoretical=frozenset({"no cap"}),
    ),
    Question(
        "sink",
        "A learned sink is given: how does it enter the denominator?",
        "Scaled like a score it counts for less, and all outputs are larger than the model was trained for.",
        SINK,
        {
            "as one key more, unscaled, with value 0": output(),
            "scaled": _scaled_sink,
            "ignored": output(sink=None),
        },
        theoretical=frozenset({"scaled", "ignored"}),
    ),
]
