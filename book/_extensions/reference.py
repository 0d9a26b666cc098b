"""Sphinx: the API reference, one page per module in book/api, as autodoc writes it but for three things.

- `module-list`: a line for each page of a folder of book/api, or of book/api itself, with the first
  sentence of its module; formulas in the order of their chapters, all others in that of the alphabet;
- a page opens with the import, and links its chapter;
- an enumeration shows no signature: nobody calls it.
"""

import re
from enum import Enum
from importlib import import_module

from links import ROOT, chapters
from sphinx.util.docutils import SphinxDirective

PAGES = ROOT / "book/api"
SHOWN = re.compile(r"automodule:: ([\w.]+)")


class ModuleList(SphinxDirective):
    """The pages of the folder that the argument names; without one, those of no folder."""

    optional_arguments = 1

    def run(self):
        pages = PAGES.joinpath(*self.arguments).glob("*.md")
        return self.parse_text_to_nodes("\n".join(map(_line, sorted(pages, key=_place))))


def _place(page):
    """Where a page stands: a formula's in the order of the chapters, before any that has no chapter yet."""
    words = [chapter.word for chapter in chapters()] if page.parent.name == "formulas" else []
    return words.index(page.stem) if page.stem in words else len(words), page.stem


def _line(page):
    path, (module, *_) = page.relative_to(PAGES).with_suffix("").as_posix(), modules_of(page)
    return f"- {{doc}}`api/{path}`: {first_sentence(module)}"


def modules_of(page):
    """The modules that a page shows, the one it is named after first."""
    return SHOWN.findall(page.read_text(encoding="utf-8"))


def first_sentence(module):
    """What a module says it is, in one line, without the chapter that it belongs to."""
    line = import_module(module).__doc__.splitlines()[0]
    return line.split(" Chapter: ")[0].rstrip(":")


def introduce(app, what, name, obj, options, lines):
    """Open a module's page with its import; its docstring names the chapter, which becomes a link."""
    if what == "module":
        package, _, module = name.rpartition(".")
        lines[0] = re.sub(r"Chapter: notebooks/(\w+)\.?", r"Chapter :doc:`/notebooks/\1`.", lines[0])
        lines[:0] = [f"``from {package} import {module}``", ""]


def without_signature(app, what, name, obj, options, signature, returns):
    return ("", None) if what == "class" and issubclass(obj, Enum) else None


def setup(app):
    app.add_directive("module-list", ModuleList)
    app.connect("autodoc-process-docstring", introduce)
    app.connect("autodoc-process-signature", without_signature)
    return {"parallel_read_safe": True}
