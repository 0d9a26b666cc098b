"""What is to be said of a function: a verdict in plain sentences, and the same for machines."""

import json
import textwrap
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from selfattention.examining.dialect import Readings, Unknown, compared, expected, lines
from selfattention.examining.examination import Trial
from selfattention.examining.layer_asking import Found
from selfattention.examining.plans import mask_of, of_the_hidden
from selfattention.printed import printed
from selfattention.recipes.explain import Explanation, Weight


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
    layer: bool = False  # whether it has projections of its own
    readings: Readings = field(default_factory=dict)  # of every question of `dialects` that could be asked

    def __bool__(self) -> bool:
        return self.status is Status.RIGHT

    def __str__(self) -> str:
        said = (self.title, *self.paragraphs, *self._read())
        wrapped = [textwrap.fill(p, 92, subsequent_indent="  ") for p in said]
        return printed("\n".join(wrapped))

    __repr__ = __str__

    def _read(self):
        return ["What the formula leaves open:", *lines(self.readings)] if self.readings else []

    def held_to(self, of: str) -> "Examined":
        """The same, a mistake if one of its readings is another than those of a library or of a file."""
        if self.status is Status.CANNOT_TELL:
            return self
        try:
            both, first = compared(self.readings, expected(of, layer=self.layer))
        except Unknown as error:
            return cannot(self.name, str(error))
        if first and not self:
            return replace(self, paragraphs=(*self.paragraphs, f"Not as {of} either: {first}."))
        if first:
            title = f"✗ {self.name}: not as {of}: {first}."
            return replace(
                self, status=Status.MISTAKE, title=title, paragraphs=(self.title, *self.paragraphs)
            )
        if not both:
            return cannot(self.name, f"{of} and this function have no question of `dialects` in common")
        same = f"As {of} in all {both} answers that both give."
        return replace(self, paragraphs=(same, *self.paragraphs))

    def markdown(self) -> str:
        """The same as Markdown."""
        read = [f"- {line}" for line in lines(self.readings)]
        said = [f"# {self.name}", f"**{self.title}**", *self.paragraphs, *filter(None, ["\n".join(read)])]
        return "\n\n".join(said) + "\n"

    def as_json(self) -> str:
        """The same for machines."""
        said = {
            "name": self.name,
            "status": self.status.name.lower(),
            "title": self.title,
            "mistakes": [list(names) for names in self.names],
            "called": self.called,
            "paragraphs": list(self.paragraphs),
            "readings": self.readings,
        }
        return json.dumps(said, ensure_ascii=False, indent=1) + "\n"


def cannot(name: str, why: str) -> Examined:
    """Of what cannot be examined."""
    return Examined(name, Status.CANNOT_TELL, f"? {name}: cannot tell. {why.rstrip('.')}.")


def examined(name: str, trial: Trial, engine, readings: Readings) -> Examined:
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
        readings=readings,
    )


def examined_layer(name: str, found: Found, engine, how: str, readings: Readings) -> Examined:
    """Of a layer with projections of its own."""
    names = _distinct(found.explanations) if found.weight > Weight.CONVENTION else ()
    if found.drops:
        names = tuple((DROPS, *each) for each in names or ((),))
    conventions = (*found.surroundings, *(found.explanations[0].conventions if found.explanations else ()))
    return Examined(
        name,
        Status.RIGHT if found.right else Status.MISTAKE,
        _layer_title(name, names, conventions, (*found.attribution.silenced, *found.unlooked)),
        names,
        tuple(filter(None, _layer_paragraphs(found, engine, how))),
        _layer_called(found),
        layer=True,
        readings=readings,
    )


DROPS = "Dropout is on, though nobody trains: evaluation mode does not reach it"


def _layer_title(name, names, conventions, unlooked):
    if names:
        return _wrong(name, names)
    by = " and ".join(_lower(c.sentence) for c in conventions)
    right = f"✓ {name}: right, with this around or inside: {by}" if by else f"✓ {name}: right"
    return f"{right}; at {', '.join(unlooked[:3])} nobody has looked." if unlooked else f"{right}."


def _layer_paragraphs(found, engine, how):
    if how:
        yield f"Built as {how}."
    yield f"Called as {_layer_called(found)}."
    yield from _meant_otherwise(found.way.layout)
    yield f"Its parameters: {found.attribution}."
    if found.hides_the_future:
        yield "Each token sees itself and what came before, whatever it is told."
    if found.unturned:
        yield "Its text speaks of rotations, and none shows: places make no difference to it."
    for each in found.said:
        yield " ".join(_of_a_mask(each))
    if found.explanations and found.weight > Weight.CONVENTION:
        chapters = dict.fromkeys(c.chapter for e in found.explanations for c in e.mistakes)
        yield f"In this course: {'; '.join(filter(None, chapters))}." if any(chapters) else ""
        yield evidence(found, engine)
    if found.trains_otherwise:
        yield "In training mode, with dropout of 0, it gives other numbers."
    if found.changed:
        yield "It writes into an array that it is given: whoever calls it finds another one afterwards."
    if found.unheeded:
        yield f"It takes no notice of {', '.join(found.unheeded)}."
    if found.unlooked:
        yield f"Not looked at: {', '.join(found.unlooked)}."
    if found.attribution.silenced:
        yield f"Put to 0, and so not looked at: {', '.join(found.attribution.silenced[:6])}."
    if found.explanations:
        yield f"Its weights were drawn anew, dropout was set to 0. Looked at on {len(found.outcomes)} inputs."
    if found.refused:
        which, why = found.refused[0]
        yield f"It could not take “{which}”: {why.rstrip('.')}."


def _of_a_mask(found):
    (first, *_) = found.explanations
    yield f"{found.way.causal or found.way.mask[0]}: {found.form}."
    if first.reading:
        yield f"{first.reading.sentence}."
    elif _gives_nan_to_empty_rows(found):
        yield "Rows that see nobody give NaN."
    yield from (f"{c.sentence}." for c in first.conventions)


def _layer_called(found):
    way = found.way
    letters = dict(way.own) | dict(way.further)
    each = ", ".join(f"{name} = {letter}" for name, letter in letters.items())
    places = f"{found.returned} things, the output at place {found.place}"
    returns = "the output" if found.returned == 1 else places
    return f"({each}), each {way.layout.name}; it returns {returns}"


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
    return _wrong(name, names)


def _wrong(name, names):
    if len(names) > 1:
        said = "; or: ".join(" And: ".join(n) for n in names[:4])
        return f"✗ {name}: {said}. Which of these cannot be told on what it can take."
    return f"✗ {name}: {'. And: '.join(names[0])}."


def _lower(sentence):
    return sentence[:1].lower() + sentence[1:]


def _paragraphs(trial, engine, names):
    (first, *_) = trial.explanations or [Explanation(())]
    yield f"Called as {called(trial)}."
    if trial.right:
        yield from _meant_otherwise(trial.plan.layout)
        yield from _called_for_the_others(trial.plan)
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
    if trial.right:
        yield from _with_more_axes(trial)
    if not trial.drawn:
        yield _reach(trial)


def _meant_otherwise(layout):
    """What is right as it was called, and wrong as its author may mean it."""
    if layout.name == "(n, batch, d)":
        yield "Where the batch comes first, and not the tokens, it attends from one sequence to another."


def _called_for_the_others(plan):
    """The same of a mask that is named for those who are hidden, and holds those who may be seen."""
    if plan.form is not None and "may be seen" in plan.form.name:
        name = mask_of(dict(plan.roles))
        if of_the_hidden(name):
            yield f"Where {name} marks what its name says, it is turned round: what it marks may be seen."


def _with_more_axes(trial):
    """What it does, without an error, to more axes than its author may have had in mind."""
    for other in sorted(trial.beside, key=lambda t: t.plan.layout.axes):
        more = other.plan.layout.axes > trial.plan.layout.axes
        if more and other.explanations and not other.right and other.plan.kind.name == trial.plan.kind.name:
            names = " And: ".join(_distinct(other.explanations)[0])
            yield f"Given {other.plan.layout.name} it raises no error, and is wrong: {_lower(names)}."
            return


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
    for which, (came, wanted) in enumerate(zip(given, exact, strict=True)):
        if came.shape != wanted.shape:
            return f"output {which} has the shape {came.shape}; wanted {wanted.shape}"
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
