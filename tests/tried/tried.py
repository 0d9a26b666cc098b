"""`make tried`: every exercise, and a function of one's own, tried in Chromium; writes log.json.

It needs a book that was built with PYODIDE, and takes minutes: Python starts anew on each page. What was seen
is held by tests/test_try_it.py.
"""

import json
import subprocess
from datetime import date
from pathlib import Path

import test_try_it as book
import try_pages

from selfattention import check

LOG = Path(__file__).with_name("log.json")
VERSIONS = "import sys, numpy\nprint(sys.version.split()[0], numpy.__version__)"


PASTED = {  # what stands in the box, and what a reader makes of it -> what `examine` says
    "as it stands": try_pages.YOURS,
    "mended": f"""{try_pages.IMPORTS}


def mine(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


print(examine(mine))""",
    "no function": f"{try_pages.IMPORTS}\nmine = 3\nprint(examine(mine))",
}


def pasted():
    """What the box of the page *Is my attention right?* shows."""
    visit = {"root": str(book.SITE), "path": f"{try_pages.YOUR_PAGE}.html"}
    visit["sources"] = {book.OWN: list(PASTED.values())}
    seen = book.in_the_browser({"whole": visit})["whole"]
    return dict(zip(PASTED, map(_first_line, seen["shown"][book.OWN]), strict=True)) | _elsewhere(seen)


def tried(notebook, offer):
    """What the cells of a chapter's page show: versions, and for each exercise what its check says."""
    starters = try_pages.code_and_starters(notebook)["starters"]
    sources = {book.OWN: [VERSIONS]}
    for name in offer["offered"]:
        mistake = f"check.{name}(list(check.{name}.mistakes)[0])"
        sources[name] = [starters[name], f"check.{name}(check.{name}.solution)", mistake]
        assert list(getattr(check, name).mistakes), name
    visit = {"root": str(book.SITE), "path": f"notebooks/{notebook}.html", "sources": sources}
    seen = book.in_the_browser({"whole": visit})["whole"]
    (versions,) = seen["shown"].pop(book.OWN)
    return {
        "versions": versions.split(),
        "checks": {
            name: dict(zip(("starter", "solution", "mistake"), map(_first_line, said), strict=True))
            for name, said in seen["shown"].items()
        },
    } | _elsewhere(seen)


def _elsewhere(seen):
    return {"elsewhere": [url for url in seen["asked"] if "://" in url and not url.startswith("blob:")]}


def _first_line(text):
    return text.strip().split("\n")[0]


def main():
    if not book.WITH_PYTHON:
        raise SystemExit("the book has no Python for the browser: PYODIDE=folder make book")
    chapters = {}
    for notebook, offer in book.offers().items():
        chapters[notebook] = tried(notebook, offer)
        print(f"{notebook}: {len(chapters[notebook]['checks'])} exercises", flush=True)
    ((python, numpy),) = {tuple(page.pop("versions")) for page in chapters.values()}
    chromium = subprocess.run([book._browser(), "--version"], capture_output=True, text=True, check=True)
    versions = {
        "pyodide": try_pages.release(book.SITE / try_pages.PYTHON),
        "python": python,
        "numpy": numpy,
        "browser": " ".join(chromium.stdout.split()[:2]),
    }
    log = {"date": date.today().isoformat(), "versions": versions, "pasted": pasted(), "chapters": chapters}
    LOG.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
