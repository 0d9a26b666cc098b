"""What `make layers` wrote down: no public layer makes a mistake, and none takes longer than was promised."""

import json
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOG = json.loads((ROOT / "tests/public_layers/log.json").read_text(encoding="utf-8"))
LONGEST = 20  # seconds, one thread


@pytest.mark.parametrize("name", LOG["layers"])
def test_no_public_layer_makes_a_mistake(name):
    said = LOG["layers"][name]
    assert said["status"] == "right", said
    assert said["title"].startswith("✓")
    assert said["seconds"] < LONGEST


def test_ten_of_them_come_from_packages_of_others_and_with_pinned_versions():
    assert sum(not name.startswith("torch ") for name in LOG["layers"]) >= 10
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = dict(pin.split("==") for pin in pins["project"]["optional-dependencies"]["layers"])
    assert pinned == {name: LOG["versions"][name] for name in pinned}
    assert len(pinned) == 8


def test_what_stands_inside_was_read_in_layers_of_others():
    titles = " ".join(said["title"] for said in LOG["layers"].values())
    for words in ("as in T5", "as in Swin", "a sigmoid of the tokens", "RMSNorm of each query and key"):
        assert words in titles
