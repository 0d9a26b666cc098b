"""Change one sign, number or comparison of the package at a time, and see whether a test objects.

    make mutate                            everything; most of an hour
    make mutate ARGS="masks.py heads.py"   files whose path ends so

The edits are Cosmic Ray's. The tests of a file are collected once; then every edit is tried in a child of
that process, where the functions that exist are given the edited code, so that trying costs a fraction of a
second. An edit of what runs at import is tried in a process that imports the package with the file replaced,
in memory. What nobody objects to there is written down in
survivors.json beside this file: a gap in the tests, or an edit that changes nothing anybody could see.
"""

import ast
import gc
import importlib.abc
import importlib.util
import inspect
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/selfattention"
RESULT = Path(__file__).parent / "survivors.json"
SECONDS = 120  # of processor time, however busy the machine
NOBODY = "nobody"  # objected
NOT_YET = "nobody, but the function had been called before it was edited"
BROKEN = 1 << 8  # what wait() gives for a process that said 1

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
    yield implementations / "arguments.py", [TESTS / "test_arguments.py", *contract], SOME
    yield implementations / "contract.py", [TESTS / "test_contract.py", *contract], SOME
    yield implementations / "numpy_products.py", [TESTS / "test_products.py"], ""
    yield implementations / "torch_autograd.py", [TESTS / "test_learned_bias.py", *contract], "torch_direct"
    for name in "numpy_direct", "numpy_tiled", "torch_direct", "torch_tiled":
        yield (
            implementations / f"{name}.py",
            [TESTS / f"test_{name}.py", *contract, TESTS / "test_steps.py"],
            name,
        )


# Of the contract's tests those that neither compile nor interpret, and none of a thousand queries; these ask
# everything of NumPy's arrays and of torch's.
SOME = (
    "(arguments or test_contract or numpy or torch or test_between_passes)"
    " and not numba and not triton and not 1023"
)


def edits(path):
    """Every edit of a file that Python can read and that is another program."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    text = path.read_text(encoding="utf-8")
    tried = {_parsed(text), None}
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
        return None


def _difference(text, source):
    """Number, old text and new text of the first line that changed."""
    old = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    new = [line.strip() for line in source.splitlines() if line.strip()]
    return next((n, was, became) for (n, was), became in zip(old, new, strict=False) if was != became)


def _name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


class InItsPlace(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Gives one module of the package from the edited text."""

    def __init__(self, edit):
        self.edit = edit
        self.name = _name(edit.path)

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.edit.path, loader=self)
        return None

    def get_source(self, name):
        return self.edit.source

    def get_code(self, name):
        return compile(self.edit.source, self.edit.path, "exec")


def _codes(code):
    """A code object and all that are inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _same_outside_functions(old, new):
    """Whether what runs at import is the same, so that functions that exist can take the edited code."""
    if old.co_flags & inspect.CO_OPTIMIZED:  # a function's body, which import does not run
        return old.co_freevars == new.co_freevars
    pairs = list(zip(old.co_consts, new.co_consts, strict=False))
    return (old.co_code, old.co_names, len(old.co_consts)) == (
        new.co_code,
        new.co_names,
        len(new.co_consts),
    ) and all(
        _same_outside_functions(o, n)
        if isinstance(o, CodeType) and isinstance(n, CodeType)
        else repr(o) == repr(n)
        for o, n in pairs
    )


def _compiled(edit):
    text = edit.path.read_text(encoding="utf-8")
    return compile(text, edit.path, "exec"), compile(edit.source, edit.path, "exec")


def is_inside_functions(edit):
    old, new = _compiled(edit)
    names = [[code.co_qualname for code in _codes(whole)] for whole in (old, new)]
    return names[0] == names[1] and _same_outside_functions(old, new)


def _pairs(edit):
    """The place of every code object of the file, with the code itself and the edited one.

    Line numbers tell apart functions of one name; the edited text may have lost a line.
    """
    old, new = map(_codes, _compiled(edit))
    return {_place(code): (code, edited) for code, edited in zip(old, new, strict=True)}


def _place(code):
    return code.co_qualname, code.co_firstlineno


def patch(edit):
    """Give the functions of an imported module the edited code."""
    pairs = _pairs(edit)
    mine = [
        f for f in gc.get_objects() if type(f) is FunctionType and f.__code__.co_filename == str(edit.path)
    ]
    if not mine:
        raise LookupError(f"the tests import another package than the one in {PACKAGE}")
    for function in mine:
        _, function.__code__ = pairs[_place(function.__code__)]


def changed(edit):
    """The places of the functions whose own lines, not those of a function inside, were edited."""
    return {place for place, (code, edited) in _pairs(edit).items() if _own(code) != _own(edited)}


def _own(code):
    return code.replace(co_consts=tuple(const for const in code.co_consts if not isinstance(const, CodeType)))


class Trials:
    """A pytest plugin that runs what was collected once for every edit, each time in another process.

    The test that objected goes to the front: it often objects to the next edit of the same lines, too.
    """

    def __init__(self, trials, say):
        self.trials, self.say = trials, say
        self.answers = {}
        self.objector = None
        self.called = set()  # while the tests were collected

    def note(self, frame, event, arg):
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            self.called.add(_place(frame.f_code))

    def pytest_runtestloop(self, session):
        sys.setprofile(None)
        jobs = [partial(self.try_one, session, edit) for edit in self.trials]
        for place, answer in in_children(jobs):
            self.answers[place] = answer
            front = [item for item in session.items if item.nodeid == answer]
            session.items[:] = front + [item for item in session.items if item.nodeid != answer]
            self.say(self.trials[place])
        return True

    def try_one(self, session, edit):
        limit()
        if edit:
            patch(edit)
        if self.objector:
            return self.objector  # while its tests were collected
        if not session.items:
            return "nothing was collected"
        for item, after in zip(session.items, [*session.items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.objector:
                return self.objector
        return NOBODY if edit is None or not changed(edit) & self.called else NOT_YET

    def pytest_internalerror(self, excrepr):
        raise RuntimeError(excrepr)

    def pytest_collectreport(self, report):
        if report.failed:
            self.objector = report.nodeid

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.objector = report.nodeid


def limit():
    """An edit that makes a loop endless or an array enormous is found out, too."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**33))


def answers(path, trials, tests, chosen, say, beneath=None):
    """Who objected to each of `trials`, edits of one file, in the package as it is or with one `beneath`."""
    import pytest

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    if beneath:
        sys.meta_path.insert(0, InItsPlace(beneath))
    plugin = Trials(trials, say)
    options = ["-o", "addopts=", "-p", "no:cacheprovider", *(["-k", chosen] if chosen else [])]
    sys.setprofile(plugin.note)
    try:
        importlib.import_module(_name(path))  # some are imported late: their functions would not exist yet
    except Exception as error:
        if beneath is None:
            raise
        return json.dumps([f"importing it: {error!r}"])
    code = pytest.main([*options, *(str(test) for test in tests if test.exists())], plugins=[plugin])
    return json.dumps(
        [plugin.answers.get(place, f"pytest ended with {code}") for place in range(len(trials))]
    )


def in_children(jobs):
    """(place, answer) of every job as it ends; each runs in a process of its own, one to a core.

    What ends a process (too long, too large, a fault below Python) is the answer of that job.
    """
    waiting, running = deque(enumerate(jobs)), {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            place, job = waiting.popleft()
            receiving, sending = os.pipe()
            child = os.fork()
            if child == 0:
                _answer(job, sending)
            os.close(sending)
            running[child] = place, receiving
        child, status = os.wait()
        place, receiving = running.pop(child)
        with os.fdopen(receiving) as pipe:
            answer = pipe.read()
        if status == BROKEN:
            sys.exit(f"\n{answer}")
        yield place, answer or f"ended with {status}"


def _answer(job, sending):
    """In the child: say what the job says. A fault of this file is no answer."""
    with os.fdopen(sending, "w") as pipe:
        try:
            pipe.write(job())
            status = 0
        except BaseException:
            pipe.write(traceback.format_exc())
            status = 1
    os._exit(status)


def survivors_of(path, todo, tests, chosen):
    """The edits of one file that no test objects to.

    Edits inside functions are tried on the imported package, which takes a fraction of a second. Those of
    what runs at import, and what survived in a function that had been called at import, are tried in a
    process that imports everything anew.
    """
    quick = [edit for edit in todo if is_inside_functions(edit)]
    say = Progress(path, len(quick) + 1)
    [(_, text)] = in_children([partial(answers, path, [None, *quick], tests, chosen, say)])
    as_it_is, *found = json.loads(text)
    if as_it_is != NOBODY:
        sys.exit(f"\n{path.name}: {as_it_is} fails as it is, so nothing could be told from an edit")
    known = dict(zip(quick, found, strict=True))
    anew = [edit for edit in todo if known.get(edit, NOT_YET) == NOT_YET]
    say = Progress(path, len(anew), "anew, ")
    jobs = [partial(answers, path, [None], tests, chosen, lambda _: None, edit) for edit in anew]
    alive = [edit for edit in quick if known[edit] == NOBODY]
    for place, text in in_children(jobs):
        say(anew[place])
        if text == json.dumps([NOBODY]):
            alive.append(anew[place])
    return alive


class Progress:
    """One line on the screen, whatever pytest's output is sent to."""

    screen = os.fdopen(os.dup(2), "w")

    def __init__(self, path, count, how=""):
        self.text, self.count, self.done = f"{how}{path.name}", count, 0
        self.began = time.monotonic()

    def __call__(self, edit):
        self.done += 1
        minutes = (time.monotonic() - self.began) / 60
        line = f"\r{self.text}: {self.done}/{self.count}, {minutes:.0f} min, {edit or 'as it is'}\033[K"
        print(line, end="", file=self.screen, flush=True)


@cache
def _preload():
    """What every child would otherwise load for itself; of the package, nothing."""
    for name in ("numpy", "torch", "hypothesis", "hypothesis.extra.numpy", "jaxtyping", "pytest", "scipy"):
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    assert not any(name.startswith("selfattention") for name in sys.modules)


def record(path, count, alive):
    """Write down how many edits of a file there were and which of them survived."""
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    mine = sorted(alive, key=lambda edit: (edit.line, edit.became))
    found = [{"was": edit.was, "became": edit.became} for edit in mine]
    known[path.relative_to(PACKAGE).as_posix()] = {"edits": count, "survivors": found}
    text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
    RESULT.write_text(text + "\n", encoding="utf-8")


def main(wanted):
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.chdir(ROOT)
    _preload()
    chosen = [t for t in targets() if not wanted or any(t[0].as_posix().endswith(name) for name in wanted)]
    tried = survived = 0
    for path, tests, some in chosen:
        todo = list(edits(path))
        alive = survivors_of(path, todo, tests, some)
        record(path, len(todo), alive)
        tried, survived = tried + len(todo), survived + len(alive)
        for edit in alive:
            print(f"\n{edit}\n    {edit.was}\n    {edit.became}", flush=True)
    print(f"\n{tried - survived} of {tried} edits are noticed")


if __name__ == "__main__":
    main(sys.argv[1:])
