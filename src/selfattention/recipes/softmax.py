"""A softmax in parts: A = exp(S − c) / Z, the maximum c and the sum Z along one axis."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import attention as wrong_attention
from selfattention.mutants import multi_head_attention as wrong_heads
from selfattention.mutants import softmax as wrong
from selfattention.recipes.recipe import Convention, Known, Mistake, Order

# The parts, each as it should be.


def as_it_is(x):
    return x


def over_the_keys(S):
    return -1


def its_maximum(S, axis):
    return S.max(axis, keepdims=True)


def its_sum(E, axis, c):
    return E.sum(axis, keepdims=True)


def exponentials_shared(p, S):
    S = p.look(S)
    axis = p.axis(S)
    c = p.shift(S, axis)
    E = p.power(S - c)
    return p.finish(E / p.divisor(E, axis, c))


@dataclass(frozen=True)
class Softmax:
    """A (…, n, m) of S (…, n, m)."""

    look: Callable = as_it_is
    axis: Callable = over_the_keys
    shift: Callable = its_maximum
    power: Callable = np.exp
    divisor: Callable = its_sum
    finish: Callable = as_it_is
    order: Callable = exponentials_shared

    def __call__(self, S):
        return self.order(self, S)


# The parts that people write instead.


def over_the_queries(S):
    return -2


def over_the_heads(S):
    return (-3, np.nan)[S.ndim < 4]  # an axis that there is not raises, and explains nothing


def over_the_batch(S):
    return (-S.ndim, np.nan)[S.ndim < 3]


def over_the_matrix(S):
    return -2, -1


def over_all(S):
    return None


def no_maximum(S, axis):
    return 0


def maximum_of_all(S, axis):
    return S.max()


def maximum_from_zero(S, axis):
    """A running maximum that begins at 0, not at −∞: rows of low scores become 0/0. Chapter 13."""
    return np.maximum(S.max(axis, keepdims=True), 0)


def minimum(S, axis):
    """The minimum subtracted instead of the maximum: the exponentials overflow. Chapter 05."""
    return S.min(axis, keepdims=True)


def one(E, axis, c):
    return 1


def sums_lying_down(E, axis, c):
    """The sums have lost their axis, without keepdims, and divide the columns. Chapter 01."""
    return E.sum(axis)


def one_more(E, axis, c):
    """A one added to the sum, or another small number that is none: rows sum to less than one. Chapter 05."""
    return E.sum(axis, keepdims=True) + 1


def sum_with_nobody(E, axis, c):
    """A one in the sum, exp(s) / (1 + Σ exp(s)), so that a row may keep its weight. Chapter 15."""
    return E.sum(axis, keepdims=True) + np.exp(-c)


def zeros_hidden(S):
    """A score of exactly 0 taken for a hidden key. Chapter 10."""
    return np.where(S == 0, -np.inf, S)


def zeros_drowned(S):
    return np.where(S == 0, -1e9, S)


def sign_lost(S):
    """The sign of the scores turned: who is least alike gets most. Chapter 03."""
    return -S


def again(A):
    """A softmax of the softmax: all weights are nearly equal. Chapter 05."""
    return Softmax()(A)


def logarithm(A):
    """The logarithms of the weights, `log_softmax` instead of `softmax`. Chapter 05."""
    return np.log(A)


def by_the_log_sum_exp(p, S):
    """exp(S − L): where scores are large, L is as coarse as they are."""
    S = p.look(S)
    axis = p.axis(S)
    c = p.shift(S, axis)
    return p.finish(np.exp(S - (c + np.log(p.divisor(p.power(S - c), axis, c)))))


def without_exponentials(p, S):
    return S / p.divisor(S, p.axis(S), 0)


def scores_themselves(p, S):
    return S


def alike(p, S):
    return np.full_like(S, 1 / S.shape[-1])


def best_only(p, S):
    return (np.arange(S.shape[-1]) == S.argmax(-1)[..., None]).astype(S.dtype)


def each_by_itself(p, S):
    """A sigmoid of each score instead of a softmax: rows do not sum to one. Chapter 05."""
    return 1 / (1 + np.exp(-S))


MISTAKES = (
    Mistake("axis", over_the_queries, wrong.over_the_other_axis),
    Mistake("axis", over_the_heads, wrong_heads.softmax_over_the_heads),
    Mistake("axis", over_the_batch, wrong_attention.softmax_over_the_batch),
    Mistake("axis", over_all, wrong.over_everything),
    Mistake("axis", over_the_matrix, wrong.over_everything),
    Mistake("shift", no_maximum, wrong.naive_exponentials),
    Mistake("shift", maximum_of_all, wrong.maximum_of_the_whole_matrix),
    Mistake("shift", maximum_from_zero, maximum_from_zero),
    Mistake("shift", minimum, minimum),
    Mistake("power", np.exp2, wrong.powers_of_two),
    Mistake("divisor", one, wrong.sum_forgotten),
    Mistake("divisor", sums_lying_down, sums_lying_down),
    Mistake("divisor", one_more, one_more),
    Mistake("look", zeros_hidden, zeros_hidden),
    Mistake("look", zeros_drowned, zeros_hidden),
    Mistake("look", sign_lost, sign_lost),
    Mistake("finish", again, again),
    Mistake("finish", logarithm, logarithm),
    Mistake("order", without_exponentials, wrong.divided_by_their_sum, fragile=True),
    Mistake("order", scores_themselves, wrong_attention.softmax_forgotten),
    Mistake("order", alike, wrong_attention.plain_average),
    Mistake("order", best_only, wrong_attention.most_alike_only, fragile=True),
    Mistake("order", each_by_itself, each_by_itself),
)
CONVENTIONS = (Convention("divisor", sum_with_nobody, sum_with_nobody),)
ORDERS = (Order("order", by_the_log_sum_exp, by_the_log_sum_exp),)
SOFTMAX = Known("softmax", Softmax(), MISTAKES, CONVENTIONS, orders=ORDERS)
