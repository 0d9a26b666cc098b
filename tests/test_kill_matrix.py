"""Tests of our tests: every named mistake is told from the right function, and the right one passes."""

import re

import pytest

from selfattention.mutants import RIGHT, mutants, properties, right
from selfattention.mutants.kill_matrix import holds

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
