"""A sink of score s beside the keys: the merge with its state (s, 1, 0), the same for every implementation.

O and L of all keys are a state as well, (L, 1, O); so an implementation needs not know of a sink. Rows
(b, h, n) come with a sink (h, 1), each in the dtype of the sums, NumPy's or torch's; differentiable, twice.
"""

import numpy as np

from selfattention.implementations.arguments import library_of


def merged(O, L, sink):
    """O σ(L − s) and ln(e^L + e^s), of O (b, h, n, d_v) and L (b, h, n).

    A row that has seen no key has O = 0 and L = s then; a sink of −∞ changes nothing.
    """
    xp = library_of(L)
    alone, no_sink = L == -np.inf, sink == -np.inf
    l, s = xp.where(alone, 0, L), xp.where(no_sink, 0, sink)  # −∞ − (−∞) is not a number, nor its slope
    share = xp.where(no_sink, 1, _sigmoid(l - s))
    total = xp.where(alone, sink, xp.where(no_sink, L, xp.logaddexp(l, s)))
    return O * share[..., None], total


def state_with_sink(c, Z, sink):
    """c and Z of all keys and the sink; with None for it, of the keys."""
    if sink is None:
        return c, Z
    xp = library_of(c)
    top = xp.maximum(c, sink)
    shift = xp.where(top == -np.inf, 0, top)
    return top, Z * xp.exp(c - shift) + xp.exp(sink - shift)


def sinks_share(L, sink):
    """e^{s − L}, the sink's weight in every row whose L it is in; 0 where the row is not a number."""
    xp = library_of(L)
    live = xp.isfinite(L)
    return xp.where(live, xp.exp(sink - xp.where(live, L, 0)), 0)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x)) if isinstance(x, np.ndarray) else library_of(x).sigmoid(x)
