"""A sink that is learned: its gradient, from what every implementation gives::

    sink_backward(dO, O, L, *, sink) -> ds

The sink is one key of value 0 and weight e^{s − L}: the gradient of its score is e^{s − L} (0 − δ),
δ = rowsum(dO ∘ O), summed over the rows of its head. With tensors nobody calls this: autograd does, where
`attention` is given a sink that requires a gradient; of a dO that is not finite it makes NaN or ∞.
"""

from typing import Any

import numpy as np

from selfattention.implementations.arguments import (
    cast,
    check_kind,
    check_library,
    check_type,
    in_its_own_dtype,
    is_tensor,
    library_of,
    plain,
)
from selfattention.implementations.contract import Array, quiet
from selfattention.implementations.introduction import Maker
from selfattention.implementations.sinks import sinks_share


def sink_backward(dO: Array, O: Array, L: Array, *, sink: Any) -> Array:
    """ds = −Σ e^{s − L} δ, δ = rowsum(dO ∘ O): the gradient of a loss by the sink, in its shape and dtype.

    O (…, h, n, d_v) and L (…, h, n) are what any implementation's `attention` has given with this sink (h,),
    NumPy arrays or tensors, and dO (…, h, n, d_v) is the gradient of the loss by O. A row without a finite L
    sends nothing; what is not finite in dO gives NaN to the sink of its head.
    Raises TypeError or ValueError, naming the argument that does not fit.
    Source: OpenAI 2025 for the sink; the gradient is that of a softmax with one column more.
    """
    maker = Maker("sink_backward", "torch" if is_tensor(O) else "numpy")
    for name, array in ("dO", dO), ("O", O), ("L", L):
        check_library(name, array, maker)
        check_kind(name, array, "f", "floats: float16, bfloat16, float32 or float64")
    _check_shapes(dO, O, L, sink)
    with in_its_own_dtype(O), quiet():
        xp, L = library_of(L), plain(L)
        sums = xp.promote_types(L.dtype, xp.float32)
        dO, O, L = (cast(plain(array), sums) for array in (dO, O, L))
        s = sink if is_tensor(O) == is_tensor(sink) else xp.tensor(sink)
        s = cast(s.to(L.device) if is_tensor(s) else s, sums)
        weight = sinks_share(L, s[..., None])
        seen = weight[..., None] > 0  # of a row that is NaN, O is no number
        lost = xp.where(seen, dO * O, 0).sum(-1) * weight
        bad = xp.isfinite(L) & ~xp.isfinite(dO).all(-1) & (s[..., None] > -np.inf)
        ds = -xp.where(bad, np.nan, lost).reshape(-1, *L.shape[-2:]).sum((0, -1))
        return ds.reshape(sink.shape).to(sink) if is_tensor(sink) else cast(ds, sink.dtype)


def _check_shapes(dO, O, L, sink):
    """Q is not asked: O has its heads and rows."""
    check_type("sink", sink, "an array of floats, one for each head")
    check_kind("sink", sink, "f", "floats")
    if is_tensor(sink) and not is_tensor(O):
        raise TypeError("sink is a torch Tensor beside a NumPy array O: sink.numpy(force=True)")
    if O.ndim < 2:
        raise ValueError(f"O has shape {tuple(O.shape)}; wanted (…, h, n, d_v)")
    h = (1, *O.shape)[-3]
    wanted = {"dO": tuple(O.shape), "L": tuple(O.shape[:-1]), "sink": (h,)}
    for (name, shape), array in zip(wanted.items(), (dO, L, sink), strict=True):
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(array.shape)}; wanted {shape}")
