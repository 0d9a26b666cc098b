"""Somebody's function is explained by the smallest explanation there is, or by none; it does no harm."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from strangers.corpus import corpus
from strangers.measure import kind, verdict

from selfattention import check, examine, formulas, mutants
from selfattention.examining import cases
from selfattention.examining.fills import written
from selfattention.examining.report import Status
from selfattention.implementations import IMPLEMENTATIONS
from selfattention.recipes.backward import BACKWARD
from selfattention.recipes.explain import Engine, Outcome, Weight
from selfattention.recipes.heads import HEADS
from selfattention.recipes.merge import MERGE
from selfattention.recipes.softmax import SOFTMAX
from selfattention.recipes.tiles import ATTENTION

# The engine.


def outcomes(function, found, names):
    """What a function makes of cases; those that it cannot take are left out."""
    made = []
    for case in found:
        given = [case.arrays.get(name) for name in names]
        try:
            with np.errstate(all="ignore"):
                result = function(*given)
            made.append(Outcome(case.name, tuple(given), result if isinstance(result, tuple) else (result,)))
        except (ValueError, IndexError):
            pass
    return made


def scores():
    return [c.but(S=c.arrays["Q"] @ c.arrays["K"].swapaxes(-1, -2)) for c in cases.plain()]


ENGINES = {"softmax": Engine(SOFTMAX), "attention": Engine(ATTENTION), "masked_attention": Engine(ATTENTION)}
ENGINES |= {"multi_head_attention": Engine(HEADS), "attention_backward": Engine(BACKWARD)}
INPUTS = {
    "multi_head_attention": (cases.projected, ["X", "W_Q", "W_K", "W_V", "W_O", "h"]),
    "attention_backward": (cases.with_gradients, ["dO", "Q", "K", "V"]),
    "softmax": (scores, ["S"]),
    "attention": (cases.plain, ["Q", "K", "V"]),
    "masked_attention": (cases.masked, ["Q", "K", "V", "visible"]),
}
# What another definition, or a reading of rows that see nobody, makes right; and what only a fit can name.
RIGHT_ELSEWHERE = {
    "no_scale",
    "causal_uninvited",
    "finite_fill",
    "constant_added",
    "not_a_number_for_an_empty_row",
}
FITTED = {"small_fill"}
# Two mistakes that are one in other words.
THE_SAME = {"largest_value_normalised": "sum_forgotten", "naive_softmax": "naive_exponentials"}
MUTANTS = [(t, m) for t in INPUTS for m in mutants.mutants(t) if m.function.__name__ not in FITTED]


@pytest.mark.parametrize(("target", "mutant"), MUTANTS, ids=lambda x: getattr(x, "name", x))
def test_every_mutant_is_named_by_the_recipe_that_has_its_part(target, mutant):
    found, names = INPUTS[target]
    weight, explanations = ENGINES[target].explain(outcomes(mutant.function, found(), names))
    name = mutant.function.__name__
    if name == "split_and_merge_without_transpose":  # the two that come before it
        assert weight is Weight.TWO_MISTAKES
        return
    if name in RIGHT_ELSEWHERE:
        assert weight <= Weight.CONVENTION
        return
    assert weight is Weight.MISTAKE, explanations
    said = {c.said.__name__ for e in explanations for c in e.mistakes}
    told = {c.sentence for e in explanations for c in e.mistakes}
    assert mutant.name in told or THE_SAME.get(name) in said or name == "softmax_over_the_queries", told


def test_a_reading_is_no_mistake_and_hides_none():
    def sideways_and_mean(Q, K, V, visible):
        S = np.where(visible.swapaxes(-1, -2), Q @ K.swapaxes(-1, -2) / Q.shape[-1] ** 0.5, -1e9)
        return formulas.softmax(S) @ V

    found = [c for c in cases.masked() if c.arrays["Q"].shape[-2] == c.arrays["K"].shape[-2]]
    weight, (only,) = Engine(ATTENTION).explain(
        outcomes(sideways_and_mean, found, INPUTS["masked_attention"][1])
    )
    assert weight is Weight.MISTAKE
    assert [c.said.__name__ for c in only.changes] == ["mask_read_sideways"]
    assert "mean of all values" in only.reading.sentence


def test_no_name_holds_a_number_that_was_not_measured():
    assert written(-1e4) == "−10⁴"
    assert written(-65504.0) == "−6.55e+04"
    known = (ATTENTION, SOFTMAX, HEADS, BACKWARD, MERGE)
    for change in (change for each in known for change in each.mistakes):
        assert change.sentence
        assert change.chapter.startswith("Chapter"), change.sentence
        assert "10⁹" not in change.sentence


# The door.


def test_two_mistakes_at_once_are_two_names():
    def mine(q, k, v):
        weights = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
        return weights / weights.sum() @ v

    said = examine(mine)
    assert said.status is Status.MISTAKE
    assert said.names == (
        ("One sum for the whole matrix", "The exponential as printed, without the maximum"),
    )
    assert "wanted" in str(said)


@pytest.mark.parametrize("name", list(IMPLEMENTATIONS))
def test_no_implementation_of_the_package_makes_a_mistake(name):
    implementation = IMPLEMENTATIONS[name]
    if why := implementation.why_not():
        pytest.skip(why)
    if name == "triton_fused":
        pytest.skip("Triton's interpreter takes its time; it is held to the same numbers elsewhere")
    said = examine(implementation.load().attention, seconds=60)  # Numba compiles in the first call
    assert said, said
    assert "Rows that see nobody give 0" in str(said)


@pytest.mark.parametrize("function", [formulas.attention, formulas.masked_attention, formulas.softmax])
def test_no_formula_makes_a_mistake(function):
    said = examine(function)
    assert said, said


@pytest.mark.parametrize(
    "function",
    [torch.nn.functional.scaled_dot_product_attention, torch.nn.functional.softmax, torch.softmax],
    ids=["scaled_dot_product_attention", "functional.softmax", "softmax"],
)
def test_none_of_pytorchs_makes_a_mistake(function):
    def of_rows(S):
        return function(S, dim=-1)

    said = examine(function if "attention" in function.__name__ else of_rows)
    assert said, said


def test_the_same_mask_by_another_name_is_found():
    def hides(q, k, v, padding):
        S = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        return torch.softmax(S.masked_fill(padding[:, None, None, :], -torch.inf), -1) @ v

    said = examine(hides)
    assert said, said
    assert "(batch, m), True = hidden" in said.called


def test_a_root_that_luong_has_not_is_a_definition_unless_the_function_says_scaled():
    def dots(Q, K, V):
        return formulas.softmax(Q @ K.swapaxes(-1, -2)) @ V

    def scaled_dots(Q, K, V):
        return formulas.softmax(Q @ K.swapaxes(-1, -2)) @ V

    assert "as Luong's" in examine(dots).title
    assert examine(scaled_dots).names == (("Not scaled at all",),)


def test_a_finite_fill_is_named_with_its_number():
    for number, named in ((-1e4, "−10⁴"), (-50.0, "−50"), (-65504.0, "−6.55e+04")):

        def filled(q, k, v, mask, number=number):
            S = np.where(mask, q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5, number)
            E = np.exp(S - S.max(-1, keepdims=True))
            return E / E.sum(-1, keepdims=True) @ v

        (names,) = examine(filled).names
        assert f"A finite fill, {named}, instead of −∞" in names[0]


@pytest.mark.parametrize("mistake", check.merge_outputs.mistakes, ids=lambda function: function.__name__)
def test_the_mistakes_of_a_merge_are_named(mistake):
    said = examine(mistake)
    assert said.status is Status.MISTAKE
    assert said.names[0], said


# What strangers do.


def test_code_that_takes_squares_only_is_judged_on_these_and_told_so():
    def square(q, k, v):
        if q.shape != k.shape or k.shape != v.shape or q.ndim != 2:
            raise ValueError("only squares here")
        E = np.exp(q @ k.T / len(q) ** 0.5 - 700)
        return E / E.sum(axis=0) @ v

    said = examine(square)
    assert said.status is Status.MISTAKE
    assert "only squares here" in str(said)


def along_axis_one(q, k, v):
    S = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    E = np.exp(S - S.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True) @ v


def of_rows(q, k, v):
    S = q @ k.T / np.sqrt(q.shape[1])
    E = np.exp(S - S.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True) @ v


def softmax_of_rows(x):
    E = np.exp(x - x.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def test_an_axis_from_the_front_is_wrong_where_the_others_are_counted_from_the_end():
    said = examine(along_axis_one)
    assert said.status is Status.MISTAKE
    assert "Softmax over the heads" in said.title
    assert examine(of_rows)


def test_who_writes_for_rows_is_right_and_told_what_becomes_of_a_batch():
    said = examine(softmax_of_rows)
    assert said
    text = " ".join(said.paragraphs)
    assert "Given (batch, n, d) it raises no error, and is wrong: softmax over the queries" in text
    assert "raises no error" not in " ".join(examine(of_rows).paragraphs)


def test_what_changes_its_arguments_is_told_so():
    def in_place(q, k, v):
        q /= q.shape[-1] ** 0.5
        return formulas.softmax(q @ k.swapaxes(-1, -2)) @ v

    said = examine(in_place)
    assert said
    assert "writes into an array" in " ".join(str(said).split())


def test_what_cannot_be_examined_is_said_in_a_sentence():
    def fails(q, k, v):
        raise RuntimeError("no CUDA GPUs are available")

    for thing, why in (
        (3, "int cannot be called"),
        (fails, "no CUDA GPUs are available"),
        ("nowhere:at_all", "nowhere"),
    ):
        said = examine(thing)
        assert said.status is Status.CANNOT_TELL
        assert why in str(said)
        assert not said


@pytest.mark.parametrize(
    ("body", "why", "seconds"),
    [
        ("while True:\n        pass", "no answer", 0.5),
        ("import os\n    os._exit(3)", "the process ended", 20),  # it is not waited for
    ],
    ids=["never ends", "ends the process"],
)
def test_a_function_that_gives_no_answer_gets_a_verdict(tmp_path, body, why, seconds):
    path = tmp_path / "hangs.py"
    path.write_text(f"def attention(q, k, v):\n    {body}\n", encoding="utf-8")
    said = examine(f"{path}:attention", seconds=seconds)
    assert said.status is Status.CANNOT_TELL
    assert why in " ".join(str(said).split())


SCRIPT = """
import sys
import numpy as np

print("training")

def attention(q, k, v):
    print("called")
    S = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    E = np.exp(S - S.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True) @ v

def wrong(q, k, v):
    S = q @ np.swapaxes(k, -1, -2) / q.shape[-1]
    E = np.exp(S - S.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True) @ v

input("which file? ")
sys.exit(open("a file that is not here").read())
"""


def test_a_script_that_runs_when_imported_is_examined_by_command(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "selfattention.examine"]
    files = ["--json", "said.json", "--markdown", "said.md"]
    right = subprocess.run(
        [*command, "script.py:attention"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert right.returncode == 0, right.stderr
    assert "right" in right.stdout
    assert "training" not in right.stdout
    wrong = subprocess.run(
        [*command, "script:wrong", *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1, wrong.stderr
    said = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))
    assert said["status"] == "mistake"
    assert ["Divided by d_k instead of √d_k"] in said["mistakes"]
    assert "Divided by d_k" in (tmp_path / "said.md").read_text(encoding="utf-8")
    none = subprocess.run(
        [*command, "script:nothing"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert none.returncode == 2
    assert "has no nothing" in none.stdout


# The corpus, some of it: `make strangers` counts all.

SOME = [s for s in corpus() if s.tuned_on][::6]


@pytest.mark.parametrize("stranger", SOME, ids=lambda s: s.name)
def test_a_stranger_gets_the_verdict_that_is_due(stranger, tmp_path):
    said = verdict(stranger, tmp_path)
    assert kind(stranger, said) in ("wrong, named", "right, called right"), said


def test_the_corpus_is_large_and_each_half_has_its_share():
    written_by = corpus()
    assert len({s.name for s in written_by}) == len(written_by) >= 120
    assert 0.35 < sum(s.tuned_on for s in written_by) / len(written_by) < 0.65
