"""Sphinx: one picture per thought. `thought` draws a chapter's step on three words, before any code.

All eight show the sentence of chapter 01, so the same numbers come by again and again, each computed here by
the package: the whole formula above, the chapter's part of it lit, and what that part does below. Where a
single word is asked about, it is *cats*.
"""

import re
from functools import cache

import drawn
import numpy as np
from docutils import nodes
from drawn import FRAME, PARTS, arrow, formula, frame, group, matrix, number, percent, tag, words
from sphinx.util.docutils import SphinxDirective
from widget_numbers import NUMBERS

from selfattention import formulas

WIDE = 400
TOP = FRAME[1] + 26  # below the formula
CATS = 1  # the row that is looked at
WORDY = 40, 22  # a cell with a word above it


@cache
def sentence():
    """The words, their columns and every matrix on the way from X to Y."""
    given = NUMBERS["formula"]()
    X, W_Q, W_K, W_V, W_O = (given[name] for name in ("X", "W_Q", "W_K", "W_V", "W_O"))
    Q, K, V = formulas.projections(X, W_Q, W_K, W_V)
    S = formulas.scaled_scores(Q, K)
    A = formulas.softmax(S)
    O = formulas.weighted_sum(A, V)
    made = {"raw": formulas.dot_scores(Q, K), "unscaled": formulas.softmax(formulas.dot_scores(Q, K))}
    return {**given, **made, "Q": Q, "K": K, "V": V, "S": S, "A": A, "O": O} | {
        "Y": formulas.output_projection(O, W_O)
    }


def shares(weights):
    """ "57 % to hungry, 14 % to itself and 29 % to purr", of what cats has to give."""
    names = ["itself" if j == CATS else word for j, word in enumerate(sentence()["words"])]
    said = [f"{percent(a)} to {name}" for a, name in zip(weights, names, strict=True)]
    return f"{', '.join(said[:-1])} and {said[-1]}"


def ribbon(x1, y1, x2, y2, thick, role):
    """A band that leaves and arrives level."""
    middle = (x1 + x2) / 2
    d = f"M{x1} {y1:.1f}C{middle} {y1:.1f} {middle} {y2:.1f} {x2} {y2:.1f}"
    return tag("path", d=d, class_=f"ribbon role-{role.lower()}", stroke_width=float(thick))


def row_of_cats(n):
    return {(CATS, j) for j in range(n)}


# The eight steps: each gives the parts that are lit, its height, its drawing, and what it says -----------


def whole():
    """Three words, and what one of them takes from all three."""
    s = sentence()
    A, V, Y = s["A"][CATS], s["V"], s["Y"][CATS]
    rows = TOP + 28 + 40 * np.arange(3)
    drawing = [
        matrix(V, "V", 66, rows[0] - 11, columns=s["columns"]["V"], cell=(38, 40)),
        *(words(word, 60, y + 13, "end", class_="word") for word, y in zip(s["words"], rows, strict=True)),
    ]
    starts = rows + 9
    ends = rows[1] + 9 + 30 * (np.cumsum(A) - A / 2 - 0.5)
    for j, weight in enumerate(A):
        drawing.append(ribbon(146, starts[j], 256, ends[j], 30 * weight, "A"))
        x, y = (172, starts[j] - 10) if j == 0 else (172, starts[j] + 17 if j == 2 else starts[j] - 5)
        drawing.append(words(percent(weight), x, y, class_="share"))
    drawing += [
        matrix(Y[None, 4:], "O", 262, rows[1] - 11, columns=s["columns"]["V"], cell=(38, 40)),
        words("cats", 343, rows[1] + 13, class_="word"),
    ]
    home = f"hunger {number(Y[4])} and sound {number(Y[5])}"
    says = f"Of its attention cats gives {shares(A)}, and so takes home {home}."
    return tuple(PARTS), rows[-1] + 34, drawing, says


def projections():
    """X becomes Q, K and V."""
    s = sentence()
    left, top = 96, TOP + 18
    below = top + 122
    drawing = [
        matrix(
            s["X"], "X", left, top, rows=s["words"], columns=s["columns"]["X"], cell=WORDY, lit=row_of_cats(6)
        ),
        formula("X", left + 6 * WORDY[0] + 8, top + 38, 15),
    ]
    for name, x, n in (("Q", 14, 4), ("K", 154, 4), ("V", 294, 2)):
        middle = x + 15 * n
        start = 200 + (middle - 200) * 0.45
        drawing += [
            arrow(start, top + 72, middle, below - 26),
            formula(f"W_{name}", (start + middle) / 2 + 10, top + 88, 14),
            matrix(s[name], name, x, below, title=name, decimals=1, lit=row_of_cats(n)),
        ]
    q, k, v = (", ".join(number(z, 1) for z in s[name][CATS]) for name in "QKV")
    says = f"From one row, that of cats, come its query ({q}), its key ({k}) and its value ({v})."
    return ("Q", "K", "V"), below + 76, drawing, says


def scores():
    """A row of Q meets a column of Kᵀ."""
    s = sentence()
    left, top = 60, TOP + 116
    right = left + 4 * 30 + 16
    q, k, raw = s["Q"][CATS], s["K"][0], s["raw"][CATS, 0]
    drawing = [
        matrix(s["Q"], "Q", left, top, rows=s["words"], title="Q", decimals=1, lit=row_of_cats(4)),
        matrix(
            s["K"].T, "K", right, top - 96, columns=s["words"], title=r"K^{\mathsf{T}}", cell=(38, 22),
            lit={(b, 0) for b in range(4)},
        ),
        matrix(s["raw"], "S", right, top, decimals=1, cell=(38, 22), lit={(CATS, 0)}),
        formula(r"QK^{\mathsf{T}}", right + 3 * 38 + 10, top + 38, 15),
    ]  # fmt: skip
    terms = " + ".join(f"{number(a, 1)} · {number(b)}" for a, b in zip(q, k, strict=True))
    terms = terms.replace("+ −", "− ")
    says = f"The query of cats meets the key of hungry: {terms} = {number(raw, 1)}."
    return ("Q", "K"), top + 78, drawing, says


def scaling():
    """The same scores, divided or not, and the weights that come of both."""
    s = sentence()
    top, high = TOP + 46, 86
    drawing = []
    for x, role, S, A, name in (
        (72, "X", s["raw"], s["unscaled"], r"QK^{\mathsf{T}}"),
        (260, "A", s["S"], s["A"], r"QK^{\mathsf{T}} / \sqrt{d_k}"),
    ):
        drawing.append(
            matrix(S[[CATS]], "S", x, top, title=name, columns=s["words"], decimals=2, cell=(44, 22))
        )
        drawing.append(_bars(A[CATS], x, top + 44 + high, 44, high, role))
    drawing += [
        words("cats", 66, top + 15, "end"),
        words("weights", 66, top + 44 + high, "end", class_="small"),
        arrow(210, top + 11, 254, top + 11),
        formula(rf"\sqrt{{{s['Q'].shape[1]}}}", 231, top + 2, 13, "middle"),
    ]
    undivided, divided = s["unscaled"][CATS], s["A"][CATS]
    says = (
        f"With its scores divided by √{s['Q'].shape[1]}, cats gives hungry {percent(divided[0])} "
        f"of its weight; undivided, {percent(undivided[0])}."
    )
    return ("root",), top + 62 + high, drawing, says


def _bars(A, x, bottom, wide, high, role):
    """A bar for each weight, with its share above it."""
    bars = []
    for j, weight in enumerate(A):
        tall = high * float(weight)
        bars.append(
            tag(
                "rect", x=float(x + j * wide + 7), y=bottom - tall, width=wide - 14, height=tall, class_="bar"
            )
        )
        bars.append(words(percent(weight), x + (j + 0.5) * wide, bottom - tall - 4, "middle", class_="share"))
    line = tag("path", d=f"M{x} {bottom}H{x + len(A) * wide}", class_="line")
    return group(*bars, line, class_=f"role-{role.lower()}")


def softmax():
    """Scores become exponentials, and these the parts of one."""
    s = sentence()
    S, A = s["S"][CATS], s["A"][CATS]
    E = np.exp(S)
    left, wide, top = 96, 72, TOP + 26
    strip = top + 128
    drawing = [
        matrix(S[None], "S", left, top, columns=s["words"], decimals=2, cell=(wide, 22)),
        words("scores", left - 8, top + 15, "end"),
        words("of cats", left - 8, top + 29, "end", class_="small"),
        formula(r"e^{S}", left - 8, top + 84, 16, "end"),
        words("shares of one", left - 8, strip + 15, "end"),
    ]
    ends = np.cumsum(A) * 3 * wide
    for j in range(3):
        middle = left + (j + 0.5) * wide
        tall = 13 * E[j]
        bottom = top + 96
        drawing.append(
            tag("rect", x=middle - 15, y=bottom - tall, width=30, height=tall, class_="bar role-s")
        )
        drawing.append(words(number(E[j], 1), middle, bottom - tall - 4, "middle", class_="share"))
        x = left + ends[j] - A[j] * 3 * wide
        share = {"x": x + 1, "y": float(strip), "width": A[j] * 3 * wide - 2, "height": 22, "rx": 2}
        drawing.append(arrow(middle, bottom + 4, x + A[j] * 1.5 * wide, strip - 3))
        drawing.append(tag("rect", **share, class_="cell role-a", style=f"--share:{A[j] / A.max():.3f}"))
        drawing.append(words(percent(A[j]), x + A[j] * 1.5 * wide, strip + 15, "middle", class_="number"))
    sum_of = f"{' + '.join(number(e, 1) for e in E)} = {number(E.sum(), 1)}"
    drawing.append(words(f"out of {sum_of}", left + 1.5 * wide, strip + 38, "middle", class_="small"))
    says = f"The exponentials of the three scores of cats are {sum_of} in all: it gives {shares(A)}."
    return ("softmax",), strip + 48, drawing, says


def context():
    """The output between the values, nearest to the one that weighs most."""
    s = sentence()
    V, A, O = s["V"], s["A"][CATS], s["O"][CATS]
    left, bottom, unit = 130, TOP + 176, 22
    places = np.stack([left + unit * V[:, 0], bottom - unit * V[:, 1]], -1)
    here = np.array([left + unit * O[0], bottom - unit * O[1]])
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawing = [
        arrow(left, bottom, left + 8 * unit + 14, bottom),
        arrow(left, bottom, left, bottom - 8 * unit),
        words(s["columns"]["V"][0], left + 8 * unit + 20, bottom + 4),
        words(s["columns"]["V"][1], left, bottom - 8 * unit - 6, "middle"),
        tag("polygon", points=corners, class_="hull"),
    ]
    sides = [(8, 22, "start"), (-8, 18, "end"), (10, 4, "start")]
    for j, (place, side) in enumerate(zip(places, sides, strict=True)):
        line = f"M{place[0]:.1f} {place[1]:.1f}L{here[0]:.1f} {here[1]:.1f}"
        drawing.append(tag("path", d=line, class_="ribbon role-a", stroke_width=16 * A[j]))
        middle = (2 * place + here) / 3
        drawing.append(tag("circle", cx=place[0], cy=place[1], r=6, class_="dot role-v"))
        dx, dy, anchor = side
        drawing.append(words(s["words"][j], place[0] + dx, place[1] + dy, anchor, class_="word"))
        drawing.append(words(percent(A[j]), middle[0] + 6, middle[1] - 8, class_="share"))
    drawing += [
        tag("circle", cx=here[0], cy=here[1], r=7, class_="dot role-o"),
        words(f"cats: {number(O[0])}, {number(O[1])}", here[0] + 14, here[1] - 6, class_="word strong"),
    ]
    says = (
        f"The output of cats is the point ({number(O[0])}, {number(O[1])}): inside the triangle of the three "
        f"values, and nearest to that of hungry, which has {percent(A[0])} of its weight."
    )
    return ("V",), bottom + 34, drawing, says


def output():
    """O through W_O is Y, which is added to X."""
    s = sentence()
    left, top = 112, TOP + 18
    middle = top + 76
    last = middle + 96
    drawing = [
        matrix(s["W_O"], "X", left, top, columns=s["columns"]["Y"], rows=s["columns"]["O"], cell=WORDY),
        formula("W_O", left + 246, top + 27, 15),
        matrix(s["O"], "O", left - 64, middle, rows=s["words"], lit=row_of_cats(2)),
        formula("O", left - 34, middle - 8, 15, "middle", "O"),
        matrix(s["Y"], "Y", left, middle, cell=WORDY, lit=row_of_cats(6)),
        formula("Y", left + 246, middle + 38, 15),
        words("cats, before", left - 6, last + 15, "end"),
        words("and after", left - 6, last + 37, "end"),
        matrix(np.stack([s["X"][CATS], s["X"][CATS] + s["Y"][CATS]]), "X", left, last, cell=WORDY),
        formula("X", left + 246, last + 16, 15),
        formula("X + Y", left + 246, last + 38, 15),
    ]
    kept = ", ".join(s["columns"]["X"][j] for j in np.flatnonzero(s["X"][CATS]))
    y = s["Y"][CATS]
    says = (
        f"Afterwards cats is still what it was ({kept}), and where it had nothing it has "
        f"hunger {number(y[4])} and sound {number(y[5])}."
    )
    return ("W_O",), last + 56, drawing, says


def heads():
    """Two heads: the columns of Q, K and V in halves, and each half its own weights."""
    s = sentence()
    joined, A = formulas.attend_by_head(s["Q"], s["K"], s["V"], 2)
    top = TOP + 26
    below = top + 112
    drawing = [
        matrix(s["Q"], "Q", 66, top, rows=s["words"], title="Q", decimals=1, lit=row_of_cats(4)),
        matrix(s["V"], "V", 290, top, title="V"),
        tag("path", d=f"M126 {top - 6}V{top + 72}M320 {top - 6}V{top + 72}", class_="cut"),
    ]
    for head, x in enumerate((66, 196)):
        drawing += [
            arrow(96 + 60 * head, top + 72, x + 48, below - 28),
            arrow(305 + 30 * head, top + 72, 305 + 30 * head, below - 8),
            matrix(A[head], "A", x, below, title=rf"A^{{({head + 1})}}", decimals=2, cell=(34, 22),
                   rows=() if head else s["words"], lit=row_of_cats(3)),
        ]  # fmt: skip
    drawing += [
        matrix(joined, "O", 306, below, decimals=1, cell=(34, 22), lit=row_of_cats(2)),
        tag("path", d=f"M340 {below - 6}V{below + 72}", class_="cut"),
        words("side by side", 340, below + 84, "middle", class_="small"),
    ]
    first, second = A[:, CATS, 0]
    says = (
        "Cut in two, the same columns weigh twice: the first head of cats gives hungry "
        f"{percent(first)} of its weight, the second {percent(second)}."
    )
    return ("heads",), below + 92, drawing, says


THOUGHTS = {
    "formula": whole,
    "projections": projections,
    "scores": scores,
    "scaling": scaling,
    "softmax": softmax,
    "context": context,
    "output": output,
    "heads": heads,
}


def draw(name):
    """The drawing of a chapter's word as SVG, and what it says."""
    lit, height, drawing, says = THOUGHTS[name]()
    above = group(frame(lit), transform=f"translate({(WIDE - FRAME[0]) / 2:.0f} 4)")
    part = "all of it" if len(lit) > 3 else " and ".join(PARTS[one] for one in lit)
    alt = f"The whole formula, lit: {part}. Below it the three words hungry, cats, purr. {says}"
    return drawn.picture(WIDE, round(height), above, *drawing, alt=alt), says


class Thought(SphinxDirective):
    """The drawing of the chapter whose word is the argument, and below it what it says."""

    required_arguments = 1

    def run(self):
        picture, says = draw(self.arguments[0])
        set_apart = re.sub(rf"\b({'|'.join(sentence()['words'])})\b", r"*\1*", says)
        to_touch = "{doc}`All matrices of these three words, to touch. </book/whole_formula>`"
        caption, messages = self.state.inline_text(f"{set_apart} {to_touch}", self.lineno)
        return [
            nodes.raw("", f'<figure class="thought">{picture}<figcaption>', format="html"),
            nodes.inline("", "", *caption, classes=["caption-text"]),
            nodes.raw("", "</figcaption></figure>", format="html"),
            *messages,
        ]


def setup(app):
    app.add_directive("thought", Thought)
    return {"parallel_read_safe": True}
