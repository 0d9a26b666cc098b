"""A notebook's grade: what is right gets its points, and what only says so does not."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from selfattention import check
from selfattention.exercises.diagnosis import Kind, Verdict
from selfattention.grading import channel, judge, report
from selfattention.grading.command import main
from selfattention.masks import Says, causal

EXERCISES = check._exercises()
RIGHT = """
import numpy as np
from selfattention import check

def weight(lead):
    return 1 / (1 + np.exp(-lead))

assert check.two_key_weight(weight)
"""
WRONG = RIGHT.replace("exp(-lead)", "exp(lead)").replace("assert ", "assert not ")
ASKED = "from selfattention import check\n\ncheck.two_key_weight(...)"


def notebook(folder, *sources, name="student.ipynb", tags=()):
    cells = [
        {"cell_type": "code", "id": f"cell-{i}", "metadata": {"tags": [*tags]}, "source": s, "outputs": []}
        for i, s in enumerate(sources)
    ]
    path = folder / name
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}), "utf-8")
    return path


def graded(folder, *sources, names=("two_key_weight",), seconds=60):
    return judge.grade(notebook(folder, *sources), EXERCISES, names, seconds)


def kinds(graded):
    return {name: v.kind if v is not None else None for name, v in graded.verdicts.items()}


# A verdict is true or false ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_only_a_right_answer_s_verdict_is_true(kind):
    assert bool(Verdict(kind, "said")) == (kind is Kind.RIGHT)


def test_a_check_can_be_asserted():
    exercise = check.two_key_weight
    assert exercise(exercise.solution)
    assert not exercise(...)
    assert not any(exercise(mistake) for mistake in exercise.mistakes)


# What goes between the processes ----------------------------------------------------------------------


def there_and_back(value):
    kept = []
    line = channel.line({"value": channel.written(value, lambda v: kept.append(v) or len(kept) - 1)})
    return channel.read(channel.message(line)["value"], kept.__getitem__, lambda number, *_: kept[number])


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, -(10**30), 2.5, float("inf"), "wörter", 1 + 2j, [1, "a"], (1, (2.0,)), {"a": [1]}),
        *(
            np.float32(0.1),
            np.arange(6, dtype=np.int8).reshape(2, 3),
            np.zeros((2, 0, 3)),
            np.array(["é", ""]),
        ),
        *(np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">f4"), np.array(True), ...),
    ],
    ids=str,
)
def test_values_arrive_as_they_were(value):
    came = there_and_back(value)
    np.testing.assert_equal(came, value)
    assert type(came) is type(value)
    if isinstance(value, np.ndarray):
        assert (came.dtype, came.shape) == (value.dtype.newbyteorder("="), value.shape)


def test_what_stays_behind_is_known_by_a_number():
    assert there_and_back([np.sum, causal, Says.NOBODY]) == [np.sum, causal, Says.NOBODY]


def test_what_cannot_be_sent_arrives_as_an_empty_thing_of_its_name():
    assert type(there_and_back({1, 2})).__name__ == "set"
    assert type(there_and_back(np.zeros(2, "i4,f4"))).__name__ == "ndarray"
    assert there_and_back(i for i in range(3)) == [0, 1, 2]
    assert np.ma.is_masked(there_and_back(np.ma.masked_equal([1, 2], 2)))


@pytest.mark.parametrize(
    "line",
    [
        *({"value": {}}, {"value": {"int": "x"}}, {"value": 3}, {"value": {"array": ["O", [1], ""]}}),
        *({"value": {"array": ["<f8", [2], "AAAA"]}}, {"value": {"array": ["<f8", [-1], ""]}}),
        *({"value": {"pickle": "gASVAAAA"}}, {"value": {"says": "PERHAPS"}}, {"value": {"list": 3}}),
        *({"value": {"array": ["i4,O", [0], ""]}}, {"value": {"function": "x"}}),
    ],
    ids=str,
)
def test_a_line_that_nobody_writes_is_refused(line):
    with pytest.raises(channel.Unreadable):
        channel.read(line["value"], lambda number: number, lambda *of: of)


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"3", b"[" * 100_000], ids=lambda line: str(line[:5]))
def test_a_line_that_is_no_message_is_refused(line):
    with pytest.raises(channel.Unreadable):
        channel.message(line)


def test_an_error_arrives_with_its_line():
    came = channel.read_error(channel.written_error(KeyError("W_Q"), "in line 3"))
    assert (type(came), str(came), came.where) == (KeyError, "'W_Q'", "in line 3")
    strange = channel.read_error(channel.written_error(UnicodeDecodeError("u", b"", 0, 1, "no"), ""))
    assert type(strange).__name__ == "UnicodeDecodeError"
    assert not issubclass(type(channel.read_error({"error": "exec", "args": ["1"], "where": ""})), type(exec))


# Every exercise through the channel: the cell takes solutions from the package's files, and hands them in.

ALL_SOLUTIONS = """
import sys
from selfattention import check as asked

del sys.modules["selfattention.exercises"], sys.modules["selfattention.check"]
import selfattention.exercises
from importlib import import_module

door = import_module("selfattention.check")
for name in dir(door):
    exercise = getattr(door, name)
    {answer}
    getattr(asked, name)(answer if exercise.arguments else answer())
"""


def said_here(exercise, answer):
    return exercise(answer if exercise.arguments else answer())


def test_every_solution_is_right_in_another_process_too(tmp_path):
    """And the judge says what the check in the notebook says, to the letter."""
    pytest.importorskip("triton")
    source = ALL_SOLUTIONS.format(answer="answer = exercise.solution")
    found = graded(tmp_path, source, names=list(EXERCISES), seconds=600)
    assert found.notes == []
    for name, verdict in found.verdicts.items():
        assert verdict, (name, verdict)
        assert verdict.text == said_here(EXERCISES[name], EXERCISES[name].solution).text


# What goes over is a function, a rule, a class, a dictionary, two arrays, an error of the package's own.
VARIED = ["unmasking_test", "sabotage", "left_padded", "without_bias", "shuffled", "eight_bits", "impostor"]


def test_mistakes_are_named_in_another_process_too(tmp_path):
    source = ALL_SOLUTIONS.replace("dir(door)", str(VARIED)).format(
        answer="answer = [*exercise.mistakes][-1]"
    )
    found = graded(tmp_path, source, names=VARIED, seconds=600)
    for name, verdict in found.verdicts.items():
        (*_, last) = EXERCISES[name].mistakes
        assert verdict.kind is Kind.NAMED_MISTAKE, name
        assert verdict.text == said_here(EXERCISES[name], last).text


# What a notebook may try ------------------------------------------------------------------------------

# Exercise -> a cell that should not get its point; all in one notebook, in this order.
CHEATS = {
    "doubled_and_raised": """
from selfattention import check

print("✓ Right.")
check.doubled_and_raised = lambda answer: True  # a check of one's own
assert check.doubled_and_raised(("I", "am right"))
""",
    "breaking_scores": """
check.breaking_scores(check.breaking_scores.solution)  # there is none
""",
    "merged_log_sum_exp": """
verdict = check.merged_log_sum_exp(...)
type(verdict).__bool__ = lambda self: True
type(verdict).kind = property(lambda self: "right", lambda self, kind: None)
assert check.merged_log_sum_exp(lambda c_1, Z_1, c_2, Z_2: 0.0)
""",
    "unmasking_test": """
# whom it is given cannot be told by the name
check.unmasking_test(lambda suspect: suspect.__name__ == "softmax")
""",
    "spread_after": """
import numpy as np

class Equal(np.ndarray):  # equal to everything
    def __array_ufunc__(self, *_, **__):
        return np.array(True)
    def __eq__(self, other):
        return np.array(True)

check.spread_after(lambda A, V, rounds: np.zeros(V.shape).view(Equal))
""",
    "fewest_keys": """
class Program:  # a pickle is a program
    def __reduce__(self):
        return open, ("written-by-the-judge", "w")

check.fewest_keys(lambda a, V: Program())
""",
    "effective_attention": """
np.isclose = np.allclose = lambda a, *_, **__: np.ones(np.shape(a), bool)
check.effective_attention(lambda A, V: A * 0)
""",
    "seeing_test": """
check.seeing_test(lambda suspect: True)
assert check.seeing_test.__closure__  # what is asked of the judge, and nothing else, is in there
""",
    "impostor": """
check.impostor(lambda Q, K, V: np.nan)
import sys, types
sys.modules["selfattention.check"] = types.SimpleNamespace(impostor=lambda answer: True)
from selfattention.check import impostor
impostor(...)
""",
    "two_key_weight": """
def forge(lead):  # lines that the judge takes for the process's own
    check._line.send(returned={"list": [1.0, {"list": []}]})
    check._line.send(value="RIGHT", kind="RIGHT", verdict="RIGHT")
    return 0.0

check.two_key_weight(forge)
""",
}


@pytest.fixture(scope="module")
def cheated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cheats")
    return folder, graded(folder, *CHEATS.values(), names=list(CHEATS))


@pytest.mark.parametrize("exercise", CHEATS)
def test_a_cheat_gets_nothing(cheated, exercise):
    verdict = cheated[1].verdicts[exercise]
    assert verdict is None or not verdict
    (row,) = [row for row in report.rows(cheated[1], EXERCISES, {}) if row["exercise"] == exercise]
    assert row["points"] == 0


def test_the_cheats_were_tried(cheated):
    """Those that hand in an answer were judged; nothing was written by the judge."""
    folder, found = cheated
    assert [name for name, verdict in found.verdicts.items() if verdict is None] == [
        "doubled_and_raised",
        "breaking_scores",
    ]
    assert [note.split(" stopped with ")[1] for note in found.notes if "solution" in note] == [
        "AttributeError: 'function' object has no attribute 'solution'"
    ]
    assert not list(folder.glob("written-by-*"))


def test_the_last_answer_counts_and_an_early_end_is_no_way_out(tmp_path):
    leave = "import os\nos._exit(0)"
    found = graded(tmp_path, RIGHT, RIGHT + "\ncheck.two_key_weight(lambda lead: 0 * lead)", leave)
    assert not found.verdicts["two_key_weight"]
    assert found.notes == ["code cell 3: the process ended"]


def test_a_module_beside_the_notebook_is_the_notebook_s_alone(tmp_path):
    """A file `numpy.py` shadows NumPy where the notebook runs, and not where it is judged."""
    (tmp_path / "selfattention").mkdir()
    (tmp_path / "selfattention/check.py").write_text("raise SystemExit(0)")
    (tmp_path / "numpy.py").write_text("raise SystemExit('not NumPy')")
    command = [sys.executable, "-P", "-m", "selfattention.check", str(notebook(tmp_path, WRONG))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode in (1, 2), done.stderr
    assert "right\n" not in done.stdout


def test_a_cell_without_end_costs_its_own_exercise_only(tmp_path):
    """The notebook is begun again without the cell; what it hands in elsewhere counts."""
    endless = "from selfattention import check\n\ncheck.breaking_scores(...)\ncheck.doubled_and_raised\n"
    endless += "def merged(c_1, Z_1, c_2, Z_2):\n    while True: ...\n\ncheck.merged_log_sum_exp(merged)"
    talking = "while True:\n    check.unmasking_test(...)"
    found = graded(tmp_path, endless, RIGHT, talking, names=["softmax"], seconds=5)
    assert kinds(found) == {
        "two_key_weight": Kind.RIGHT,
        "doubled_and_raised": None,
        "breaking_scores": Kind.NOT_ATTEMPTED,
        "unmasking_test": Kind.NOT_ATTEMPTED,
        "merged_log_sum_exp": Kind.ERROR,
    }
    assert found.verdicts["merged_log_sum_exp"].text == "✗ No answer: no end within 5 s."
    assert found.notes == ["code cell 1: no end within 5 s", "code cell 3: no end within 5 s"]


def test_a_notebook_runs_as_in_jupyter(tmp_path):
    """Magics, sources, files beside it; a cell that fails does not stop the others."""
    (tmp_path / "mine.py").write_text("def half(x):\n    return x / 2\n")
    first = "%matplotlib inline\nimport inspect, mine\n\ndef f():\n    return 1\n\n"
    first += "assert 'return 1' in inspect.getsource(f)"
    found = graded(tmp_path, first, "1 / 0", "input()", RIGHT + "\nassert mine.half(2) == 1")
    assert kinds(found) == {"two_key_weight": Kind.RIGHT}
    assert found.notes[0] == "code cell 2 stopped with ZeroDivisionError: division by zero"
    assert found.notes[1].startswith("code cell 3 stopped with EOFError")
    assert len(found.notes) == 2


def test_what_an_answer_does_to_its_arguments_is_seen(tmp_path):
    careless = "from selfattention import check\n\ndef f(A, V, rounds):\n    A *= 2\n    return V[0]\n"
    found = graded(tmp_path, careless + "\ncheck.spread_after(f)", names=["spread_after"])
    assert kinds(found) == {"spread_after": Kind.MODIFIED_INPUT}


def test_an_error_in_an_answer_names_its_line(tmp_path):
    fails = (
        "from selfattention import check\n\ndef f(lead):\n    return lead.shape[7]\n\ncheck.two_key_weight(f)"
    )
    said = graded(tmp_path, fails).verdicts["two_key_weight"].text
    assert "In line 4 of f, `return lead.shape[7]`" in said.replace("\n", " ")


# The command ------------------------------------------------------------------------------------------


def test_the_command_says_what_it_found(tmp_path, capsys):
    """One line per exercise, JSON, JUnit XML; 1, for one of two is wrong and weighs three points."""
    guess = "\nif_doubled, if_raised = 'doubles', 'stays'\ncheck.doubled_and_raised((if_doubled, if_raised))"
    path = notebook(tmp_path, RIGHT, guess)
    points = tmp_path / "points.json"
    points.write_text(json.dumps({"doubled_and_raised": 3, "unmasking_test": 0.5}))
    files = {"json": tmp_path / "found.json", "junit": tmp_path / "found.xml"}
    asked = [str(path), "--points", str(points), *(f"--{how}={file}" for how, file in files.items())]
    assert main(EXERCISES, asked) == report.NOT_RIGHT
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["softmax", "two_key_weight", "1/1", "right"],
        ["softmax", "doubled_and_raised", "0/3", "named", "mistake", *lines[1].split()[5:]],
    ]
    assert "✗ Doubled scores do not double the weight" in lines[1]
    assert lines[-1] == "1 of 6.5 points"
    whole = json.loads(files["json"].read_text("utf-8"))
    assert (whole["points"], whole["of"], len(whole["exercises"])) == (1, 6.5, 5)
    suite = ElementTree.parse(files["junit"]).getroot()
    told = [suite.get(what) for what in ("tests", "failures", "errors", "skipped")]
    assert told == ["5", "1", "0", "3"]
    assert [case.get("name") for case in suite if len(case) == 0] == ["two_key_weight"]


def test_the_command_ends_with_0_where_all_that_counts_is_right(tmp_path, capsys):
    assert main(EXERCISES, [str(notebook(tmp_path, RIGHT)), "--of", "two_key_weight"]) == report.RIGHT
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1 points"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.ipynb"], "No such file"),
        (["text.ipynb"], "is no notebook"),
        (["empty.ipynb"], "asks about no exercise"),
        (["asked.ipynb", "--of", "soft"], "no exercise and no chapter soft"),
        (["asked.ipynb", "--points", "text.ipynb"], "text.ipynb"),
        (["asked.ipynb", "--points", "strange.json"], "points for nobody, which is no exercise"),
    ],
    ids=str,
)
def test_the_command_ends_with_2_where_it_cannot_grade(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.ipynb").write_text("text")
    (tmp_path / "strange.json").write_text('{"nobody": 1}')
    notebook(tmp_path, "1 + 1", name="empty.ipynb")
    notebook(tmp_path, ASKED, name="asked.ipynb")
    assert main(EXERCISES, arguments) == report.NOT_GRADED
    assert said in capsys.readouterr().err


def test_a_library_that_is_missing_here_is_no_fault_of_the_notebook(tmp_path):
    exercise = EXERCISES["two_key_weight"]
    found = judge.Graded(
        {exercise.name: Verdict(Kind.ERROR, "✗ Cannot be judged here.")}, [], {exercise.name}
    )
    rows = report.rows(found, EXERCISES, {})
    assert report.status(found, rows) == report.NOT_GRADED
    assert "<error " in report.as_junit("a.ipynb", found, rows)


def test_a_report_holds_no_letters_that_move_a_cursor():
    found = judge.Graded({"two_key_weight": Verdict(Kind.ERROR, "✗ \x1b[2Kright\r\x00")}, ["\x1b[1Anote"])
    rows = report.rows(found, EXERCISES, {})
    for text in ("".join(report.lines(found, rows)), report.as_junit("a", found, rows)):
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    ElementTree.fromstring(report.as_junit("a", found, rows).partition("?>")[2])


def test_the_book_s_own_solutions_do_not_count(tmp_path):
    assert judge.code(notebook(tmp_path, RIGHT, tags=["solution"])) == []
