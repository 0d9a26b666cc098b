"""Sphinx: a cell that only imports, checks, draws, tabulates or lists a source is a line that opens.

What it printed or drew stays in sight. The line is a `summary` in `details`, so it opens without scripts, and
the notebook is not touched. The number of checks is that of the cell's assertions: the outputs that are
committed are those of a run without an error, which nbval repeats.
"""

import ast
import json
import re

from docutils import nodes
from links import ROOT
from sphinx.transforms import SphinxTransform

CHAPTER = re.compile(r"notebooks/\d\d_\w+")
TABLE = 4  # lines, from which on what a cell prints is a table
OURS = {"exercise", "solution"}  # the reader's own, or folded with the rest of a solution


def line_for(cell):
    """What is said in place of a cell's code; None where the code is what there is to read."""
    source, outputs = "".join(cell["source"]), cell["outputs"]
    if OURS & set(cell["metadata"].get("tags", [])) or any(o["output_type"] == "error" for o in outputs):
        return None
    tree = ast.parse(source)
    checks = sum(map(_is_check, ast.walk(tree)))
    ran = f"{checks} check{'s' * (checks != 1)} ran: ✓"
    if all(map(_is_import, tree.body)):
        return "Imports"
    if checks and (not outputs or all(map(_only_checks, tree.body))):
        return ran
    if shown := re.fullmatch(r"show_source\((?:\w+\.)*(\w+)\)", source.strip()):
        return f"The source of {shown[1]}"
    if any("image/png" in output.get("data", {}) for output in outputs):
        return "The code of this figure" + f"; {ran}" * bool(checks)
    if _lines(outputs) >= TABLE:
        return "The code of this table" + f"; {ran}" * bool(checks)
    return None


def _is_check(node):
    """An assertion: Python's, one of NumPy's, or that what came before has raised."""
    if isinstance(node, ast.Call):
        return "assert_" in ast.unparse(node.func)
    return isinstance(node, ast.Assert) or (
        isinstance(node, ast.Raise) and "AssertionError" in ast.unparse(node)
    )


def _is_import(statement):
    style = isinstance(statement, ast.Expr) and "plt.style.use" in ast.unparse(statement)
    return style or isinstance(statement, ast.Import | ast.ImportFrom)


def _only_checks(statement):
    """Asserts something, or that something raises, for one case or for several."""
    if isinstance(statement, ast.For):
        return all(map(_only_checks, statement.body))
    if isinstance(statement, ast.Try):
        return any(map(_is_check, statement.orelse))
    return isinstance(statement, ast.Assert) or (
        isinstance(statement, ast.Expr) and _is_check(statement.value)
    )


def _lines(outputs):
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs]
    return sum(len("".join(text).strip().splitlines()) for text in texts)


class Folds(SphinxTransform):
    default_priority = 110

    def apply(self):
        if not CHAPTER.fullmatch(self.env.docname):
            return
        notebook = json.loads((ROOT / f"{self.env.docname}.ipynb").read_text(encoding="utf-8"))
        cells = {"".join(cell["source"]): cell for cell in notebook["cells"] if cell["cell_type"] == "code"}
        for code in list(self.document.findall(nodes.container)):
            if "cell_input" in code["classes"]:
                cell = cells.get(code.astext())
                if cell and (said := line_for(cell)):
                    opened = f'<details class="fold"><summary>{said}</summary>'
                    place = code.parent.index(code)
                    code.parent.insert(place + 1, nodes.raw("", "</details>", format="html"))
                    code.parent.insert(place, nodes.raw("", opened, format="html"))


def setup(app):
    app.add_transform(Folds)
    return {"parallel_read_safe": True}
