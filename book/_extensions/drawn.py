"""Pieces of drawings as SVG that stands in the page itself: the page's style colours it, by day and by night.

Letters of formulas are paths: no font has to arrive before them. A matrix has its numbers in its cells, in
the colour of its role, as `selfattention.figures.matrix` draws it. Everything is a string, and `book.css`
knows its classes.
"""

from functools import cache
from html import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath, text_to_path

CELL = 30, 22  # a number's room, wide and high
COMMANDS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}  # matplotlib's codes


def number(x, decimals=0):
    """ "−0.5": a minus sign, no "−0", and no zeros behind the last figure that counts."""
    text = f"{round(float(x), decimals) + 0.0:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals else text).replace("-", "−")


def percent(share):
    return f"{100 * share:.0f} %"


def tag(name, *inside, **attributes):
    """An element; `class_` is its class, and `stroke_width` the attribute stroke-width."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    written = "".join(f' {names[key]}="{escape(_short(value))}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(inside)}</{name}>"


def _short(value):
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def picture(width, height, *inside, alt, class_="drawn"):
    """The whole drawing; `alt` is what it says to who cannot see it."""
    size = {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    return tag("svg", *inside, class_=class_, role="img", aria_label=alt, **size)


def group(*inside, **attributes):
    return tag("g", *inside, **attributes)


def words(text, x, y, anchor="start", **attributes):
    return tag("text", escape(text), x=float(x), y=float(y), text_anchor=anchor, **attributes)


@cache
def letters(tex, size=18):
    """A formula in matplotlib's TeX as (path data with the base line at zero, width)."""
    with rc_context({"mathtext.fontset": "cm"}):
        outline = TextPath((0, 0), f"${tex}$", size=size)
        width, _, _ = text_to_path.get_text_width_height_descent(f"${tex}$", FontProperties(size=size), True)
    steps = []
    for points, code in outline.iter_segments(simplify=False, curves=True):
        flipped = np.reshape(points, (-1, 2)) * (1, -1)
        places = "" if code == 79 else " ".join(_short(float(z)) for z in flipped.ravel())
        steps.append(COMMANDS[code] + places)
    return "".join(steps), width


def formula(tex, x, y, size=18, anchor="start", role="", **attributes):
    """A formula on the base line y; its role is the colour."""
    data, width = letters(tex, size)
    left = x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
    classes = f"letters {f'role-{role.lower()}' if role else ''}".strip()
    return tag("path", d=data, class_=classes, transform=f"translate({left:.2f} {y:.2f})", **attributes)


def matrix(M, role, x, y, *, title="", rows=(), columns=(), decimals=0, lit=(), cell=CELL):
    """A matrix with its upper left cell at (x, y); around the cells (i, j) of `lit` is a frame."""
    wide, high = cell
    most = np.abs(M).max() or 1
    drawn, framed = [], sorted(lit)
    for (i, j), z in np.ndenumerate(M):
        place = {"x": float(x + j * wide + 1), "y": float(y + i * high + 1)}
        box = {"width": wide - 2, "height": high - 2, "rx": 2}
        classes = "cell negative" if z < 0 else "cell"
        drawn.append(tag("rect", **place, **box, class_=classes, style=f"--share:{abs(z) / most:.3f}"))
        middle = x + (j + 0.5) * wide, y + (i + 0.5) * high + 4
        drawn.append(words(number(z, decimals), *middle, "middle", class_="number"))
    if framed:
        (top, left), (bottom, right) = framed[0], framed[-1]
        size = {"width": (right - left + 1) * wide, "height": (bottom - top + 1) * high, "rx": 3}
        drawn.append(tag("rect", x=float(x + left * wide), y=float(y + top * high), **size, class_="lit"))
    for i, name in enumerate(rows):
        drawn.append(words(name, x - 5, y + (i + 0.5) * high + 4, "end"))
    for j, name in enumerate(columns):
        drawn.append(words(name, x + (j + 0.5) * wide, y - 5, "middle", class_="small"))
    if title:
        raised = 22 if len(columns) else 8
        drawn.append(formula(title, x + M.shape[1] * wide / 2, y - raised, 15, "middle", role))
    return group(*drawn, class_=f"role-{role.lower()}")


def arrow(x1, y1, x2, y2, **attributes):
    """A thin line with a point at its end."""
    way = np.array([x2 - x1, y2 - y1])
    along = way / np.hypot(*way)
    across = np.array([-along[1], along[0]])
    base = np.array([x2, y2]) - 6 * along
    (ax, ay), (bx, by) = base + 3.5 * across, base - 3.5 * across
    head = f"M{x2:.1f} {y2:.1f}L{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}Z"
    line = f"M{x1:.1f} {y1:.1f}L{base[0]:.1f} {base[1]:.1f}"
    return group(
        tag("path", d=line, class_="line"), tag("path", d=head, class_="point"), class_="arrow", **attributes
    )


# The whole formula, of which a chapter lights its part ------------------------------------------------

PARTS = {  # how each is read out
    "heads": "the heads",
    "Y": "Y",
    "softmax": "softmax",
    "Q": "Q",
    "K": "K",
    "root": "the division by √d_k",
    "V": "V",
    "W_O": "W_O",
}
FRAME = 310, 82


def frame(lit=tuple(PARTS), around=lambda part, drawn: drawn):
    """Y = softmax(QKᵀ / √d_k) V W_O, 310 wide and 82 high, what is not lit pale.

    `around` may wrap a part: a link, on the page that has one for each.
    """
    line = 43  # the base line
    fraction = 125, 193  # where its line begins and ends
    big = {"transform": "translate({} 47.5) scale(1.15 2.1)"}

    def bracket(character, x):
        data, _ = letters(character, 20)
        return tag("path", d=data, class_="letters", transform=big["transform"].format(x))

    pieces = {
        "heads": _sheets(),
        "Y": formula("Y", 4, line, 20) + formula("=", 25, line, 20),
        "softmax": formula(r"\mathrm{softmax}", 112, line, 16, "end") + bracket("(", 113) + bracket(")", 197),
        "Q": formula("Q", 136, 33, 20, role="Q"),
        "K": formula("K", 153, 33, 20, role="K") + formula(r"\mathsf{T}", 173, 26, 12),
        "root": tag("path", d=f"M{fraction[0]} 40H{fraction[1]}", class_="line")
        + formula(r"\sqrt{d_k}", 159, 60, 17, "middle"),
        "V": formula("V", 212, line, 20, role="V"),
        "W_O": formula("W_O", 256, line, 20),
    }
    return group(
        *(
            around(part, group(piece, class_=f"part {'lit' if part in lit else 'pale'}", data_part=part))
            for part, piece in pieces.items()
        ),
        class_="frame",
    )


def _sheets():
    """Behind softmax(…)V two more of the same: the heads."""
    sheets = [
        tag("rect", x=50 + 4 * k, y=8 - 3 * k, width=186, height=60, rx=5, class_="sheet") for k in (2, 1, 0)
    ]
    return "".join(sheets) + words("h heads", 236, 80, "end", class_="small")
