"""`python -m selfattention.check student.ipynb`: the command, from its arguments to its exit status."""

import argparse
import sys
from pathlib import Path

from selfattention.exercises.diagnosis import Exercise
from selfattention.grading import judge, report
from selfattention.printed import printed
from selfattention.trained.progress import with_bar


def main(exercises: dict[str, Exercise], arguments=None) -> int:
    """Grade a notebook and say so; 0 if all is right, 1 if not, 2 if it cannot be graded."""
    asked = _parser().parse_args(arguments)
    try:
        points = report.weights(asked.points, exercises) if asked.points else {}
        graded = judge.grade(asked.notebook, exercises, asked.of, asked.seconds, _bar(asked.notebook))
    except judge.Beyond as error:
        print(printed(f"cannot be graded: {error}", sys.stderr), file=sys.stderr)
        return report.NOT_GRADED
    rows = report.rows(graded, exercises, points)
    for line in report.lines(graded, rows):
        print(printed(line))
    _write(asked.json, report.as_json(asked.notebook, graded, rows))
    _write(asked.junit, report.as_junit(asked.notebook, graded, rows))
    return report.status(graded, rows)


def _parser():
    parser = argparse.ArgumentParser("python -m selfattention.check", description=__doc__.split(": ")[0])
    parser.add_argument("notebook", help="the notebook to grade")
    parser.add_argument(
        "--of",
        nargs="+",
        default=[],
        metavar="NAME",
        help="chapters and exercises that count; else those of each chapter that the notebook asks about",
    )
    parser.add_argument("--points", metavar="FILE", help="JSON, exercise -> points; one each without it")
    parser.add_argument("--json", metavar="FILE", help="write what was found as JSON")
    parser.add_argument("--junit", metavar="FILE", help="write it as JUnit XML")
    parser.add_argument("--seconds", type=float, default=120, help="how long a cell may take (120)")
    return parser


def _bar(notebook):
    return lambda cells: with_bar(cells, Path(notebook).name)


def _write(path, text):
    if path:
        Path(path).write_text(text, encoding="utf-8")
