"""Moving a model: what two libraries answer differently, and the line that makes them agree.

    from selfattention.dialects import moving
    for change in moving("keras_torch/MultiHeadAttention", "torch/scaled_dot_product_attention"):
        print(change.question, change.before.reading, change.after.reading, change.line)

A line is looked up in `lines`, and run before it is given: what the second library says is a reading, a
function that calls our contract; the line changes its arguments or what it gives, and the first library's
numbers must come out. Where no line is known to do so, there is none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from selfattention.dialects.asking import Asked
from selfattention.dialects.lines import LINES
from selfattention.dialects.questions import QUESTIONS
from selfattention.dialects.questions.mask_types import HIDES, SHOWS
from selfattention.dialects.questions.question import Question
from selfattention.dialects.readings import REFUSED, Numbers, close, every_key, masked, output
from selfattention.dialects.recorded import Answer, answers, reading

ADDED = "added to the scores"
RESULTS = {"output": "O", "weights": "A", "log-sum-exp": "L"}
SAID_OTHERWISE = (
    "mask-of-booleans",
    "mask-of-float-ones",
    "mask-of-integers",
    "mask-of-bytes",
    "mask-of-zero-and-minus-infinity",
    "mask-of-two-axes",
    "causal-",
    "mask-and-causal",
    "bias-and-causal",
    "empty-row-by-padding-and-causal",
    "grouped-heads",
    "scale-by-default",
)
"""Where a refusal is of one way to say it, and a line says the same in another way."""


@dataclass(frozen=True)
class Change:
    """One question on which two doors differ, in the first variant in which they do.

    `before` and `after` are their answers, numbers and all. `line`, added to the second one's call, gives the
    first one's numbers; None where no line is known.
    """

    question: str
    variant: str
    before: Answer
    after: Answer
    line: str | None


def doors() -> tuple[str, ...]:
    """All that answers, as "library/door"."""
    return tuple(dict.fromkeys(f"{answer.library}/{answer.door}" for answer in answers()))


def moving(from_: str, to: str) -> tuple[Change, ...]:
    """What becomes different when a model goes from one door to another, both as "library/door".

    Asked are the questions that both have an argument for, in their order; nothing is run but our contract.
    Raises ValueError where a door is unknown.
    """
    for name, door in {"from_": from_, "to": to}.items():
        if door not in doors():
            library = door.partition("/")[0]
            near = [known for known in doors() if known.startswith(f"{library}/")] or sorted(
                {known.partition("/")[0] for known in doors()}
            )
            raise ValueError(f"{name} is {door!r}; wanted one of {', '.join(near)}")
    return tuple(_changes(from_, to))


def _changes(from_: str, to: str) -> Iterator[Change]:
    before, after = _answered()[from_], _answered()[to]
    booleans = after.get(("mask-of-booleans", ""))
    for name, question in QUESTIONS.items():
        for variant in question.inputs:
            one, other = (said.get((name, variant)) for said in (before, after))
            if one and other and one.reading != other.reading:
                line = agreement(name, variant, other.reading, one.reading, booleans and booleans.reading)
                yield Change(name, variant, one, other, line)
                break


@cache
def _answered() -> dict[str, dict[tuple[str, str], Answer]]:
    said: dict[str, dict[tuple[str, str], Answer]] = {}
    for answer in answers():
        door = said.setdefault(f"{answer.library}/{answer.door}", {})
        door[answer.question, answer.variant] = answer
    return said


@cache
def agreement(name: str, variant: str, says: str, wanted: str, booleans: str | None = SHOWS) -> str | None:
    """The line after which a library that says one reading gives the numbers of another, if we know one.

    `booleans` is how that library reads a boolean mask, which is what some lines make of another one.
    """
    for line in LINES.get(name, {}).get(wanted, ()):
        if _agrees(QUESTIONS[name], variant, says, wanted, line, booleans):
            return line
    return None


def _agrees(question, variant, says, wanted, line, booleans):
    try:
        if says == REFUSED:
            says = _instead_of_refusing(question, variant, line)
        if says not in question.readings:
            return False
        numbers = with_line(
            question, variant, line, lambda asked: told(question, variant, says, asked, booleans)
        )
    except (AttributeError, TypeError, ValueError, IndexError):  # the line is about another argument
        return False
    return close(numbers, question.expected(wanted, variant), question.variant(variant).Q.dtype.name)


def _instead_of_refusing(question, variant, line):
    """What our contract says, where a library refused one way to say it and the line takes another."""
    given = question.asked_once(variant)
    usual = variant == "" or given.literal is not None  # a refusal of half precision is one for all masks
    if not usual or not question.name.startswith(SAID_OTHERWISE):
        return REFUSED
    asked, _ = changed(given, line)
    if _same_way(given, asked):
        return REFUSED
    said = reading("ours", "numpy_direct", question.name)
    return ADDED if said == REFUSED else said  # what replaces a mask of numbers is read by its dtype


def _same_way(given, asked):
    if given.literal is not None and asked.literal is not None:
        return given.literal.dtype.kind == asked.literal.dtype.kind
    return all(getattr(given, name) is value for name, value in vars(asked).items())


def changed(asked: Asked, line: str) -> tuple[Asked, dict[str, Any]]:
    """What is asked after the part of a line that comes before the call, and all names that it knows."""
    names = _names(asked)
    for step in _steps(asked, line, after=False):
        exec(step, names)
    changes = {name: names[name] for name in vars(asked) if name in names}
    if asked.literal is not None:
        changes |= {"literal": names["mask"], "mask": None}
    return asked.but(**changes), names


def with_line(question: Question, variant: str, line: str, tell: Callable[[Asked], Any]) -> Numbers:
    """The numbers of a call with a line; `tell` makes the call: a library, or a reading in its place."""
    given = question.asked_once(variant)
    if given.wants == "storage":
        return _stored_otherwise(given, line, tell)
    asked, names = changed(given, line)
    numbers, after = np.asarray(tell(asked), np.float64), _steps(given, line, after=True)
    if not after:
        return numbers
    result = RESULTS[given.wants]
    names[result] = _shaped(numbers, given)
    for step in after:
        exec(step, names)
    return question.pick(names[result])


def _steps(asked, line, after):
    """The parts of a line before the call, or after it: those that set its result."""
    result = f"{RESULTS.get(asked.wants)} ="
    return [step for step in line.split("\n") if step.startswith(result) == after]


def _names(asked):
    """What a line can use and change."""
    n, m, h, g = asked.Q.shape[-2], asked.K.shape[-2], asked.Q.shape[-3], asked.K.shape[-3]
    names = {name: value for name, value in vars(asked).items() if name not in ("literal", "wants")}
    names |= {"np": np, "n": n, "m": m, "h": h, "g": g}
    return names if asked.literal is None else names | {"mask": asked.literal}


def _shaped(numbers, asked):
    """The numbers with the axes of the output, the weights or the log-sum-exp."""
    rows, keys = asked.Q.shape[:-1], asked.K.shape[-2]
    if asked.wants == "log-sum-exp":
        return numbers.reshape(rows)
    if asked.wants == "weights":
        return numbers.reshape(*rows, keys)
    return numbers.reshape(*rows, -1) if numbers.size else numbers.reshape(*rows[:-1], 0, 1)


# What a library that takes a reading makes of a call that the line has changed.


def told(question: Question, variant: str, says: str, asked: Asked, booleans: str | None = SHOWS) -> Numbers:
    """The reading's numbers; where the line says what was left open, what it says, as our contract has it."""
    given = question.asked_once(variant)
    if given.literal is not None:
        return _mask_of_its_dtype(says, given, asked, booleans)
    if question.name == "half-many-keys":
        return (question.readings[says] if asked.V.dtype == np.float16 else output())(asked)
    if question.name == "half-beyond-its-range":
        return _multiplied_first(asked) if says == "NaN" else output()(asked)
    if given.dropout:
        dropped = says == "weights are dropped" or asked.training
        return question.readings[
            "weights are dropped" if dropped and asked.dropout else "nothing is dropped"
        ](asked)
    if given.window is not None:
        return output(masked)(asked) if asked.window is None else _window(says, asked)
    if _settled(question, given, asked):
        return output(masked)(asked)
    return question.readings[says](asked)


def _settled(question, given, asked):
    """Whether the line has taken away what the question is about."""
    if question.name.startswith("nan-in"):
        return not any(np.isnan(X).any() for X in (asked.K, asked.V))
    return (
        given.causal != asked.causal
        or given.scale != asked.scale
        or (given.mask is None) != (asked.mask is None)
        or (given.mask is not None and asked.mask is not None and given.mask.ndim != asked.mask.ndim)
    )


def _mask_of_its_dtype(says, given, asked, booleans):
    """A mask that a line turned into booleans is read as those are, numbers that it made are added."""
    mask = asked.literal
    if mask is None:
        return output(every_key)(asked)
    if mask.dtype.kind != given.literal.dtype.kind:
        says = booleans if mask.dtype == bool else ADDED
    if says == ADDED:
        return output(bias=mask.astype(np.float64))(asked)
    hidden = {HIDES: mask != 0, SHOWS: mask == 0, "0 is hidden, −∞ is seen": mask == 0}
    if says not in hidden:
        raise ValueError(f"says is {says!r}; wanted a reading that makes a mask of booleans")
    return output(lambda asked: ~hidden[says])(asked)


def _multiplied_first(asked):
    """NaN where a product leaves half precision before it is scaled."""
    S = asked.Q.astype(np.float64) @ asked.K.swapaxes(-1, -2).astype(np.float64)
    beyond = np.abs(S).max() > np.finfo(np.float16).max
    return output()(asked.but(Q=np.full_like(asked.Q, np.nan)) if beyond else asked)


WINDOWS = {  # window -> the farthest key ahead and behind, as j − i and i − j; ∞ for no end
    "two keys, its own among them": lambda w: (0, w - 1),
    "three keys, its own among them": lambda w: (0, w),
    "one key to each side": lambda w: (w - 1, w - 1),
    "two keys to each side": lambda w: (w, w),
    "its own, two before and all behind": lambda w: (np.inf, w),
}


def _window(says, asked):
    ahead, behind = WINDOWS[says](asked.window)
    back = np.arange(asked.Q.shape[2])[:, None] - np.arange(asked.K.shape[2])
    return output(lambda asked: ((-ahead <= back) & (back <= behind))[None, None])(asked)


def _stored_otherwise(asked, line, tell):
    """The shape of the weights of the queries after a line, and whether they are turned."""
    readings = QUESTIONS["storage-of-weights"].readings
    h, d = asked.Q.shape[1], asked.Q.shape[1] * asked.Q.shape[3]
    W = np.arange(d * d).reshape(d, d)  # in, out
    forms = {"in, out": W, "out, in": W.T, "in, heads, d": W.reshape(d, h, -1)}
    forms["3 · out, in"] = np.concatenate([W.T, -W, -W])
    numbers = tell(asked)
    says = next(form for form in forms if np.array_equal(numbers, readings[form](asked)))
    names = {"np": np, "W": forms[says], "h": h}
    exec(line, names)
    same = [form for form, stored in forms.items() if np.array_equal(stored, names["W"])]
    return readings[same[0]](asked) if same else np.zeros(0)
