"""Where a library is missing, the cells that need it say so and the others run."""

import ast
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from selfattention import missing


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs cells where there is no torch, and says what each printed; no cell may raise."""
    monkeypatch.setitem(sys.modules, "torch", None)
    nothing_on_disk = Config()
    nothing_on_disk.HistoryManager.enabled = False
    shell = InteractiveShell(config=nothing_on_disk)
    shell.ast_transformers.append(missing.Cells(shell))

    def runs(*cells, raises=None):
        said = []
        for cell in cells:
            done = shell.run_cell(cell, store_history=True)
            said.append(capsys.readouterr().out)
            if raises is None:
                done.raise_error()
        if raises is not None:
            assert isinstance(done.error_in_exec, raises)
        return said

    return runs


IMPORT = "torch is not installed: pip install 'selfattention[torch]'. Cells that need it say so.\n"
SAYS = "torch is not installed; the book shows what it does here.\n"


def test_the_other_imports_of_a_cell_are_made(run):
    assert run("import math\nimport torch\nimport cmath", "print(math.pi > 3, cmath.pi > 3)") == [
        IMPORT,
        "True True\n",
    ]


def test_each_library_is_named_once_at_its_imports(run):
    assert run("import torch\nfrom torch import nn\nfrom selfattention import modules") == [IMPORT]


def test_a_cell_runs_up_to_the_line_that_needs_the_library(run):
    said = run("import torch", "print('before')\nx = torch.ones(3)\nprint('not run')", "print('after')")
    assert said == [IMPORT, "before\n" + SAYS, "after\n"]


def test_what_the_rest_would_have_made_is_lost_until_it_is_made(run):
    """Also a name that another cell has made: with the library it would hold something else by now."""
    cells = ["import torch\nV = 1", "V = torch.ones(3)", "print(V)", "V = 2\nprint(V)", "print(V)"]
    assert run(*cells) == [IMPORT, SAYS, SAYS, "2\n", "2\n"]


def test_an_import_and_its_use_may_stand_in_one_cell(run):
    assert run("from torch import pi\nprint(1)\nprint(pi)", "import math as m\nm.pi > 3")[0] == (
        IMPORT + "1\n" + SAYS
    )


def test_what_the_rest_would_have_changed_is_lost_too_and_a_module_is_not(run):
    cells = [
        "import math\nimport torch",
        "kept = {}",
        "for i in 1, 2:\n    kept[i] = torch.pi\n    math.sqrt(i)",
    ]
    assert run(*cells, "print(kept)", "print(math.sqrt(4))") == [IMPORT, "", SAYS, SAYS, "2.0\n"]
    assert missing.changes(ast.parse("a.b.append(1)\nc[d].e = f(g)\nh = i.j()\ndel k[0]").body) == {*"ack"}
    assert missing.changes(ast.parse("a = b.setdefault(c, [])").body) == {"b"}
    assert missing.changes(ast.parse("a = b.setdefault(c, [])").body) == {"b"}


def test_a_function_that_uses_it_is_lost_and_one_that_has_a_parameter_of_the_name_is_not(run):
    cells = ["import torch", "q = torch.ones(3)", "def f(q):\n    return [q for q in [q]]", "print(f(4))"]
    assert run(*cells) == [IMPORT, SAYS, "", "[4]\n"]
    assert run("def g():\n    return torch.pi", "g()") == [SAYS, SAYS]


def test_a_cell_that_meets_the_library_only_inside_the_package_says_so_too(run):
    cells = ["def late():\n    import torch", "print(1)\nx = late()", "print(x)"]
    assert run(*cells) == ["", "1\n" + SAYS, SAYS]


def test_the_last_value_is_shown_and_no_other(run):
    shown = run("import torch", "7\n8", "9;")
    assert shown[1].strip().endswith("8")
    assert "7" not in shown[1]
    assert "9" not in shown[2]


def test_another_error_is_an_error(run):
    run("import torch", "1 / 0", raises=ZeroDivisionError)
    run("import torch", "import nothing_of_this_name", raises=ModuleNotFoundError)


def test_names_are_read_before_they_are_made_or_after():
    source = "y = x\nz = [w for w in y]\n@d\ndef f(a, b=c):\n    return a + g + z\nclass C:\n    m = h"
    needed, made = missing.reads_and_makes(ast.parse(source).body)
    assert needed == {"x", "d", "c", "g", "h"}
    assert made == {"y", "z", "f", "C"}


def test_the_names_of_a_comprehension_are_its_own():
    source = "z = [w for w in w] + [v * u for v in z for u in v]\nu = {k: w for k, w in z}\n"
    source += "w = (u for _ in t)"
    needed, made = missing.reads_and_makes(ast.parse(source).body)
    assert needed == {"w", "z", "t"}
    assert made == {"z", "u", "w"}


def test_where_nothing_is_missing_or_there_is_no_notebook_nothing_happens(monkeypatch):
    monkeypatch.setattr(missing, "EXTRAS", {"selfattention": "torch"})
    assert missing.libraries() == []
    missing.cells_say_so()
    monkeypatch.setattr(missing, "EXTRAS", {"nothing_of_this_name": "torch"})
    assert missing.libraries() == ["nothing_of_this_name"]
    missing.cells_say_so()
