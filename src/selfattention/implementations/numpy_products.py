"""X W with the weights W of a trained model, in float32 or in eight bits, as NumPy writes it.

`numba_products` computes the same at the speed of the memory for the few rows that decoding has.
"""

from dataclasses import dataclass

import numpy as np

LARGEST = 127  # −128 is left out: then −w has the code of w, with the other sign
AT_A_TIME = 2**20  # codes that are made floats at once, so that the weights never stand there twice


@dataclass(frozen=True, eq=False)
class EightBits:
    """W ≈ (codes · steps)ᵀ: a whole number from −127 to 127 for each weight, a step for each output."""

    codes: np.ndarray  # (out, in), int8
    steps: np.ndarray  # (out,)

    @property
    def shape(self) -> tuple[int, int]:
        """(in, out), that of W."""
        return self.codes.shape[::-1]

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.steps.nbytes

    def columns(self, j) -> np.ndarray:
        """The columns of W at j, as rows: those of an embedding are its tokens."""
        return self.codes[j] * self.steps[j, None]


def eight_bits(W: np.ndarray) -> EightBits:
    """step_j = max_i |W_ij| / 127,  code = W_ij / step_j, rounded: off by half a step at most.

    W (in, out), finite; for a column of zeros any step is right. Raises ValueError where W is no matrix
    of finite numbers.
    """
    if W.ndim != 2 or not np.isfinite(W).all():
        raise ValueError(f"W has shape {W.shape}; wanted (in, out), and finite numbers only")
    steps = np.abs(W).max(0, initial=0) / W.dtype.type(LARGEST)
    steps[steps == 0] = 1
    codes = np.empty(W.shape[::-1], np.int8)
    np.rint(W.T / steps[:, None], out=codes, casting="unsafe")
    return EightBits(codes, steps)


def product(X: np.ndarray, W: np.ndarray | EightBits) -> np.ndarray:
    """X W, X (…, in), W (in, out)."""
    if not isinstance(W, EightBits):
        return X @ W
    Y = np.empty((*X.shape[:-1], W.shape[1]), X.dtype)
    size = max(1, AT_A_TIME // max(1, W.shape[0]))
    for start in range(0, W.shape[1], size):
        part = slice(start, start + size)
        np.matmul(X, W.codes[part].T.astype(X.dtype), out=Y[..., part])
    Y *= W.steps
    return Y
