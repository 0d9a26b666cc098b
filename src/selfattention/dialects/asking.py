"""What a library is asked, and how it is asked: numbers and options here, a call with its line of code there.

Nothing here needs more than NumPy, for a library is asked in a process of its own, beside its own packages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

D = 16
"""The width of a head where a question does not say otherwise: its usual scale is 1/4."""


@dataclass(frozen=True)
class Asked:
    """One input, and what is wanted of it.

    Q (b, h, n, d_k), K (b, g, m, d_k), V (b, g, m, d_v); `mask` True = may see, which an adapter says as its
    library wants it, and so `bias`. `literal` is put in the mask's place as it is, whatever it means there.
    Four axes of a mask are those of the scores (b, h, n, m), or 1; with fewer it is handed over as it lies,
    and so are Q, K and V where `as_it_lies`. The first `past` keys come out of a cache. `window` is the
    number that is written in the window's place. `learning`: Q, K and V ask for their gradients.
    """

    Q: np.ndarray
    K: np.ndarray
    V: np.ndarray
    mask: np.ndarray | None = None
    bias: np.ndarray | None = None
    literal: np.ndarray | None = None
    causal: bool = False
    scale: float | None = None
    window: int | None = None
    softcap: float | None = None
    sink: np.ndarray | None = None
    past: int = 0
    dropout: float = 0.0
    training: bool = False
    as_it_lies: bool = False
    learning: bool = False
    tersely: bool = False
    dO: np.ndarray | None = None
    wants: str = "output"

    def but(self, **changes: Any) -> "Asked":
        """The same with some of it changed."""
        return replace(self, **changes)

    @property
    def needs(self) -> frozenset[str]:
        """What a door must take to be asked this: names of the arguments above, and what follows."""
        options = "bias", "literal", "scale", "window", "softcap", "sink"
        needs = {name for name in options if getattr(self, name) is not None}
        needs |= {
            name for name in ("causal", "past", "dropout", "training", "learning") if getattr(self, name)
        }
        if self.as_it_lies:
            needs.add(f"{self.Q.ndim} axes")
        if self.Q.ndim == 4 and self.Q.shape[1] > 1:
            needs.add("heads")
        if self.Q.shape[-2] != self.K.shape[-2]:
            needs.add("n ≠ m")
        if self.Q.dtype == np.float16:
            needs.add("half")
        if any(np.isnan(X).any() for X in (self.Q, self.K, self.V)):
            needs.add("not a number")
        if self.V.shape[-1] != self.K.shape[-1]:
            needs.add("d_v")
        if self.Q.ndim == 4 and self.Q.shape[1] != self.K.shape[1]:
            needs.add("grouped")
        if self.mask is not None:
            needs.add(self._kind_of_mask())
        if self.mask is not None and self.bias is not None:
            needs.add("mask and bias")
        if self.causal and (self.mask is not None or self.bias is not None):
            needs.add("mask and causal")
        if self.literal is not None and self.literal.dtype != self.Q.dtype:
            needs.add("masks of any dtype")
        return frozenset(needs | {self.wants})

    def _kind_of_mask(self):
        """Fewer axes than the scores have; the same for every query, as padding is; or any other."""
        if self.mask.ndim != 4:
            return "mask of fewer axes"
        return "padding" if self.mask.shape[2] == 1 < self.Q.shape[2] else "mask"


@dataclass(frozen=True)
class Call:
    """A call that can be made, and read aloud: `line` is made from the very arguments that `run` passes.

    `operands` come first, under the names that the line shows; of `options` those that are None are not said.
    """

    function: Callable
    written: str
    operands: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Any], Any] = np.asarray

    @property
    def line(self) -> str:
        """The call, as one writes it."""
        options = (f"{name}={shown(name, value)}" for name, value in self._said().items())
        operands = (
            name.strip() for name in self.operands
        )  # X is passed three times, under names that differ
        return f"{self.written}({', '.join([*operands, *options])})"

    def run(self) -> Any:
        """Make it: NumPy arrays, with the axes of `Asked`."""
        options = {name: _meant(value) for name, value in self._said().items()}
        return self.read(self.function(*map(_meant, self.operands.values()), **options))

    def _said(self):
        return {name: value for name, value in self.options.items() if value is not None}


def _meant(value):
    return value.value if isinstance(value, Written) else value


@dataclass(frozen=True)
class Written:
    """A value that a line of code writes in words of its own: what makes it, or its name."""

    value: Any
    text: str


def shown(name: str, value: Any) -> str:
    """How a value stands in a line of code: plain ones as they are, arrays by a name for what they hold."""
    if isinstance(value, Written):
        return value.text
    if isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(shown(name, part) for part in value)})"
    if not hasattr(value, "dtype"):
        return getattr(value, "__name__", name)
    return "bias" if "float" in str(value.dtype) else "mask"


@dataclass(frozen=True)
class Door:
    """One way into a library: a function with its flags, or a layer in one of its modes.

    `call` makes a Call of an Asked; `takes` are the words of `Asked.needs` that it has an argument for.
    """

    name: str
    call: Callable[[Asked], Call]
    takes: frozenset[str]

    def lacks(self, asked: Asked) -> frozenset[str]:
        """What cannot be said here."""
        return asked.needs - self.takes


@dataclass(frozen=True)
class Library:
    """A library: how it is called in sentences, what pip installs for it, and its doors.

    `packages` are pinned; with none, the library is asked in the environment in which the tests run.
    `reports` are the distributions whose versions are written down. `settings` go into the process's
    environment.
    """

    title: str
    packages: tuple[str, ...]
    doors: tuple[Door, ...]
    reports: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    npm: tuple[str, ...] = ()
    module: str = "numpy"


USUAL = frozenset(
    {"output", "heads", "n ≠ m", "half", "not a number", "mask and causal", "masks of any dtype"}
)
"""What nearly every door takes."""

LAYER_ONLY = frozenset({"heads", "start", "storage"})
"""What is asked of a layer that has no more to say than the function under it."""


def words(text: str) -> frozenset[str]:
    """ "mask, bias" as a set, and what is usual: the words that a door takes."""
    return USUAL | {*filter(None, (word.strip() for word in text.split(",")))}


def heads_last(X: np.ndarray) -> np.ndarray:
    """(b, h, n, d) to (b, n, h, d), and back."""
    return np.ascontiguousarray(np.swapaxes(X, 1, 2))


def joined(X: np.ndarray) -> np.ndarray:
    """(b, h, n, d) to (b, n, h·d), the heads side by side: what a layer with d_model = h·d takes."""
    b, h, n, d = X.shape
    return heads_last(X).reshape(b, n, h * d)


def parted(X: np.ndarray, h: int) -> np.ndarray:
    """(b, n, h·d) to (b, h, n, d)."""
    b, n, width = X.shape
    return heads_last(X.reshape(b, n, h, width // h))
