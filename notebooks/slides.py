"""Slides of the chapters 01 to 08, `python notebooks/slides.py`, into _build/slides; they need no network.

What becomes a slide:

- the title, with the chapter's drawing where it has one;
- a formula, in the sentence that it stands in;
- a claim, a pitfall's first paragraph, a table, an exercise without its hint;
- a picture, with the first sentence of its caption;
- a question that readers ask, without its answer;
- a section that has none of these, by its heading and its first sentence.

All other prose is what the speaker says: it goes to the notes of the slide before it. Code stays in the
notebook.
"""

import base64
import re
import shutil
from dataclasses import dataclass, field

import nbformat
from execute import chapters
from headings import LETTER
from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from students import OPENING, ROOT, markdown, outside
from website import copy_mathjax

SLIDES = ROOT / "_build/slides"
TEMPLATES = ROOT / "book/slides"
REVEAL = ROOT / "tests/browser/node_modules/reveal.js"
LAST = "08"  # slides are for the lectures on the formula
SENTENCE = re.compile(r"(?<=[.?!])[*”\"]?\s+(?=[A-Z$*“\"`])")
LONG, LONGER, LONGEST = 330, 620, 900  # characters, from which a slide's letters are smaller


@dataclass
class Slide:
    """A heading, what the class sees, as Markdown, and what the speaker says to it."""

    heading: str
    kind: str
    shown: str = ""
    notes: list[str] = field(default_factory=list)
    picture: str = ""  # its file
    alt: str = ""

    @property
    def size(self):
        """How much there is to read decides on the size of the letters."""
        length = len(self.shown)
        return (length > LONG) + (length > LONGER) + (length > LONGEST)


# From cells to blocks -----------------------------------------------------------------------------------


def blocks(source):
    """A cell in pieces: (kind, title, text); a paragraph's kind is "prose", that of $$ … $$ "formula"."""
    piece, inside = [], None
    for line in [*source.split("\n"), ""]:
        opened = OPENING.match(line)
        if inside:
            fence, kind, title = inside
            if line == fence:
                yield kind, title, "\n".join(piece)
                piece, inside = [], None
            else:
                piece.append(line)
        elif opened:
            yield from _paragraph(piece)
            piece, inside = [], opened.groups()
        elif line.startswith("$$") and not (piece and piece[0].startswith("$$")):
            yield from _paragraph(piece)
            piece = [line]
        elif line.startswith("$$"):
            yield "formula", "", "\n".join([*piece, "$$"])
            piece = []
        elif line.strip() or (piece and piece[0].startswith("$$")):
            piece.append(line)
        else:
            yield from _paragraph(piece)
            piece = []


def _paragraph(lines):
    text = "\n".join(line for line in lines if not re.fullmatch(r"\([\w-]+\)=", line))
    if not text:
        return
    heading = re.fullmatch(r"(#+) (.+)", text)
    if heading:
        yield f"heading {len(heading[1])}", heading[2], ""
    else:
        yield "table" if text.startswith("|") else "prose", "", text


# From blocks to slides ----------------------------------------------------------------------------------


class Lecture:
    """A chapter's slides, made while one goes through it."""

    def __init__(self):
        self.slides, self.heading, self.said = [], "", []

    def add(self, kind, shown, **more):
        """A slide; what has been said since the one before it belongs to that one."""
        self.hand_over()
        self.slides.append(Slide(self.heading, kind, shown.strip(), **more))

    def hand_over(self):
        if self.slides:
            self.slides[-1].notes += self.said
            self.said = []

    def read(self, source):
        for kind, title, text in blocks(source):
            getattr(self, f"see_{kind.split()[0].replace('-', '_').replace(':', '_')}")(kind, title, text)

    def see_heading(self, kind, title, text):
        self.close_section()
        self.heading = set_letters(title)
        if kind == "heading 1":
            self.add("title", "")

    def close_section(self):
        """A section in which nothing is to be seen has its first sentence for a slide."""
        shown = {slide.heading for slide in self.slides}
        if self.heading and self.heading not in shown and self.said:
            first, *rest = self.said
            opening, *more = SENTENCE.split(first)
            self.said = [" ".join(more), *rest] if more else rest
            spoken, self.said = self.said, []
            self.add("words", opening, notes=spoken)
        self.hand_over()

    def see_prose(self, kind, title, text):
        if text.startswith("*") and "minutes" in text.split("\n")[0]:
            return  # how long it takes, and what it needs
        goes_on = self.slides and not self.said and text[0].islower()
        if goes_on and self.slides[-1].kind == "formula":
            end, *rest = SENTENCE.split(text)
            if end.rstrip().endswith((".", "?")):
                self.slides[-1].shown += f"\n\n{end}"
                text = " ".join(rest)
        if text:
            self.said.append(text)

    def see_formula(self, kind, title, text):
        leads_in = self.said and not self.said[-1].rstrip().endswith(".")
        *before, sentence = SENTENCE.split(self.said.pop()) if leads_in else [""]
        if any(before):
            self.said.append(" ".join(before))
        self.add("formula", f"{sentence}\n\n{text}")

    def see_table(self, kind, title, text):
        self.add("table", text)

    def see_prf_property(self, kind, title, text):
        self.add("claim", f"**{title}.**\n\n{said_in(text)}")

    def see_admonition(self, kind, title, text):
        first, _, rest = said_in(text).partition("\n\n")
        asked = title.startswith("Asked: ")
        if asked:
            question = title.removeprefix("Asked: ")
            self.add("question", question[0].upper() + question[1:])
            self.said.append(first)
        else:
            self.add("pitfall", f"**{title}**\n\n{first}")
        self.said.append(rest)

    def see_exercise(self, kind, title, text):
        statement, _, hint = text.partition(":::{hint}")
        self.add("exercise", f"**{title}**\n\n{said_in(statement)}")
        self.said.append(said_in(hint).removesuffix(":::").rstrip())

    def see_margin(self, kind, title, text):
        self.said.append(text)

    def see_thought(self, kind, title, text):
        """The chapter's drawing, where the book's program knows how to draw it."""
        import thoughts

        self.slides[-1].shown, says = thoughts.draw(title)
        self.said.append(says)

    see_solution_start = see_solution_end = lambda self, kind, title, text: None


def said_in(text):
    """A directive's text without its options."""
    return "\n".join(line for line in text.split("\n") if not re.match(r":\w+: ", line)).strip()


def set_letters(heading):
    """√d_k and W_O in a heading, as mathematics."""

    def letter(match):
        root, name, index = match.groups()
        tex = f"{name}_{{{index}}}"
        return rf"$\sqrt{{{tex}}}$" if root else f"${tex}$"

    return LETTER.sub(letter, heading)


def lecture(path, pictures=None):
    """The slides of a chapter; its pictures are written into the folder that is given."""
    notebook, told, solution = nbformat.read(path, as_version=4), Lecture(), False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            kept, solution = outside(cell.source, solution)
            if "## Next" in kept:
                break
            told.read(kept)
        elif not solution and (about := cell.metadata.get("mystnb", {}).get("figure")):
            file = f"{path.stem}-{cell.id}.png"
            if pictures:
                (pictures / file).write_bytes(_png(cell))
            first, *rest = SENTENCE.split(about["caption"])
            alt = cell.metadata.mystnb.get("image", {}).get("alt", "")
            told.add("picture", first, picture=f"pictures/{file}", alt=alt)
            told.said.append(" ".join(rest))
    told.close_section()
    return told.slides


def _png(cell):
    (data,) = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
    return base64.b64decode(data)


# From slides to pages -----------------------------------------------------------------------------------


def _tex(content, options):
    opening, closing = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    content = content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{opening}{content}{closing}"


PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")
PARSER.use(dollarmath_plugin, renderer=_tex, double_inline=True)


def html(text):
    return text if text.startswith("<svg") else PARSER.render(markdown(text))


def style_of_drawings():
    """What the book's style says of drawings and of the colours of roles, by day."""
    css = (ROOT / "book/_static/book.css").read_text(encoding="utf-8")
    rules = re.findall(r"^(?::root|\.drawn)[^{}]*\{[^{}]*\}", css, re.MULTILINE)
    return "\n\n".join(rules) + "\n"


def page(path, slides):
    """The chapter's slides as one page of HTML."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True)
    environment.filters["html"] = html
    environment.filters["inline"] = lambda text: PARSER.renderInline(markdown(text))
    title = re.sub(r"[$\\{}]", "", slides[0].heading.replace(r"\sqrt", "√"))
    return environment.get_template("slides.html.j2").render(
        slides=slides, title=title, number=int(path.stem[:2])
    )


def lectures():
    """The chapters that have slides."""
    return [path for path in chapters() if path.stem[:2] <= LAST]


def write(target):
    """All slides, and what their pages load."""
    if not REVEAL.is_dir():
        raise SystemExit("the slides need reveal.js: npm ci --prefix tests/browser")
    shutil.rmtree(target, ignore_errors=True)
    (target / "pictures").mkdir(parents=True)
    for file in ("reset.css", "reveal.css", "reveal.js"):
        shutil.copy(REVEAL / "dist" / file, target)
    shutil.copy(REVEAL / "plugin/notes/notes.js", target)
    shutil.copy(REVEAL / "LICENSE", target / "reveal.LICENSE")
    shutil.copy(TEMPLATES / "slides.css", target)
    (target / "drawn.css").write_text(style_of_drawings(), encoding="utf-8")
    copy_mathjax(target)
    for path in lectures():
        text = page(path, lecture(path, target / "pictures"))
        (target / f"{path.stem}.html").write_text(text, encoding="utf-8")


def main():
    write(SLIDES)
    print(f"The slides are in {SLIDES.relative_to(ROOT)}: {', '.join(p.stem for p in lectures())}.")


if __name__ == "__main__":
    main()
