"""A layer with projections of its own: called by trial, given weights, and explained by a recipe."""

import re
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby, islice

import numpy as np

from selfattention.examining.layer_calls import Way, masks, role_of, ways
from selfattention.examining.layouts import FORMS, LAYOUTS, Unsayable
from selfattention.examining.process import Beyond, Stranger
from selfattention.examining.weights import Attribution, Parameter, attributions
from selfattention.recipes.explain import Engine, Explanation, Outcome, Weight
from selfattention.recipes.layer import ROOTLESS, SURROUNDINGS, surrounded

STEPS = (Weight.CONVENTION, Weight.MISTAKE_AND_CONVENTION, Weight.TWO_MISTAKES)
LETTERS = "QKVO"
ORDER = (*(f"W_{x}" for x in LETTERS), *(f"b_{x}" for x in LETTERS))
SAYABLE = "padding, the same for the batch"  # in all forms
ALONE = "give the module of the attention alone, or a function of queries, keys and values"
LIKELY = 4  # attributions that are explained by mistakes; all are asked whether they are right
MOST = 400  # attributions that are looked at
LAYERS_OWN = "(batch, n, d)", "(n, batch, d)", "(n, d)", "(batch, d, n)", "(batch, d, height, width)"
TAKEN = tuple(layout for name in LAYERS_OWN for layout in LAYOUTS if layout.name == name)


def has_matrices(layer: dict | None) -> bool:
    """Whether a described layer has projections; without, it is a function that torch calls a module."""
    return layer is not None and any(
        Parameter(str(n), tuple(s), str(o)).matrix for n, s, o in layer["parameters"]
    )


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
    form: str = ""  # of the mask that it is about
    said: list["Found"] = field(default_factory=list)  # with a mask each

    @property
    def right(self) -> bool:
        """Whether it is right, by whichever convention."""
        return self.weight <= Weight.CONVENTION and not self.drops


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


class LayerExaminer:
    """Asks a layer, and explains what it says."""

    def __init__(self, stranger: Stranger):
        self.stranger = stranger
        self.parameters = [Parameter(str(n), tuple(s), str(o)) for n, s, o in stranger.layer["parameters"]]
        self.error = ""
        self.tried = set()
        self.engines = {}

    def examine(self) -> Found:
        """The best explanation; raises Beyond where there is none, or nothing to explain."""
        where = [place for place in self.stranger.layer["where"] if place != "cpu"]
        if where:
            raise Beyond(
                f"its weights are on the device {where[0]}; wanted a layer on the processor, .to('cpu')"
            )
        found = list(islice(attributions(self.parameters, self.stranger.layer["numbers"]), MOST))
        if not found:
            raise Beyond(self._unattributed())
        best = self._of_itself(found)
        if best is None:
            raise Beyond(self._refusal(found))
        if best.drops:
            return best
        if best.weight is Weight.UNKNOWN:
            raise Beyond(self._unexplained(best))
        if best.right:  # by which definition is settled, and not asked again for every mask
            by = best.explanations[0].conventions
            best.surroundings = (*best.surroundings, *by)
            best.explanations = [replace(best.explanations[0], changes=())]
        best = self._of_another(best)
        said = [*self._of_masks(best), *self._of_the_causal_words(best)]
        best = max([best, *said], key=lambda f: f.weight)
        best.said = said
        best.drops = self._drops(best)
        best.trains_otherwise = not best.drops and self._trains_otherwise(best)
        return best

    # Calls.

    def _prepared(self, attribution, biases=True, **changes):
        by_name = {p.name: p for p in self.parameters}
        of = dict(attribution.of)
        b = {name for role, names in of.items() if role.startswith("b_") for name in names}
        beside = [p.name for p in attribution.left if not p.of_a_norm and _shifts(p.name)]
        drawn = sorted(attribution.named if biases else attribution.named - b)
        zero = sorted(beside + ([] if biases else list(b)))
        assert set(drawn) <= set(by_name)
        said = {"draw": [[n, n in b] for n in drawn], "zero": zero, "training": False, "rate": 0.0}
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

    # Stages.

    def _of_itself(self, found):
        """The layer called with one sequence: layout, attribution, surroundings, and the explanation."""
        likely = []
        for (_, width), group in groupby(found, key=lambda a: (a.of, self._width(a))):
            group = [a for a in group if self._arrays(a, True) is not None] if width else []
            if not group:
                continue
            for layout in TAKEN:
                for way in ways(self.stranger.arguments, layout)[:1]:
                    best = self._first_right(group, replace(way, d_k=self._d_k(group[0])), likely)
                    if best:
                        return best
        if not likely:
            return None
        for step in STEPS[1:]:
            for candidate in likely:
                self._explain(candidate, step)
                if candidate.explanations:
                    return candidate
        return likely[0]

    def _first_right(self, group, way, likely):
        """The first attribution, with what surrounds it, that makes it right; else some go to `likely`."""
        widths = self._widths(group[0])
        sizes = self._taken(way, group[0], widths)
        if sizes is None:
            return None
        trials = _plain(*sizes, widths)
        asked = Found(way, group[0])
        asked.outcomes, refused = self._outcomes(asked, trials[:1], hides=False)
        if self._draws(asked, trials[0]):
            asked.drops = True
            return asked
        asked.hides_the_future = self._hides(asked, trials[0])
        base, refused = self._outcomes(asked, trials)
        surroundings = SURROUNDINGS if any(p.of_a_norm for p in self.parameters) else SURROUNDINGS[:2]
        for attribution in group:
            outcomes = [self._with(o, t, attribution) for o, t in self._paired(base, trials)]
            for around in surroundings:
                one = replace(asked, attribution=attribution, surroundings=around, outcomes=outcomes)
                one.refused = list(refused)
                self._explain(one, STEPS[0])
                if one.explanations:
                    return one
                self.engines.clear()
                if len(likely) < LIKELY and attribution.order == group[0].order and not around:
                    likely.append(one)
        return None

    def _paired(self, outcomes, trials):
        by_name = {t.name: t for t in trials}
        return [(o, by_name[o.name.rpartition(" (")[0]]) for o in outcomes]

    def _with(self, outcome, trial, attribution):
        """The same outcome, read with another attribution."""
        arrays = self._arrays(attribution, trial.biases)
        X, Y, Z, *_, visible = outcome.inputs
        inputs = X, Y, Z, *(arrays[name] for name in ORDER), attribution.h, attribution.g, visible
        return Outcome(outcome.name, inputs, outcome.given)

    def _explain(self, found, step):
        found.weight, found.explanations = self.engine_of(found).explain(found.outcomes, step)

    def engine_of(self, found: Found) -> Engine:
        """What explains it, without the definition that its own words deny."""
        which = found.attribution, found.surroundings
        if which not in self.engines:
            known = surrounded(found.surroundings)
            if re.search(r"scal|sqrt|\*\* ?-? ?0?\.5", self.stranger.words):
                known = replace(known, conventions=tuple(c for c in known.conventions if c != ROOTLESS))
            self.engines[which] = Engine(known)
        return self.engines[which]

    def _width(self, attribution):
        arrays = self._arrays(attribution, True)
        return arrays["W_Q"].shape[0] if arrays else 0

    def _widths(self, attribution):
        return [self._arrays(attribution, True)[f"W_{x}"].shape[0] for x in "QKV"]

    def _d_k(self, attribution):
        return self._arrays(attribution, True)["W_Q"].shape[1] // attribution.h

    def _taken(self, way, attribution, widths):
        """(batch, n) that it takes, or None."""
        for sizes in ((2, 6), (1, 6), *((1, n) for n in self._lengths())):
            t = _plain(*sizes, widths)[0]
            asked = self._asked(way, attribution, [t])
            self.tried.add(way.layout.name)
            wanted = (*t.X.shape[:-1], self._arrays(attribution, True)["W_O"].shape[1])
            if asked and self._output(way, asked[0][1], wanted)[1] is not None:
                return sizes
        return None

    def _lengths(self):
        """Numbers of tokens that attributes speak of."""
        numbers = self.stranger.layer["numbers"]
        words = "tokens", "seq_len", "context", "block", "length", "patches", "area"
        return sorted({n for name, n in numbers.items() if 1 < n < 300 and any(w in name for w in words)})[:3]

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

    def _of_another(self, found):
        """The layer that looks at another sequence: in which order they come, and what then is wrong."""
        if not found.way.looks_elsewhere:
            return found
        trials = _elsewhere(*self._widths(found.attribution))
        if self._unheeded(found, trials[0]):
            names = [name for name, _ in found.way.further]
            found.unheeded += names
            found.way = replace(found.way, further=())
            return found
        tried = []
        sets = [trials, *(_hiding(trials, k) for k in (0, 3) if found.hides_the_future)]
        for way in ways(self.stranger.arguments, found.way.layout):
            third = "Z" in {letter for _, letter in (*way.own, *way.further)}
            for some in sets:
                one = replace(found, way=replace(way, d_k=found.way.d_k))
                more, refused = self._outcomes(one, some if third else some[:1])
                if more:
                    one.outcomes, one.refused = found.outcomes + more, found.refused + refused
                    tried.append(one)
                elif not tried:
                    found.refused = [*found.refused[:1], *refused[:1]]
        return self._smallest(found, tried, "another sequence to look at") or found

    def _unheeded(self, found, trial):
        """Whether an argument for another sequence, which it need not have, changes nothing."""
        asked = [trial, replace(trial, Y=None, Z=None)]
        outputs = [o.given[0] for o in self._outcomes(replace(found), asked, hides=False)[0]]
        return bool(found.way.further) and len(outputs) == 2 and np.array_equal(*outputs)

    def _of_masks(self, found):
        """The layer with each of its masks, by itself: of all forms the one with the smallest explanation."""
        names = masks(self.stranger.arguments)
        for name in names:
            if _for_others(name):
                found.unlooked.append(name)
                continue
            tried = []
            X, Y, Z = found.outcomes[0].inputs[:3]
            for form in FORMS:
                one = replace(found, way=found.way.masked(name, form))
                more, refused = self._outcomes(one, _masked(X, Y, Z, found.attribution.h))
                if more:
                    one.outcomes, one.refused = found.outcomes + more, found.refused + refused
                    one.form = form.name
                    tried.append(one)
            tried.sort(key=lambda t: -len(t.outcomes))
            if tried and len(names) > 1 and self._ignored(found, name):
                found.unheeded.append(name)
            elif tried:
                yield self._smallest(found, tried, name)

    def _ignored(self, found, name):
        """Whether a mask changes nothing, in no form that it takes; who has another one may not need it."""
        X, Y, Z = found.outcomes[0].inputs[:3]
        t = next(t for t in _masked(X, Y, Z, found.attribution.h) if t.name == SAYABLE)
        plain = self._outcomes(found, [replace(t, visible=None)])[0]
        each = [self._outcomes(replace(found, way=found.way.masked(name, form)), [t])[0] for form in FORMS]
        given = [o.given[0] for outcomes in each for o in outcomes]
        return bool(plain and given) and all(np.array_equal(x, plain[0].given[0]) for x in given)

    def _of_the_causal_words(self, found):
        """The layer with each argument for a causal mask."""
        words = [a.name for a in self.stranger.arguments if role_of(a.name) == "causal"]
        for word in words:
            X, Y, Z = found.outcomes[0].inputs[:3]
            n = X.shape[1]
            seen = np.broadcast_to(np.tri(n, dtype=bool), (len(X), 1, n, n))
            one = replace(found, way=replace(found.way, causal=word, mask=None))
            t = Trial(f"{word} = True", _normal(*X.shape, seed=5), Y, Z, visible=seen, causal=True)
            more, refused = self._outcomes(one, [t])
            found.refused += refused
            if more:
                one.outcomes = found.outcomes + more
                one.form = "True is causal"
                yield self._smallest(found, [one], word)

    def _smallest(self, found, tried, what):
        """Of those that were tried the one with the smallest explanation; raises Beyond if there is none."""
        if not tried:
            return None
        for step in STEPS:
            for one in tried[: None if step is STEPS[0] else 6]:
                self._explain(one, step)
                if one.explanations:
                    return one
        raise Beyond(f"without {what} it is {self._so_far(found)}, and {self._unexplained(tried[0], what)}")

    def _so_far(self, found):
        said = " And: ".join(c.sentence for c in found.explanations[0].mistakes)
        return f"wrong ({said})" if said else "right"

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
        return any(
            o is not None and not np.allclose(o, found.outcomes[0].given[0], equal_nan=True) for o in outputs
        )

    def _draws(self, found, trial):
        """Whether two calls with the same tokens give other numbers, dropout at 0 as far as it can be set."""
        pair = [self._asked(found.way, found.attribution, [trial])[0][1] for _ in range(2)]
        one, other = (self._output(found.way, answer, found.outcomes[0].given[0].shape)[1] for answer in pair)
        return one is not None and other is not None and not np.array_equal(one, other, equal_nan=True)

    def _trains_otherwise(self, found):
        """Whether training changes more than dropout, whose rate is 0 here."""
        (output,) = self._twice(found, 1, training=True)
        given = found.outcomes[0].given[0]
        return output is not None and not np.allclose(output, given, atol=1e-4, rtol=1e-4, equal_nan=True)

    # Where there is no verdict.

    def _unattributed(self):
        names = ", ".join(p.name for p in self.parameters if p.matrix) or "none"
        return (
            "nobody told which of its parameters make queries, keys and values: by names and shapes none of "
            f"{names} could be attributed; {ALONE}"
        )

    def _refusal(self, found):
        names = ", ".join(a.name for a in self.stranger.arguments)
        fits = [a for a in found if self._arrays(a, True) is not None]
        if not fits:
            return f"names say {found[0]}, but the shapes of these do not fit one another; {ALONE}"
        tried = ", ".join(sorted(self.tried)) or "no layout"
        return (
            f"called as forward({names}) with tokens {tried} of width {self._width(fits[0])}, it gave "
            f"nothing of the shape of the tokens, and {f'first {self.error}' if self.error else 'no error'}"
        )

    def _unexplained(self, best, what=""):
        left = [p.name for p in best.attribution.left if not p.of_a_norm]
        beside = f"; of no known part are {', '.join(left[:6])}" if left else ""
        return (
            f"its numbers{f' with {what}' if what else ''} are those of no attention that we know, right or "
            f"wrong: read with {best.attribution}, "
            f"tokens {best.way.layout.name}{beside}; rotations, relative positions, gates and norms of heads "
            "inside the layer are not known, so give what they stand around, or a layer without them"
        )


def _shifts(name):
    return any(word in name.lower() for word in ("bias", "pos", "rel"))


def _for_others(name):
    """A mask of another sequence or of heads, which has nothing to do here."""
    return any(word in name.lower() for word in ("enc", "context", "memory", "cross", "head"))


def _normal(batch, n, width, seed=0):
    rng = np.random.default_rng([seed, batch, n, width])
    return rng.normal(size=(batch, n, width)).astype(np.float32).astype(np.float64)


def _plain(batch, n, widths):
    """Tokens; where keys and values are of another width, other tokens for these."""
    other = 15 if n == 6 else n
    zeros = _normal(batch, n, widths[0], 3)
    zeros[:, 2] = 0
    beside = (None, None)
    if len(set(widths)) > 1:
        beside = _normal(batch, n, widths[1], 4), _normal(batch, n, widths[2], 5)
    trials = [
        Trial(f"{n} tokens", _normal(batch, n, widths[0]), *beside),
        Trial("large tokens", 8 * _normal(batch, n, widths[0], 2), *beside),
        Trial("a token of zeros, no biases", zeros, *beside, biases=False),
    ]
    if len(set(widths)) == 1:
        larger = batch if other == n else batch + (batch > 1)
        trials.append(Trial(f"{other} tokens", _normal(larger, other, widths[0], 1)))
    return trials


def _elsewhere(*widths):
    X, Y, Z = (
        _normal(2, n, width, 4 + k) for k, (n, width) in enumerate(zip((6, 9, 9), widths, strict=True))
    )
    other = Trial("6 tokens that look at 9 others", X, Y, Y if widths[1] == widths[2] else Z)
    return [other, Trial("6 tokens, 9 keys and 9 other values", X, Y, Z)]


def _hiding(trials, k):
    """The same where the future is hidden: query 0 beside key 0, or the last query beside the last key."""
    seen = np.tri(6, 9, k, dtype=bool)
    return [replace(t, name=f"{t.name}, hiding from {k}", visible=seen[None, None]) for t in trials]


def _masked(X, Y, Z, h):
    batch, n, width = X.shape
    rng = np.random.default_rng([batch, n])
    some = rng.random((batch, 1, n, n)) < 0.6
    some |= np.arange(n) == np.arange(n)[:, None] % 3
    nobody = some[:1].copy()
    nobody[..., 2, :] = False
    seen = {
        "a mask": some,
        "a mask, the same for the batch": some[:1],
        "padding": np.arange(n) < np.array([n - 3, *[n - 1] * (batch - 1)]).reshape(batch, 1, 1, 1),
        SAYABLE: np.arange(n) < n - 2,
        "a triangle": np.tri(n, dtype=bool),
        "a row that may see nobody": nobody,
    }
    return [
        Trial(name, _normal(batch, n, width, 6 + k), Y, Z, visible=np.broadcast_to(v, (batch, h, n, n)))
        for k, (name, v) in enumerate(seen.items())
    ]
