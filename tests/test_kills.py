"""What came of two hundred kills, the last time: `make kills`."""

import json
import re
from pathlib import Path

import kills
import pytest

ROOT = Path(__file__).parents[1]
LOG = json.loads(kills.LOG.read_text(encoding="utf-8"))


def test_two_hundred_kills_without_a_hang_an_orphan_or_a_wrong_answer():
    totals = LOG["totals"]
    assert totals == kills.totals(LOG["kills"])
    assert totals["times"] == 200
    assert (totals["hangs"], totals["orphans"], totals["wrong"], totals["unnamed"]) == (0, 0, 0, 0)
    assert totals["longest"] < kills.SOON
    assert totals["right"] > 200  # the ranks were at work when it came


def test_the_kills_were_drawn_from_everything_that_was_meant():
    drawn = {(kill["p"], kill["killed"], kill["store"]) for kill in LOG["kills"]}
    assert drawn == {
        (p, rank, store) for p in (2, 3, 4) for rank in range(p) for store in (kills.OURS, kills.RANK_0)
    }
    steps = {kills.STEP.search(kill["said"])[0] for kill in LOG["kills"]}
    assert {"step 0 of ring", "step 0 of ring backward", "the questions before ring"} <= steps


def test_they_were_of_these_sources_and_of_the_pinned_torch():
    pinned = re.search(r"^torch==([\d.]+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)[1]
    assert LOG["versions"]["torch"].partition("+")[0] == pinned
    assert LOG["versions"]["sources"] == kills.fingerprint(), "parallel/ has changed since: make kills"


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (
            {"error": "RankFailed", "said": "rank 1 is gone in step 0 of ring; rank 0 was in step 0 of ring"},
            True,
        ),
        (
            {"error": "RankFailed", "said": "rank 2 is gone in step 0 of ring; rank 0 was in step 0 of ring"},
            False,
        ),
        ({"error": "RankFailed", "said": "rank 1 is gone"}, False),
        ({"error": "RuntimeError", "said": "rank 1, step 0 of ring"}, False),
    ],
)
def test_the_judge_of_kills(answer, good):
    answer = answer | {"right": 3, "wrong": 1}
    verdict = kills.judged({0: answer, 2: None}, killed=1)
    assert (verdict["hangs"], verdict["right"], verdict["wrong"]) == (1, 3, 1)
    assert verdict["unnamed"] == ([] if good else [answer["said"]])


def test_a_comment_or_a_docstring_is_nothing_that_a_source_does():
    text = '"""Of a file."""\n\nx = "#"  # why\n\n\ndef f():\n    """Of two\n    lines."""\n    return x\n'
    assert kills.lines_that_do(text) == ['x = "#"', "def f():", "    return x"]
