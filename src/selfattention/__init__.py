"""Self-attention, one formula at a time: every labelled equation of the book is a function here.

>>> from selfattention.formulas import softmax

Importing the package needs NumPy and jaxtyping only. `selfattention.modules` (torch) and
`selfattention.figures` (matplotlib) load their libraries when they are imported themselves, and so does
`selfattention.examine(mine)` when it is asked for.
"""

__version__ = "0.1.0"


def __getattr__(name):
    if name == "examine":
        from importlib import import_module

        return import_module("selfattention.examine")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
