"""The page for teachers: its numbers are those that chapters and logs have, its plans fit their hours."""

import json
import re
from pathlib import Path

import course_plan
import pytest
from bs4 import BeautifulSoup
from links import ROOT
from sphinx.errors import ExtensionError

PAGE = (ROOT / "book/teach.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLANS = re.findall(r"```\{class-plan\}\n:minutes: (\d+)\n(:read-before:\n)?\n(.*?)```", PAGE, re.DOTALL)
SIZES = json.loads((ROOT / "tests/classroom/sizes.json").read_text(encoding="utf-8"))
LIGHT = json.loads((ROOT / "tests/classroom/light.json").read_text(encoding="utf-8"))
NUMPY_ALONE = {"03_scores", "06_context", "11_positions", "13_tiles"}


def test_the_plans_fit_their_hours():
    two_hours, semester = PLANS
    assert (two_hours[0], two_hours[1]) == ("120", "")
    (parts,) = course_plan.sessions(two_hours[2].splitlines())
    assert 90 <= course_plan.in_class(parts, read_before=False) <= 110  # and time for questions
    weeks = course_plan.sessions(semester[2].splitlines())
    assert len(weeks) == 14
    assert all(30 <= course_plan.in_class(week, read_before=True) <= 60 for week in weeks)  # and the slides


def test_minutes_are_those_of_the_chapter():
    told = course_plan.told("05_softmax")
    assert told.reading == 25
    assert told.exercises["two-key-weight"] == ("★", 5)
    part = course_plan.part("05_softmax | two-key-weight, merged-log-sum-exp | Temperature")
    assert (part.doing, part.skipped) == (20, ["Temperature"])
    assert course_plan.in_class([part], read_before=False) == 45


@pytest.mark.parametrize("line", ["05_softmax | two-keys |", "05_softmax | | A section that is not there"])
def test_what_a_chapter_has_not_stops_the_build(line):
    with pytest.raises(ExtensionError, match="05_softmax has no"):
        course_plan.part(line)


def test_no_minute_and_no_size_is_typed():
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    assert not re.search(r"\d+ (MB|GB|s|minutes|seconds)\b", prose)


@pytest.mark.parametrize("page", [PAGE, README], ids=["page", "README"])
@pytest.mark.parametrize(
    "line", ["source .venv/bin/activate", r".venv\Scripts\Activate.ps1", r".venv\Scripts\activate.bat"]
)
def test_every_system_has_its_line(page, line):
    assert line in page


# What was measured ----------------------------------------------------------------------------------------


def test_sizes_were_measured_with_the_pins_of_today():
    pins = dict(
        re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    )
    for size in SIZES["sizes"].values():
        for library, release in size["versions"].items():
            assert release.partition("+")[0] == pins.get(library, release), library
    assert "torch" not in SIZES["sizes"]["NumPy chapters"]["versions"]
    assert {"torch", "numba"} <= SIZES["sizes"]["everything"]["versions"].keys()


def test_each_size_is_larger_than_the_one_before():
    sizes = SIZES["sizes"].values()
    fetched, kept = ([size[of] for size in sizes] for of in ("fetched megabytes", "megabytes"))
    assert (fetched, kept) == (sorted(fetched), sorted(kept))
    assert fetched[1] <= 150  # the NumPy chapters, for a classroom's connection
    assert kept[0] <= 150
    assert kept[1] <= 280  # of which the course is little, as the next test says


def test_the_numpy_chapters_are_mostly_others_packages():
    """All files belong to a package, but for a few scripts; the light extra brings nothing for PyTorch."""
    size = SIZES["sizes"]["NumPy chapters"]
    parts = size["packages"]
    assert size["megabytes"] - 2 <= sum(of["megabytes"] for of in parts.values()) <= size["megabytes"] + 2
    assert parts["selfattention"]["megabytes"] <= 10
    assert all(of["compiled"] <= of["megabytes"] for of in parts.values())
    assert not {"torch", "numba", "triton", "scipy", "tokenizers", "jupyterlab"} & parts.keys()


# What runs without ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", LIGHT["light"])
def test_without_torch_a_chapter_runs_and_shows_what_the_book_shows(notebook):
    """Every cell has run to its end or to the line that needs what is missing; none has raised an error.

    The one that may show another number draws from a generator from which a stopped cell has drawn nothing.
    """
    seen = LIGHT["light"][notebook]
    path = ROOT / f"notebooks/{notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = {cell["id"] for cell in cells if cell["cell_type"] == "code"}
    solutions = {c["id"] for c in cells if "solution" in c["metadata"].get("tags", [])}
    assert seen["code cells"] == len(code - solutions)
    assert {*seen["stopped"]} <= code
    assert len(seen["different"]) <= (1 if seen["stopped"] and "rng" in path.read_text("utf-8") else 0)


def test_without_means_not_installed():
    """pip has brought NumPy, matplotlib, Jupyter's kernel and what these need; Pillow is matplotlib's."""
    there = LIGHT["installed"]["light"].keys()
    assert {"numpy", "matplotlib", "ipykernel", "selfattention"} <= there
    others = {"torch", "numba", "llvmlite", "triton", "scikit-learn", "scipy", "tokenizers", "pytest"}
    assert not others & there


def test_the_log_has_every_chapter_and_these_need_numpy_alone():
    assert [f"{name}.ipynb" for name in LIGHT["light"]] == sorted(
        path.name for path in Path(ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")
    )
    assert {name for name, seen in LIGHT["light"].items() if not seen["stopped"]} >= NUMPY_ALONE
    part_one = [LIGHT["light"][name] for name in LIGHT["light"] if name < "09"]
    stopped = sum(len(seen["stopped"]) for seen in part_one)
    assert stopped / sum(seen["code cells"] for seen in part_one) < 0.15


def test_numba_and_triton_are_needed_by_no_chapter_before_the_kernels():
    assert not {"numba", "llvmlite", "triton"} & LIGHT["installed"]["no compiler"].keys()
    assert "torch" in LIGHT["installed"]["no compiler"]
    assert [name[:2] for name in LIGHT["no compiler"]] == [f"{number:02}" for number in range(1, 14)]
    for notebook, seen in LIGHT["no compiler"].items():
        assert (seen["stopped"], seen["different"]) == ([], []), notebook


# The built page -------------------------------------------------------------------------------------------


def test_the_page_shows_what_was_measured_and_leads_to_every_exercise():
    page = BeautifulSoup((ROOT / "_build/html/book/teach.html").read_text(encoding="utf-8"), "html.parser")
    article = page.find("article")
    for size in SIZES["sizes"].values():
        for megabytes in size["fetched megabytes"], size["megabytes"]:
            assert f"{megabytes} MB" in article.get_text()
    for part in SIZES["sizes"]["NumPy chapters"]["packages"].values():
        assert f"{part['megabytes']:.0f} MB" in article.get_text() or part["megabytes"] < course_plan.LARGE
    links = {a["href"].partition("#")[2] for a in article.find_all("a", href=True)}
    for _, _, plan in PLANS:
        for part in [part for parts in course_plan.sessions(plan.splitlines()) for part in parts]:
            assert {f"exercise-{part.notebook[3:]}-{name}" for name in part.exercises} <= links
