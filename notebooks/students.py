"""A chapter as a student's notebook and as an instructor's, and the wheel that they need.

The book's directives become Markdown that any notebook program shows. References become words, and links
where BOOK_URL names the published site.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import urljoin

import nbformat
from execute import KERNEL, chapters
from pybtex.database import parse_file
from pybtex.richtext import Text

ROOT = Path(__file__).parents[1]
BOOK_URL = os.environ.get("BOOK_URL", "")  # where the site is: https://host/path/
OPENING = re.compile(r"^(:{3,})\{([\w:-]+)\} ?(.*)$")
UNSAID = re.compile(r":(label|class|name): .*|\([\w-]+\)=")  # what only the book's own program reads
ROLE = re.compile(r"\{([\w:]+)\}`(?:([^`<]+) <([^`>]+)>|([^`]+))`")  # `target`, or `words <target>`
TITLES = {"admonition": "**{}**", "prf:property": "**Property: {}.**", "exercise": "### Exercise {}"}
SETUP = """\
import os

# One thread: for matrices this small more of them only wait for one another.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from selfattention import missing

missing.cells_say_so()  # which library they need, where it is not installed"""
NOTE = {
    "en": """\
*From “Self-attention, one formula at a time”, {where}. Text and figures CC BY 4.0, code MIT. {needs}*""",
    "zh": """\
*选自 “Self-attention, one formula at a time” 的{where}。文字与图 CC BY 4.0，代码 MIT。{needs}*""",
}
NEEDS = {
    "en": """\
It needs the course's package: `pip install "selfattention[notebooks] @ file:///…"`, the wheel's path for \
the dots. With `[light]` it is smaller, and cells that need PyTorch say so.""",
    "zh": """\
运行前先装课程的软件包：`pip install "selfattention[light] @ file:///…"`，省略号处填 wheel 文件的路径。""",
}
BEFORE_THE_CHAPTERS = {"en": "the ten minutes before it", "zh": "开篇"}


# What is referred to, in all chapters and pages ---------------------------------------------------------


@cache
def targets():
    """Label -> (its words, its page, its place there): claims, sections, figures."""
    found = {}
    for path in chapters():
        page = f"notebooks/{path.stem}"
        for cell in nbformat.read(path, as_version=4).cells:
            for title, label in re.findall(r"\{prf:property\} (.+)\n:label: (\S+)", cell.source):
                found[label] = f"“{title}”", page, label
            for label, title in re.findall(r"^\(([\w-]+)\)=\n#+ (.+)$", cell.source, re.MULTILINE):
                found[label] = f"“{title}”", page, label
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            if name:
                found[name] = _figure_name(name), page, name
            for label in re.findall(r"^\$\$ \((eq-[\w-]+)\)", cell.source, re.MULTILINE):
                found[label] = f"({label.removeprefix('eq-')})", page, f"equation-{label}"
    return found


@cache
def title(page):
    """The title of a chapter or of a page without code, from the path that the book's `doc` has."""
    notebook = ROOT / f"notebooks/{page}.ipynb"
    text = nbformat.read(notebook, as_version=4).cells[0].source if notebook.exists() else _page(page)
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1]


def _page(page):
    return (ROOT / "notebooks" / f"{page}.md").resolve().read_text(encoding="utf-8")


@cache
def sources():
    return parse_file(ROOT / "book/references.bib").entries


def _figure_name(label):
    return f"Figure {label.removeprefix('fig-')}"


# Markdown that any program shows -------------------------------------------------------------------------


def linked(words, page, place=""):
    """The words, and a link to where they lead, if the book has an address."""
    if not BOOK_URL:
        return words
    return f"[{words}]({urljoin(BOOK_URL, page)}.html{'#' + place if place else ''})"


def role(match):
    """A reference as words. Raises `KeyError` for one that leads nowhere."""
    kind, words, led, bare = match.groups()
    target = led or bare
    if kind in ("cite:p", "cite:t"):
        return cited(target.split(","), in_brackets=kind == "cite:p")
    if kind == "doc":
        page = f"notebooks/{target}" if (ROOT / f"notebooks/{target}.ipynb").exists() else target.strip("./")
        own = f"“{title(target)}”"  # also where others are said: it must be there
        return linked(words or own, page)
    if kind in ("eq", "prf:ref", "ref", "numref"):
        own, *place = targets()[target]
        return linked(words or own, *place)
    raise KeyError(f"a role {kind}, which becomes no Markdown yet")


def cited(keys, in_brackets):
    """(Author and Author, year), or Author and Author (year), each with the address of its source."""
    if in_brackets:
        return f"({'; '.join(_source(key, '{} {}') for key in keys)})"
    return " and ".join(_source(key, "{} ({})") for key in keys)


def _source(key, form):
    entry = sources()[key.strip()]
    names = [" ".join(_plain(part) for part in person.last_names) for person in entry.persons["author"]]
    who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
    words = form.format(who, entry.fields["year"]) if "year" in entry.fields else who
    address = entry.fields.get("url") or entry.fields.get("doi", "")
    if address and not address.startswith("http"):
        address = f"https://doi.org/{address}"
    return f"[{words}]({address})" if address else words


def _plain(name):
    """A name without the braces and accents of TeX."""
    return str(Text.from_latex(name))


def markdown(source):
    """A cell of the book without its directives, roles and labels."""
    lines, inside = [], []
    for line in source.split("\n"):
        opened = OPENING.match(line)
        if opened:
            inside.append(opened[2])
            lines += _opened(opened[2], opened[3])
        elif re.fullmatch(r":{3,}", line) and inside:
            lines += _closed(inside.pop())
        elif not UNSAID.fullmatch(line):
            lines.append(line)
    text = re.sub(r"^\$\$ \(eq-([\w-]+)\)", r"\\tag{\1} $$", "\n".join(lines), flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", ROLE.sub(role, text)).strip()


def _opened(kind, words):
    if kind == "hint":
        return ["<details>", "<summary>Hint</summary>", ""]
    if kind == "margin":
        return ["*Aside:*"]
    if kind == "solution-start":
        return ["**Solution**", ""]
    if kind == "thought":
        (page,) = (ROOT / "notebooks").glob(f"[0-9][0-9]_{words}.ipynb")
        return [
            f"*The book has {linked('a drawing of this step', f'notebooks/{page.stem}')} on three words.*"
        ]
    return [TITLES[kind].format(words), ""] if kind != "solution-end" else []


def _closed(kind):
    return ["", "</details>"] if kind == "hint" else [""]


# A chapter ------------------------------------------------------------------------------------------------


def without_solutions(cells):
    """The cells, and of a cell the lines, that stand outside `solution-start` … `solution-end`."""
    inside, kept = False, []
    for cell in cells:
        if cell.cell_type == "markdown":
            text, inside = outside(cell.source, inside)
            if text.strip():
                kept.append(nbformat.from_dict({**cell, "source": text}))
        elif not inside and "solution" not in cell.metadata.get("tags", []):
            kept.append(cell)
    assert not inside, "a solution without its end"
    return kept


def outside(source, inside):
    """What of a cell no solution has, and whether one is open at its end; one may have been before it."""
    kept, end = [], False
    for line in source.split("\n"):
        opened = OPENING.match(line)
        kind = opened[2] if opened else ""
        inside = inside or kind == "solution-start"
        if not inside and not end:
            kept.append(line)
        end = kind == "solution-end" or (end and not re.fullmatch(r":{3,}", line))
        if kind == "solution-end":
            inside = False
    return "\n".join(kept), inside


def student(path, needs=NEEDS):
    """The chapter without solutions and outputs; `needs` says how the package comes to it."""
    notebook = nbformat.read(path, as_version=4)
    cells = without_solutions(notebook.cells)
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return _assembled(path, cells, needs)


def instructor(path):
    """The chapter with solutions, their verdicts, and what all cells printed."""
    return _assembled(path, nbformat.read(path, as_version=4).cells, NEEDS)


def _assembled(path, cells, needs):
    setup = nbformat.v4.new_code_cell(SETUP, id="one-thread")
    language = "zh" if path.stem.endswith("_zh") else "en"
    name = f"chapter {path.stem[:2]}" if path.stem[:2].isdigit() else BEFORE_THE_CHAPTERS[language]
    where = linked(name, f"notebooks/{path.stem}")
    words = NOTE[language].format(where=where, needs=needs[language])
    note = nbformat.v4.new_markdown_cell(words, id="where-from")
    first, *rest = [shown for cell in cells for shown in _shown(cell)]
    return nbformat.v4.new_notebook(cells=[first, note, setup, *rest], metadata=KERNEL)


def _shown(cell):
    """The cell as any program shows it; after one that draws, the caption, which only the book would show."""
    about = cell.metadata.pop("mystnb", {}).get("figure")
    if cell.cell_type == "markdown":
        cell.source = markdown(cell.source)
    if cell.cell_type == "code" or cell.source:
        yield cell
    if about:
        words = f"**{_figure_name(about['name'])}.** {markdown(about['caption'])}"
        yield nbformat.v4.new_markdown_cell(words, id=f"{cell.id}-caption"[:64])


def points(path):
    """Exercise -> its stars."""
    word = path.stem[3:]
    prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    stars = re.findall(rf"\{{exercise\}} (★+) .*\n:label: exercise-{word}-([\w-]+)", prose)
    return {name.replace("-", "_"): len(each) for each, name in stars}


# The package --------------------------------------------------------------------------------------------


def wheel(folder):
    """Build the package, offline; from a copy, for a build leaves files beside its sources."""
    for old in folder.glob("selfattention-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as copy:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / "src", Path(copy, "src"), ignore=skip)
        command = [sys.executable, "-m", "pip", "wheel", copy, "--no-deps", "--no-build-isolation", "--quiet"]
        subprocess.run([*command, "-w", str(folder)], check=True)
