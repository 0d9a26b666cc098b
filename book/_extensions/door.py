"""The front door: the formula, three words with a number each to move, and what follows from them.

What a reader without scripts sees is the same page: `book/widgets/door.mjs` finds everything in its place,
and only writes other numbers into it. So nothing moves when the script comes.
"""

from html import escape

import drawn
import numpy as np
from docutils import nodes
from drawn import formula, frame, group, letters, tag
from plain_tex import plain
from sphinx.util.docutils import SphinxDirective

from selfattention import formulas

FORMULA = r"O = \mathrm{softmax}\!\left(\frac{Q K^{\mathsf T}}{\sqrt{d_k}}\right) V"  # eq. attention


# The widget, as it is before anybody has touched it -----------------------------------------------------


def stage(words, X, W_Q, W_K, W_V, world, moves):
    """The formula, a slider for each word, the weights, values and outputs, and what they say."""
    Q, K, V = formulas.projections(X, W_Q, W_K, W_V)
    A = formulas.softmax(formulas.scaled_scores(Q, K))
    O = formulas.weighted_sum(A, V)
    tables = [
        _table("A", "A, the weights", words, words, A, 2),
        _table("V", "V, the values", words, world, V, 1),
        _table("O", "O = A V", words, world, O, 1),
    ]
    sliders = "".join(_slider(words[move["row"]], X[move["row"], move["column"]], move) for move in moves)
    return (
        f'<div class="door">{_formula()}<div class="door-board">'
        f'<div class="door-words">{sliders}</div><div class="door-matrices">{"".join(tables)}</div></div>'
        f'<p class="widget-says" aria-live="polite">{says(words, world, A, O)}</p></div>'
    )


def says(words, world, A, O):
    """What `cats` does; `door.mjs` says it in the same words."""
    cats, most = 1, int(A[1].argmax())
    whom = "itself" if most == cats else f"“{words[most]}”"
    home = " and ".join(f"{name} {drawn.number(o, 1)}" for name, o in zip(world, O[cats], strict=True))
    share = f"{drawn.percent(A[cats, most])} of its weight"
    return f"“{words[cats]}” gives {share} to {whom}, and takes home {home}."


def _slider(word, value, move):
    about = {"min": 0, "max": move["max"], "step": move["step"], "value": f"{value:g}"}
    attributes = "".join(f' {key}="{number}"' for key, number in about.items())
    name = f"{word}: {move['name']}"
    return (
        f'<label class="door-word"><b>{word}</b><span>{move["name"]}</span>'
        f'<input type="range" name="{word}" aria-label="{name}"{attributes}>'
        f"<output>{drawn.number(value, 1)}</output></label>"
    )


def _table(role, caption, rows, columns, M, decimals):
    """As `matrix` of book/widgets/parts.mjs makes it."""
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(_cell(x, np.abs(M).max(), decimals) for x in row)}</tr>'
        for name, row in zip(rows, M, strict=True)
    )
    return (
        f'<table class="widget-matrix" data-role="{role}" data-name="{role}">'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(x, most, decimals):
    text = f"{x:.2f}" if decimals == 2 else drawn.number(x, decimals)
    return f'<td style="--share: {abs(x) / most:.4g}">{text}</td>'


def _formula():
    """O = softmax(QKᵀ / √d_k) V; under a letter is a line that shows when its matrix has moved."""
    line = 42

    def letter(name, x, y):
        _, width = letters(name, 24)
        mark = tag("path", d=f"M{x - 1:.1f} {y + 7}H{x + width + 1:.1f}", class_="mark")
        piece = formula(name, x, y, 24, role=name) + mark
        return group(piece, class_=f"role-{name.lower()}", data_moves=name)

    def bracket(character, x):
        return tag(
            "path",
            d=letters(character, 22)[0],
            class_="letters",
            transform=f"translate({x} 48) scale(1.2 2.3)",
        )

    return drawn.picture(
        290,
        76,
        letter("O", 2, line),
        formula("=", 28, line, 22),
        formula(r"\mathrm{softmax}", 130, line, 20, "end"),
        bracket("(", 132),
        letter("Q", 158, 28),
        letter("K", 180, 28),
        formula(r"\mathsf{T}", 204, 20, 14),
        tag("path", d="M146 42H226", class_="line"),
        formula(r"\sqrt{d_k}", 186, 66, 20, "middle"),
        bracket(")", 228),
        letter("V", 247, line),
        alt=plain(FORMULA),
        class_="drawn door-formula",
    )


# The path: the parts of the formula, each a link to its chapter -----------------------------------------

STOPS = {  # chapter: (its part of the formula, what it asks, where its name stands, where its line goes)
    "01_formula": ("Y", "the whole", (4, 178, "start"), [(34, 163), (34, 112)]),
    "02_projections": (None, "three views", (92, 22, "middle"), [(104, 28), (166, 74)]),
    "03_scores": ("K", "how alike", (206, 22, "middle"), [(206, 28), (190, 74)]),
    "04_scaling": ("root", "the root", (190, 208, "middle"), [(190, 192), (190, 130)]),
    "05_softmax": ("softmax", "shares of one", (88, 208, "middle"), [(96, 192), (112, 112)]),
    "06_context": ("V", "weighted sum", (300, 208, "middle"), [(290, 192), (250, 112)]),
    "07_output": ("W_O", "map back", (396, 178, "end"), [(360, 163), (312, 112)]),
    "08_heads": ("heads", "many heads", (326, 22, "middle"), [(316, 28), (280, 66)]),
}


def path(root="../notebooks/"):
    """The whole formula with its chapters around it."""
    stops, linked = [], {"Q": "03_scores"}
    for chapter, (part, asks, (x, y, anchor), (start, end)) in STOPS.items():
        number, asked = int(chapter[:2]), escape(asks)
        wide = 8 + 7.2 * len(f"{number} {asks}")
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        label = tag("rect", x=left, y=float(y - 19), width=wide, height=28, rx=4, class_="room")
        name = f'<tspan class="count">{number}</tspan> {asked}'
        label += f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="word">{name}</text>'
        leader = tag("path", d="M{} {}L{} {}".format(*start, *end), class_="leader")
        stops.append(leader + _link(root, chapter, asks, label))
        linked |= {part: chapter} if part else {}

    def around(part, piece):
        chapter = linked[part]
        return _link(root, chapter, STOPS[chapter][1], piece, hidden=True)

    whole = group(frame(around=around), transform="translate(28 58)")
    size = {"viewBox": "0 0 400 222", "width": 400, "height": 222}
    about = {
        "class_": "drawn path",
        "role": "group",
        "aria_label": "The formula, and the chapter of each part",
    }
    return tag("svg", *stops, whole, **size, **about)


def _link(root, chapter, asks, inside, hidden=False):
    """A part is the second link to its chapter: for the pointer; the keyboard has the first."""
    address, name = f"{root}{chapter}.html", f"Chapter {int(chapter[:2])}: {asks}"
    unsaid = {"aria_hidden": "true", "tabindex": -1} if hidden else {"aria_label": name}
    return tag("a", inside, href=address, **unsaid)


class Path(SphinxDirective):
    """The chapters of the first part as a picture of the formula."""

    def run(self):
        return [nodes.raw("", f'<figure class="thought">{path()}</figure>', format="html")]


def setup(app):
    app.add_directive("path", Path)
    return {"parallel_read_safe": True}
