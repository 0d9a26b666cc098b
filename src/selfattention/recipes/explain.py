"""The smallest explanation of somebody's numbers: right, a convention, one mistake, two, and a reading."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from selfattention.recipes.budget import allowed, as_computed, far, nudged, same
from selfattention.recipes.recipe import Change, Convention, Known, Mistake, Reading, apart


@dataclass(frozen=True)
class Outcome:
    """One input of a judged function, in float64, and the arrays that somebody's made of it.

    Inputs of one name are the same inputs.
    """

    name: str
    inputs: tuple
    given: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """How many numbers went in."""
        return sum(np.size(x) for x in self.inputs if x is not None)

    @property
    def precisions(self) -> list[np.dtype]:
        """In which it may have been computed: in float64's clothes, float32 is met, too."""
        coarsest = max((x.dtype for x in self.given), key=lambda d: np.finfo(d).eps)
        return [coarsest] if coarsest != np.float64 else [coarsest, np.dtype(np.float32)]


@dataclass(frozen=True)
class Explanation:
    """What gives the numbers: changes of the recipe, none if right, and what rows that see nobody give."""

    changes: tuple[Change, ...]
    reading: Reading | None = None
    precision: np.dtype | None = None  # in which most outcomes must have been computed

    @property
    def mistakes(self) -> tuple[Change, ...]:
        """The changes that are wrong."""
        return tuple(c for c in self.changes if isinstance(c, Mistake))

    @property
    def conventions(self) -> tuple[Change, ...]:
        """The changes that are right by another definition."""
        return tuple(c for c in self.changes if isinstance(c, Convention))


class Weight(IntEnum):
    """How much an explanation asks one to believe."""

    RIGHT = 0
    CONVENTION = 1
    MISTAKE = 2
    MISTAKE_AND_CONVENTION = 3
    TWO_MISTAKES = 4
    UNKNOWN = 5


class Engine:
    """Explains outcomes of one judged function; what a recipe gives of an input is computed once."""

    def __init__(self, known: Known):
        self.known = known
        self.kept = {}

    def explain(self, outcomes, deepest=Weight.TWO_MISTAKES) -> tuple[Weight, list[Explanation]]:
        """The smallest weight, and all explanations of it that give every outcome; none, if UNKNOWN."""
        outcomes = sorted(outcomes, key=lambda o: o.size)
        for weight, level in zip(Weight, self.known.levels(), strict=False):
            if weight > deepest:
                break
            found = [e for changes in level if (e := self.explained(changes, outcomes))]
            if found:
                return weight, found
        return Weight.UNKNOWN, []

    def explained(self, changes, outcomes) -> Explanation | None:
        """The explanation, if the changes give every outcome with one of the readings."""
        precisions = self._precisions(changes, None, outcomes)
        if all(precisions):
            return Explanation(changes, None, _usual(precisions))
        if self._finite(changes, outcomes[: len(precisions)]):
            return None
        for reading in self.known.readings:
            if all(apart(reading, change) for change in changes):
                precisions = self._precisions(changes, reading, outcomes)
                if all(precisions):
                    return Explanation(changes, reading, _usual(precisions))
        return None

    def _precisions(self, changes, reading, outcomes):
        """For each outcome the finest precision in which it comes out so; None, and no more, if none."""
        found = []
        for outcome in outcomes:
            found.append(self._precision(changes, reading, outcome))
            if found[-1] is None:
                break
        return found

    def _precision(self, changes, reading, outcome):
        exact = self.computed(changes, reading, outcome, np.dtype(np.float64))
        if exact is None or len(exact) != len(outcome.given) or any(map(far, outcome.given, exact)):
            return None
        rough = self.computed(changes, reading, outcome, np.dtype(np.float32), nudged)
        for precision in outcome.precisions:
            rounded = self.computed(changes, reading, outcome, precision)
            four = zip(outcome.given, rounded, exact, rough, strict=True)
            if all(same(given, r, allowed(e, c, precision)) for given, r, e, c in four):
                return precision
        return None

    def _finite(self, changes, outcomes):
        """Whether no number is infinite or none at all: then no row sees nobody, and no reading matters."""
        computed = (self.computed(changes, None, o, np.dtype(np.float64)) for o in outcomes)
        return all(arrays is None or all(np.isfinite(x).all() for x in arrays) for arrays in computed)

    def computed(self, changes, reading, outcome, precision, of=tuple):
        """What the recipe so changed gives of the outcome's input; None if it cannot take it."""
        key = changes, reading, outcome.name, precision, of
        if key not in self.kept:
            recipe = self.known.recipe
            for change in (*changes, *filter(None, [reading])):
                recipe = change.of(recipe)
            try:
                self.kept[key] = as_computed(recipe, of(outcome.inputs), precision)
            except (ValueError, TypeError, IndexError):  # axes that do not fit: it raises there as well
                self.kept[key] = None
        return self.kept[key]


def _usual(precisions):
    """That of the middle, from fine to coarse."""
    return sorted(precisions, key=lambda precision: np.finfo(precision).eps)[(len(precisions) - 1) // 2]
