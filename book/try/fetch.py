"""`python book/try/fetch.py` prints the folder that PYODIDE is to name, with Pyodide's files, in the cache.

The core comes from the npm packages of the tests where they are installed. What is missing, NumPy's wheel at
least, comes from where Pyodide publishes its releases, and is kept only with the pinned SHA-256. Where that
cannot be reached nothing is printed, the reason goes to stderr, and the book is built without.
"""

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from urllib.request import urlopen

from selfattention.trained.download import folder as cache

HERE = Path(__file__).parent
NPM = HERE.parents[1] / "tests/browser"
PUBLISHED = "https://cdn.jsdelivr.net/pyodide/v{version}/full/{file}"
PATIENCE = 5  # seconds until a host that does not answer is given up


def newest():
    """The release whose core is among the npm packages."""
    package = json.loads((NPM / "package.json").read_text(encoding="utf-8"))
    return package["dependencies"]["pyodide"]


def fetched(version, target):
    """Bring the files of a release into a folder; the wheel first: without it the others are of no use."""
    lines = (HERE / f"pyodide-{version}.sha256").read_text(encoding="utf-8").splitlines()
    wanted = [line.split() for line in lines]
    target.mkdir(parents=True, exist_ok=True)
    for digest, file in sorted(wanted, key=lambda pair: not pair[1].endswith(".whl")):
        if _is(target / file, digest):
            continue
        beside = NPM / "node_modules/pyodide" / file
        data = beside.read_bytes() if _is(beside, digest) else _download(version, file)
        if sha256(data).hexdigest() != digest:
            raise OSError(f"{file} has SHA-256 {sha256(data).hexdigest()}; wanted {digest}")
        (target / file).write_bytes(data)


def _is(path, digest):
    return path.is_file() and sha256(path.read_bytes()).hexdigest() == digest


def _download(version, file):
    with urlopen(PUBLISHED.format(version=version, file=file), timeout=PATIENCE) as answer:
        return answer.read()


def main():
    if named := os.environ.get("PYODIDE"):
        print(named)
        return
    target = cache() / f"pyodide-{newest()}"
    try:
        fetched(newest(), target)
    except OSError as error:  # no network, no such host, another file
        print(f"The book is built without Python for the browser: {error}", file=sys.stderr)
    else:
        print(target)


if __name__ == "__main__":
    main()
