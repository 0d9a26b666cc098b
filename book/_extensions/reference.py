"""Sphinx: the index of the API reference, `module-list`.

A line for each page of a folder of book/api, or of book/api itself: the first sentence of the module that
the page shows. Formulas stand in the order of their chapters, all others in that of the alphabet.
"""

import re
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
    """Where a page stands: the number of a formula's chapter, and its name."""
    words = [chapter.word for chapter in chapters()] if page.parent.name == "formulas" else [page.stem]
    return words.index(page.stem), page.stem


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


def setup(app):
    app.add_directive("module-list", ModuleList)
    return {"parallel_read_safe": True}
