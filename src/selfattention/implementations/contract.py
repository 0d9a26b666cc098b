"""One contract, computed many ways: what every implementation takes, promises and refuses::

    attention(Q, K, V, *, mask=None, bias=None, scale=None, softcap=None, sink=None) -> (O, L)
    attention_backward(dO, Q, K, V, O, L, *, the same five) -> (dQ, dK, dV)

Q (…, h, n, d_k), K (…, g, m, d_k), V (…, g, m, d_v); g divides h, and head i reads the keys of
group i // (h / g), without a copy of K or V. `mask` is a rule of `selfattention.masks` or a boolean
array that broadcasts to (…, h, n, m), True = may see: three axes are one mask per head, (h, n, m). A
rule answers with (n, m), (h, n, m) or (b, h, n, m), b the members of all leading axes, in order.
`bias` (…, h, n, m) is added to the scaled scores; `scale` is d_k**-0.5 where it is not given. A bias that
is learned gets its gradient, summed over what it was broadcast over: see `learned_bias`.
O (…, h, n, d_v) is the output, L (…, h, n) the log-sum-exp of each row of scores. O has the dtype of
Q, K and V; half precisions accumulate in float32, and L stays there.

The order is scale, softcap, bias, mask
    S = C tanh(scale · Q Kᵀ / C) + bias with C = `softcap`, a positive number, and then −∞ where the mask
    forbids: so do Gemma 2 (Gemma Team 2024, section 2), FlashAttention's kernels, and ONNX's `Attention`
    since onnx/onnx pull request 7867. Behind the mask a cap would turn −∞ into −C, and the hidden key would
    have a weight again. Whoever caps the bias as well has another formula: x-transformers, and Gemma 4's
    audio encoder (onnx/onnx issue 7829).

A sink is one key more, of value 0
    `sink` (h,) has a score s for each head (gpt-oss: OpenAI 2025). It is neither scaled nor capped, gets
    no bias, and no mask hides it: O = Σ_j e^{S_j − L} V_j with L = ln(e^s + Σ_j e^{S_j}), one merge of the
    state (L, 1, O) with (s, 1, 0). The weights of a row then sum to 1 − e^{s − L}, and a row that may see no
    key has L = s. `attention_backward` takes the O and L that the sink is in. A sink that is learned gets
    its gradient from `learned_sink`, or from autograd. A sink of −∞ is none. A sink's share is as exact as
    L is: beside scores of 10⁹ both are rounded to steps of 64.

What is not finite
    in anything that a row may see, its own query, the keys and values, their biases, their scores
    (which may overflow), gives NaN in that row of O and of L. What it may not see changes no bit, of
    O, L or any gradient. −∞ in the bias is "may not see"; a finite bias, however large and negative,
    hides nobody. A row that may see nothing gives 0 in O, −∞ in L and zero gradients, whatever stands
    in it. A row of NaN sends nothing back. What is not finite in dO gives NaN in that row of dQ and in
    dK and dV of the keys that the row sees, and nowhere else. A product scale · q · k that overflows is
    not finite, whatever cap would follow. Every row of its head sees a sink, NaN and ∞ in it too; −∞ in it
    is "there is none".

A row of O is a mean of values: finite values, however large, give finite numbers.

The backward pass takes the L of any implementation that is right to its dtype's rounding. Where L is
so large that this rounding shows in the weights, it takes c and Z of L = c + ln Z again.

The decorators below do all of that which is the same for everyone: they check, bring every call to
one form, and keep what is not finite away from the arithmetic, before it or, for `forward_that_tells`,
by computing again. What is left to an implementation is the arithmetic: finite Q (b, h, n, d_k),
K (b, g, m, d_k), V (b, g, m, d_v) of one dtype, a rule, a bias of finite numbers and −∞ or None, a
scale, a softcap or None; and no score that overflows where somebody may see it. The sink is merged here.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from selfattention.implementations.arguments import (
    accumulator,
    beside,
    cast,
    check_answers,
    check_axes,
    checked_beside,
    detached,
    in_its_own_dtype,
    is_finite,
    is_tensor,
    learns,
    library_of,
    norm,
    taken,
    truth,
    unchanged,
    usual_scale,
)
from selfattention.implementations.introduction import BACKWARD, FORWARD, introduced, maker_of
from selfattention.implementations.sinks import merged, state_with_sink
from selfattention.masks import Rule, Says, everybody

Array = TypeVar("Array")
"""NumPy arrays or torch tensors: what comes in goes out."""


class Attention(Protocol):
    """How an implementation's forward pass is called."""

    def __call__(
        self,
        Q: Array,
        K: Array,
        V: Array,
        *,
        mask: Rule | Any | None = None,
        bias: Any | None = None,
        scale: float | np.floating | np.integer | None = None,
        softcap: float | np.floating | np.integer | None = None,
        sink: Any | None = None,
    ) -> tuple[Array, Array]: ...


class AttentionBackward(Protocol):
    """How an implementation's backward pass is called."""

    def __call__(
        self,
        dO: Array,
        Q: Array,
        K: Array,
        V: Array,
        O: Array,
        L: Array,
        *,
        mask: Rule | Any | None = None,
        bias: Any | None = None,
        scale: float | np.floating | np.integer | None = None,
        softcap: float | np.floating | np.integer | None = None,
        sink: Any | None = None,
    ) -> tuple[Array, Array, Array]: ...


def forward(function: Callable) -> Attention:
    """Let `function(Q, K, V, rule, bias, scale, softcap) -> (O, L)`, on the one form, keep the contract."""
    return _forward(function, _of_finite_numbers, accumulator)


def forward_in_half(function: Callable) -> Attention:
    """The same for a function that widens halves itself: they come as they are."""
    return _forward(function, _of_finite_numbers, unchanged)


def forward_that_tells(function: Callable) -> Attention:
    """The same for `function(…) -> (O, L, tame)`, which may meet what is not finite.

    `tame` is False where some number in Q or K was so large, or no number at all, that a score could
    have overflowed; what is not finite in a value shows in O. Only then the inputs are searched and
    everything is computed again: where all is finite, no array is read just to make sure.
    """
    return _forward(function, _searched_afterwards, accumulator)


def backward(function: Callable) -> AttentionBackward:
    """Let `function(dO, Q, K, V, O, L, rule, bias, scale, softcap, sink) -> (dQ, dK, dV)` keep the contract.

    The function takes its weights from the scores and the sink, (h, 1) or None, as those of the forward
    pass; for the others see `backward_from`.
    """
    return _backward(function, None, accumulator)


def backward_from(states: Callable) -> Callable[[Callable], AttentionBackward]:
    """The same for a function with weights e^{S − L}, which needs no sink: it is in L.

    `states(Q, K, rule, bias, scale, softcap)` gives (c, Z).
    c (b, h, n) is a number that no score of the row exceeds by much, and Z (b, h, n) the sum of the
    row's e^{S − c}, both from scores with the same rounding errors as the function's own.
    """
    return lambda function: _backward(function, states, accumulator)


def backward_in_half_from(states: Callable) -> Callable[[Callable], AttentionBackward]:
    """The same for a function that widens halves itself: they come as they are."""
    return lambda function: _backward(function, states, unchanged)


def _forward(function, answer, working_dtype):
    maker = maker_of(function)

    def attention(Q, K, V, *, mask=None, bias=None, scale=None, softcap=None, sink=None):
        Q, K, V = taken(maker, Q=Q, K=K, V=V)
        with in_its_own_dtype(Q):
            form = Form(Q, K, V, mask, bias, scale, working_dtype, softcap, sink)
            O, L = answer(function, form, Q, K, V)
            return cast(O.reshape(*Q.shape[:-1], V.shape[-1]), Q.dtype), L.reshape(Q.shape[:-1])

    return introduced(attention, function, FORWARD)


def _of_finite_numbers(function, form, Q, K, V):
    arguments, poisoned, unit = form.clean(Q, K, V)
    with quiet():
        O, L = form.with_sink(*function(*arguments, form.scale, form.softcap)[:2])
    if poisoned is not None:
        O = form.xp.where(poisoned[..., None], np.nan, _at_full_size(O, unit))
        L = form.xp.where(poisoned, np.nan, L)
    return O, L


def _searched_afterwards(function, form, Q, K, V):
    if form.bias_is_tame() and form.bad_sink is None:
        with quiet():
            rest = form.rule, form.bias, form.scale, form.softcap
            O, L, tame = function(*map(form.fold, (Q, K, V)), *rest)
            if tame and math.isfinite(norm(O)):
                return form.with_sink(O, L)
    return _of_finite_numbers(function, form, Q, K, V)


def _backward(function, states, working_dtype):
    maker = maker_of(function)
    careful = sent_back(lambda dO, dL, *rest: function(dO, *rest), states)

    def attention_backward(dO, Q, K, V, O, L, *, mask=None, bias=None, scale=None, softcap=None, sink=None):
        Q, K, V, dO, O, L = taken(maker, Q=Q, K=K, V=V, dO=dO, O=O, L=L)
        check_answers(Q, V, dO, O, L)
        with in_its_own_dtype(Q):
            form = Form(Q, K, V, mask, bias, scale, working_dtype, softcap, sink)
            arguments, poisoned, unit = form.clean(Q, K, V)
            dO, O = (cast(form.fold(array), arguments[0].dtype) for array in (dO, O))
            L = cast(form.fold(L[..., None])[..., 0], form.sums)
            if poisoned is not None:
                L = form.xp.where(poisoned, np.nan, L)
            with quiet():
                O = O if unit == 1 else O * unit
                rest = *arguments[3:], form.scale, form.softcap, form.sink
                dQ, dK, dV = careful(dO, None, *arguments[:3], O, L, *rest)
                if unit != 1:
                    dQ, dK = dQ / unit, dK / unit
            return tuple(
                cast(gradient.reshape(array.shape), array.dtype)
                for gradient, array in zip((dQ, dK, dV), (Q, K, V), strict=True)
            )

    return introduced(attention_backward, function, BACKWARD)


def _at_full_size(O, unit):
    """O / unit, from values that were multiplied by it.

    It is a mean, and no larger than the largest value: what rounding has put beyond the range comes back.
    """
    if unit == 1:
        return O
    limit = unit * float(library_of(O).finfo(O.dtype).max)
    return (O - detached(O - O.clip(-limit, limit))) / unit


def quiet():
    """NumPy's warnings are for others: a difference of large scores may overflow, to a weight of 0.

    So may scores that nobody sees; and a product with few columns may report what a vector register holds
    beside its numbers. What is not finite shows in O and L.
    """
    return np.errstate(over="ignore", invalid="ignore")


def capped(S, softcap):
    """C tanh(S / C) with C = softcap; without one, the scores as they are."""
    return S if softcap is None else library_of(S).tanh(S / softcap) * softcap


def before_cap(dS, S, softcap):
    """The gradient of the scores before the cap, 1 − tanh² of that of the capped scores S."""
    return dS if softcap is None else dS * (1 - (S / softcap) ** 2)


def per_group(left, right):
    """left (b, h, n, p) times right (b, g, p, q): a group's heads stacked as rows, no key copied."""
    b, h, n, p = left.shape
    g = right.shape[1]
    return (left.reshape(b, g, h // g * n, p) @ right).reshape(b, h, n, right.shape[-1])


def summed_over_group(left, right, like):
    """Σ over a group's heads of leftᵀ right: (b, h, n, p), (b, h, n, q) to (b, g, p, q), g that of `like`."""
    b, h, n, _ = left.shape
    g = like.shape[1]
    left, right = (array.reshape(b, g, h // g * n, array.shape[-1]) for array in (left, right))
    return left.swapaxes(-1, -2) @ right


def sent_back(gradients, states=None):
    """`gradients(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap)`, kept to the contract; dL may be None.

    A row without a finite L sends nothing back: the largest L gives it weights of 0. A dO that is not finite
    reaches what its row sees. And where the rounding of L has swallowed ln Z, the weights are
    e^{S − c} / Z: c stands in for L, and dO and dL are divided by Z, so that A dO = e^{S − c} (dO / Z).
    Whoever gives no `states` has its weights from the scores, and is handed the sink as well.
    """

    def careful(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap, sink=None):
        xp = library_of(L)
        live = xp.isfinite(L)
        hard = live & (abs(L) > LARGE)
        bad = live & ~xp.isfinite(dO).all(-1)
        if dL is not None:
            bad = bad | live & ~xp.isfinite(dL)
        all_live, any_hard, any_bad = truth(live.all(), hard.any(), bad.any())
        likes = Q, K, V
        if any_bad or not all_live:
            silent = bad | ~live
            dO, O = (xp.where(silent[..., None], 0, array) for array in (dO, O))
            dL = None if dL is None else xp.where(silent, 0, dL)
            L = xp.where(live, L, xp.finfo(L.dtype).max)
        if states is not None and any_hard:
            dO, Q, K, V, O = (cast(array, L.dtype) for array in (dO, Q, K, V, O))
            c, Z = state_with_sink(*states(Q, K, rule, bias, scale, softcap), sink)
            Z = xp.where(hard, Z, 1)
            dO, dL, L = dO / Z[..., None], None if dL is None else dL / Z, xp.where(hard, c, L)
        rest = (rule, bias, scale, softcap) if states is not None else (rule, bias, scale, softcap, sink)
        dQ, dK, dV = gradients(dO, dL, Q, K, V, O, L, *rest)
        if any_bad:
            rows, keys = _seen_by(bad, Q, K, rule, bias)
            dQ = xp.where(rows[..., None], np.nan, dQ)
            dK, dV = (xp.where(keys[..., None], np.nan, gradient) for gradient in (dK, dV))
        return tuple(cast(array, like.dtype) for array, like in zip((dQ, dK, dV), likes, strict=True))

    return careful


LARGE = 128
"""Of a larger L, rounding changes a row's weights by more than 64 units in their last place."""


def _seen_by(rows, Q, K, rule, bias):
    """Which of these rows (b, h, n) may see a key, and which keys (b, g, m) they see."""
    seeing, keys, g = _none(Q), _none(K), K.shape[1]
    for part, visible in _visible(Q, K, rule, bias):
        visible = visible & rows[:, :, part, None]
        seeing[:, :, part], keys = visible.any(-1), keys | _any_row(visible, g)
    return seeing, keys


def _any_row(visible, g):
    """(b, h, rows, m) to (b, g, m): is there a True in some row of some head of the group?"""
    b, h, rows, m = visible.shape
    return visible.reshape(b, g, h // g * rows, m).any(-2)


def _none(X):
    """False for every row of X."""
    return library_of(X).isnan(X[..., :0]).any(-1)


def _visible(Q, K, rule, bias, at_a_time=None):
    """(some rows, who among them sees whom (b, h, rows, m)), so many rows that memory stays linear in n."""
    (b, h, n, _), m = Q.shape, K.shape[2]
    xp, size = library_of(Q), max(1, (at_a_time or AT_A_TIME) // max(1, b * h * m))
    for start in range(0, n if m else 0, size):
        rows = range(start, min(start + size, n))
        part = slice(rows.start, rows.stop)
        visible = beside(Q, rule.tile(rows, range(m)))
        if bias is not None:
            visible = visible & (bias[..., part, :] != -np.inf)
        yield part, xp.broadcast_to(visible, (b, h, len(rows), m))


AT_A_TIME = 2**24  # scores, where they must be searched


class _AndBias(Rule):
    """Whom a rule lets see, where the bias is not −∞; `finite` (b or 1, h or 1, n, m) lies beside Q."""

    def __init__(self, rule, finite):
        self.rule, self.finite = rule, finite

    def tile(self, rows, columns):
        finite = self.finite[..., rows.start : rows.stop, columns.start : columns.stop]
        return finite & beside(finite, self.rule.tile(rows, columns))

    def says(self, rows, columns):
        says = self.rule.says(rows, columns)
        return Says.SOMEBODY if says is Says.EVERYBODY else says


class _Arguments(NamedTuple):
    """What an implementation is given, but for the scale."""

    Q: Any
    K: Any
    V: Any
    rule: Rule
    bias: Any


class Form:
    """The one form of a call: checked, and its leading axes folded into one batch axis."""

    def __init__(self, Q, K, V, mask, bias, scale, working_dtype, softcap=None, sink=None):
        self.xp = library_of(Q)
        self.working_dtype = working_dtype
        self.sums = accumulator(Q.dtype, self.xp)
        self.like = Q
        self.kept = learns(Q, K, V, bias)
        check_axes(Q, K, V)
        self.h, self.n, d_k = (1, *Q.shape)[-3:]
        self.g, self.m = (1, *K.shape)[-3:-1]
        self.batch = Q.shape[:-3]
        self.scale = usual_scale(d_k) if scale is None else self._number("scale", scale)
        self.softcap = None if softcap is None else self._positive("softcap", softcap)
        self.sink, self.bad_sink = (None, None) if sink is None else self._one_per_head(sink)
        self.bias = None if bias is None else self._narrow(self._scores_like("bias", bias, "floats"))
        self.rule = self._rule(mask)
        if math.prod((*self.batch, self.h, self.n, self.m)) == 0:
            self.rule = everybody  # nobody asks, and not every rule has an answer for nobody

    def fold(self, array):
        """(…, h, n, d) as (b, h, n, d), in the dtype that the implementation works in."""
        if array.ndim != 4:
            heads = (1, *array.shape)[-3]
            array = array.reshape(math.prod(self.batch), heads, *array.shape[-2:])
        return cast(array, self.working_dtype(array.dtype, self.xp))

    def clean(self, Q, K, V):
        """The arguments without what is not finite; the rows (b, h, n) that may see such; the unit of V.

        None in place of the rows where that was plain without a search.
        """
        arguments, poisoned, unit = self._clean(*map(self.fold, (Q, K, V)))
        if self.bad_sink is not None:
            poisoned = self.bad_sink | (_none(arguments.Q) if poisoned is None else poisoned)
        return arguments, poisoned, unit

    def with_sink(self, O, L):
        """The O and L of all keys, and of the sink beside them."""
        return (O, L) if self.sink is None else merged(cast(O, L.dtype), L, self.sink)

    def _clean(self, Q, K, V):
        if self._scores_are_tame(Q, K) and self.bias_is_tame() and norm(V) < self._largest_value():
            return _Arguments(Q, K, V, self.rule, self.bias), None, 1.0
        with np.errstate(all="ignore"):
            arguments, poisoned = self._searched(Q, K, V)
            unit = self._unit(arguments.V)
            return arguments if unit == 1 else arguments._replace(V=arguments.V * unit), poisoned, unit

    def _unit(self, V):
        """1, or where sums of values could overflow a power of two to multiply them by."""
        if math.prod(V.shape) == 0 or abs(detached(V)).max() < self._largest_value():
            return 1.0
        return self._room()

    def _largest_value(self):
        return self._room() * float(self.xp.finfo(self.sums).max)

    def _room(self):
        """Weights are at most 2⁸ before they are divided by their sum, and there are m."""
        return 2.0 ** -(self.m.bit_length() + 9)

    def bias_is_tame(self):
        """Is it finite, or −∞?"""
        if self.bias is None or math.prod(self.bias.shape) == 0:
            return True
        return bool(self.bias.max() < np.inf)  # False for NaN

    def _scores_are_tame(self, Q, K):
        """Can no score overflow, whatever finite number the bias adds, by Cauchy and Schwarz?

        Beside the largest number, what is less than half a unit in its last place adds nothing.
        """
        limits = self.xp.finfo(self.sums)
        return max(1, abs(self.scale)) * norm(Q) * norm(K) < float(limits.max) * float(limits.eps) / 8

    def _searched(self, Q, K, V):
        """By looking at every score: whoever sees one that is not finite, or such a value, shows it."""
        xp = self.xp
        group = np.arange(self.h) // (self.h // self.g)  # the group that each head reads
        wide_Q, wide_K = (detached(cast(array, self.sums)) for array in (Q, K))
        wide_Q, factor = wide_Q * max(1, abs(self.scale)), math.copysign(min(1, abs(self.scale)), self.scale)
        bad_value = ~xp.isfinite(detached(V)).all(-1)
        sees, poisoned, seen = _none(Q), _none(Q), _none(K)
        for rows, visible in _visible(Q, K, self.rule, self.bias):
            S = per_group(wide_Q[:, :, rows], wide_K.swapaxes(-1, -2)) * factor
            if self.softcap is not None:  # which would hide that a score has overflowed
                S = xp.where(xp.isfinite(S), capped(S, self.softcap), S)
            if self.bias is not None:
                S = S + detached(self.bias)[..., rows, :]
            bad = ~xp.isfinite(S) | bad_value[:, group, None, :]
            sees[:, :, rows], poisoned[:, :, rows] = visible.any(-1), (visible & bad).any(-1)
            seen = seen | _any_row(visible, self.g)
        Q = xp.where((sees & ~poisoned)[..., None], Q, 0)
        K, V = (xp.where(seen[..., None] & xp.isfinite(array), array, 0) for array in (K, V))
        return _Arguments(Q, K, V, *self._rule_and_bias(Q, K)), poisoned

    def _rule_and_bias(self, Q, K):
        """Without NaN and +∞; and where a score may overflow, +∞ − ∞ must not come about, either."""
        xp, rule, bias = self.xp, self.rule, self.bias
        if bias is None:
            return rule, bias
        if not self.bias_is_tame():
            bias = xp.where(bias < np.inf, bias, 0)
        if not self._scores_are_tame(Q, K):
            rule, bias = _AndBias(rule, detached(bias) != -np.inf), xp.where(bias == -np.inf, 0, bias)
        return rule, bias

    def _rule(self, mask):
        if mask is None:
            return everybody
        if not isinstance(mask, Rule):
            return _Given(self._scores_like("mask", mask, "booleans, True = may see"))
        ends_before = f"mask ends before query {self.n - 1} or key {self.m - 1}: it is {mask!r}"
        if self.n > mask.ends[0] or self.m > mask.ends[1]:
            raise ValueError(ends_before)
        try:  # one look at the last queries and keys: does a rule of one's own reach so far?
            corner = mask.tile(range(max(self.n - 2, 0), self.n), range(max(self.m - 2, 0), self.m))
        except IndexError as error:
            raise ValueError(f"{ends_before}, {error}") from None
        if is_tensor(corner) and self.xp is np:
            raise TypeError(
                f"mask {mask!r} answers with a torch Tensor beside a NumPy array Q: .numpy(force=True)"
            )
        self._check_leading_axes(corner.shape)
        return mask

    def _check_leading_axes(self, shape):
        """Of a rule's answer, (n, m), (h, n, m) or (b, h, n, m)."""
        if len(shape) > 4:
            raise ValueError(f"mask answers with shape {tuple(shape)}; wanted (b, h, n, m) at most")
        batch, heads = (1, 1, *shape)[-4:-2]
        if batch not in (1, math.prod(self.batch)):
            raise ValueError(f"mask speaks of a batch of {batch}; wanted {math.prod(self.batch)}")
        if heads not in (1, self.h):
            raise ValueError(f"mask speaks of {heads} heads; wanted {self.h}; a batch has axes (b, 1, n, m)")

    def _scores_like(self, name, array, wanted):
        """An array that broadcasts to the scores (…, h, n, m), with its batch axes folded into one."""
        array = self._array(checked_beside(name, array, self.like, wanted))
        full = (*self.batch, self.h, self.n, self.m)
        shape = (1,) * (len(full) - len(array.shape)) + tuple(array.shape)
        if len(shape) > len(full) or any(a not in (1, b) for a, b in zip(shape, full, strict=True)):
            raise ValueError(f"{name} has shape {tuple(array.shape)}; wanted one that broadcasts to {full}")
        if shape[-2:] != full[-2:]:
            array = self.xp.broadcast_to(array, (*array.shape[:-2], *full[-2:]))
        if all(axis == 1 for axis in shape[:-3]):
            return array.reshape(1, *shape[-3:-2], *full[-2:])
        array = self.xp.broadcast_to(array, (*self.batch, shape[-3], *full[-2:]))
        return array.reshape(math.prod(self.batch), shape[-3], *full[-2:])

    def _array(self, array):
        """Of the library and on the device of Q; not the caller's own where autograd comes back to it.

        A bias needs no copy then: autograd notices that a tensor has been refilled. But not an array.
        """
        if self.xp is np:
            return array
        if isinstance(array, np.ndarray):
            return self.xp.tensor(array, device=self.like.device)  # copied
        array = array.to(self.like.device)
        return array.clone() if self.kept and array.dtype == self.xp.bool else array

    def _narrow(self, bias):
        """In a dtype no wider than that of the sums. A number that overflows there is no −∞, but NaN."""
        if self.xp.finfo(bias.dtype).bits <= self.xp.finfo(self.sums).bits:
            return bias
        with np.errstate(over="ignore"):
            narrow = cast(bias, self.sums)
        return self.xp.where(self.xp.isfinite(bias) & ~self.xp.isfinite(narrow), np.nan, narrow)

    def _one_per_head(self, sink):
        """(h, 1) in the dtype of the sums, and the heads whose sink is NaN or ∞: None where none is."""
        sink = self._array(checked_beside("sink", sink, self.like, "floats, one for each head"))
        if tuple(sink.shape) != (self.h,):
            raise ValueError(f"sink has shape {tuple(sink.shape)}; wanted ({self.h},), one for each head")
        sink = cast(self._narrow(sink), self.sums)[:, None]
        bad = ~(sink < np.inf)
        return (self.xp.where(bad, 0, sink), bad) if bool(bad.any()) else (sink, None)

    def _positive(self, name, value):
        """A number that a score can be divided by: 1/C must not overflow, nor C be rounded to 0."""
        number = self._number(name, value)
        smallest = float(self.xp.finfo(self.sums).tiny)
        if number < smallest:
            raise ValueError(f"{name} is {value!r}; wanted {smallest:.2g} or more, or None for no cap")
        return number

    def _number(self, name, value):
        """A finite number, in the range of the sums."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not is_finite(value):
            raise ValueError(f"{name} is {value!r}; wanted a finite number")
        if abs(float(value)) > float(self.xp.finfo(self.sums).max):
            raise ValueError(
                f"{name} is {value!r}; wanted a number in the range of {self.xp.finfo(self.sums).dtype}"
            )
        return float(value)


class _Given(Rule):
    """A boolean array (b or 1, h or 1, n, m) of the library and on the device of Q, looked up."""

    def __init__(self, allowed):
        self.allowed = allowed

    def tile(self, rows, columns):
        return self.allowed[..., rows.start : rows.stop, columns.start : columns.stop]

    def says(self, rows, columns):
        part = self.tile(rows, columns)
        return Says.EVERYBODY if part.all() else Says.SOMEBODY if part.any() else Says.NOBODY
