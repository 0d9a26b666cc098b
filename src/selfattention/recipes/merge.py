"""Two halves of the keys put together in parts: O and L of O_1, L_1, O_2, L_2."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import merge_states as wrong
from selfattention.recipes.recipe import Known, Mistake


def of_both(L_1, L_2):
    return np.logaddexp(L_1, L_2)


def share(L_1, L_2):
    """Of the first half; an empty one has none."""
    return np.where(np.isneginf(L_1) & np.isneginf(L_2), 0, 1 / (1 + np.exp(L_2 - L_1)))


def weighted(w_1, w_2, O_1, O_2):
    return w_1[..., None] * O_1 + w_2[..., None] * O_2


def in_order(p, O_1, L_1, O_2, L_2):
    return weighted(p.share(L_1, L_2), p.share(L_2, L_1), O_1, O_2), p.total(L_1, L_2)


@dataclass(frozen=True)
class Merge:
    """(O, L) of two outputs and their log-sum-exps, natural logarithms."""

    share: Callable = share
    total: Callable = of_both
    order: Callable = in_order

    def __call__(self, O_1, L_1, O_2, L_2):
        standing = L_1.ndim == O_1.ndim  # (…, n, 1)
        L_1, L_2 = (L[..., 0] if standing else L for L in (L_1, L_2))
        O, L = self.order(self, O_1, L_1, O_2, L_2)
        return O, L[..., None] if standing else L


# The parts that people write instead.


def alike(L_1, L_2):
    """The two outputs are averaged as equals, however much attention went to either half. Chapter 13."""
    return np.full_like(L_1, 0.5)


def ones(L_1, L_2):
    """The outputs are added: each is an average already. Chapter 13."""
    return np.ones_like(L_1)


def the_others(L_1, L_2):
    """Each output has the weight of the other. Chapter 13."""
    return 1 / (1 + np.exp(L_1 - L_2))


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


def guarded(part):
    """The same for whoever has thought of two empty halves."""
    return lambda L_1, L_2: np.where(np.isneginf(L_1) & np.isneginf(L_2), 0, part(L_1, L_2))


def all_whole(p, O_1, L_1, O_2, L_2):
    Z_1, Z_2 = np.exp(L_1), np.exp(L_2)
    return weighted(Z_1 / (Z_1 + Z_2), Z_2 / (Z_1 + Z_2), O_1, O_2), np.log(Z_1 + Z_2)


def nobody_twice(p, O_1, L_1, O_2, L_2):
    c = np.maximum(L_1, L_2)
    a_1, a_2 = np.exp(L_1 - c), np.exp(L_2 - c)
    return weighted(a_1 / (a_1 + a_2), a_2 / (a_1 + a_2), O_1, O_2), c + np.log(a_1 + a_2)


def all_to_base_two(p, O_1, L_1, O_2, L_2):
    return weighted(to_base_two(L_1, L_2), to_base_two(L_2, L_1), O_1, O_2), np.logaddexp2(L_1, L_2)


def sum_in_base_two(L_1, L_2):
    """L = log₂ Σ 2^(L_t): the logarithms are those of another kernel. Chapter 16."""
    return np.logaddexp2(L_1, L_2)


SHARES = alike, ones, the_others, logarithms, to_base_two, whole_exponentials, from_the_maximum_alone
TOTALS = added, larger, whole_sum, through_the_sigmoid, shifted_by_the_maximum, sum_in_base_two
MISTAKES = (
    *(Mistake("share", part, part) for part in (*SHARES, nan_if_both_are_empty)),
    *(Mistake("share", guarded(part), part) for part in SHARES),
    *(Mistake("total", part, part) for part in TOTALS),
    Mistake("order", all_whole, whole_exponentials),
    Mistake("order", nobody_twice, wrong.minus_infinity_from_minus_infinity),
    Mistake("order", all_to_base_two, to_base_two),
)
MERGE = Known("merge of two halves", Merge(), MISTAKES)
