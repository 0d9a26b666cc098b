"""A layer as it is asked: with weights drawn anew, in which layout, what it hides, and in which mode."""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from selfattention.examining.layer_calls import Way
from selfattention.examining.layer_parts import windows
from selfattention.examining.layer_trials import SAYABLE, Trial, masked, plain
from selfattention.examining.layouts import FORMS, Unsayable
from selfattention.examining.process import Stranger
from selfattention.examining.weights import Attribution, Parameter
from selfattention.recipes.explain import Explanation, Outcome, Weight

LETTERS = "QKVO"
ORDER = (*(f"W_{x}" for x in LETTERS), *(f"b_{x}" for x in LETTERS))


@dataclass
class Found:
    """How a layer is called, which of its parameters is what, and how its numbers are explained."""

    way: Way
    attribution: Attribution
    surroundings: tuple = ()
    outcomes: list[Outcome] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    weight: Weight = Weight.UNKNOWN
    explanations: list[Explanation] = field(default_factory=list)
    hides_the_future: bool = False
    drops: bool = False  # though nobody trains
    trains_otherwise: bool = False
    changed: bool = False
    place: int = 0
    returned: int = 1
    unheeded: list[str] = field(default_factory=list)  # arguments that change nothing
    unlooked: list[str] = field(default_factory=list)  # arguments of which nothing is said
    unturned: bool = False  # though its text speaks of rotations, and nobody hands them over
    form: str = ""  # of the mask that it is about
    said: list["Found"] = field(default_factory=list)  # with a mask each

    @property
    def right(self) -> bool:
        """Whether it is right, by whichever convention."""
        return self.weight <= Weight.CONVENTION and not self.drops


class LayerAsker:
    """Calls a layer, and makes outcomes of what it says."""

    def __init__(self, stranger: Stranger):
        self.stranger = stranger
        self.parameters = [Parameter(str(n), tuple(s), str(o)) for n, s, o in stranger.layer["parameters"]]
        self.error = ""
        self.tried = set()

    # Calls.

    def _prepared(self, attribution, biases=True, **changes):
        of = dict(attribution.of)
        b = {name for role, names in of.items() if role.startswith("b_") for name in names}
        drawn = sorted(attribution.named if biases else attribution.named - b)
        zero = sorted(attribution.silenced + ([] if biases else list(b)))
        small = b | {name for name, is_small in attribution.beside if is_small}
        said = {"draw": [[n, n in small] for n in drawn], "zero": zero, "training": False, "rate": 0.0}
        return said | changes

    def _asked(self, way, attribution, trials, **changes):
        """[(trial, answer)] of those that can be said."""
        said, requests = [], []
        for t in trials:
            try:
                requests.append(
                    way.request(
                        t.X, t.Y, t.Z, t.visible, self._prepared(attribution, t.biases, **changes), t.causal
                    )
                )
            except Unsayable:
                continue
            said.append(t)
        answers = self.stranger.calls(requests)
        self.error = self.error or next((a.error for a in answers if a.error), "")
        return list(zip(said, answers, strict=True))

    def _outcomes(self, found, trials, hides=None):
        """Outcomes of trials, and [(trial's name, why it was refused)]."""
        made, refused = [], []
        W = [self._arrays(found.attribution, biases) for biases in (False, True)]
        hides = found.hides_the_future if hides is None else hides
        for t, answer in self._asked(found.way, found.attribution, trials):
            wanted = (*t.X.shape[:-1], W[1]["W_O"].shape[1])
            place, output = self._output(found.way, answer, wanted)
            if output is None:
                refused.append((t.name, answer.error or "the output has another shape"))
                continue
            found.place, found.returned = place, max(found.returned, len(answer.arrays))
            found.changed |= answer.changed
            visible = t.visible
            if hides and t.Y is None and not t.causal:
                n = t.X.shape[1]
                visible = np.tri(n, dtype=bool)[None, None] & (True if visible is None else visible)
            arrays = [W[t.biases][name] for name in ORDER]
            h, g = found.attribution.h, found.attribution.g
            said = f"{t.name} (a layer{', hiding' if hides else ''})"
            made.append(Outcome(said, (t.X, t.Y, t.Z, *arrays, h, g, visible), (output,)))
        return made, refused

    def _output(self, way, answer, wanted):
        for place, array in enumerate(answer.arrays):
            if array is None or array.dtype.kind != "f" or array.size != np.prod(wanted):
                continue
            try:
                lain = way.layout.back(array, wanted if way.layout.axes > 2 else wanted[1:])
            except ValueError:
                continue
            if way.layout.axes == 2:
                lain = lain[None]
            if lain.shape == wanted:
                return place, lain
        return 0, None

    @cache  # noqa: B019 (one examiner for one layer)
    def _arrays(self, attribution, biases):
        return attribution.arrays(biases)

    # Sizes.

    def _widths(self, attribution):
        return [self._arrays(attribution, True)[f"W_{x}"].shape[0] for x in "QKV"]

    def _d_k(self, attribution):
        return self._arrays(attribution, True)["W_Q"].shape[1] // attribution.h

    def _taken(self, way, attribution, widths):
        """(batch, n) that it takes, or None."""
        for sizes in ((2, 6), (1, 6), *((1, n) for n in self._lengths())):
            t = plain(*sizes, widths)[0]
            asked = self._asked(way, attribution, [t])
            self.tried.add(way.layout.name)
            wanted = (*t.X.shape[:-1], self._arrays(attribution, True)["W_O"].shape[1])
            if asked and self._output(way, asked[0][1], wanted)[1] is not None:
                return sizes
        return None

    def _lengths(self):
        """Numbers of tokens that tables are made for and attributes speak of."""
        numbers = self.stranger.layer["numbers"]
        words = "tokens", "seq_len", "context", "block", "length", "patches", "area"
        spoken = sorted({n for name, n in numbers.items() if 1 < n < 300 and any(w in name for w in words)})
        return [*windows(self.parameters), *spoken[:3]]

    # What changes nothing, and what is hidden.

    def _hides(self, found, trial):
        """Whether a row does not depend on what comes after it."""
        X = trial.X.copy()
        X[:, -1] += 1
        first = trial.X.copy()
        first[:, 0] += 1
        trials = [trial, replace(trial, X=X), replace(trial, X=first)]
        outputs = [o.given[0] for o in self._outcomes(found, trials, hides=False)[0]]
        if len(outputs) < 3:
            return False
        plain, later, earlier = outputs
        same = np.allclose(plain[:, :-1], later[:, :-1], atol=1e-5, rtol=1e-5)
        return bool(same and not np.allclose(plain[:, 1:], earlier[:, 1:], atol=1e-5, rtol=1e-5))

    def _unheeded(self, found, trial):
        """Whether an argument for another sequence, which it need not have, changes nothing."""
        asked = [trial, replace(trial, Y=None, Z=None)]
        outputs = [o.given[0] for o in self._outcomes(replace(found), asked, hides=False)[0]]
        return bool(found.way.further) and len(outputs) == 2 and np.array_equal(*outputs)

    def _ignored(self, found, name, sequences):
        """Whether a mask changes nothing, in no form that it takes; who has another one may not need it."""
        t = next(t for t in masked(*sequences, found.attribution.h) if t.name.startswith(SAYABLE))
        plain = self._outcomes(found, [replace(t, visible=None)])[0]
        each = [self._outcomes(replace(found, way=found.way.masked(name, form)), [t])[0] for form in FORMS]
        given = [o.given[0] for outcomes in each for o in outcomes]
        return bool(plain and given) and all(np.array_equal(x, plain[0].given[0]) for x in given)

    # In which mode.

    def _twice(self, found, times=2, **changes):
        t = Trial("", *found.outcomes[0].inputs[:3])
        answers = [
            self._asked(replace(found.way, mask=None, causal=""), found.attribution, [t], **changes)[0][1]
            for _ in range(times)
        ]
        wanted = found.outcomes[0].given[0].shape
        return [self._output(found.way, a, wanted)[1] for a in answers]

    def _drops(self, found):
        """Whether dropout works though the layer evaluates, at a rate that it had or is given."""
        outputs = self._twice(found, rate=0.5)
        return any(o is not None and not _alike(o, found.outcomes[0].given[0]) for o in outputs)

    def _draws(self, found, trial):
        """Whether two calls with the same tokens give other numbers, dropout at 0 as far as it can be set."""
        pair = [self._asked(found.way, found.attribution, [trial])[0][1] for _ in range(2)]
        one, other = (self._output(found.way, answer, found.outcomes[0].given[0].shape)[1] for answer in pair)
        return one is not None and other is not None and not np.array_equal(one, other, equal_nan=True)

    def _trains_otherwise(self, found):
        """Whether training changes more than dropout, whose rate is 0 here."""
        (output,) = self._twice(found, 1, training=True)
        given = found.outcomes[0].given[0]
        return output is not None and not _alike(output, given)


def _alike(one, other):
    """Whether rounding may be all that differs: with dropout a layer may take another way to compute."""
    return np.allclose(one, other, atol=1e-4, rtol=1e-4, equal_nan=True)
