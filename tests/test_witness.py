"""What transformers said of the language model, the last time it was asked: `make witness`."""

import json
import re
from pathlib import Path

import pytest

from selfattention.trained import smollm2

ROOT = Path(__file__).parents[1]
LOG = json.loads((ROOT / "tests/witness/log.json").read_text(encoding="utf-8"))


def test_the_witness_saw_the_pinned_model_with_pinned_libraries():
    assert LOG["versions"]["sha256"] == smollm2.MODEL.sha256
    pins = dict(
        re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    )
    pins |= dict(re.findall(r'"(transformers|gguf)==([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8")))
    for library in ("transformers", "gguf", "torch", "numpy", "tokenizers"):
        assert LOG["versions"][library].partition("+")[0] == pins[library]


@pytest.mark.parametrize("text", ["prompt", "story"])
def test_logits_are_equal_to_rounding(text):
    """To 1e-4; to 2e-4 for a text's first token, taken at once. Its state leaps, and it is off by 1.1e-4: for
    many rows NumPy's library sums 1,536 numbers one after the other."""
    assert LOG[text]["difference"] <= 1e-4
    assert LOG[text]["at_once"]["the_others"] <= 1e-4
    assert LOG[text]["at_once"]["first_token"] <= 2e-4
    assert LOG[text]["equal_choices"] == 1


def test_the_page_says_what_the_log_says():
    cells = json.loads((ROOT / "notebooks/15_decoding.ipynb").read_text(encoding="utf-8"))["cells"]
    (page,) = ["".join(cell["source"]) for cell in cells if cell["id"] == "chat"]
    texts = LOG["prompt"], LOG["story"]
    worst = max(LOG["steps"]["logits"], *(text["difference"] for text in texts))
    first = max(text["at_once"]["first_token"] for text in texts)
    for number in worst, first:
        digits, power = f"{number:.1e}".split("e-")
        assert rf"${digits} \cdot 10^{{-{int(power)}}}$" in page
    assert f"transformers {LOG['versions']['transformers']}" in page


def test_twenty_tokens_are_equal():
    assert LOG["steps"]["ours"] == LOG["steps"]["theirs"]
    assert len(LOG["steps"]["ours"]) == 20
    assert LOG["steps"]["logits"] <= 1e-4


def test_every_array_is_read_bit_for_bit():
    assert LOG["gguf"] == {"arrays": 272, "equal": 272}
