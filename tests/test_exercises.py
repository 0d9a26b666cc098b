"""Every exercise knows its solution and its mistakes, and stands in its chapter under its own name."""

import doctest
import json
import os
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from links import ROOT, chapters

from selfattention import check, formulas
from selfattention.exercises.diagnosis import Exercise, Kind, exercise
from selfattention.exercises.evidence import parts, sums
from selfattention.exercises.testing import as_a_test
from selfattention.formulas import softmax
from selfattention.mutants import step as wrong_step
from selfattention.mutants.softmax import over_the_other_axis, sum_forgotten
from selfattention.printed import printed

EXERCISES = [getattr(check, name) for name in dir(check)]
MISTAKES = [(e, mistake) for e in EXERCISES for mistake in e.mistakes]
CHAPTERS = chapters()


def by_name(function):
    return pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)(function)


def word(exercise):
    return exercise.solution.__module__.rpartition(".")[2]


def label(exercise):
    return f"exercise-{word(exercise)}-{exercise.name.replace('_', '-')}"


def floats(exercise):
    """Whether what is compared is what the solution returns, and holds floats."""
    return exercise.seen_as is None and exercise.trials(exercise.solution)[-1].wanted[0].dtype.kind == "f"


# What a check says.


@by_name
def test_the_solution_is_right(exercise):
    verdict = exercise(exercise.solution)
    assert verdict.kind is Kind.RIGHT
    assert exercise.worth_trying[:20] in verdict.text.replace("\n", " ")


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=lambda x: getattr(x, "name", getattr(x, "__name__", x))
)
def test_every_mistake_is_called_by_its_name(exercise, mistake):
    verdict = exercise(mistake)
    assert verdict.kind is Kind.NAMED_MISTAKE, verdict
    assert verdict.mistake is mistake, verdict
    name, evidence = verdict.text.split(".\n", 1)
    assert len(name) > 10
    assert evidence


@by_name
def test_every_exercise_has_mistakes_with_names_of_their_own(exercise):
    assert len(exercise.mistakes) >= 2
    said = [exercise(mistake).text.split(".\n")[0] for mistake in exercise.mistakes]
    assert len(set(said)) == len(said)


@by_name
def test_no_solution_fails_or_changes_what_it_is_given(exercise):
    for trial in exercise.trials(exercise.solution):
        assert isinstance(trial.given, tuple)
        assert not trial.modified


@by_name
def test_a_starter_is_no_attempt(exercise):
    def starter(*arguments): ...

    def raises(*arguments):
        raise NotImplementedError

    for answer in (starter, raises, ..., None, (..., ...), exercise.found or ...):
        assert exercise(answer).kind is Kind.NOT_ATTEMPTED


@by_name
def test_a_crash_is_located(exercise):
    def crashes(*arguments):
        return 1 / 0

    verdict = exercise(crashes)
    assert verdict.kind is Kind.ERROR
    assert "ZeroDivisionError: division by zero\nIn line " in verdict.text
    assert "of crashes, `return 1 / 0`" in verdict.text.replace("\n", " ")


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if floats(e)], ids=lambda e: e.name)
def test_one_number_slightly_off_is_an_unknown_mistake(exercise):
    def off(*arguments):
        first, *rest = (part.copy() for part in parts(exercise.solution(*arguments)))
        largest = np.argmax(np.where(np.isfinite(first), np.abs(first), -1))
        error = 20 * max(exercise.rtol, 100 * np.finfo(first.dtype).eps)
        first.flat[largest] += error * (1 + abs(first.flat[largest]))
        return (first, *rest) if rest else first

    verdict = exercise(off)
    assert verdict.kind is Kind.UNKNOWN_MISTAKE
    got_and_wanted = re.search(r"(\S+|\[[^;]*\]); wanted (.+)\.$", verdict.text.replace("\n", " "))
    assert got_and_wanted is None or got_and_wanted[1] != got_and_wanted[2], verdict
    assert verdict.trial.size == min(sum(map(np.size, case.values())) for case in exercise.cases)


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.seen_as is None], ids=lambda e: e.name)
def test_an_axis_too_many_is_a_wrong_shape(exercise):
    def deeper(*arguments):
        return tuple(part[None] for part in parts(exercise.solution(*arguments)))

    assert exercise(deeper).kind is Kind.WRONG_SHAPE


def array_arguments(exercise):
    return [name for case in exercise.cases for name in case if isinstance(case[name], np.ndarray)]


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if array_arguments(e)], ids=lambda e: e.name)
def test_a_changed_argument_is_noticed_though_the_answer_is_right(exercise):
    def careless(*arguments):
        result = exercise.solution(*arguments)
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                argument.flat[0] = not argument.flat[0]
        return result

    verdict = exercise(careless)
    assert verdict.kind is Kind.MODIFIED_INPUT
    assert any(name in verdict.text for name in array_arguments(exercise))


# In what form an answer comes.


def each(change, result):
    """The same result, every array and number in it changed."""
    if isinstance(result, tuple | list):
        return type(result)(each(change, part) for part in result)
    if isinstance(result, dict):
        return {name: each(change, part) for name, part in result.items()}
    is_number = isinstance(result, np.ndarray | np.generic | float | int) and not isinstance(result, bool)
    return change(result) if is_number else result


def of_arrays(change):
    return lambda result: each(lambda x: change(x) if isinstance(x, np.ndarray) else x, result)


def of_numbers(change):
    return lambda result: each(change, result)


def as_tensor(x):
    import torch

    return torch.tensor(np.asarray(x).copy())


def as_fraction(x):
    return Fraction(float(x)) if isinstance(x, float) and np.isfinite(x) else x


FORMS = {
    "a zero-dimensional array for a number": of_numbers(np.array),
    "torch tensors": of_numbers(as_tensor),
    "torch tensors with a history": of_numbers(
        lambda x: t.requires_grad_() * 1 if (t := as_tensor(x)).is_floating_point() else t
    ),
    "masked arrays that hide nothing": of_arrays(np.ma.masked_array),
    "the other order of bytes": of_arrays(lambda x: x.astype(x.dtype.newbyteorder(">"))),
    "Fortran's order": of_arrays(np.asfortranarray),
    "lists of rows": of_arrays(lambda x: list(x) if x.ndim > 1 else x),
    "fractions": of_numbers(as_fraction),
    "a list for a tuple": lambda result: list(result) if isinstance(result, tuple) else result,
    "a tuple for a list": lambda result: tuple(result) if isinstance(result, list) else result,
    "a generator": lambda result: iter(result) if isinstance(result, tuple | list) else result,
}


@by_name
def test_the_right_numbers_are_right_in_any_form(exercise):
    for name, form in FORMS.items():
        verdict = exercise(lambda *arguments, form=form: form(exercise.solution(*arguments)))
        assert verdict.kind is Kind.RIGHT, f"{name}: {verdict}"


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", ["column_attention", "gauge_of_the_keys", "both_directions"])
def test_a_matrix_of_the_old_kind_is_an_array(name):
    exercise = getattr(check, name)
    as_matrices = of_arrays(np.matrix)
    assert exercise(lambda *arguments: as_matrices(exercise.solution(*arguments))).kind is Kind.RIGHT


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if floats(e)], ids=lambda e: e.name)
def test_lists_and_objects_are_right_where_no_format_is_asked_for(exercise):
    if exercise.trials(exercise.solution)[0].wanted[0].dtype != np.float64:
        pytest.skip("float32 is part of the answer, and lists have no format")
    for form in (of_arrays(np.ndarray.tolist), of_arrays(lambda x: x.astype(object))):
        verdict = exercise(lambda *arguments, form=form: form(exercise.solution(*arguments)))
        assert verdict.kind is Kind.RIGHT, verdict


@by_name
def test_an_answer_may_write_into_one_buffer_whenever_it_is_called(exercise):
    buffers = {}

    def buffered(*arguments):
        places = iter(range(100))

        def kept(x):
            out = buffers.setdefault((next(places), x.shape, x.dtype), np.empty_like(x))
            out[...] = x
            return out

        return of_arrays(kept)(exercise.solution(*arguments))

    verdict = exercise(buffered)
    assert verdict.kind is Kind.RIGHT, verdict


def test_a_verdict_keeps_what_was_returned_when_it_was_returned():
    out = np.empty(())

    def wrong(lead):
        out[...] = np.tanh(lead) if np.ndim(lead) == 0 else 0
        return out

    verdict = check.two_key_weight(wrong)
    first = verdict.trial.given[0].copy()
    out[...] = 17
    np.testing.assert_array_equal(verdict.trial.given[0], first)
    np.testing.assert_array_equal(verdict.trial.result, first)


def test_masked_numbers_are_not_read_as_if_they_were_not():
    hidden = weights_exercise()(lambda S: np.ma.masked_array(softmax(S), mask=S == S.max()))
    assert hidden.kind is Kind.WRONG_SHAPE
    assert "1 of 3 numbers are masked" in hidden.text
    assert "you give a MaskedArray; wanted float64 of shape (1, 3)" in hidden.text.replace("\n", " ")


def test_a_value_may_have_any_precision_and_a_function_may_not():
    assert check.highest_temperature(np.float32(2 / np.log(9 * 999))).kind is Kind.RIGHT
    assert "float32" in check.two_key_weight(lambda x: np.float32(1 / (1 + np.exp(-x)))).text


class Strange:
    pass


def stop(*arguments):
    raise SystemExit(1)


ODD = [
    *(lambda *_, x=x: x for x in (Strange(), len, {1}, {"a": 1}, "words", b"bytes", [], (), [None, 1.0])),
    *(lambda *_, x=x: x for x in ([[1.0], [1.0, 2.0]], 10**400, np.zeros(0), np.zeros((3, 1), "i4,f4"))),
    *(lambda *_, x=x: x for x in (np.float64("nan"), np.inf, True, 1j, np.datetime64("2026-11-01"))),
    *(stop, np.exp, Strange, lambda *, only_by_name: 1),
]


@by_name
def test_an_odd_answer_gets_a_verdict(exercise):
    for odd in ODD:
        verdict = exercise(odd)
        assert verdict.kind is not Kind.RIGHT
        assert "object of" not in verdict.text.replace("\n", " "), verdict


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.seen_as or floats(e)], ids=lambda e: e.name)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 0.0])
def test_numbers_that_are_hard_to_look_at_stop_no_verdict(exercise, number):
    filled = of_numbers(lambda x: np.full(np.shape(x), number))
    assert exercise(lambda *arguments: filled(exercise.solution(*arguments))).text


def test_one_object_is_told_by_its_type():
    said = weights_exercise()(lambda S: Strange()).text.replace("\n", " ")
    assert "you give a Strange; wanted float64 of shape (1, 3)" in said
    said = check.hungry_twice([4 / 11] * 4).text.replace("\n", " ")
    assert "You give float64 of shape (4,); wanted something like 3 parts (float64 of shape (4,);" in said


def test_a_generator_without_an_end_is_no_check_without_one():
    def for_ever(S):
        while True:
            yield 1.0

    assert weights_exercise()(for_ever).kind is Kind.WRONG_SHAPE


# What is nearly right, and what is printed to tell it apart.


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (([0.36, 0.36, 0.09, 0.18], 5.09, 1.27), "✗ Right to 2 digits, and more are wanted."),
        (([0.364, 0.364, 0.0909, 0.182], 5.091, 1.273), "✗ Right to 3 digits"),
        (([0.4, 0.4, 0.1, 0.2], 5.1, 1.3), "✗ Not right, and none of the mistakes"),
    ],
)
def test_rounded_numbers_are_told_so(answer, said):
    verdict = check.hungry_twice(answer)
    assert verdict.kind is Kind.UNKNOWN_MISTAKE
    assert verdict.text.startswith(said)


def test_small_numbers_are_not_right_because_zero_is_near():
    tiny = exercise(worth_trying="nothing.")(lambda: np.array([1e-5, 3e-5]))
    assert tiny([0.0, 0.0]).text.startswith("✗ Not right")
    assert tiny([1.0e-5, 3.01e-5]).text.startswith("✗ Right to 2 digits")


def test_a_count_is_not_nearly_right():
    counted = exercise(worth_trying="nothing.")(lambda: 1000)
    assert counted(1001).text.startswith("✗ Not right")


def test_got_and_wanted_have_the_digits_that_tell_them_apart():
    said = check.two_key_weight(lambda lead: 1 / (1 + np.exp(-lead)) + 1e-5).text
    assert "you get 0.50001; wanted 0.5." in said.replace("\n", " ")


def test_parts_that_change_places_have_equal_shapes_and_are_told_by_their_numbers():
    def minus(tokens, wide, d_k):
        return [-part for part in check.three_views.solution(tokens, wide, d_k)]

    assert "shapes" not in check.three_views(minus).text


# Where the verdict is printed.


def run(code, *options, **environment):
    """What another Python prints."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code], env=os.environ | environment, capture_output=True, check=True
    )
    return done.stdout.decode("utf-8")


def test_names_of_mistakes_survive_an_interpreter_without_docstrings():
    code = """
from selfattention import check
from selfattention.mutants import RIGHT, mutants, sentence
for target in RIGHT:
    for mutant in mutants(target):
        print(ascii((mutant.name, mutant.source)))
for name in dir(check):
    for mistake in getattr(check, name).mistakes:
        print(ascii(sentence(mistake)))
print(check.two_key_weight(next(iter(check.two_key_weight.mistakes))).kind.name)
"""
    assert run(code, "-OO") == run(code)
    assert run(code, "-OO").endswith("NAMED_MISTAKE\n")


def test_mutants_are_killed_where_bare_asserts_are_skipped():
    code = """
from selfattention.mutants.kill_matrix import kill_matrix
print([kill_matrix(target).astype(int).tolist() for target in ("softmax", "rotary", "merge_states")])
"""
    assert run(code, "-O") == run(code)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_verdict_can_be_printed_to_any_pipe(encoding):
    code = """
from selfattention import check
for name in dir(check):
    exercise = getattr(check, name)
    if name not in ("bias_norms", "sabotage"):
        for answer in [exercise.solution, *list(exercise.mistakes)[:2], lambda *_: 1 / 0]:
            print(exercise(answer))
print(check.doubled_and_raised(("\\u4f60", "\\ud800")))
from selfattention.mutants import kill_matrix
kill_matrix.RIGHT = {"softmax": None}
kill_matrix.main()
"""
    environment = {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    mark = "✓" if encoding == "utf-8" else "[ok]"
    assert f"{mark} Right" in done.stdout.decode(encoding)


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("✗ δ is missing", "[x] delta is missing"),
        ("64 · 40² = 102400", "64 * 40^2 = 102400"),
        ("QKᵀ, V⁺, s₁, Σ_j", "QK^T, V^+, s_1, sum _j"),
        ("√d_k; −∞; “falls” → ½", 'sqrt d_k; -inf; "falls" -> 1/2'),
        ("Carathéodory, Õ, Δ", "Caratheodory, O~, Delta"),
        ("你 \ud800", "\\u4f60 \\ud800"),
    ],
)
def test_letters_that_a_stream_lacks_are_spelt(text, ascii_text):
    class Ascii:
        encoding = "ascii"

    assert printed(text, Ascii) == ascii_text


# Where the exercises stand.


def starters_and_solutions(chapter):
    text = (ROOT / "notebooks" / f"{chapter.notebook}.ipynb").read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    tagged = [(cell["metadata"].get("tags", []), cell) for cell in cells if cell["cell_type"] == "code"]
    return [[cell for tags, cell in tagged if tag in tags] for tag in ("exercise", "solution")]


def source(cell):
    return "".join(cell["source"])


def called(cell):
    return re.findall(r"^check\.(\w+)\(", source(cell), re.MULTILINE)


def shown(cell):
    return "".join(
        line for output in cell["outputs"] for line in output.get("data", {}).get("text/plain", [])
    )


def test_there_are_fifty():
    assert len(EXERCISES) >= 50


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.word)
class TestChapter:
    """The exercises of one chapter, as its notebook has them."""

    def test_every_label_is_a_check_and_every_check_a_label(self, chapter):
        text = (ROOT / "notebooks" / f"{chapter.notebook}.ipynb").read_text(encoding="utf-8")
        labels = re.findall(r":label: (exercise-[\w-]+)", text)
        assert sorted(labels) == sorted(label(e) for e in EXERCISES if word(e) == chapter.word)
        assert 3 <= len(labels) <= 6
        starters, _ = starters_and_solutions(chapter)
        names = [name.removeprefix(f"exercise-{chapter.word}-").replace("-", "_") for name in labels]
        assert [called(cell) for cell in starters] == [[name] for name in names]

    def test_the_committed_page_is_not_attempted_yet(self, chapter):
        starters, _ = starters_and_solutions(chapter)
        assert all(shown(cell).startswith("Not attempted yet") for cell in starters)

    def test_every_solution_is_checked_on_the_page(self, chapter):
        _, solutions = starters_and_solutions(chapter)
        right = [name for cell in solutions if shown(cell).startswith("✓") for name in called(cell)]
        assert sorted(right) == sorted(e.name for e in EXERCISES if word(e) == chapter.word)


# The engine, on an exercise as small as can be.

SQUARE_INPUTS = [(np.array([[0.0, 1.0, 4.0]]),), (np.log([[1.0, 2.0], [5.0, 1.0], [1.0, 3.0]]),)]


def weights_exercise(**more):
    declared = exercise(cases=SQUARE_INPUTS, worth_trying="nothing.", **more)(_softmax)
    declared.mistake_shown_by(sums)(over_the_other_axis)
    declared.mistake_shown_by(sums)(sum_forgotten)
    return declared


def _softmax(S):
    return softmax(S)


def test_the_evidence_is_computed_from_the_given_arrays():
    said = weights_exercise()(over_the_other_axis).text
    assert said.startswith("✗ Softmax over the queries: columns sum to one.\nYour columns sum to one, your")
    assert "rows do not: the first sums to 3." in said.replace("\n", " ")
    assert "Neither your rows sum to one nor your columns" in weights_exercise()(sum_forgotten).text


def test_an_unknown_mistake_shows_the_smallest_failing_input():
    verdict = weights_exercise()(lambda S: np.full(S.shape, 1 / S.shape[-1]))
    assert verdict.kind is Kind.UNKNOWN_MISTAKE
    said = verdict.text.replace("\n", " ")
    assert (
        "For S = [[0, 1, 4]] you get [[0.3333, 0.3333, 0.3333]]; wanted [[0.01715, 0.04661, 0.9362]]." in said
    )
    np.testing.assert_array_equal(verdict.trial.inputs["S"], [[0, 1, 4]])


def test_a_case_that_is_right_is_not_shown():
    def right_for_one_row(S):
        return softmax(S) if len(S) == 1 else np.zeros_like(S)

    assert len(weights_exercise()(right_for_one_row).trial.inputs["S"]) == 3


def test_shapes_and_dtypes_are_told():
    transposed = weights_exercise()(lambda S: softmax(S).T)
    assert transposed.kind is Kind.WRONG_SHAPE
    assert "float64 of shape (3, 1); wanted float64 of shape (1, 3)" in transposed.text.replace("\n", " ")
    assert "float32" in weights_exercise()(lambda S: softmax(S).astype(np.float32)).text
    nothing = weights_exercise()(lambda S: print(end=""))
    assert nothing.kind is Kind.WRONG_SHAPE
    assert "nothing: is a `return` missing?" in nothing.text.replace("\n", " ")


def test_a_value_is_not_a_function_and_a_wrong_signature_no_crash_of_ours():
    assert "wanted a function of S" in weights_exercise()(0.5).text
    assert "In the call itself" in weights_exercise()(lambda: 0).text


def test_a_constant_is_an_attempt_and_dots_are_none():
    assert weights_exercise()(lambda S: 0.5).kind is Kind.WRONG_SHAPE
    assert weights_exercise()(lambda S: ...).kind is Kind.NOT_ATTEMPTED


def test_a_crash_is_located_in_the_innermost_line_of_the_reader():
    def helper(S):
        return S["a key"]

    def calls_a_helper(S):
        return helper(S)

    assert 'of helper, `return S["a key"]`' in weights_exercise()(calls_a_helper).text.replace("\n", " ")


def test_a_solution_that_cannot_run_makes_no_answer_right():
    """As where PyTorch is not installed: the reader's answer stops at the same import."""

    def needs_a_library(S):
        raise ModuleNotFoundError("No module named 'torch'")

    declared = exercise(cases=SQUARE_INPUTS, worth_trying="nothing.")(needs_a_library)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        declared(needs_a_library)


def test_what_cannot_be_looked_at_is_told():
    largest = weights_exercise(seen_as=lambda A, S: A.argmax(-1))
    assert largest(lambda S: S).kind is Kind.RIGHT
    assert largest(lambda S: "a word").kind is Kind.WRONG_SHAPE
    said = largest(lambda S: "a word").text.replace("\n", " ")
    assert "you give one text; wanted something like float64 of shape (1, 3)" in said
    assert "AttributeError: 'str' object has no attribute 'argmax'" in said


def test_not_a_number_and_infinity_are_numbers_too():
    strange = exercise(worth_trying="nothing.")(lambda: np.array([np.nan, np.inf, -np.inf, 1.0]))
    assert strange([np.nan, np.inf, -np.inf, 1.0]).kind is Kind.RIGHT
    assert strange([np.nan, np.inf, np.inf, 1.0]).kind is Kind.UNKNOWN_MISTAKE
    assert strange([0.0, np.inf, -np.inf, 1.0]).kind is Kind.UNKNOWN_MISTAKE


def words_exercise():
    declared = exercise(worth_trying="nothing.")(lambda: ("up", "down"))

    @declared.mistake
    def first():
        """The first is wrong."""
        return "down", "down"

    @declared.mistake
    def second():
        """The second is wrong."""
        return "up", "same"

    return declared


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (("up", "down"), "✓ Right"),
        (("down", "down"), "✗ The first is wrong"),
        (("down", "same"), "✗ The first is wrong"),
        (("up", "same"), "✗ The second is wrong"),
        (("up", "up"), "✗ Not right, and none of the mistakes"),
        (("up", "dwon"), "✗ “dwon” is none of the words: down, same, up"),
        ("up", "✗ Wrong shape"),
        (("up", ...), "Not attempted yet"),
    ],
)
def test_of_several_values_each_mistake_is_known_alone(answer, said):
    assert words_exercise()(answer).text.startswith(said)


def test_a_wrong_value_does_not_give_the_right_one_away():
    number = exercise(worth_trying="nothing.")(lambda: 0.123)
    assert number(0.5).text.endswith("You gave 0.5.")


def test_a_class_can_be_an_answer_and_an_empty_one_is_a_starter():
    class Counter:
        def __init__(self, start):
            self.start = start

    class Starter(Counter): ...

    started = exercise(cases=[(3,)], seen_as=lambda counter, start: counter.start, worth_trying="nothing.")(
        Counter
    )
    assert started(Counter).kind is Kind.RIGHT
    assert started(Starter).kind is Kind.NOT_ATTEMPTED


def test_the_door_lists_the_exercises_and_names_near_ones():
    assert dir(check) == sorted(dir(check))
    assert all(
        isinstance(e, Exercise) and e.name == name for e, name in zip(EXERCISES, dir(check), strict=True)
    )
    with pytest.raises(AttributeError, match="no exercise two_key_wait; did you mean two_key_weight"):
        _ = check.two_key_wait
    assert doctest.testmod(check).failed == 0


def test_names_are_unique_in_the_book():
    """`check` is flat: a name that two chapters give to an exercise would hide one of them."""
    declared = r"^@exercise(?:_in_testing)?\((?:.|\n)*?^def (\w+)"
    named = [
        (name, path.stem)
        for path in (ROOT / "src/selfattention/exercises").glob("[a-z]*.py")
        for name in re.findall(declared, path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(name for name, _ in named) == dir(check)


# Answers that nobody expects


def values_asked_for(kinds):
    """The exercises whose answer is one array or number of this kind, and what is right."""
    asked = [(e, e.trials(e.solution)[0]) for e in EXERCISES if not e.arguments and e.seen_as is None]
    return [(e, t.wanted) for e, t in asked if {part.dtype.kind for part in t.wanted} <= set(kinds)]


@pytest.mark.parametrize(("exercise", "right"), values_asked_for("iu"), ids=lambda x: getattr(x, "name", ""))
def test_what_is_counted_is_exact(exercise, right):
    """Neither a fraction is cut off, nor a large count taken for the next one."""
    for off in 0.25, 1:
        (wrong,) = [part.astype(float) for part in right]
        wrong.flat[np.argmax(np.abs(wrong))] += off
        for answer in wrong, wrong.tolist():
            assert exercise(answer).kind not in (Kind.RIGHT, Kind.NOT_ATTEMPTED)
    assert exercise(right[0].astype(float)).kind is Kind.RIGHT


@by_name
def test_numbers_out_of_every_range_get_a_verdict(exercise):
    """Evidence counts with the answer's numbers, and may find that it cannot."""
    for change in (lambda x: -x - 1, lambda x: x * np.nan, lambda x: x * np.inf, lambda x: x * 1e300):

        def strange(*arguments, change=change):
            answer = exercise.solution(*arguments)
            numbers = [x for x in (answer if isinstance(answer, tuple) else [answer]) if not callable(x)]
            if not numbers or any(np.asarray(x).dtype.kind not in "iuf" for x in numbers):
                return 10**400
            with np.errstate(all="ignore"):
                changed = tuple(change(np.asarray(x, dtype=float)) for x in numbers)
            return changed if isinstance(answer, tuple) else changed[0]

        answer = strange if exercise.arguments else strange()
        assert isinstance(exercise(answer).text, str)


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_an_error_that_cannot_say_what_it_is():
    def fails(A, V, rounds):
        raise Wordless

    assert check.spread_after(fails).text.startswith("✗ Wordless\nIn line ")


def test_code_that_no_file_holds():
    names = {}
    exec(compile("def fails(A, V, rounds):\n    raise ValueError", "<nowhere>", "exec"), names)
    said = check.spread_after(names["fails"]).text
    assert said.startswith("✗ ValueError\nIn line 2 of fails, for A = ")


def test_several_changed_arguments_are_many():
    def careless(A, V, rounds):
        A *= 2
        V *= 2
        return V[0]

    said = check.spread_after(careless).text.replace("\n", " ")
    assert "changes its arguments A and V, which belong to the caller." in said


def test_an_exercise_says_how_it_is_asked():
    assert repr(check.short_block) == "<exercise short_block: check.short_block(your answer) says what it is>"


# Answers that are tests, two mistakes at once, and rows that see nobody

S = np.random.default_rng(0).normal(size=(3, 5))
TESTS_OF_A_SOFTMAX = {
    "asserts": lambda suspect: np.testing.assert_allclose(suspect(S).sum(1), 1),
    "a boolean": lambda suspect: bool(np.allclose(suspect(S).sum(1), 1)),
    "a boolean for each row": lambda suspect: np.isclose(suspect(S).sum(1), 1),
    "a list of booleans": lambda suspect: np.isclose(suspect(S).sum(1), 1).tolist(),
    "a number": lambda suspect: int(np.allclose(suspect(S).sum(1), 1)),
}


@pytest.mark.parametrize("form", TESTS_OF_A_SOFTMAX)
def test_a_test_may_assert_or_say_so_in_any_way(form):
    assert check.unmasking_test(TESTS_OF_A_SOFTMAX[form]), form


def test_a_suspect_that_stops_is_unmasked_and_a_test_that_stops_is_an_error():
    def wrong_where_it_can_be(S):
        raise ValueError("one row is too few")

    def test(suspect):
        assert suspect(np.zeros((1, 3))).sum() == 1

    assert as_a_test(test)(wrong_where_it_can_be) is False
    assert as_a_test(test)(softmax) is None
    verdict = check.seeing_test(lambda suspect: 1 / 0)
    assert verdict.kind is Kind.ERROR
    assert "ZeroDivisionError" in verdict.text


def raises(suspect):
    if not np.allclose(suspect(S).sum(1), 1):
        raise ValueError("rows do not sum to one")


def indexes(suspect):
    return {True: "fine"}[bool(np.allclose(suspect(S).sum(1), 1))]


def gives_a_word(suspect):
    return "fine" if np.allclose(suspect(S).sum(1), 1) else ""


def gives_what_passed(suspect):
    return [row for row in suspect(S) if np.isclose(row.sum(), 1)]


@pytest.mark.parametrize("test", [raises, indexes, gives_a_word, gives_what_passed], ids=lambda f: f.__name__)
def test_a_test_may_raise_and_give_whatever_is_true_or_not(test):
    assert check.unmasking_test(test), check.unmasking_test(test)


def test_a_test_that_raises_at_everybody_is_an_error():
    def always(suspect):
        suspect(S)
        raise ValueError("rows do not sum to one")

    assert check.unmasking_test(always).kind is Kind.ERROR


def turned_and_late(Q, positions):
    return formulas.rotary(Q, -positions - 1)


def halves_and_late(Q, positions):
    return formulas.rotary_halves(Q, positions + 1)


def averaged_and_larger(O_1, L_1, O_2, L_2):
    return (O_1 + O_2) / 2, np.maximum(L_1, L_2)


def chunk_from_zero_unmasked(Q, K, V, past_K, past_V):
    places = np.arange(K.shape[-2])
    return wrong_step.future_seen(formulas.rotary(Q, places), formulas.rotary(K, places), V, past_K, past_V)


def mean_twice_and_softmax(F, W_1, W_2):
    z = F.mean((1, 2))
    return softmax(2 * np.maximum(z @ W_1, 0) @ W_2)


@pytest.mark.parametrize(
    ("exercise", "answer", "names"),
    [
        ("complex_rotary", turned_and_late, ["Turned the other way", "Positions counted from one"]),
        ("complex_rotary", halves_and_late, ["Columns paired with the other half", "counted from one"]),
        ("merge_outputs", averaged_and_larger, ["averaged as equals", "The larger log-sum-exp"]),
        ("decode_step", chunk_from_zero_unmasked, ["positions from zero again", "the first sees the last"]),
        ("channel_weights", mean_twice_and_softmax, ["The average twice", "A softmax for the sigmoid"]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_two_mistakes_at_once_are_named_in_other_chapters_as_well(exercise, answer, names):
    verdict = getattr(check, exercise)(answer)
    assert verdict.kind is Kind.NAMED_MISTAKE, verdict
    for name in names:
        assert name in verdict.text.replace("\n", " ")


def test_two_mistakes_at_once_are_both_named():
    def both(Q, K, V):
        E = np.exp(Q @ K.T)
        return E / E.sum(0) @ V

    verdict = check.suspicious_attention(both)
    assert verdict.kind is Kind.NAMED_MISTAKE
    assert "Not scaled at all. And: Softmax over the queries" in verdict.text.replace("\n", " ")


def test_a_half_that_is_empty_hides_no_name():
    def exchanged(O_1, L_1, O_2, L_2):
        L = np.logaddexp(L_1, L_2)
        share = np.exp(L_2 - L)[:, None]
        return share * O_1 + (1 - share) * O_2, L

    verdict = check.merge_outputs(exchanged)
    assert verdict.kind is Kind.NAMED_MISTAKE
    assert verdict.mistake.__name__ == "weights_exchanged"
    assert "Besides, for" in verdict.text
