"""What machine-made edits survived, by the record of `make mutate`, and why that is no gap in the tests."""

import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests/mutation"
RECORD = json.loads((FOLDER / "survivors.json").read_text(encoding="utf-8"))
EXPLAINED = tomllib.loads((FOLDER / "equivalent.toml").read_text(encoding="utf-8"))


def run(script):
    """What a script prints that runs beside the tool, in a process of its own."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=FOLDER, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def survivors(path):
    return Counter((edit["was"], edit["became"]) for edit in RECORD[path]["survivors"])


def explained(path):
    return Counter((was, became) for group in EXPLAINED.get(path, []) for was, became in group["edits"])


def test_what_is_recorded_are_the_files_that_are_edited_and_all_of_them():
    script = (
        "from mutate import PACKAGE, targets\nfor path, *_ in targets(): print(path.relative_to(PACKAGE))"
    )
    assert RECORD.keys() == set(run(script).splitlines())


@pytest.mark.parametrize("path", sorted(RECORD.keys() | EXPLAINED.keys()))
def test_who_survives_is_explained_and_nobody_else(path):
    missing, needless = survivors(path) - explained(path), explained(path) - survivors(path)
    assert not missing, f"survive without a reason in equivalent.toml: {sorted(missing)}"
    assert not needless, f"explained, but somebody objects: {sorted(needless)}"


@pytest.mark.parametrize("path", sorted(RECORD))
def test_the_edited_lines_still_stand(path):
    lines = {line.strip() for line in (ROOT / "src/selfattention" / path).read_text("utf-8").splitlines()}
    gone = [was for was, _ in survivors(path) if was not in lines]
    assert not gone, f"make mutate ARGS={path}: {gone}"


def test_every_reason_says_something():
    for groups in EXPLAINED.values():
        for group in groups:
            assert len(group["why"].split()) > 4, group


def test_of_edits_that_change_anything_98_in_100_are_noticed():
    """What is explained changes nothing to be seen; a survivor without a reason fails above, too."""
    edits = sum(entry["edits"] for entry in RECORD.values())
    alive = sum((survivors(path) for path in RECORD), Counter())
    harmless = sum((explained(path) for path in EXPLAINED), Counter())
    noticed = edits - alive.total()
    assert edits > 2000
    assert noticed >= 0.98 * (edits - (alive & harmless).total())


def test_the_tool_itself_tells_a_noticed_edit_from_a_harmless_one():
    """By hand what Cosmic Ray would write: −∞ turned round, and a word of a docstring."""
    script = """
from mutate import PACKAGE, TESTS, Edit, _preload, survivors_of

_preload()
path = PACKAGE / "formulas/masks.py"
text = path.read_text(encoding="utf-8")
edits = [Edit(path, 1, was, "", text.replace(was, became)) for was, became in [
    ("np.where(visible, S, -np.inf)", "np.where(visible, S, +np.inf)"),
    ("Who may see whom", "Who may hear whom"),
]]
alive = survivors_of(path, edits, [TESTS / "formulas/test_masks.py"], "")
print([edit.was for edit in alive])
"""
    assert run(script) == "['Who may see whom']\n"
