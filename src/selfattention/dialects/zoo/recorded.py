"""How released architectures say their attention in our contract, from data/zoo.json; nothing is run here."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

FILE = Path(str(files("selfattention") / "data/zoo.json"))

EXACT = 1e-5
"""The largest error of a call that counts as the same, relative to its largest output."""

OF_INPUT, OF_TERM = "from the input", "term from the input"


@dataclass(frozen=True)
class Said:
    """A kind of attention call of an architecture, by its ingredients; `count` calls of a pass were of it.

    `mask` is a rule as one writes it, "table" where none fits, "" for none. `bias` is "" for none, or its
    kind. `scale` is that of the product, None for 1/√d_k, and `in_Q` what Q and K had been multiplied with
    before; with `factor` it is one number for each head. `inside` is what Q and K went through after their
    layer ("norm, RoPE": in this order), `after` what O goes through before the next one. `error` is the
    largest, relative to the largest number of O. `empty` rows may see nobody, and were not compared.
    """

    h: int
    n: int
    d_k: int
    error: float
    g: int = 0
    m: int = 0
    d_v: int = 0
    count: int = 1
    mask: str = ""
    mask_of_input: bool = False
    bias: str = ""
    learned: bool = False
    sink: str = ""
    softcap: float | None = None
    factor: bool = False
    scale: float | None = None
    in_Q: float = 1.0
    inside: str = ""
    after: tuple[str, ...] = ()
    empty: int = 0

    def __post_init__(self):
        usual = {"g": self.h, "m": self.n, "d_v": self.d_k}
        for name, size in usual.items():
            object.__setattr__(self, name, getattr(self, name) or size)

    @property
    def line(self) -> str:
        """The call as one writes it.

        Names are those of `selfattention.masks`; i and j are positions, `np.arange(n)` and `np.arange(m)`;
        `table` (n, m) is boolean; `bias`, `slopes` (h, 1, 1), `sink` (h,) and `factor` (h, 1, 1) are the
        model's, and `term` (h, n, m) is what it computes from its input and adds.
        """
        given = ["factor * Q" if self.factor else "Q", "K", "V"]
        given += [f"mask={self.mask}"] * bool(self.mask)
        if self.bias:
            named = {OF_INPUT: "term", "a table": "bias", "a number for each head and distance": "bias"}
            given.append(f"bias={named.get(self.bias, self.bias)}")
        given += [f"scale={self.scale}"] * (self.scale is not None)
        given += [f"softcap={self.softcap}"] * (self.softcap is not None)
        given += ["sink=sink"] * bool(self.sink)
        return f"attention({', '.join(given)})"

    @property
    def of_input(self) -> bool:
        """Is something added to the scores that the model makes from its input?"""
        return OF_INPUT in (self.bias, self.sink)

    @property
    def effective_scale(self) -> float:
        """What the product of unscaled queries and keys is multiplied with, in units of 1/√d_k."""
        return self.in_Q * (1 if self.scale is None else self.scale * self.d_k**0.5)

    @property
    def ingredients(self) -> list[str]:
        """The names, out of `INGREDIENTS`, of what is added to the formula."""
        return [name for names in INGREDIENTS.values() for name, there in names.items() if there(self)]


def _windows(call):
    return "window(" in call.mask


INGREDIENTS: dict[str, dict[str, Callable[[Said], bool]]] = {
    "Q": {
        "Q and K normed, then RoPE": lambda call: call.inside == "norm, RoPE",
        "RoPE, then Q and K normed": lambda call: call.inside == "RoPE, norm",
        "Q and K normed, no RoPE": lambda call: call.inside == "norm",
        "a part of the scale in Q or K": lambda call: abs(call.in_Q - 1) > 1e-3,
    },
    "K": {
        "grouped heads, 1 < g < h": lambda call: 1 < call.g < call.h,
        "one head of keys, g = 1": lambda call: call.g == 1 < call.h,
    },
    "S": {
        "scale other than 1/√d": lambda call: call.factor or abs(call.effective_scale - 1) > 1e-3,
        "softcap": lambda call: call.softcap is not None,
        "ALiBi": lambda call: call.bias.startswith("slopes"),
        "another bias": lambda call: bool(call.bias) and not call.bias.startswith(("slopes", OF_INPUT)),
        "a term from the input": lambda call: call.of_input,
    },
    "A": {
        "window backwards": lambda call: _windows(call) and "causal" in call.mask,
        "window both ways": lambda call: _windows(call) and "causal" not in call.mask,
        "chunks": lambda call: "documents(" in call.mask,
        "keys chosen by the model": lambda call: call.mask_of_input,
        "a mask that no rule gives": lambda call: call.mask == "table" and not call.mask_of_input,
        "sink": lambda call: bool(call.sink),
    },
    "V": {"d_v ≠ d_k": lambda call: call.d_v != call.d_k},
    "O": {
        "gate before W_O": lambda call: "gate" in call.after,
        "norm before W_O": lambda call: "norm" in call.after,
    },
}
"""What architectures add to the formula, by the letter that it is added to: is it in a call?"""


@dataclass(frozen=True)
class Family:
    """An architecture: its classes, its kinds of attention calls, and what is known where it has none.

    `parts` are the architectures that it is made of, which were asked in its place; `missing` says why it
    could not be run; `instead` what it has where the formula has its softmax; `unread` softmaxes that were
    not followed, with the reason and their number. `settings` are those of the tiny model that its calls
    depend on; `dtype` is that of the pass.
    """

    name: str
    model: str
    config: str
    calls: tuple[Said, ...] = ()
    parts: tuple[str, ...] = ()
    missing: str = ""
    instead: str = ""
    unread: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    dtype: str = ""

    @property
    def verdict(self) -> str:
        """One of "exact", "term from the input", "another formula", "no attention", "parts", "missing"."""
        if self.missing:
            return "missing"
        if self.parts:
            return "parts"
        if self.instead or self.unread or self.error > EXACT:
            return "another formula"
        if not self.calls:
            return "no attention"
        return OF_TERM if any(call.of_input for call in self.calls) else "exact"

    @property
    def error(self) -> float:
        """The largest of its calls."""
        return max((call.error for call in self.calls), default=0.0)

    @property
    def ingredients(self) -> list[str]:
        """Those of its calls, each once."""
        return list(dict.fromkeys(word for call in self.calls for word in call.ingredients))

    @property
    def lines(self) -> list[str]:
        """The calls as one writes them, each once."""
        return list(dict.fromkeys(call.line for call in self.calls))

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        head = f"{self.name} ({self.model}{', ' * bool(settings)}{settings}): "
        return "\n".join([head + self._answer(), *(f"    {line}" for line in self.lines)])

    def _answer(self):
        why = self.instead or "; ".join(f"not read: {why}" for why in self.unread)
        if any(call.sink == OF_INPUT for call in self.calls):
            why = "its sink is made from the input, another one for each query"
        answers = {
            "exact": f"yes, to {self.error:.0e}",
            OF_TERM: f"with a table that the model computes, to {self.error:.0e}",
            "another formula": f"no: {why}",
            "no attention": "it has no softmax of products of queries and keys",
            "parts": f"it is made of {', '.join(self.parts)}: ask for these",
            "missing": f"it could not be run here: {self.missing}",
        }
        return answers[self.verdict]


@cache
def families() -> tuple[Family, ...]:
    """Every architecture of the file, in the order of their names."""
    return tuple(_family(name, row) for name, row in _file()["families"].items())


def _family(name, row):
    calls = tuple(Said(**call | {"after": tuple(call.get("after", ()))}) for call in row.get("calls", ()))
    return Family(name, **row | {"calls": calls, "parts": tuple(row.get("parts", ()))})


def counted() -> dict[str, dict[str, int]]:
    """How many architectures have an ingredient in one of their calls, by letter and name."""
    run = [set(family.ingredients) for family in families()]
    return {
        letter: {name: sum(name in words for words in run) for name in names}
        for letter, names in INGREDIENTS.items()
    }


def how(name: str) -> Family:
    """Can attention of this architecture be said in our contract, and how? `print(how("gemma2"))`.

    `name` is a model type of transformers, with `-` or `_`, or one of its classes. Raises KeyError, with the
    nearest names, for one that the file does not have.
    """
    known = {family.name: family for family in families()}
    wanted = _plain(name)
    for family in known.values():
        if wanted in map(_plain, (family.name, family.model, family.config)):
            return family
    near = get_close_matches(wanted, map(_plain, known), 4, 0.5)
    named = [name for name in known if _plain(name) in near]
    advice = f"; near it: {', '.join(named)}" if named else ""
    raise KeyError(f"no architecture is called {name!r}{advice}; families() has {len(known)}")


def _plain(name):
    return name.lower().replace("_", "").replace("-", "")


def versions() -> dict[str, str]:
    """Of which libraries, and "date"."""
    return _file()["versions"] | {"date": _file()["date"]}


@cache
def _file():
    return json.loads(FILE.read_text("utf-8"))
