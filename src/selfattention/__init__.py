"""Self-attention, one formula at a time: every labelled equation of the book is a function here.

>>> from selfattention.formulas import softmax

`selfattention.attention(Q, K, V)` computes it as fast as this machine can, on NumPy arrays or torch tensors.

Importing the package needs NumPy and jaxtyping only. `selfattention.modules` (torch) and
`selfattention.figures` (matplotlib) load their libraries when they are imported themselves, and so do
`selfattention.attention(Q, K, V)` and `selfattention.examine(mine)` when they are asked for.
"""

from time import time as _time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfattention.implementations.choice import (
        attention,
        attention_backward,
        fastest,
        fastest_backward,
    )

__version__ = "0.1.0"
__all__ = ["attention", "attention_backward", "fastest", "fastest_backward"]
LOADED_AT = _time()  # a source that has changed since is not what runs here


def __getattr__(name):
    from importlib import import_module

    if name == "examine":
        return import_module("selfattention.examine")
    if name in __all__:
        globals()[name] = value = getattr(import_module("selfattention.implementations.choice"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
