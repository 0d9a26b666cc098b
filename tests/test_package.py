"""The package as others get it: one version, its extras, and a wheel that works with NumPy alone."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import distribution
from inspect import isclass, isfunction, signature, unwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

from selfattention import __version__, extras

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# What a module's file or folder must be called to be allowed a library that the wheel does not bring.
HEAVY = re.compile(
    r"selfattention\.((vision_)?modules|kernels|display|figures|implementations\.(torch|numba|register|matrix|tiles?|triton)_"
    r"|trained\.(digit|deletion|cells|cell_runs|message|paired)|examining\.fixture|parallel\.(?!shards$))"
)
ADVICE = re.compile(r"(\w+) is not installed: pip install 'selfattention\[(\w+)\]'")


# One version, and extras that hold what the errors promise --------------------------------------------


def test_the_version_stands_in_one_place():
    """The package's own; the citation and the change log repeat it."""
    assert PROJECT["dynamic"] == ["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (cited,) = re.findall(r"^version: (\S+)$", citation, re.MULTILINE)
    (day,) = re.findall(r'^date-released: "(\S+)"$', citation, re.MULTILINE)
    latest = re.findall(r"^## \[(\d\S*)\] - (\S+)$", changes, re.MULTILINE)[0]
    assert (cited, latest) == (__version__, (__version__, day))


def brought_by(extra):
    """The libraries of an extra, those of the extras it names included."""
    for requirement in PROJECT["optional-dependencies"][extra]:
        name, inner = re.match(r"([\w-]+)(?:\[(\w+)\])?", requirement).groups()
        yield from brought_by(inner) if inner else [name]


@pytest.mark.parametrize("library", sorted(extras.EXTRAS))
def test_the_extra_that_an_error_names_brings_the_library(library):
    brought = {*brought_by(extras.EXTRAS[library])}
    brings = {"IPython": "ipykernel", "llvmlite": "numba", "sklearn": "scikit-learn", "PIL": "pillow"}.get(
        library, library
    )
    assert brings in brought


def test_requirements_pin_what_the_extras_allow():
    """Each floor of an extra is the pinned release, cut to its first two numbers."""
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    pins |= dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    floors = re.findall(r'"([\w-]+)>=([\d.]+)', str(PROJECT["optional-dependencies"]).replace("'", '"'))
    assert len(floors) >= 5
    for library, floor in floors:
        assert f"{pins[library]}.".startswith(f"{floor}."), library


# The wheel, with NumPy and jaxtyping alone ------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built offline from a copy, for a build leaves files beside its sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation"]
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [*command, "--quiet", "-w", str(source)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = source.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def said(wheel, tmp_path_factory):
    """What `doors.py` prints where the wheel, NumPy, jaxtyping and what that needs are all there is."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)  # of a wheel without compiled parts, that is to install it
    site = Path(np.__file__).parents[1]
    parts = {
        site / file.parts[0] for lib in ("jaxtyping", "wadler-lindig") for file in distribution(lib).files
    }
    for part in {*parts, *site.glob("numpy*")}:
        (folder / part.name).symlink_to(part)
    command = [sys.executable, "-I", "-S", "-W", "error", str(ROOT / "tests/doors.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    src = ROOT / "src"
    here = {
        path.relative_to(src).as_posix()
        for path in src.rglob("*")
        if path.is_file() and not {"__pycache__"} & {*path.parts} and ".egg-info" not in str(path)
    }
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == here
    assert "selfattention/py.typed" in inside


def test_every_module_loads_with_numpy_alone_or_says_what_to_install(said):
    assert len(said["modules"]) > 80
    for module, complaint in said["modules"].items():
        if HEAVY.match(module):
            library, extra = ADVICE.fullmatch(complaint).groups()
            assert extras.EXTRAS[library] == extra
        else:
            assert complaint == "", module


def test_every_door_opens_with_numpy_alone(said):
    calls = said["calls"]
    assert calls["formula"] == pytest.approx(2)
    assert calls["implementations"] < 1e-15
    assert calls["check"].startswith("✓ Right")
    assert calls["killed"]
    assert (calls["vocabulary"], calls["reactions"], calls["prices"]) == (591, 32, True)


def test_an_implementation_that_cannot_run_says_what_to_install(said):
    """Asked why not, or loaded all the same, it says one and the same."""
    free = {"numpy_direct", "numpy_tiled"}
    for name, reason in said["calls"]["why not"].items():
        loading = said["calls"]["loaded"][name]
        assert (reason or "") == loading
        assert (name in free) == (loading == "")
    assert said["calls"]["words"] == "tokenizers is not installed: pip install 'selfattention[language]'"
    assert said["calls"]["late"] == "torch is not installed: pip install 'selfattention[torch]'"


# The workflow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_every_action_is_named_by_a_commit(path):
    """A tag can be moved to other code; a commit cannot."""
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_no_expression_is_pasted_into_a_script(path):
    """`${{ … }}` in `run` would be text before it is shell: what a stranger names could be a command."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert len(scripts) >= 5
    assert [script for script in scripts if "${{" in script] == []


# Types ------------------------------------------------------------------------------------------------

TYPED = ROOT / "tests/typed_use.py"
PYRIGHT = ROOT / "tests/browser/node_modules/pyright/index.js"
DOORS = ["check", "display", "extras", "formulas", "implementations", "masks", "modules", "mutants"]
DOORS += ["chat", "mutants.decoding_prices", "trained.cache", "trained.download", "trained.gguf"]
DOORS += [
    "trained.language_model",
    "trained.progress",
    "trained.recorded",
    "trained.smollm2",
    "trained.tokenizer",
]
DOORS += [
    "clusters",
    "families",
    "vision_modules",
    "trained.digits",
    "trained.digit_runs",
    "trained.deletion",
]
DOORS += ["trained.cell_picture", "trained.cells", "trained.cell_runs", "trained.paired", "trained.rows"]
DOORS += ["trained.message", "trained.message_runs"]
DOORS += ["cache_folder", "implementations.choice", "implementations.numba_cache"]
DOORS += ["mutants.kill_matrix", "trained.reactions", "trained.rxnmapper", "trained.smiles"]
DOORS += [f"parallel.{name}" for name in ("all_to_all", "blocks", "dtensor_heads", "head_parallel", "ring")]
DOORS += ["parallel.agreement", "parallel.links", "parallel.processes", "parallel.shards", "parallel.sums"]
OPERATORS = {"__call__", "__and__", "__or__", "__invert__"}


def functions_of(door):
    """The public functions of a module or package, and the public methods of its classes: name, function."""
    shown = vars(import_module(f"selfattention.{door}")).items()
    ours = {
        name: value
        for name, value in shown
        if name[0] != "_" and _home(value).startswith(f"selfattention.{door}")
    }
    for name, value in ours.items():
        if isfunction(value):
            yield name, value
        elif isclass(value):
            methods = {method: getattr(f, "__func__", f) for method, f in vars(value).items()}
            public = [m for m, f in methods.items() if isfunction(f) and (m[0] != "_" or m in OPERATORS)]
            yield from ((f"{name}.{method}", methods[method]) for method in public)


def _home(value):
    return getattr(value, "__module__", None) or ""


@pytest.mark.parametrize("door", DOORS)
def test_every_public_function_says_what_it_takes_and_gives(door):
    for name, function in functions_of(door):
        wanted = {*signature(function).parameters, "return"} - {"self", "cls"}
        assert wanted <= {*unwrap(function).__annotations__}, name


def test_what_a_user_writes_runs():
    runpy.run_path(str(TYPED))


def test_what_a_user_writes_is_what_a_strict_type_checker_accepts(tmp_path):
    """In a folder of its own, with the sources as a library: mistakes in it are marked, and must be seen."""
    node = shutil.which("node")
    if not (node and PYRIGHT.is_file()):
        reason = "this test needs: node, npm ci --prefix tests/browser"
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(reason)
    shutil.copy(TYPED, tmp_path)
    settings = {"include": [TYPED.name], "extraPaths": [str(ROOT / "src")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [node, str(PYRIGHT), "--project", str(tmp_path), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    assert "0 errors" in done.stdout
