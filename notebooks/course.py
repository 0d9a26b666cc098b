"""Write the course for a class, `python notebooks/course.py`, into _build/course.

student/       the opening pages and every chapter: prose, hints, starters, checks; no solutions, no outputs
instructor/    the same with the solutions, their verdicts, and the outputs of the book
otter/         the student's, as Otter-Grader wants an assignment
nbgrader/      the same for nbgrader
*.whl          the package, which is all that they need beside its extra `[notebooks]`
points.json    a point per star, for `python -m selfattention.check --points`
"""

import json

import assignments
import nbformat
from execute import chapters, entries
from students import ROOT, instructor, points, student, wheel

COURSE = ROOT / "_build/course"


def written(path):
    """The files made of a page: name -> notebook. The opening pages ask nothing that could be graded."""
    both = {f"student/{path.name}": student(path), f"instructor/{path.name}": instructor(path)}
    if path in entries():
        return both
    return both | {
        f"otter/{path.name}": assignments.otter(path),
        f"nbgrader/source/{path.stem}/{path.name}": assignments.nbgrader(path),
    }


def main():
    worth = {}
    pages = [*entries(), *chapters()]
    for number, path in enumerate(pages, start=1):
        print(f"[{number}/{len(pages)}] {path.stem}", flush=True)
        for name, notebook in written(path).items():
            (COURSE / name).parent.mkdir(parents=True, exist_ok=True)
            nbformat.validate(notebook)
            nbformat.write(notebook, COURSE / name)
        worth |= points(path)
    (COURSE / "nbgrader/nbgrader_config.py").write_text(assignments.NBGRADER_CONFIG, encoding="utf-8")
    (COURSE / "points.json").write_text(json.dumps(worth, indent=2) + "\n", encoding="utf-8")
    wheel(COURSE)
    print(f"The course is in {COURSE.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
