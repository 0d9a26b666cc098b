"""The yardstick of `test_implementations.py`: attention by definition, sharing no code with the package.

Masks are spelt out here as nested loops over positions, keys are copied per head, and the
gradients are autograd's. Slow, and plain enough to be believed.
"""

from dataclasses import dataclass

import numpy as np
import torch

from selfattention import masks


@dataclass(frozen=True)
class Case:
    """One call of the contract: sizes, a mask by name, whether there is a bias, a stretch of the queries,
    whether each key scores higher than the one before, and the size of what all keys have in common."""

    b: int = 2
    h: int = 6
    g: int = 6
    n: int = 5
    m: int = 7
    d_k: int = 3
    d_v: int = 11
    mask: str = "none"
    bias: bool = False
    stretch: float = 1.0
    rising: bool = False
    common: float = 0.0

    def __str__(self):
        return f"{self.b}x{self.h}/{self.g}x{self.n}x{self.m}x{self.d_k}/{self.d_v}-{self.mask}" + (
            "-bias" * self.bias
            + f"-x{self.stretch:g}" * (self.stretch != 1)
            + "-rising" * self.rising
            + f"-common{self.common:g}" * (self.common != 0)
        )

    def inputs(self):
        """Q, K, V, dO and the bias or None, float64, the same every time."""
        rng = np.random.default_rng(0)
        b, h, g, n, m = self.b, self.h, self.g, self.n, self.m
        shapes = [(b, h, n, self.d_k), (b, g, m, self.d_k), (b, g, m, self.d_v), (b, h, n, self.d_v)]
        Q, K, V, dO = (rng.normal(size=shape) for shape in shapes)
        if self.rising:
            Q[..., 0], K[..., 0] = 1 + abs(Q[..., 0]), np.linspace(0, 3, m)
        return Q * self.stretch, K + self.common, V, dO, rng.normal(size=(h, n, m)) if self.bias else None

    def lengths(self):
        return np.arange(self.b) * self.m // self.b  # the first is 0: nobody may see anything

    def ids(self):
        return np.arange(max(self.n, self.m)) // 3

    def rule(self):
        """The mask as the package says it."""
        return {
            "none": None,
            "causal": masks.causal,
            "bottom_right": masks.bottom_right(masks.causal, self.n, self.m),
            "window": masks.causal & masks.window(3),
            "prefix": masks.causal | masks.prefix(2),
            "padding": masks.padding(self.lengths()),
            "documents": masks.documents(self.ids()) & masks.causal,
            "before": masks.bottom_right(masks.documents(self.ids()[: self.m]), self.n, self.m),
            "heads": masks.Table(self.visible()[0] if self.mask == "heads" else [[True]]) & masks.causal,
            "nobody": ~masks.everybody,
            "array": self.visible() if self.mask == "array" else None,
        }[self.mask]

    def visible(self):
        """The mask by definition: booleans (b, 1 or h, n, m), position by position."""
        ids, lengths = self.ids(), self.lengths()
        if self.mask == "heads":  # one for each head
            table = [
                [[(i + h) % 3 > 0 and j <= i for j in range(self.m)] for i in range(self.n)]
                for h in range(self.h)
            ]
            return np.tile(np.array(table), (self.b, 1, 1, 1))
        definition = {
            "none": lambda b, i, j: True,
            "causal": lambda b, i, j: j <= i,
            "bottom_right": lambda b, i, j: j - self.m <= i - self.n,
            "window": lambda b, i, j: i - 3 < j <= i,
            "prefix": lambda b, i, j: j <= i or j < 2,
            "padding": lambda b, i, j: j < lengths[b],
            "documents": lambda b, i, j: ids[i] == ids[j] and j <= i,
            "before": lambda b, i, j: i >= self.n - self.m and ids[i + self.m - self.n] == ids[j],
            "nobody": lambda b, i, j: False,
            "array": lambda b, i, j: (7 * i + 5 * j + 3 * b) % 4 > 0,
        }[self.mask]
        table = [[[definition(b, i, j) for j in range(self.m)] for i in range(self.n)] for b in range(self.b)]
        return np.array(table, dtype=bool).reshape(self.b, 1, self.n, self.m)


def attention(Q, K, V, visible, bias, scale=None):
    """O and L by definition, in the dtype of the inputs (torch tensors); differentiable."""
    h, g = Q.shape[1], K.shape[1]
    K, V = (array.repeat_interleave(h // g, dim=1) for array in (K, V))
    S = torch.einsum("bhid,bhjd->bhij", Q, K) * (Q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        S = S + bias
    nobody = ~visible.any(-1, keepdim=True)
    S = S.masked_fill(~visible & ~nobody, -torch.inf)  # an empty row is computed, then thrown away
    A = torch.softmax(S, dim=-1).masked_fill(nobody, 0)
    return A @ V, torch.logsumexp(S, dim=-1).masked_fill(nobody[..., 0], -torch.inf)


def answers(case, dtype=torch.float64):
    """O, L, dQ, dK, dV of a case by definition, computed in `dtype`, as float64 arrays."""
    Q, K, V, dO, bias = (None if x is None else torch.tensor(x, dtype=dtype) for x in case.inputs())
    leaves = [x.requires_grad_() for x in (Q, K, V)]
    O, L = attention(*leaves, torch.from_numpy(case.visible()), bias)
    gradients = torch.autograd.grad(O, leaves, dO)
    return [x.detach().to(torch.float64).numpy() for x in (O, L, *gradients)]


def largest_score(case):
    """max |S| of a case, masked or not, without its bias."""
    Q, K = map(torch.tensor, case.inputs()[:2])
    K = K.repeat_interleave(case.h // case.g, dim=1)
    S = torch.einsum("bhid,bhjd->bhij", Q, K) * case.d_k**-0.5
    return float(S.abs().max()) if S.numel() else 0.0
