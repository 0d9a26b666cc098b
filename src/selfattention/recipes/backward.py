"""The backward pass of attention in parts: dQ, dK, dV of dO, Q, K, V."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import attention_backward as wrong
from selfattention.recipes.recipe import Known, Mistake
from selfattention.recipes.softmax import Softmax, as_it_is


def by_the_root(Q):
    return Q.shape[-1] ** 0.5


def of_the_softmax(A, dA):
    return A * (dA - (A * dA).sum(-1, keepdims=True))


def of_the_values(A, dO):
    return A.swapaxes(-1, -2) @ dO


def of_the_keys(dS, Q):
    return dS.swapaxes(-1, -2) @ Q


def as_they_are(*gradients):
    return gradients


@dataclass(frozen=True)
class Backward:
    """(dQ, dK, dV) of dO (…, n, d_v), Q (…, n, d_k), K (…, m, d_k), V (…, m, d_v)."""

    forward_root: Callable = by_the_root
    root: Callable = by_the_root
    softmax: Softmax = Softmax()  # noqa: RUF009 (it is frozen)
    through: Callable = of_the_softmax
    values: Callable = of_the_values
    keys: Callable = of_the_keys
    upstream: Callable = as_it_is
    returned: Callable = as_they_are

    def __call__(self, dO, Q, K, V, A=None):  # weights that are handed over are those that it makes
        A = self.softmax(Q @ K.swapaxes(-1, -2) / self.forward_root(Q))
        dO = self.upstream(dO)
        dS = self.through(A, dO @ V.swapaxes(-1, -2)) / self.root(Q)
        return self.returned(dS @ K, self.keys(dS, Q), self.values(A, dO))


# The parts that people write instead.


def one(Q):
    return 1.0


def d_k(Q):
    """1/d_k on the way back, the root forgotten. Chapter 12."""
    return float(Q.shape[-1])


def no_delta(A, dA):
    return A * dA


def nothing_at_all(A, dA):
    return dA


def diagonal(A, dA):
    return A * (1 - A) * dA


def a_matrix_product(A, dA):
    """dS = dA (A ∘ (1 − A)) as a product of matrices, where entries should meet. Chapter 12."""
    return dA @ (A * (1 - A))


def summed_jacobian(A, dA):
    """The Jacobian is summed before it meets the gradient: each sum is 0, and so is dS. Chapter 12."""
    return np.zeros_like(A)


def over_the_columns(A, dA):
    """δ is summed over the queries, where it belongs to each query. Chapter 12."""
    return A * (dA - (A * dA).sum(-2, keepdims=True))


def sign_of_delta(A, dA):
    """δ is added, not subtracted. Chapter 12."""
    return A * (dA + (A * dA).sum(-1, keepdims=True))


def not_transposed(A, dO):
    return A @ dO


def keys_not_transposed(dS, Q):
    """dK = dS Q instead of dSᵀ Q: no error where n = m. Chapter 12."""
    return dS @ Q


def by_the_batch(dO):
    """All gradients are divided by the batch's size: whoever wrote the loss has done so. Chapter 12."""
    return dO / len(dO) if dO.ndim > 2 else dO


def exchanged(dQ, dK, dV):
    return dK, dQ, dV


def values_first(dQ, dK, dV):
    """The gradients are returned in another order: dV, dK, dQ. Chapter 12."""
    return dV, dK, dQ


MISTAKES = (
    Mistake("through", no_delta, wrong.delta_forgotten),
    Mistake("through", nothing_at_all, wrong.softmax_skipped),
    Mistake("through", diagonal, wrong.diagonal_of_the_jacobian),
    Mistake("through", a_matrix_product, a_matrix_product),
    Mistake("through", summed_jacobian, summed_jacobian),
    Mistake("through", over_the_columns, over_the_columns),
    Mistake("through", sign_of_delta, sign_of_delta),
    Mistake("root", one, wrong.scale_forgotten),
    Mistake("root", d_k, d_k),
    Mistake("values", not_transposed, wrong.weights_not_transposed),
    Mistake("keys", keys_not_transposed, keys_not_transposed),
    Mistake("upstream", by_the_batch, by_the_batch),
    Mistake("returned", exchanged, wrong.queries_and_keys_exchanged),
    Mistake("returned", values_first, values_first),
)
BACKWARD = Known("backward pass of attention", Backward(), MISTAKES)
