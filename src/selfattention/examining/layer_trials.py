"""Inputs of a layer: sequences to look at themselves, at another, and who may see whom."""

from dataclasses import dataclass, replace

import numpy as np

SAYABLE = "padding, the same for the batch"  # in all forms


@dataclass(frozen=True)
class Trial:
    """An input of a layer: sequences (batch, n, d), who sees whom, and whether biases are 0."""

    name: str
    X: np.ndarray
    Y: np.ndarray | None = None
    Z: np.ndarray | None = None
    visible: np.ndarray | None = None
    biases: bool = True
    causal: bool = False


def normal(batch: int, n: int, width: int, seed: int = 0) -> np.ndarray:
    """Tokens, float32's numbers."""
    rng = np.random.default_rng([seed, batch, n, width])
    return rng.normal(size=(batch, n, width)).astype(np.float32).astype(np.float64)


def plain(batch: int, n: int, widths: list[int]) -> list[Trial]:
    """Tokens; where keys and values are of another width, other tokens for these."""
    other = 15 if n == 6 else n
    zeros = normal(batch, n, widths[0], 3)
    zeros[:, 2] = 0
    beside = (None, None)
    if len(set(widths)) > 1:
        beside = normal(batch, n, widths[1], 4), normal(batch, n, widths[2], 5)
    trials = [
        Trial(f"{n} tokens", normal(batch, n, widths[0]), *beside),
        Trial("large tokens", 8 * normal(batch, n, widths[0], 2), *beside),
        Trial("a token of zeros, no biases", zeros, *beside, biases=False),
    ]
    if len(set(widths)) == 1:
        larger = batch if other == n else batch + (batch > 1)
        name = f"{other} tokens" if other != n else f"{n} other tokens"
        trials.append(Trial(name, normal(larger, other, widths[0], 1)))
    return trials


def elsewhere(*widths: int) -> list[Trial]:
    """Tokens that look at others, and at two others."""
    X, Y, Z = (normal(2, n, width, 4 + k) for k, (n, width) in enumerate(zip((6, 9, 9), widths, strict=True)))
    other = Trial("6 tokens that look at 9 others", X, Y, Y if widths[1] == widths[2] else Z)
    return [other, Trial("6 tokens, 9 keys and 9 other values", X, Y, Z)]


def hiding(trials: list[Trial], k: int) -> list[Trial]:
    """The same where the future is hidden: query 0 beside key 0, or the last query beside the last key."""
    seen = np.tri(6, 9, k, dtype=bool)
    return [replace(t, name=f"{t.name}, hiding from {k}", visible=seen[None, None]) for t in trials]


def masked(X: np.ndarray, Y: np.ndarray | None, Z: np.ndarray | None, h: int) -> list[Trial]:
    """Who sees whom in any manner, and in manners that more forms can say."""
    batch, n, width = X.shape
    m = n if Y is None else Y.shape[1]
    rng = np.random.default_rng([batch, n] if n == m else [batch, n, m])
    some = rng.random((batch, 1, n, m)) < 0.6
    some |= np.arange(m) == np.arange(n)[:, None] % 3
    nobody = some[:1].copy()
    nobody[..., 2, :] = False
    seen = {
        "a mask": some,
        "a mask, the same for the batch": some[:1],
        "padding": np.arange(m) < np.array([m - 3, *[m - 1] * (batch - 1)]).reshape(batch, 1, 1, 1),
        SAYABLE: np.arange(m) < m - 2,
        "a triangle": np.tri(n, m, m - n, dtype=bool),
        "a row that may see nobody": nobody,
    }
    others = "" if Y is None else f", looking at {m} others"  # the same name says the same input
    return [
        Trial(
            name + others, normal(batch, n, width, 6 + k), Y, Z, visible=np.broadcast_to(v, (batch, h, n, m))
        )
        for k, (name, v) in enumerate(seen.items())
    ]
