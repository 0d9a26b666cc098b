"""The race over pictures: everyone answers the same question, bars are judged as said, the file is whole."""

import json
import re

import numpy as np
import pytest
import vision
import windows
from windows import TAKE_PART, Onlooker, Windows

from selfattention.formulas import window_attention

KINDS = "windows", "layer", "rule"


def of_the_formula():
    """The chapter's own function on the same map: (SIDE, SIDE, HEADS, D)."""
    Q, K, V = (X.astype(np.float64).transpose(2, 3, 0, 1) for X in windows.map_of_tokens())
    rng = np.random.default_rng(1)
    table = rng.standard_normal(((2 * windows.M - 1) ** 2, windows.HEADS), dtype=np.float32)
    O, _ = window_attention(Q, K, V, table.astype(np.float64), shift=windows.SHIFT)
    return O.transpose(2, 3, 0, 1)


def test_the_answer_that_errors_are_measured_from_is_the_formula():
    expected = of_the_formula()
    np.testing.assert_allclose(Windows("layer").exact()[0], expected, rtol=1e-12, atol=1e-13)
    in_windows = Windows("windows").exact()[0]
    np.testing.assert_allclose(windows.on_the_map(in_windows), expected, rtol=1e-12, atol=1e-13)
    assert abs(Windows("rule").exact()[0] - expected).max() > 0.1  # it goes without the bias


@pytest.mark.parametrize("kind", KINDS)
def test_everyone_answers_the_question(kind, tmp_path):
    np.savez(tmp_path / "exact.npz", *Windows(kind).exact())
    for name in TAKE_PART[kind]:
        answer = Onlooker(name).prepare({"name": kind}, tmp_path / "exact.npz")
        assert 0 < answer["error"] < 1e-5, name


def test_a_map_is_asked_of_the_usual_candidates(tmp_path):
    (_, one), (_, both), *_ = vision.jobs(places=64)
    assert (one.n, one.h, one.d_k, one.backward, both.backward) == (64, 1, 32, False, True)
    np.savez(tmp_path / "exact.npz", *both.exact())
    answer = Onlooker("numpy_tiled").prepare(vars(both), tmp_path / "exact.npz")
    assert answer["error"] < 1e-5
    race = vision.Race(tmp_path, seconds=0, rounds=1)
    assert "numpy_direct" in race.who_takes_part(one, 1)
    assert "numpy_direct" not in race.who_takes_part(both, 1)


def row(workload, candidate, ratio, peak, passes="forward"):
    return {
        "workload": workload,
        "pass": passes,
        "n": 9,
        "candidate": candidate,
        "ratio": ratio,
        "peak_mb": peak,
    }


def test_bars_by_hand():
    """0.9 of the time where 0.88 was asked for; 3 MB beside 100 where a fiftieth was."""
    rows = [
        row("map", "numba_tiled", 0.9, 3.0),
        row("map", "numpy_direct", 9.0, 100.0),
        row("map", "numba_tiled", 0.5, 3.0, "forward+backward"),
        row("windows", "numba_tiled", 0.95, 1.0),
        row("layer", "numba_tiled", 0.95, 1.0),
    ]
    judged = list(vision.bars(rows))
    assert [(bar["reached"], bar["met"]) for bar in judged] == [
        (0.9, False),
        (0.5, True),
        (0.03, False),
        (0.95, True),
        (0.95, False),
    ]
    assert len(re.findall("NOT MET", "\n".join(map(vision.verdict, judged)))) == 3
    assert (
        len(list(vision.bars([r | {"peak_mb": None} for r in rows]))) == 4
    )  # who cannot be asked for memory


def test_the_committed_result_is_whole():
    text = vision.RESULT.read_text(encoding="utf-8")
    result = json.loads(text)
    assert not re.search(r"/home/|/root/|/work/|/tmp/", text)
    assert result["command"] == "python benchmarks/vision.py"
    assert result["bars"] == list(vision.bars(result["rows"]))
    asked = {(w.name, w.passes, w.n) for _, w in vision.jobs()}
    for name, passes, n in asked:
        rows = [r for r in result["rows"] if (r["workload"], r["pass"], r["n"]) == (name, passes, n)]
        direct = {"numpy_direct"} if passes != "forward" else set()
        assert {r["candidate"] for r in rows} == set(TAKE_PART[name]) - direct
        assert all(r["rounds"] >= 7 and r["error"] < 1e-5 for r in rows)
    assert result["not_measured"] == []
