"""The number that somebody writes for −∞, found by asking with ever finer ladders of scores."""

import numpy as np

from selfattention.examining.cases import LADDER, deep
from selfattention.recipes import masks
from selfattention.recipes.recipe import Mistake

USUAL = (-1e4, -1e3, -100.0, -50.0, -10.0, -5.0)


def fills(ask) -> tuple[Mistake, ...]:
    """The mistakes that say which number it is; none, where no number shows.

    `ask(case)` gives the output, or None where there is none; then the usual numbers have to do.
    """
    ladder = LADDER
    for _ in range(12):
        O = ask(deep(ladder))
        if O is None:
            return tuple(filling(number) for number in USUAL)
        weights = O[..., 0].reshape(-1, len(ladder))[0].astype(float)
        clear = (weights > 1e-5) & (weights < 1 - 1e-5)
        if clear.any():
            hidden = (1 - weights[clear]) / (len(ladder) - 1)
            odds = np.log(hidden / weights[clear])
            filled, added = np.median(np.array(ladder)[clear] + odds), np.median(odds)
            return tuple(make(number) for make, number in ((filling, filled), (adding, added)) if number < -1)
        beaten = np.flatnonzero(~(weights > 0.5))
        if not len(beaten) or beaten[0] == 0:
            return ()
        ladder = tuple(np.linspace(ladder[beaten[0] - 1], ladder[beaten[0]], len(LADDER)))
    return ()


def filling(number) -> Mistake:
    """A fill of that number."""
    words = f"A finite fill, {written(number)}, instead of −∞: where scores are low, hidden keys keep weight"
    return Mistake("fill", _short(number), filled, words=words)


def adding(number) -> Mistake:
    """A number added."""
    words = f"{written(number)} added where a key is hidden, no −∞: it keeps weight"
    return Mistake("hide", masks.added(_short(number)), filled, words=words)


def filled():
    """A finite fill instead of −∞. Chapter 10, pitfalls 14 and 15."""


def _short(number):
    return float(f"{number:.4g}")


def written(number: float) -> str:
    """−10⁴ for a power of ten, else four digits."""
    power = np.log10(abs(number)) if number else 0.5
    if abs(power - round(power)) < 1e-3 and round(power) > 2:
        raised = str(round(power)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{'−' if number < 0 else ''}10{raised}"
    return f"{number:.4g}".replace("-", "−")
