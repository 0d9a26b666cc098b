"""What a question is, and the inputs that questions are made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from selfattention.dialects.asking import Asked, D
from selfattention.dialects.readings import NONE, Numbers, Reading, close, first_column


@dataclass(frozen=True)
class Question:
    """One thing about which the formula is silent.

    `asks` is the question in a sentence, `why` says what goes wrong where it is answered otherwise than one
    thinks. `readings` are the answers that it can have; those in `theoretical` somebody might give, and
    nobody whom we asked does. `variants` change what is asked: an answer that changes with them is "depends".
    `pick` makes of what the library returns the few numbers that tell. `alike` are readings that a variant
    cannot tell from others, and which are not looked for there.
    """

    name: str
    asks: str
    why: str
    asked: Asked
    readings: Mapping[str, Reading]
    variants: Mapping[str, Callable[[Asked], Asked]] = field(default_factory=dict)
    pick: Callable[[np.ndarray], Numbers] = first_column
    theoretical: frozenset[str] = frozenset()
    alike: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def variant(self, name: str) -> Asked:
        """What is asked in a variant; "" is the question itself."""
        return self.variants[name](self.asked) if name else self.asked

    def asked_once(self, variant: str = "") -> Asked:
        """What is asked in a variant; where the same queries come again and again, their first copy."""
        asked, n = self.variant(variant), self.asked.Q.shape[-2]
        if asked.Q.shape[-2] > n:
            asked = asked.but(**{name: _first(getattr(asked, name), n) for name in ("Q", "mask", "bias")})
        return asked

    def expected(self, reading: str, variant: str = "") -> Numbers:
        """The numbers of that reading, those of the first copy of the queries."""
        return self.readings[reading](self.asked_once(variant))

    def recognised(self, numbers: Numbers, variant: str = "") -> str:
        """The name of the reading that gives these numbers; `NONE` where none does."""
        dtype = self.variant(variant).Q.dtype.name
        names = self.looked_for(variant)
        return next((name for name in names if close(numbers, self.expected(name, variant), dtype)), NONE)

    def looked_for(self, variant: str = "") -> list[str]:
        """The readings between which this variant decides."""
        return [name for name in self.readings if name not in self.alike.get(variant, ())]

    @property
    def inputs(self) -> dict[str, Asked]:
        """All that is asked, by the variant's name."""
        return {name: self.variant(name) for name in ("", *self.variants)}


def _first(X, n):
    return X if X is None else X[..., :n, :]


def case(shares: np.ndarray, values: np.ndarray, **options) -> Asked:
    """Weights in these proportions, before any mask, and values that have equal columns.

    shares (…, n, m) and values (…, m), with no, one (heads) or two (batch, heads) axes in front: query i is 4
    times the unit vector i, so that its scaled score of key j is ln shares[i, j].
    """
    shares, values = np.array(shares, float), np.array(values, float)
    shares, values = (X.reshape((1,) * (4 - X.ndim) + X.shape) for X in (shares, values[..., None]))
    b, h, n, m = shares.shape
    Q = np.broadcast_to(4 * np.eye(n, D), (b, h, n, D))
    K = np.zeros((b, h, m, D))
    K[..., :n] = np.log(shares).swapaxes(-1, -2)
    V = np.broadcast_to(values, (*values.shape[:-1], D))
    return Asked(*(np.ascontiguousarray(X, np.float32) for X in (Q, K, V)), **options)


def table(rows) -> np.ndarray:
    """0 and 1 as a mask (1, 1, n, m)."""
    return np.array(rows, bool)[None, None]


# Variants.


def half(asked: Asked) -> Asked:
    """All of it in float16; a bias of the lowest float becomes the lowest float16."""
    bias = asked.bias
    if bias is not None:
        with np.errstate(over="ignore"):
            narrow = bias.astype(np.float16)
        lowest = bias == np.finfo(bias.dtype).min
        bias = np.where(lowest, np.finfo(np.float16).min, narrow).astype(np.float16)
    Q, K, V = (X.astype(np.float16) for X in (asked.Q, asked.K, asked.V))
    return asked.but(Q=Q, K=K, V=V, bias=bias)


def narrow_values(asked: Asked) -> Asked:
    """d_v = 8, half of d_k."""
    return asked.but(V=np.ascontiguousarray(asked.V[..., :8]))


def one_query(row: int) -> Callable[[Asked], Asked]:
    """That query alone, as in a step of decoding."""

    def alone(asked):
        mask, bias = (x if x is None else x[..., row : row + 1, :] for x in (asked.mask, asked.bias))
        return asked.but(Q=asked.Q[..., row : row + 1, :].copy(), mask=mask, bias=bias)

    return alone


def many_queries(asked: Asked) -> Asked:
    """The same queries again and again, 66 in all: some kernels have a path for few."""
    n = asked.Q.shape[2]

    def again(X):
        return X if X is None or X.shape[2] == 1 else np.concatenate([X] * (66 // n), 2)

    return asked.but(Q=again(asked.Q), mask=again(asked.mask), bias=again(asked.bias))


def one_row(asked: Asked) -> Asked:
    """The mask (…, 1, m), one row for all queries, as padding usually comes."""
    return asked.but(mask=asked.mask[:, :, :1].copy())


def learning(asked: Asked) -> Asked:
    """Q, K and V ask for their gradients, as in training."""
    return asked.but(learning=True)


def by_minus_infinity(asked: Asked) -> Asked:
    """A bias of −∞ says what the mask said."""
    rows = np.broadcast_to(asked.mask, (*asked.mask.shape[:2], asked.Q.shape[2], asked.K.shape[2]))
    return asked.but(mask=None, bias=np.where(rows, 0, -np.inf).astype(np.float32))
