"""Inputs that separate mistakes, and their tame twins, which code takes that cannot take those.

All numbers are float32's, so that in either precision the same function is asked the same.
"""

from dataclasses import dataclass, replace

import numpy as np

LEADING = (2, 3)
"""A batch and heads."""


@dataclass(frozen=True)
class Case:
    """An input: an array (batch, heads, …) for each operand; `visible` may be one of them, or be left out.

    `tame` says that no axis of it could be told from another, so that little follows from it.
    """

    name: str
    arrays: dict[str, np.ndarray | None]
    tame: bool = False
    causal: bool = False

    def of(self, axes: int) -> "Case":
        """The same with so many axes: without heads, without a batch."""
        taken = {4: (), 3: (slice(None), 0), 2: (0, 0)}.get(axes, ())
        cut = {
            name: x[taken] if np.ndim(x) == 4 or name.startswith("L_") else x
            for name, x in self.arrays.items()
            if name != "F"
        }
        if "F" in self.arrays:  # a picture has three axes of its own
            cut["F"] = self.arrays["F"] if axes == 4 else self.arrays["F"][0]
        return replace(self, arrays=cut)

    @property
    def size(self) -> int:
        """How many numbers go in."""
        return sum(np.size(x) for x in self.arrays.values())

    def but(self, **arrays) -> "Case":
        """The same with other arrays."""
        return replace(self, arrays=self.arrays | arrays)


def rounded(x):
    """Numbers of float32."""
    return x.astype(np.float32).astype(np.float64)


def tokens(n, m, d_k, d_v, seed=0, leading=LEADING):
    """Q, K and V, normal."""
    rng = np.random.default_rng([seed, n, m, d_k, d_v])
    shapes = [(n, d_k), (m, d_k), (m, d_v)]
    return {x: rounded(rng.normal(size=(*leading, *s))) for x, s in zip("QKV", shapes, strict=True)}


SIZES = {
    "n = 5, m = 7, d_k = 3, d_v = 2": ((5, 7, 3, 2), False),
    "n = 5, m = 7, d_k = d_v = 3": ((5, 7, 3, 3), False),
    "n = m = 6, d_k = 3, d_v = 2": ((6, 6, 3, 2), False),
    "n = m = 6, d_k = d_v = 5": ((6, 6, 5, 5), False),
    "n = m = d_k = d_v = 4": ((4, 4, 4, 4), True),
}
"""Sizes by what is told of them, and whether they are tame."""


def plain() -> list[Case]:
    """Without a mask."""
    sized = [Case(name, tokens(*size), tame) for name, (size, tame) in SIZES.items()]
    apart, equal = sized[0], sized[3]
    return [
        *sized,
        Case("one head, no batch", tokens(5, 5, 3, 3, leading=(1, 1)), True),
        *(steep(case) for case in (apart, equal)),
        *(low(case) for case in (apart, equal)),
        *(orthogonal(case) for case in (apart, equal)),
        rising(Case("n = 70, m = 150", tokens(70, 150, 3, 2, leading=(1, 2)))),
        rising(Case("n = m = 128, d_k = d_v = 16", tokens(128, 128, 16, 16, leading=(1, 1)), True)),
        Case("n = m = 32, d_k = d_v = 16", tokens(32, 32, 16, 16, leading=(2, 1)), True),
    ]


def steep(case):
    """Scores of thousands, of either sign."""
    return replace(case.but(Q=case.arrays["Q"] * 2048), name=f"scores of thousands, {case.name}")


def low(case):
    """All scores about −3000."""
    Q, K = case.arrays["Q"].copy(), case.arrays["K"].copy()
    Q[..., 0], K[..., 0] = -2048 - np.arange(Q.shape[-2]), 2
    return replace(case.but(Q=Q, K=K), name=f"scores of −3000 or less, {case.name}")


def orthogonal(case):
    """Small whole numbers: some queries are orthogonal to some keys, their scores exactly 0."""
    Q, K = (np.round(case.arrays[x]) for x in "QK")
    for x in (Q, K):
        x[..., 0] = np.where((x == 0).all(-1), 1, x[..., 0])  # no vector has the length 0
    return replace(case.but(Q=Q, K=K), name=f"scores of exactly 0, {case.name}")


def rising(case):
    """Scores that rise along the keys for half of the queries, and fall for the others."""
    Q, K = (case.arrays[x].copy() for x in "QK")
    Q[..., 0] = np.where(np.arange(Q.shape[-2]) % 2, 3, -3)
    K[..., 0] = np.linspace(-3, 3, K.shape[-2]).astype(np.float32)
    return replace(case.but(Q=Q, K=K), name=f"{case.name}, rising scores")


def masked() -> list[Case]:
    """With a mask: who sees whom in any manner, padding, triangles; and rows that may see nobody."""
    apart, equal = (Case(f"mask, {name}", tokens(*SIZES[name][0])) for name in (_names[0], _names[3]))
    padded = [some(case, _padding, "padding") for case in (apart, equal)]
    return [
        some(apart, _any),
        some(equal, _any),
        some(equal, _any_for_all, "the same for the batch"),
        some(apart, _any_for_all, "the same for the batch"),
        *padded,
        some(replace(equal, tame=True), _padding_for_all, "padding, the same for the batch"),
        some(apart, _padding_for_all, "padding, the same for the batch"),
        some(equal, _triangle, "a triangle"),
        some(apart, _triangle, "a triangle"),
        some(orthogonal(equal), _triangle, "a triangle"),
        some(orthogonal(apart), _any_for_all),
        deep(),
        some(apart, _nobody, "a row that may see nobody"),
        some(equal, _nobody, "a row that may see nobody"),
    ]


def some(case, visible, what=""):
    n, m = case.arrays["Q"].shape[-2], case.arrays["K"].shape[-2]
    seen = visible(np.random.default_rng([n, m]), n, m)
    return replace(
        case.but(visible=np.broadcast_to(seen, (*LEADING, n, m))), name=f"{case.name}, {what}".rstrip(", ")
    )


def _any(rng, n, m):
    seen = rng.random((LEADING[0], 1, n, m)) < 0.6
    seen[..., 0, :] = np.arange(m) != 1  # somebody sees most, nobody nothing
    return seen | (np.arange(m) == np.arange(n)[:, None] % 3)


def _any_for_all(rng, n, m):
    return _any(rng, n, m)[:1]


def _padding(rng, n, m):
    return np.arange(m) < np.array([m - 3, m - 1]).reshape(2, 1, 1, 1)


def _padding_for_all(rng, n, m):
    return np.arange(m) < m - 2


def _triangle(rng, n, m):
    return np.tri(n, m, m - n, dtype=bool)


def _nobody(rng, n, m):
    seen = _any(rng, n, m)[:1].copy()
    seen[..., 2, :] = False
    return seen


LADDER = (0.0, -8.0, -40.0, -400.0, -4e3, -4e4, -4e5)
"""Scores of a visible key, below which a fill may lie or not: a fill beneath all of them is as good as −∞."""


def deep(ladder=LADDER) -> Case:
    """One key visible, the others hidden, all with the same score, which is lower from query to query.

    d_k = 4, so that the scores are exact, and the values 1 and 0, so that the output is the visible weight.
    """
    n = len(ladder)
    Q, K, V = np.zeros((*LEADING, n, 4)), np.zeros((*LEADING, n, 4)), np.zeros((*LEADING, n, 4))
    Q[..., 0], K[..., 0], V[..., 0, :] = 2 * np.array(ladder), 1, 1
    Q[..., 1] = 1  # no query has the length 0
    seen = np.broadcast_to(np.arange(n) == 0, (*LEADING, n, n))
    return Case(
        f"one visible key, its score from {ladder[0]:g} to {ladder[-1]:g}",
        {"Q": Q, "K": K, "V": V, "visible": seen},
    )


def projected() -> list[Case]:
    """Tokens, four matrices and a number of heads."""
    narrow = _heads("n = 5, d_model = 12, three heads of d_k = 2, d_v = 3", 5, 12, 3, 6, 9)
    square = _heads("n = 5, d_model = 12, three heads", 5, 12, 3, 12, 12)
    lowest = square.but(X=square.arrays["X"] + 64, W_K=-square.arrays["W_Q"])  # −|q|² and nearly that
    return [
        narrow,
        square,
        replace(lowest, name=f"{square.name}, low scores"),
        _heads("n = 4, d_model = 8, two heads", 4, 8, 2, 8, 8),
        _heads("n = d_model = 8, two heads", 8, 8, 2, 8, 8),
        _heads("n = 7, d_model = 4, one head", 7, 4, 1, 4, 4, tame=True),
        _heads("n = 16, d_model = 16, four heads, one sequence", 16, 16, 4, 16, 16, batch=1, tame=True),
        *(replace(c.but(X=c.arrays["X"] * 64), name=f"{c.name}, steep") for c in (narrow, square)),
    ]


WIDTH = 4
"""d_model of the tokens that are handed over with their matrices, in every input of theirs."""


def projected_once() -> list[Case]:
    """Tokens and three matrices, and the Q, K and V that these make."""
    sizes = {"n = 5, d_k = 3, d_v = 2": (5, 3, 2), "n = 6, d_k = d_v = 5": (6, 5, 5)}
    return [
        *(_once(name, *size) for name, size in sizes.items()),
        _once("n = 7, d_k = d_v = 4", 7, 4, 4),
        *(_once(f"steep, {name}", *size, times=64) for name, size in sizes.items()),
        _once("n = d_k = d_v = 4", 4, 4, 4, tame=True),
    ]


def projected_and_masked() -> list[Case]:
    """The same with a mask."""
    apart, equal = (replace(case, name=f"mask, {case.name}") for case in projected_once()[:2])
    masks = {"": _any, "padding": _padding, "a triangle": _triangle, "a row that may see nobody": _nobody}
    return [some(case, visible, what) for case in (apart, equal) for what, visible in masks.items()]


def _once(name, n, d_k, d_v, times=1, tame=False):
    rng = np.random.default_rng([n, d_k, d_v])
    X = rounded(rng.normal(size=(LEADING[0], 1, n, WIDTH))) * times
    W_Q, W_K, W_V = (rounded(rng.normal(size=(WIDTH, d)) / 2) for d in (d_k, d_k, d_v))
    made = {"Q": X @ W_Q, "K": X @ W_K, "V": X @ W_V}
    return Case(name, {"X": X, "W_Q": W_Q, "W_K": W_K, "W_V": W_V, **made}, tame)


def _heads(name, n, d_model, h, keys, values, batch=2, tame=False):
    rng = np.random.default_rng([n, d_model, h, keys])
    shapes = [(batch, 1, n, d_model), (d_model, keys), (d_model, keys), (d_model, values), (values, d_model)]
    arrays = [rounded(rng.normal(size=shape) / (1 if len(shape) > 2 else 2)) for shape in shapes]
    names = ["X", "W_Q", "W_K", "W_V", "W_O"]
    return Case(name, dict(zip(names, arrays, strict=True)) | {"h": h}, tame)


def with_gradients() -> list[Case]:
    """Tokens and the gradient of the output, without scores that are huge: gradients vanish there."""
    huge = "thousands", "−3000", "rising"
    found = [case for case in plain() if not any(word in case.name for word in huge)]
    rng = np.random.default_rng(1)
    return [
        c.but(dO=rounded(rng.normal(size=(*c.arrays["Q"].shape[:-1], c.arrays["V"].shape[-1]))))
        for c in found
    ]


def halves() -> list[Case]:
    """Outputs and log-sum-exps of two halves of the keys; of halves that are empty, too."""
    pairs = {
        "both halves seen": (0.5, 1.5),
        "log-sum-exps of 800": (800.0, 799.0),
        "the first half is empty": (-np.inf, 0.5),
        "the second half is empty": (0.5, -np.inf),
        "both halves are empty": (-np.inf, -np.inf),
    }
    return [_halves(name, *L) for name, L in pairs.items()]


def _halves(name, *L):
    rng = np.random.default_rng(0)
    arrays = {}
    for half, level in zip("12", L, strict=True):
        O = rounded(rng.normal(size=(*LEADING, 5, 3)))
        arrays[f"O_{half}"] = np.zeros_like(O) if np.isneginf(level) else O
        arrays[f"L_{half}"] = level + rounded(rng.normal(size=(*LEADING, 5)))
    return Case(name, arrays)


_names = list(SIZES)
