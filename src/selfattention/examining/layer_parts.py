"""What a layer may have inside besides its projections, by the names and shapes of what is left of it."""

import re
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from selfattention.examining.weights import Attribution, Parameter, drawn, flat
from selfattention.recipes import inside
from selfattention.recipes.recipe import Convention

NORM = r"(^|[._])(q|k|query|key)_?(norm|ln|layer_?norm)|(norm|ln)_?(q|k|query|key)($|[._])"
TABLE = r"rel|dist|bias|pos"


@dataclass(frozen=True)
class Part:
    """Something inside: which parameters are drawn for it (a bias is smaller), and what it may be."""

    drawn: tuple[tuple[str, bool], ...] = ()
    readings: tuple[Convention, ...] = ()


def insides(attribution: Attribution, arrays: dict, words: str) -> list[tuple[Attribution, list[tuple]]]:
    """What to draw, and which parts then may be inside, the likeliest first.

    A table that no reading explains is put to 0: the last of them leaves tables out.
    """
    tables, rest = [*_tables(attribution)], [*_gates(attribution, arrays)]
    always = [_norms(attribution, arrays), inside.ROTATIONS if speaks_of_turns(words) else ()]
    found = []
    for parts in [[*tables, *rest], rest] if tables else [rest]:
        beside = tuple(pair for part in parts for pair in part.drawn)
        readings = [((), *((r,) for r in each)) for each in always if each]
        readings += [tuple((r,) for r in part.readings) for part in parts]
        ways = [sum(each, ()) for each in product(*readings)]
        found.append((replace(attribution, beside=beside), ways))
    return found


def speaks_of_turns(words: str) -> bool:
    """Whether a layer's text speaks of rotary positions."""
    return bool(re.search(r"rot[ae]|rope\b|freqs", words.lower()))


def of_heads(parameter: Parameter) -> bool:
    """Whether it is a norm of queries or keys."""
    return parameter.of_a_norm and bool(re.search(NORM, parameter.name.lower()))


def windows(parameters: list[Parameter]) -> list[int]:
    """Numbers of tokens for which a table of two directions may be: side² of (2 side − 1)² rows."""
    rows = [max(p.shape) for p in parameters if _is_table(p)]
    sides = [(round(n**0.5) + 1) // 2 for n in rows if round(n**0.5) ** 2 == n and round(n**0.5) % 2]
    return [side * side for side in sides if side > 1]


def _norms(attribution, arrays):
    norms = [p for p in attribution.left if of_heads(p) and not p.name.endswith("bias")]
    if len(norms) < 2:
        return ()
    width = arrays["W_Q"].shape[1]
    size = int(np.prod(norms[0].shape))
    if size not in (width, width // attribution.h):
        return ()
    owner = norms[0].owner.lower()
    said = "rms" in owner or "layer" in owner
    ways = ("rms" in owner,) if said else (True, False)
    return tuple(inside.norm(rms, size == width and attribution.h > 1) for rms in ways)


def _is_table(parameter):
    wide = [n for n in parameter.shape if n > 1]
    return len(wide) == 2 and not parameter.of_a_norm and bool(re.search(TABLE, parameter.name.lower()))


def _tables(attribution):
    for p in attribution.left:
        if _is_table(p) and attribution.h in p.shape:
            table = drawn(p.name, p.shape, True).astype(np.float64).squeeze()
            table = table if table.shape[-1] == attribution.h else table.T
            yield Part(((p.name, True),), inside.distances(table))


def _gates(attribution, arrays):
    by_name = {p.name: p for p in attribution.parameters}
    width, wide = arrays["W_Q"].shape[0], arrays["W_O"].shape[0]
    for p in attribution.left:
        if not p.gate or not p.matrix:
            continue
        W = flat(p, "Q", False, attribution.h)
        bias = by_name.get(re.sub(r"weight$", "bias", p.name))
        both = [(q.name, q is bias) for q in (p, bias) if q is not None]
        if W.shape[0] == width and W.shape[1] in (attribution.h, wide):
            b = np.zeros(W.shape[1]) if len(both) == 1 else drawn(bias.name, bias.shape, True).astype(float)
            yield Part(tuple(both), inside.gates(W, b))
