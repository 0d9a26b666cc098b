"""What is to be said of a function: a verdict in plain sentences, and the same for machines."""

import json
import textwrap
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from selfattention.examining.examination import Trial
from selfattention.printed import printed
from selfattention.recipes.explain import Explanation


class Status(IntEnum):
    """How the command ends."""

    RIGHT = 0
    MISTAKE = 1
    CANNOT_TELL = 2


@dataclass(frozen=True)
class Examined:
    """The verdict on a function; true if it is right. `str` is a page of text."""

    name: str
    status: Status
    title: str
    names: tuple[tuple[str, ...], ...] = ()  # of the mistakes; several tuples where they cannot be told apart
    paragraphs: tuple[str, ...] = ()
    called: str = ""

    def __bool__(self) -> bool:
        return self.status is Status.RIGHT

    def __str__(self) -> str:
        wrapped = [textwrap.fill(p, 92, subsequent_indent="  ") for p in (self.title, *self.paragraphs)]
        return printed("\n".join(wrapped))

    __repr__ = __str__

    def markdown(self) -> str:
        """The same as Markdown."""
        return "\n\n".join([f"# {self.name}", f"**{self.title}**", *self.paragraphs]) + "\n"

    def as_json(self) -> str:
        """The same for machines."""
        said = {
            "name": self.name,
            "status": self.status.name.lower(),
            "title": self.title,
            "mistakes": [list(names) for names in self.names],
            "called": self.called,
            "paragraphs": list(self.paragraphs),
        }
        return json.dumps(said, ensure_ascii=False, indent=1) + "\n"


def cannot(name: str, why: str) -> Examined:
    """Of what cannot be examined."""
    return Examined(name, Status.CANNOT_TELL, f"? {name}: cannot tell. {why.rstrip('.')}.")


def examined(name: str, trial: Trial, engine) -> Examined:
    """Of what was."""
    names = _distinct(trial.explanations)
    status = Status.RIGHT if trial.right else Status.MISTAKE
    return Examined(
        name,
        status,
        _title(name, trial, names),
        names if status else (),
        tuple(filter(None, _paragraphs(trial, engine, names))),
        called(trial),
    )


def _distinct(explanations):
    """The sentences of each explanation's mistakes, equal ones once."""
    return tuple(dict.fromkeys(tuple(c.sentence for c in e.mistakes) for e in explanations))


def _title(name, trial, names):
    (first, *_) = trial.explanations or [None]
    if trial.drawn:
        return f"✗ {name}: it gives other numbers in each call: dropout is on, though nobody trains."
    if first is None:
        return f"✗ {name}: wrong, and none of the mistakes that we know."
    if trial.right:
        by = " and ".join(_lower(c.sentence) for c in first.conventions)
        return f"✓ {name}: right by another definition: {by}." if by else f"✓ {name}: right."
    if len(names) > 1:
        said = "; or: ".join(" And: ".join(n) for n in names[:4])
        return f"✗ {name}: {said}. Which of these cannot be told on what it can take."
    return f"✗ {name}: {'. And: '.join(names[0])}."


def _lower(sentence):
    return sentence[:1].lower() + sentence[1:]


def _paragraphs(trial, engine, names):
    (first, *_) = trial.explanations or [Explanation(())]
    yield f"Called as {called(trial)}."
    if first.reading:
        yield f"{first.reading.sentence}."
    elif trial.explanations and _gives_nan_to_empty_rows(trial):
        yield "Rows that see nobody give NaN."
    if not trial.right:
        if first.conventions:
            others = "; ".join(_lower(c.sentence) for c in first.conventions)
            yield f"Right by another definition in the rest: {others}."
        chapters = dict.fromkeys(c.chapter for e in trial.explanations for c in e.mistakes)
        yield f"In this course: {'; '.join(filter(None, chapters))}." if any(chapters) else ""
        yield evidence(trial, engine)
    if first.precision == np.float32 and trial.plan.dtype == "float64":
        yield "Somewhere inside it computes in float32, though it is given float64."
    if trial.changed:
        yield "It writes into an array that it is given: whoever calls it finds another one afterwards."
    if not trial.drawn:
        yield _reach(trial)


def _gives_nan_to_empty_rows(trial):
    return any("nobody" in o.name and np.isnan(o.given[0]).any() for o in trial.outcomes)


def called(trial: Trial) -> str:
    """How it wants to be called, in a line."""
    plan = trial.plan
    roles = ", ".join(
        role if name.startswith("*") or name == role else f"{name} = {role}"
        for name, role in plan.roles
        if role in plan.kind.handed
    )
    said = f"({roles}), each {plan.layout.name}, {plan.library} arrays of {plan.dtype}"
    if plan.has("QKV"):
        said += f", {plan.packing}"
    if plan.turned:
        said += ", matrices (out, in)"
    if plan.form is not None:
        said += f", mask: {plan.form.name}"
    places = f"{trial.returned} things, the output at place {trial.place}"
    return f"{said}; it returns {'the output' if trial.returned == 1 else places}"


def evidence(trial: Trial, engine) -> str:
    """The smallest input on which it is wrong, and both numbers."""
    (first, *_) = trial.explanations or [None]
    conventions = first.conventions if first else ()
    for outcome in sorted(trial.outcomes, key=lambda o: o.size):
        if engine.explained(conventions, [outcome]) is None:
            exact = engine.computed(conventions, None, outcome, np.dtype(np.float64))
            name = outcome.name.rpartition(" (")[0]
            return f"For example ({name}), {_where(outcome.given, exact)}."
    return ""


def _where(given, exact):
    """The place that is farthest off, and both numbers."""
    which, apart = max(enumerate(map(_apart, given, exact)), key=lambda pair: pair[1].max())
    at = np.unravel_index(apart.argmax(), apart.shape)
    of = f"output {which}" if len(given) > 1 else "the output"
    place = ", ".join(map(str, at))
    return f"{of} in place [{place}] is {given[which][at]:.6g}; wanted {exact[which][at]:.6g}"


def _apart(given, exact):
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.where(given == exact, 0, np.abs(given - exact))  # ∞ is ∞
    return np.where(np.isnan(far), np.where(np.isnan(given) & np.isnan(exact), 0, np.inf), far)


def _reach(trial):
    taken = f"Looked at on {len(trial.outcomes)} inputs."
    if not trial.refused:
        return taken
    case, why = trial.refused[0]
    return f"{taken} It could not take {len(trial.refused)} others, the first of them “{case.name}”: {why}."
