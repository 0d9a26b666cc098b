"""The contract, step by step: what does not change from one token to the next is asked once::

    steps(K, V, *, mask=causal, scale=None, softcap=None, sink=None) -> [attend, …]
    attend(Q, length) -> (O, L)

K (layers, …, g, c, d_k) and V (layers, …, g, c, d_v) are a cache with room for c keys in every layer;
whoever owns it fills it, in place. There is one `attend` for every layer. Its Q (…, h, n, d_k) are
the queries of the last n of the layer's first `length` keys, and it gives

    attention(Q, K[..., :length, :], V[..., :length, :], mask=bottom_right(mask, n, length), scale=scale,
              softcap=softcap, sink=sink[layer])

without asking again, for every layer of every token, what shapes and dtypes there are and who may see
whom: that takes longer than a short cache's arithmetic. The rule is asked once for all layers of a step.
A cache that has forgotten keys is a shorter one: whoever keeps the last w of `window(w)`, or the first k
of `sinks(k)` besides, has the same distances in the window as before.
"""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, Protocol

import numpy as np

from selfattention.implementations.arguments import (
    check_kind,
    check_library,
    is_tensor,
    norm,
    taken,
    unchanged,
)
from selfattention.implementations.contract import Attention, Form, quiet
from selfattention.implementations.introduction import STEPS, introduced, maker_of
from selfattention.implementations.sinks import merged
from selfattention.masks import Rule, bottom_right, causal


class Attend(Protocol):
    """How one layer's cache is attended to."""

    def __call__(self, Q: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]: ...


class Steps(Protocol):
    """How the steps of a sequence begin."""

    def __call__(
        self,
        K: np.ndarray,
        V: np.ndarray,
        *,
        mask: Rule = causal,
        scale: float | None = None,
        softcap: float | None = None,
        sink: np.ndarray | None = None,
    ) -> list[Attend]: ...


def stepping(attention: Attention, plan: Callable[..., Any]) -> Callable[[Callable[..., Any]], Steps]:
    """Let `function(Q, K, V, plan, scale, softcap) -> (O, L, tame)` take the steps of `attention`.

    It is given Q (b, h, n, d_k) and the whole of a layer's cache, (b, g, c, d), all in order in memory
    and of one dtype, float32 or float64; `plan(rule, n, m, dtype)` is what it wants to know of the rule
    for the first m of the c keys. `tame` is False where some score that somebody may see was not
    finite, or could have been. Then, and where O is not finite, `attention` has the word: so what is
    promised of NaN stands in one place. Whoever has been given `attention` finds them as its `steps`.
    """

    def decorate(function):
        def steps(K, V, *, mask=causal, scale=None, softcap=None, sink=None):
            _check_cache(K, V, maker_of(function))
            _check_rule(mask)
            sinks = [None] * len(K) if sink is None else _one_per_layer(sink, len(K), maker_of(function))
            sequence = _Sequence(attention, function, plan, mask, scale, softcap)
            layers = zip(K, V, sinks, strict=True)
            return [_Layer(sequence, keys, values, sink).attend for keys, values, sink in layers]

        attention.steps = introduced(steps, function, STEPS)
        return attention.steps

    return decorate


class _Sequence:
    """What all layers of a sequence share: the answer to the last question about shapes and the rule."""

    def __init__(self, attention, function, plan, mask, scale, softcap):
        self.attention, self.function, self.plan = attention, function, plan
        self.mask, self.scale, self.softcap = mask, scale, softcap
        self.question = self.answer = None

    def planned(self, Q, K, V, length):
        """(scale, softcap, plan) for a Q like this one. Raises what `attention` would."""
        question = Q.shape, Q.dtype, length
        if question != self.question:
            self.answer, self.question = self._ask(Q, K[..., :length, :], V[..., :length, :]), question
        return self.answer

    def _ask(self, Q, K, V):
        self.question = None  # of one that cannot be answered nothing is kept
        n, m = Q.shape[-2] if Q.ndim > 1 else 0, K.shape[-2]
        Q, K, V = taken(maker_of(self.function), Q=Q, K=K, V=V)
        form = Form(Q, K, V, bottom_right(self.mask, n, m), None, self.scale, unchanged, self.softcap)
        return form.scale, form.softcap, self.plan(form.rule, n, m, Q.dtype)


class _Layer:
    """One layer's part of the cache, and how to attend to it."""

    def __init__(self, sequence, K, V, sink):
        self.sequence, self.K, self.V, self.sink = sequence, K, V, sink
        self.at_hand = _at_hand(K) and _at_hand(V)
        if sink is not None:
            self.column = sink.astype(K.dtype)[:, None]
            self.at_hand = self.at_hand and bool((self.column < np.inf).all())

    def attend(self, Q, length):
        """O (…, h, n, d_v) and L (…, h, n) of the last n of the first `length` keys."""
        self._check_length(length)
        if self.at_hand and type(Q) is np.ndarray and Q.dtype == self.K.dtype and Q.size and length:
            O, L, tame = self._step(Q, length)
            if tame and math.isfinite(norm(O)):
                if self.sink is not None:
                    with quiet():
                        O, L = merged(O, L, self.column)
                return O.reshape(*Q.shape[:-1], O.shape[-1]), L.reshape(Q.shape[:-1])
        return self._as_a_whole(Q, length)

    def _step(self, Q, length):
        scale, softcap, plan = self.sequence.planned(Q, self.K, self.V, length)
        if self.sink is not None:
            _check_heads(self.sink, Q)
        arrays = map(_one_batch_axis, (np.ascontiguousarray(Q), self.K, self.V))
        with quiet():
            return self.sequence.function(*arrays, plan, scale, softcap)

    def _as_a_whole(self, Q, length):
        n = Q.shape[-2] if getattr(Q, "ndim", 0) > 1 else 0  # without such an axis `attention` refuses it
        K, V = self.K[..., :length, :], self.V[..., :length, :]
        mask = bottom_right(self.sequence.mask, n, length)
        scale, softcap = self.sequence.scale, self.sequence.softcap
        return self.sequence.attention(Q, K, V, mask=mask, scale=scale, softcap=softcap, sink=self.sink)

    def _check_length(self, length):
        room = self.K.shape[-2]
        if not isinstance(length, Integral) or isinstance(length, bool) or not 0 <= length <= room:
            raise ValueError(f"length is {length!r}; wanted 0 to {room}, the places that the cache has")


def _at_hand(X):
    """Is it as the arithmetic takes it, so that no step makes a copy: in order, in float32 or float64?"""
    return not is_tensor(X) and X.flags.carray and X.dtype.isnative and X.itemsize >= 4


def _one_batch_axis(X):
    """(…, h, n, d) as (b, h, n, d), on the same memory."""
    return X.reshape(math.prod(X.shape[:-3]), *(1, *X.shape)[-3:])


def _check_cache(K, V, maker):
    for name, array in ("K", K), ("V", V):
        check_library(name, array, maker)
        check_kind(name, array, "f", "floats: float16, bfloat16, float32 or float64")
        if array.ndim < 3:
            raise ValueError(f"{name} has shape {tuple(array.shape)}; wanted (layers, …, g, c, d)")
    if V.dtype != K.dtype:
        raise TypeError(f"V has dtype {V.dtype}; wanted that of K, {K.dtype}")
    if V.shape[:-1] != K.shape[:-1]:
        raise ValueError(
            f"V has shape {tuple(V.shape)}; wanted the axes of K, {tuple(K.shape[:-1])}, and d_v"
        )


def _one_per_layer(sink, layers, maker):
    """The sinks of each layer, of a number for each of its heads."""
    check_library("sink", sink, maker)
    check_kind("sink", sink, "f", "floats: float16, bfloat16, float32 or float64")
    if sink.ndim != 2 or len(sink) != layers:
        raise ValueError(f"sink has shape {tuple(sink.shape)}; wanted ({layers}, h), a row for each layer")
    return list(sink)


def _check_heads(sink, Q):
    h = (1, *Q.shape)[-3]
    if sink.shape != (h,):
        raise ValueError(f"sink has shape {sink.shape} in each layer; wanted ({h},), the heads of Q")


def _check_rule(mask):
    if not isinstance(mask, Rule):
        came = f"mask is a {type(mask).__name__}"
        raise TypeError(f"{came}; wanted a rule, which has an answer for every step: Table(array) makes one")
