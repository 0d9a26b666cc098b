"""Sphinx: a widget beside the equation that it moves, so that a reader can touch the formula.

- under an equation or claim that `WIDGETS` names, and wherever a page says `widget`: a question, the
  place for the widget, and the picture for paper and for readers without scripts;
- under a figure that a widget sets in motion: the same without a picture, for the figure is one;
- into the site: the modules of book/widgets, each widget's first numbers as JSON, and its picture,
  both from the package;
- the script that mounts widgets, and their style, on the pages that have one.
"""

import html
import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import door
import matplotlib
import matplotlib.pyplot as plt
import widget_pictures
from docutils import nodes
from links import ROOT
from night import draw as draw_night
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective
from widget_numbers import NUMBERS, as_json

MODULES = ROOT / "book/widgets"
SITE = "_static/widgets"  # in the built book


@dataclass(frozen=True)
class Widget:
    """Its name, the label under which it stands, what it lets the reader find out, its picture in words."""

    name: str
    under: str  # an equation's or a claim's label; or the page that asks for it
    question: str  # $…$ is mathematics
    alt: str
    moves: str = ""  # a figure's label: it stands there, too


WIDGETS = (
    Widget(
        "door",
        "index",
        "Move a number of a word: which letters of the formula move with it, and to whom do the cats listen?",
        "The formula, three words with a number each, their weights, values and outputs.",
    ),
    Widget(
        "projections",
        "eq-projections",
        "Drag “it” wherever you like: can it be made to score itself anything but zero? Then give queries "
        "and keys the same matrix, and ask again.",
        "Four planes with arrows for the words cat, naps and it: the tokens, and their queries, keys and "
        "values. Each query stands at a right angle to its token.",
    ),
    Widget(
        "scaling",
        "eq-scaled-scores",
        "Here are 64 strangers and one query. By which power $d_k^{\\,p}$ must the scores be divided so that "
        "their spread stays about the same from $d_k = 4$ to $1024$, and the bars with it?",
        "Weights of one query over 64 keys at three widths. Unscaled, one key ends up with all the weight; "
        "divided by the root of the width, many keys keep a share at every width.",
    ),
    Widget(
        "softmax",
        "claim-softmax-temperature",
        "How cold must it get before the third key has nine tenths? And what changes when one number is "
        "added to all the scores, with the maximum subtracted and without?",
        "The weights of three keys against temperature: cold, the third key has all; hot, each has a third. "
        "Beside them the entropy, which rises from zero to ln 3.",
    ),
    Widget(
        "context",
        "eq-weighted-sum",
        "Move the values and change their scores: can you bring the output outside the dashed band?",
        "A triangle of three values in the plane, and the path of the output inside it, from the third value "
        "when cold to the middle when hot, past the point (5, 1).",
    ),
    Widget(
        "masks",
        "eq-masked-scores",
        "Hide a key from a query. By what factor does each weight that is left grow, is it the same factor "
        "for all of them, and what is left when nothing may be seen?",
        "Two four-by-four matrices of weights: with everything visible, and causal, where each row is "
        "divided by a smaller sum and the upper triangle is zero.",
    ),
    Widget(
        "heads",
        "claim-multi-head-sum",
        "Cut the same matrices into more heads. Does $Q$ change, do the weights, and how many shares "
        "$H^{(i)} W_O^{(i)}$ does it take to reach $Y$?",
        "Three matrices of weights: those of one head six wide, and those of two heads three wide cut from "
        "the same matrices. All three differ.",
    ),
    Widget(
        "formula",
        "whole_formula",
        "Which numbers made the 4 in the row of “cats”, and which made those?",
        "Every matrix of the example, from X over Q, K, V, S, A and O to Y, in whose row of cats hunger is 4 "
        "and sound 2.",
        moves="fig-formula-path",
    ),
    Widget(
        "trained",
        "claim-trained-aligns-atoms",
        "Choose an atom of the product. Which atom of the reactants does the head say that it was, and in "
        "which of the seven reactions does it point at a wrong one?",
        "The tokens of paracetamol below those of its reactants, with lines from each atom of the product to "
        "the atoms that the head looks at, darkest where the weight is largest.",
    ),
    Widget(
        "decoding",
        "claim-decoding-first-key",
        "Step through what the model wrote. How many keys and values does each step add to the cache, in "
        "which layers does the first token take most of the attention, and do all heads agree?",
        "Attention of a language model on a question and its own answer, a row for each token: a triangle "
        "whose first column is the darkest.",
    ),
    Widget(
        "devices",
        "eq-hiding-tokens",
        "Put in your own cluster. From how many tokens on does the ring take least, when does all-to-all, "
        "and how many tokens must a rank have for the ring to hide behind arithmetic?",
        "Milliseconds of a layer against the number of ranks, by heads, in a ring and by all-to-all. The "
        "ring falls in step with the ranks until it no longer hides; the others stop falling earlier.",
    ),
    Widget(
        "digits",
        "eq-rollout",
        "Let the class token ask, then a patch: does the second layer look where the first did? And is the "
        "patch that gets most attention the one without which the answer loses most?",
        "A handwritten 0, and four maps of its sixteen patches: the class token's attention in two layers, "
        "and how much probability its answer loses without each patch, its key hidden or its pixels blank.",
    ),
    Widget(
        "dialects",
        "claim-dialects-differ",
        "Point at a cell: what was asked, what came, and by which call? Then choose the library that you "
        "have and the one that you want. On what do they differ, and which line makes them agree?",
        "A table of coloured cells, questions down and libraries across. Where a row sees nobody, and where "
        "a mask is made of numbers, there are most colours.",
    ),
)
BY_NAME = {widget.name: widget for widget in WIDGETS}
BY_LABEL = {widget.under: widget for widget in WIDGETS}
BY_FIGURE = {widget.moves: widget for widget in WIDGETS if widget.moves}
IN_THE_PAGE = {"door": door.stage}  # they are drawn where they move: no picture in their place


def block(widget, docname):
    """The question, the widget's place, and the picture that stands there without scripts and on paper."""
    drawn = IN_THE_PAGE.get(widget.name)
    stage = drawn(**NUMBERS[widget.name]()) if drawn else ""
    return _box(widget, stage, "" if drawn else _picture(widget, "../" * docname.count("/")))


def block_of_figure(widget):
    """The question and the widget's place; without scripts and on paper the figure above it is enough."""
    box = _box(widget, stage="", picture="")
    box["classes"].append("moves-a-figure")
    return box


def _box(widget, stage, picture):
    question = nodes.paragraph(classes=["widget-question"])
    for i, part in enumerate(widget.question.split("$")):
        question += nodes.math(part, part) if i % 2 else nodes.Text(part)
    place = (
        f'<div data-widget="{widget.name}" role="group" aria-label="Touch the formula: {widget.name}">'
        f'<div class="widget-stage">{stage}</div>{picture}'
        '<button type="button" class="widget-again" hidden>Start again</button></div>'
    )
    container = nodes.container(classes=["widget"], ids=[f"widget-{widget.name}"])
    container += [question, nodes.raw("", place, format="html")]
    return container


def _picture(widget, root):
    """By day, which paper has as well, and by night; only the former is fetched before it is seen."""
    source, alt = f"{root}{SITE}/{widget.name}", f'alt="{html.escape(widget.alt)}"'
    return (
        f'<img class="widget-picture by-day" src="{source}.svg" {alt}>'
        f'<img class="widget-picture by-night dark-light" src="{source}-night.webp" {alt} loading="lazy">'
    )


class WidgetsUnderFormulas(SphinxTransform):
    """After an equation's line of links, after a claim's box, or after the cell that drew a figure."""

    default_priority = 101  # after the links, see formula_map.LinksUnderFormulas

    def apply(self):
        for node in list(self.document.findall(nodes.Element)):
            widget = BY_LABEL.get(self._label(node))
            if widget:
                place = node.parent.index(node) + 1
                place += "formula-links" in self._classes_at(node.parent, place)
                node.parent.insert(place, block(widget, self.env.docname))
        for figure in list(self.document.findall(nodes.figure)):
            for label in BY_FIGURE.keys() & set(figure["names"]):
                cell = figure
                while "cell" not in cell.get("classes", []):
                    cell = cell.parent
                cell.parent.insert(cell.parent.index(cell) + 1, block_of_figure(BY_FIGURE[label]))

    @staticmethod
    def _label(node):
        return (
            node.get("label")
            if isinstance(node, nodes.math_block) or "claim-" in str(node.get("label"))
            else None
        )

    @staticmethod
    def _classes_at(parent, place):
        return parent[place]["classes"] if place < len(parent) else []


class WidgetDirective(SphinxDirective):
    """The widget of that name, on a page of its own."""

    required_arguments = 1

    def run(self):
        return [block(BY_NAME[self.arguments[0]], self.env.docname)]


def add_script(app, pagename, templatename, context, doctree):
    """Only pages with a widget load the script and the style."""
    if doctree is None:
        return
    found = {name for node in doctree.findall(nodes.container) for name in node["ids"]}
    for name in IN_THE_PAGE:
        if f"widget-{name}" in found:
            app.add_js_file(f"widgets/{name}.js", loading_method="defer", priority=490)  # before the next
    if any(name.startswith("widget-") for name in found):
        app.add_js_file("widgets/load.js", loading_method="defer")
        app.add_css_file("widgets/widgets.css")


def in_one_script(name, numbers):
    """A widget, what it imports and its numbers as a classic script: a page opened as a file loads that."""
    modules = [(MODULES / f"{module}.mjs").read_text("utf-8") for module in ("attention", "parts", name)]
    text = re.sub(r'^import \{[^}]*\} from "[^"]*";\n', "", "\n".join(modules), flags=re.MULTILINE)
    text = re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)
    text = text.replace("export default function", "const mount = function")
    ready = f"(window.readyWidgets ??= {{}}).{name} = {{ mount, start: {as_json(numbers)} }};"
    return f'(() => {{\n"use strict";\n{text}\n{ready}\n}})();\n'


def write_widgets(app):
    """Modules, numbers and pictures, before the pages, so that Sphinx can sign their addresses."""
    if app.builder.format != "html":
        return
    site = Path(app.outdir) / SITE
    shutil.copytree(MODULES, site, dirs_exist_ok=True)
    (site / "data").mkdir(exist_ok=True)
    for name, compute in NUMBERS.items():
        numbers = compute()
        (site / f"data/{name}.json").write_text(as_json(numbers), encoding="utf-8")
        if name in IN_THE_PAGE:
            (site / f"{name}.js").write_text(in_one_script(name, numbers), encoding="utf-8")
        else:
            draw_twice(site, name, numbers)


def draw_twice(site, name, numbers):
    """The picture as SVG, and by night as night.py makes one of pixels; what is drawn already is kept."""
    day, night = site / f"{name}.svg", site / f"{name}-night.webp"
    drawn = draw(name, numbers)
    if night.exists() and day.exists() and day.read_bytes() == drawn:
        return
    day.write_bytes(drawn)
    night.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder, f"{name}.png")
        pixels.write_bytes(draw(name, numbers, "png"))
        draw_night(pixels, night, photographed=name == "digits")


def draw(name, numbers, form="svg"):
    """The picture as SVG or as pixels, the same bytes each time."""
    style = ["selfattention.figures.book", {"svg.hashsalt": name, "svg.fonttype": "path"}]
    with matplotlib.rc_context({"backend": "agg"}), plt.style.context(style):
        figure = getattr(widget_pictures, name)(**numbers)
        out = io.BytesIO()
        figure.savefig(out, format=form, dpi=200, metadata={"Date": None} if form == "svg" else {})
        plt.close(figure)
    return out.getvalue()


def setup(app):
    app.add_transform(WidgetsUnderFormulas)
    app.add_directive("widget", WidgetDirective)
    app.connect("builder-inited", write_widgets)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True}
