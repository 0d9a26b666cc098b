"""A bias that is learned, relative positions for one: its gradient, the same for every implementation::

    bias_backward(dO, Q, K, V, O, L, *, bias, mask=None, scale=None, softcap=None, sink=None) -> dB

dS = A ∘ (dO Vᵀ − δ) is the gradient of the scores, and what is added to them has the same, summed over what
it was broadcast over. With tensors nobody calls this: autograd does, where `attention` is given a bias that
requires a gradient. It is a pass of its own over the scores, some rows at a time, so that no implementation
has to know of it, and none pays for it where nothing is learned.
"""

from typing import Any

import numpy as np

from selfattention.implementations.arguments import (
    cast,
    check_answers,
    in_its_own_dtype,
    is_tensor,
    library_of,
    taken,
    unchanged,
)
from selfattention.implementations.contract import Array, Form, _visible, capped, per_group, quiet
from selfattention.implementations.introduction import Maker
from selfattention.implementations.sinks import state_with_sink
from selfattention.masks import Rule

AT_A_TIME = 2**20  # scores


def bias_backward(
    dO: Array,
    Q: Array,
    K: Array,
    V: Array,
    O: Array,
    L: Array,
    *,
    bias: Any,
    mask: Rule | Any | None = None,
    scale: float | np.floating | np.integer | None = None,
    softcap: float | np.floating | np.integer | None = None,
    sink: Any | None = None,
) -> Array:
    """dB, the gradient of a loss by the bias, in the shape and dtype of the bias.

    O and L are what any implementation's `attention` has given for these arguments, NumPy arrays or
    tensors, dO (…, h, n, d_v) is the gradient of the loss by O. Where a query may not see a key, by the
    mask or by −∞ in the bias, nothing is sent; nor by a row without a finite L. What is not finite in dO
    gives NaN to the biases that its row may see. The bias is added behind the cap, which has no part in dB.
    Raises TypeError or ValueError, naming the argument that does not fit.
    """
    maker = Maker("bias_backward", "torch" if is_tensor(Q) else "numpy")
    Q, K, V, dO, O, L = taken(maker, Q=Q, K=K, V=V, dO=dO, O=O, L=L)
    check_answers(Q, V, dO, O, L)
    if bias is None:
        raise TypeError("bias is None; wanted the one that `attention` was given")
    with in_its_own_dtype(Q), quiet():
        form = Form(Q, K, V, mask, bias, scale, unchanged, softcap, sink)
        arguments, poisoned, unit = form.clean(Q, K, V)
        dO, O, L = (form.fold(array) for array in (dO, O, L[..., None]))
        L = L[..., 0] if poisoned is None else form.xp.where(poisoned, np.nan, L[..., 0])
        both = (1, 1, *bias.shape)[-2:]
        shape = (
            *form.bias.shape[:2],
            *(1 if a == 1 else b for a, b in zip(both, form.bias.shape[2:], strict=True)),
        )
        Q, K, V, rule, added = arguments
        rest = rule, added, form.scale, form.softcap, form.sink
        dB = gradient(dO, None, Q, K, V, O * unit, L, *rest, shape=shape) / unit
        if len(dB) > 1:
            dB = dB.reshape(*form.batch, *dB.shape[1:])
        return _in_the_dtype_of(bias, _summed(dB, bias.shape))


def gradient(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap, sink=None, *, shape=None):
    """dB of a loss that depends on O by dO and, where it is given, on L by dL: on the one form.

    In the shape (b or 1, h or 1, n or 1, m or 1) that the bias was broadcast from, or its own.
    """
    xp = library_of(L)
    sums = xp.promote_types(L.dtype, xp.float32)
    dO, Q, K, V, O, L, added = (cast(array, sums) for array in (dO, Q, K, V, O, L, bias))
    live, fine = xp.isfinite(L), xp.isfinite(dO).all(-1)
    if dL is not None:
        fine = fine & xp.isfinite(dL)
    dO, O = (xp.where((live & fine)[..., None], array, 0) for array in (dO, O))
    delta = (dO * O).sum(-1)
    if dL is not None:
        delta = delta - xp.where(live & fine, cast(dL, sums), 0)  # ∂L/∂S is A as well
    shape = bias.shape if shape is None else shape
    dB = L.new_zeros(shape) if is_tensor(L) else np.zeros(shape, sums)
    for rows, visible in _visible(Q, K, rule, bias, AT_A_TIME):
        visible = visible & live[:, :, rows, None]
        S = capped(per_group(Q[:, :, rows], K.swapaxes(-1, -2)) * scale, softcap)
        A = _weights(S + added[..., rows, :], visible, sink)
        dS = A * (per_group(dO[:, :, rows], V.swapaxes(-1, -2)) - delta[:, :, rows, None])
        dS = xp.where(visible & ~fine[:, :, rows, None], np.nan, dS)
        part = dB if shape[-2] == 1 else dB[:, :, rows]
        part += _summed(dS, part.shape)
    return dB


def _weights(S, visible, sink):
    """softmax of what is visible; 0 in a row that sees nobody. Not e^{S − L}: a large L has lost ln Z."""
    xp = library_of(S)
    S = xp.where(visible, S, -np.inf)
    c = S.max(-1) if xp is np else S.detach().amax(-1)
    E = xp.exp(S - xp.where(c == -np.inf, 0, c)[..., None])
    top, Z = state_with_sink(c, E.sum(-1), sink)
    E = E if sink is None else E * xp.exp(c - xp.where(top == -np.inf, 0, top))[..., None]
    return E / xp.where(Z > 0, Z, 1)[..., None]


def _summed(array, shape):
    """The sum over the axes along which something of this shape was broadcast to the array."""
    lacking = (1,) * (array.ndim - len(shape)) + tuple(shape)
    axes = tuple(k for k, (a, b) in enumerate(zip(lacking, array.shape, strict=True)) if a == 1 != b)
    return (array.sum(axes) if axes else array).reshape(tuple(shape))


def _in_the_dtype_of(bias, dB):
    """NumPy's bias may stand beside tensors."""
    return dB.to(bias) if is_tensor(bias) else cast(dB, getattr(library_of(dB), bias.dtype.name))
