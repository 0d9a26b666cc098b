"""X W for the few rows of X that decoding has: each weight is read once, as fast as memory gives it.

A step of decoding multiplies one row with every weight of the model. There are two operations for every
weight, and so nothing to gain but by reading: in the order in which the weights lie there, each once,
in as few bits as will do. A library's product of matrices first copies the weights into a better order,
for rows that do not come: with two rows it takes more than twice its time with one. So W must lie
in memory output by output, as files keep it: W.T is in order there, W is only a view of it.

A dot product is summed in whatever order fills the processor's vectors. For that Numba needs leave;
leave to take no number for NaN or ∞ it does not get.
"""

import numpy as np

from selfattention.extras import needed
from selfattention.implementations import numpy_products
from selfattention.implementations.numpy_products import EightBits

with needed():
    from numba import njit

FEW = 8  # rows; for more, the library's product is faster
AT_A_TIME = 4  # rows that stay in the nearest cache while the weights stream past them
IN_ANY_ORDER = {"reassoc", "contract", "nsz"}


def product(X: np.ndarray, W: np.ndarray | EightBits) -> np.ndarray:
    """X W, X (…, in), W (in, out): for few rows each weight is read once, where W.T is in order.

    Otherwise, and for other dtypes than float32 and float64, that of NumPy.
    """
    weights = W.codes if isinstance(W, EightBits) else W.T
    rows = X.size // max(1, weights.shape[1])
    if not (rows <= FEW and weights.flags.c_contiguous and _known(X, W) and X.shape[-1] == weights.shape[1]):
        return numpy_products.product(X, W)
    flat = np.ascontiguousarray(X).reshape(rows, weights.shape[1])
    Y = np.empty((rows, len(weights)), X.dtype)
    if isinstance(W, EightBits):
        _eight_bits(flat, weights, W.steps, Y)
    else:
        _dots(flat, weights, Y)
    return Y.reshape(*X.shape[:-1], len(weights))


def _known(X, W):
    return X.dtype in (np.float32, np.float64) and X.dtype == (W.steps if isinstance(W, EightBits) else W).dtype


@njit(fastmath=IN_ANY_ORDER, nogil=True)
def _dots(X, weights, Y):
    for first in range(0, len(X), AT_A_TIME):
        for i in range(len(weights)):
            for row in range(first, min(first + AT_A_TIME, len(X))):
                total = X.dtype.type(0)
                for w, x in zip(weights[i], X[row]):  # noqa: B905 (Numba knows no `strict`)
                    total += w * x
                Y[row, i] = total


@njit(fastmath=IN_ANY_ORDER, nogil=True)
def _eight_bits(X, codes, steps, Y):
    for first in range(0, len(X), AT_A_TIME):
        for i in range(len(codes)):
            for row in range(first, min(first + AT_A_TIME, len(X))):
                total = X.dtype.type(0)
                for code, x in zip(codes[i], X[row]):  # noqa: B905
                    total += X.dtype.type(code) * x
                Y[row, i] = total * steps[i]
