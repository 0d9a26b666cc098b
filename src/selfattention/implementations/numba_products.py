"""The same X @ W as `numpy_products`, as fast as memory gives the weights, those of eight bits too.

NumPy asks its library for every single dot product, and has to make floats of eight bits before it
can multiply them. Compiled, both are a loop.

A dot product is summed in whatever order fills the processor's vectors. For that Numba needs leave;
leave to suppose that there is no NaN and no ∞ it does not get.
"""

import numpy as np

from selfattention.implementations import numpy_products
from selfattention.implementations.numba_cache import compiled
from selfattention.implementations.numpy_products import few_rows

AT_A_TIME = 4  # rows that stay in the nearest cache while the weights stream past them
IN_ANY_ORDER = {"reassoc", "contract", "nsz"}


class Floats(numpy_products.Floats):
    """A matrix W (in, out) of float32 or float64, as it is: for X @ W alone."""

    def __rmatmul__(self, X: np.ndarray) -> np.ndarray:
        """X W, X (…, in). Many rows, and whatever there is no loop for, are NumPy's."""
        weights = self.W.T
        if not (few_rows(X, weights) and _of(X, weights.dtype)):
            return super().__rmatmul__(X)
        return _row_by_row(_dots, X, weights)


class EightBits(numpy_products.EightBits):
    """W in eight bits, with a step for each output."""

    def __rmatmul__(self, X: np.ndarray) -> np.ndarray:
        """X W, X (…, in). Many rows, and whatever there is no loop for, are NumPy's."""
        if not (few_rows(X, self.codes) and _of(X, self.steps.dtype)):
            return super().__rmatmul__(X)
        return _row_by_row(_scaled_dots, X, self.codes, self.steps)


def _of(X, dtype):
    return X.dtype == dtype and dtype in (np.float32, np.float64)


def _row_by_row(loop, X, weights, *steps):
    """X (…, in) as rows of one matrix, and the answer with its axes again."""
    Y = np.empty((*X.shape[:-1], len(weights)), X.dtype)
    loop(np.ascontiguousarray(X).reshape(-1, X.shape[-1]), weights, *steps, Y.reshape(-1, len(weights)))
    return Y


@compiled(fastmath=IN_ANY_ORDER, nogil=True)
def _dots(X, weights, Y):
    for first in range(0, len(X), AT_A_TIME):
        for i in range(len(weights)):
            w = weights[i]
            for row in range(first, min(first + AT_A_TIME, len(X))):
                x, total = X[row], X.dtype.type(0)
                for j in range(len(x)):
                    total += w[j] * x[j]
                Y[row, i] = total


@compiled(fastmath=IN_ANY_ORDER, nogil=True)
def _scaled_dots(X, codes, steps, Y):
    for first in range(0, len(X), AT_A_TIME):
        for i in range(len(codes)):
            w = codes[i]
            for row in range(first, min(first + AT_A_TIME, len(X))):
                x, total = X[row], X.dtype.type(0)
                for j in range(len(x)):
                    total += X.dtype.type(w[j]) * x[j]
                Y[row, i] = total * steps[i]
