"""The yardstick of `test_implementations.py`: attention by definition, sharing no code with the package.

Masks are spelt out here as nested loops over positions, keys are copied per head, and the
gradients are autograd's. Slow, and plain enough to be believed.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np
import torch

from selfattention import masks


@dataclass(frozen=True)
class Case:
    """One call of the contract: sizes, a mask by name, whether there is a bias, a stretch of the queries,
    whether each key scores higher than the one before, the size of what all keys have in common, by how
    much the first key outscores all others, so that only all of them together count for anything, and a bias
    under which the last row lies as a whole, a cap, and around which number the sinks of the heads lie."""

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
    ahead: float = 0.0
    buried: float = 0.0
    softcap: float | None = None
    sink: float | None = None

    def __str__(self):
        return f"{self.b}x{self.h}/{self.g}x{self.n}x{self.m}x{self.d_k}/{self.d_v}-{self.mask}" + (
            "-bias" * self.bias
            + f"-x{self.stretch:g}" * (self.stretch != 1)
            + "-rising" * self.rising
            + f"-common{self.common:g}" * (self.common != 0)
            + f"-ahead{self.ahead:g}" * (self.ahead != 0)
            + f"-buried{self.buried:g}" * (self.buried != 0)
            + (f"-cap{self.softcap:g}" if self.softcap is not None else "")
            + (f"-sink{self.sink:g}" if self.sink is not None else "")
        )

    def inputs(self):
        """Q, K, V, dO and the bias or None, float64, the same every time."""
        rng = np.random.default_rng(0)
        b, h, g, n, m = self.b, self.h, self.g, self.n, self.m
        shapes = [(b, h, n, self.d_k), (b, g, m, self.d_k), (b, g, m, self.d_v), (b, h, n, self.d_v)]
        Q, K, V, dO = (rng.normal(size=shape) for shape in shapes)
        if self.rising:
            Q[..., 0], K[..., 0] = 1 + abs(Q[..., 0]), np.linspace(0, 3, m)
        if self.ahead:
            Q[..., 0], K[..., 0] = self.d_k**0.5, np.where(np.arange(m) == 0, self.ahead, 0)
        bias = rng.normal(size=(h, n, m)) if self.bias or self.buried else None
        if self.buried:
            bias[:, -1] = self.buried
        return Q * self.stretch, K + self.common, V, dO, bias

    def sinks(self):
        """One score for each head, float64, or None."""
        return None if self.sink is None else self.sink + np.random.default_rng(1).normal(size=self.h)

    @property
    def scale(self):
        return self.d_k**-0.5

    def lengths(self):
        return np.arange(self.b) * self.m // self.b  # the first is 0: nobody may see anything

    def ids(self):
        return np.arange(max(self.n, self.m)) // 3

    def window(self, i):
        """Of a picture of height 3, in a grid of squares of two that lies one place down and to the right."""
        return [(place - 1) // 2 for place in divmod(i, self.n // 3)]

    def rule(self):
        """The mask as the package says it."""
        return {
            "none": None,
            "causal": masks.causal,
            "bottom_right": masks.bottom_right(masks.causal, self.n, self.m),
            "window": masks.causal & masks.window(3),
            "sinks": masks.bottom_right(masks.causal & (masks.window(3) | masks.sinks(2)), self.n, self.m),
            "hole": masks.prefix(5) | ~masks.prefix(48),
            "hole behind": masks.prefix(16) | ~masks.prefix(60),
            "prefix": masks.causal | masks.prefix(2),
            "padding": masks.padding(self.lengths()),
            "documents": masks.documents(self.ids()) & masks.causal,
            "windows": self.mask == "windows" and masks.shifted_windows(3, self.n // 3, 2, 1),
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
            "sinks": lambda b, i, j: (j < 2 or i - self.n - 3 < j - self.m) and j - self.m <= i - self.n,
            "hole": lambda b, i, j: j < 5 or j >= 48,
            "hole behind": lambda b, i, j: j < 16 or j >= 60,
            "prefix": lambda b, i, j: j <= i or j < 2,
            "padding": lambda b, i, j: j < lengths[b],
            "documents": lambda b, i, j: ids[i] == ids[j] and j <= i,
            "windows": lambda b, i, j: self.window(i) == self.window(j),
            "before": lambda b, i, j: i >= self.n - self.m and ids[i + self.m - self.n] == ids[j],
            "nobody": lambda b, i, j: False,
            "array": lambda b, i, j: (7 * i + 5 * j + 3 * b) % 4 > 0,
        }[self.mask]
        table = [[[definition(b, i, j) for j in range(self.m)] for i in range(self.n)] for b in range(self.b)]
        return np.array(table, dtype=bool).reshape(self.b, 1, self.n, self.m)


def attention(
    Q, K, V, visible, bias, scale=None, softcap=None, sink=None, cap_last=False, straight_through=False
):
    """O and L by definition, in the dtype of the inputs (torch tensors); differentiable.

    The last two are mistakes, for tests of the tests: a cap behind the bias, and one without a slope.
    """
    h, g = Q.shape[1], K.shape[1]
    K, V = (array.repeat_interleave(h // g, dim=1) for array in (K, V))
    S = torch.einsum("bhid,bhjd->bhij", Q, K) * (Q.shape[-1] ** -0.5 if scale is None else scale)
    if cap_last:
        S = S + bias
    if softcap is not None:
        capped = softcap * torch.tanh(S / softcap)
        S = S + (capped - S).detach() if straight_through else capped
    if bias is not None and not cap_last:
        S = S + bias
    if sink is not None:  # a column of its own, seen by every row, and dropped with its weights
        column = sink[:, None, None].expand(*S.shape[:3], 1)
        S = torch.cat([S.masked_fill(~visible, -torch.inf), column], dim=-1)
        return torch.softmax(S, dim=-1)[..., :-1] @ V, torch.logsumexp(S, dim=-1)
    nobody = ~visible.any(-1, keepdim=True)
    S = S.masked_fill(~visible & ~nobody, -torch.inf)  # an empty row is computed, then thrown away
    A = torch.softmax(S, dim=-1).masked_fill(nobody, 0)
    return A @ V, torch.logsumexp(S, dim=-1).masked_fill(nobody[..., 0], -torch.inf)


NAMES = ["O", "L", "dQ", "dK", "dV"]
HALVES = (torch.float16, torch.bfloat16)


@cache
def truth(case, dtype):
    """O, L, dQ, dK, dV of a case whose inputs are rounded to `dtype`: float64, autograd's gradients."""
    Q, K, V, dO, bias = (None if x is None else x.double() for x in rounded(case, dtype))
    leaves = [x.requires_grad_() for x in (Q, K, V)]
    sink = None if case.sink is None else rounded_sinks(case, dtype).double()
    O, L = attention(*leaves, torch.from_numpy(case.visible()), bias, None, case.softcap, sink)
    gradients = torch.autograd.grad(O, leaves, dO)
    return [x.detach().numpy() for x in (O, L, *gradients)]


def rounded(case, dtype):
    """Q, K, V, dO and the bias of a case, as an implementation is given them."""
    return [None if x is None else torch.tensor(x, dtype=dtype) for x in case.inputs()]


def rounded_sinks(case, dtype):
    """The sinks of a case, as an implementation is given them."""
    return None if case.sink is None else torch.tensor(case.sinks(), dtype=dtype)


@dataclass(frozen=True)
class Way:
    """One of many equally good ways to compute the formula: they differ by their rounding errors alone."""

    seed: int  # the order in which queries, keys and features are summed, and those of δ once more
    base_two: bool  # 2^(s log₂ e) for e^s
    early: bool  # the scale is multiplied into Q, not into S
    rebuilt: bool  # the backward pass takes e^{S − L} for the weights
    narrow: bool  # weights are rounded to the dtype before they are multiplied, as tensor cores want them


WAYS = [Way(seed, *choices) for seed, choices in enumerate(product((False, True), repeat=4))]
WELL_KNOWN = (
    128  # an |L| beyond it, rounded to float32, leaves e^{S − L} fewer than 16 bits: no good way then
)


def direct(case, dtype, way):
    """O, L, dQ, dK, dV of a case with every step in `dtype`; halves are widened to float32 and rounded once.

    δ is taken of the O that was given out, rounded, since that is what a backward pass is handed.
    """
    Q, K, V, dO, bias, visible, back, anew = _shuffled(case, dtype, way.seed)
    S = _products(Q * case.scale, K) if way.early else _products(Q, K) * case.scale
    T = torch.zeros_like(S) if case.softcap is None else _tanh(S / case.softcap, way)
    S = S if case.softcap is None else T * case.softcap
    S = (S if bias is None else S + bias).masked_fill(~visible, -torch.inf)
    nobody = ~visible.any(-1, keepdim=True)
    if case.sink is None:
        A, L = _softmax(S, way)
    else:
        column = rounded_sinks(case, dtype).to(S.dtype)[:, None, None].expand(*S.shape[:3], 1)
        A, L = _softmax(torch.cat([S, column], dim=-1), way)
        A, nobody = A[..., :-1], torch.zeros_like(nobody)
    A, L = A.masked_fill(nobody, 0), L.masked_fill(nobody[..., 0], -torch.inf)
    factor = (lambda x: x.to(dtype).to(x.dtype)) if way.narrow else (lambda x: x)
    O = torch.einsum("bhij,bhjd->bhid", factor(A), V).to(dtype)
    if way.rebuilt and _largest(L.numpy()) <= WELL_KNOWN:
        A = _rebuilt(S, L, way)
    delta = (dO * O)[..., anew].sum(-1, keepdim=True)
    dS = A * (_products(dO, V) - delta) * (1 - T * T) * case.scale
    A, dS = factor(A), factor(dS)
    dQ = torch.einsum("bhij,bhjd->bhid", dS, K)
    dK, dV = (torch.einsum("bhij,bhid->bhjd", *pair) for pair in ((dS, Q), (A, dO)))
    gradients = _unshuffled(dQ, dK, dV, back, case, dtype)
    return [x.double().numpy() for x in (O[:, :, back[0]][..., back[3]], L[:, :, back[0]], *gradients)]


def _shuffled(case, dtype, seed):
    """What a case is computed from, its queries, keys and features in another order, and the way back.

    Last comes one more order of the values' features. A row whose weight lies on one key subtracts δ from
    the same sum, and a way that adds both up alike would call nothing an error.
    """
    working = torch.float32 if dtype in HALVES else dtype
    Q, K, V, dO, bias = (None if x is None else x.to(working) for x in rounded(case, dtype))
    K, V = (x.repeat_interleave(case.h // case.g, dim=1) for x in (K, V))
    rng = np.random.default_rng(seed)
    sizes = case.n, case.m, case.d_k, case.d_v, case.d_v
    i, j, d, e, anew = (torch.from_numpy(rng.permutation(size)) for size in sizes)
    visible = torch.from_numpy(case.visible())[..., i, :][..., j]
    bias = None if bias is None else bias[..., i, :][..., j]
    rows = Q[:, :, i][..., d], K[:, :, j][..., d], V[:, :, j][..., e], dO[:, :, i][..., e]
    return *rows, bias, visible, [torch.argsort(order) for order in (i, j, d, e)], anew


def _unshuffled(dQ, dK, dV, back, case, dtype):
    """The gradients in the order of the inputs, those of a group's heads summed."""
    i, j, d, e = back
    dK, dV = (x[:, :, j].unflatten(1, (case.g, -1)).sum(2) for x in (dK, dV))
    return (x.to(dtype) for x in (dQ[:, :, i][..., d], dK[..., d], dV[..., e]))


def _products(left, right):
    return torch.einsum("bhid,bhjd->bhij", left, right)


def _tanh(x, way):
    """As torch has it; or by exponentials, as who has nothing else: right for small x as well."""
    grown = torch.expm1(2 * x.clamp(-20, 20))
    return grown / (grown + 2) if way.base_two else torch.tanh(x)


def _softmax(S, way):
    """A and L of scores; of a row that sees nothing, whatever comes."""
    if not way.base_two or not S.shape[-1]:
        return torch.softmax(S, dim=-1), torch.logsumexp(S, dim=-1)
    S = S * math.log2(math.e)
    c = S.amax(-1, keepdim=True)
    E = torch.exp2(S - c)
    Z = E.sum(-1, keepdim=True)
    return E / Z, ((c + torch.log2(Z)) * math.log(2))[..., 0]


def _rebuilt(S, L, way):
    """Weights from scores and L; in base two, L comes back from natural logarithms."""
    L = L.masked_fill(L.isneginf(), 0)[..., None]
    log2e = math.log2(math.e)
    return torch.exp2(S * log2e - L * log2e) if way.base_two else torch.exp(S - L)


def dtype_of(name, dtype):
    """The dtype of an answer to inputs of `dtype`: L of halves stays where they accumulate."""
    return torch.float32 if name == "L" and dtype in HALVES else dtype


@cache
def budget(case, dtype):
    """The largest error that an implementation may make in each of O, L, dQ, dK and dV.

    It is one more way to compute the formula: so twice the error of the worst of WAYS, plus as much as two
    of them lie apart, both measured for the case and the dtype. In cases so small that all ways agree, one
    rounding of the largest number.
    """
    exact = truth(case, dtype)
    answers = [direct(case, dtype, way) for way in WAYS]
    return [
        max(
            2 * max(error(way, right) for way in ways)
            + max(error(one, other) for one, other in combinations(ways, 2)),
            torch.finfo(dtype_of(name, dtype)).eps * _largest(right),
        )
        for name, right, *ways in zip(NAMES, exact, *answers, strict=True)
    ]


def error(given, exact):
    """The largest difference of two arrays where the exact one is finite: −∞ stands in L for an empty row."""
    finite = np.isfinite(exact)
    return np.abs(given[finite] - exact[finite]).max(initial=0.0)


def _largest(x):
    return np.abs(x[np.isfinite(x)]).max(initial=0.0)
