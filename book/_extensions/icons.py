"""The icons that the site shows, cut out of the theme's Font Awesome: 5 KB instead of 1.9 MB.

An icon is used where a page or a script names its class (`fa-moon`), or a style sheet its character.
"""

import re
import shutil

from fontTools import subset
from fontTools.ttLib import TTFont

RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
FACES = {"fa-solid-900": ("Free", 900), "fa-regular-400": ("Free", 400), "fa-brands-400": ("Brands", 400)}
BASE = """\
.fa-solid, .fas, .fa-regular, .far, .fa-brands, .fab { display: inline-block; font: var(--fa-font-solid); }
.fa-regular, .far { font: var(--fa-font-regular); }
.fa-brands, .fab { font: var(--fa-font-brands); }
.fa-lg { font-size: 1.25em; line-height: 0.05em; vertical-align: -0.075em; }
:root {
  --fa-font-solid: normal 900 1em/1 "Font Awesome 6 Free";
  --fa-font-regular: normal 400 1em/1 "Font Awesome 6 Free";
  --fa-font-brands: normal 400 1em/1 "Font Awesome 6 Brands";
}
"""


def cut_out_icons(out):
    """Write `_static/icons.css` and its fonts into the site, and remove Font Awesome from it."""
    whole = out / "_static/vendor/fontawesome"
    if not whole.is_dir():  # Sphinx had no page to write and copied nothing anew: it is cut out already
        return
    (awesome,) = whole.iterdir()
    characters = _characters((awesome / "css/all.min.css").read_text(encoding="utf-8"))
    static = out / "_static"
    files = [*out.rglob("*.html"), *static.glob("styles/*.css"), *static.glob("scripts/*.js")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    named = {name: characters[name] for name in set(re.findall(r"\bfa-([\w-]+)", text)) & characters.keys()}
    escaped = {chr(int(code, 16)) for code in re.findall(r'"\\(f[0-9a-f]{3})"', text)}
    used = {*named.values(), *escaped, *re.findall("[\ue000-\uf8ff]", text)}

    faces = [_face(awesome / f"webfonts/{font}.ttf", used, static) for font in FACES]
    icons = [f'.fa-{name}::before {{ content: "\\{ord(named[name]):x}"; }}\n' for name in sorted(named)]
    (static / "icons.css").write_text(BASE + "".join(faces + icons), encoding="utf-8")
    shutil.rmtree(whole)


def _characters(sheet):
    """Icon name -> character."""
    return {
        name: chr(int(code, 16))
        for selectors, code in RULE.findall(sheet)
        for name in re.findall(r"\.fa-([\w-]+):", selectors)
    }


def _face(path, characters, static):
    """Cut one font down to the given characters; its @font-face rule, or nothing where it has none."""
    font = TTFont(path)
    present = {ord(character) for character in characters} & font.getBestCmap().keys()
    if not present:
        return ""
    cutter = subset.Subsetter(subset.Options(flavor="woff", layout_features=[], notdef_outline=False))
    cutter.populate(unicodes=present)
    cutter.subset(font)
    font.flavor = "woff"
    font.save(static / f"{path.stem}.woff")
    family, weight = FACES[path.stem]
    return (
        f'@font-face {{ font-family: "Font Awesome 6 {family}"; font-weight: {weight}; '
        f'font-display: block; src: url("{path.stem}.woff") format("woff"); }}\n'
    )
