"""Two halves of the keys put together in parts: O and L of O_1, L_1, O_2, L_2."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.recipes.recipe import Known, Mistake


def of_both(L_1, L_2):
    return np.logaddexp(L_1, L_2)


def share(L_1, L_2):
    """Of the first half; an empty one has none."""
    return np.where(np.isneginf(L_1) & np.isneginf(L_2), 0, 1 / (1 + np.exp(L_2 - L_1)))


def weighted(w_1, w_2, O_1, O_2):
    return w_1[..., None] * O_1 + w_2[..., None] * O_2


@dataclass(frozen=True)
class Merge:
    """(O, L) of two outputs and their log-sum-exps, natural logarithms."""

    share: Callable = share
    total: Callable = of_both

    def __call__(self, O_1, L_1, O_2, L_2):
        return (
            weighted(self.share(L_1, L_2), self.share(L_2, L_1), O_1, O_2),
            self.total(L_1, L_2),
        )


# The parts that people write instead.


def alike(L_1, L_2):
    """The two outputs are averaged as equals, however much attention went to either half. Chapter 13."""
    return np.full_like(L_1, 0.5)


def ones(L_1, L_2):
    """The outputs are added: each is an average already. Chapter 13."""
    return np.ones_like(L_1)


def the_others(L_1, L_2):
    """Each output has the weight of the other. Chapter 13."""
    return share(L_2, L_1)


def logarithms(L_1, L_2):
    """The outputs are weighted by L, the logarithm of what should weigh them. Chapter 13."""
    return L_1 / (L_1 + L_2)


def to_base_two(L_1, L_2):
    """2 to the power of L, not e: the logarithms are those of another kernel. Chapter 16."""
    return 1 / (1 + np.exp2(L_2 - L_1))


def whole_exponentials(L_1, L_2):
    """The exponentials of L are taken whole: exp(800) is infinite. Chapter 13."""
    return np.exp(L_1) / (np.exp(L_1) + np.exp(L_2))


def from_the_maximum_alone(L_1, L_2):
    """Rescaled and added, and not divided by the new sum. Chapter 13."""
    c = np.maximum(L_1, L_2)
    return np.where(np.isneginf(L_1), 0, np.exp(L_1 - c))


def nan_if_both_are_empty(L_1, L_2):
    """Weights exp(L_t − L): O is not a number where both halves are empty. Chapter 13."""
    return np.exp(L_1 - np.logaddexp(L_1, L_2))


def added(L_1, L_2):
    """The two log-sum-exps are added, where their exponentials should be. Chapter 13."""
    return L_1 + L_2


def larger(L_1, L_2):
    """The larger log-sum-exp is handed on: the other half's exponentials are lost. Chapter 13."""
    return np.maximum(L_1, L_2)


def whole_sum(L_1, L_2):
    """The exponentials of L are taken whole in the sum: exp(800) is infinite. Chapter 13."""
    return np.log(np.exp(L_1) + np.exp(L_2))


def through_the_sigmoid(L_1, L_2):
    """L = L_1 − ln σ(L_1 − L_2): not a number where the first half is empty. Chapter 13."""
    return L_1 + np.log1p(np.exp(L_2 - L_1))


def shifted_by_the_maximum(L_1, L_2):
    """L = c + ln Σ exp(L_t − c): not a number where both halves are empty. Chapter 13."""
    c = np.maximum(L_1, L_2)
    return c + np.log(np.exp(L_1 - c) + np.exp(L_2 - c))


SHARES = alike, ones, the_others, logarithms, to_base_two, whole_exponentials, from_the_maximum_alone
TOTALS = added, larger, whole_sum, through_the_sigmoid, shifted_by_the_maximum
MISTAKES = (
    *(Mistake("share", part, part) for part in (*SHARES, nan_if_both_are_empty)),
    *(Mistake("total", part, part) for part in TOTALS),
)
MERGE = Known("merge of two halves", Merge(), MISTAKES)
