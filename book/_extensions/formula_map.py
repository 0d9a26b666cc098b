"""Sphinx: links between every equation, its function, its tests and its chapter.

- under each labelled equation and claim of a chapter: a line of links to function and tests;
- `formula-map`: the table equation | function | tests | chapter;
- `test-sources`: the tests of one chapter, each with an anchor;
- in the API reference: "Eq. softmax:" becomes a link to the equation, and the tests follow.
"""

from docutils import nodes
from links import DOCSTRING, chapters, snake
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective


def function_link(chapter, label):
    return f"{{py:func}}`{snake(label)} <selfattention.formulas.{chapter.word}.{snake(label)}>`"


def test_link(name):
    return f"{{ref}}`{name} <{anchor(name)}>`"


def anchor(test):
    return test.replace("_", "-")


class FormulaMap(SphinxDirective):
    """Two tables per chapter: equation | function | tests, and claim | test."""

    def run(self):
        lines = []
        for chapter in chapters():
            lines += [f"**{{doc}}`../notebooks/{chapter.notebook}`**", ""]
            lines += ["| equation | function | tests |", "|---|---|---|"]
            for label in chapter.equations:
                tests = ", ".join(map(test_link, chapter.tests_of(label)))
                lines.append(f"| {{eq}}`eq-{label}` {label} | {function_link(chapter, label)} | {tests} |")
            lines += ["", "| claim | test |", "|---|---|"]
            for label, title in chapter.claims.items():
                tests = ", ".join(map(test_link, chapter.tests_of(label)))
                lines.append(f"| {{prf:ref}}`claim-{label}` {title} | {tests} |")
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines))


class TestSources(SphinxDirective):
    """The tests of the chapter whose word is the argument, each under its own anchor."""

    required_arguments = 1

    def run(self):
        (chapter,) = [c for c in chapters() if c.word == self.arguments[0]]
        return [node for item in chapter.tests.items() for node in self._test(*item)]

    def _test(self, name, source):
        block = nodes.literal_block(source, source, language="python")
        block["ids"] = [anchor(name)]
        block["classes"] = ["test-source"]
        labels = self.env.get_domain("std")
        labels.anonlabels[anchor(name)] = (self.env.docname, anchor(name))
        labels.labels[anchor(name)] = (self.env.docname, anchor(name), name)
        return [block]


class LinksUnderFormulas(SphinxTransform):
    """Put function and tests under each labelled equation, and the tests into each claim's box."""

    default_priority = 100  # before references are collected

    def apply(self):
        for chapter in chapters():
            if self.env.docname == f"notebooks/{chapter.notebook}":
                self._under_equations(chapter)
                self._into_claims(chapter)

    def _under_equations(self, chapter):
        for equation in list(self.document.findall(nodes.math_block)):
            label = str(equation.get("label") or "").removeprefix("eq-")
            if label in chapter.equations:
                function = f"selfattention.formulas.{chapter.word}.{snake(label)}"
                links = [self._link("py", "func", function, nodes.literal(text=f"{snake(label)}()"))]
                line = self._line(chapter, label, links)
                if label == chapter.equations[0]:
                    touch = nodes.inline(text="the whole formula, to touch")
                    line += [nodes.Text(" · "), self._link("std", "doc", "/book/whole_formula", touch)]
                equation.parent.insert(equation.parent.index(equation) + 1, line)

    def _into_claims(self, chapter):
        for box in list(self.document.findall(nodes.Element)):
            label = str(box.get("label") or "").removeprefix("claim-")
            if label in chapter.claims:
                box += self._line(chapter, label, [])

    def _line(self, chapter, label, links):
        """A small paragraph: function · tests 1 2 3 · map."""
        tests = [
            self._link("std", "ref", anchor(test), nodes.inline(text=str(number)))
            for number, test in enumerate(chapter.tests_of(label), start=1)
        ]
        line = nodes.paragraph(classes=["formula-links"])
        for link in links:
            line += [link, nodes.Text(" · ")]
        line += nodes.Text("tests" if len(tests) > 1 else "test")
        for test in tests:
            line += [nodes.Text(" "), test]
        line += [nodes.Text(" · "), self._link("std", "doc", "/book/map", nodes.inline(text="map"))]
        return line

    def _link(self, domain, kind, target, text):
        return pending_xref("", text, refdomain=domain, reftype=kind, reftarget=target,
                            refexplicit=True, refdoc=self.env.docname, refwarn=True)  # fmt: skip


def link_docstring(app, what, name, obj, options, lines):
    """In the API reference, open a formula's entry with links to its equation and its tests."""
    match = lines and DOCSTRING.match(lines[0])
    if not match:
        return
    label, formula = match[1], f"``{lines[0][match.end() :].strip()}``"
    chapter = next((c for c in chapters() if name.startswith(f"selfattention.formulas.{c.word}.")), None)
    if chapter is None:  # nobody has written it yet: no equation to link to
        lines[0] = formula
        return
    lines[0] = f":eq:`eq-{label}` :doc:`/notebooks/{chapter.notebook}` {formula}"
    tests = ", ".join(f":ref:`{test} <{anchor(test)}>`" for test in chapter.tests_of(label))
    lines += ["", f"Tests: {tests}.", ""]


def setup(app):
    app.add_directive("formula-map", FormulaMap)
    app.add_directive("test-sources", TestSources)
    app.add_transform(LinksUnderFormulas)
    app.connect("autodoc-process-docstring", link_docstring)
    return {"parallel_read_safe": True}
