"""Exercises of chapter 18."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.formulas import attention, masked_attention, scaled_scores, softmax, weighted_sum

S, V = np.log([[1.0, 2.0, 5.0]]), np.array([[1.0], [2.0], [6.0]])


def what_is_left(trial):
    """Evidence: the scores beside 10⁹, in both formats."""
    left = [np.ptp((S.astype(dtype) - dtype(1e9)) + dtype(1e9)) for dtype in (np.float32, np.float64)]
    return (
        f"Take 10⁹ from the scores and add it again: largest less smallest is {show(left[0])} in float32, "
        f"and {show(left[1])} in float64. You gave {show(trial.given[0])}."
    )


@exercise(
    rtol=1e-3,
    evidence=what_is_left,
    worth_trying="10⁴ and 10²⁰. In which of the four cells of format and number do the two differ?",
)
def buried_in_two_formats():
    """In float32 neighbours of 10⁹ are 64 apart, and all scores drown: the mean. In float64 none does."""
    return 3.0, 4.375


@buried_in_two_formats.mistake
def formats_exchanged():
    """The other way round: the format with more digits keeps the scores."""
    return 4.375, 3.0


@buried_in_two_formats.mistake
def hidden_in_both():
    """Zeros need a rule of their own: 10⁹ is a number, and takes the same from every score."""
    return 0.0, 0.0


@buried_in_two_formats.mistake
def mean_in_both():
    """In float64 the scores survive beside 10⁹, and what is taken from all of them changes nothing."""
    return 3.0, 3.0


@buried_in_two_formats.mistake
def unmasked_in_both():
    """On paper 10⁹ cancels; in float32 nothing of the scores is left that could survive it."""
    return 4.375, 4.375


def first_pair_that_differs(trial):
    """Evidence: one key of one sequence, as the two masks have it."""
    lengths, m = trial.inputs.values()
    for name, given, wanted in zip(("first", "second"), trial.given, trial.wanted, strict=True):
        if (given != wanted).any():
            at = np.argwhere(given != wanted)[0]
            b, j = at[0], at[-1]
            return (
                f"Sequence {b} has {lengths[b]} of {m} tokens: for key {j} the {name} mask says "
                f"{bool(given[tuple(at)])}; wanted {bool(wanted[tuple(at)])}."
            )
    return ""


@exercise(
    cases=[(np.array([2, 3]), 3), (np.array([5, 0, 7]), 7)],
    evidence=first_pair_that_differs,
    worth_trying="the second array in PyTorch's layer, the first in its function. Do the outputs agree?",
)
def masks_for_both(lengths, m):
    """True = may see, with axes for heads and queries; and its opposite, one row for each sequence."""
    seen = np.arange(m) < lengths[:, None]
    return seen[:, None, None], ~seen


@masks_for_both.mistake
def one_polarity(lengths, m):
    """Both say which keys may be seen: the second library hides what is True."""
    seen = np.arange(m) < lengths[:, None]
    return seen[:, None, None], seen


@masks_for_both.mistake
def polarities_exchanged(lengths, m):
    """The first library shows what is True, and the second hides it; here it is the other way round."""
    seen = np.arange(m) < lengths[:, None]
    return ~seen[:, None, None], seen


@masks_for_both.mistake
def one_key_too_many(lengths, m):
    """Keys are counted from 0: key number `length` is the first of the padding."""
    seen = np.arange(m) <= lengths[:, None]
    return seen[:, None, None], ~seen


@masks_for_both.mistake
def padded_in_front(lengths, m):
    """The padding stands behind the tokens here."""
    seen = np.arange(m) >= m - lengths[:, None]
    return seen[:, None, None], ~seen


@masks_for_both.mistake
def without_axes(lengths, m):
    """The right booleans; the first library reads two axes as queries and keys, unless you say otherwise."""
    seen = np.arange(m) < lengths[:, None]
    return seen, ~seen


def shows_what_is_true(Q, K, V, mask):
    return masked_attention(Q, K, V, mask)


def hides_what_is_true(Q, K, V, mask):
    return masked_attention(Q, K, V, ~mask)


def adds_what_is_true(Q, K, V, mask):
    return weighted_sum(softmax(scaled_scores(Q, K) + mask), V)


BOXES = {"shows": shows_what_is_true, "hides": hides_what_is_true, "adds": adds_what_is_true}


def what_the_box_does(trial):
    """Evidence: what the box makes of two equal keys, one of them True."""
    attend = trial.inputs["attend"]
    X = np.zeros((2, 1))
    answer = attend(X[:1], X, np.array([[1.0], [0]]), np.array([[True, False]]))
    return (
        f"Two keys with equal scores, values 1 and 0, the mask [[True, False]]: this box answers "
        f"{show(answer[0, 0])}. You say {trial.given[0]}."
    )


@exercise(
    cases=[(box,) for box in BOXES.values()],
    evidence=what_the_box_does,
    worth_trying="a fourth box that ignores its mask. Which answer would it give to your call?",
)
def polarity(attend):
    """Equal scores: 1 where what is True is seen, 0 where it is hidden, e / (e + 1) where it is added."""
    X = np.zeros((2, 1))
    answer = attend(X[:1], X, np.array([[1.0], [0]]), np.array([[True, False]]))
    return ["hides", "adds", "shows"][int(np.digitize(answer.item(), [0.25, 0.9]))]


@polarity.mistake
def everything_true(attend):
    """Who shows what is True and who adds it look alike here: ask with one True beside one False."""
    X = np.zeros((2, 1))
    answer = attend(X[:1], X, np.array([[1.0], [0]]), np.array([[True, True]]))
    return "hides" if answer.item() == 0 else "shows"


@polarity.mistake
def changed_is_shown(attend):
    """Both that hide something change the output: whether it changes does not tell which key is left."""
    X = np.zeros((2, 1))
    answer = attend(X[:1], X, np.array([[1.0], [0]]), np.array([[True, False]]))
    return "shows" if answer.item() in (0, 1) else "adds"


@polarity.mistake
def read_backwards(attend):
    """The key whose value came out is the one that is seen: you read it the other way round."""
    return {"shows": "hides", "hides": "shows", "adds": "adds"}[polarity.solution(attend)]


def keys_counted(trial):
    """Evidence: which keys the last query sees, in the count that is given."""
    window, causal = trial.inputs.values()
    ahead = "" if causal else f", and up to {window - 1} ahead"
    return (
        f"A window of {window} with the query itself in it reaches {window - 1} back{ahead}. "
        f"You give {show(trial.given[0])}."
    )


@exercise(
    cases=[(2, True), (1, True), (7, False), (2, False)],
    evidence=keys_counted,
    worth_trying="a model of 32 layers that was moved without the 1. How many tokens farther does it see?",
)
def bounds_of_window(window, causal):
    """A window that counts the query itself has w − 1 keys beside it."""
    return np.array([window - 1, 0 if causal else window - 1])


@bounds_of_window.mistake
def number_as_it_is(window, causal):
    """A key more than before: one library counts the query in its window, the other does not."""
    return np.array([window, 0 if causal else window])


@bounds_of_window.mistake
def the_wrong_way(window, causal):
    """Two keys more: the query itself has to be taken off, not added."""
    return np.array([window + 1, 0 if causal else window + 1])


@bounds_of_window.mistake
def ahead_when_causal(window, causal):
    """The bound ahead is 0 where the mask is causal."""
    return np.array([window - 1, window - 1])


@bounds_of_window.mistake
def never_ahead(window, causal):
    """Without the causal flag a window reaches to both sides."""
    return np.array([window - 1, 0])


@bounds_of_window.mistake
def halved(window, causal):
    """The number is the reach to each side, and not the width of the whole band."""
    return np.array([window - 1, 0] if causal else [(window - 1) // 2] * 2)


def top_left(Q, K, V):
    return masked_attention(Q, K, V, np.tri(len(Q), len(K), dtype=bool))


def bottom_right(Q, K, V):
    return masked_attention(Q, K, V, np.tri(len(Q), len(K), len(K) - len(Q), dtype=bool))


def no_triangle(Q, K, V):
    return attention(Q, K, V)


def two_by_four(trial):
    """Evidence: what the box makes of two queries and four keys."""
    Q, K = np.zeros((2, 1)), np.zeros((4, 1))
    seen = trial.inputs["attend"](Q, K, np.eye(4)) > 0
    rows = " and ".join(str(int(n)) for n in seen.sum(1))
    return f"Of four keys its two queries see {rows}. You say {trial.given[0]}."


@exercise(
    cases=[(top_left,), (bottom_right,), (no_triangle,)],
    evidence=two_by_four,
    worth_trying="four queries and two keys. What more do you learn of such a box there?",
)
def corner(attend):
    """Values that are rows of the identity: the output is the weights, and who sees nobody has none."""
    seen = attend(np.zeros((2, 1)), np.zeros((4, 1)), np.eye(4)) > 0
    return {(1, 2): "top left", (3, 4): "bottom right", (4, 4): "none"}[tuple(seen.sum(1).tolist())]


@corner.mistake
def on_a_square(attend):
    """As many queries as keys: there the two corners are one, and no square can tell them apart."""
    seen = attend(np.zeros((3, 1)), np.zeros((3, 1)), np.eye(3)) > 0
    return "none" if seen.all() else "top left"


@corner.mistake
def one_query_alone(attend):
    """One query alone, at the bottom right, sees all keys, as it would without any mask."""
    seen = attend(np.zeros((1, 1)), np.zeros((4, 1)), np.eye(4)) > 0
    return "top left" if seen.sum() == 1 else "bottom right"


@corner.mistake
def last_query_only(attend):
    """The last query of a bottom right triangle sees everybody; its first one does not."""
    seen = attend(np.zeros((2, 1)), np.zeros((4, 1)), np.eye(4)) > 0
    return "top left" if seen[-1].sum() == 2 else "none"


@corner.mistake
def corners_exchanged(attend):
    """The names are exchanged: at the top left the first query stands beside the first key."""
    names = {"top left": "bottom right", "bottom right": "top left", "none": "none"}
    return names[corner.solution(attend)]


def _answered(b, h, n, m, d, empty, filling):
    """A library's output and the mask; its rows that see nobody hold `filling`."""
    rng = np.random.default_rng(n)
    mask = rng.random((b, 1, n, m)) < 0.6
    mask[..., 0] = True
    for row in empty:
        mask[row] = False
    O = rng.normal(size=(b, h, n, d))
    return np.where(mask.any(-1, keepdims=True), O, filling), mask


@exercise(
    cases=[
        _answered(1, 1, 2, 3, 1, [(0, 0, 1)], 3.0),
        _answered(2, 3, 5, 7, 2, [(0, 0, 4), (1, 0, 0)], 0.5),
        _answered(2, 1, 3, 5, 2, [(1,)], np.nan),
    ],
    worth_trying="the same for the gradients: where must the zero stand, so that none flows back either?",
)
def zeros_for_nobody(O, mask):
    """Chosen, not multiplied: 0 · NaN is NaN."""
    return np.where(mask.any(-1, keepdims=True), O, 0)


@zeros_for_nobody.mistake
def multiplied(O, mask):
    """Right for a mean; where the library gives NaN, 0 · NaN is NaN again."""
    return O * mask.any(-1, keepdims=True)


@zeros_for_nobody.mistake
def everybody_wanted(O, mask):
    """A row that misses one key is no empty row: `any` of its keys is enough."""
    return np.where(mask.all(-1, keepdims=True), O, 0)


@zeros_for_nobody.mistake
def the_rows_that_see(O, mask):
    """These are the rows that see somebody, put to zero; the others stand."""
    return np.where(mask.any(-1, keepdims=True), 0, O)


@zeros_for_nobody.mistake
def all_nan_to_zero(O, mask):
    """NaN becomes 0, and a mean stays a mean; and a NaN that is none of the mask's business would be lost."""
    return np.nan_to_num(O)


@zeros_for_nobody.mistake
def as_it_was(O, mask):
    """This is what the library gave."""
    return O
