"""The built book as one page, and that page as a PDF: `make pdf`.

The articles of _build/html follow one another in the order of the contents. What a page calls `some-id`
is called `page--some-id` here, so that a link from one chapter into another becomes one within the page.
Links to what the PDF leaves out, as the reference of functions, keep their text, and lead to the site
where its address is known (BOOK_URL). Hints and solutions are closed, as on any paper.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
PDF = ROOT / "_build/selfattention.pdf"
LOG = Path(__file__).with_name("log.json")  # what the last PDF held
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BOOK_URL = os.environ.get("BOOK_URL", "")
LEFT_OUT = ("book/api", "book/tests", "book/map")  # for looking things up, and made of links
CLICKED = (
    "script, noscript, button, .headerlink, .formula-links, .try, .widget-stage, .by-night, .prev-next-footer"
)


def pages(site=SITE):
    """The pages of the book in the order of its contents, as paths under the site without their ending."""
    index = BeautifulSoup((site / "book/index.html").read_text("utf-8"), "html.parser")
    links = [a["href"] for a in index.select(".bd-links a.internal[href]")]
    found = [urldefrag(urljoin("book/index.html", link))[0].removesuffix(".html") for link in links]
    found = dict.fromkeys(["book/index", *(page for page in found if page != "book/index")])
    return [page for page in found if not page.startswith(LEFT_OUT)]


def one_page(site=SITE):
    """The text of the page, which is to lie at the root of the site."""
    names = pages(site)
    read = {name: BeautifulSoup((site / f"{name}.html").read_text("utf-8"), "html.parser") for name in names}
    whole = read[names[0]]
    articles = [article(name, page, names) for name, page in read.items()]
    contents = list(contents_of(articles, whole))
    head = whole.head
    for tag in head.select("[href], [src]"):
        for key in {"href", "src"} & set(tag.attrs):
            tag[key] = urljoin("book/index.html", tag[key])
    for script in head.select("script"):
        if not set_formulas(script):
            script.decompose()
    math = [script.extract() for script in whole.body.select("script") if set_formulas(script)]
    whole.body.clear()
    whole.body.append(
        inner := whole.new_tag("main", attrs={"class": "bd-main bd-content bd-article whole-book"})
    )
    inner.extend([articles[0], *contents, *articles[1:]])
    whole.body.extend(math)
    whole.html["data-theme"] = whole.html["data-mode"] = "light"
    return str(whole)


def set_formulas(script):
    """Whether this script sets formulas."""
    return "mathjax" in (script.get("src", "") + script.text).lower()


def article(name, page, names):
    """A page's article, its ids and links turned into those of the one page."""
    found = page.select_one("article.bd-article").extract()
    for tag in found.select(CLICKED):
        tag.decompose()
    for tag in found.select('[id$="-content"]'):
        del tag["id"]  # the same in each of a page's boxes
    for tag in found.select("[id]"):
        tag["id"] = anchor(name, tag["id"])
    found["id"] = anchor(name, "")
    for closed in found.select(".dropdown"):  # hints and solutions, as on any paper
        closed["class"].append("toggle-hidden")
    for tag in found.select("[src]"):
        tag["src"] = urljoin(f"{name}.html", tag["src"])
        tag.attrs.pop("loading", None)  # all of it is printed
    for link in found.select("a[href]"):
        follow(link, name, names)
    return found


def follow(link, name, names):
    """Turn a link of a page into one of the whole."""
    address = urljoin(f"{name}.html", link["href"])
    if ":" in address.partition("/")[0]:
        return
    path, fragment = urldefrag(address)
    page = path.removesuffix(".html")
    if page in names:
        link["href"] = f"#{anchor(page, fragment)}"
    elif BOOK_URL:
        link["href"] = urljoin(BOOK_URL, address)
    elif "sd-stretched-link" in link.get("class", []):
        link.decompose()  # it covers a card, and its text is for those who cannot see that
    else:
        link.unwrap()


def anchor(page, fragment):
    """What a place of a page is called in the whole."""
    return f"{page.replace('/', '-')}--{fragment}"


def contents_of(articles, whole):
    """A list of the chapters and their parts, each a link."""
    yield (heading := whole.new_tag("h1"))
    heading.string = "Contents"
    yield (listed := whole.new_tag("ul", attrs={"class": "whole-contents"}))
    for found in articles:
        for title in found.select("h1, h2"):
            place = title.find_parent(id=True)["id"]
            listed.append(item := whole.new_tag("li", attrs={"class": f"whole-{title.name}"}))
            item.append(link := whole.new_tag("a", href=f"#{place}"))
            link.extend(BeautifulSoup(title.decode_contents(), "html.parser").contents)


def chromium():
    """The path of Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def lacking():
    """What is not here of what it takes to show a page."""
    here = {
        "Chromium": chromium(),
        "Node": shutil.which("node"),
        "npm ci --prefix tests/browser": (ROOT / "tests/browser/node_modules/playwright-core").is_dir(),
    }
    return [name for name, found in here.items() if not found]


def headings(page, which="h1, h2, h3, h4, h5, h6"):
    """The titles on the one page, in order, as words."""
    found = BeautifulSoup(page, "html.parser").select(which)
    return [" ".join(heading.get_text().removesuffix("#").split()) for heading in found]


def finish(path, titles):
    """Write the titles into the PDF's outline, and pack its objects as well as its pictures.

    Chromium names a heading that stands on two lines, or has a number, by its words twice over, without the
    spaces at the ends of lines; and it writes a node for each word, and packs none.
    """
    import pikepdf  # of the extra `pdf`; the page itself needs it not

    pikepdf.settings.set_flate_compression_level(9)
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        with pdf.open_outline() as outline:
            for item, title in zip(_in_order(outline.root), titles, strict=True):
                item.title = title
        packed = pikepdf.ObjectStreamMode.generate
        pdf.save(path, object_stream_mode=packed, recompress_flate=True)


def _in_order(items):
    for item in items:
        yield item
        yield from _in_order(item.children)


def main():
    if absent := lacking():
        sys.exit(f"a PDF needs: {', '.join(absent)}")
    from printed import faults, printed  # needs pikepdf, as `finish` does

    page = PDF.with_suffix(".html")
    text = one_page()
    page.write_text(text, encoding="utf-8")
    print("The book is one page; Chromium prints it, in a minute or three.", flush=True)
    subprocess.run(["node", Path(__file__).with_name("print.mjs"), SITE, page, chromium(), PDF], check=True)
    finish(PDF, headings(text))
    found = printed(PDF)
    LOG.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{PDF.relative_to(ROOT)}, {found['bytes'] / 1e6:.1f} MB, {found['pages']} pages")
    if wrong := faults(found, headings(text, "article h1")):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
