"""How a layer wants to be called: which argument is which sequence, where masks go, in which layout."""

import re
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from selfattention.examining.layouts import Form, Layout, Unsayable
from selfattention.examining.roles import Argument

ROLES = [
    ("causal", r"^use_causal"),
    ("mask", r"mask|visib|allowed|valid_len|lengths"),
    ("causal", r"causal"),
    ("rotation", r"^position_embeddings$|rotary_emb|^rope"),
    ("places", r"position_ids|cache_position|input_pos"),
    ("training", r"^train|determin"),
    ("height", r"^(H|height)$"),
    ("width", r"^(W|width)$"),
    ("nothing", r"past|cache|output_attentions|head_mask|need_weights|layer_idx|bias|return"),
    ("memory", r"context|memory|^enc|source|^(x_)?kv|key_value_states|inputs_kv|cross"),
    ("Q", r"^(q|quer)"),
    ("K", r"^k"),
    ("V", r"^v"),
]
"""What the names of a layer's arguments say; whatever they do not know is a sequence."""


BROUGHT = "position_embeddings", "rotary_emb"
"""Rotations that have a default and are needed all the same."""

ELSEWHERE = (
    r"context|memory|enc(oder)?_(out(puts?)?|hidden_states|output)|key_value_states|(x_|inputs_)?kv|cross|source|"
    r"(x_?)?(k|key|keys|v|value|values)"
)
"""Optional arguments that are a sequence to look at, and not one of the many other things called so."""


def role_of(name: str) -> str:
    """The role of an argument of this name."""
    return next(
        (r for r, pattern in ROLES if re.search(pattern, name if len(name) == 1 else name.lower())), "X"
    )


@dataclass(frozen=True)
class Way:
    """`own` says which argument is which of X, Y, Z; `further` adds what only another sequence needs."""

    arguments: tuple[Argument, ...]
    own: tuple[tuple[str, str], ...]
    further: tuple[tuple[str, str], ...]
    layout: Layout
    d_k: int = 1
    mask: tuple[str, Form] | None = None
    causal: str = ""

    @property
    def looks_elsewhere(self) -> bool:
        """Whether it can be given another sequence to look at."""
        return any(letter != "X" for _, letter in (*self.own, *self.further))

    def masked(self, name: str, form: Form) -> "Way":
        """The same with a mask in that argument."""
        return replace(self, mask=(name, form))

    def request(self, X, Y, Z, visible, prepare, causal=False) -> dict:
        """The call: X alone where Y is None. Raises Unsayable where the form has no room for the mask."""
        elsewhere = Y is not None
        letters = dict(self.own) | (dict(self.further) if elsewhere else {})
        given = {"X": X, "Y": Y if elsewhere else X, "Z": next(T for T in (Z, Y, X) if T is not None)}
        args, named = [], {}
        for place, argument in enumerate(self.arguments):
            if argument.name in letters:
                value = self._there(given[letters[argument.name]])
            elif self.mask and argument.name == self.mask[0] and visible is not None:
                value = self.mask[1](visible, np.float32)
            elif argument.name == self.causal:
                value = causal
            elif argument.required or argument.name in BROUGHT:
                value = self._filler(argument.name, X)
            else:
                continue
            if argument.by_name_only or len(args) < place:
                named[argument.name] = value
            else:
                args.append(value)
        return {"args": args, "named": named, "library": "torch", "prepare": prepare}

    def _there(self, x):
        if self.layout.axes == 2:
            if len(x) > 1:
                raise Unsayable
            x = x[0]
        return np.ascontiguousarray(self.layout.there(x.astype(np.float32)))

    def _filler(self, name, X):
        role, n = role_of(name), X.shape[1]
        if role == "rotation":  # by an angle of 0
            return np.ones((1, n, self.d_k), np.float32), np.zeros((1, n, self.d_k), np.float32)
        if role == "places":
            return np.arange(n)[None]
        height = max(h for h in range(1, int(n**0.5) + 1) if n % h == 0)
        return {"training": False, "height": height, "width": n // height, "causal": False}.get(role)


def ways(arguments: list[Argument], layout: Layout) -> list[Way]:
    """Ways to hand over the sequences, the likeliest first."""
    roles = {a.name: role_of(a.name) for a in arguments if not a.many}
    sequences = [
        a.name for a in arguments if a.required and roles.get(a.name) in ("X", "Q", "K", "V", "memory")
    ]
    if not sequences:
        sequences = [a.name for a in arguments if roles.get(a.name, "X") in ("X", "Q")][:1]
    optional = {
        a.name: {"memory": "Y", "K": "Y", "V": "Z"}[roles[a.name]]
        for a in arguments
        if not a.required
        and roles.get(a.name) in ("memory", "K", "V")
        and re.fullmatch(ELSEWHERE, a.name.lower())
    }
    return [
        Way(tuple(arguments), tuple(zip(sequences, letters, strict=True)), tuple(optional.items()), layout)
        for letters in _letters([roles[name] for name in sequences])
    ]


def _letters(roles):
    """Which of X, Y and Z each sequence is, by its role, else in every order."""
    if len(roles) == 3 and {"Q", "K", "V"} == set(roles):
        return [["XYZ"["QKV".index(role)] for role in roles]]
    if len(roles) == 1:
        return [["X"]]
    if len(roles) == 2:
        return [["Y", "X"]] if roles[0] == "memory" else [["X", "Y"], ["Y", "X"]]
    return [list(order) for order in permutations("XYZ")] if len(roles) == 3 else []


def masks(arguments: list[Argument]) -> list[str]:
    """The arguments for a mask."""
    return [a.name for a in arguments if role_of(a.name) == "mask" and not a.many]
