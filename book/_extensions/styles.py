"""The rules that the site uses, cut out of its theme's style sheets, which every page loads before it paints.

A rule is used where each class that one of its selectors asks for is a word of some page or script: words and
not classes, since a script may write them in its own way. A word too many costs some bytes only.
"""

import re

SHEETS = ("styles/*.css", "mystnb.*.css", "sphinx-design.min.css")  # in _static
COMMENT = re.compile(r"/\*(?!!).*?\*/", re.DOTALL)  # those that open with an exclamation mark are licences
PIECE = re.compile(r"(/\*!.*?\*/)|((?:[^{}/]|/(?!\*))+)\{([^{}]*)\}", re.DOTALL)  # or selectors, declarations
EMPTY = re.compile(r"@(?:media|supports)[^{}]*\{\s*\}")
WITHIN = re.compile(r"\([^()]*\)")  # what :not(), :is() and :has() ask for
CLASS = re.compile(r"\.((?:[A-Za-z_-]|\\.)(?:[\w-]|\\.)*)")
WORD = re.compile(r"[\w-]+")


def cut_out_styles(out):
    """Leave in the theme's style sheets of the site what its pages and scripts have words for."""
    words = set()
    for path in (path for ending in ("html", "js", "mjs") for path in out.rglob(f"*.{ending}")):
        if "mathjax" not in path.parts:
            words.update(WORD.findall(path.read_text(encoding="utf-8")))
    for sheet in (path for sheets in SHEETS for path in (out / "_static").glob(sheets)):
        sheet.write_text(used(sheet.read_text(encoding="utf-8"), words), encoding="utf-8")


def used(sheet, words):
    """The style sheet with those of its selectors that only ask for these words as classes."""

    def piece(found):
        licence, selectors, declarations = found.groups()
        if licence:
            return licence
        kept = [one for one in split(selectors) if classes(one) <= words]
        return f"{','.join(kept)}{{{declarations}}}" if kept else ""

    return EMPTY.sub("", PIECE.sub(piece, COMMENT.sub("", sheet)))


def split(selectors):
    """At the commas that are in no brackets."""
    depth, parts = 0, [""]
    for letter in selectors:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def classes(selector):
    """The classes that an element or what holds it must have."""
    while (shorter := WITHIN.sub("", selector)) != selector:
        selector = shorter
    return {re.sub(r"\\(.)", r"\1", name) for name in CLASS.findall(selector)}
