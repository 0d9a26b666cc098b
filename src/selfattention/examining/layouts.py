"""How arrays lie, and how a mask says who may see whom."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class Unsayable(Exception):
    """A mask that a form has no room for: one for every query, where only keys are hidden."""


def _as_it_lies(x, shape=None):
    return x


@dataclass(frozen=True)
class Layout:
    """An order of axes: `there` from (…, n, d), `back` from what came to the shape that is wanted."""

    name: str
    axes: int
    there: Callable = _as_it_lies
    back: Callable = _as_it_lies


def _moved(*order):
    inverse = np.argsort(order)
    return lambda x: x.transpose(order), lambda x, shape: x.transpose(inverse)


def _picture(x):
    """(batch, n, d) to (batch, d, height, width), n = height · width."""
    b, n, d = x.shape
    height = max(h for h in range(1, int(n**0.5) + 1) if n % h == 0)
    return x.swapaxes(1, 2).reshape(b, d, height, n // height)


def _rows_of_a_picture(x, shape):
    b, n, d = shape
    return x.reshape(b, d, n).swapaxes(1, 2)


def _joined(x):
    b, h, n, d = x.shape
    return x.swapaxes(1, 2).reshape(b, n, h * d)


def _parted(x, shape):
    b, h, n, d = shape
    if x.ndim != 3:
        raise ValueError(f"shape {x.shape}; wanted heads side by side")
    return x.reshape(b, n, h, d).swapaxes(1, 2)


LAYOUTS = [
    Layout("(n, d)", 2),
    Layout("(batch, n, d)", 3),
    Layout("(batch, heads, n, d)", 4),
    Layout("(batch, n, heads, d)", 4, *_moved(0, 2, 1, 3)),
    Layout("(n, batch, d)", 3, *_moved(1, 0, 2)),
    Layout("(d, n)", 2, *_moved(1, 0)),
    Layout("(batch, d, n)", 3, *_moved(0, 2, 1)),
    Layout("(batch, d, height, width)", 3, _picture, _rows_of_a_picture),
    Layout(
        "(batch, n, heads, d), and of the output (batch, n, heads · d)", 4, _moved(0, 2, 1, 3)[0], _parted
    ),
    Layout("(batch, heads, n, d), and of the output (batch, n, heads · d)", 4, back=_parted),
]
"""Those that people write, the usual ones first."""

NUMBERS = Layout("a number, or numbers in a row", 0)
PICTURES = [
    Layout("(batch, channels, height, width)", 4),
    Layout("(channels, height, width)", 3),
    Layout("(batch, height, width, channels)", 4, *_moved(0, 2, 3, 1)),
    Layout("(height, width, channels)", 3, *_moved(1, 2, 0)),
]

JOINED = Layout("(batch, n, heads · d)", 4, _joined, _parted)
"""Heads side by side, for who is told how many they are."""


@dataclass(frozen=True)
class Form:
    """A mask as an array: its axes, and what stands for a key that may be seen."""

    name: str
    shape: Callable
    value: Callable

    def __call__(self, visible: np.ndarray, dtype) -> np.ndarray:
        """The mask for `visible` (…, n, m); raises Unsayable."""
        return np.ascontiguousarray(self.value(self.shape(visible), dtype))


def _same_along(visible, axis):
    if not (visible == visible.take([0], axis)).all():
        raise Unsayable
    return visible.take(0, axis)


def _whole(visible):
    return visible


def _one_head(visible):
    if visible.ndim < 4:
        raise Unsayable
    return _same_along(visible, 1)[:, None]


def _without_heads(visible):
    if visible.ndim < 4:
        raise Unsayable
    return _same_along(visible, 1)


def _one_for_all(visible):
    if visible.ndim < 3:
        raise Unsayable
    while visible.ndim > 2:
        visible = _same_along(visible, 0)
    return visible


def _keys(visible):
    """(batch, m), or (m) without a batch."""
    visible = _same_along(visible, -2)
    return _same_along(visible, 1) if visible.ndim == 3 else visible


def _keys_with_axes(visible):
    """(batch, 1, 1, m), or (batch, 1, m)."""
    if visible.ndim < 3:
        raise Unsayable
    keys = _keys(visible)
    return keys.reshape(len(keys), *(1,) * (visible.ndim - 2), keys.shape[-1])


SHAPES = {
    "as large as the scores": _whole,
    "(batch, 1, n, m)": _one_head,
    "(batch, n, m)": _without_heads,
    "(n, m)": _one_for_all,
    "(batch, 1, …, m)": _keys_with_axes,
    "(batch, m)": _keys,
}


def _additive(visible, dtype):
    return np.where(visible, 0, -np.inf).astype(dtype)


def _lengths(visible):
    """How many keys may be seen, of those that stand first: (batch)."""
    keys = _keys(visible)
    lengths = keys.sum(-1)
    if not (keys == (np.arange(keys.shape[-1]) < lengths[..., None])).all():
        raise Unsayable
    return lengths


VALUES = {
    "True = may be seen": lambda visible, dtype: visible,
    "True = hidden": lambda visible, dtype: ~visible,
    "1 = may be seen": lambda visible, dtype: visible.astype(dtype),
    "1 = hidden": lambda visible, dtype: (~visible).astype(dtype),
    "1 = may be seen, whole numbers": lambda visible, dtype: visible.astype(np.int64),
    "1 = hidden, whole numbers": lambda visible, dtype: (~visible).astype(np.int64),
    "1 = may be seen, bytes": lambda visible, dtype: visible.astype(np.uint8),
    "1 = hidden, bytes": lambda visible, dtype: (~visible).astype(np.uint8),
    "added to the scores, 0 or −∞": _additive,
}
FORMS = [
    Form(f"{shape}, {value}", put, written)
    for value, written in VALUES.items()
    for shape, put in SHAPES.items()
] + [Form("lengths, (batch)", _lengths, lambda lengths, dtype: lengths.astype(np.int64))]
WHOLE = [form for form in FORMS if form.name.startswith("as large as the scores")]
"""Those that most functions take, whatever they would rather have."""
