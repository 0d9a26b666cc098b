"""What is told of a graded notebook: lines for people, JSON for programs, JUnit XML for servers."""

import json
from pathlib import Path
from textwrap import shorten
from xml.etree import ElementTree

from selfattention.exercises.diagnosis import Kind
from selfattention.grading.judge import Beyond, chapter

RIGHT, NOT_RIGHT, NOT_GRADED = 0, 1, 2  # how a command ends


def rows(graded, exercises, points):
    """A row for each exercise: what the answer is, and what it is worth."""
    return [_row(exercises[name], verdict, points.get(name, 1)) for name, verdict in graded.verdicts.items()]


def _row(exercise, verdict, worth):
    kind = Kind.NOT_ATTEMPTED if verdict is None else verdict.kind
    return {
        "chapter": chapter(exercise),
        "exercise": exercise.name,
        "verdict": kind.value,
        "points": worth if verdict else 0,
        "of": worth,
        "text": _clean(verdict.text) if verdict is not None else "The notebook hands in no answer.",
    }


def weights(path, exercises):
    """Exercise -> points, from a JSON file. Raises `Beyond` for what is no such file."""
    try:
        points = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Beyond(f"{path}: {error}") from None
    if not isinstance(points, dict) or not all(type(p) in (int, float) and p >= 0 for p in points.values()):
        raise Beyond(f"{path} is no JSON object of exercises and their points")
    strange = sorted(set(points) - set(exercises))
    if strange:
        raise Beyond(f"{path} gives points for {', '.join(strange)}, which is no exercise")
    return points


def _clean(text):
    """The text without what would move a terminal's cursor or break XML: part of it is the notebook's."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def totals(rows):
    return sum(row["points"] for row in rows), sum(row["of"] for row in rows)


def status(graded, rows):
    """0 if all is right, 1 if not, 2 if something could not be judged here."""
    if graded.unjudged:
        return NOT_GRADED
    return RIGHT if all(row["verdict"] == Kind.RIGHT.value for row in rows) else NOT_RIGHT


def lines(graded, rows):
    """One line per exercise, the sum, and what else happened."""
    wide = max(len(f"{row['chapter']} {row['exercise']}") for row in rows)
    for row in rows:
        name = f"{row['chapter']} {row['exercise']}"
        said = "" if row["verdict"] in ("right", "not attempted") else shorten(row["text"], 100)
        yield f"{name:{wide}}  {row['points']:g}/{row['of']:g}  {row['verdict']:15}  {said}".rstrip()
    points, of = totals(rows)
    yield f"{points:g} of {of:g} points"
    yield from (" ".join(_clean(note).split())[:200] for note in graded.notes)


def as_json(path, graded, rows):
    points, of = totals(rows)
    whole = {"notebook": Path(path).name, "points": points, "of": of, "exercises": rows}
    return json.dumps({**whole, "notes": graded.notes}, indent=2) + "\n"


def as_junit(path, graded, rows):
    """One suite per notebook, one case per exercise; what was not attempted counts as skipped."""
    suite = ElementTree.Element("testsuite", name=Path(path).name, tests=str(len(rows)))
    told = {"failure": 0, "error": 0, "skipped": 0}
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=row["chapter"], name=row["exercise"])
        result = _result(row, graded)
        if result:
            told[result] += 1
            message = row["text"].splitlines()[0]
            ElementTree.SubElement(case, result, message=message, type=row["verdict"]).text = row["text"]
    suite.attrib |= {"failures": str(told["failure"]), "errors": str(told["error"])}
    suite.attrib |= {"skipped": str(told["skipped"])}
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _result(row, graded):
    """JUnit's word for a row; none for what is right."""
    if row["exercise"] in graded.unjudged:
        return "error"
    return {"right": None, "not attempted": "skipped"}.get(row["verdict"], "failure")
