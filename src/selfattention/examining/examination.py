"""Of all ways to call a function the one that it takes; of all explanations of its numbers the smallest."""

import re
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import median

import numpy as np

from selfattention.examining import kinds
from selfattention.examining.cases import Case
from selfattention.examining.fills import fills
from selfattention.examining.layouts import WHOLE, Unsayable
from selfattention.examining.plans import Plan, forms, plans
from selfattention.examining.process import Answer, Beyond, Stranger
from selfattention.examining.roles import OF_OTHERS
from selfattention.recipes.attention import WITHOUT_A_ROOT
from selfattention.recipes.explain import Engine, Explanation, Outcome, Weight
from selfattention.recipes.masks import CAUSAL

STEPS = (Weight.CONVENTION, Weight.MISTAKE_AND_CONVENTION, Weight.TWO_MISTAKES_AND_CONVENTION)
LARGE, SLOW = 1000, 0.05  # numbers in an input, and seconds of a processor for a call
TAMES = 4  # how many inputs may be tried to find one that is taken at all
FEW = 3  # inputs, if none of them separates anything, are too few to call a function right
FROM_THE_END = r"transpose\((\w+, ?)?-[12], ?-[12]\)|swapaxes\([^()]*-[12], ?-[12]\)|\.mT\b|matrix_transpose"
"""Axes counted so are written for whatever stands before them."""
CALLED_TWICE = 5  # inputs: as many as there are sizes
MOST = 0.7  # of the inputs that some way takes; a way that takes fewer is none


@dataclass
class Trial:
    """A plan, what came of every case with it, and how that is explained."""

    plan: Plan
    outcomes: list[Outcome] = field(default_factory=list)
    separating: int = 0  # how many of them were no tame inputs
    refused: list[tuple[Case, str]] = field(default_factory=list)
    drawn: bool = False  # whether its numbers are drawn anew in each call
    changed: bool = False  # whether an argument was written to
    place: int = 0  # of the output among the arrays that are returned
    returned: int = 1  # how many these are
    weight: Weight = Weight.UNKNOWN
    explanations: list[Explanation] = field(default_factory=list)
    beside: list["Trial"] = field(default_factory=list)  # with other numbers of axes

    @property
    def numbers(self) -> bytes:
        """All that came, to find those that say the same."""
        judged = self.plan.kind.name.encode()  # the same numbers may be right of one thing, wrong of another
        return judged + b"".join(
            o.name.encode() + b"".join(x.tobytes() for x in o.given) for o in self.outcomes
        )

    @property
    def right(self) -> bool:
        """Whether it is right, by whichever convention."""
        return self.weight <= Weight.CONVENTION


def worth_a_verdict(trial: Trial, words: str) -> None:
    """Take the names from numbers that say nothing; raises Beyond where nothing at all can be said.

    `words` is the function's own text.
    """
    given = [o.given for o in trial.outcomes]
    if given and not any(np.isfinite(x).any() for arrays in given for x in arrays):
        raise Beyond(f"all that it gave on {len(given)} inputs is NaN or ∞, which any mistake may have made")
    constant = given and all(np.ptp(x) == 0 for arrays in given for x in arrays if x.size)
    if constant and trial.weight > Weight.MISTAKE:  # which many pairs of mistakes give
        trial.weight, trial.explanations = Weight.UNKNOWN, []
    if trial.weight is Weight.UNKNOWN and not trial.drawn and (more := _more_than_the_formula(words)):
        raise Beyond(f"its numbers are no attention's that we know, and its text speaks of more: {more}")
    if trial.right and not trial.separating and len(given) < FEW and not trial.drawn:
        case, why = trial.refused[0] if trial.refused else (None, "")
        could = f"; it could not take “{case.name}”: {why}" if case else ""
        raise Beyond(f"right on {len(given)} inputs, in which no axis can be told from another{could}")


MORE = r"alibi|slopes?|rotary|rope|windows?|rel_?pos\w*|relative|sinks?|softcap|gates?|dilat\w*|topk"


def _more_than_the_formula(words: str) -> str:
    """What a function's text says of that which others add to the formula, and no recipe has inside."""
    return ", ".join(dict.fromkeys(re.findall(rf"\b(?:\w+_)?({MORE})(?:_\w+)?\b", words.lower())))


class Examiner:
    """Asks a stranger, and explains what it says."""

    def __init__(self, stranger: Stranger):
        self.stranger = stranger
        self.engines = {}
        self.refused = ""  # what it last stopped with

    def examine(self) -> Trial:
        """The trial to report; raises Beyond where no way to call the function gives an output."""
        for _, group in groupby(plans(self.stranger), key=lambda plan: (plan.library, plan.dtype)):
            group = list(group)
            usual = [plan for plan in group if not plan.form or plan.form in WHOLE]
            ways = self._ways(usual) or self._ways([plan for plan in group if plan not in usual], rounds=2)
            if ways:
                break
        else:
            raise Beyond(self._refusal())
        if self._draws(ways[0]):
            return Trial(ways[0], drawn=True)
        trials = [t for plan in ways for t in self.trials(plan, kinds.plain(plan.kind, plan.layout.axes))]
        if not trials:
            raise Beyond(self._refusal())
        best = self._beside_its_cache(trials) or self.chosen(self._of_each_number_of_axes(self._most(trials)))
        for role, stage in (("mask", self._masked), ("causal", self._causal)):
            if best.plan.has(role) and "visible" in best.plan.kind.operands:
                best = stage(best)
        return best

    def _beside_its_cache(self, trials) -> Trial | None:
        """The trial in which a function that has arguments for a cache was given one, if it is explained."""
        past = "|".join(OF_OTHERS[role] for role in ("past_K", "past_V"))
        given = [t for t in trials if t.plan.kind.grows]
        if given and any(re.search(past, a.name.lower()) for a in self.stranger.arguments):
            best = self.chosen(self._of_each_number_of_axes(self._most(given)))
            return best if best.explanations else None
        return None

    def _ways(self, found, rounds=TAMES) -> list[Plan]:
        """The plans that take one of the tame inputs; of those that differ by the mask's form, one or two."""
        open_, ways = list(found), []
        for number in range(rounds):
            asked = [(plan, _tame(plan, number)) for plan in open_]
            takes = {
                plan
                for (plan, case), answer in zip(asked, self._answers(asked), strict=True)
                if answer
                and any(
                    _output(plan, case, answer.arrays, at) is not None for at in range(len(answer.arrays))
                )
            }
            ways += [plan for plan in open_ if plan in takes]
            open_ = [plan for plan in open_ if plan not in takes]
        ways.sort(key=found.index)
        kept = {}
        for plan in ways:
            hides = plan.form and "hidden" in plan.form.name
            kept.setdefault((plan.with_form(None), hides), plan)
        return list(kept.values())

    def _small_ones_first(self, plan, cases):
        """Cases with their answers; whoever loops over all numbers in Python is not asked the large ones."""
        small = [case for case in cases if case.size < LARGE]
        large = [case for case in cases if case.size >= LARGE]
        answers = self._answers([(plan, case) for case in small])
        yield from zip(small, answers, strict=True)
        if median([a.seconds for a in answers if a and not a.error] or [0]) > SLOW:
            yield from ((case, Answer(error="not asked, for smaller ones took long")) for case in large)
        else:
            yield from zip(large, self._answers([(plan, case) for case in large]), strict=True)

    def _draws(self, plan) -> bool:
        """Whether two calls with the same arrays give other numbers, whatever arrays these are.

        A place that is never written to, the odd column of pairs say, differs by chance, and on some only.
        """
        found = kinds.plain(plan.kind, plan.layout.axes)[:CALLED_TWICE]
        pairs = (self._answers([(plan, case)] * 2) for case in found)
        differ = (
            not all(map(_the_same, one.arrays, other.arrays)) for one, other in pairs if one and not one.error
        )
        return next(differ, False) and all(differ)

    def _answers(self, asked):
        """The answers to plans and cases, None for what cannot be said."""
        requests = []
        for plan, case in asked:
            try:
                requests.append(plan.request(case))
            except Unsayable:
                requests.append(None)
        answers = iter(self.stranger.calls([request for request in requests if request]))
        found = [request and next(answers) for request in requests]
        errors = [answer.error for answer in found if answer and answer.error]
        self.refused = errors[-1] if errors else self.refused
        return found

    def trials(self, plan, cases) -> list[Trial]:
        """What comes of the cases: a trial for each place at which the outputs may have been returned."""
        answers, refused, changed = [], [], False
        for case, answer in self._small_ones_first(plan, cases):
            if answer is None:
                continue
            changed |= answer.changed
            if answer.error:
                refused.append((case, answer.error))
            else:
                answers.append((case, answer.arrays))
        found = [
            self._trial(plan, place, answers, refused, changed)
            for place in range(max((len(arrays) for _, arrays in answers), default=0))
        ]
        most = max((len(trial.outcomes) for trial in found), default=0)
        return [trial for trial in found if trial.outcomes and len(trial.outcomes) == most]

    def _trial(self, plan, place, answers, refused, changed):
        trial = Trial(plan, refused=list(refused), changed=changed, place=place)
        for case, arrays in answers:
            trial.returned = max(trial.returned, len(arrays))
            given = _output(plan, case, arrays, place)
            if given is None:
                trial.refused.append((case, "the output has another shape"))
                continue
            name = f"{case.name} ({plan.kind.handed}, {plan.layout.axes} axes)"
            trial.outcomes.append(Outcome(name, plan.kind.inputs(case), given))
            trial.separating += not case.tame and bool(np.isfinite(given[0]).any())
        return trial

    def _most(self, trials):
        """Those that take about as many of the separating inputs as any does."""
        most = {}
        for t in trials:
            most[t.plan.kind] = max(most.get(t.plan.kind, 0), t.separating)
        enough = [t for t in trials if t.separating >= MOST * most[t.plan.kind] - 1]
        return list({t.numbers: t for t in reversed(enough)}.values())[::-1]

    def _of_each_number_of_axes(self, trials):
        """For each number of axes the trial with the smallest explanation; deep ones only if need be."""
        ordered = sorted(trials, key=lambda t: t.plan.layout.axes)
        groups = [list(group) for _, group in groupby(ordered, key=lambda t: t.plan.layout.axes)]
        for step in STEPS:
            for group in groups:
                if not any(t.explanations for t in group):
                    for trial in group:
                        self.explain(trial, step)
                        if trial.right:
                            break
            if any(t.explanations and not t.right for group in groups for t in group):
                break
            if all(any(t.explanations for t in group) for group in groups):
                break
        return [min(group, key=lambda t: (t.weight, not self._spoken(t), -t.separating)) for group in groups]

    def _spoken(self, trial):
        """Whether the function's name says what it is judged as."""
        says = trial.plan.kind.says
        return bool(says and re.search(says, self.stranger.name, re.IGNORECASE))

    def chosen(self, trials) -> Trial:
        """Of several numbers of axes the one that its author means."""
        right = [t for t in trials if t.right]
        wrong = [t for t in trials if not t.right]
        if right and not self._meant(right, wrong):
            best = max(right, key=lambda t: (t.separating, t.plan.layout.axes))
        else:
            keys = {id(t): (t.weight, not self._spoken(t), -t.separating, -t.plan.layout.axes) for t in wrong}
            best = min(wrong, key=lambda t: keys[id(t)])
        best.beside = [t for t in trials if t is not best]
        return best

    def _meant(self, right, wrong):
        """Whether it is wrong with more axes than it is right with, and written for them, or speaks of them.

        A softmax along axis 1 is right with two axes, and no error with three.
        """
        highest = max(t.plan.layout.axes for t in right)
        more = [t.plan.layout.axes for t in wrong if t.plan.layout.axes > highest and t.explanations]
        words = {3: r"\b(batch\w*|bmm|bs|bsz|B)\b", 4: r"\b(n_?heads?|heads?|num_heads)\b"}
        written = re.search(FROM_THE_END, self.stranger.words)
        return any(written or re.search(words[axes], self.stranger.words) for axes in more)

    def explain(self, trial, deepest, mistakes=()) -> None:
        """Write down the smallest explanation, if it is no larger than `deepest`."""
        engine = self._engine(trial.plan.kind.known, tuple(mistakes))
        trial.weight, trial.explanations = engine.explain(trial.outcomes, deepest)

    def engine_of(self, trial) -> Engine:
        """The engine that explained a trial, and knows what would have been right."""
        return self._engine(trial.plan.kind.known, ())

    def _engine(self, known, mistakes):
        """The engine for what is known, without conventions that the function's own words deny."""
        if (known, mistakes) not in self.engines:
            denied = set()
            if not re.search(r"causal|autoregress|decoder|gpt|tri[lu]\b", self._said(), re.IGNORECASE):
                denied.add(CAUSAL)
            if re.search(r"scal|sqrt|\*\* ?-? ?0?\.5", self._said(), re.IGNORECASE):
                denied.add(WITHOUT_A_ROOT)
            conventions = tuple(c for c in known.conventions if c not in denied)
            more = replace(known, conventions=conventions, mistakes=(*known.mistakes, *mistakes))
            self.engines[known, mistakes] = Engine(more)
        return self.engines[known, mistakes]

    def _said(self):
        return f"{self.stranger.name} {self.stranger.words}"

    def _masked(self, plain):
        """The trial with a mask: of all forms that it takes, the one with the smallest explanation."""
        plan = plain.plan
        cases = kinds.masked(plan.kind, plan.layout.axes)
        before = plain if plan.form is None else Trial(plan)
        if plan.form is not None:  # it wants a mask always: then it is asked all anew with each
            cases = (*kinds.plain(plan.kind, plan.layout.axes), *cases)
        trials = [
            replace(
                t,
                outcomes=before.outcomes + t.outcomes,
                refused=before.refused + t.refused,
                beside=plain.beside,
            )
            for form in forms(dict(plan.roles), plan.arguments)
            for t in self.trials(plan.with_form(form), cases)
            if t.place == plain.place
        ]
        return self._smallest(trials, plain)

    def _causal(self, plain):
        """The trial with the word for a causal mask as well."""
        plan = plain.plan
        found = [
            t for t in self.trials(plan, kinds.causal(plan.kind, plan.layout.axes)) if t.place == plain.place
        ]
        trials = [replace(plain, outcomes=plain.outcomes + t.outcomes) for t in found]
        return self._smallest(trials, plain)

    def _smallest(self, trials, otherwise):
        if not trials:
            return otherwise
        most = max(len(t.outcomes) for t in trials)
        trials = [t for t in trials if len(t.outcomes) >= MOST * most]
        trials = list({t.numbers: t for t in reversed(trials)}.values())[::-1]
        trials.sort(key=lambda t: -len(t.outcomes))
        for step in STEPS:
            for trial in trials:
                self.explain(trial, step, self._fills(trial.plan) if step > Weight.CONVENTION else ())
                if trial.explanations:
                    return trial
            if step is Weight.MISTAKE_AND_CONVENTION:
                trials = trials[:3]
        return trials[0]

    def _fills(self, plan):
        """What its fill is, if it shows one."""
        if plan not in self.engines:
            self.engines[plan] = fills(lambda case: self._asked(plan, case.of(plan.layout.axes)))
        return self.engines[plan]

    def _asked(self, plan, case):
        if plan.form is None or plan.kind.handed != ("Q", "K", "V"):
            return None
        trials = self.trials(plan, [case])
        return trials[0].outcomes[0].given[0] if trials else None

    def _refusal(self):
        names = ", ".join(a.name for a in self.stranger.arguments)
        tried = f"{self.stranger.name}({names}) gave no output of a shape that fits, in any order and layout"
        if not plans(self.stranger):
            return (
                f"nobody told which of {self.stranger.name}({names}) are queries, keys and values, or tokens"
            )
        return f"{tried}; the last error was {self.refused}" if self.refused else tried


def _the_same(a, b):
    return a is None or b is None or np.array_equal(a, b, equal_nan=True)


def _output(plan, case, arrays, place) -> tuple[np.ndarray, ...] | None:
    """The outputs from a place on, in the recipe's axes; None if they are not of the outputs' shapes."""
    wanted = plan.kind.shapes(case)
    if plan.kind.alone and len(arrays) > 1:
        return None
    given = arrays[place : place + len(wanted)]
    if len(given) < len(wanted):
        return None
    found = [
        _back(plan, array, shape, any_length=plan.kind.grows and at > 0)
        for at, (array, shape) in enumerate(zip(given, wanted, strict=True))
    ]
    return None if any(x is None for x in found) else tuple(found)


def _back(plan, array, shape, any_length):
    """An array in the recipe's axes; None where its shape is another, but for `any_length` of tokens."""
    if array is None or array.dtype.kind != "f" or (array.size != np.prod(shape) and not any_length):
        return None
    if plan.kind.other and array.squeeze().shape == tuple(k for k in shape if k > 1):
        array = array.reshape(shape)
    try:
        array = plan.layout.back(array, shape) if len(shape) == plan.layout.axes else array
    except ValueError:  # as many numbers, in other axes
        return None
    if any_length and array.ndim == len(shape):
        shape = (*shape[:-2], array.shape[-2], shape[-1])
    return array if array.shape == shape else None


def _tame(plan, number):
    found = kinds.plain(plan.kind, plan.layout.axes)
    tame = [c for c in found if c.tame] or list(found)
    return tame[min(number, len(tame) - 1)]
