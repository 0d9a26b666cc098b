"""Sphinx: √d_k and W_O in a heading are mathematics, on its page and in every menu that repeats it.

MathJax would set them too, some moments late, and leave TeX in the window's title: what a heading needs is a
root, an italic letter and an index, and HTML has these.
"""

import re
from html import escape

from docutils import nodes
from plain_tex import plain
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

LETTER = re.compile(r"(√?)(?<![\w.])([A-Za-z])_(\w+)")


class MathInHeadings(SphinxTransform):
    default_priority = 105  # before the titles are collected

    def apply(self):
        for title in self.document.findall(nodes.title):
            for text in [child for child in title.children if isinstance(child, nodes.Text)]:
                title.replace(text, list(as_set(text.astext())))


def as_set(text):
    """The text with its letters set: `√d_k` is a root over an italic d with an index k."""
    end = 0
    for match in LETTER.finditer(text):
        root, letter, index = match.groups()
        set_letter = [nodes.emphasis("", letter), nodes.subscript("", index)]
        yield nodes.Text(text[end : match.start()])
        if root:
            yield nodes.Text(root)
        yield nodes.inline("", "", *set_letter, classes=["radicand"] if root else ["letter"])
        end = match.end()
    yield nodes.Text(text[end:])


class MathInLinks(SphinxPostTransform):
    """A link that takes its words from a heading has them as the heading has, where Sphinx leaves √dk."""

    default_priority = 20  # the links have their words

    def run(self, **kwargs):
        named = {"doc", "std-ref"}  # after a page, after a part of one
        links = [link for link in self.document.findall(nodes.inline) if named & {*link["classes"]}]
        if not links:
            return
        entries = [entry for toc in self.env.tocs.values() for entry in toc.findall(nodes.reference)]
        headings = [one for one in (*self.env.titles.values(), *entries) if one.next_node(nodes.subscript)]
        headings = {heading.astext(): heading for heading in headings}
        for link in links:
            if heading := headings.get(link.astext()):
                link.children = []
                link.extend(child.deepcopy() for child in heading.children)


def plain_title(title):
    """A heading as text, where nothing can be set: in the window's title, in a hit of the search."""
    return "".join(map(_plain, title.children))


def _plain(node):
    if isinstance(node, nodes.math):
        return plain(node.astext())
    if isinstance(node, nodes.subscript):
        return f"_{node.astext()}"
    return plain_title(node) if isinstance(node, nodes.Element) else node.astext()


def name_the_window(app, pagename, templatename, context, doctree):
    """The window's title has no room for tags; what Sphinx leaves when it drops them reads √dk."""
    if pagename in app.env.titles:
        context["title"] = escape(plain_title(app.env.titles[pagename]))


def setup(app):
    app.add_transform(MathInHeadings)
    app.add_post_transform(MathInLinks)
    app.connect("html-page-context", name_the_window, priority=300)
    return {"parallel_read_safe": True}
