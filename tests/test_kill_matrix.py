"""Tests of our tests: every named mistake is told from the right function, and the right one passes."""

import re

import numpy as np
import pytest
import torch

from selfattention.mutants import RIGHT, mutants, properties, right
from selfattention.mutants.kill_matrix import holds, killers

MUTANTS = [mutant for target in RIGHT for mutant in mutants(target)]
PROPERTIES = [(target, prove) for target in RIGHT for prove in properties(target)]

# Inputs that hide mistakes are properties too: the matrix shows readers how little they see.
WEAK = {"shape", "shapes", "finite", "all_equal_scores", "nothing_hidden"}


def test_there_are_enough_mistakes():
    assert len(MUTANTS) >= 30
    assert len({(mutant.target, mutant.name) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.target}-{m.function.__name__}")
def test_every_mutant_is_killed(mutant):
    survived = [prove.__name__ for prove in properties(mutant.target) if holds(mutant.function, prove)]
    assert len(survived) < len(properties(mutant.target)), f'"{mutant.name}" survives every property'


@pytest.mark.parametrize(("target", "prove"), PROPERTIES, ids=lambda x: getattr(x, "__name__", x))
def test_the_right_function_has_every_property(target, prove):
    prove(right(target))


@pytest.mark.parametrize(("target", "prove"), PROPERTIES, ids=lambda x: getattr(x, "__name__", x))
def test_every_property_but_the_weak_ones_kills_somebody(target, prove):
    assert prove.__name__ in WEAK or not all(holds(m.function, prove) for m in mutants(target))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.target}-{m.function.__name__}")
def test_every_mutant_says_what_it_is_and_where_it_is_taught(mutant):
    assert len(mutant.name) > 10
    assert re.fullmatch(r"Chapter \d\d(, (chapter \d\d|pitfalls? \d+( and \d+)?))?", mutant.source), (
        mutant.source
    )


def test_a_crash_counts_as_a_kill_and_an_unknown_error_does_not():
    def crashes(*arguments):
        raise ValueError("axes do not fit")

    def bug(*arguments):
        raise KeyError("not an answer to a wrong formula")

    prove = properties("softmax")[0]
    assert not holds(crashes, prove)
    with pytest.raises(KeyError):
        holds(bug, prove)


def test_an_error_of_torch_and_a_tuple_are_kills_as_well():
    def shapes_that_do_not_fit(Q, K, V):
        return torch.tensor(Q) @ torch.tensor(K)

    def output_and_weights(Q, K, V):
        return right("attention")(Q, K, V), None

    for function in (shapes_that_do_not_fit, output_and_weights):
        assert "shape" in killers("attention", function)


def in_single_precision(target):
    """The right function, all of it in float32, and the answer in the caller's float64."""

    def function(*arguments):
        cast = [x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x for x in arguments]
        result = right(target)(*cast)
        return (
            tuple(x.astype(np.float64) for x in result)
            if isinstance(result, tuple)
            else result.astype(np.float64)
        )

    return function


@pytest.mark.parametrize(
    "target",
    ["softmax", "attention", "masked_attention", "multi_head_attention", "rotary", "attention_backward"],
)
def test_single_precision_inside_is_no_mistake(target):
    assert killers(target, in_single_precision(target)) == []
