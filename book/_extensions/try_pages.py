"""Sphinx: exercises to try on the page, in Python that runs in the reader's browser.

Where PYODIDE names a folder with Pyodide's files:

- under the starter of every exercise that needs nothing but NumPy, and under the heading of a chapter's
  exercises, a button that turns the cell into one to change and run (book/try);
- into the site, the files that a list of book/try names, each compared with the SHA-256 there, and the
  course's own modules as one archive. Which list it is, and so which release, the folder decides.

Without PYODIDE a line under the heading says so, and names the notebook.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from hashlib import sha256
from html import escape
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from docutils import nodes
from links import ROOT, chapters, snake
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

PYODIDE = os.environ.get("PYODIDE", "")  # a folder with the files of one of the `releases`
TRY = ROOT / "book/try"
SITE, PYTHON = "_static/try", "_static/pyodide"  # in the built book
COURSE = (
    *("__init__", "extras", "notation", "signatures", "formulas", "masks", "implementations"),
    *("check", "exercises", "mutants", "printed", "properties", "recipes"),
    *("examine", "examining", "grading", "dialects"),
)
DATA = ("data/dialects.json",)  # that these modules read
LIBRARIES = ("jaxtyping", "wadler-lindig")  # NumPy comes with Pyodide
CHECK = re.compile(r"^check\.(\w+)\(", re.MULTILINE)
BUTTON = '<button type="button" hidden aria-label="Try it: {name}">Try it</button>'
LOCK = "pyodide-lock.json"  # by which a release is known
OWN_CELL = "a cell of your own"
YOUR_PAGE, YOUR_HEADING = "book/is_my_attention_right", "Paste yours here"
IMPORTS = "import numpy as np\nfrom selfattention import examine"
YOURS = f"""{IMPORTS}


def mine(q, k, v):
    weights = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
    return weights / weights.sum(axis=0) @ v


print(examine(mine))"""
YOURS_OFF = (
    "This copy of the book has no Python for the browser. The command that comes next does the same with a "
    "file of yours, and takes PyTorch as well. It would begin with this function:"
)

log = logging.getLogger(__name__)


# Pyodide ----------------------------------------------------------------------------------------------


def releases():
    """The releases of Pyodide that we know -> their files that a page needs -> the SHA-256 of each."""
    lists = sorted(TRY.glob("pyodide-*.sha256"))
    return {path.stem.removeprefix("pyodide-"): _listed(path) for path in lists}


def _listed(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {file: digest for digest, file in map(str.split, lines)}


def release(folder):
    """Which release a folder holds, by its lock file."""
    found = _sum(folder / LOCK)
    for name, files in releases().items():
        if files[LOCK] == found:
            return name
    known = " or ".join(releases())
    raise ExtensionError(f"PYODIDE: {folder / LOCK} has SHA-256 {found}; wanted that of Pyodide {known}")


def verify(folder, wanted):
    """Raise an error that names the first file that is missing in a folder, or is another one."""
    for file, digest in wanted.items():
        if (found := _sum(folder / file)) != digest:
            raise ExtensionError(f"PYODIDE: {folder / file} has SHA-256 {found}; wanted {digest}")


def _sum(path):
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"


# The course, as the browser gets it -------------------------------------------------------------------


@cache
def pack():
    """The archive of the course's modules, of what they import, and of cell.py; the same bytes each time."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in sorted(packed()):
            entry = zipfile.ZipInfo(name)  # with the date 1980-01-01
            file.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def packed():
    """(name in the archive, path) of each file."""
    yield "cell.py", TRY / "cell.py"
    package = ROOT / "src/selfattention"
    for path in package.rglob("*.py"):
        inside = path.relative_to(package)
        if inside.parts[0].removesuffix(".py") in COURSE:
            yield f"selfattention/{inside.as_posix()}", path
    for name in DATA:
        yield f"selfattention/{name}", package / name
    for library in LIBRARIES:
        for file in distribution(library).files:
            if file.suffix == ".py" or file.name in ("METADATA", "LICENSE"):
                yield file.as_posix(), Path(file.locate())


def numpy_alone(folder):
    """Make `folder` a place where Python finds the unpacked archive and NumPy, and no other library."""
    zipfile.ZipFile(io.BytesIO(pack())).extractall(folder)
    for part in Path(np.__file__).parents[1].glob("numpy*"):
        (folder / part.name).symlink_to(part)


def run_with_numpy_alone(script, stdin):
    """What a script prints that gets such a folder for an argument."""
    with tempfile.TemporaryDirectory() as folder:
        numpy_alone(Path(folder))
        command = [sys.executable, "-I", "-S", script, folder]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise ExtensionError(f"{script} stopped:\n{done.stderr}")
    return done.stdout


def offers():
    """Notebook -> the imports that work with NumPy alone, the exercises that can be tried, and the others."""
    asked = {chapter.notebook: code_and_starters(chapter.notebook) for chapter in chapters()}
    return json.loads(run_with_numpy_alone(TRY / "probe.py", json.dumps(asked)))


def code_and_starters(notebook):
    cells = json.loads((ROOT / f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code, starters = [], {}
    for cell in cells:
        tags, source = cell["metadata"].get("tags", []), "".join(cell["source"])
        if "exercise" in tags:
            starters[CHECK.search(source)[1]] = source
        elif cell["cell_type"] == "code" and "solution" not in tags and not source.startswith(("%", "!")):
            code.append(source)
    return {"code": "\n".join(code), "starters": starters}


# The pages --------------------------------------------------------------------------------------------


class CellsToTry(SphinxTransform):
    """A box under the heading of the exercises and a button under each starter; or a line, why not."""

    default_priority = 102

    def apply(self):
        for chapter in chapters():
            if self.env.docname == f"notebooks/{chapter.notebook}":
                offer = self.config.try_offers[chapter.notebook]
                size = self.config.try_bytes
                if size:
                    self._under_starters(offer["offered"])
                self._under_the_heading(box(chapter, offer["imports"], size) if size else off(chapter))

        if self.env.docname == YOUR_PAGE:
            for title in list(self.document.findall(nodes.title)):
                if title.astext() == YOUR_HEADING:
                    title.parent.insert(1, your_box(self.config.try_bytes))

    def _under_starters(self, offered):
        for cell in list(self.document.findall(nodes.container)):
            name = CHECK.search(cell.astext()) if "tag_exercise" in cell["classes"] else None
            if name and name[1] in offered:
                cell.parent.insert(cell.parent.index(cell) + 1, button(name[1]))

    def _under_the_heading(self, node):
        for title in list(self.document.findall(nodes.title)):
            if title.astext() == "Exercises":
                title.parent.insert(1, node)


def button(name, **data):
    """The place of a cell to try."""
    attributes = "".join(f' data-{key}="{escape(str(value))}"' for key, value in data.items())
    inside = BUTTON.format(name=name)
    return nodes.raw("", f'<div class="try" data-name="{name}"{attributes}>{inside}</div>', format="html")


def box(chapter, imports, size):
    """What can be tried on this page, and a cell of the reader's own."""
    source = f"{imports}\n\nprint(formulas.{snake(chapter.equations[0])}.__doc__)"
    code = nodes.literal_block(source, source, language="python")
    container = nodes.container(ids=["try-it"])
    words = ready("The exercises can", size, "Every cell has these names:")
    container += [words, code, button(OWN_CELL, imports=imports, bytes=size)]
    return container


def your_box(size):
    """A function of the reader's own, and its verdict; or a line, and the function to begin with."""
    code = nodes.literal_block(YOURS, YOURS, language="python")
    if not size:
        return nodes.container("", nodes.paragraph("", YOURS_OFF, ids=["try-it-off"]), code)
    container = nodes.container(ids=["try-it"])
    container += [ready("A function can", size, "Begin with this one:"), code]
    container += button(OWN_CELL, imports=IMPORTS, bytes=size)
    return container


def ready(what, size, next_words):
    return nodes.paragraph(
        "",
        f"{what} be tried on this page: Python runs in your browser. The first Run fetches it from "
        f"this site, {size / 1e6:.0f}\N{NO-BREAK SPACE}MB (",
        nodes.reference("", "Pyodide", refuri="https://pyodide.org"),
        nodes.Text(f" and NumPy); what you write stays with you. {next_words}"),
    )


def off(chapter):
    notebook = f"{chapter.notebook}.ipynb"
    return nodes.paragraph(
        "",
        "This copy of the book has no Python for the browser; the exercises run in ",
        nodes.reference("", notebook, refuri=f"../_sources/notebooks/{notebook}"),
        nodes.Text("."),
        ids=["try-it-off"],
    )


def add_script(app, pagename, templatename, context, doctree):
    """The style and the script where there are cells to try."""
    if doctree is not None and any("try-it" in node["ids"] for node in doctree.findall(nodes.container)):
        app.add_css_file("try/try.css")
        app.add_js_file("try/try.js", loading_method="defer")


def prepare(app, config):
    """Before any page: is Pyodide what it should be, and what can be tried?"""
    if PYODIDE:
        folder = Path(PYODIDE)
        files = releases()[release(folder)]
        verify(folder, files)
        config.try_bytes = len(pack()) + sum((folder / file).stat().st_size for file in files)
    config.try_offers = offers()
    for chapter, offer in config.try_offers.items():
        for name, reason in offer["refused"].items():
            log.info("%s: check.%s cannot be tried on the page: %s", chapter, name, reason)


def write_files(app):
    """Before the pages, so that Sphinx can sign the addresses."""
    if app.builder.format != "html":
        return
    out = Path(app.outdir)
    for part in (SITE, PYTHON):
        shutil.rmtree(out / part, ignore_errors=True)
    if PYODIDE:
        write_python(out, Path(PYODIDE), releases()[release(Path(PYODIDE))])


def write_python(out, pyodide, files):
    """The style, the script, the worker, the course's archive, and Pyodide."""
    (out / SITE).mkdir(parents=True)
    for name in ("try.css", "try.js", "worker.mjs"):
        shutil.copy(TRY / name, out / SITE)
    (out / SITE / "pack.zip").write_bytes(pack())
    (out / PYTHON).mkdir(parents=True)
    for file in files:
        shutil.copyfile(pyodide / file, out / PYTHON / file)


def setup(app):
    app.add_config_value("try_offers", {}, "env")
    app.add_config_value("try_bytes", 0, "env")  # of what a first Run fetches; 0 without Pyodide
    app.connect("config-inited", prepare)
    app.connect("builder-inited", write_files)
    app.add_transform(CellsToTry)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True}
