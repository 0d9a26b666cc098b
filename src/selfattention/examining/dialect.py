"""Which attention somebody's is, of those that the formula leaves open: asked the questions of `dialects`.

The questions' own inputs are put to the function, its numbers are recognised as one of the readings, and
data/dialects.json says who else reads so. `expected` makes of a library's row, or of an earlier verdict's
file, what a function is held to.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfattention.dialects import QUESTIONS, answers, doors, titles
from selfattention.dialects.answering import first_copy
from selfattention.dialects.readings import NONE, REFUSED, SILENT
from selfattention.examining.cases import Case
from selfattention.examining.layouts import Unsayable
from selfattention.examining.process import Stranger

Readings = dict[str, dict[str, str]]
"""Question -> variant -> reading; the variant "" is the question itself."""

SAYABLE = {"output", "n ≠ m", "half", "not a number", "d_v", "mask and causal", "masks of any dtype"}
"""What can be asked of any function of queries, keys and values."""

LAYER_READS = {
    "nothing": "zeros",
    "drowned": "mean of all keys",
    "shifted": "as if unmasked",
}
"""What the recipes' readings of rows that see nobody are called there."""

SHOWN = 3  # libraries that are named


def readings(stranger: Stranger, trial) -> Readings:
    """What a function answers to every question that it has arguments for."""
    plan = trial.plan
    if plan.kind.name != "attention" or "Q" not in plan.kind.handed:
        return {}
    takes = _takes(plan)
    asked = [
        (name, variant, question.variant(variant))
        for name, question in QUESTIONS.items()
        for variant in question.inputs
        if question.variant(variant).needs <= takes
    ]
    said, requests = [], []
    for name, variant, each in asked:
        try:
            requests.append(_request(plan, each))
        except Unsayable:
            continue
        said.append((name, variant, each))
    found: Readings = {}
    for (name, variant, each), answer in zip(said, stranger.calls(requests), strict=True):
        found.setdefault(name, {})[variant] = _reading(
            plan, trial.place, QUESTIONS[name], variant, each, answer
        )
    return found


def layer_readings(found) -> Readings:
    """Of a layer with projections of its own: what its masks mean, and rows that they leave nobody to see."""
    read: Readings = {}
    for each in found.said:
        if "True = " in each.form:
            hides = "True = hidden" in each.form
            read["mask-of-booleans"] = {"": "what is 1 is hidden" if hides else "what is 1 may be seen"}
        rows = [o.given[0] for o in each.outcomes if "nobody" in o.name]
        reading = each.explanations[0].reading
        if rows:
            name = LAYER_READS.get(reading.said.__name__) if reading else None
            said = "NaN" if np.isnan(rows[0]).any() else name
            read |= {"empty-row": {"": said}} if said else {}
    return read


def _takes(plan):
    takes = set(SAYABLE)
    if plan.layout.axes == 4:
        takes |= {"heads", "grouped"}
    takes |= {role for role in ("causal", "scale") if plan.has(role)}
    if plan.has("mask") and plan.form is not None:
        takes |= {"mask", "padding", "literal"}
        if plan.layout.axes == 4:
            takes.add("mask of fewer axes")
        if "added" in plan.form.name:
            takes.add("bias")
    return takes


def _request(plan, asked):
    """The call of a question; raises Unsayable where the function's mask or layout has no room for it."""
    plan = replace(plan, dtype=asked.Q.dtype.name)
    axes = plan.layout.axes
    if axes < 4 and (asked.Q.shape[1] > 1 or (axes == 2 and len(asked.Q) > 1)):
        raise Unsayable
    try:
        case = Case("", {letter: getattr(asked, letter) for letter in "QKV"}).of(axes)
        said = plan.request(case)
    except (ValueError, IndexError):
        raise Unsayable from None
    for role, value in _options(plan, asked):
        _put(said, plan, role, value)
    return said


def _options(plan, asked):
    mask = _mask(plan, asked)
    yield from [("mask", mask)] if mask is not None else []
    yield from [("causal", True)] if asked.causal else []
    yield from [("scale", asked.scale)] if asked.scale is not None else []
    yield from [("grouping", True)] if asked.Q.shape[1] != asked.K.shape[1] else []


def _mask(plan, asked):
    if asked.mask is not None and asked.mask.ndim < 4:
        return plan.form.value(asked.mask, plan.dtype)
    given = next((x for x in (asked.literal, asked.bias, asked.mask) if x is not None), None)
    if given is None:
        return None
    b, h, n, m = *asked.Q.shape[:3], asked.K.shape[2]
    given = np.broadcast_to(given, (b, h, n, m))
    lain = {4: given, 3: given[:, 0], 2: given[0, 0]}[plan.layout.axes]
    shaped = plan.form.shape(lain)
    written = plan.form.value(shaped, plan.dtype) if asked.mask is not None else shaped
    return np.ascontiguousarray(written)


def _put(said, plan, role, value):
    """The value for the argument that has the role; who needs no word for grouped heads has none."""
    roles = plan.roles if role != "grouping" else [(a.name, role) for a in plan.arguments if "gqa" in a.name]
    name = next((name for name, has in roles if has == role), None)
    if name is None:
        return
    place = next(i for i, a in enumerate(plan.arguments) if a.name == name)
    if place < len(said["args"]):
        said["args"][place] = value
    else:
        said["named"][name] = value


def _reading(plan, place, question, variant, asked, answer):
    if answer.error or place >= len(answer.arrays) or answer.arrays[place] is None:
        return REFUSED
    shape = (*asked.Q.shape[:3], asked.V.shape[-1])
    cut = {4: shape, 3: (shape[0], *shape[2:]), 2: shape[2:]}[plan.layout.axes]
    try:
        output = plan.layout.back(answer.arrays[place], cut)
        numbers = question.pick(first_copy(output.reshape(shape), question, asked))
    except ValueError:
        return REFUSED
    return question.recognised(numbers, variant)


# Who else reads so.


def lines(read: Readings) -> Iterator[str]:
    """A line for each question that it answers in a way that is known: the reading, and who shares it."""
    for question, variants in read.items():
        if set(variants.values()) == {NONE}:
            continue
        first = next(iter(variants.values()))
        others = {v: r for v, r in variants.items() if r != first}
        but = "".join(f"; {variant}: {reading}" for variant, reading in others.items())
        yield f"{question}: {first}{but}{_like(question, next(iter(variants)), first)}"


def _like(question, variant, reading):
    if reading in (REFUSED, NONE, SILENT):
        return ""
    who = dict.fromkeys(
        f"{titles()[a.library]} {a.version}"
        for a in answers()
        if (a.question, a.variant, a.reading) == (question, variant, reading) and a.library != "ours"
    )
    if not who:
        return " (nobody else whom we asked)"
    more = f" and {len(who) - SHOWN} more" if len(who) > SHOWN else ""
    return f" (like {', '.join(list(who)[:SHOWN])}{more})"


# What a function is held to.


class Unknown(Exception):
    """What is no library and no file of readings."""


def expected(of: str, layer: bool = False) -> Readings:
    """The readings of "library", "library/door", or of a file that `--json` wrote; raises Unknown.

    Of a library's doors the first counts, for a layer the first that is one.
    """
    if of.endswith(".json") or Path(of).is_file():
        return _written(of)
    known = doors()
    mine = [door for door in known if door == of or door.startswith(f"{of}/")]
    if not mine:
        names = ", ".join(dict.fromkeys(door.partition("/")[0] for door in known))
        raise Unknown(f"expect is {of!r}; wanted a file that --json wrote, or one of {names}")
    layers = {f"{a.library}/{a.door}" for a in answers() if a.question == "storage-of-weights"}
    which = next((door for door in mine if (door in layers) == layer), mine[0])
    read: Readings = {}
    for a in answers():
        if f"{a.library}/{a.door}" == which:
            read.setdefault(a.question, {})[a.variant] = a.reading
    return read


def _written(path):
    try:
        read = json.loads(Path(path).read_text("utf-8"))["readings"]
        return {str(q): {str(v): str(r) for v, r in variants.items()} for q, variants in read.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unknown(f"expect is {path!r}, which has no readings ({type(error).__name__})") from None


def compared(read: Readings, wanted: Readings) -> tuple[int, str]:
    """(how many answers both have, the first that differs in a sentence or nothing)."""
    both, first = 0, ""
    for question in QUESTIONS:
        for variant, reading in read.get(question, {}).items():
            want = wanted.get(question, {}).get(variant)
            if want is None or SILENT in (want, reading):
                continue
            both += 1
            if want != reading and not first:
                of = f" ({variant})" if variant else ""
                first = f"{question}{of} is {reading!r}; wanted {want!r}"
    return both, first
