"""One door to all implementations: of those that run here, the fastest for the arrays that come.

`attention` and `attention_backward` keep `contract`, whoever computes; `fastest` says who would, why, and why
nobody faster. The first call for a dtype may compile, once on a machine: see `numba_cache`.

The order is that of the race in `data/race-cpu.json`, seconds on one thread of a CPU in float32: of forward
passes for `attention`, of both passes together for `attention_backward`. A test holds it to that file.
NumPy's arrays: `matrix_tiled`, `numba_tiled`, then `numpy_tiled`, or `numpy_direct` for FEW queries. Tensors:
`torch_tiled`, or `torch_direct` for FEW. On a GPU nobody has timed them: `triton_fused` stands first because
`data/kernels-sm90.json` finds the tensor cores' own instructions in its products, and after it
`torch_direct`, as long as its scores are no more than MOST. Triton's interpreter is there for tests, and is
never chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf, prod
from types import MappingProxyType
from typing import Any

import numpy as np

from selfattention.implementations import IMPLEMENTATIONS
from selfattention.implementations.arguments import check_axes, is_tensor, taken
from selfattention.implementations.contract import Array
from selfattention.implementations.introduction import Maker
from selfattention.masks import Rule

# Queries: for fewer, tiles take longer than all scores at once. The race has 1, where they do, then 128 and
# 512; the numbers here are the first of those where NumPy's tiles win, and for torch one in between.
FEW = {
    "numpy": {"attention": 128, "attention_backward": 512},
    "torch": {"attention": 32, "attention_backward": 32},
}
MOST = 2**24  # scores that may be kept at once
WHY = {
    "matrix_tiled": "its products run on the processor's matrix tiles",
    "numba_tiled": "its loops are compiled, and a tile of scores stays in registers",
    "numpy_tiled": "tile by tile is faster here than all scores at once",
    "numpy_direct": "for so few queries all scores at once are faster than tiles",
    "torch_tiled": "tile by tile is faster here than all scores at once",
    "torch_direct": "for so few queries all scores at once are faster than tiles",
    "triton_fused_cuda": "one kernel does it all, and no score leaves the chip",
    "torch_tiled_cuda": "its memory is linear in the number of tokens",
    "torch_direct_cuda": "a few large products, and their scores find room",
}
Number = float | np.floating | np.integer


@dataclass(frozen=True)
class Choice:
    """Which implementation computes, why it does, and why not those that would come before it."""

    name: str
    """Of `IMPLEMENTATIONS`."""
    why: str
    """What it is chosen for."""
    passed_over: Mapping[str, str]
    """Faster ones, in order, and why they cannot have these arrays."""

    def __str__(self) -> str:
        others = [f"not {name}: {why}" for name, why in self.passed_over.items()]
        return "\n".join([f"{self.name}: {self.why}", *others])


def attention(
    Q: Array,
    K: Array,
    V: Array,
    *,
    mask: Rule | Any | None = None,
    bias: Any | None = None,
    scale: Number | None = None,
    softcap: Number | None = None,
    sink: Any | None = None,
) -> tuple[Array, Array]:
    """O = softmax(scale · Q Kᵀ + bias) V,  L = log-sum-exp of each row, by whoever is fastest here.

    Q (…, h, n, d_k), K (…, g, m, d_k) and V (…, g, m, d_v) are NumPy arrays or torch tensors of one dtype,
    and so are O (…, h, n, d_v) and L (…, h, n). Everything else, errors too, is as `contract` has it.

    >>> import numpy as np
    >>> import selfattention
    >>> from selfattention.masks import causal
    >>> Q, K, V = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    >>> O, L = selfattention.attention(Q, K, V, mask=causal)
    >>> O.shape, L.shape
    ((2, 5, 4), (2, 5))
    >>> bool(np.allclose(O[:, 0], V[:, 0]))  # the first query sees the first key alone
    True
    """
    compute = _function("attention", *_kind(Q, K, V, "attention"))
    return compute(Q, K, V, mask=mask, bias=bias, scale=scale, softcap=softcap, sink=sink)


def attention_backward(
    dO: Array,
    Q: Array,
    K: Array,
    V: Array,
    O: Array,
    L: Array,
    *,
    mask: Rule | Any | None = None,
    bias: Any | None = None,
    scale: Number | None = None,
    softcap: Number | None = None,
    sink: Any | None = None,
) -> tuple[Array, Array, Array]:
    """dQ, dK and dV of a loss whose gradient by O is dO, by whoever is fastest here.

    O and L are those of `attention`, by this door or by any implementation; see `contract`.
    """
    compute = _function("attention_backward", *_kind(Q, K, V, "attention_backward"))
    return compute(dO, Q, K, V, O, L, mask=mask, bias=bias, scale=scale, softcap=softcap, sink=sink)


def fastest(Q: Array, K: Array, V: Array) -> Choice:
    """Who computes `attention` of these arrays; TypeError or ValueError where nobody could.

    >>> import torch
    >>> import selfattention
    >>> choice = selfattention.fastest(*torch.randn(3, 2, 5, 4))
    >>> choice.name, choice.why
    ('torch_direct', 'for so few queries all scores at once are faster than tiles')
    >>> choice.passed_over["numba_tiled"]
    'it computes with NumPy: tensor.numpy() shares the memory of a tensor on the CPU'
    """
    return _checked(Q, K, V, "attention")


def fastest_backward(Q: Array, K: Array, V: Array) -> Choice:
    """Who computes `attention_backward` of these arrays: see `fastest`."""
    return _checked(Q, K, V, "attention_backward")


def _checked(Q, K, V, function):
    taken(Maker("attention", "torch" if is_tensor(Q) else "numpy"), Q=Q, K=K, V=V)
    check_axes(Q, K, V)
    return _choice(*_kind(Q, K, V, function))


def _kind(Q, K, V, function):
    """What the choice depends on. What is no array has a kind as well: whoever is chosen refuses it."""
    library, device = ("torch", Q.device.type) if is_tensor(Q) else ("numpy", "cpu")
    try:
        few = Q.shape[-2] < FEW[library][function]
        kept = prod(Q.shape[:-1]) * K.shape[-2] <= MOST
        return library, device, Q.dtype, few, kept, max(Q.shape[-1], V.shape[-1])
    except (AttributeError, IndexError, TypeError):
        return library, device, None, True, True, 0


@lru_cache(maxsize=64)
def _function(name, *kind):
    """`attention` or `attention_backward` of the one that is chosen."""
    return getattr(IMPLEMENTATIONS[_choice(*kind).name].load(), name)


@lru_cache(maxsize=64)
def _choice(library, device, dtype, few, kept, width):
    """The first in order that can have arrays of this kind."""
    passed_over = {}
    *faster, last = _order(library, device, few, kept)
    for name in filter(IMPLEMENTATIONS.get, faster):
        if (why_not := _why_not(name, library, dtype, width)) is None:
            return Choice(name, WHY[name], MappingProxyType(passed_over))
        passed_over[name] = why_not
    return Choice(last, WHY[last], MappingProxyType(passed_over))


def _order(library, device, few, kept):
    """Names, the fastest first; the last one runs wherever there are such arrays."""
    if device == "cuda":
        return ["triton_fused_cuda", "torch_direct_cuda" if kept else "torch_tiled_cuda"]
    return ["matrix_tiled", "numba_tiled", f"{library}_direct" if few and kept else f"{library}_tiled"]


def _why_not(name, library, dtype, width):
    """Why it cannot have arrays of this kind, in words; None where it can."""
    implementation = IMPLEMENTATIONS[name]
    if implementation.library != library:
        return "it computes with NumPy: tensor.numpy() shares the memory of a tensor on the CPU"
    if name == "matrix_tiled" and dtype == np.float64:
        return "its tiles multiply bfloat16, and float64 is no sum of three such numbers"
    if why_not := implementation.why_not():
        return why_not
    try:
        widest = getattr(implementation.load(), "WIDEST", inf)
    except ImportError as error:  # of a release that does not fit to the others, say
        return str(error)
    return f"heads are {width} wide; it takes {widest} or less" if width > widest else None
