"""Cells to try: what of the course runs with NumPy alone, which Python comes with it, and the cells.

Pyodide's core is among the npm packages of tests/browser; NumPy for the browser comes from where Pyodide
publishes it. So the core is tested in every run, with cells that need no NumPy; the whole path where the book
was built with PYODIDE. `tests/tried/tried.py` has gone it, in every chapter, and what it saw is held here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from hashlib import sha256
from html import escape
from importlib.util import module_from_spec, spec_from_file_location
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import try_pages
from bs4 import BeautifulSoup
from links import ROOT
from sphinx.errors import ExtensionError
from test_browser import _browser

from selfattention import check

SITE = ROOT / "_build/html"
HERE = Path(__file__).parent
CORE = HERE / "browser/node_modules/pyodide"
VERSION = json.loads((HERE / "browser/package.json").read_text("utf-8"))["dependencies"]["pyodide"]
PINS = try_pages.releases()[VERSION]
(NUMPY,) = [file for file in PINS if file.startswith("numpy")]
CORE_FILES = sorted(PINS.keys() - {NUMPY})
WITH_PYTHON = (SITE / try_pages.PYTHON).is_dir()
PAGE = "notebooks/05_softmax.html"
OWN, EXERCISE = try_pages.OWN_CELL, "two_key_weight"

_spec = spec_from_file_location("fetch", try_pages.TRY / "fetch.py")
fetch = module_from_spec(_spec)  # book/try is no place that anybody imports from
_spec.loader.exec_module(fetch)


# NumPy alone ------------------------------------------------------------------------------------------


@cache
def offers():
    return try_pages.offers()


OFFERED = [name for offer in offers().values() for name in offer["offered"]]


def test_all_exercises_but_two_run_with_numpy_alone():
    """One asks for a Triton kernel, one for PyTorch's gradients."""
    refused = {name: reason for offer in offers().values() for name, reason in offer["refused"].items()}
    assert refused == {
        "bias_norms": "torch is not installed: pip install 'selfattention[torch]'",
        "row_log_sum_exp": "name 'triton' is not defined",
    }
    assert sorted([*OFFERED, *refused]) == dir(check)


def test_every_chapter_brings_its_formulas():
    for notebook, offer in offers().items():
        assert "import numpy as np\nfrom selfattention import check" in offer["imports"], notebook
        assert re.search(r"^from selfattention import .*\bformulas\b", offer["imports"], re.MULTILINE), (
            notebook
        )
        assert not re.search("torch|triton|matplotlib|figures", offer["imports"]), notebook


@cache
def shown_alone():
    """What every starter, solution and mistake shows in a cell, where there is no library but NumPy."""
    pages = {}
    for notebook, offer in offers().items():
        starters = try_pages.code_and_starters(notebook)["starters"]
        cells = {"imports": offer["imports"]}
        for name in offer["offered"]:
            cells[name] = starters[name]
            cells[f"{name} solution"] = f"check.{name}(check.{name}.solution)"
            for i, mistake in enumerate(getattr(check, name).mistakes):
                cells[f"{name} {mistake.__name__}"] = f"check.{name}(list(check.{name}.mistakes)[{i}])"
        pages[notebook] = cells
    out = try_pages.run_with_numpy_alone(HERE / "cells_alone.py", json.dumps(pages))
    return {cell: shown for page in json.loads(out).values() for cell, shown in page.items()}


@pytest.mark.parametrize("name", OFFERED)
def test_a_check_says_with_numpy_alone_what_it_says_elsewhere(name):
    exercise, shown = getattr(check, name), shown_alone()
    assert shown[name].startswith("Not attempted yet")
    assert shown[f"{name} solution"] == f"{exercise(exercise.solution)}\n"
    for mistake in exercise.mistakes:
        assert shown[f"{name} {mistake.__name__}"] == f"{exercise(mistake)}\n"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("print('first')\n2 + 2", "first\n4\n"),
        ("x = 3", ""),
        ("import sys\nprint('to both', file=sys.stderr)\nx", "to both\n3\n"),
        ("def f(x):\n    return 1 / x\n\nf(0)", "line 4, in <module>\n    f(0)\n"),
        ("softmax([1.0])", "TypeError: S is a list; wanted a NumPy array of floats: np.asarray(S)\n"),
        ("x +", "SyntaxError: invalid syntax\n"),
        ("raise SystemExit(2)", "SystemExit: 2\n"),
        ("import torch", "ModuleNotFoundError: there is no torch on this page, only NumPy and"),
        ("np.ones(1) / 0", "RuntimeWarning: divide by zero"),
    ],
)
def test_a_cell_shows_what_a_notebook_would(source, shown):
    first = "import numpy as np\nfrom selfattention.formulas import softmax\nx = 3"
    out = try_pages.run_with_numpy_alone(
        HERE / "cells_alone.py", json.dumps({"page": {"first": first, "cell": source}})
    )
    text = json.loads(out)["page"]["cell"]
    assert shown in text if shown else text == ""
    assert not re.search("cell.py|signatures.py", text)  # the reader's lines only


def test_a_function_pasted_into_its_page_gets_its_verdict_there():
    """With NumPy alone, and in the page's own process."""
    out = try_pages.run_with_numpy_alone(HERE / "one_process.py", try_pages.YOURS)
    assert out.startswith("✗ mine: Softmax over the queries: columns sum to one. And: The exponential"), out
    assert "What the formula leaves open:" in out  # data/dialects.json is there
    unfit = try_pages.YOURS.replace("return weights /", "raise ValueError('not here')\n    return weights /")
    assert "cannot tell" in try_pages.run_with_numpy_alone(HERE / "one_process.py", unfit)


def test_the_archive_has_the_same_bytes_each_time():
    first = try_pages.pack()
    try_pages.pack.cache_clear()
    assert try_pages.pack() == first


# Pyodide's files --------------------------------------------------------------------------------------


def test_files_are_compared_with_their_sums(tmp_path):
    wanted = {"a.wasm": sha256(b"as it should be").hexdigest()}
    (tmp_path / "a.wasm").write_bytes(b"as it should be")
    try_pages.verify(tmp_path, wanted)
    (tmp_path / "a.wasm").write_bytes(b"as it should bf")
    other = sha256(b"as it should bf").hexdigest()
    with pytest.raises(ExtensionError, match=f"a.wasm has SHA-256 {other}; wanted {wanted['a.wasm']}"):
        try_pages.verify(tmp_path, wanted)
    (tmp_path / "a.wasm").unlink()
    with pytest.raises(ExtensionError, match=f"a.wasm has SHA-256 no such file; wanted {wanted['a.wasm']}"):
        try_pages.verify(tmp_path, wanted)


def test_a_build_with_the_core_alone_stops_at_numpy(tmp_path):
    _needs_core()
    for name in ("book", "src", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "pyodide").mkdir()
    for name in CORE_FILES:
        (tmp_path / "pyodide" / name).symlink_to(CORE / name)
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/map\n", encoding="utf-8")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "."]
    environment = {**os.environ, "PYODIDE": str(tmp_path / "pyodide")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{NUMPY} has SHA-256 no such file; wanted {PINS[NUMPY]}" in done.stderr
    assert not (tmp_path / "_build/html/book/map.html").exists()


def test_the_sums_are_those_of_the_npm_package_and_of_its_list_of_wheels():
    _needs_core()
    lock = json.loads((CORE / "pyodide-lock.json").read_text(encoding="utf-8"))
    numpy = lock["packages"]["numpy"]
    assert (NUMPY, PINS[NUMPY]) == (numpy["file_name"], numpy["sha256"])
    assert numpy["depends"] == []
    try_pages.verify(CORE, {file: PINS[file] for file in CORE_FILES})


def test_the_folder_decides_which_release_it_is(tmp_path):
    _needs_core()
    assert try_pages.release(CORE) == VERSION
    (tmp_path / try_pages.LOCK).write_text("{}", encoding="utf-8")
    known = " or ".join(try_pages.releases())
    with pytest.raises(ExtensionError, match=f"wanted that of Pyodide {known}"):
        try_pages.release(tmp_path)


@pytest.mark.parametrize("files", try_pages.releases().values(), ids=try_pages.releases())
def test_every_release_has_its_core_and_one_numpy(files):
    assert {"pyodide.mjs", "pyodide.asm.wasm", "python_stdlib.zip", try_pages.LOCK} <= files.keys()
    assert sum(file.startswith("numpy-2.") and file.endswith(".whl") for file in files) == 1
    assert len(files) == 6
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in files.values())


# Bringing them ------------------------------------------------------------------------------------------


@pytest.fixture
def publisher(monkeypatch, tmp_path):
    """A release of two files, and who publishes it; `asked` is what was asked for."""
    here = tmp_path / "try"
    here.mkdir()
    files = {"pyodide.mjs": b"core", "numpy-2.whl": b"wheel"}
    sums = "".join(f"{sha256(data).hexdigest()}  {file}\n" for file, data in files.items())
    (here / "pyodide-1.2.sha256").write_text(sums, encoding="utf-8")
    monkeypatch.setattr(fetch, "HERE", here)
    monkeypatch.setattr(fetch, "NPM", tmp_path / "npm")
    asked = []

    def published(address, timeout):
        asked.append((address.rpartition("/")[2], timeout))
        return BytesIO(files[asked[-1][0]])

    monkeypatch.setattr(fetch, "urlopen", published)
    return SimpleNamespace(files=files, asked=asked, folder=tmp_path / "cache")


def test_what_is_missing_is_fetched_once_the_wheel_first(publisher):
    fetch.fetched("1.2", publisher.folder)
    assert [file for file, _ in publisher.asked] == ["numpy-2.whl", "pyodide.mjs"]
    fetch.fetched("1.2", publisher.folder)
    assert len(publisher.asked) == 2
    assert {path.name: path.read_bytes() for path in publisher.folder.iterdir()} == publisher.files


def test_the_core_comes_from_npm_where_it_is_installed(publisher):
    beside = fetch.NPM / "node_modules/pyodide"
    beside.mkdir(parents=True)
    (beside / "pyodide.mjs").write_bytes(b"core")
    fetch.fetched("1.2", publisher.folder)
    assert [file for file, _ in publisher.asked] == ["numpy-2.whl"]


def test_another_file_is_not_kept(publisher):
    publisher.files["numpy-2.whl"] = b"another"
    with pytest.raises(OSError, match=r"numpy-2.whl has SHA-256 .*; wanted"):
        fetch.fetched("1.2", publisher.folder)
    assert [*publisher.folder.iterdir()] == []


def test_without_a_network_the_book_goes_on_and_says_so(publisher, monkeypatch, capsys):
    def unreachable(address, timeout):
        assert timeout <= 5
        raise OSError("no network")

    monkeypatch.delenv("PYODIDE", raising=False)
    monkeypatch.setattr(fetch, "urlopen", unreachable)
    monkeypatch.setattr(fetch, "newest", lambda: "1.2")
    monkeypatch.setattr(fetch, "cache", lambda: publisher.folder)
    fetch.main()
    assert capsys.readouterr() == (
        "",
        "The book is built without Python for the browser: no network\n",
    )


def _needs_core():
    if not CORE.is_dir():
        reason = "npm ci --prefix tests/browser"
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(
            f"this test needs: {reason}"
        )


# The pages --------------------------------------------------------------------------------------------


def parsed(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.mark.skipif(not WITH_PYTHON, reason="the book was built without PYODIDE (see CONTRIBUTING.md)")
def test_every_offered_exercise_has_its_button_under_its_starter():
    for notebook, offer in offers().items():
        page = parsed(SITE / f"notebooks/{notebook}.html")
        places = page.find_all(class_="try")
        assert [place["data-name"] for place in places] == [OWN, *offer["offered"]]
        for place in places[1:]:
            starter = place.find_previous_sibling().find("pre").get_text()
            assert f"check.{place['data-name']}(" in starter
        assert page.find(id="try-it").find("pre").get_text().startswith(offer["imports"])


@pytest.mark.skipif(WITH_PYTHON, reason="the book was built with PYODIDE")
def test_without_pyodide_a_line_says_so_and_there_is_no_button():
    for notebook in offers():
        page = parsed(SITE / f"notebooks/{notebook}.html")
        why = page.find(id="try-it-off")
        assert "no Python for the browser" in why.get_text()
        assert len(why.get_text()) < 110
        there = (SITE / "notebooks" / why.a["href"]).resolve()
        assert there == SITE / f"_sources/notebooks/{notebook}.ipynb"
        assert ":::" not in there.read_text(encoding="utf-8")  # any notebook program shows it
        assert page.find_all(class_="try") == []
        assert not [tag for tag in page.find_all("script", src=True) if "/try/" in tag["src"]]
    assert not (SITE / "_static/try").exists()


# In a browser -----------------------------------------------------------------------------------------


def in_the_browser(visits):
    """What tests/browser/try.mjs saw."""
    asked = json.dumps({"browser": _browser(), "visits": visits})
    command = ["node", HERE / "browser/try.mjs"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A page of the built book, and the same page on a site that has Pyodide's core, with its cells on."""
    _browser()
    _needs_core()
    root = tmp_path_factory.mktemp("on")
    (root / "_static").mkdir()
    for part in (SITE / "_static").iterdir():
        if part.name not in ("try", "pyodide"):
            (root / "_static" / part.name).symlink_to(part)
    try_pages.write_python(root, CORE, CORE_FILES)
    (root / "notebooks").mkdir()
    size = sum(path.stat().st_size for path in (root / try_pages.PYTHON).iterdir())
    for name, imports in (("plain", "import math"), ("lacking", offers()["05_softmax"]["imports"])):
        (root / f"notebooks/{name}.html").write_text(turned_on(imports, size), encoding="utf-8")
    on = {"root": str(root), "own": OWN, "other": EXERCISE}
    return in_the_browser(
        {
            "plain": {"path": "notebooks/plain.html", **on},
            "lacking": {"path": "notebooks/lacking.html", **on},
        }
    )


def turned_on(imports, size):
    """The page as a build writes it that has Python of this size, with these imports for its cells."""
    page = parsed(SITE / PAGE)
    for script in page.find_all("script", src=re.compile("_static/try/")):
        script.decompose()
    for place in page.find_all(class_="try"):
        place.decompose()
    for what in page.find_all(id=re.compile("^try-it")):
        what.decompose()
    for name in offers()["05_softmax"]["offered"]:
        (cell,) = [c for c in page.find_all(class_="tag_exercise") if f"check.{name}(" in c.get_text()]
        cell.insert_after(BeautifulSoup(try_pages.button(name).astext(), "html.parser"))
    source = f"{offers()['05_softmax']['imports']}\n\nprint(formulas.softmax.__doc__)"
    own = try_pages.button(OWN, imports=imports, bytes=size).astext()
    box = f'<div id="try-it"><div class="highlight"><pre>{escape(source)}</pre></div>{own}</div>'
    page.find(id="exercises").find(["h2"]).insert_after(BeautifulSoup(box, "html.parser"))
    page.head.append(page.new_tag("link", rel="stylesheet", href="../_static/try/try.css"))
    page.head.append(page.new_tag("script", src="../_static/try/try.js", defer=""))
    return str(page)


def test_a_cell_opens_with_the_notebook_s_starter(seen):
    starters = try_pages.code_and_starters("05_softmax")["starters"]
    own = f"{offers()['05_softmax']['imports']}\n\nprint(formulas.softmax.__doc__)"
    assert seen["plain"]["starters"] == {OWN: own} | {name: text.rstrip() for name, text in starters.items()}


def test_nothing_is_fetched_before_the_first_run(seen):
    early, asked = seen["plain"]["early"], seen["plain"]["asked"]
    assert [url for url in early if "pyodide" in url or "worker" in url or "pack" in url] == []
    assert {"/_static/pyodide/pyodide.asm.wasm", "/_static/try/pack.zip"} <= set(asked)


def test_nothing_leaves_the_host(seen):
    for visit in seen.values():
        assert [url for url in visit["asked"] if "://" in url and not url.startswith("blob:")] == []


def test_python_prints_and_shows_the_last_value(seen):
    assert seen["plain"]["printed"] == "two words\n4.0\n"
    assert seen["plain"]["shared"] == "8.0\n"  # the cells of a page share what they define
    assert seen["plain"]["silent"] == "Done; the cell shows nothing."


def test_the_reader_hears_how_much_has_come(seen):
    told = [words for words in seen["plain"]["heard"] if words.startswith("Loading")]
    (total,) = re.findall(r"Loading Python, (\d+) MB …", told[0])
    assert int(total) == round(sum((CORE / file).stat().st_size for file in CORE_FILES) / 1e6)
    counted = [int(re.fullmatch(rf"Loading Python: (\d+) of {total} MB …", words)[1]) for words in told[1:]]
    assert len(counted) > 5
    assert counted == sorted(set(counted))


def test_a_traceback_shows_the_reader_s_lines(seen):
    said = seen["plain"]["stopped"]
    assert re.findall(r'File "(.+)", line (\d+)', said) == [(EXERCISE, "4"), (EXERCISE, "2")]
    assert "    return x / 0\n" in said
    assert said.splitlines()[-1].startswith("ZeroDivisionError")
    assert "SyntaxError" in seen["plain"]["wrong"]


def test_an_endless_loop_can_be_stopped(seen):
    plain = seen["plain"]
    assert plain["busy"].startswith("Python is at work in another cell")
    assert plain["endless"].startswith("Stopped.")
    assert plain["anew"] == "2\n"
    assert "NameError" in plain["forgotten"]


def test_the_keyboard_is_not_trapped(seen):
    """A new line keeps the indentation, Tab goes on to the button, Reset brings the starter back."""
    plain = seen["plain"]
    assert plain["indented"] == "if True:\n    print(3)"
    assert plain["afterTab"] == "Run"
    assert plain["reset"] == [plain["starters"][OWN], ""]


@pytest.mark.parametrize("view", ["light", "dark", "phone"])
def test_axe_finds_no_violation_in_an_open_cell(seen, view):
    assert seen["plain"][view] == []


def test_an_open_cell_does_not_widen_a_phone(seen):
    assert seen["plain"]["sideways"] <= 0


def test_a_file_that_is_missing_is_named_each_time(seen):
    said = f"{NUMPY} could not be loaded (Failed to fetch), and Python needs it. Run tries again."
    assert seen["lacking"]["says"] == [said, said]


@pytest.mark.skipif(not WITH_PYTHON, reason="the book was built without PYODIDE (see CONTRIBUTING.md)")
def test_every_check_gives_its_verdict_in_the_browser():
    """The whole path: NumPy's wheel, the formulas, every offered solution, and what a reader types."""
    kinds = f"for name in {OFFERED}:\n    e = getattr(check, name)\n    print(name, e(e.solution).kind.name)"
    typed = "def mine(lead):\n    return {}\n\ncheck.two_key_weight(mine)"
    sources = {
        OWN: ["softmax(np.log([[1.0, 2.0, 5.0]]))", kinds],
        EXERCISE: [typed.format("..."), typed.format("1 / (1 + np.exp(-lead))")],
    }
    whole = in_the_browser({"whole": {"root": str(SITE), "path": PAGE, "sources": sources}})["whole"]
    weights, verdicts = whole["shown"][OWN]
    assert weights == "array([[0.125, 0.25 , 0.625]])\n"
    assert verdicts.split() == [word for name in OFFERED for word in (name, "RIGHT")]
    untouched, right = whole["shown"][EXERCISE]
    assert untouched.startswith("Not attempted yet")
    assert right.startswith("✓ Right")
    assert [url for url in whole["asked"] if "://" in url and not url.startswith("blob:")] == []


# What was seen in every chapter ---------------------------------------------------------------------------


@cache
def tried():
    return json.loads((HERE / "tried/log.json").read_text("utf-8"))


def test_it_was_seen_with_a_release_that_is_known():
    versions = tried()["versions"]
    files = try_pages.releases()[versions["pyodide"]]
    assert [file for file in files if file.startswith(f"numpy-{versions['numpy']}-")]


def test_a_function_was_pasted_in_a_browser_and_got_its_verdict():
    """What stands in the box has two mistakes; mended it is right; what is none is told so."""
    said = tried()["pasted"]
    assert said["as it stands"].startswith("✗ mine: Softmax over the queries: columns sum to one. And: The")
    assert said["mended"] == "✓ mine: right."
    assert said["no function"].startswith("? int: cannot tell.")
    assert said["elsewhere"] == []


def test_every_exercise_was_tried_in_a_browser_and_its_check_has_judged_it():
    """Each starter is not attempted, each solution right, each first mistake wrong, as in a notebook."""
    seen = {name: said for page in tried()["chapters"].values() for name, said in page["checks"].items()}
    assert [*seen] == OFFERED
    for name, said in seen.items():
        assert said["starter"].startswith("Not attempted yet"), name
        assert said["solution"].startswith("✓ Right"), name
        assert said["mistake"].startswith("✗"), name


def test_no_page_has_asked_another_host():
    assert [page["elsewhere"] for page in tried()["chapters"].values()] == [[]] * len(offers())
