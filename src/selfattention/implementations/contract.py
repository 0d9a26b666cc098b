"""One contract, computed many ways: what every implementation takes, promises and refuses::

    attention(Q, K, V, *, mask=None, bias=None, scale=None) -> (O, L)
    attention_backward(dO, Q, K, V, O, L, *, mask=None, bias=None, scale=None) -> (dQ, dK, dV)

Q (…, h, n, d_k), K (…, g, m, d_k), V (…, g, m, d_v); g divides h, and head i reads the keys of
group i // (h / g), without a copy of K or V. `mask` is a rule of `selfattention.masks` or a boolean
array that broadcasts to (…, h, n, m), True = may see: three axes are one mask per head, (h, n, m). A
rule answers with (n, m), (h, n, m) or (b, h, n, m), b the members of all leading axes, in order.
`bias` (…, h, n, m) is added to the scaled scores; `scale` is d_k**-0.5 where it is not given.
O (…, h, n, d_v) is the output, L (…, h, n) the log-sum-exp of each row of scores. O has the dtype of
Q, K and V; half precisions accumulate in float32, and L stays there.

A row that may see nothing gives 0 in O, −inf in L and zero gradients. NaN or infinity in a slot that
nobody may see reaches nothing; a query that may see one, or holds one, gets NaN.

The decorators below do all of that which is the same for everyone: they check, bring every call to
one form, and keep what is not finite away from the arithmetic, before it or, for `forward_that_tells`,
by computing again. What is left to an implementation is the arithmetic: finite Q (b, h, n, d_k),
K (b, g, m, d_k), V (b, g, m, d_v) of one dtype, a rule, a bias or None, a scale.
"""

import math
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar

import numpy as np

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
        scale: float | None = None,
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
        scale: float | None = None,
    ) -> tuple[Array, Array, Array]: ...


def forward(function: Callable) -> Attention:
    """Let `function(Q, K, V, rule, bias, scale) -> (O, L)`, on the one form, keep the contract."""
    return _forward(_of_finite_numbers(function), _accumulator)


def forward_in_half(function: Callable) -> Attention:
    """The same for a function that widens halves itself: they come as they are."""
    return _forward(_of_finite_numbers(function), _unchanged)


def forward_that_tells(function: Callable) -> Attention:
    """The same for a function that may read what is not finite, if nothing hides that it has.

    Whoever sees NaN or infinity must show it: as anything not finite in O, or as NaN in L. So may
    others, since only then the inputs are searched and everything is computed again: where all is
    finite, no array is read just to make sure.
    """
    return _forward(_searched_afterwards(function), _accumulator)


def _forward(answer, working_dtype):
    @wraps(answer)
    def attention(Q, K, V, *, mask=None, bias=None, scale=None):
        form = _Form(Q, K, V, mask, bias, scale, working_dtype)
        O, L = answer(form, Q, K, V)
        return _cast(O.reshape(*Q.shape[:-1], V.shape[-1]), Q.dtype), L.reshape(Q.shape[:-1])

    return attention


def _of_finite_numbers(function):
    @wraps(function)
    def answer(form, Q, K, V):
        arrays, poisoned = form.clean(Q, K, V)
        O, L = function(*arrays, form.rule, form.bias, form.scale)
        if poisoned is not None:
            O = form.xp.where(poisoned[..., None], np.nan, O)
            L = form.xp.where(poisoned, np.nan, L)
        return O, L

    return answer


def _searched_afterwards(function):
    @wraps(function)
    def answer(form, Q, K, V):
        O, L = function(*map(form.fold, (Q, K, V)), form.rule, form.bias, form.scale)
        if _surely_finite(O) and not form.xp.isnan(L).any():
            return O, L
        return _of_finite_numbers(function)(form, Q, K, V)

    return answer


def backward(function: Callable) -> AttentionBackward:
    """Let `function(dO, Q, K, V, O, L, rule, bias, scale) -> (dQ, dK, dV)` keep the contract."""
    return _backward(function, _accumulator)


def backward_in_half(function: Callable) -> AttentionBackward:
    """The same for a function that widens halves itself: they come as they are."""
    return _backward(function, _unchanged)


def _backward(function, working_dtype):
    @wraps(function)
    def attention_backward(dO, Q, K, V, O, L, *, mask=None, bias=None, scale=None):
        form = _Form(Q, K, V, mask, bias, scale, working_dtype)
        _check_answers(Q, V, dO, O, L)
        arrays, poisoned = form.clean(Q, K, V)
        dO, O = (_cast(form.fold(array), arrays[0].dtype) for array in (dO, O))
        L = form.fold(L[..., None])[..., 0]
        if poisoned is not None:  # NaN has no slope: such a row sends nothing back
            dO, O = (form.xp.where(poisoned[..., None], 0, array) for array in (dO, O))
            L = form.xp.where(poisoned, -np.inf, L)
        gradients = function(dO, *arrays, O, L, form.rule, form.bias, form.scale)
        return tuple(
            _cast(gradient.reshape(array.shape), array.dtype)
            for gradient, array in zip(gradients, (Q, K, V), strict=True)
        )

    return attention_backward


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


class _Form:
    """The one form of a call: checked, and its leading axes folded into one batch axis."""

    def __init__(self, Q, K, V, mask, bias, scale, working_dtype):
        self.xp = _library(Q=Q, K=K, V=V)
        self.working_dtype = working_dtype
        self.device = None if self.xp is np else Q.device
        _check_axes(Q, K, V)
        self.h, self.n, d_k = (1, *Q.shape)[-3:]
        self.g, self.m = (1, *K.shape)[-3:-1]
        self.batch = Q.shape[:-3]
        self.scale = _usual_scale(d_k) if scale is None else _finite_number("scale", scale)
        self.bias = None if bias is None else self._scores_like("bias", bias, "floats")
        self.rule = self._rule(mask)

    def fold(self, array):
        """(…, h, n, d) as (b, h, n, d), in the dtype that the implementation works in."""
        heads = (1, *array.shape)[-3]
        folded = array.reshape(math.prod(self.batch), heads, *array.shape[-2:])
        return _cast(folded, self.working_dtype(array.dtype, self.xp))

    def clean(self, *arrays):
        """Q, K, V folded, 0 for whatever is not finite; and the rows that may see such, or None."""
        arrays = [self.fold(array) for array in arrays]
        if all(_surely_finite(array) for array in arrays):
            return arrays, None
        finite = [self.xp.isfinite(array) for array in arrays]
        if all(bool(good.all()) for good in finite):
            return arrays, None
        bad_query, bad_key, bad_value = (~good.all(-1) for good in finite)
        group = np.arange(self.h) // (self.h // self.g)  # the group that each head reads
        visible = self._array(self.rule.tile(range(self.n), range(self.m)))
        bad = bad_query[..., None] | (bad_key | bad_value)[:, group, None, :]
        zeroed = [self.xp.where(good, array, 0) for good, array in zip(finite, arrays, strict=True)]
        return zeroed, (visible & bad).any(-1)

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
        self._check_leading_axes(corner.shape)
        return mask

    def _check_leading_axes(self, shape):
        """Of a rule's answer, (n, m), (h, n, m) or (b, h, n, m)."""
        if len(shape) > 4:
            raise ValueError(f"mask answers with shape {tuple(shape)}; wanted four axes or fewer, (b, h, n, m)")
        batch, heads = (1, 1, *shape)[-4:-2]
        if batch not in (1, math.prod(self.batch)):
            raise ValueError(f"mask speaks of a batch of {batch}; wanted {math.prod(self.batch)}")
        if heads not in (1, self.h):
            raise ValueError(f"mask speaks of {heads} heads; wanted {self.h}; a batch has axes (b, 1, n, m)")

    def _scores_like(self, name, array, wanted):
        """An array that broadcasts to the scores (…, h, n, m), with its batch axes folded into one."""
        kind = "b" if name == "mask" else "f"
        if not hasattr(array, "dtype") or not hasattr(array, "shape"):
            raise TypeError(f"{name} is a {type(array).__name__}; wanted an array of {wanted}")
        if _kind(array.dtype) != kind:
            raise TypeError(f"{name} has dtype {array.dtype}; wanted {wanted}")
        array = self._array(array)
        if kind == "b" and self.xp is not np:
            array = array.clone()  # autograd asks for the mask again, and it may be refilled by then
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
        """Of the library and on the device of Q: rules answer in NumPy's arrays, on the CPU."""
        return np.asarray(array) if self.xp is np else self.xp.as_tensor(array, device=self.device)


class _Given(Rule):
    """A boolean array (b or 1, h or 1, n, m) of the library and on the device of Q, looked up."""

    def __init__(self, allowed):
        self.allowed = allowed

    def tile(self, rows, columns):
        return self.allowed[..., rows.start : rows.stop, columns.start : columns.stop]

    def says(self, rows, columns):
        part = self.tile(rows, columns)
        return Says.EVERYBODY if part.all() else Says.SOMEBODY if part.any() else Says.NOBODY


def _library(**arrays):
    """NumPy or torch, whichever the three arrays come from; one dtype, a float, and one device."""
    for name, array in arrays.items():
        _check_array(name, array, arrays["Q"])
        if array.dtype != arrays["Q"].dtype:
            raise TypeError(f"{name} has dtype {array.dtype}; wanted that of Q, {arrays['Q'].dtype}")
    return np if isinstance(arrays["Q"], np.ndarray) else sys.modules["torch"]


def _check_array(name, array, Q):
    """An array of floats, of the library and on the device of Q."""
    torch = sys.modules.get("torch")  # whoever brings a tensor has loaded it
    if not isinstance(array, np.ndarray) and not (torch and isinstance(array, torch.Tensor)):
        raise TypeError(f"{name} is a {type(array).__name__}; wanted a NumPy array or a torch tensor")
    if isinstance(array, np.ndarray) != isinstance(Q, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}, Q a {type(Q).__name__}")
    if _kind(array.dtype) != "f":
        raise TypeError(f"{name} has dtype {array.dtype}; wanted floats")
    if not isinstance(array, np.ndarray) and array.device != Q.device:
        raise ValueError(f"{name} is on {array.device}; wanted the device of Q, {Q.device}")


def _check_axes(Q, K, V):
    for name, array, axes in ("Q", Q, "h, n, d_k"), ("K", K, "g, m, d_k"), ("V", V, "g, m, d_v"):
        if array.ndim < 2 or array.ndim != Q.ndim or array.shape[:-3] != Q.shape[:-3]:
            raise ValueError(
                f"{name} has shape {tuple(array.shape)}; wanted (…, {axes}), … as in Q {tuple(Q.shape)}"
            )
    if K.shape[-1] != Q.shape[-1]:
        raise ValueError(f"K has width {K.shape[-1]}; wanted that of Q, {Q.shape[-1]}")
    if V.shape[:-1] != K.shape[:-1]:
        raise ValueError(
            f"V has shape {tuple(V.shape)}; wanted the groups and keys of K, {tuple(K.shape[:-1])}"
        )
    h, g = (1, *Q.shape)[-3], (1, *K.shape)[-3]
    if g == 0 or h % g:
        raise ValueError(f"K has {g} heads; wanted a divisor of the {h} heads of Q")


def _check_answers(Q, V, dO, O, L):
    """Kernels read by strides: of an array that is too small they would read what lies behind it."""
    rows = tuple(Q.shape[:-1])
    wide = *rows, V.shape[-1]
    for name, array, shape in ("dO", dO, wide), ("O", O, wide), ("L", L, rows):
        _check_array(name, array, Q)
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(array.shape)}; wanted {shape}")


def _surely_finite(array):
    """One quick sum over everything: not finite when a term is not, or when it overflows."""
    total = np.vdot(array, array) if isinstance(array, np.ndarray) else array.detach().sum()
    return math.isfinite(total)


def _usual_scale(d_k):
    if d_k == 0:
        raise ValueError("Q has width 0, and 0**-0.5 is no scale; wanted a width of 1 or more, or a scale")
    return d_k**-0.5


def _finite_number(name, value):
    if not isinstance(value, int | float | np.floating) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; wanted a finite number")
    return float(value)


def _kind(dtype):
    """'f' for floats that can be computed with and 'b' for booleans, of either library."""
    name = str(dtype).removeprefix("torch.")
    floats = ("float16", "bfloat16", "float32", "float64")
    return "f" if name in floats else "b" if name == "bool" else "other"


def _accumulator(dtype, xp):
    return xp.float32 if str(dtype).removeprefix("torch.") in ("float16", "bfloat16") else dtype


def _unchanged(dtype, xp):
    return dtype


def _cast(array, dtype):
    return (
        array
        if array.dtype == dtype
        else array.astype(dtype)
        if isinstance(array, np.ndarray)
        else array.to(dtype)
    )
