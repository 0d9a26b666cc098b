"""The whole book as one page, which `make pdf` prints: nothing is lost, and every link leads somewhere."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from execute import chapters
from one_page import LOG, SITE, anchor, headings, one_page, pages


@pytest.fixture(scope="module")
def whole():
    assert SITE.is_dir(), "build the book first: make book"
    return BeautifulSoup(one_page(), "html.parser")


def test_it_holds_every_chapter_in_order():
    inside = [name for name in pages() if name.startswith("notebooks/")]
    numbered = [name for name in inside if re.search(r"/\d\d_", name)]
    assert numbered == [f"notebooks/{path.stem}" for path in chapters()]
    assert pages()[0] == "book/index"


def test_every_place_has_a_name_of_its_own(whole):
    counted = Counter(tag["id"] for tag in whole.select("main [id]"))
    assert [name for name, times in counted.items() if times > 1] == []


def test_every_link_leads_to_a_place_or_out(whole):
    places = {tag["id"] for tag in whole.select("[id]")}
    links = [a["href"] for a in whole.select("main a[href]")]
    inside = [link for link in links if link.startswith("#")]
    assert len(inside) > 1000
    assert [link for link in inside if link[1:] not in places] == []
    assert [link for link in links if not re.match(r"#|https://|mailto:", link)] == []


def test_the_contents_list_every_chapter(whole):
    listed = {a["href"] for a in whole.select(".whole-contents .whole-h1 a")}
    titles = {page: whole.find(id=anchor(page, "")).h1.find_parent(id=True)["id"] for page in pages()}
    assert {f"#{place}" for place in titles.values()} <= listed


def test_pictures_are_there_by_day(whole):
    sources = [img["src"] for img in whole.select("main img")]
    assert len(sources) > 80
    assert [s for s in sources if not (SITE / s).is_file()] == []
    assert [s for s in sources if Path(s).stem.endswith("-night")] == []


def test_solutions_are_closed(whole):
    solutions = whole.select(".solution.dropdown")
    assert len(solutions) > 60
    assert [s for s in solutions if "toggle-hidden" not in s["class"]] == []


def test_the_last_pdf_had_everything_it_needs(whole):
    """What `make pdf` wrote down of it: an outline of these pages, fonts that came along, links that lead."""
    log = json.loads(LOG.read_text(encoding="utf-8"))
    titles = headings(str(whole), "article h1")
    assert [title for title in log["contents"] if title in titles] == titles
    assert log["not embedded"] == log["links nowhere"] == []
    assert log["links inside"] > 1000
    assert 1_000_000 < log["bytes"] <= 25_000_000
