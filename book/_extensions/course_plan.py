"""Sphinx: the page for teachers. Its minutes, megabytes and counts are taken from where they are kept.

- `class-plan`: sessions of chapters, with the minutes that chapters and exercises say they take; one that is
  longer than it may be stops the build, and so does an exercise or a section that is not in its chapter;
- `setup-sizes`, `size-parts`: what `make sizes` has measured, and of which packages one size consists;
- `cells-without`: how many cells of each chapter stop without PyTorch, as `make classroom` has seen.
"""

import json
import re
from dataclasses import dataclass

from docutils.parsers.rst import directives
from links import ROOT
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

MINUTES = re.compile(r"^\*(\d+) minutes", re.MULTILINE)
EXERCISE = re.compile(r"\{exercise\} (★+) · (\d+) minutes\n:label: exercise-\w+?-([\w-]+)")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
CLASSROOM = ROOT / "tests/classroom"
LARGE = 5  # megabytes, to have a row of its own
# What a course with NumPy, figures and notebooks would bring anyway is the rest.
NOT_ASKED_FOR = ("selfattention", "jaxtyping", "wadler_lindig", "pip", "setuptools")


# What chapters say of themselves ------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """The minutes that a chapter and each of its exercises take, and its sections."""

    reading: int
    exercises: dict[str, tuple[str, int]]  # name -> stars, minutes
    sections: list[str]


def told(notebook):
    cells = json.loads((ROOT / f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    exercises = {name: (stars, int(minutes)) for stars, minutes, name in EXERCISE.findall(prose)}
    return Told(int(MINUTES.search(prose)[1]), exercises, SECTION.findall(prose))


# A plan -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A chapter of a session: the exercises to do, the sections to leave out."""

    notebook: str
    exercises: list[str]
    skipped: list[str]

    @property
    def doing(self):
        """The minutes that its exercises take."""
        return sum(told(self.notebook).exercises[name][1] for name in self.exercises)


def sessions(lines):
    """Sessions, an empty line between two; a line is `chapter | exercises or all | sections left out`."""
    blocks = "\n".join(lines).strip().split("\n\n")
    return [[part(line) for line in block.splitlines()] for block in blocks]


def part(line):
    notebook, exercises, skipped = (field.strip() for field in line.split("|"))
    has = told(notebook)
    wanted = [*has.exercises] if exercises == "all" else _listed(exercises, ",")
    left_out = _listed(skipped, ";")
    for name, known in [(n, has.exercises) for n in wanted] + [(n, has.sections) for n in left_out]:
        if name not in known:
            raise ExtensionError(f"{notebook} has no {name!r}; it has {', '.join(known)}")
    return Part(notebook, wanted, left_out)


def _listed(text, comma):
    return [each.strip() for each in text.split(comma) if each.strip()]


def in_class(parts, read_before):
    """The minutes of a session that the reading and the exercises take."""
    reading = 0 if read_before else sum(told(one.notebook).reading for one in parts)
    return reading + sum(one.doing for one in parts)


class ClassPlan(SphinxDirective):
    """A table, a row for each chapter; the minutes of a session stand in its last row."""

    has_content = True
    option_spec = {"minutes": directives.positive_int, "read-before": directives.flag}  # noqa: RUF012

    def run(self):
        before, longest = "read-before" in self.options, self.options["minutes"]
        where = "before class" if before else "in class"
        lines = [f"| | chapter | reading, {where} | exercises | leave out |", "|---|---|---|---|---|"]
        for number, parts in enumerate(sessions(self.content), start=1):
            takes = in_class(parts, before)
            if takes > longest:
                raise ExtensionError(f"session {number} takes {takes} minutes; wanted {longest} at most")
            lines += [_row(number if one is parts[0] else "", one) for one in parts]
            lines.append(f"| | | | **{takes}** of {longest} minutes{' are exercises' if before else ''} | |")
        return self.parse_text_to_nodes("\n".join(lines))


def _row(number, one):
    has, word = told(one.notebook), one.notebook[3:]
    exercises = ", ".join(
        f"{{ref}}`{name} <exercise-{word}-{name}>` {has.exercises[name][0]} {has.exercises[name][1]}"
        for name in one.exercises
    )
    skipped = ", ".join(f"“{name}”" for name in one.skipped)
    return f"| {number} | {{doc}}`../notebooks/{one.notebook}` | {has.reading} | {exercises} | {skipped} |"


# What was measured --------------------------------------------------------------------------------------


class SetupSizes(SphinxDirective):
    """A row for each size, and where it was measured."""

    def run(self):
        log = json.loads((CLASSROOM / "sizes.json").read_text(encoding="utf-8"))
        lines = ["| | the wheel with | to fetch | on disk | takes then | of which computing |"]
        lines.append("|---|---|---|---|---|---|")
        for name, size in log["sizes"].items():
            extras = f"`{size['extras']}`" if size["extras"] else "nothing else"
            room = f"{size['fetched megabytes']} MB | {size['megabytes']} MB"
            took = f"{size['seconds']} s | {size['processor seconds']} s"
            lines.append(f"| {name} | {extras} | {room} | {took} |")
        torch = log["sizes"]["with PyTorch"]["versions"]["torch"]
        lines += ["", f"Measured on {log['date']}: {log['system']}, {log['cores']} cores, Python"]
        lines.append(f"{log['python']}, torch {torch}. The seconds begin when all is fetched.")
        return self.parse_text_to_nodes("\n".join(lines))


class SizeParts(SphinxDirective):
    """A row for each large package of the size that was taken apart, and what cannot be left out of it."""

    def run(self):
        log = json.loads((CLASSROOM / "sizes.json").read_text(encoding="utf-8"))["sizes"]
        ((name, size),) = ((name, size) for name, size in log.items() if "packages" in size)
        parts = size["packages"]
        rows = {package: of for package, of in parts.items() if of["megabytes"] >= LARGE}
        others = [of for package, of in parts.items() if package not in rows]
        rows[f"{len(others)} others"] = {what: _sum(others, what) for what in ("megabytes", "compiled")}
        lines = [f"| {name} | on disk | of which compiled modules |", "|---|---|---|"]
        lines += [f"| {p} | {of['megabytes']:.0f} MB | {of['compiled']:.0f} MB |" for p, of in rows.items()]
        bare = {package: of["megabytes"] - of["compiled"] for package, of in parts.items()}
        asked_for = sum(of for package, of in bare.items() if package not in NOT_ASKED_FOR)
        lines += ["", "Python compiles modules when pip installs them; with `pip install --no-compile`"]
        lines.append(f"when it imports them, and {sum(bare.values()):.0f} MB are unpacked. Of these, NumPy,")
        lines.append(f"Matplotlib, the kernel and what they ask for are {asked_for:.0f}, the course")
        lines.append(f"itself {bare['selfattention']:.0f}; nearly all the rest is pip's.")
        return self.parse_text_to_nodes("\n".join(lines))


def _sum(parts, what):
    return sum(of[what] for of in parts)


class CellsWithout(SphinxDirective):
    """A row for each chapter, and the cells that then show other numbers than the book."""

    def run(self):
        log = json.loads((CLASSROOM / "light.json").read_text(encoding="utf-8"))["light"]
        lines = ["| chapter | cells | stop for want of a library |", "|---|---|---|"]
        for notebook, seen in log.items():
            count = len(seen["stopped"])
            lines.append(f"| {{doc}}`../notebooks/{notebook}` | {seen['code cells']} | {count or 'none'} |")
        others = [
            f"`{cell}` of {notebook[:2]}" for notebook, seen in log.items() for cell in seen["different"]
        ]
        if others:
            lines += [
                "",
                "A cell that has stopped has drawn no random numbers, so those after it are others than",
            ]
            lines.append(f"the book's; it can be seen in {' and '.join(others)}.")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    app.add_directive("class-plan", ClassPlan)
    app.add_directive("setup-sizes", SetupSizes)
    app.add_directive("size-parts", SizeParts)
    app.add_directive("cells-without", CellsWithout)
    return {"parallel_read_safe": True}
