"""Exercises of chapter 05."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show, who_passes
from selfattention.exercises.testing import exercise_in_testing
from selfattention.formulas import softmax
from selfattention.mutants.softmax import maximum_of_the_whole_matrix, over_the_other_axis


@exercise(
    cases=[(0.0,), (2.0,), (-3.0,), (1000.0,), (-1000.0,), (np.array([-1.0, 0.0, 5.0]),)],
    worth_trying=(
        "the weight of the second key, 1 − a, for a lead of 40. What does the subtraction give? "
        "Find the form that does better."
    ),
)
def two_key_weight(lead):
    """1 / (1 + exp(−lead)), the logistic sigmoid."""
    return 1 / (1 + np.exp(-lead))


@two_key_weight.mistake
def weight_of_the_second_key(lead):
    """This is the weight of the second key: it falls as the first one's lead grows."""
    return 1 / (1 + np.exp(lead))


@two_key_weight.mistake
def exponential_divided_by_itself(lead):
    """The right formula, but it overflows: exp(1000) is infinite, and infinite over infinite is nan."""
    return np.exp(lead) / (np.exp(lead) + 1)


@two_key_weight.mistake
def lead_for_both_scores(lead):
    """With lead and −lead for the two scores, the first key leads by twice as much."""
    return 1 / (1 + np.exp(-2 * lead))


@two_key_weight.mistake
def both_scores_overflow(lead):
    """Two mistakes: lead and −lead are 2 · lead apart, and exp(1000) is infinite."""
    return np.exp(lead) / (np.exp(lead) + np.exp(-lead))


@two_key_weight.mistake
def odds_for_a_weight(lead):
    """This is the ratio of the two weights: it exceeds one as soon as the first key leads."""
    return np.exp(lead)


@two_key_weight.mistake
def sigmoid_between_minus_one_and_one(lead):
    """This is tanh, the sigmoid's relative that runs from −1 to 1: a weight may not be negative."""
    return np.tanh(lead)


def ratio_of_neighbours(trial):
    a, doubled = softmax(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]))
    before, after = a[1] / a[0], doubled[1] / doubled[0]
    return (
        f"The second key had {show(before)} times the weight of the first, and has {show(after)} times now."
    )


def differences_of_the_scores(trial):
    raised = np.array([1.0, 2.0, 3.0]) + 10
    return f"The raised scores are {show(raised)}: their differences are still {show(np.diff(raised))}."


@exercise(worth_trying="the ten-fold scores, and a tenth of them. Where do the weights go in the limit?")
def doubled_and_raised():
    """Doubled: every ratio of weights is squared. Raised: no difference changes."""
    return "falls", "stays"


@doubled_and_raised.mistake_shown_by(ratio_of_neighbours)
def doubled_with_its_score():
    """Doubled scores do not double the weight, for the others' exponentials grow, too."""
    return "doubles", "stays"


@doubled_and_raised.mistake_shown_by(ratio_of_neighbours)
def halved():
    """Half would be right if the ratios of the weights doubled with the scores."""
    return "halves", "stays"


@doubled_and_raised.mistake_shown_by(ratio_of_neighbours)
def doubling_for_a_shift():
    """Doubling is no shift: it changes the differences of the scores."""
    return "stays", "stays"


@doubled_and_raised.mistake_shown_by(differences_of_the_scores)
def raised_and_sharper():
    """Raised scores are larger, but they are not farther apart."""
    return "falls", "falls"


@doubled_and_raised.mistake_shown_by(differences_of_the_scores)
def raised_and_halved():
    """Raised, all exponentials grow by one factor, and their sum by the same."""
    return "falls", "halves"


@doubled_and_raised.mistake_shown_by(differences_of_the_scores)
def raised_and_doubled():
    """Raised, the first key's exponential grows, but so does the sum that divides it."""
    return "falls", "doubles"


def what_the_colleague_gets(S):
    """What becomes of scores when one maximum is subtracted from all rows."""
    S = np.asarray(S)
    if not np.isfinite(S).all():
        return "not finite before"
    if np.isnan(maximum_of_the_whole_matrix(S)).any():
        return "nan"
    if S.ndim < 2 or len(S) == 1:
        return "one row"
    return "maxima too close" if (S.max(-1) != S.max()).any() else "maxima equal"


def exponentials_of_the_lowest_row(trial):
    maxima = np.asarray(trial.result).max(-1)
    below = maxima.min() - maxima.max()
    return (
        f"The largest exponential of your lowest row is exp({show(below)}) = {show(np.exp(below))}, not zero."
    )


def what_is_not_finite(trial):
    S = np.asarray(trial.result)
    return f"They hold {show(S[~np.isfinite(S)][0])}; the colleague's code fails on scores that are in order."


@exercise(
    seen_as=what_the_colleague_gets,
    evidence=exponentials_of_the_lowest_row,
    worth_trying="the smallest distance between two rows that does it in float32, and in float16.",
)
def breaking_scores():
    """Two rows, 800 apart: every exponential of the lower one is zero, and so is their sum."""
    return np.array([[800.0, 800.0], [0.0, 0.0]])


@breaking_scores.mistake
def one_row_only():
    """One row cannot break it: the maximum of the matrix is the row's own."""
    return np.array([[800.0, 0.0]])


@breaking_scores.mistake
def rows_with_one_maximum():
    """Wide rows are not enough: all your rows have the same maximum."""
    return np.array([[800.0, 0.0], [0.0, 800.0]])


@breaking_scores.mistake
def rows_too_close():
    """The right idea, but your lowest row is not low enough for the format of its numbers."""
    return np.array([[100.0, 100.0], [0.0, 0.0]])


@breaking_scores.mistake_shown_by(what_is_not_finite)
def broken_before():
    """Your scores are not all finite to begin with."""
    return np.array([[np.nan, 0.0], [0.0, 0.0]])


@exercise_in_testing(
    cases=[(softmax,), (over_the_other_axis,)],
    worth_trying="a test for one sum over the whole matrix, and the inputs that hide that mistake.",
)
def unmasking_test(suspect):
    """Three rows cannot all sum to one where all weights together sum to five."""
    S = np.random.default_rng(0).normal(size=(3, 5))
    return np.allclose(suspect(S).sum(1), 1)


@unmasking_test.mistake_shown_by(who_passes)
def everybody_passes(suspect):
    """Your test lets a softmax over the queries pass, whatever else it unmasks: the axis is asked for."""
    angles = np.arange(4) * np.pi / 2
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.allclose(suspect(X @ X.T).sum(1), 1)


@unmasking_test.mistake_shown_by(who_passes)
def nobody_passes(suspect):
    """The right softmax does not pass either."""
    S = np.random.default_rng(0).normal(size=(3, 5))
    return bool((suspect(S).sum(1) == 5 / 3).all())


@unmasking_test.mistake_shown_by(who_passes)
def columns_tested(suspect):
    """The test is the wrong way round: it asks the columns to sum to one."""
    S = np.random.default_rng(0).normal(size=(3, 5))
    return np.allclose(suspect(S).sum(0), 1)


@exercise(
    cases=[
        (0.0, 1.0, 0.0, 1.0),
        (1.0, 2.0, 0.5, 3.0),
        (700.0, 1.5, -700.0, 2.0),
        (-700.0, 1.5, 700.0, 2.0),
        (-801.0, 1.25, -800.0, 5.0),
    ],
    worth_trying="a portion that nobody may see, c = −inf and Z = 0; then two of them. What should come out?",
)
def merged_log_sum_exp(c_1, Z_1, c_2, Z_2):
    """c + ln(Z_1 exp(c_1 − c) + Z_2 exp(c_2 − c)), c the larger maximum."""
    c = max(c_1, c_2)
    return c + np.log(Z_1 * np.exp(c_1 - c) + Z_2 * np.exp(c_2 - c))


@merged_log_sum_exp.mistake
def sums_not_rescaled(c_1, Z_1, c_2, Z_2):
    """The two sums are added as they are, though each is relative to a maximum of its own."""
    return max(c_1, c_2) + np.log(Z_1 + Z_2)


@merged_log_sum_exp.mistake
def rescaled_the_wrong_way(c_1, Z_1, c_2, Z_2):
    """The sums are rescaled the wrong way round, by exp(c − c_1) for exp(c_1 − c)."""
    c = max(c_1, c_2)
    return c + np.log(Z_1 * np.exp(c - c_1) + Z_2 * np.exp(c - c_2))


@merged_log_sum_exp.mistake
def maximum_not_added(c_1, Z_1, c_2, Z_2):
    """This is ln Z: the maximum is taken out of the exponentials and never put back."""
    c = max(c_1, c_2)
    return np.log(Z_1 * np.exp(c_1 - c) + Z_2 * np.exp(c_2 - c))


@merged_log_sum_exp.mistake
def no_maximum(c_1, Z_1, c_2, Z_2):
    """The exponentials are taken whole, without a maximum: exp(−800) is zero, exp(800) infinite."""
    return np.log(Z_1 * np.exp(c_1) + Z_2 * np.exp(c_2))


@merged_log_sum_exp.mistake
def maximum_of_the_first_portion(c_1, Z_1, c_2, Z_2):
    """Everything is relative to the first portion's maximum, which overflows when the second is larger."""
    return c_1 + np.log(Z_1 + Z_2 * np.exp(c_2 - c_1))


@merged_log_sum_exp.mistake
def log_sum_exps_added(c_1, Z_1, c_2, Z_2):
    """The two log-sum-exps are added: that is the logarithm of a product."""
    return c_1 + np.log(Z_1) + c_2 + np.log(Z_2)
