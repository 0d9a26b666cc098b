"""The built book: every page there, every link live, nothing asked of another host."""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from door import STOPS
from execute import chapters, entries
from links import chapters as linked_chapters
from matplotlib.colors import to_rgb

from selfattention.figures import ROLES
from selfattention.implementations import IMPLEMENTATIONS

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
    paths = [*entries(), *chapters()]
    assert [path.stem for path in paths if not (SITE / f"notebooks/{path.stem}.html").is_file()] == []


def test_a_chinese_page_says_that_it_is(pages):
    """For the voice that reads it out, and for the choice of letters."""
    parts = {
        path.stem: pages[SITE / f"notebooks/{path.stem}.html"].select_one("section") for path in entries()
    }
    languages = {name: part.get("lang") for name, part in parts.items()}
    assert languages == {"entry_en": None, "entry_zh": "zh-Hans"}


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
            folder = SITE if link.path.startswith("/") else path.parent  # the 404 page links from the root
            target = (folder / unquote(link.path).lstrip("/")).resolve() if link.path else path
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


def test_drawings_in_the_page_say_what_they_show(pages):
    drawings = [svg for page in pages.values() for svg in page.select("svg.drawn")]
    assert len(drawings) == 1 + 1 + 8  # the front door, the path, and the first part's chapters
    assert [svg for svg in drawings if len(svg.get("aria-label", "")) < 20] == []


def leads(article, links):
    """Where links of the front page lead, as paths under the site."""
    return [urljoin("book/index.html", a["href"]) for a in article.select(links)]


def test_the_front_page_has_three_doors_and_the_path(pages):
    front = pages[SITE / "book/index.html"].article
    doors = front.select(".front-grid")[0]
    titles = [title.get_text(strip=True) for title in doors.select(".sd-card-title")]
    assert titles == ["Read →", "Touch →", "Run →"]
    assert leads(doors, "a.sd-stretched-link") == [
        "notebooks/01_formula.html",
        "book/whole_formula.html",
        "book/index.html#how-to-run",
    ]
    assert set(leads(front, "svg.path a")) == {f"notebooks/{notebook}.html" for notebook in STOPS}


def test_the_front_page_leads_who_came_for_something(pages):
    answers = pages[SITE / "book/index.html"].article.select_one("section#i-came-for")
    led = [{*leads(answer, "a")} for answer in answers("p")]
    expected = ["04_scaling", "08_heads", "10_masks", "is_my_attention_right", "18_dialects", "map"]
    assert len(led) == len(expected)
    for places, name in zip(led, expected, strict=True):
        assert places & {f"notebooks/{name}.html", f"book/{name}.html"}


def test_the_letters_of_the_front_formula_have_the_colours_of_their_roles(pages):
    formula = pages[SITE / "book/index.html"].article.select_one("svg.door-formula")
    moving = formula.select("[data-moves]")
    assert [letter["data-moves"] for letter in moving] == ["O", "Q", "K", "V"]
    for letter in moving:
        assert f"role-{letter['data-moves'].lower()}" in letter["class"]


@pytest.mark.parametrize("notebook", STOPS)
def test_a_chapter_on_the_path_opens_with_a_drawing(pages, notebook):
    article = pages[SITE / f"notebooks/{notebook}.html"].article
    drawing = article.select_one("svg.drawn")
    assert drawing.find_previous(class_="cell_input") is None
    assert drawing.parent.select_one('figcaption a[href$="whole_formula.html"]')


def first_part():
    """The pages of the first part whose chapters have numbers, as the table of contents has them."""
    contents = yaml.safe_load((SITE.parents[1] / "_toc.yml").read_text(encoding="utf-8"))
    part, *_ = [part for part in contents["parts"] if part.get("numbered")]
    return [chapter["file"] for chapter in part["chapters"]]


@pytest.mark.parametrize("file", first_part())
def test_a_chapter_of_the_first_part_has_room_to_read(pages, file):
    """At most 25 cells of code are open; the others are a line each, and open without scripts."""
    inputs = pages[SITE / f"{file}.html"].article.select("div.cell_input")
    folded = [cell for cell in inputs if cell.parent.name == "details"]
    solved = [cell for cell in inputs if cell.find_parent(class_="solution")]
    assert folded
    assert all(cell.parent.summary.get_text(strip=True) for cell in folded)
    assert not any(cell in solved for cell in folded)
    assert len(inputs) - len(folded) - len(solved) <= 25


def test_every_chapter_leads_to_the_whole_formula(pages):
    """Under its first labelled equation."""
    for chapter in linked_chapters():
        page = pages[SITE / f"notebooks/{chapter.notebook}.html"]
        links = page.select('.formula-links a[href$="book/whole_formula.html"]')
        assert len(links) == bool(chapter.equations), chapter.notebook


def test_every_equation_links_to_its_function_and_tests(pages):
    for chapter in linked_chapters():
        lines = pages[SITE / f"notebooks/{chapter.notebook}.html"].find_all(class_="formula-links")
        assert len(lines) == len(chapter.equations) + len(chapter.claims)
        for line in lines:
            links = [tag["href"] for tag in line.find_all("a")]
            assert any("tests.html#test-" in link for link in links)
            assert any("map.html" in link for link in links)


def test_letters_in_headings_are_mathematics_in_the_menus_as_well(pages):
    """√d_k and W_O are set wherever a menu repeats the heading, and text in the window's title."""
    raw = re.compile(r"(?<![\w.])[A-Za-z]_\w")
    for path, page in pages.items():
        if "_modules" in path.parts or "_sources" in path.parts:
            continue
        headings = page.select(
            "article :is(h1, h2, h3), .bd-sidebar-primary a, .page-toc a, .prev-next-title"
        )
        assert [tag.get_text() for tag in headings if raw.search(tag.get_text()) and not tag.code] == [], path
    chapter = pages[SITE / "notebooks/04_scaling.html"]
    assert chapter.title.get_text().startswith("Divide by √d_k, and")
    assert [str(tag) for tag in chapter.select("article h1 .radicand")] == [
        '<span class="radicand"><em>d</em><sub>k</sub></span>'
    ]
    assert chapter.select(".bd-sidebar-primary .current .radicand")


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


# The reference ----------------------------------------------------------------------------------------


def reference(pages):
    """The page of each module -> the names that it lists, as they stand in its import."""
    folder = SITE / "book/api"
    found = {path: page for path, page in pages.items() if folder in path.parents}
    assert len(found) > 25
    return {path.relative_to(folder).with_suffix("").as_posix(): page for path, page in found.items()}


def test_every_door_of_the_package_has_a_page_and_a_line_in_the_index(pages):
    shown = reference(pages)
    src = SITE.parents[1] / "src/selfattention"
    inner = {"__init__", "notation", "printed"}  # the letters have a page of their own
    doors = {path.stem for path in src.glob("*.py")} - inner
    doors |= {f"formulas/{chapter.word}" for chapter in linked_chapters()}
    doors |= {f"implementations/{implementation.name}" for implementation in IMPLEMENTATIONS.values()}
    for room in ("parallel", "trained"):
        doors |= {f"{room}/{path.stem}" for path in (src / room).glob("[!_]*.py")}
    assert doors <= shown.keys()
    index = pages[SITE / "book/api.html"]
    lines = {tag["href"]: tag.parent.get_text() for tag in index.select("article li a[href^=api]")}
    assert lines.keys() == {f"api/{name}.html" for name in shown}
    assert [line for line in lines.values() if not line.partition(": ")[2]] == []


def test_the_reference_keeps_internals_out_of_sight(pages):
    for name, page in reference(pages).items():
        listed = [tag.get_text() for tag in page.select("dt.sig .sig-name")]
        assert [word for word in listed if word.startswith("_") and word != "__call__"] == [], name
        assert listed or name == "check", name


@pytest.mark.parametrize("name", sorted({i.name for i in IMPLEMENTATIONS.values()}))
def test_the_reference_shows_the_call_that_works(pages, name):
    page = reference(pages)[f"implementations/{name}"]
    calls = [tag.get_text().partition("[source]")[0].strip() for tag in page.select("dt.sig")]
    options = "mask=None, bias=None, scale=None, softcap=None, sink=None"
    steps = hasattr(import_module(f"selfattention.implementations.{name}"), "steps")
    assert sorted(calls) == [
        f"attention(Q, K, V, *, {options})",
        f"attention_backward(dO, Q, K, V, O, L, *, {options})",
        *["steps(K, V, *, mask=causal, scale=None, softcap=None, sink=None)"] * steps,
    ]


# The look: one palette --------------------------------------------------------------------------------


def palette(selector):
    """The colours that book.css sets under a selector: variable -> red, green, blue from 0 to 1."""
    sheet = (SITE / "_static/book.css").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^{re.escape(selector)} \{{(.*?)\}}", sheet, re.DOTALL | re.MULTILINE)
    return {name: to_rgb(value) for name, value in re.findall(r"--([\w-]+): (#\w{6});", block)}


def contrast(a, b):
    """WCAG 2.2: (brighter + 0.05) / (darker + 0.05) in relative luminance."""

    def luminance(colour):
        c = np.asarray(colour)
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    darker, brighter = sorted([luminance(a), luminance(b)])
    return (brighter + 0.05) / (darker + 0.05)


def test_the_colours_of_the_roles_are_the_figures_colours():
    light = palette(":root")
    assert {role: light[f"role-{role.lower()}"] for role in ROLES} == {r: to_rgb(c) for r, c in ROLES.items()}


@pytest.mark.parametrize(
    ("selector", "grounds"),
    [(":root", ["#ffffff", "#f3f4f5"]), ('html[data-theme="dark"]', ["#121212", "#29313d"])],
)
def test_the_letters_of_the_roles_can_be_read(selector, grounds):
    """WCAG 2.2 AA: 4.5 to 1, on the page and on its boxes, in light and in dark."""
    letters = {name: colour for name, colour in palette(selector).items() if name.endswith("-text")}
    assert len(letters) == len("QKVAO")
    for name, colour in letters.items():
        for ground in grounds:
            assert contrast(colour, to_rgb(ground)) >= 4.5, (name, ground)


def test_every_icon_on_a_page_is_in_the_cut_font(pages):
    drawn = set(
        re.findall(r"\.fa-([\w-]+)::before", (SITE / "_static/icons.css").read_text(encoding="utf-8"))
    )
    styles = {"solid", "regular", "brands", "lg"}
    for path, page in pages.items():
        for icon in page.find_all(class_=re.compile("^fa-")):
            assert {c[3:] for c in icon["class"] if c.startswith("fa-")} - styles <= drawn, (path.name, icon)


# What needs an address: a book of two pages, built as the publishing workflow builds it ---------------

ADDRESS, REPOSITORY, REVISION = "https://host.example/course/", "https://github.com/someone/course", "abc123"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    for name in ("book", "src", "tests", "notebooks", "_config.yml"):
        source = SITE.parents[1] / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        else:
            shutil.copy(source, root)
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/05_softmax\n", encoding="utf-8"
    )
    addresses = {"BOOK_URL": ADDRESS, "REPOSITORY_URL": REPOSITORY, "REVISION": REVISION}
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "--quiet"]
    environment = {**os.environ, **addresses, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root / "_build"


def parsed(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_published_pages_have_cards_with_a_picture(published):
    for name in ("index.html", "book/index.html", "notebooks/05_softmax.html"):
        page = parsed(published / "html" / name)
        card = {tag["property"]: tag["content"] for tag in page.find_all("meta", property=True)}
        assert card["og:site_name"] == "Self-attention, one formula at a time"
        assert len(card["og:description"]) > 80
        assert "\\" not in card["og:description"]
        assert len(card["og:image:alt"]) > 20
        assert card["og:image"].startswith(ADDRESS)
        assert (published / "html" / card["og:image"].removeprefix(ADDRESS)).is_file()


def test_published_sitemap_names_every_page(published):
    text = (published / "html/sitemap.xml").read_text(encoding="utf-8")
    pages = {f"{ADDRESS}{page}.html" for page in ("book/index", "notebooks/05_softmax")}
    assert set(re.findall(r"<loc>(.*?)</loc>", text)) == pages


def test_published_404_finds_its_files_from_any_path(published):
    page = parsed(published / "html/404.html")
    links = [tag["href"] for tag in page.find_all(["a", "link"], href=True)]
    inside = [link for link in links if not link.startswith(("#", "https://"))]
    assert inside
    assert [link for link in inside if not link.startswith("/course/")] == []


def test_published_chapters_open_in_colab_and_binder(published):
    """The buttons name notebooks that the launch branch has; they are students', and install this commit."""
    links = [
        tag["href"] for tag in parsed(published / "html/notebooks/05_softmax.html").find_all("a", href=True)
    ]
    path = "notebooks/05_softmax.ipynb"
    assert f"https://colab.research.google.com/github/someone/course/blob/launch/{path}" in links
    assert f"https://mybinder.org/v2/gh/someone/course/launch?urlpath=lab/tree/{path}" in links
    launched = {p.stem for p in (published / "launch/notebooks").iterdir()}
    assert launched == {p.stem for p in [*entries(), *chapters()]}

    notebook = nbformat.read(published / "launch" / path, as_version=4)
    nbformat.validate(notebook)
    (install,) = [cell for cell in notebook.cells if cell.id == "install-the-course"]
    assert f"{REPOSITORY}@{REVISION}" in install.source
    assert "torch" in install.source.splitlines()[-1]
    text = "\n".join(cell.source for cell in notebook.cells)
    assert ":::" not in text
    assert "**Solution**" not in text
    assert f"]({ADDRESS}notebooks/05_softmax.html" in text


def test_a_page_s_download_is_the_notebook_that_colab_opens(published):
    path = "notebooks/05_softmax.ipynb"
    page = parsed(published / "html/notebooks/05_softmax.html")
    assert f"../_sources/{path}" in {tag["href"] for tag in page.find_all("a", href=True)}
    download, launched = published / "html/_sources" / path, published / "launch" / path
    assert download.read_bytes() == launched.read_bytes()
