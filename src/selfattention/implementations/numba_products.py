"""X @ W for the few rows of X that decoding has: each weight is read once, as fast as memory gives it.

    model.with_matrices(numba_products.Floats)      the weights as they are, not copied
    model.with_matrices(numba_products.EightBits.of)

A step of decoding multiplies one row with every weight of the model. There are two operations for each
weight, and so nothing to gain but by reading: in the order in which the weights lie there, each once,
in as few bits as will do. A library's product of matrices first copies the weights into a better order,
for rows that do not come: with two rows it takes more than twice its time with one. So W must lie in
memory output by output, as files keep it: W.T is in order there, and W only a view of it.

A dot product is summed in whatever order fills the processor's vectors. For that Numba needs leave;
leave to suppose that there is no NaN and no ∞ it does not get.
"""

from dataclasses import dataclass

import numpy as np

from selfattention.extras import needed
from selfattention.implementations import numpy_products

with needed():
    from numba import njit

FEW = 8  # rows; with more, the library's product is faster
AT_A_TIME = 4  # rows that stay in the nearest cache while the weights stream past them
IN_ANY_ORDER = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True, eq=False)
class Floats:
    """A matrix W (in, out) of float32 or float64; a view of it, for X @ W."""

    W: np.ndarray

    __array_ufunc__ = None  # `X @ W` is for W to answer

    @property
    def shape(self) -> tuple[int, int]:
        """(in, out)."""
        return self.W.shape

    @property
    def nbytes(self) -> int:
        """Of W."""
        return self.W.nbytes

    def __rmatmul__(self, X: np.ndarray) -> np.ndarray:
        """X W, X (…, in). Many rows, and whatever Numba has no loop for, are NumPy's."""
        weights = self.W.T
        if not (_few_rows(X, weights) and X.dtype == weights.dtype):
            return X @ self.W
        return _flattened(_dots, X, weights)


class EightBits(numpy_products.EightBits):
    """The same as NumPy's, the few rows of decoding as fast as memory gives the codes."""

    def __rmatmul__(self, X: np.ndarray) -> np.ndarray:
        """X W, X (…, in)."""
        if not (_few_rows(X, self.codes) and X.dtype == self.steps.dtype):
            return super().__rmatmul__(X)
        return _flattened(_scaled_dots, X, self.codes, self.steps)


def _few_rows(X, weights):
    """Do a few rows of a dtype that Numba knows fit to weights (out, in), which lie in order?"""
    fits = X.ndim > 0 and X.shape[-1] == weights.shape[1] > 0 and weights.flags.c_contiguous
    return fits and X.size <= FEW * X.shape[-1] and X.dtype in (np.float32, np.float64)


def _flattened(loop, X, weights, *steps):
    """X (…, in) as rows of one matrix, and the answer with its axes again."""
    Y = np.empty((*X.shape[:-1], len(weights)), X.dtype)
    loop(np.ascontiguousarray(X).reshape(-1, X.shape[-1]), weights, *steps, Y.reshape(-1, len(weights)))
    return Y


@njit(fastmath=IN_ANY_ORDER, nogil=True)
def _dots(X, weights, Y):
    for first in range(0, len(X), AT_A_TIME):
        for i in range(len(weights)):
            w = weights[i]
            for row in range(first, min(first + AT_A_TIME, len(X))):
                x, total = X[row], X.dtype.type(0)
                for j in range(len(x)):
                    total += w[j] * x[j]
                Y[row, i] = total


@njit(fastmath=IN_ANY_ORDER, nogil=True)
def _scaled_dots(X, codes, steps, Y):
    for first in range(0, len(X), AT_A_TIME):
        for i in range(len(codes)):
            w = codes[i]
            for row in range(first, min(first + AT_A_TIME, len(X))):
                x, total = X[row], X.dtype.type(0)
                for j in range(len(x)):
                    total += X.dtype.type(w[j]) * x[j]
                Y[row, i] = total * steps[i]
