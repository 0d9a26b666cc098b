"""The smallest explanation of somebody's numbers: right, a convention, one mistake, two, and a reading."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from selfattention.recipes.budget import allowed, as_computed, far, nudged, same, scale
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
    TWO_MISTAKES_AND_CONVENTION = 5
    UNKNOWN = 6


@dataclass(frozen=True)
class Computed:
    """What a recipe gives, None if it cannot take the input, with what is asked of it again and again."""

    arrays: tuple[np.ndarray, ...] | None
    largest: float
    finite: bool
    changes: tuple[Change, ...]  # whose identity is the key: they live as long as it stands for them


class Engine:
    """Explains outcomes of one judged function; what a recipe gives of an input is computed once."""

    def __init__(self, known: Known):
        self.known = known
        self.kept = {}
        self.recipes = {}

    def explain(self, outcomes, deepest=Weight.TWO_MISTAKES) -> tuple[Weight, list[Explanation]]:
        """The smallest weight, and all explanations of it that give every outcome; none, if UNKNOWN."""
        outcomes = sorted(outcomes, key=lambda o: o.size)
        with np.errstate(all="ignore"):
            for weight, level in zip(Weight, self.known.levels(), strict=False):
                if weight > deepest:
                    break
                found = [e for changes in level if (e := self._explained(changes, outcomes))]
                if found:
                    return weight, found
        return Weight.UNKNOWN, []

    def explained(self, changes, outcomes) -> Explanation | None:
        """The explanation, if the changes give every outcome with one of the readings."""
        with np.errstate(all="ignore"):
            return self._explained(changes, outcomes)

    def _explained(self, changes, outcomes):
        precisions = self._precisions(changes, None, outcomes)
        if _enough(precisions):
            return Explanation(changes, None, _usual(precisions))
        if self._finite(changes, outcomes[: len(precisions)]):
            return None
        for reading in self.known.readings:
            if all(apart(reading, change) for change in changes):
                precisions = self._precisions(changes, reading, outcomes)
                if _enough(precisions):
                    return Explanation(changes, reading, _usual(precisions))
        return None

    def _precisions(self, changes, reading, outcomes):
        """For each outcome the finest precision in which it comes out so, NO_MATTER where rounding decides.

        None, and no more, where it does not come out so.
        """
        found = []
        for outcome in outcomes:
            found.append(self._precision(changes, reading, outcome))
            if found[-1] is None:
                break
        return found

    def _precision(self, changes, reading, outcome):
        kept = self._computed(changes, reading, outcome, DOUBLE)
        exact = kept.arrays
        if exact is None or [x.shape for x in exact] != [x.shape for x in outcome.given]:
            return None
        off = any(far(g, e, kept.largest) for g, e in zip(outcome.given, exact, strict=True))
        if off and not self._fragile(changes, reading, outcome, exact):
            return None
        if off:
            return NO_MATTER
        ways = [changes, *((*changes, o) for o in self.known.orders if all(apart(o, c) for c in changes))]
        for precision in outcome.precisions:
            if any(self._rounds_so(way, reading, outcome, precision, exact) for way in ways):
                return precision
        return NO_MATTER if self._fragile(changes, reading, outcome, exact) else None

    def _rounds_so(self, way, reading, outcome, precision, exact):
        """Whether rounding explains the rest: as if all was computed so, or some of it better."""
        rough = self.computed(way, reading, outcome, np.dtype(np.float32), nudged)
        rounded = self.computed(way, reading, outcome, precision)
        beside = scale(exact)
        budgets = [allowed(e, c, precision, beside) for e, c in zip(exact, rough, strict=True)]
        return any(all(map(same, outcome.given, arrays, budgets)) for arrays in (rounded, exact))

    def _fragile(self, changes, reading, outcome, exact):
        """Whether a unit in the last place makes other numbers: ties, or a sum that is nearly 0."""
        if not any(change.fragile for change in changes):
            return False
        rough = self.computed(changes, reading, outcome, DOUBLE, nudged)
        return any(map(far, rough, exact))

    def _finite(self, changes, outcomes):
        """Whether no number is infinite or none at all: then no row sees nobody, and no reading matters."""
        return all(self._computed(changes, None, o, DOUBLE).finite for o in outcomes)

    def computed(self, changes, reading, outcome, precision, of=tuple):
        """What the recipe so changed gives of the outcome's input; None if it cannot take it."""
        return self._computed(changes, reading, outcome, precision, of).arrays

    def _computed(self, changes, reading, outcome, precision, of=tuple):
        changes = (*changes, reading) if reading else changes
        key = *map(id, changes), outcome.name, precision, of
        if key not in self.kept:
            try:
                arrays = as_computed(self._recipe(changes), of(outcome.inputs), precision)
                finite = all(np.isfinite(x).all() for x in arrays)
                self.kept[key] = Computed(arrays, scale(arrays), finite, changes)
            except (ValueError, TypeError, IndexError):  # axes that do not fit: it raises there as well
                self.kept[key] = Computed(None, 0.0, True, changes)
        return self.kept[key]

    def _recipe(self, changes):
        """The recipe with changes; but for the last they are mostly another's as well."""
        if not changes:
            return self.known.recipe
        key = tuple(map(id, changes))
        if key not in self.recipes:
            self.recipes[key] = changes[-1].of(self._recipe(changes[:-1])), changes
        return self.recipes[key][0]


DOUBLE = np.dtype(np.float64)
NO_MATTER = "rounding decides"


def _enough(precisions):
    """Whether all come out so, and not half of them by rounding."""
    return all(precisions) and 2 * precisions.count(NO_MATTER) < len(precisions)


def _usual(precisions):
    """That of the middle, from fine to coarse."""
    precisions = [precision for precision in precisions if precision is not NO_MATTER]
    return sorted(precisions, key=lambda precision: np.finfo(precision).eps)[(len(precisions) - 1) // 2]
