"""Sphinx: what the pages ask of a browser, and what readers expect of a site.

- MathJax from its package, icons and styles cut out of the theme's: no page asks another host for anything,
  or loads a script for a feature that is off;
- the students' notebooks to download;
- what needs an address, where the publishing workflow names it: sitemap, social cards, launch buttons.
"""

import os
import re
import shutil
from html import escape
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from urllib.parse import urljoin, urlsplit

from docutils import nodes
from icons import cut_out_icons
from launch import BRANCH, write_downloads, write_launch_copies
from styles import cut_out_styles

BOOK_URL = os.environ.get("BOOK_URL", "")  # where the site will be: https://host/path/
REPOSITORY_URL = os.environ.get("REPOSITORY_URL", "")
REVISION = os.environ.get("REVISION", "HEAD")  # the commit that the launched notebooks install

OFF = re.compile("thebe|design-tabs", re.IGNORECASE)
OTHER_LANGUAGES = {"notebooks/entry_zh": "zh-Hans"}
REDIRECT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url={start}">
{cards}<title>{title}</title></head>
<body><main><h1>{title}</h1><p><a href="{start}">The book begins here.</a></p></main></body></html>
"""


def drop_what_is_off(app, pagename, templatename, context, doctree):
    """Jupyter Book loads Thebe on every page, live code or not, and a script for tabs, which no page has."""
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not OFF.search(_wording(file))]


def mend_markup(app, pagename, templatename, context, doctree):
    """Sphinx's list of modules has lists between its items; its references have roles that ARIA dropped."""
    if pagename == "_modules/index":
        title, _, rest = context["body"].partition("<ul>")
        context["body"] = f"{title}<ul>{re.sub('</?ul>', '', rest)}</ul>"
    if "citation-list" in context.get("body", ""):
        context["body"] = re.sub(r' role="(doc-biblioentry|list)"', "", context["body"])


def say_the_language(app, pagename, templatename, context, doctree):
    """A page that is not in the book's language says so, to the voice that reads it and for its letters."""
    if pagename in OTHER_LANGUAGES:
        language = f'<section lang="{OTHER_LANGUAGES[pagename]}" '
        context["body"] = context["body"].replace("<section ", language, 1)


def _wording(file):
    return f"{file.filename} {file.attributes.get('body', '')}"


def fill_the_card(app, pagename, templatename, context, doctree):
    """A page's social card: its own first figure, or the whole formula; its first words without TeX."""
    if not doctree:
        return
    card = {"og:description": _first_words(doctree)}
    picture = doctree.next_node(nodes.image)
    if picture and picture["uri"] in app.builder.images:
        file = f"{app.builder.imagedir}/{app.builder.images[picture['uri']]}"
        card |= {"og:image": urljoin(BOOK_URL, file), "og:image:alt": picture.get("alt", "")}
    context["meta"] = {**(context["meta"] or {}), **card}
    description = escape(card["og:description"])
    context["metatags"] += f'<meta name="description" content="{description}" />\n'


def _first_words(doctree):
    """The first paragraph that is one, and has no formula; a page of tables has only its title."""
    texts = [p.astext() for p in doctree.findall(nodes.paragraph) if not p.next_node(nodes.math)]
    title = doctree.next_node(nodes.title)
    long = (" ".join(text.split()) for text in texts if len(text) > 80)
    return shorten(next(long, title.astext()), 200, placeholder=" …")


def take_addresses(app, config):
    """The site's address and the repository's, known to the workflow that publishes, and to nobody else."""
    config.html_baseurl = config.ogp_site_url = BOOK_URL
    config.notfound_urls_prefix = urlsplit(BOOK_URL).path or "/"
    config.html_context["default_mode"] = "auto"  # as the reader's system; unset, an error
    if BOOK_URL:
        config.ogp_site_name = config.html_title
        config.ogp_image = "_static/formula.png"
        config.ogp_image_alt = "The whole formula on three words, each matrix with its numbers."
        config.ogp_custom_meta_tags = ['<meta name="twitter:card" content="summary_large_image" />']
    if REPOSITORY_URL:
        config.html_theme_options |= {
            "repository_url": REPOSITORY_URL,
            "repository_branch": BRANCH,
            "use_repository_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
            },
        }


def finish(app, exception):
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    copy_mathjax(out)
    cut_out_icons(out)
    cut_out_styles(out)
    for template in (out / "_static").glob("*macros.html"):
        template.unlink()  # the theme's own sources, no pages
    write_front_door(out, app)
    write_downloads(out, REPOSITORY_URL, REVISION)
    if BOOK_URL:
        write_sitemap(out, app.env.found_docs)
    if REPOSITORY_URL:
        write_launch_copies(out.parent / BRANCH, REPOSITORY_URL, REVISION)


def copy_mathjax(out):
    """MathJax and its fonts from the package sphinx-mathjax-offline, without the other 20 MB."""
    source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax"
    target = out / "_static/mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target)
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)


def write_front_door(out, app):
    """index.html sends on to the first page, and shows that page's card where only cards are read."""
    start = f"{app.config.root_doc}.html"
    page = (out / start).read_text(encoding="utf-8")
    cards = re.findall(r'<meta (?:property="og:|name="description")[^>]*>\n', page)
    text = REDIRECT.format(start=start, cards="".join(cards), title=escape(app.config.html_title))
    (out / "index.html").write_text(text, encoding="utf-8")


def write_sitemap(out, pages):
    addresses = [f"{urljoin(BOOK_URL, page)}.html" for page in sorted(pages)]
    urls = "".join(f"<url><loc>{escape(address)}</loc></url>\n" for address in addresses)
    (out / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n',
        encoding="utf-8",
    )


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.setup_extension("notfound.extension")
    if BOOK_URL:
        app.connect("html-page-context", fill_the_card, priority=400)
        app.setup_extension("sphinxext.opengraph")
    app.connect("config-inited", take_addresses)
    app.connect("html-page-context", drop_what_is_off, priority=900)
    app.connect("html-page-context", mend_markup)
    app.connect("html-page-context", say_the_language)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
