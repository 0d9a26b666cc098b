"""Sphinx: what the search looks through, instead of Sphinx's own index: a line for all that one may look for.

- a section, a claim, an equation, a question in a box, an exercise, a term of the glossary, a function of the
  reference: each with its anchor, its name, its words, in which formulas are signs and not TeX, and the names
  in its cells;
- the mistakes of the package, by the sentence that says them, in the chapter that meets them;
- the terms of the glossary, in English and in Chinese, as names of the chapter that teaches them;
- what else people call all this: `book/search_words.toml`;
- which words mean nearly the same: `book/search_synonyms.toml`.

`book/_static/search.js` ranks the lines in the reader's browser. They come as a script and not as JSON, so
that a book opened from a folder can be searched, too.
"""

import json
import posixpath
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from docutils import nodes
from headings import plain_title
from links import ROOT, chapters, snake
from plain_tex import plain
from sphinx import addnodes
from sphinx.search.en import SearchEnglish
from sphinx.util import logging

from selfattention.mutants import RIGHT, mutants

log = logging.getLogger(__name__)

FILE = "_static/search_lines.js"
OTHER_NAMES = ROOT / "book/search_words.toml"
SYNONYMS = ROOT / "book/search_synonyms.toml"
NO_WORDS = (nodes.title, nodes.raw, nodes.image, nodes.comment, addnodes.index, addnodes.desc_signature)
GLOSSARY = ROOT / "book/glossary.md"
TERM = re.compile(r"^(\S[^·\n]*) · (.*)\n((?:  .*\n?)+)", re.MULTILINE)
TAUGHT_IN = re.compile(r"\{doc\}`\.\./(notebooks/\w+)`")
UNSAID = {"solution", "tag_solution", "formula-links", "try-it", "try-it-off"}  # classes and ids
WHAT_IT_TAKES = re.compile(r"\d+ minutes\. ")  # the line under a chapter's title
NAME = re.compile(r"[A-Za-z_][\w.]*\w")
GENERATED = {"book/map", "book/tests", "genindex"}  # the same names again, as tables and as code


@dataclass
class Line:
    """One thing to find: where it is, what it is called, what is said about it."""

    page: str
    anchor: str
    name: str
    words: str = ""
    code: set[str] = field(default_factory=set)
    also: list[str] = field(default_factory=list)


def all_lines(env):
    """The lines of every page, pages in reading order: what comes first wins a tie."""
    found = [line for page in reading_order(env) for line in env.search_lines.get(page, [])]
    found = [replace(line, words=with_titles(line.words, env.titles)) for line in found]
    found += [*cited(env), *(mistake for mistake in mistakes(found) if mistake.page in env.titles)]
    give_other_names(found, OTHER_NAMES.read_text(encoding="utf-8"))
    give_terms(found, GLOSSARY.read_text(encoding="utf-8"))
    leave_what_tells(found)
    return found


def reading_order(env):
    listed = [env.config.root_doc]
    for page in listed:  # it grows while we walk it
        listed += [inner for inner in env.toctree_includes.get(page, []) if inner not in listed]
    return listed


def with_titles(words, titles):
    """Pages named by ⟦their path⟧, by their titles: while a page is read, others may have none yet.

    A page that is not in this book, which Sphinx has warned of, keeps its path.
    """

    def title(page):
        return plain_title(titles[page[1]]) if page[1] in titles else page[1]

    return re.sub("⟦(.*?)⟧", title, words)


# What a page holds -------------------------------------------------------------------------------------


class Reader:
    """Goes through a page once, and says to the line in which it is what it reads."""

    def __init__(self, page):
        self.page, self.lines = page, []

    def read(self, doctree):
        self.walk(doctree, Line(self.page, "", ""))
        for line in self.lines:
            line.words = " ".join(line.words.split())
        return self.lines if self.page not in GENERATED else [replace(self.lines[0], words="")]

    def walk(self, node, line):
        for child in node.children:
            if anchor_and_name := subject(child):
                self.lines.append(Line(self.page, *anchor_and_name))
                self.say(child.parent[-1] if isinstance(child, nodes.term) else child, self.lines[-1])
            elif not (isinstance(child, nodes.definition) and subject(node[0])):  # said with its term
                self.say(child, line)

    def say(self, node, line):
        if isinstance(node, nodes.Text):
            line.words += node.astext()
        elif isinstance(node, nodes.math | nodes.math_block):
            line.words += plain(node.astext())
        elif isinstance(node, nodes.literal_block):
            line.code.update(NAME.findall(node.astext()))
        elif isinstance(node, addnodes.pending_xref):
            line.words += self.reference(node)
        elif not is_unsaid(node):
            self.walk(node, line)
        if not isinstance(node, nodes.Inline | nodes.Text):
            line.words += " "

    def reference(self, node):
        """What a reference reads as, before Sphinx has looked up what it will read as."""
        target = node["reftarget"]
        if node["refexplicit"] or node["refdomain"] == "py":
            return node.astext()
        if node["reftype"] == "doc":
            return f"⟦{posixpath.normpath(posixpath.join(posixpath.dirname(self.page), target)).lstrip('/')}⟧"
        if node["refdomain"] == "cite":
            return " ".join(re.fullmatch(r"(\D+)(.*)", target).groups()).capitalize()
        return re.sub(r"^(eq|claim|fig|exercise)-", "", target).replace("-", " ")


def is_unsaid(node):
    """What is no answer to anybody's question, or is one before its time."""
    named = {*node.get("classes", []), *node.get("ids", [])}
    return isinstance(node, NO_WORDS) or UNSAID & named or is_what_it_takes(node)


def is_what_it_takes(node):
    return isinstance(node, nodes.paragraph) and WHAT_IT_TAKES.match(node.astext())


def subject(node):
    """The anchor and the name of what a reader may look for; nothing for all other nodes."""
    if isinstance(node, nodes.section) and isinstance(node[0], nodes.title):
        return "" if isinstance(node.parent, nodes.document) else node["ids"][0], plain_title(node[0])
    if isinstance(node, nodes.math_block) and node.get("label"):
        label = node["label"].removeprefix("eq-")
        return node["ids"][0], f"{label.replace('-', ' ')}, {snake(label)}"
    if isinstance(node, nodes.Element) and "proof" in node.get("classes", []):
        return node["ids"][0], plain(node["title"].strip(" ()").replace("$", ""))
    if isinstance(node, nodes.Element) and "exercise" in node.get("classes", []) and node.get("label"):
        return node["label"], f"Exercise, {snake(node['label'].split('-', 2)[2])}"
    if isinstance(node, nodes.admonition) and node["ids"]:  # a question, asked in a box
        return node["ids"][0], plain_title(node[0]).removeprefix("Asked: ")
    if isinstance(node, nodes.term) and node["ids"]:
        return node["ids"][0], node.astext()
    if isinstance(node, addnodes.desc) and node[0].get("ids"):
        return node[0]["ids"][0], node[0]["fullname"]
    return None


# Mistakes, and other names -----------------------------------------------------------------------------


def mistakes(found):
    """A line for each named mistake, at the section of its chapter that says its name, else at the top."""
    pages = {chapter.notebook[:2]: f"notebooks/{chapter.notebook}" for chapter in chapters()}
    for target in RIGHT:
        for mutant in mutants(target):
            page = pages[re.search(r"\d\d", mutant.source)[0]]
            called = mutant.function.__name__
            place = next((line.anchor for line in found if line.page == page and called in line.code), "")
            yield Line(page, place, f"Mistake: {mutant.name}", code={called})


def cited(env):
    """A line for each entry of the bibliography: who, when, what."""
    for citation in env.get_domain("cite").citations:
        entry = citation.entry
        who = [plain(name) for person in entry.persons.get("author", []) for name in person.last_names]
        what = plain(entry.fields["title"].replace("$", ""))
        page = citation.bibliography_key.docname
        yield Line(page, citation.citation_id, f"{' '.join(who)} {entry.fields.get('year', '')}, {what}")


def give_other_names(found, toml):
    """Write down, at what is so called, what else people call it; a name that nothing has is a slip."""
    places = {name: line for line in reversed(found) for name in callings(line)}
    for called, names in tomllib.loads(toml).items():
        if called in places:
            places[called].also += names
        else:
            log.warning("%s: nothing in the book is called %r", OTHER_NAMES.name, called)  # stops -W


def give_terms(found, glossary):
    """A term and what else it is called go to the chapter that its entry points to first."""
    tops = {line.page: line for line in reversed(found) if not line.anchor}
    others = {line.name.partition(" · ")[0]: line.also for line in found if line.page == "book/glossary"}
    for english, chinese, entry in TERM.findall(glossary):
        taught = TAUGHT_IN.search(entry)
        if taught and taught[1] in tops:
            tops[taught[1]].also += [english, *chinese.split(", "), *others.get(english, [])]


def leave_what_tells(found):
    """Take names such as `print` away, which every hundredth line has: they weigh, and tell no two apart."""
    lines_with = Counter(name for line in found for name in line.code)
    for line in found:
        line.code = {name for name in line.code if lines_with[name] <= len(found) / 100}


def callings(line):
    """By what `search_words.toml` may call a line: its page, its anchor, its English term, its mistake."""
    yield line.anchor or line.page.rpartition("/")[2]
    yield line.name.partition(" · ")[0]
    if line.name.startswith("Mistake: "):
        yield from line.code


# Into the site -----------------------------------------------------------------------------------------


def begin(app, env, docnames):
    env.search_lines = getattr(env, "search_lines", {})


def read(app, doctree):
    """While it is in memory: to load all pages once more at the end takes half a minute."""
    app.env.search_lines[app.env.docname] = Reader(app.env.docname).read(doctree)


def forget(app, env, docname):
    getattr(env, "search_lines", {}).pop(docname, None)


def merge(app, env, docnames, other):
    env.search_lines |= {page: other.search_lines[page] for page in docnames if page in other.search_lines}


def write(app, exception):
    if exception is None and app.builder.format == "html":
        script = f"{english()}\n{synonyms()}\nconst BOOK = {as_json(app.env)};\n"
        Path(app.outdir, FILE).write_text(script, encoding="utf-8")


def english():
    """Sphinx's own: the words that say nothing, and what brings `heads` and `head` to one stem."""
    language = SearchEnglish({})
    return f"const stopwords = {json.dumps(sorted(language.stopwords))};\n{language.js_stemmer_code}"


def synonyms():
    groups = tomllib.loads(SYNONYMS.read_text(encoding="utf-8"))["alike"]
    return f"const alike = {json.dumps(groups)};"


def as_json(env):
    pages = reading_order(env)
    titles = [[page, plain_title(env.titles[page])] for page in pages]
    packed = [
        [pages.index(line.page), line.anchor, line.name, line.words, " ".join(sorted(line.code)), line.also]
        for line in all_lines(env)
    ]
    return json.dumps({"pages": titles, "lines": packed}, ensure_ascii=False, separators=(",", ":"))


def one_index_only(app):
    """Sphinx's, a line for each word, is not written; its page is, from book/_templates/search.html."""
    app.builder.search = False


def keep_the_page(app, config):
    config.html_additional_pages = {**config.html_additional_pages, "search": "search.html"}


def setup(app):
    app.connect("config-inited", keep_the_page)
    app.connect("builder-inited", one_index_only)
    app.connect("env-before-read-docs", begin)
    app.connect("doctree-read", read)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True}
