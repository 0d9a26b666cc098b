"""What can be judged: a recipe, its operands, the inputs on which it is tried, and what callers hand over."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from selfattention.examining import cases, elsewhere
from selfattention.examining.cases import Case
from selfattention.examining.layouts import LAYOUTS, NUMBERS, PICTURES, Layout
from selfattention.recipes.alibi import ALIBI, OF_KEYS, SLOPES
from selfattention.recipes.attention import with_the_queries
from selfattention.recipes.backward import BACKWARD
from selfattention.recipes.budget import as_computed
from selfattention.recipes.gates import CBAM, SQUEEZE, of_weights
from selfattention.recipes.heads import HEADS
from selfattention.recipes.merge import MERGE
from selfattention.recipes.recipe import Convention, Known, Mistake
from selfattention.recipes.rotary import ROTARY
from selfattention.recipes.softmax import SOFTMAX, Softmax
from selfattention.recipes.step import OUTPUT_ALONE, STEP
from selfattention.recipes.tables import TABLE
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
    other: bool = False  # no attention: it is given no mask, and outputs may have more axes, of length one
    unless: str = ""  # what a function's name says that is another kind
    grows: bool = False  # what comes after the output is a cache, of whatever length
    says: str = ""  # a word in a name that speaks of it, where the numbers leave it open
    alone: bool = False  # judged only where nothing else is returned

    def inputs(self, case: Case) -> tuple:
        """What the recipe is called with."""
        return tuple(case.arrays.get(name) for name in self.operands)

    def shapes(self, case: Case) -> list[tuple[int, ...]]:
        """Of the outputs."""
        return [x.shape for x in as_computed(self.known.recipe, self.inputs(case), np.float64)]


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


def _with_weights():
    found = []
    for case in cases.with_gradients():
        S = case.arrays["Q"] @ case.arrays["K"].swapaxes(-1, -2) / case.arrays["Q"].shape[-1] ** 0.5
        found.append(case.but(A=Softmax()(S)))
    return found


def _standing():
    """Log-sum-exps as columns."""
    return [case.but(**{L: case.arrays[L][..., None] for L in ("L_1", "L_2")}) for case in cases.halves()]


def residual():
    """A residual connection: the tokens are added to the output. Chapter 07."""


OF_TOKENS = replace(
    ATTENTION,
    mistakes=tuple(m for m in ATTENTION.mistakes if m.part is not with_the_queries),
    conventions=(*ATTENTION.conventions, Convention("finish", with_the_queries, residual)),
)
"""Attention of a function of tokens, which may add these."""


def by_the_width(S, Q, K):
    """Divided by √d_model, the width of the tokens, instead of √d_k. Chapter 04."""
    return S / cases.WIDTH**0.5


OF_MATRICES = replace(ATTENTION, mistakes=(*ATTENTION.mistakes, Mistake("scale", by_the_width, by_the_width)))
"""Attention of a function of tokens and of the matrices that project them."""


def _of_numbers(known, found, *operands):
    yield Kind(known.name, known, operands, operands, found, layouts=(NUMBERS,), other=True)


_two = "O_1", "L_1", "O_2", "L_2"
_cached = "Q", "K", "V", "past_K", "past_V"
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
    *(
        Kind(BACKWARD.name, BACKWARD, handed, handed, found, layouts=tuple(LAYOUTS[:3]))
        for handed, found in (
            (("dO", "Q", "K", "V"), cases.with_gradients),
            (("dO", "Q", "K", "V", "A"), _with_weights),
        )
    ),
    *(
        Kind(MERGE.name, MERGE, _two, _two, found, layouts=tuple(LAYOUTS[:3]))
        for found in (cases.halves, _standing)
    ),
    Kind(
        "multi-head attention",
        HEADS,
        ("X", "W_Q", "W_K", "W_V", "W_O", "h"),
        ("X", "W_Q", "W_K", "W_V", "W_O"),
        cases.projected,
        layouts=tuple(LAYOUTS[:2]),
    ),
    Kind(
        "attention",
        OF_MATRICES,
        _operands,
        ("X", "W_Q", "W_K", "W_V"),
        cases.projected_once,
        cases.projected_and_masked,
        layouts=(*LAYOUTS[:2], LAYOUTS[5]),
    ),
    Kind("softmax", SOFTMAX, ("S",), ("S",), _scores, layouts=tuple(LAYOUTS[:3]), says="softmax"),
    Kind(
        "attention",
        OF_TOKENS,
        _operands,
        ("X",),
        lambda: _themselves(cases.plain()),
        lambda: _themselves(cases.masked()),
    ),
    *_of_numbers(TABLE, elsewhere.tables, "count", "width"),
    *_of_numbers(TABLE, elsewhere.times, "positions", "width"),
    *_of_numbers(SLOPES, elsewhere.heads_alone, "heads"),
    *_of_numbers(ALIBI, elsewhere.biases, "heads", "count"),
    *_of_numbers(ALIBI, elsewhere.wide_biases, "heads", "count", "keys"),
    *_of_numbers(OF_KEYS, elsewhere.biases, "heads", "count"),
    *(
        Kind(
            ROTARY.name,
            ROTARY,
            operands,
            handed,
            found,
            layouts=tuple(LAYOUTS[:5]),
            other=True,
            says="rot|rope",
        )
        for operands, handed, found in (
            (("turned", "positions"), ("turned", "positions"), elsewhere.rotations),
            (("turned", "positions"), ("turned",), elsewhere.rotations_from_zero),
            (("Q", "positions", "K"), ("Q", "K", "positions"), elsewhere.rotations),
            (("Q", "positions", "K"), ("Q", "K"), elsewhere.rotations_from_zero),
        )
    ),
    *(
        Kind(
            STEP.name,
            known,
            _cached,
            handed,
            elsewhere.steps,
            layouts=tuple(LAYOUTS[:4]),
            other=True,
            grows=True,
            alone=known is OUTPUT_ALONE,
        )
        for known in (STEP, OUTPUT_ALONE)
        for handed in (_cached, ("Q", "K", "V", "past"))
    ),
    *(
        Kind(
            known.name,
            judged,
            handed,
            handed,
            elsewhere.pictures,
            layouts=tuple(PICTURES),
            other=True,
            unless=unless,
            alone=judged is not known,
        )
        for known, unless in ((SQUEEZE, "cbam"), (CBAM, "^se_|_se$|squeeze|excit"))
        for judged in (known, of_weights(known))
        for handed in (("F", "W_1", "W_2"), ("F", "W_1", "W_2", "b_1", "b_2"))
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
