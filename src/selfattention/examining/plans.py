"""A way to call: whose argument is what, in which layout, with which mask, of which library."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from selfattention.examining.cases import Case
from selfattention.examining.kinds import KINDS, Kind
from selfattention.examining.layouts import FORMS, JOINED, Form, Layout, Unsayable
from selfattention.examining.process import Stranger
from selfattention.examining.roles import GIVEN, Argument, assignments

LEAVE = object()  # an argument that is not passed


def _alike(join):
    """Of arrays that can be joined so; raises Unsayable for others."""

    def joined(arrays):
        try:
            return join(arrays)
        except ValueError:
            raise Unsayable from None

    return joined


PACKINGS = {
    "a tuple": tuple,
    "stacked along a first axis": _alike(np.stack),
    "stacked along the third axis": _alike(lambda arrays: np.stack(arrays, axis=2)),
    "stacked along the last axis but one": _alike(lambda arrays: np.stack(arrays, axis=-2)),
    "side by side": _alike(lambda arrays: np.concatenate(arrays, axis=-1)),
}


@dataclass(frozen=True)
class Plan:
    """One way. `roles` says which argument is what; those that it does not name are left out."""

    kind: Kind
    arguments: tuple[Argument, ...]
    roles: tuple[tuple[str, str], ...]
    layout: Layout
    library: str
    dtype: str
    form: Form | None = None
    packing: str = "a tuple"  # of Q and K, or of all three
    turned: bool = False  # matrices are (out, in)
    scale: float = -0.5  # the power of d_k that an argument for it gets, where there must be one

    def has(self, role: str) -> bool:
        """Whether an argument has this role."""
        return any(role == has for _, has in self.roles)

    def with_form(self, form: Form) -> "Plan":
        """The same with a mask of that form."""
        return replace(self, form=form)

    def request(self, case: Case) -> dict:
        """How a case is put to it; raises Unsayable where the mask cannot be said so."""
        args, named, roles = [], {}, dict(self.roles)
        for argument in self._places():
            value = LEAVE
            if argument.name in roles:
                value = self._value(roles[argument.name], argument, case)
            if value is LEAVE:
                continue
            before = self._places().index(argument)
            if argument.by_name_only or len(args) < before:
                named[argument.name] = value
            else:
                args.append(value)
        most = max(map(math.prod, self.kind.shapes(case))) * (2 if self.kind.grows else 1)
        return {"args": args, "named": named, "library": self.library, "most": most}

    def _places(self):
        stars = [Argument(name, True) for name, _ in self.roles if name.startswith("*")]
        return stars or self.arguments

    def _value(self, role, argument, case):
        if role in case.arrays and isinstance(case.arrays[role], int):
            return case.arrays[role]
        if role in GIVEN:
            return self._array(role, case.arrays)
        if role == "mask":
            return self._mask(argument, case)
        if role == "causal":
            return case.causal
        if role == "training":
            return argument.name.startswith("det")
        if role == "dropout" and isinstance(argument.default, float):
            return 0.0
        if role == "heads" and "h" in case.arrays:
            return case.arrays["h"]
        return self._number(role, case.arrays) if argument.required else LEAVE

    def _number(self, role, arrays):
        Q = next(arrays[x] for x in ("Q", "S", "X", "O_1", "turned", "F", "positions") if x in arrays)
        d_k, heads = Q.shape[-1], Q.shape[-3] if Q.ndim > 3 else 1
        return {"scale": d_k**self.scale, "d_k": d_k, "heads": heads, "block": 16, "dropout": 0.0}.get(role)

    def _array(self, role, arrays):
        if role.startswith("W_"):
            W = arrays[role].astype(self.dtype)
            return np.ascontiguousarray(W.T if self.turned else W)
        if role.startswith(("L_", "b_")):
            return arrays[role].astype(self.dtype)
        if role == "positions":
            return arrays[role]
        if role == "past":
            return tuple(self._there(arrays[x]) for x in ("past_K", "past_V"))
        if "X" in arrays:
            return self._there(arrays["X"])
        if role in ("QK", "QKV"):
            return PACKINGS[self.packing]([self._there(arrays[x]) for x in role])
        return self._there(arrays[{"X": "Q", "memory": "K"}.get(role, role)])

    def _there(self, x):
        return np.ascontiguousarray(self.layout.there(x.astype(self.dtype)))

    def _mask(self, argument, case):
        if "Q" not in case.arrays:
            return None if argument.required else LEAVE
        visible = None if case.causal else case.arrays.get("visible")
        if visible is None and (self.form is None or not argument.required):
            return None if argument.required else LEAVE
        if visible is None:
            visible = np.ones((*case.arrays["Q"].shape[:-1], case.arrays["K"].shape[-2]), bool)
        return self.form(visible, self.dtype)


def plans(stranger: Stranger) -> list[Plan]:
    """All ways that the signature leaves open, the likeliest first."""
    libraries = [stranger.library, *({"numpy", "torch"} - {stranger.library})]
    arguments = tuple(stranger.arguments)
    return [
        Plan(kind, arguments, tuple(way.items()), layout, library, dtype, form, packing, turned, scale)
        for library in libraries
        for dtype in ("float64", "float32")
        for kind in KINDS
        if not (kind.unless and re.search(kind.unless, stranger.name, re.IGNORECASE))
        for way in assignments(stranger.arguments, kind.handed)
        if not kind.other
        or all(way.get(a.name) in kind.handed for a in arguments if a.required and not a.many)
        for layout in (
            *kind.layouts,
            *([JOINED] if _must("heads", way, arguments) and "visible" in kind.operands else []),
        )
        for form in (forms(way, arguments) if _must("mask", way, arguments) else [None])
        for packing in (PACKINGS if "QKV" in kind.handed else ["a tuple"])
        for turned in ((False, True) if {"W_Q", "W_1"} & {*kind.handed} else (False,))
        for scale in ((-0.5, 0.5) if _must("scale", way, arguments) else (-0.5,))
    ]


def forms(way: dict[str, str], arguments) -> list[Form | None]:
    """The forms of a mask, those first that its name speaks of."""
    return sorted(FORMS, key=lambda form: ("hidden" in form.name) != of_the_hidden(mask_of(way)))


def mask_of(way: dict[str, str]) -> str:
    """The name of its argument for a mask."""
    (name, *_) = [name for name, role in way.items() if role == "mask"]
    return name


def of_the_hidden(name: str) -> bool:
    """Whether a mask's name speaks of those that may not be seen."""
    return bool(re.search(r"pad|hid|block|exclu|ignor|drop", name.lower()))


def _must(role, way, arguments):
    return any(a.required and way.get(a.name) == role for a in arguments)
