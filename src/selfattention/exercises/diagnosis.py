"""What is to be said of an answer to an exercise: one of seven things, and the evidence for it.

An exercise is its solution, decorated, and the mistakes that people make in its place::

    @exercise(cases=[(0.0,), (3.0,)], worth_trying="A complex number.")
    def square(x):
        return x * x

    @square.mistake
    def double(x):
        '''Twice the number.'''
        return 2 * x

`square(my_square)` then gives a `Verdict`. An exercise that asks for a value is a function without
arguments, and takes the value itself for an answer. The exercises live in `selfattention.exercises`;
readers reach them through `selfattention.check`.
"""

import copy
import dis
import linecache
import textwrap
import traceback
from dataclasses import replace
from enum import Enum
from functools import cached_property
from inspect import isclass, isfunction, signature
from itertools import dropwhile
from reprlib import repr as short

import numpy as np

from selfattention.exercises.evidence import (
    Trial,
    Unfit,
    agree,
    briefly,
    describe,
    digits,
    equal,
    fits,
    inputs,
    numbers,
    parts,
    plain,
    shown,
    told,
)
from selfattention.mutants import sentence
from selfattention.printed import printed
from selfattention.recipes.explain import Engine, Outcome, Weight


class Kind(Enum):
    """What can be said of an answer."""

    NOT_ATTEMPTED = "not attempted"
    MODIFIED_INPUT = "modified input"
    RIGHT = "right"
    NAMED_MISTAKE = "named mistake"
    ERROR = "error"
    WRONG_SHAPE = "wrong shape"
    UNKNOWN_MISTAKE = "unknown mistake"


class Verdict:
    """What is said of one answer: true if it is right. `trial` holds the arrays that its text is about."""

    def __init__(self, kind, *sentences, trial=None, mistake=None):
        self.kind = kind
        self.text = "\n".join(textwrap.fill(sentence, 76) for sentence in sentences)
        self.trial = trial
        self.mistake = mistake  # the function that the answer equals

    def __bool__(self):
        return self.kind is Kind.RIGHT

    def __repr__(self):
        return printed(self.text)


def exercise(
    *,
    worth_trying,
    cases=((),),
    evidence=numbers,
    seen_as=None,
    rtol=1e-6,
    taken_as=None,
    edge=None,
    recipe=None,
):
    """Declare the function below to be the solution of an exercise of its name.

    `cases` are the inputs, one tuple each: axes of distinct primes, and the edges that matter.
    `worth_trying` is said to somebody whose answer is right, `evidence`, a function of a `Trial`, of a
    wrong one. Where many answers are right, `seen_as`, called with the answer and then the inputs,
    gives what is compared. `rtol` is the relative error allowed, of each number and of the largest.
    `taken_as` makes another function of an answer before it is called. `edge`, a function of the inputs, says
    which of them have rows that see nobody: what comes there hides no name. `recipe`, of
    `selfattention.recipes` and of the same inputs, explains two mistakes at once.
    """
    return lambda solution: Exercise(
        solution, worth_trying, cases, evidence, seen_as, rtol, taken_as, edge, recipe
    )


class Exercise:
    """A solution, what it is tried on, and the mistakes that have a name. Call it on an answer."""

    def __init__(
        self, solution, worth_trying, cases, evidence, seen_as, rtol, taken_as=None, edge=None, recipe=None
    ):
        self.solution = solution
        self.name = solution.__name__
        self.worth_trying = worth_trying
        self.arguments = tuple(signature(solution).parameters)
        self.cases = [dict(zip(self.arguments, case, strict=True)) for case in cases]
        self.evidence = evidence
        self.seen_as = seen_as
        self.rtol = rtol
        self.taken_as = taken_as
        self.edge = edge
        self.engine = recipe and Engine(replace(recipe, conventions=()))  # the exercise says which
        self.mistakes = {}  # function -> its evidence
        self.known = {}  # function -> its trials
        self.found = None

    def __repr__(self):
        return f"<exercise {self.name}: check.{self.name}(your answer) says what it is>"

    def mistake(self, function):
        """Declare a mistake: the solution's arguments, the mistake in the docstring's first line."""
        return self.mistake_shown_by(self.evidence)(function)

    def mistake_shown_by(self, evidence):
        """Declare a mistake that has evidence of its own."""

        def declare(function):
            self.mistakes[function] = evidence
            return function

        return declare

    def as_found(self, function):
        """Declare what the reader is given to repair. An answer that equals it is no attempt yet."""
        self.found = function
        return function

    @np.errstate(all="ignore")  # the reader's own runs still warn; a verdict must not stop at a NaN
    def __call__(self, answer: object) -> Verdict:
        """The verdict on an answer: a function, or the value where a value was asked for."""
        if untouched(answer):
            return Verdict(Kind.NOT_ATTEMPTED, "Not attempted yet.")
        if self.arguments and not callable(answer):
            wanted = f"wanted a function of {', '.join(self.arguments)}"
            return Verdict(Kind.WRONG_SHAPE, f"✗ You gave {type(answer).__name__} {short(answer)}; {wanted}.")
        trials = self.trials(answer if callable(answer) else lambda: answer)
        return next(verdict for step in STEPS if (verdict := step(self, trials)) is not None)

    def trials(self, function):
        """What a function makes of every case, beside what is wanted."""
        return [self._trial(function, *case) for case in zip(self.cases, self.wanted, strict=True)]

    def trials_of_a_known(self, function):
        """Those of a mistake, which are always the same."""
        if function not in self.known:
            self.known[function] = self.trials(function)
        return self.known[function]

    @cached_property
    def wanted(self):
        """What the solution returns in every case, and its parts."""
        return [self._solved(case) for case in self.cases]

    def _solved(self, case):
        right, wanted = self._outcome(self.solution, copy.deepcopy(case))
        if not isinstance(wanted, tuple):  # a library that the solution needs is missing, say
            raise getattr(wanted, "error", wanted)
        for part in wanted:  # verdicts share it
            part.flags.writeable = False
        return right, wanted

    def _trial(self, function, case, solved=None):
        right, wanted = solved or self._solved(case)
        passed = copy.deepcopy(case)
        function = self.taken_as(function) if self.taken_as else function
        result, given = self._outcome(function, passed, right, wanted)
        modified = tuple(name for name in case if _differs(case[name], passed[name]))
        return Trial(case, result, given, wanted, modified)

    @np.errstate(all="ignore")  # an overflow on the way is judged by what it leads to
    def _outcome(self, function, case, like=None, wanted=()):
        """What the function returns, and its parts as they are looked at; or what went wrong."""
        try:
            result = function(*case.values())
        except (Exception, SystemExit) as error:
            return None, error
        try:
            result = plain(result, like)
            if self.seen_as is not None:
                return result, parts(self.seen_as(result, *case.values()), wanted)
            given = parts(result, wanted)
            return result, given if self.arguments else _in_any_precision(given, wanted)
        except Exception as error:
            return result, Unfit(result, error)

    def right(self, trial):
        return equal(trial.given, trial.wanted, self.rtol)

    def failing(self, trials):
        """The smallest input on which the answer is wrong."""
        return min((trial for trial in trials if not self.right(trial)), key=lambda trial: trial.size)


def _in_any_precision(given, wanted):
    """Floats of a value that was asked for: nobody said in which format."""
    if {part.dtype.kind for part in (*given, *wanted)} != {"f"} or len(given) != len(wanted):
        return given
    return tuple(part.astype(whole.dtype) for part, whole in zip(given, wanted, strict=True))


def _differs(before, after):
    return isinstance(before, np.ndarray) and not np.array_equal(before, after, equal_nan=True)


def untouched(answer):
    """Whether this is a starter still: `...`, or a function or class that does nothing."""
    if isinstance(answer, tuple | list):
        return any(untouched(part) for part in answer)
    if isclass(answer):
        return not any(isfunction(value) for value in vars(answer).values())
    return answer is None or answer is ... or (isfunction(answer) and _does_nothing(answer))


def _does_nothing(function):
    code = list(dis.get_instructions(function))
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
    constants = [step.argval for step in code if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in code} <= idle and all(value in (None, ...) for value in constants)


def not_attempted(exercise, trials):
    if all(isinstance(trial.given, NotImplementedError) for trial in trials):
        return Verdict(Kind.NOT_ATTEMPTED, "Not attempted yet.")
    if exercise.found and _same_outcomes(exercise, trials, exercise.found):
        return Verdict(Kind.NOT_ATTEMPTED, "Not attempted yet: it still does what it did.")
    return None


def _same_outcomes(exercise, trials, function):
    others = exercise.trials_of_a_known(function)
    pairs = zip(trials, others, strict=True)
    return all(equal(trial.given, other.given, exercise.rtol) for trial, other in pairs)


def modified_input(exercise, trials):
    for trial in trials:
        if trial.modified:
            names = " and ".join(trial.modified)
            one = len(trial.modified) == 1
            what = f"argument {names}, which belongs" if one else f"arguments {names}, which belong"
            return Verdict(
                Kind.MODIFIED_INPUT,
                f"✗ Your function changes its {what} to the caller.",
                "Whoever calls it twice gets two answers; `+=` and `out=` are the usual suspects.",
                trial=trial,
            )
    return None


def right(exercise, trials):
    if not all(map(exercise.right, trials)):
        return None
    on_all = f" on all {len(trials)} inputs" if len(trials) > 1 else ""
    return Verdict(Kind.RIGHT, f"✓ Right{on_all}.", f"Worth trying: {exercise.worth_trying}")


def unknown_word(exercise, trials):
    """Where the answer is words, those that can be chosen are the words of all known answers."""
    (trial, *_) = trials
    if exercise.arguments or exercise.seen_as or not isinstance(trial.given, tuple):
        return None
    if {array.dtype.kind for array in (*trial.given, *trial.wanted)} != {"U"}:
        return None
    answers = [
        trial.wanted,
        *(exercise.trials_of_a_known(function)[0].given for function in exercise.mistakes),
    ]
    words = sorted({str(word) for (array,) in answers for word in array.flat})
    strange = [str(word) for word in trial.given[0].flat if word not in words]
    if not strange:
        return None
    return Verdict(
        Kind.WRONG_SHAPE, f"✗ “{strange[0][:40]}” is none of the words: {', '.join(words)}.", trial=trial
    )


def named_mistake(exercise, trials):
    for function, evidence in exercise.mistakes.items():
        if _same_outcomes(exercise, trials, function) or _shares_the_error(exercise, trials, function):
            trial = exercise.failing(trials)
            name = f"✗ {sentence(function)}."
            said = shown(evidence, trial)
            return Verdict(Kind.NAMED_MISTAKE, name, said, trial=trial, mistake=function)
    return None


def named_but_for_the_edge(exercise, trials):
    """Where rows see nobody, everybody has a reading of their own: the name is what the rest says."""
    if exercise.edge is None:
        return None
    rest = [not exercise.edge(*trial.inputs.values()) for trial in trials]
    inner = [trial for trial, keep in zip(trials, rest, strict=True) if keep]
    outer = [
        trial for trial, keep in zip(trials, rest, strict=True) if not keep and not exercise.right(trial)
    ]
    for function, evidence in exercise.mistakes.items():
        others = [o for o, keep in zip(exercise.trials_of_a_known(function), rest, strict=True) if keep]
        if all(map(exercise.right, others)) or not outer:
            continue
        if all(equal(t.given, o.given, exercise.rtol) for t, o in zip(inner, others, strict=True)):
            trial = exercise.failing(inner)
            also = f"Besides, {lower(numbers(min(outer, key=lambda t: t.size)))}"
            name = f"✗ {sentence(function)}."
            return Verdict(
                Kind.NAMED_MISTAKE, name, shown(evidence, trial), also, trial=trial, mistake=function
            )
    return None


def lower(text):
    """With a small letter, to go on with."""
    return text[:1].lower() + text[1:]


def explained(exercise, trials):
    """By the exercise's recipe: mistakes that have no function here, and two at once."""
    if not exercise.engine or not all(isinstance(t.given, tuple) and _floats_that_fit(t) for t in trials):
        return None
    outcomes = [Outcome(str(at), tuple(t.inputs.values()), t.given) for at, t in enumerate(trials)]
    weight, explanations = exercise.engine.explain(outcomes)
    if weight not in (Weight.MISTAKE, Weight.TWO_MISTAKES):
        return None
    (first, *_) = explanations
    trial = exercise.failing(trials)
    name = ". And: ".join(change.sentence for change in first.mistakes)
    said = shown(exercise.evidence, trial)
    return Verdict(Kind.NAMED_MISTAKE, f"✗ {name}.", said, trial=trial, mistake=first.mistakes[0].said)


def _floats_that_fit(trial):
    return fits(trial.given, trial.wanted) and all(part.dtype.kind == "f" for part in trial.given)


def _shares_the_error(exercise, trials, function):
    """Of several values at once, those that the mistake gets wrong, the answer gets wrong likewise."""
    (trial, *_), (other, *_) = trials, exercise.trials_of_a_known(function)
    alike = [isinstance(v, tuple) and fits(v, trial.wanted) for v in (trial.given, other.given)]
    if exercise.arguments or not all(alike):
        return False
    felt = [~agree(m, w, exercise.rtol) for m, w in zip(other.given, trial.wanted, strict=True)]
    shared = [agree(g, m, exercise.rtol) for g, m in zip(trial.given, other.given, strict=True)]
    return all(same[there].all() for same, there in zip(shared, felt, strict=True))


def raised(exercise, trials):
    for trial in trials:
        if isinstance(trial.given, BaseException):
            what = f"✗ {briefly(trial.given)}"
            at = f", for {inputs(trial)}" if trial.inputs else ""
            return Verdict(Kind.ERROR, what, f"{where(trial.given)}{at}.", trial=trial)
    return None


def where(error):
    """The innermost line that was running in the reader's own file, as the traceback has it.

    An error of another process has no traceback here, and brings the line along.
    """
    if hasattr(error, "where"):
        return error.where
    _, *rest = traceback.walk_tb(error.__traceback__) if error.__traceback__ else [None]
    frames = [*dropwhile(_ours, rest)]  # the first one is ours, and so may be the next
    if not frames:
        return "In the call itself"
    theirs = frames[0][0].f_code.co_filename
    frame, line = [(f, line) for f, line in frames if f.f_code.co_filename == theirs][-1]
    text = linecache.getline(theirs, line).strip()  # none, of code that no file holds
    return f"In line {line} of {frame.f_code.co_name}" + (f", `{text}`" if text else "")


OURS = __file__, __file__.replace("diagnosis", "testing")
"""Whose lines no reader has written."""


def _ours(frame_and_line):
    return frame_and_line[0].f_code.co_filename in OURS


def wrong_shape(exercise, trials):
    for trial in trials:
        if isinstance(trial.given, Unfit):
            why = f"Looking at it stopped with {str(trial.given).rstrip('.')}."
            return Verdict(
                Kind.WRONG_SHAPE,
                "✗ Wrong shape or type.",
                _came_and_wanted(exercise, trial),
                why,
                trial=trial,
            )
        if not fits(trial.given, trial.wanted):
            said = _came_and_wanted(exercise, trial)
            return Verdict(Kind.WRONG_SHAPE, "✗ Wrong shape or dtype.", said, trial=trial)
    return None


def _came_and_wanted(exercise, trial):
    """Both by their shapes: as they were returned, unless it is how they are looked at that differs."""
    solution = parts(exercise.solution(*copy.deepcopy(trial.inputs).values()))
    came, wanted = told(trial.result), describe(solution)
    if isinstance(trial.given, tuple) and (exercise.seen_as is None or came == wanted):
        came, wanted = describe(trial.given), describe(trial.wanted)
    like = "" if exercise.seen_as is None else "something like "
    return f"{f'For {inputs(trial)} you' if trial.inputs else 'You'} give {came}; wanted {like}{wanted}."


def unknown_mistake(exercise, trials):
    trial = exercise.failing(trials)
    right = min(min(map(digits, trial.given, trial.wanted)) for trial in trials)
    first = "✗ Not right, and none of the mistakes that we know."
    if right >= 2:
        first = f"✗ Right to {right} digits, and more are wanted. Was something rounded?"
    return Verdict(Kind.UNKNOWN_MISTAKE, first, shown(exercise.evidence, trial), trial=trial)


# In this order: a function that spoils its arguments may give any numbers; a known mistake may crash
# or have another shape, and its name says more than either.
STEPS = [
    not_attempted,
    modified_input,
    right,
    unknown_word,
    named_mistake,
    named_but_for_the_edge,
    explained,
    raised,
    wrong_shape,
    unknown_mistake,
]
