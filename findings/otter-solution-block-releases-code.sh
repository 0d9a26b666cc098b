#!/bin/sh
# otter-grader 7.0.0: a block between "# BEGIN SOLUTION" and "# END SOLUTION" keeps its prose back, and not its code.
#
# In a notebook for `otter assign` a question may have a block of cells for students to start from (raw cells
# "# BEGIN PROMPT", "# END PROMPT") and one with the solution ("# BEGIN SOLUTION", "# END SOLUTION"). The
# students' notebook has the starter and no Markdown cell of the solution. A code cell of the same block is in
# it as it was written, solution and all, below the starter, and nothing warns: code is taken out only where
# comments in the cell itself say so ("# SOLUTION", or "# BEGIN SOLUTION NO PROMPT" around its lines).
#
# It hurts who writes the solution as cells of their own and reads the prose of the students' notebook only:
# the class gets the answers.
#
# Seen (the students' notebook):
#     Set x to 42.
#     x = ...
#     secret = 41; x = secret + 1
#     grader.check("q1")

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "otter-grader==7.0.0" "nbformat==5.11.1"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import subprocess
import sys
from pathlib import Path

import nbformat

new = nbformat.v4
raw, code, prose = new.new_raw_cell, new.new_code_cell, new.new_markdown_cell
off = "generate", "run_tests", "export_cell", "init_cell"
cells = [
    raw("\n".join(["# ASSIGNMENT CONFIG", *(f"{word}: false" for word in off)])),
    raw("# BEGIN QUESTION\nname: q1\npoints: 1"),
    prose("Set x to 42."),
    *(raw("# BEGIN PROMPT"), code("x = ..."), raw("# END PROMPT")),
    *(raw("# BEGIN SOLUTION"), code("secret = 41; x = secret + 1"), prose("41 and 1 are 42."), raw("# END SOLUTION")),
    *(raw("# BEGIN TESTS"), code("x == 42"), raw("# END TESTS"), raw("# END QUESTION")),
]
python = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(new.new_notebook(cells=cells, metadata={"kernelspec": python}), "task.ipynb")
otter = Path(sys.executable).with_name("otter")
subprocess.run([otter, "assign", "task.ipynb", "out"], check=True, capture_output=True)
given = [cell.source for cell in nbformat.read("out/student/task.ipynb", 4).cells]
print(*given, sep="\n")
still = "secret = 41; x = secret + 1" in given and "41 and 1 are 42." not in given and "x = ..." in given
sys.exit(0 if still else "The behaviour has changed.")
EOF
