"""Multi-head attention with the heads divided: every rank has all tokens and some heads' columns and rows.

Y = Σ_i H^(i) W_O^(i), so each rank sums over its own heads and one sum over the ranks is left; on the way
back one of dX. Nothing else is sent. What takes a page here for the sake of its errors is five lines of
DTensor, in `dtensor_heads`.
"""

from typing import Any

from selfattention.extras import needed

with needed():
    import torch.distributed as dist
    from torch import Tensor
    from torch.distributed.device_mesh import DeviceMesh

from selfattention.implementations.arguments import accumulator, in_its_own_dtype, usual_scale
from selfattention.implementations.contract import Form
from selfattention.masks import Rule
from selfattention.parallel.agreement import agreed, of_rule
from selfattention.parallel.arguments import check_matrices, gradients_of, loaded, rule_of
from selfattention.parallel.links import Link
from selfattention.parallel.shards import OfHeads, contiguous
from selfattention.parallel.sums import shared, summed


def head_parallel(
    X: Tensor,
    W_Q: Tensor,
    W_K: Tensor,
    W_V: Tensor,
    W_O: Tensor,
    h: int,
    g: int,
    *,
    group: "Link | dist.ProcessGroup | DeviceMesh | None" = None,
    mask: Rule | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Tensor | None = None,
    implementation: str = "torch_tiled",
) -> Tensor:
    """Y = Concat(H^(1) … H^(h)) W_O, on every rank, of which each computes some heads.

    X (…, n, d_model) is the same on all ranks, and so is what becomes of Y. The matrices are this rank's:
    the columns of its own h heads and g groups, W_Q (d_model, h·d_k), W_K (d_model, g·d_k), W_V
    (d_model, g·d_v), and the rows W_O (h·d_v, d_model) of the same heads; `heads_of` cuts them out. A rank
    may have no head: h = g = 0. `mask` is a rule, and where it speaks of heads, of those of all ranks;
    `bias` (…, h, n, n) and `sink` (h,) are those of one's own heads.

    Differentiable in X, whose gradient is the sum over the ranks, in the matrices, the bias and the sink.
    Raises TypeError or ValueError, naming the argument that does not fit, on the rank that has it, and
    RankFailed on the others; ValueError where two ranks differ; RankFailed where a rank does not answer.
    Source: Shoeybi et al. 2019.
    """
    link = Link.of(group)
    call = link.call()
    own, others = agreed(
        link,
        call,
        "head_parallel",
        lambda: _Heads(X, W_Q, W_K, W_V, W_O, h, g, mask, bias, scale, softcap, sink, implementation),
    )
    counts = [other["h"] for other in others]
    own.take_rule(sum(counts))
    before = sum(counts[: link.rank])
    with in_its_own_dtype(own.X):
        X = shared(own.X, link, call, "X")
        with link.telling("the attention of head_parallel"):
            Y = own.summed_over_its_heads(X, range(before, before + own.h))
        return summed(Y, link, call, "Y")


def heads_of(
    W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, h: int, g: int, *, rank: int, p: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int]:
    """The columns and rows that rank r of p has of all heads' matrices, and how many heads and groups it has.

    Whole groups, `shards.contiguous(g, p)`, so that no two ranks have the same keys; with more ranks than
    groups some have none. Raises ValueError, naming g or the matrix that cannot be cut so.
    """
    if g < 1 or h % g:
        raise ValueError(f"g is {g}; wanted a divisor of h = {h}")
    for name, width, heads in ("W_Q", W_Q.shape[1], h), ("W_K", W_K.shape[1], g), ("W_V", W_V.shape[1], g):
        if width % heads:
            raise ValueError(f"{name} has {width} columns; wanted a multiple of its {heads} heads")
    (groups,) = contiguous(g, p)[rank]
    heads = range(groups.start * (h // g), groups.stop * (h // g))
    d_k, d_v = W_Q.shape[1] // h, W_V.shape[1] // g
    columns = [
        W[:, owned.start * d : owned.stop * d]
        for W, owned, d in ((W_Q, heads, d_k), (W_K, groups, d_k), (W_V, groups, d_v))
    ]
    return *columns, W_O[heads.start * d_v : heads.stop * d_v], len(heads), len(groups)


class _Heads:
    """A rank's arguments, checked."""

    def __init__(self, X, W_Q, W_K, W_V, W_O, h, g, mask, bias, scale, softcap, sink, implementation):
        self.X, self.h, self.g, self.bias = X, h, g, bias
        self.matrices = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_O": W_O}
        check_matrices(X, W_Q, W_K, W_V, W_O, h, g)
        self.module = loaded(implementation)
        self.sink = sink
        if sink is not None and not h and tuple(sink.shape) != (0,):
            raise ValueError(f"sink has shape {tuple(sink.shape)}; wanted (0,), for this rank has no heads")
        nothing = X.new_zeros(max(h, 1), 0, 1)
        own_sink = sink if h else None
        Form(nothing, nothing, nothing, None, None, scale, accumulator, softcap, own_sink)  # or refuses
        self.mask, self.scale, self.softcap = mask, scale, softcap

    def take_rule(self, h):
        """Check the mask, which speaks of the heads of all ranks, if of any: all ranks raise, or none."""
        n = self.X.shape[-2]
        heads = self.X.new_zeros(*self.X.shape[:-2], max(h, 1), 0, 1)
        self.rule = rule_of(self.mask, n, n, Form(heads, heads, heads, None, None, 1.0, accumulator))

    def described(self):
        return {
            "X": str(list(self.X.shape)),
            "dtype": str(self.X.dtype),
            "mask": of_rule(self.mask),
            "scale": self.scale if self.scale is None else float(self.scale),
            "softcap": self.softcap if self.softcap is None else float(self.softcap),
            "gradients": gradients_of(X=self.X, **self.matrices),
            "own": {"h": self.h},
        }

    def summed_over_its_heads(self, X, heads):
        """Σ over this rank's heads of H^(i) W_O^(i), zeros where it has none."""
        W_Q, W_K, W_V, W_O = self.matrices.values()
        if not self.h:  # no columns, no rows, no sinks: zeros, and autograd passes
            nothing = 0 if self.sink is None else self.sink.sum().to(X.dtype)
            return (X @ W_Q + X @ W_K + X @ W_V) @ W_O + nothing
        Q, K, V = (_split(X @ W, count) for W, count in ((W_Q, self.h), (W_K, self.g), (W_V, self.g)))
        rule = None if self.mask is None else OfHeads(self.rule, heads)
        scale = usual_scale(Q.shape[-1]) if self.scale is None else self.scale
        scores = {"mask": rule, "bias": self.bias, "scale": scale, "softcap": self.softcap}
        O, _ = self.module.attention(Q, K, V, **scores, sink=self.sink)
        return O.transpose(-3, -2).flatten(-2) @ W_O


def _split(wide: Tensor, heads: int) -> Any:
    """(…, n, h·d) to (…, h, n, d)."""
    return wide.unflatten(-1, (heads, -1)).transpose(-3, -2)
