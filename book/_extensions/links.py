"""Which equation is which function, and which tests hold it: read from the sources alone.

Nothing is registered anywhere. A chapter's word names its notebook, its module and its tests;
an equation's label is its function's name, and a claim's label is its test's. The page `map`
and `tests/test_links.py` both look through this file.
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EQUATION = re.compile(r"\$\$\s*\(eq-([\w-]+)\)")
CLAIM = re.compile(r"\{prf:property\} (.+)\n:label:\s*claim-([\w-]+)")
DOCSTRING = re.compile(r"Eq\. ([\w-]+): ")


@dataclass(frozen=True)
class Chapter:
    """One word in its four places: labels and names, in the order of their files."""

    notebook: str
    word: str
    equations: tuple[str, ...]
    claims: dict[str, str]  # label -> title
    functions: dict[str, str | None]  # name -> the label that its docstring opens with
    tests: dict[str, str]  # name -> source

    def tests_of(self, label):
        """The tests of an equation's function or of a claim: their names begin with its name.

        `test_softmax_jacobian_by_hand` is a test of `softmax_jacobian`, not of `softmax`.
        """
        return [name for name in self.tests if self._subject(name) == snake(label)]

    def _subject(self, test):
        subjects = sorted([*self.functions, *map(snake, self.claims)], key=len, reverse=True)
        rest = test.removeprefix("test_")
        return next((s for s in subjects if rest == s or rest.startswith(s + "_")), None)


def snake(label):
    return label.replace("-", "_")


def chapters(root=ROOT):
    """Every chapter, in reading order."""
    return [_chapter(root, path) for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))]


def _chapter(root, path):
    word = path.stem[3:]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    formulas = _functions(root / "src/selfattention/formulas" / f"{word}.py")
    tests = _functions(root / "tests/formulas" / f"test_{word}.py")
    return Chapter(
        notebook=path.stem,
        word=word,
        equations=tuple(EQUATION.findall(prose)),
        claims={label: title for title, label in CLAIM.findall(prose)},
        functions={name: _label(node) for name, (node, _) in formulas.items() if not name.startswith("_")},
        tests={name: source for name, (_, source) in tests.items() if name.startswith("test_")},
    )


def _functions(path):
    """The functions of a file: name -> (syntax tree, source with decorators); none without a file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.splitlines()
    return {
        node.name: (node, "\n".join(lines[_first_line(node) - 1 : node.end_lineno]))
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }


def _first_line(node):
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _label(node):
    match = DOCSTRING.match(ast.get_docstring(node) or "")
    return match and match[1]
