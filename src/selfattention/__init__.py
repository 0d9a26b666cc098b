"""Self-attention, one formula at a time: every labelled equation of the book is a function here.

>>> from selfattention.formulas import softmax

Importing the package needs NumPy and jaxtyping only. `selfattention.modules` (torch) and
`selfattention.figures` (matplotlib) load their libraries when they are imported themselves.
"""

__version__ = "0.1.0"
