#!/bin/sh
# myst-parser 5.2.0 (markdown-it-py 4.3.0): in a table the formula for a norm becomes the one for an
# absolute value.
#
# A bar ends a table's cell, so it is escaped there, and the table takes the backslash away before the
# formula is read: in a paragraph $\|q\|$ is a norm (double bars), in a cell the same source is $|q|$. No
# warning; the source is what one writes everywhere else. An unescaped bar, as in p(k|q), cuts the cell and
# the rest is dropped. \lVert and \mid are safe.
#
# It hurts who puts formulas in tables of a book: the page says something else than the paragraph above it.
#
# Seen:
#     paragraph: \|q\|    cell: |q|    cell with p(k|q): 0 formulas, text "$p(k"

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "myst-parser==5.2.0" "markdown-it-py==4.3.0" "docutils<1"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

from docutils import nodes
from myst_parser.parsers.docutils_ import Parser
from docutils.core import publish_doctree


def read(source):
    tree = publish_doctree(source, parser=Parser(), settings_overrides={"myst_enable_extensions": {"dollarmath"}})
    return [node.astext() for node in tree.findall(nodes.math)], tree.astext()


table = "| a | b |\n|---|---|\n| x | {} |\n"
paragraph, cell = (read(source)[0] for source in (r"$\|q\|$", table.format(r"$\|q\|$")))
cut, text = read(table.format("$p(k|q)$"))
print(f"paragraph: {paragraph[0]}    cell: {cell[0]}    ", end="")
print(f'cell with p(k|q): {len(cut)} formulas, text "{text.split()[-1]}"')
still = paragraph == [r"\|q\|"] and cell == ["|q|"] and not cut
sys.exit(0 if still else "The behaviour has changed.")
EOF
