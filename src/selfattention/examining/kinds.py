"""What can be judged: a recipe, its operands, the inputs on which it is tried, and what callers hand over."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from selfattention.examining import cases
from selfattention.examining.cases import Case
from selfattention.examining.layouts import LAYOUTS, Layout
from selfattention.recipes.attention import with_the_queries
from selfattention.recipes.backward import BACKWARD
from selfattention.recipes.heads import HEADS
from selfattention.recipes.merge import MERGE
from selfattention.recipes.recipe import Convention, Known
from selfattention.recipes.softmax import SOFTMAX
from selfattention.recipes.tiles import ATTENTION


@dataclass(frozen=True)
class Kind:
    """A judged function: `operands` are the recipe's, in its order, `handed` what a caller hands over."""

    name: str
    known: Known
    operands: tuple[str, ...]
    handed: tuple[str, ...]
    plain: Callable[[], list[Case]]
    masked: Callable[[], list[Case]] = list
    layouts: tuple[Layout, ...] = tuple(LAYOUTS)

    def inputs(self, case: Case) -> tuple:
        """What the recipe is called with."""
        return tuple(case.arrays.get(name) for name in self.operands)

    def shapes(self, case: Case) -> list[tuple[int, ...]]:
        """Of the outputs."""
        arrays = case.arrays
        if "dO" in arrays:
            return [arrays[name].shape for name in "QKV"]
        if "O_1" in arrays:
            return [arrays["O_1"].shape, arrays["L_1"].shape]
        if "W_O" in arrays:
            return [(*arrays["X"].shape[:-1], arrays["W_O"].shape[-1])]
        if "S" in arrays:
            return [arrays["S"].shape]
        return [(*arrays["Q"].shape[:-1], arrays["V"].shape[-1])]


def _themselves(found):
    """Queries, keys and values one and the same array."""
    return [
        case.but(K=case.arrays["Q"], V=case.arrays["Q"])
        for case in found
        if case.arrays["Q"].shape == case.arrays["K"].shape == case.arrays["V"].shape
    ]


def _one_memory(found):
    """Keys and values one and the same array."""
    same = [case for case in found if case.arrays["K"].shape == case.arrays["V"].shape]
    return [case.but(V=case.arrays["K"]) for case in same]


def _scores():
    found = []
    for case in cases.plain():
        S = case.arrays["Q"] @ case.arrays["K"].swapaxes(-1, -2)
        found.append(Case(case.name, {"S": S.astype(np.float32).astype(np.float64)}, case.tame))
    return found


def residual():
    """A residual connection: the tokens are added to the output. Chapter 07."""


OF_TOKENS = replace(
    ATTENTION,
    mistakes=tuple(m for m in ATTENTION.mistakes if m.part is not with_the_queries),
    conventions=(*ATTENTION.conventions, Convention("finish", with_the_queries, residual)),
)
"""Attention of a function of tokens, which may add these."""

_operands = "Q", "K", "V", "visible"
KINDS = [
    Kind("attention", ATTENTION, _operands, ("Q", "K", "V"), cases.plain, cases.masked),
    Kind("attention", ATTENTION, _operands, ("QK", "V"), cases.plain, cases.masked),
    Kind("attention", ATTENTION, _operands, ("QKV",), cases.plain, cases.masked),
    Kind(
        "attention",
        ATTENTION,
        _operands,
        ("Q", "memory"),
        lambda: _one_memory(cases.plain()),
        lambda: _one_memory(cases.masked()),
    ),
    Kind(
        "attention",
        OF_TOKENS,
        _operands,
        ("X", "memory"),
        lambda: _one_memory(cases.plain()),
        lambda: _one_memory(cases.masked()),
    ),
    Kind(
        "backward pass of attention",
        BACKWARD,
        ("dO", "Q", "K", "V"),
        ("dO", "Q", "K", "V"),
        cases.with_gradients,
        layouts=tuple(LAYOUTS[:3]),
    ),
    Kind(
        "merge of two halves",
        MERGE,
        ("O_1", "L_1", "O_2", "L_2"),
        ("O_1", "L_1", "O_2", "L_2"),
        cases.halves,
        layouts=tuple(LAYOUTS[:3]),
    ),
    Kind(
        "multi-head attention",
        HEADS,
        ("X", "W_Q", "W_K", "W_V", "W_O", "h"),
        ("X", "W_Q", "W_K", "W_V", "W_O"),
        cases.projected,
        layouts=tuple(LAYOUTS[:2]),
    ),
    Kind("softmax", SOFTMAX, ("S",), ("S",), _scores, layouts=tuple(LAYOUTS[:3])),
    Kind(
        "attention",
        OF_TOKENS,
        _operands,
        ("X",),
        lambda: _themselves(cases.plain()),
        lambda: _themselves(cases.masked()),
    ),
]


@cache
def plain(kind: Kind, axes: int) -> tuple[Case, ...]:
    """The cases without a mask, with so many axes."""
    return tuple(case.of(axes) for case in kind.plain())


@cache
def masked(kind: Kind, axes: int) -> tuple[Case, ...]:
    """Those with one."""
    return tuple(case.of(axes) for case in kind.masked())


@cache
def causal(kind: Kind, axes: int) -> tuple[Case, ...]:
    """Those without a mask argument, but with the word: n = m, for alignments differ elsewhere."""
    found = []
    for case in kind.plain():
        n, m = case.arrays["Q"].shape[-2], case.arrays["K"].shape[-2]
        if n == m:
            seen = np.broadcast_to(np.tri(n, dtype=bool), (*case.arrays["Q"].shape[:-2], n, n))
            found.append(replace(case.but(visible=seen), name=f"causal, {case.name}", causal=True).of(axes))
    return tuple(found)
