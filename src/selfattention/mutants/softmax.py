"""Wrong `softmax(S)`."""

import numpy as np


def naive_exponentials(S):
    """The exponential as printed, without the maximum. Chapter 05."""
    with np.errstate(over="ignore", invalid="ignore"):
        E = np.exp(S)
        return E / E.sum(-1, keepdims=True)


def over_the_other_axis(S):
    """Softmax over the queries: columns sum to one. Chapter 05, pitfall 7."""
    E = np.exp(S - S.max(-2, keepdims=True))
    return E / E.sum(-2, keepdims=True)


def over_everything(S):
    """One sum for the whole matrix. Chapter 05."""
    E = np.exp(S - S.max())
    return E / E.sum()


def maximum_of_the_whole_matrix(S):
    """One maximum for all rows: rows far below it underflow to 0/0. Chapter 05."""
    with np.errstate(invalid="ignore"):
        E = np.exp(S - S.max())
        return E / E.sum(-1, keepdims=True)


def powers_of_two(S):
    """2 to the score instead of e to the score: a temperature of 1 / ln 2. Chapter 05."""
    E = np.exp2(S - S.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True)


def sum_forgotten(S):
    """Not divided by the row sum: the largest weight is always 1. Chapter 05."""
    return np.exp(S - S.max(-1, keepdims=True))


def divided_by_their_sum(S):
    """Scores divided by their sum, without exponentials: shares may be negative. Chapter 05."""
    return S / S.sum(-1, keepdims=True)
