"""The numbers that the widgets start from: the chapters' own cells, run again, and the package's answers.

One function per widget. What it returns is written to the site as JSON for the widget, and drawn by
`widget_pictures` for readers without scripts.
"""

import contextlib
import io
import itertools
import json

import numpy as np
from links import ROOT

from selfattention import clusters, formulas, masks
from selfattention import dialects as dialects_
from selfattention.trained import digit_runs, reactions, rxnmapper, smollm2

LAYER, HEAD = 10, 5  # chapter 09's head, counted from 0
REACTIONS = (
    "paracetamol",
    "aspirin",
    "Grignard",
    "reductive amination",
    "Diels-Alder",
    "alkenyl Suzuki",
    "Claisen rearrangement",
)


def run_cells(notebook, *ids):
    """What the named cells of a chapter define; what they print is dropped."""
    cells = json.loads((ROOT / f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = {cell["id"]: "".join(cell["source"]) for cell in cells}
    names = {"np": np, **vars(formulas)}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in ids:
            exec(compile(sources[cell], f"{notebook}#{cell}", "exec"), names)
    return names


def projections():
    """Three words and their three matrices."""
    chapter = run_cells("02_projections", "one-view", "three-views")
    return {name: chapter[name] for name in ("words", "X", "W_Q", "W_K", "W_V")}


def scaling():
    """Raw scores of four of the chapter's queries, the one of its figure first, at each of its widths."""
    chapter = run_cells("04_scaling", "strangers")
    queries = [chapter["raw"][:, sequence, query] for sequence, query in [(1, 5), (0, 0), (2, 0), (3, 0)]]
    return {"widths": chapter["widths"], "queries": np.round(queries, 4)}


def softmax():
    """The scores ln 1, ln 2, ln 5."""
    return {"s": run_cells("05_softmax", "mean-score-against-beta")["s"]}


def context():
    """Their weights, and three values in the plane."""
    chapter = run_cells("06_context", "weighted-sum-by-hand")
    return {name: chapter[name] for name in "AV"}


def masks_():
    """The three scores and a fourth, ln 8, each query with another favourite; and rules from the package."""
    first = np.append(run_cells("10_masks", "third-key-hidden")["S"], np.log(8))
    everybody = masks.causal | ~masks.causal
    rules = {
        "everything": everybody,
        "causal": masks.causal,
        "window(2)": masks.window(2),
        "causal & window(2)": masks.causal & masks.window(2),
        "nothing": ~everybody,
    }
    S = np.stack([np.roll(first, i) for i in range(4)])
    return {"S": S, "rules": {name: rule.tile(range(4), range(4)) for name, rule in rules.items()}}


def heads():
    """The first chapter's words, and matrices six wide in halves, from a seed."""
    chapter = run_cells("01_formula", "the-sentence")
    halves = np.random.default_rng(0).integers(-3, 4, size=(4, 6, 6)) / 2
    X = np.minimum(chapter["X"], 1)  # hunger 1, sound 1: scores of ordinary size
    counts = [1, 2, 3, 6]
    return {"words": chapter["words"], "X": X, **dict(zip(MATRICES, halves, strict=True)), "counts": counts}


def formula():
    """The first chapter's sentence, with the names of all columns."""
    chapter = run_cells("01_formula", "the-sentence", "the-weights")
    words, grammar, world = (chapter[name] for name in ("words", "grammar", "world"))
    columns = dict.fromkeys(("W_Q", "W_K", *"QK"), grammar) | dict.fromkeys(("W_V", *"VO"), world)
    columns |= dict.fromkeys(("X", "W_O", "Y"), grammar + world) | dict.fromkeys("SA", words)
    given = {name: chapter[name] for name in ("X", *MATRICES)}
    return {"words": words, "columns": columns, **given}


MATRICES = ("W_Q", "W_K", "W_V", "W_O")


def door():
    """The same sentence, and the number of each word that the front page lets one move."""
    given = formula()
    names = given["columns"]["X"]
    moves = [
        {
            "row": given["words"].index(word),
            "column": names.index(name),
            "name": name,
            "max": most,
            "step": step,
        }
        for word, name, most, step in [
            ("hungry", "quality", 2, 0.1),
            ("cats", "plural", 2, 0.1),
            ("purr", "sound", 14, 0.5),
        ]
    ]
    kept = {name: given[name] for name in ("words", "X", "W_Q", "W_K", "W_V")}
    return {**kept, "world": given["columns"]["O"], "moves": moves}


def trained():
    """What layer 10, head 5 of the trained model makes of seven reactions with known maps."""
    model = rxnmapper.load(np.float64)
    cases = {case.name: case for case in reactions.load()}
    return {"layer": LAYER, "head": HEAD, "reactions": [_read(model, cases[name]) for name in REACTIONS]}


def _read(model, case):
    """One reaction: its tokens, where its atoms stand, which are right, and the product atoms' weights."""
    _, A = formulas.encoder(model.embed(case.tokens), **model.encoder)
    return {
        "name": case.name,
        "tokens": case.tokens,
        "reactants": case.reactants,
        "products": case.products,
        "right": [case.reactants[row] for row in case.right],
        "A": A[LAYER, HEAD, case.products].round(4),
    }


def decoding():
    """What the language model weighed while it answered a question, as it was recorded, and its cache."""
    return {**smollm2.recorded()["attention"], "bytes": formulas.cache_bytes(1, 30, 3, 64, 4)}


def digits():
    """Ten digits with the attention of a trained net, and what deletion says of each patch, as recorded."""
    return {"pictures": digit_runs.maps()["pictures"]}


def devices():
    """A causal layer of Llama 3 405B on the first published cluster, and what its sliders offer besides."""
    machines = clusters.published()
    first = next(iter(machines.values()))
    rates, wires = {10, 20, 50, 100, 500, 1000, 2000}, {0.1, 1, 3, 12.5, 100, 200}
    rates |= {machine.flops_per_second / 1e12 for machine in machines.values()}
    wires |= {wire.bytes_per_second / 1e9 for m in machines.values() for wire in (m.inside, m.between)}
    shape = {**clusters.LLAMA_405B, "seen": 0.5, "word_bytes": 2}
    groups = [shape.pop("g"), shape["h"]]
    machine = {"rate": first.flops_per_second / 1e12, "wire": first.between.bytes_per_second / 1e9}
    machine |= {"latency": first.between.latency, "overlap": clusters.HIDDEN}
    return {"shape": shape, "machine": machine, "groups": groups} | {
        "rates": sorted(rates),
        "wires": sorted(wires),
    }


SPECIAL = {"depends": -2, "refused": -3, "none of these": -4, "no answer": -5}  # -1: has no such argument


def dialects():
    """All questions, all answers as they were recorded, and the lines that make two doors agree."""
    doors, names = dialects_.doors(), list(dialects_.QUESTIONS)
    rows = {(f"{a.library}/{a.door}", a.question): [] for a in dialects_.answers()}
    calls, of = {door: [] for door in doors}, {}
    for a in dialects_.answers():
        door = f"{a.library}/{a.door}"
        of[a.library] = {"title": dialects_.titles()[a.library], "version": a.version, "date": a.date}
        if a.call not in calls[door]:
            calls[door].append(a.call)
        said = a.said if a.numbers is None else ", ".join(_short(x) for x in a.numbers)
        variant = list(dialects_.QUESTIONS[a.question].inputs).index(a.variant)
        reading = _coded(a.question, a.reading)
        rows[door, a.question].append([variant, reading, said, calls[door].index(a.call)])
    lines, moves = _moves(doors)
    return {
        "libraries": list(of.values()),
        "doors": [[list(of).index(door.partition("/")[0]), door.partition("/")[2]] for door in doors],
        "groups": {matter: len(names) for matter, names in dialects_.GROUPS.items()},
        "questions": [_question(name) for name in names],
        "answers": [{names.index(n): said for (d, n), said in rows.items() if d == door} for door in doors],
        "calls": list(calls.values()),
        "lines": lines,
        "moves": moves,
    }


def _question(name):
    question = dialects_.QUESTIONS[name]
    said = {"name": name, "asks": question.asks, "why": question.why}
    return said | {"readings": list(dialects_.places(name)), "variants": list(question.inputs)}


def _coded(question, reading):
    """A reading's place, or the code of what is none."""
    return SPECIAL[reading] if reading in SPECIAL else dialects_.places(question)[reading]


def _short(number):
    return "NaN" if np.isnan(number) else f"{number:.5g}".replace("inf", "∞").replace("-", "−")


def _moves(doors):
    """The lines, and which of them undoes which change: question, variant, readings before and after, and
    what the second door makes of booleans, by their numbers."""
    names, lines, moves = list(dialects_.QUESTIONS), [], {}
    for one, other in itertools.permutations(doors, 2):
        for change in dialects_.moving(one, other):
            if change.line is None:
                continue
            if change.line not in lines:
                lines.append(change.line)
            library, _, door = other.partition("/")
            booleans = dialects_.reading(library, door, "mask-of-booleans")
            key = [
                names.index(change.question),
                list(dialects_.QUESTIONS[change.question].inputs).index(change.variant),
                _coded(change.question, change.before.reading),
                _coded(change.question, change.after.reading),
                -1 if booleans is None else _coded("mask-of-booleans", booleans),
            ]
            moves[".".join(map(str, key))] = lines.index(change.line)
    return lines, moves


NUMBERS = {
    "door": door,
    "projections": projections,
    "scaling": scaling,
    "softmax": softmax,
    "context": context,
    "masks": masks_,
    "heads": heads,
    "formula": formula,
    "trained": trained,
    "decoding": decoding,
    "devices": devices,
    "digits": digits,
    "dialects": dialects,
}


def as_json(numbers):
    """The numbers for a browser: arrays become lists."""
    return json.dumps(
        numbers, default=lambda array: array.tolist(), separators=(",", ":"), ensure_ascii=False
    )
