"""What replaces a part of a recipe, and what is said of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from selfattention.mutants import headline, sentence

Recipe = Any  # a frozen dataclass of parts that can be called


def but(recipe: Recipe, path: str, part: Any) -> Recipe:
    """The recipe with another part; `softmax.axis` is the part `axis` of the part `softmax`."""
    first, _, rest = path.partition(".")
    return replace(recipe, **{first: but(getattr(recipe, first), rest, part) if rest else part})


@dataclass(frozen=True)
class Change:
    """A part replaced: `path` says which, `said` is the function whose docstring opens with what that is."""

    path: str
    part: Any
    said: Callable
    alone: bool = False  # never one of two, for there are too many of its kind
    fragile: bool = False  # ties, or a sum that may be nearly 0: on some inputs rounding decides
    words: str = ""  # instead of the docstring's, where numbers were fitted

    @property
    def sentence(self) -> str:
        """What it is, as a reader would say it."""
        return self.words or sentence(self.said)

    @property
    def chapter(self) -> str:
        """Where the course meets it, or nothing."""
        _, found, rest = headline(self.said).partition(". Chapter")
        return f"Chapter{rest.rstrip('.')}" if found else ""

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe that has it."""
        return but(recipe, self.path, self.part)

    def inside(self, part: str) -> "Change":
        """The same of a recipe that has this one for a part."""
        return replace(self, path=f"{part}.{self.path}")


class Mistake(Change):
    """A part that is wrong."""


class Convention(Change):
    """A part that is right by another definition, which its sentence names."""


class Order(Change):
    """The same numbers in another order of steps, which rounds otherwise."""


class Reading(Change):
    """What becomes of rows that may see nobody."""


@dataclass(frozen=True, eq=False)
class Known:
    """A recipe and all that is known to replace its parts."""

    name: str
    recipe: Recipe
    mistakes: tuple[Mistake, ...] = ()
    conventions: tuple[Convention, ...] = ()
    readings: tuple[Reading, ...] = ()
    orders: tuple[Order, ...] = ()

    def levels(self):
        """Explanations as tuples of changes, the smallest first: all that are equally small together."""
        yield [()]
        several = combinations(self.conventions, 2)
        yield [*((c,) for c in self.conventions), *(pair for pair in several if apart(*pair))]
        yield [(m,) for m in self.mistakes]
        yield [(m, c) for m in self.mistakes for c in self.conventions if not m.alone and apart(m, c)]
        several = [m for m in self.mistakes if not m.alone]
        pairs = [pair for pair in combinations(several, 2) if apart(*pair)]
        yield pairs
        yield [(*pair, c) for c in self.conventions for pair in pairs if all(apart(m, c) for m in pair)]


def apart(one: Change, other: Change) -> bool:
    """Whether two changes replace different parts, neither inside the other."""
    a, b = one.path.split("."), other.path.split(".")
    short = min(len(a), len(b))
    return a[:short] != b[:short]
