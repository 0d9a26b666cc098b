"""Imports run one way: notation ← signatures ← formulas; drawings and modules stand beside them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from selfattention.implementations import IMPLEMENTATIONS

PACKAGE = Path(__file__).parents[1] / "src/selfattention"

# What each part may import, apart from the standard library and `extras`, which says what to install.
ALLOWED = {
    "__init__.py": {"selfattention.implementations.choice"},  # for type checkers; late, for others
    "cache_folder.py": set(),
    "extras.py": set(),
    "notation.py": {"numpy", "jaxtyping"},
    "signatures.py": {"numpy", "jaxtyping"},
    "formulas": {
        "numpy",
        "jaxtyping",
        "selfattention.notation",
        "selfattention.signatures",
        "selfattention.formulas",
    },
    "masks.py": {"numpy"},
    "printed.py": set(),
    "mutants": {
        "numpy",
        "selfattention.formulas",
        "selfattention.implementations",
        "selfattention.mutants",
        "selfattention.printed",
        "selfattention.signatures",
        "selfattention.trained",  # prices.py puts mutants into the trained model
    },
    "properties": {
        "numpy",
        "torch",
        "selfattention.formulas",
        "selfattention.masks",
        "selfattention.properties.single_precision",
    },
    "implementations": {
        "numpy",
        "selfattention.masks",
        "selfattention.implementations",
        "selfattention.LOADED_AT",  # a time
        "selfattention.cache_folder",
    },
    "exercises/evidence.py": {"numpy"},
    "exercises/diagnosis.py": {
        "numpy",
        "selfattention.exercises.evidence",
        "selfattention.mutants",
        "selfattention.printed",
        "selfattention.recipes",
    },
    "exercises": {
        "numpy",
        "torch",  # late, inside the exercise that needs it
        "selfattention.exercises.diagnosis",
        "selfattention.exercises.evidence",
        "selfattention.exercises.testing",
        "selfattention.formulas",
        "selfattention.implementations",
        "selfattention.masks",
        "selfattention.mutants",
        "selfattention.recipes",
    },
    "grading": {
        "numpy",
        "IPython",  # late, in the process that runs a notebook
        "selfattention",  # late, to take the exercises out of it
        "selfattention.exercises",
        "selfattention.grading",
        "selfattention.masks",
        "selfattention.printed",
        "selfattention.signatures",
        "selfattention.trained.progress",
    },
    "check.py": {"selfattention.exercises", "selfattention.grading"},
    "recipes": {"numpy", "selfattention.mutants", "selfattention.recipes"},
    "examining": {
        "numpy",
        "torch",  # late, in the process that has the examined function
        "jax",  # likewise
        "selfattention.dialects",
        "selfattention.examining",
        "selfattention.grading",  # only the lines of text between two processes
        "selfattention.printed",
        "selfattention.recipes",
    },
    "examining/fixture.py": {"pytest", "selfattention.examine"},
    "examine.py": {"selfattention.examining", "selfattention.printed"},
    "dialects": {
        "numpy",
        "selfattention.dialects",
        "selfattention.implementations",
        "selfattention.masks",
        "selfattention.cache_folder",
        "selfattention.trained.progress",
    },
    **{  # beside the library that they run, late
        f"dialects/zoo/{name}.py": {"numpy", "torch", "transformers", "selfattention.dialects"}
        for name in ("models", "own", "traced")
    },
    "families.py": {"numpy", "jaxtyping", "selfattention.formulas", "selfattention.printed"},
    "clusters.py": {"selfattention.formulas", "selfattention.signatures"},
    "figures": {"numpy", "matplotlib", "selfattention.figures"},
    "display.py": {"IPython"},
    "missing.py": set(),  # it is shown to IPython only where that runs
    "modules.py": {"numpy", "torch", "selfattention.masks"},
    "vision_modules.py": {"numpy", "torch", "selfattention.masks", "selfattention.modules"},
    "parallel": {
        "numpy",
        "torch",
        "selfattention.implementations",
        "selfattention.masks",
        "selfattention.parallel",
    },
    "kernels.py": {"numpy", "torch", "selfattention.formulas", "selfattention.implementations.triton_here"},
    "trained": {
        "numpy",
        "torch",
        "selfattention.trained",
        "selfattention.formulas",
        "selfattention.implementations",
        "selfattention.masks",
        "selfattention.signatures",
    },
    "chat.py": {
        "numpy",
        "selfattention.implementations",
        "selfattention.masks",
        "selfattention.printed",
        "selfattention.trained",
    },
    "trained/digits.py": {
        "numpy",
        "torch",
        "sklearn",  # late, inside the two functions that need it
        "selfattention.implementations",
        "selfattention.modules",
        "selfattention.trained",
        "selfattention.vision_modules",
    },
    "trained/deletion.py": {
        "numpy",
        "torch",
        "scipy",  # late, as above
        "selfattention.formulas",
        "selfattention.trained",
    },
    "trained/cell_picture.py": {"numpy", "PIL"},  # late, inside the functions that need it
    "trained/cells.py": {"numpy", "torch", "selfattention.trained", "selfattention.vision_modules"},
    "trained/message.py": {"numpy", "torch", "selfattention.trained", "selfattention.vision_modules"},
    "trained/paired.py": {"numpy", "scipy", "selfattention.trained"},  # scipy late, as above
    "trained/tokenizer.py": {"tokenizers"},
    "trained/gguf.py": {"numpy"},
    "trained/download.py": {"selfattention.cache_folder"},
    "trained/progress.py": set(),
    "trained/smiles.py": set(),
}
# An oracle that shares code with the accused agrees with it. The one exception is by design:
# `numpy_tiled` is the loop around `formulas/tiles.py` that its chapter teaches.
EXCEPTION = {"numpy_tiled.py": {"selfattention.formulas.tiles"}}
# An implementation's own, by the first word of its file.
LIBRARY = {
    "torch": {"torch"},
    "numba": {"numba"},
    "register": {"numba", "llvmlite"},
    "matrix": {"numba"},
    "tile": {"numba", "llvmlite"},
    "tiles": {"numba", "llvmlite"},
    "triton": {"torch", "triton"},
}
# Each file there imports the library that it is about, late, as tests/test_questions.py says.
ADAPTERS = PACKAGE / "dialects/libraries"
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            inside = node.module == "selfattention"
            yield from ([f"selfattention.{alias.name}" for alias in node.names] if inside else [node.module])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    inside = path.relative_to(PACKAGE)
    room = inside.as_posix() if inside.as_posix() in ALLOWED else inside.parts[0]
    allowed = (
        ALLOWED[room]
        | {"selfattention.extras"}
        | LIBRARY.get(path.name.split("_")[0], set())
        | EXCEPTION.get(path.name, set())
    )
    for module in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
        if path.parent == ADAPTERS and not module.startswith("selfattention"):
            continue
        parents = {module, module.split(".")[0], ".".join(module.split(".")[:2])}
        assert parents & allowed or module.split(".")[0] in sys.stdlib_module_names, f"{path.name}: {module}"


HANDS_OVER = {"matrix_tiled": {"numba_tiled"}}  # what its tiles cannot do, float64 for one: it says so


@pytest.mark.parametrize("name", sorted({i.name for i in IMPLEMENTATIONS.values()}))
def test_no_implementation_imports_another(name):
    """Two that share their arithmetic would agree in their mistakes."""
    text = (PACKAGE / f"implementations/{name}.py").read_text(encoding="utf-8")
    others = {i.name for i in IMPLEMENTATIONS.values()} - {name} - HANDS_OVER.get(name, set())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            words = {word for alias in node.names for word in alias.name.split(".")}
            assert not others & {*words, *(getattr(node, "module", None) or "").split(".")}, ast.unparse(node)


def loaded_by(statement):
    """The modules that a fresh interpreter holds after one statement."""
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["selfattention", "selfattention.formulas"])
def test_heavy_libraries_load_late(module):
    loaded = loaded_by(f"import {module}")
    assert "selfattention" in loaded
    assert not loaded & {"torch", "matplotlib", "IPython", "scipy", "numba", "triton"}


def test_no_exercise_loads_a_heavy_library_before_it_is_tried():
    loaded = loaded_by("from selfattention import check; assert len(dir(check)) > 5")
    assert not loaded & {"torch", "matplotlib", "IPython", "scipy", "numba", "triton"}
