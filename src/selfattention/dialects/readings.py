"""A reading of a question, as numbers: what the contract gives once the question is settled that way.

Every reading is a function of the input, Asked -> numbers, and calls one implementation in float64: a reading
is what can be said in the contract's own words. Answers are then recognised by their numbers, not by their
names.
"""

from collections.abc import Callable

import numpy as np

from selfattention.dialects.asking import Asked
from selfattention.implementations import IMPLEMENTATIONS

Numbers = np.ndarray
Reading = Callable[[Asked], Numbers]

NONE = "none of these"
REFUSED = "refused"
SILENT = "no answer"
DEPENDS = "depends"

LOWEST = np.finfo(np.float64).min


def attend(asked: Asked, visible: np.ndarray | None = None, **options) -> tuple[np.ndarray, np.ndarray]:
    """O (b, h, n, d_v) and L (b, h, n) of the contract in float64, `visible` standing for mask and causal."""
    Q, K, V = (np.asarray(X, np.float64) for X in (asked.Q, asked.K, asked.V))
    bias = asked.bias if asked.bias is None else np.asarray(asked.bias, np.float64)
    said = {"bias": bias, "scale": asked.scale, "softcap": asked.softcap, "sink": asked.sink} | options
    if said["sink"] is not None:
        said["sink"] = np.asarray(said["sink"], np.float64)
    return IMPLEMENTATIONS["numpy_direct"].load().attention(Q, K, V, mask=visible, **said)


def weights(asked: Asked, visible: np.ndarray | None = None, **options) -> np.ndarray:
    """A (b, h, n, m): the output for values that are the rows of the identity."""
    b, g, m, _ = asked.K.shape
    V = np.broadcast_to(np.eye(m), (b, g, m, m))
    return attend(asked.but(V=V), visible, **options)[0]


def first_column(O: np.ndarray) -> Numbers:
    """Values have equal columns in a question, so one of the output's says it all; if not, all are said."""
    O = np.asarray(O, np.float64)
    if O.size and not np.allclose(O, O[..., :1], rtol=1e-3, atol=1e-4, equal_nan=True):
        return O.ravel()
    return O[..., 0].ravel()


def everything(X: np.ndarray) -> Numbers:
    """All numbers in a row."""
    return np.asarray(X, np.float64).ravel()


def distinct(X: np.ndarray) -> Numbers:
    """The different numbers among them, ascending: what of a random answer is not random."""
    return np.unique(np.round(np.asarray(X, np.float64), 4))


def output(visible: Callable[[Asked], np.ndarray | None] = lambda asked: None, **options) -> Reading:
    """The reading: the output, everybody seeing whom `visible` says."""
    return lambda asked: first_column(attend(asked, visible(asked), **options)[0])


# Who sees whom (b, h, n, m) or what broadcasts to it.


def top_left(asked: Asked) -> np.ndarray:
    """Query 0 stands beside key 0."""
    n, m = asked.Q.shape[2], asked.K.shape[2]
    return np.tri(n, m, dtype=bool)[None, None]


def bottom_right(asked: Asked) -> np.ndarray:
    """The last query stands beside the last key."""
    n, m = asked.Q.shape[2], asked.K.shape[2]
    return np.tri(n, m, m - n, dtype=bool)[None, None]


def every_key(asked: Asked) -> np.ndarray:
    """Nobody is hidden."""
    return np.ones((1, 1, asked.Q.shape[2], asked.K.shape[2]), bool)


def masked(asked: Asked) -> np.ndarray:
    """As the mask, or the −∞ of the bias, says."""
    seen = every_key(asked)
    if asked.mask is not None:
        seen = seen & asked.mask
    return seen if asked.bias is None else seen & hides_nothing(asked.bias)


def hides_nothing(bias: np.ndarray) -> np.ndarray:
    """True where a bias is no −∞ and not its dtype's lowest number, which people write instead."""
    return bias > np.finfo(bias.dtype).min


def masked_and_causal(asked: Asked) -> np.ndarray:
    """Both, query 0 beside key 0."""
    return masked(asked) & top_left(asked)


def _opened(seen):
    """Rows that see nobody see everybody."""
    return seen | ~seen.any(-1, keepdims=True)


# What becomes of a row that may see nothing, `seen` saying which rows do.

Seen = Callable[[Asked], np.ndarray]


def zeros(seen: Seen = masked, read: Callable = first_column) -> Reading:
    """0: the contract as it is."""
    return lambda asked: read(attend(asked, seen(asked), bias=None)[0])


def not_a_number(seen: Seen = masked, read: Callable = first_column) -> Reading:
    """NaN: as if the row saw everybody, and its query were NaN."""

    def reading(asked):
        empty = np.broadcast_to(~seen(asked).any(-1, keepdims=True), (*asked.Q.shape[:-1], 1))
        Q = np.where(empty, np.nan, asked.Q)
        return read(attend(asked.but(Q=Q), _opened(seen(asked)), bias=None)[0])

    return reading


def mean_of_all(seen: Seen = masked, read: Callable = first_column) -> Reading:
    """The mean of all keys: the lowest number stands for −∞, and every score drowns in it alike."""
    return lambda asked: read(attend(asked, bias=_drowned(seen(asked), asked))[0])


def mean_of(among: Seen, seen: Seen = masked) -> Reading:
    """The mean of some keys: the lowest number for the others, −∞ for those that `among` hides."""
    return lambda asked: first_column(
        attend(asked, among(asked) & _opened(seen(asked)) | seen(asked), bias=_drowned(seen(asked), asked))[0]
    )


def as_if_unmasked(seen: Seen = masked, read: Callable = first_column) -> Reading:
    """The row as it is without the mask."""
    return lambda asked: read(attend(asked, _opened(seen(asked)), bias=None)[0])


def as_if_only(other: Seen, seen: Seen = masked) -> Reading:
    """The row as it is where only `other` says who sees whom."""

    def reading(asked):
        empty = ~seen(asked).any(-1, keepdims=True)
        return first_column(attend(asked, np.where(empty, other(asked), seen(asked)), bias=None)[0])

    return reading


def _drowned(seen, asked):
    """The bias 0 or LOWEST."""
    return np.where(seen, 0.0, LOWEST)


# Recognising.


def close(numbers: Numbers, wanted: Numbers, dtype: str) -> bool:
    """The same numbers, NaN and ∞ in the same places, to the precision in which the library computed."""
    numbers, wanted = np.asarray(numbers, np.float64), np.asarray(wanted, np.float64)
    tolerance = 4e-3 if dtype == "float16" else 2e-4
    return numbers.shape == wanted.shape and bool(
        np.allclose(numbers, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    )
