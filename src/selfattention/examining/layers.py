"""A layer with projections of its own: called by trial, given weights, and explained by a recipe."""

import re
from dataclasses import replace
from functools import cache
from itertools import groupby, islice

import numpy as np

from selfattention.examining.layer_asking import ORDER, Found, LayerAsker
from selfattention.examining.layer_calls import masks, role_of, ways
from selfattention.examining.layer_parts import insides, of_heads, speaks_of_turns
from selfattention.examining.layer_trials import Trial, elsewhere, hiding, masked, normal, plain
from selfattention.examining.layouts import FORMS, LAYOUTS
from selfattention.examining.process import Beyond, Stranger
from selfattention.examining.weights import Parameter, attributions
from selfattention.recipes.explain import Engine, Outcome, Weight
from selfattention.recipes.layer import ROOTLESS, SURROUNDINGS, surrounded

STEPS = (Weight.CONVENTION, Weight.MISTAKE_AND_CONVENTION, Weight.TWO_MISTAKES)
ALONE = "give the module of the attention alone, or a function of queries, keys and values"
LIKELY = 4  # attributions that are explained by mistakes; all are asked whether they are right
SCALES, BY_ONE = r"scal|sqrt|\*\* ?-? ?0?\.5", r"scal\w* ?= ?1(\.0*)?\b"  # as T5, which says so
OF_NO_KEYS = "head|quer|^q_"  # what a mask of heads or of queries is called
OF_ANOTHER = "enc|context|memory|cross"  # what a mask of another sequence is called
MOST = 400  # attributions that are looked at, and ways to read them where there is more inside
LAYERS_OWN = "(batch, n, d)", "(n, batch, d)", "(n, d)", "(batch, d, n)", "(batch, d, height, width)"
TAKEN = tuple(layout for name in LAYERS_OWN for layout in LAYOUTS if layout.name == name)


def has_matrices(layer: dict | None) -> bool:
    """Whether a described layer has projections; without, it is a function that torch calls a module."""
    return layer is not None and any(
        Parameter(str(n), tuple(s), str(o)).matrix for n, s, o in layer["parameters"]
    )


class LayerExaminer(LayerAsker):
    """Explains what a layer says."""

    def __init__(self, stranger: Stranger):
        super().__init__(stranger)
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
        best.unturned = self._unturned(best)
        best = self._of_another(best)
        said = [*self._of_masks(best), *self._of_the_causal_words(best)]
        best = max([best, *said], key=lambda f: f.weight)
        best.said = said
        best.unlooked += [a.name for a in self.stranger.arguments if re.search("past|cache", a.name.lower())]
        best.drops = self._drops(best)
        best.trains_otherwise = not best.drops and self._trains_otherwise(best)
        return best

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
        trials = plain(*sizes, widths)
        asked = Found(way, group[0])
        asked.outcomes, _ = self._outcomes(asked, trials[:1], hides=False)
        if self._draws(asked, trials[0]):
            asked.drops = True
            return asked
        asked.hides_the_future = self._hides(asked, trials[0])
        for step in (Weight.RIGHT, Weight.CONVENTION):
            for one, _ in self._readings(asked, group, trials):
                self._explain(one, step)
                if one.explanations:
                    return one
                self.engines.clear()
        same_order = (o for o, bare in self._readings(asked, group, trials) if bare)
        likely += islice(
            (o for o in same_order if o.attribution.order == group[0].order), LIKELY - len(likely)
        )
        return None

    def _readings(self, asked, group, trials):
        """(the layer read so, whether nothing stands around it): every attribution, with all it may have."""
        norms = any(p.of_a_norm and not of_heads(p) for p in self.parameters)
        more = any(len(ways) > 1 for a in group for _, ways in self._insides(a))
        read = self._each_reading(asked, group, trials, SURROUNDINGS if norms else SURROUNDINGS[:2])
        return islice(read, MOST if more else None)

    def _each_reading(self, asked, group, trials, surroundings):
        said = {}
        for attribution in group:
            for drawn, inside in self._insides(attribution):
                if drawn.beside not in said:
                    said[drawn.beside] = self._outcomes(replace(asked, attribution=drawn), trials)
                base, refused = said[drawn.beside]
                outcomes = [self._with(o, t, drawn) for o, t in self._paired(base, trials)]
                for parts in inside:
                    for around in surroundings:
                        one = replace(asked, attribution=drawn, outcomes=outcomes, refused=list(refused))
                        one.surroundings = (*parts, *around)
                        yield one, not around

    @cache  # noqa: B019 (one examiner for one layer)
    def _insides(self, attribution):
        return insides(attribution, self._arrays(attribution, True), self.stranger.words)

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
            if re.search(SCALES, self.stranger.words) and not re.search(BY_ONE, self.stranger.words):
                known = replace(known, conventions=tuple(c for c in known.conventions if c != ROOTLESS))
            self.engines[which] = Engine(known)
        return self.engines[which]

    def _width(self, attribution):
        arrays = self._arrays(attribution, True)
        return arrays["W_Q"].shape[0] if arrays else 0

    def _of_another(self, found):
        """The layer that looks at another sequence: in which order they come, and what then is wrong."""
        if not found.way.looks_elsewhere:
            return found
        trials = elsewhere(*self._widths(found.attribution))
        if self._unheeded(found, trials[0]):
            names = [name for name, _ in found.way.further]
            found.unheeded += names
            found.way = replace(found.way, further=())
            return found
        tried = []
        sets = [trials, *(hiding(trials, k) for k in (0, 3) if found.hides_the_future)]
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

    def _unturned(self, found):
        """Whether no rotation shows, though its text speaks of them and no argument brings one."""
        brought = any(re.search("rot|rope|pos", a.name) for a in self.stranger.arguments)
        shows = any(c.path == "meet.turn" for c in found.surroundings)
        return found.right and speaks_of_turns(self.stranger.words) and not (brought or shows)

    def _of_masks(self, found):
        """The layer with each of its masks, by itself: of all forms the one with the smallest explanation."""
        names = masks(self.stranger.arguments)
        for name in names:
            sequences = self._sequences(found, name)
            if sequences is None:
                found.unlooked.append(name)
                continue
            tried = []
            for form in FORMS:
                one = replace(found, way=found.way.masked(name, form))
                more, refused = self._outcomes(one, masked(*sequences, found.attribution.h))
                if more:
                    one.outcomes, one.refused = found.outcomes + more, found.refused + refused
                    one.form = form.name
                    tried.append(one)
            tried.sort(key=lambda t: -len(t.outcomes))
            if tried and len(names) > 1 and self._ignored(found, name, sequences):
                found.unheeded.append(name)
            elif tried:
                yield self._smallest(found, tried, name)

    def _sequences(self, found, name):
        """X, Y and Z of an input that a mask of this name is about; None, where there is none."""
        if re.search(OF_NO_KEYS, name.lower()):
            return None
        if not re.search(OF_ANOTHER, name.lower()):
            return found.outcomes[0].inputs[:3]
        others = (o.inputs for o in found.outcomes if "look at" in o.name)
        return next((i[:3] for i in others if i[-1] is None), None)  # where the future is not hidden as well

    def _of_the_causal_words(self, found):
        """The layer with each argument for a causal mask."""
        words = [a.name for a in self.stranger.arguments if role_of(a.name) == "causal"]
        for word in words:
            X, Y, Z = found.outcomes[0].inputs[:3]
            n = X.shape[1]
            seen = np.broadcast_to(np.tri(n, dtype=bool), (len(X), 1, n, n))
            one = replace(found, way=replace(found.way, causal=word, mask=None))
            t = Trial(f"{word} = True", normal(*X.shape, seed=5), Y, Z, visible=seen, causal=True)
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
        for one in tried:  # by what is wrong already, if anything is
            again = (self.engine_of(one).explained(e.changes, one.outcomes) for e in found.explanations)
            one.explanations = [e for e in again if e]
            if one.explanations:
                one.weight = found.weight if one.explanations[0].changes else Weight.RIGHT
                return one
        for step in STEPS:
            for one in tried[: None if step is STEPS[0] else 6]:
                self._explain(one, step)
                if one.explanations:
                    return one
        raise Beyond(f"without {what} it is {self._so_far(found)}, and {self._unexplained(tried[0], what)}")

    def _so_far(self, found):
        said = " And: ".join(c.sentence for c in found.explanations[0].mistakes)
        return f"wrong ({said})" if said else "right"

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
            f"tokens {best.way.layout.name}{beside}; of what stands inside, rotations by 10,000, tables of "
            "distances, gates of σ and norms of heads are known, so give what else stands there alone"
        )
