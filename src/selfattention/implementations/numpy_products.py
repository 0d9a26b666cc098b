"""X @ W for the few rows of X that decoding has, and for weights of eight bits: what stands for a matrix.

    model.with_matrices(numpy_products.Floats)          the weights as they are, not copied
    model.with_matrices(numpy_products.EightBits.of)    a quarter of their bytes

A step of decoding multiplies one row with every weight of the model. There are two operations for each
weight, and so nothing to gain but by reading: in the order in which the weights lie there, each once.
A library's product of matrices first copies the weights into a better order, for rows that do not come:
with two rows it takes more than twice its time with one, and that is not the time of reading, either.
So W must lie in memory output by output, as files keep it: W.T is in order there, W only a view of it.
Then each output is a dot product of neighbouring numbers. `numba_products` computes the same, faster.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

FEW = 8  # rows; with more, the library's product is faster
LARGEST = 127  # −128 is left out: then −w has the code of w, with the other sign
AT_A_TIME = 2**20  # codes that are made floats at once, so that the weights never stand there twice


@dataclass(frozen=True, eq=False)
class Floats:
    """A matrix W (in, out), as it is: for X @ W alone."""

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
        """X W, X (…, in); for few rows dot product by dot product, each weight read once for all of them."""
        weights = self.W.T
        if not few_rows(X, weights):
            return X @ self.W
        Y = np.empty((*X.shape[:-1], len(weights)), np.result_type(X, weights))
        np.vecdot(weights[:, None], X.reshape(-1, X.shape[-1]), out=Y.reshape(-1, len(weights)).T)
        return Y


def few_rows(X: np.ndarray, weights: np.ndarray) -> bool:
    """Has X (…, in) few rows, and do they fit to weights (out, in) that lie in order?"""
    fits = X.ndim > 0 and X.shape[-1] == weights.shape[1] > 0 and weights.flags.c_contiguous
    return fits and X.size <= FEW * X.shape[-1]


@dataclass(frozen=True, eq=False)
class EightBits:
    """W ≈ (codes · steps)ᵀ: a whole number from −127 to 127 for each weight, a step for each output."""

    codes: np.ndarray  # (out, in), int8
    steps: np.ndarray  # (out,), in the dtype of W

    __array_ufunc__ = None  # `X @ W` is for W to answer

    @classmethod
    def of(cls, W: np.ndarray) -> Self:
        """step_j = max_i abs(W_ij) / 127,  code_ji = W_ij / step_j, rounded: off by half a step at most.

        W (in, out). Raises ValueError where that is no matrix of finite numbers.
        """
        if W.ndim != 2 or not np.isfinite(W).all():
            raise ValueError(f"W has shape {W.shape}; wanted (in, out), and finite numbers only")
        steps = np.abs(W).max(0, initial=0) / W.dtype.type(LARGEST)
        steps[steps == 0] = 1  # of zeros any step makes zeros
        codes = np.empty(W.shape[::-1], np.int8)
        np.rint(W.T / steps[:, None], out=codes, casting="unsafe")
        return cls(codes, steps)

    @property
    def shape(self) -> tuple[int, int]:
        """(in, out), that of W."""
        return self.codes.shape[1], self.codes.shape[0]

    @property
    def nbytes(self) -> int:
        """Of the codes and the steps."""
        return self.codes.nbytes + self.steps.nbytes

    def restored(self) -> np.ndarray:
        """W (in, out), as near as its codes tell."""
        return (self.codes * self.steps[:, None]).T

    def __rmatmul__(self, X: np.ndarray) -> np.ndarray:
        """X W, X (…, in), in pieces: the product with the codes first, then the steps."""
        Y = np.empty((*X.shape[:-1], self.shape[1]), X.dtype)
        size = max(1, AT_A_TIME // max(1, self.shape[0]))
        for start in range(0, self.shape[1], size):
            part = slice(start, start + size)
            np.matmul(X, self.codes[part].T.astype(X.dtype), out=Y[..., part])
        Y *= self.steps
        return Y
