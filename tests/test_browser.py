"""The built book in a browser: every page at four widths, by day and by night, and a reader at work.

`make test` installs playwright-core and axe-core from npm into tests/browser; Node and Chromium come from
the system. Where one is missing these tests are skipped and say so, or fail if REQUIRE_BROWSER is set.
"""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from execute import chapters as notebooks
from links import chapters, snake
from one_page import chromium, lacking

HERE = Path(__file__).parent
SITE = HERE.parent / "_build/html"
START, CHAPTER = "book/index.html", "notebooks/05_softmax.html"
REDIRECT = "index.html"
WHOLE = "book/whole_formula.html"
RESULTS = "search.html?q=Q+K+V"
EVERY_LOOK = (START, CHAPTER, WHOLE)  # judged by axe at every width, in both themes, loaded there and resized
FAULTS = """
<style>
#wide { display: none; width: 900px; height: 1em; }
@media (width: 768px) { #wide { display: block; } }
html[data-theme="dark"] #pale { color: #444; }
#broken td { overflow-wrap: anywhere; }
@media (width < 500px) { #broken td { max-width: 3em; } }
@media (width: 1300px) { #over { position: relative; left: -20em; } }
</style>
<div id="wide"></div>
<p id="pale">This is too dark to be read at night.</p>
<div id="broken"><table><tbody><tr><td>self-explanatorynonsense</td></tr></tbody></table></div>
<p>A paragraph, and a note that lies on it.</p><aside class="margin" id="over">It lies there.</aside>
<p id="tex">What is left of \\frac{1}{2}.</p>
<div id="box" style="width: 5em; overflow-x: auto"><div style="width: 9em">This scrolls.</div></div>
<img id="slab" alt="white" src="data:image/svg+xml,
%3Csvg xmlns='http://www.w3.org/2000/svg' width='64' height='64'%3E
%3Crect width='64' height='64' fill='white'/%3E%3C/svg%3E">
<button id="tiny" style="all: unset; width: 9px; height: 9px">x</button><button
 style="all: unset; width: 9px; height: 9px">y</button>
<div id="later" style="height: 1em"></div>
<script>addEventListener("resize", () => (document.getElementById("later").style.width = "500px"));</script>
"""
QUERIES = HERE / "search_queries.toml"
TERM = re.compile(r"^(\S[^·\n]*) · .*\n((?:  .*\n?)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What tests/browser/site.mjs saw of the site, in one browser."""
    request = {
        "site": str(SITE),
        "browser": _browser(),
        "pages": _pages(),
        "everyLook": EVERY_LOOK,
        "planted": _planted(),
        "chapter": CHAPTER,
        "start": START,
        "queries": [*_taught(), *_typed("first"), *_typed("held_back")],
        "results": RESULTS,
        "paper": [*(f"notebooks/{path.stem}.html" for path in notebooks()), WHOLE],
    }
    file = tmp_path_factory.mktemp("browser") / "request.json"
    file.write_text(json.dumps(request))
    command = ["node", HERE / "browser/site.mjs", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {page["path"] for page in result["pages"]} == set(_pages())
    assert len(result["pages"]) == len(_pages()) + 7 * len(EVERY_LOOK)
    return result


def _browser():
    """The path of Chromium; without it, or without Node and its packages, there is nothing to test with."""
    if absent := lacking():
        reason = f"the browser tests need: {', '.join(absent)}"
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(reason)
    return chromium()


def _pages():
    assert SITE.is_dir(), "build the book first: make book"
    files = [str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if path != SITE / REDIRECT]
    return sorted([*files, RESULTS])


def _planted():
    """A chapter with a fault of each kind."""
    article = '<article class="bd-article">'
    before, found, after = (SITE / CHAPTER).read_text(encoding="utf-8").partition(article)
    assert found
    return before + found + FAULTS + after


def _taught():
    """What a reader may type -> the pages that teach it: functions, labels in words, glossary terms."""
    taught = {}
    for term, text in TERM.findall((HERE.parent / "book/glossary.md").read_text(encoding="utf-8")):
        if first := re.search(r"\{doc\}`\.\./(notebooks/\w+)`", text):
            taught.setdefault(term.lower(), set()).add(first[1])
    for chapter in chapters():
        for label in chapter.equations:
            for name in {snake(label), label.replace("-", " ")}:
                taught.setdefault(name, set()).add(f"notebooks/{chapter.notebook}")
    return taught


def _typed(which):
    """What somebody types -> the page that ought to come first; those held back were never tuned on."""
    pages = tomllib.loads(QUERIES.read_text(encoding="utf-8"))[which]
    typed = [(query, page) for page, queries in pages.items() for query in queries]
    assert len({query for query, _ in typed}) == len(typed)
    return dict(typed)


def on_pages(seen, key):
    """Page -> faults of this kind; a page that was looked at in several turns has those of each."""
    found = {}
    for page in seen["pages"]:
        if page[key]:
            found.setdefault(page["path"], []).extend(page[key])
    return found


def test_no_request_leaves_the_host(seen):
    assert on_pages(seen, "elsewhere") == {}


def test_nothing_is_wrong_on_the_console(seen):
    assert on_pages(seen, "console") == {}


def test_axe_finds_no_violation(seen):
    """WCAG 2.2 AA, on each page as it was loaded in one look, and resized in another."""
    assert on_pages(seen, "axe") == {}


def test_no_tex_is_left_to_read(seen):
    assert on_pages(seen, "tex") == {}


def test_no_page_scrolls_sideways(seen):
    """From 320 to 1300 px, as it was loaded and after a resize; so do the next four."""
    assert on_pages(seen, "sideways") == {}


def test_no_table_breaks_a_word(seen):
    """A table that is too wide scrolls in its box."""
    assert on_pages(seen, "broken") == {}


def test_margin_notes_stand_clear_of_the_text(seen):
    assert on_pages(seen, "crowded") == {}


def test_what_scrolls_inside_itself_is_reached_by_keyboard(seen):
    """Code, wide formulas, tables and enlarged figures may scroll in their own boxes."""
    assert on_pages(seen, "unreachable") == {}


def test_no_picture_is_a_slab_at_night(seen):
    assert on_pages(seen, "slabs") == {}


def test_faults_are_seen_where_they_are(seen):
    """A fault of each kind on a page loaded at 320 px by day, and judged by axe again at 390 px by night."""
    planted = seen["planted"]

    def looks(kind, text):
        """The looks in which this kind of fault was found, with this in its words."""
        found = [fault.partition(": ") for fault in planted[kind]]
        return sorted(look for look, _, words in found if text in words)

    def each(*widths, themes=("light", "dark")):
        return sorted(f"{width} px, {theme}" for width in widths for theme in themes)

    fresh, everywhere = each(320, themes=["light"]), each(320, 390, 768, 1300)
    assert looks("sideways", "by ") == each(320, 390, 768)  # resized; as it was loaded it did not
    assert looks("broken", "explanatorynonsense") == sorted(fresh + each(320, 390))
    assert looks("crowded", "It lies there.") == each(1300)
    assert looks("tex", "What is left of") == sorted(fresh + everywhere)
    assert looks("unreachable", "div.") == sorted(fresh + everywhere)
    assert looks("slabs", "is a slab") == each(320, 390, 768, 1300, themes=["dark"])
    assert looks("axe", "color-contrast: #pale") == each(390, themes=["dark"])
    assert looks("axe", "target-size: #tiny") == sorted(fresh + each(390, themes=["dark"]))


def test_the_largest_page_is_light(seen):
    """At most 400 KB gzipped, with all its pictures, those further down as well; MathJax not."""
    weights = {page["path"]: page["bytes"] for page in seen["pages"]}
    assert min(weights.values()) > 10_000  # a page without its styles would be light, too
    assert max(weights.values()) <= 400_000, sorted(weights.items(), key=lambda item: -item[1])[:3]


def test_the_front_page_is_light(seen):
    """At most 300 KB gzipped, pictures and the widget included, MathJax not."""
    weights = [page["bytes"] for page in seen["pages"] if page["path"] == START]
    assert min(weights) > 10_000
    assert max(weights) <= 300_000


def test_the_formula_is_in_the_first_screen_and_stays_where_it_is(seen):
    """On a desk and on a phone; with scripts and without it takes the same room, so nothing moves."""
    assert [(door["width"], door["height"]) for door in seen["door"]] == [(1300, 900), (390, 844)]
    for door in seen["door"]:
        assert door["moving"]["bottom"] <= door["height"], door
        assert door["moving"] == pytest.approx(door["still"], abs=0.5)
        assert door["shift"] < 0.001, door
        assert door["small"] == 0


def test_the_formula_moves_in_a_book_that_is_opened_from_a_folder(seen):
    assert seen["unserved"].startswith("Q and K moved: “cats” now gives")


def test_the_first_paint_is_early(seen):
    """At most 1.5 s on the loopback, for the front page and the largest one."""
    assert len(seen["paint"]) == 2
    assert max(seen["paint"].values()) <= 1500, seen["paint"]


def test_search_answers_what_people_type(seen):
    """The best page of each query is the first hit."""
    typed = _typed("first")
    assert len(typed) >= 60
    assert {query: seen["found"][query] for query in typed} == typed


def test_search_answers_what_it_was_not_tuned_on(seen):
    """Titles that others gave their questions, and what is typed: three of four find their page first."""
    typed = _typed("held_back")
    assert len(typed) >= 50
    missed = {query: seen["found"][query] for query, page in typed.items() if seen["found"][query] != page}
    assert len(missed) < len(typed) / 4, missed


def test_excerpts_of_the_search_are_text(seen):
    """Words in which nothing is left of TeX; marked are words of the query, and no single letter."""
    assert len(seen["hits"]["excerpts"]) > 5
    assert [text for text in seen["hits"]["excerpts"] if re.search(r"[\\$]|\w_\{|\{\w+\}", text)] == []
    assert seen["hits"]["marked"]
    assert min(map(len, seen["hits"]["marked"])) > 1


def test_a_page_that_was_searched_for_highlights_nothing(seen):
    """After `Q K V` the next page had every q, k and v marked, those of the menus included."""
    assert seen["hits"]["highlighted"] == 0


def test_the_search_answers_while_one_types(seen):
    assert seen["typed"] == {"first": "notebooks/10_masks.html", "address": "?q=mask%20upside%20down"}


def test_a_book_in_a_folder_can_be_searched(seen):
    """Opened as a file, without a server."""
    assert seen["folder"] == "notebooks/04_scaling.html"


def test_search_finds_what_is_taught_where_it_is_taught(seen):
    taught = _taught()
    assert len(taught) > len(notebooks())
    first = {query: seen["found"][query] for query in taught}
    assert {query: page for query, page in first.items() if page not in taught[query]} == {}


def test_the_search_field_leads_to_the_equation(seen):
    """Ctrl+K, "log sum exp", Enter, first result."""
    assert seen["search"].startswith("notebooks/05_softmax.html")
    assert seen["search"].endswith("#equation-eq-log-sum-exp")


def test_a_page_read_in_the_dark_is_printed_by_day(seen):
    assert seen["printed"] == ["light", "dark"]


def on_paper(seen, key):
    return {sheet["path"]: sheet[key] for sheet in seen["paper"] if sheet[key]}


def test_hints_and_solutions_are_closed_on_paper(seen):
    assert sum(sheet["closed"] for sheet in seen["paper"]) > 150
    assert on_paper(seen, "open") == {}


def test_paper_has_a_title_and_the_notes_and_nothing_to_click(seen):
    assert {sheet["title"] for sheet in seen["paper"]} == {1}
    assert sum(sheet["notes"] for sheet in seen["paper"]) > 20
    assert on_paper(seen, "unseenNotes") == {}
    assert on_paper(seen, "menus") == {}


def test_widgets_are_pictures_on_paper(seen):
    """Those far down the page too, which nobody has come near."""
    assert sum(sheet["pictures"] for sheet in seen["paper"]) > 8
    assert on_paper(seen, "missing") == {}
    assert on_paper(seen, "moving") == {}


def test_paper_cuts_nothing_off(seen):
    assert on_paper(seen, "cut") == {}


def test_a_chapter_can_be_read_by_keyboard(seen):
    """Past the menus, through every stop, a hint opened, the chapter ticked, to the next chapter."""
    walk = seen["keyboard"]
    assert walk["unseen"] == []
    assert walk["skipped"]
    assert walk["opened"]
    assert walk["ticked"]
    assert walk["next"] == "notebooks/06_context.html"
    assert walk["stops"] < 200
