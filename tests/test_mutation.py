"""What the last `make mutate` found: every edit that no test noticed is explained, and few there are."""

import json
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "mutation"
PACKAGE = Path(__file__).parents[1] / "src/selfattention"
FOUND = json.loads((HERE / "survivors.json").read_text(encoding="utf-8"))
EXPLAINED = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8"))


def key(survivor):
    return survivor["was"], survivor["became"]


def explanations(path):
    """(was, became) of every edit of a file that changes nothing anybody could see, with the reason."""
    return {key(edit): group["why"] for group in EXPLAINED.get(path, []) for edit in group["edits"]}


@pytest.mark.parametrize("path", FOUND)
def test_every_survivor_is_explained(path):
    unexplained = [s for s in FOUND[path]["survivors"] if key(s) not in explanations(path)]
    assert unexplained == []


@pytest.mark.parametrize("path", FOUND)
def test_nothing_is_explained_that_does_not_survive(path):
    survivors = {key(s) for s in FOUND[path]["survivors"]}
    assert set(explanations(path)) <= survivors


@pytest.mark.parametrize("path", FOUND)
def test_the_lines_that_survivors_changed_still_stand(path):
    """A result of another version of the file would say nothing about this one."""
    lines = {line.strip() for line in (PACKAGE / path).read_text(encoding="utf-8").splitlines()}
    assert {s["was"] for s in FOUND[path]["survivors"]} <= lines


def test_of_the_edits_that_change_something_nearly_all_are_noticed():
    edits = sum(file["edits"] for file in FOUND.values())
    survivors = [(path, s) for path, file in FOUND.items() for s in file["survivors"]]
    harmless = sum(key(s) in explanations(path) for path, s in survivors)
    assert edits > 1000
    assert (edits - len(survivors)) / (edits - harmless) >= 0.98
