"""Weights of eight bits, a quarter of float32's, as something that stands where a matrix stood: X @ W.

Here in NumPy; `numba_products` computes the same, and X @ W of float32, at the speed of the memory.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

LARGEST = 127  # −128 is left out: then −w has the code of w, with the other sign
AT_A_TIME = 2**20  # codes that are made floats at once, so that the weights never stand there twice


@dataclass(frozen=True, eq=False)
class EightBits:
    """W ≈ (codes · steps)ᵀ: a whole number from −127 to 127 for each weight, a step for each output."""

    codes: np.ndarray  # (out, in), int8
    steps: np.ndarray  # (out,), in the dtype of W

    __array_ufunc__ = None  # `X @ W` is for W to answer

    @classmethod
    def of(cls, W: np.ndarray) -> Self:
        """step_j = max_i |W_ij| / 127,  code_ji = W_ij / step_j, rounded: off by half a step at most.

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
