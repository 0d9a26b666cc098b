"""Wrong `attention(Q, K, V, *, mask, sink) -> (O, L)`: what becomes of a sink for each head."""

import numpy as np

from selfattention.implementations.numpy_direct import attention


def sink_scaled(Q, K, V, *, mask=None, sink=None):
    """The sink divided by √d_k, as if it were a product of a query and a key. Chapter 15."""
    return attention(Q, K, V, mask=mask, sink=sink * Q.shape[-1] ** -0.5)


def column_divided_away(Q, K, V, *, mask=None, sink=None):
    """The sink's column dropped and the rest divided by its sum again: rows sum to one. Chapter 15."""
    _, L = attention(Q, K, V, mask=mask, sink=sink)
    return attention(Q, K, V, mask=mask)[0], L


def sink_for_its_exponential(Q, K, V, *, mask=None, sink=None):
    """s added to the row sum in place of e^s. Chapter 15."""
    return attention(Q, K, V, mask=mask, sink=np.log(np.abs(sink)))


def log_sum_exp_of_the_keys(Q, K, V, *, mask=None, sink=None):
    """L without the sink: whoever merges by it gives the keys too much. Chapter 13."""
    O, _ = attention(Q, K, V, mask=mask, sink=sink)
    return O, attention(Q, K, V, mask=mask)[1]


def one_sink_for_all(Q, K, V, *, mask=None, sink=None):
    """The first head's sink for all heads. Chapter 15."""
    return attention(Q, K, V, mask=mask, sink=np.full_like(sink, sink[0]))


def sink_read_sideways(Q, K, V, *, mask=None, sink=None):
    """The heads' sinks in the wrong order, as where groups come before heads. Chapter 15."""
    return attention(Q, K, V, mask=mask, sink=sink.reshape(2, -1).T.ravel())


def sink_of_zero(Q, K, V, *, mask=None, sink=None):
    """One added to every row sum, for any sink: that is the sink of score 0. Chapter 15."""
    return attention(Q, K, V, mask=mask, sink=np.zeros_like(sink))


def sink_in_every_tile(Q, K, V, *, mask=None, sink=None):
    """Each of two tiles begins with the sink's state, and merging them counts it twice. Chapter 13."""
    return attention(Q, K, V, mask=mask, sink=sink + np.log(2))


def nobody_sees_the_sink(Q, K, V, *, mask=None, sink=None):
    """A row that may see no key has L = −∞, as if the mask had hidden the sink. Chapter 13."""
    O, L = attention(Q, K, V, mask=mask, sink=sink)
    return O, np.where(np.isneginf(attention(Q, K, V, mask=mask)[1]), -np.inf, L)
