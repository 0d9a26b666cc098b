"""Change one sign, number or comparison of the package at a time, and see whether a test objects.

    make mutate                            everything; half an hour or more
    make mutate ARGS="masks.py heads.py"   files whose path ends so

The edits are Cosmic Ray's. Each is tried in a child of this process, which has the heavy libraries
loaded, so that trying costs a second: the child imports the package with one file replaced, in memory,
and runs the tests that should object. What nobody objects to is written down in survivors.json beside
this file: a gap in the tests, or an edit that changes nothing anybody could see.
"""

import ast
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/selfattention"
RESULT = Path(__file__).parent / "survivors.json"
SECONDS = 300  # an edit that makes a loop endless is found out, too

# Cosmic Ray's operators by name, those that people's slips look like: another sign, a bound off by one,
# a condition turned round, a step left out.
OPERATORS = [
    "NumberReplacer",
    *(f"ReplaceBinaryOperator_{pair}" for pair in (
        "Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "Div_Mul", "FloorDiv_Div", "FloorDiv_Mul", "Mod_FloorDiv",
        "Pow_Mul", "BitAnd_BitOr", "BitOr_BitAnd",
    )),
    *(f"ReplaceComparisonOperator_{pair}" for pair in (
        "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt",
        "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
    )),
    *(f"ReplaceUnaryOperator_{name}" for name in ("Delete_USub", "Delete_Invert", "Delete_Not")),
    "AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop", "RemoveDecorator",
]  # fmt: skip

TESTS = ROOT / "tests"


@dataclass(frozen=True)
class Edit:
    """One file with one change in it."""

    path: Path
    line: int
    was: str
    became: str
    source: str

    def __str__(self):
        return f"{self.path.relative_to(PACKAGE)}:{self.line}"


def targets():
    """Every file that is edited, with the tests that should object, and which of them."""
    for path in sorted((PACKAGE / "formulas").glob("[!_]*.py")):
        own = TESTS / f"formulas/test_{path.stem}.py"
        yield path, [own, TESTS / "formulas/test_signatures.py", TESTS / "formulas/test_all_formulas.py"], ""
    yield PACKAGE / "masks.py", [TESTS / "test_rules.py", TESTS / "formulas/test_masks.py"], ""
    yield PACKAGE / "modules.py", [TESTS / "test_modules.py"], ""
    words = "between_passes", "nonfinite", "implementations", "rules_everywhere"
    contract = [TESTS / f"test_{word}.py" for word in words]
    implementations = PACKAGE / "implementations"
    for word in "arguments", "contract":
        yield implementations / f"{word}.py", contract, "not numba and not triton"
    for path in sorted([*implementations.glob("numpy_*.py"), *implementations.glob("torch_*.py")]):
        yield path, contract, "torch" if path.stem == "torch_autograd" else path.stem


def edits(path):
    """Every edit of a file that Python can read and that is another program."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    text = path.read_text(encoding="utf-8")
    tried = {ast.dump(ast.parse(text))}
    for name in OPERATORS:
        operator = plugins.get_operator(f"core/{name}")()
        positions = sum(1 for node in ast_nodes(get_ast(text)) for _ in operator.mutation_positions(node))
        for occurrence in range(positions):
            source = mutate_code(text, operator, occurrence)
            if (tree := _parsed(source)) not in tried:
                tried.add(tree)
                yield Edit(path, *_difference(text, source), source)


def _parsed(source):
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return ast.dump(ast.parse(""))  # tried already, so to speak


def _difference(text, source):
    """Number, old text and new text of the first line that changed."""
    for number, (was, became) in enumerate(
        zip(text.splitlines(), source.splitlines(), strict=False), start=1
    ):
        if was != became:
            return number, was.strip(), became.strip()
    return 0, "", ""


class InItsPlace(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Gives one module of the package from the edited text."""

    def __init__(self, edit):
        self.edit = edit
        self.name = ".".join(edit.path.relative_to(PACKAGE.parent).with_suffix("").parts)

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.edit.path, loader=self)
        return None

    def get_source(self, name):
        return self.edit.source

    def get_code(self, name):
        return compile(self.edit.source, self.edit.path, "exec")


def survives(edit, tests, chosen):
    """Whether no test objects; in a process that is thrown away afterwards."""
    import pytest

    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**33))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    if edit:
        sys.meta_path.insert(0, InItsPlace(edit))
    options = ["-o", "addopts=", "-x", "-p", "no:cacheprovider", *(["-k", chosen] if chosen else [])]
    return all(pytest.main([*options, str(test)]) in (0, 5) for test in tests)  # 5: none of them chosen


def in_a_child(edit, tests, chosen):
    """The number of a new process that tries the edit and ends with 0 where it survives."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if survives(edit, tests, chosen) else 1)
        finally:
            os._exit(2)
    return child


def survivors_of(todo, say):
    """The places in `todo`, (edit, tests, chosen) each, of what survives; tried on all cores at a time."""
    waiting, running, alive, done = deque(enumerate(todo)), {}, [], 0
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            place, (edit, tests, chosen) = waiting.popleft()
            running[in_a_child(edit, tests, chosen)] = place
        child, status = os.wait()
        place, done = running.pop(child), done + 1
        if status == 0:
            alive.append(place)
        say(done, todo[place])
    return sorted(alive)


@cache
def _preload():
    """What every child would otherwise load for itself; of the package, nothing."""
    for name in ("numpy", "torch", "hypothesis", "hypothesis.extra.numpy", "jaxtyping", "pytest", "scipy"):
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    assert not any(name.startswith("selfattention") for name in sys.modules)


def record(survivors, counts):
    """Write down, for every file of this run, how many edits there were and which of them survived."""
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for path, count in counts.items():
        mine = sorted((e for e in survivors if e.path == path), key=lambda e: (e.line, e.became))
        found = [{"was": e.was, "became": e.became} for e in mine]
        known[path.relative_to(PACKAGE).as_posix()] = {"edits": count, "survivors": found}
    text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
    RESULT.write_text(text + "\n", encoding="utf-8")


def check_that_all_pass(chosen):
    """Tests that fail as it is would tell nothing of an edit."""
    unedited = [(None, tests, some) for _, tests, some in chosen]
    passing = survivors_of(unedited, lambda done, _: progress(done, len(unedited), "as it is"))
    failing = [path.name for place, (path, *_) in enumerate(chosen) if place not in passing]
    if failing:
        sys.exit(f"\n{', '.join(failing)}: the tests fail as it is, so nothing could be told from an edit")


def progress(done, count, text):
    print(f"\r{done}/{count}  {text}\033[K", end="", file=sys.stderr, flush=True)


def main(wanted):
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.chdir(ROOT)
    _preload()
    chosen = [t for t in targets() if not wanted or any(t[0].as_posix().endswith(name) for name in wanted)]
    check_that_all_pass(chosen)
    edited = {path: list(edits(path)) for path, *_ in chosen}
    todo = [(edit, tests, some) for path, tests, some in chosen for edit in edited[path]]
    began = time.monotonic()

    def say(done, tried):
        progress(done, len(todo), f"{(time.monotonic() - began) / 60:.0f} min  {tried[0]}")

    survivors = [todo[place][0] for place in survivors_of(todo, say)]
    record(survivors, {path: len(found) for path, found in edited.items()})
    for edit in survivors:
        print(f"\n{edit}\n    {edit.was}\n    {edit.became}")
    print(f"\n{len(todo) - len(survivors)} of {len(todo)} edits are noticed")


if __name__ == "__main__":
    main(sys.argv[1:])
