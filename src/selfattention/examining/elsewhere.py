"""Inputs of what stands around attention: positions, a step beside a cache, weights for channels."""

from dataclasses import replace

import numpy as np

from selfattention.examining.cases import LEADING, Case, rounded


def tables() -> list[Case]:
    """A number of positions and a width; none is two thirds of another, or its double."""
    sizes = (7, 10), (5, 6), (12, 16), (3, 2)
    return [Case(f"n = {n}, d = {d}", {"count": n, "width": d}, d == 2) for n, d in sizes]


def times() -> list[Case]:
    """Positions that are no range, and a width."""
    given = np.array([3, 0, 7, 1]), np.array([0, 1, 2, 3, 4, 11])
    found = [_of_positions(i, {"width": d}) for i, d in zip(given, (10, 6), strict=True)]
    return [*found, _of_positions(np.arange(4), {"width": 4}, tame=True)]


def _of_positions(i, arrays, tame=False):
    return Case(f"positions {', '.join(map(str, i))}", arrays | {"positions": i}, tame)


def rotations() -> list[Case]:
    """Tokens and their positions, which do not begin with 0."""
    given = np.array([3, 1, 4, 0, 9]), np.array([2, 3, 4, 5, 6, 7, 8]), np.arange(5)
    return [_turned(i, d) for i, d in zip(given, (6, 10, 8), strict=True)] + [_turned(np.arange(4), 4, True)]


def rotations_from_zero() -> list[Case]:
    """Tokens at the positions 0, 1, …"""
    return [_turned(np.arange(n), d, n == d) for n, d in ((5, 6), (7, 10), (12, 8), (4, 4))]


def _turned(i, d, tame=False):
    rng = np.random.default_rng([len(i), d])
    X, K = rounded(rng.normal(size=(2, *LEADING, len(i), d)))
    return _of_positions(i, {"turned": X, "Q": X, "K": K}, tame)


def heads_alone() -> list[Case]:
    """Numbers of heads, powers of two and not."""
    return [Case(f"{h} heads", {"heads": h}, h == 8) for h in (8, 4, 16, 12, 6, 2)]


def powers_of_two() -> list[Case]:
    """Numbers of heads that are powers of two."""
    return [case for case in heads_alone() if case.arrays["heads"] not in (12, 6)]


def biases() -> list[Case]:
    """Numbers of heads and of tokens."""
    sizes = (4, 5), (16, 3), (8, 4), (2, 7), (12, 5), (6, 4)
    return [Case(f"{h} heads, n = {n}", {"heads": h, "count": n}, h == 8) for h, n in sizes]


def wide_biases() -> list[Case]:
    """Numbers of heads, of queries and of keys."""
    sizes = (4, 5, 7), (16, 1, 4), (8, 4, 4), (6, 3, 5), (2, 6, 6)
    return [
        Case(f"{h} heads, n = {n}, m = {m}", {"heads": h, "count": n, "keys": m}, h == 8) for h, n, m in sizes
    ]


def steps() -> list[Case]:
    """New tokens and a cache: one beside many, several beside some, a prompt and nothing."""
    sizes = {
        "one new token, five cached": (1, 5, 4, 6, 3),
        "three new tokens, four cached": (3, 4, 4, 6, 3),
        "four new tokens, seven cached, d_k = d_v": (4, 7, 6, 6, 3),
        "a prompt of five": (5, 0, 4, 6, 3),
        "two new tokens, three cached, two heads of one group": (2, 3, 4, 4, 6),
        "two new tokens, two cached, d_k = d_v": (2, 2, 4, 4, 3),
    }
    found = [_step(name, *size, tame="two cached" in name) for name, size in sizes.items()]
    steep = found[2].but(Q=found[2].arrays["Q"] * 2048)
    return [
        *found,
        replace(steep, name=f"scores of thousands, {steep.name}"),
        _low(found[1]),
        _orthogonal(found[2]),
    ]


def _orthogonal(step):
    """Queries orthogonal to the oldest key, their scores exactly 0, unless something turns."""
    Q, past_K = step.arrays["Q"].copy(), step.arrays["past_K"].copy()
    Q[..., 1:], past_K[..., 0, 0] = 0, 0
    return replace(step.but(Q=Q, past_K=past_K), name=f"scores of exactly 0, {step.name}")


def _low(step):
    """All scores about −3000, unless something turns."""
    changed = {x: step.arrays[x].copy() for x in ("Q", "K", "past_K")}
    for x, array in changed.items():
        array[..., 0] = -2048 if x == "Q" else 3
    return replace(step.but(**changed), name=f"scores of −3000, {step.name}")


def _step(name, n, past, d_k, d_v, h, tame=False):
    rng = np.random.default_rng([n, past, d_k])
    batch, g = LEADING
    shapes = {"Q": (h, n, d_k), "K": (g, n, d_k), "V": (g, n, d_v)}
    shapes |= {"past_K": (g, past, d_k), "past_V": (g, past, d_v)}
    return Case(name, {x: rounded(rng.normal(size=(batch, *shape))) for x, shape in shapes.items()}, tame)


def pictures() -> list[Case]:
    """Maps and a net for their channels; one with as many channels as rows and columns."""
    sizes = (5, 3, 7, 2), (4, 6, 2, 3), (8, 5, 5, 2), (4, 4, 4, 2)
    return [_picture(*size) for size in sizes]


def _picture(channels, high, wide, hidden):
    rng = np.random.default_rng([channels, high, wide])
    shapes = {"F": (2, channels, high, wide), "W_1": (channels, hidden), "W_2": (hidden, channels)}
    shapes |= {"b_1": (hidden,), "b_2": (channels,)}
    name = f"{channels} channels, {high} × {wide}, {hidden} hidden"
    return Case(name, {x: rounded(rng.normal(size=s)) for x, s in shapes.items()}, channels == high == wide)
