"""Sphinx: every figure twice, dark ink by day and light ink by night.

Notebooks draw on white paper. Here a drawing is taken apart into paper, which becomes transparent, and ink,
which is laid on whatever is behind it: black becomes light, a role's colour the one that it has by night
(book.css), a tint of it the same share of that. Letters on a strong colour stay black, and in a cell with the
tag `photograph` what is no drawing stays what it is.

Both are WebP without loss: pixel for pixel the notebook's PNG, in two thirds of its bytes by day and half by
night. The PNG stays beside them for social cards.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image
from scipy.ndimage import find_objects, label, uniform_filter
from sphinx.transforms.post_transforms import SphinxPostTransform

from selfattention.figures import LUMINANCE, ROLES, SERIES

CSS = Path(__file__).parents[1] / "_static" / "book.css"
LETTER_ROOM = 19  # pixels around a letter that say on what it stands
LIGHT = 0.88  # of black, by night


def night_colours():
    """{colour by day: red, green, blue in the dark theme}, of roles and of series, which book.css numbers."""
    (dark,) = re.findall(r'html\[data-theme="dark"\] \{(.*?)\}', CSS.read_text("utf-8"), re.DOTALL)
    found = dict(re.findall(r"--((?:role|series)-\w): (#\w{6});", dark))
    by_day = {f"role-{role.lower()}": colour for role, colour in ROLES.items()}
    by_day |= {f"series-{number}": colour for number, colour in enumerate(SERIES)}
    return {colour: rgb(found.get(name, colour)) for name, colour in by_day.items()}


def rgb(colour):
    """#rrggbb as three numbers from 0 to 1."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def at_night(colours, drawn):
    """Red, green, blue and opacity (high, wide, 4) of a drawing on white; all from 0 to 1.

    colours (c, 3) are those that it was drawn in, drawn (high, wide) which of them each pixel has.
    """
    ink, opacity = taken_apart(colours)
    black = is_black(colours)
    bright = ~black & (opacity * (ink @ LUMINANCE) > 0.4)
    stays = black[drawn] & on_bright(bright[drawn], black[drawn])
    night = np.where(stays[..., None], 0, ink[drawn])
    return np.concatenate([night, opacity[drawn][..., None]], -1)


def taken_apart(colours):
    """Ink (…, 3) and opacity (…): of what colour, and how much of it, a colour (…, 3) on white paper is."""
    opacity = 1 - colours.min(-1, keepdims=True)
    ink = (colours - 1 + opacity) / np.where(opacity > 0, opacity, 1)
    ink = np.clip(ink + (1 - ink.max(-1, keepdims=True)) * LIGHT, 0, 1)  # black is the lack of all three
    absent = 1 - colours
    far = np.linalg.norm(absent, axis=-1, keepdims=True)
    for day, night in night_colours().items():
        whole = 1 - rgb(day)
        if np.ptp(whole) == 0:
            continue  # grey is a thin black
        alike = (absent @ whole)[..., None] / np.maximum(far * np.linalg.norm(whole), 1e-9)
        tint = np.clip((alike - 0.992) / 0.005, 0, 1)  # 1 on the line from white to the role's colour
        share = np.minimum(far / np.linalg.norm(whole), 1)
        ink, opacity = ink + tint * (night - ink), opacity + tint * (share - opacity)
    return ink, opacity[..., 0]


def is_black(colours):
    """Letters and lines: dark, and of no colour that one could name."""
    return (colours.max(-1) < 0.55) & (np.ptp(colours, axis=-1) < 0.12)


def on_bright(bright, black):
    """Where most of what lies around and is not itself black is bright."""
    around = uniform_filter((~black).astype(np.float32), LETTER_ROOM)
    shining = uniform_filter(bright.astype(np.float32), LETTER_ROOM)
    return shining > 0.6 * np.maximum(around, 0.05)


def photographs(drawn):
    """Boxes (pairs of slices) that are filled with other colours than white, of a drawing (high, wide, 3)."""
    inked, _ = label(drawn.min(-1) < 0.97)
    for number, box in enumerate(find_objects(inked), 1):
        part = inked[box] == number
        if part.size > drawn[..., 0].size / 100 and part.mean() > 0.9:
            yield box


def draw(day, night, *, photographed):
    """Write the night's picture of a PNG."""
    picture = Image.open(day).convert("RGB")
    few = picture.quantize(256, dither=Image.Dither.NONE)
    turned = at_night(np.reshape(few.getpalette(), (-1, 3)) / 255, np.asarray(few))
    seen = np.asarray(picture) / 255
    for box in photographs(seen) if photographed else ():
        turned[box] = np.concatenate([seen[box], np.ones_like(seen[box][..., :1])], -1)
    # In all its colours: Pillow's palettes with opacity lose what is faint, and the paper's being nothing.
    pack(Image.fromarray((turned * 255).round().astype(np.uint8), "RGBA"), night)


def pack(picture, path):
    """Write it as WebP, pixel for pixel, in the fewest bytes that take less than a second to find."""
    picture.save(path, "webp", lossless=True, quality=80, method=5)


def draw_both(png, *, photographed):
    """Beside a PNG its pictures for the page; those that are newer than it are kept."""
    day, night = (png.with_name(name) for name in names(png))
    if night.exists() and night.stat().st_mtime >= png.stat().st_mtime:
        return
    pack(Image.open(png).convert("RGB"), day)
    draw(png, night, photographed=photographed)  # the last, so that it stands for both


def names(png):
    """What the pictures for the page are called, by day and by night."""
    return f"{Path(png).stem}.webp", f"{Path(png).stem}-night.webp"


class figure_twice(nodes.image):
    """A picture that a cell drew: both of its kinds stand on the page, and the theme shows one of them."""


class FiguresTwice(SphinxPostTransform):
    """Finds the pictures that cells drew, and has them drawn for the page."""

    default_priority = 900  # the builder has given the pictures their names

    formats = ("html",)

    def run(self, **kwargs):
        for picture in list(self.document.findall(nodes.image)):
            around = classes_around(picture)
            if around & {"cell_output", "paper"} and picture["uri"] in self.env.images:
                name = self.env.images[picture["uri"]][1]
                self.app.builder.figures[name] = "tag_photograph" in around
                picture.replace_self(figure_twice("", **picture.attributes))


def classes_around(node):
    """The classes of a node and of all that holds it."""
    classes = set()
    while node is not None:
        classes |= set(node.get("classes", ()))
        node = node.parent
    return classes


def write_tags(translator, node):
    """What a reader does not come near is not fetched; the room it takes is known before."""
    builder = translator.builder
    with Image.open(Path(builder.srcdir, node["uri"])) as png:
        width, height = png.size
    shown = int(node["width"].removesuffix("px")) if "width" in node else width
    size = f'width="{shown}" height="{round(shown * height / width)}"'
    alt = escape(node.get("alt", ""), quote=True)
    day, night = (f"{builder.imgpath}/{name}" for name in names(builder.images[node["uri"]]))
    for classes, source in (("by-day", day), ("by-night dark-light", night)):
        translator.body.append(f'<img class="{classes}" src="{source}" alt="{alt}" loading="lazy" {size}>')
    raise nodes.SkipNode


def begin(app):
    app.builder.figures = {}  # name of its PNG: whether it holds photographs


def finish(app, exception):
    if exception or app.builder.format != "html":
        return
    images = Path(app.builder.outdir) / app.builder.imagedir
    with ThreadPoolExecutor() as pool:  # packing leaves Python's lock to others
        drawn = [
            pool.submit(draw_both, images / name, photographed=photographed)
            for name, photographed in app.builder.figures.items()
        ]
    for one in drawn:
        one.result()  # raises what went wrong


def setup(app):
    app.add_node(figure_twice, html=(write_tags, None))
    app.add_post_transform(FiguresTwice)
    app.connect("builder-inited", begin)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
