"""The built book: every page there, every link live, nothing asked of another host."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from execute import chapters
from links import chapters as linked_chapters

SITE = Path(__file__).parents[1] / "_build/html"
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def pages():
    assert SITE.is_dir(), "build the book first: make book"
    found = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in SITE.rglob("*.html")
    }
    assert len(found) > len(chapters())
    return found


def test_every_chapter_is_a_page():
    assert [path.stem for path in chapters() if not (SITE / f"notebooks/{path.stem}.html").is_file()] == []


def test_pages_load_nothing_from_other_hosts(pages):
    loads = {
        (path.name, tag[attribute])
        for path, page in pages.items()
        for name, attribute in LOADS.items()
        for tag in page.find_all(name, **{attribute: True})
        if not (name == "link" and "canonical" in tag.get("rel", []))
    }
    assert loads
    assert {
        load for load in loads if urlsplit(load[1]).scheme in ("http", "https") or load[1].startswith("//")
    } == set()


def test_every_internal_link_and_anchor_is_there(pages):
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    dead = []
    for path, page in pages.items():
        for tag in page.find_all("a", href=True):
            link = urlsplit(tag["href"])
            if link.scheme or link.netloc or tag["href"] in ("#", ""):
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            known = anchors.get(target)
            if not target.is_file() or (
                link.fragment and known is not None and unquote(link.fragment) not in known
            ):
                dead.append((path.name, tag["href"]))
    assert dead == []


def test_math_is_set_by_a_mathjax_of_our_own(pages):
    page = pages[SITE / "notebooks/05_softmax.html"]
    (script,) = [tag["src"] for tag in page.find_all("script", src=True) if "mathjax" in tag["src"].lower()]
    mathjax = (SITE / "notebooks" / urlsplit(script).path).resolve()
    assert mathjax.is_file()
    assert list((mathjax.parent / "output/chtml/fonts/woff-v2").glob("*.woff"))


def test_the_map_links_every_equation_and_claim(pages):
    links = [tag["href"] for tag in pages[SITE / "book/map.html"].find_all("a", href=True)]
    for chapter in linked_chapters():
        page = f"../notebooks/{chapter.notebook}.html#"
        wanted = [f"equation-eq-{label}" for label in chapter.equations]
        wanted += [f"claim-{label}" for label in chapter.claims]
        assert [name for name in wanted if page + name not in links] == []


def test_every_picture_on_a_page_says_what_it_shows(pages):
    for path, page in pages.items():
        for image in page.find_all("img"):
            alt = image.get("alt", "")
            assert len(alt) > 20 or "logo" in image.get("class", []), (path.name, image.get("src"))
            assert not alt.endswith((".png", ".svg")), path.name


def test_every_equation_links_to_its_function_and_tests(pages):
    for chapter in linked_chapters():
        lines = pages[SITE / f"notebooks/{chapter.notebook}.html"].find_all(class_="formula-links")
        assert len(lines) == len(chapter.equations) + len(chapter.claims)
        for line in lines:
            links = [tag["href"] for tag in line.find_all("a")]
            assert any("tests.html#test-" in link for link in links)
            assert any("map.html" in link for link in links)


def test_no_raw_tex_or_markup_is_left_in_the_prose(pages):
    for path, page in pages.items():
        if "_modules" in path.parts:
            continue
        for tag in page.find_all(["pre", "code", "script", "style"]):
            tag.extract()
        for maths in page.find_all(class_="math"):
            maths.extract()
        text = page.get_text()
        for left in ("$$", "{doc}", "{eq}", "{cite", "{prf:", ":::", "\\mathsf", "\\frac"):
            assert left not in text, (path.name, left)
