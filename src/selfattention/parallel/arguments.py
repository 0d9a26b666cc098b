"""What the ranks are handed: the contract's arguments, of which each rank has its own rows."""

from importlib import import_module
from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor

from selfattention.implementations import IMPLEMENTATIONS, Loaded
from selfattention.implementations.arguments import (
    accumulator,
    check_axes,
    check_kind,
    check_library,
    check_type,
    taken,
    usual_scale,
)
from selfattention.implementations.contract import Form
from selfattention.implementations.introduction import Maker
from selfattention.masks import Rule, everybody
from selfattention.parallel.agreement import of_numbers, of_rule
from selfattention.parallel.shards import Shards, tokens, total


class Share:
    """A rank's part of a call, Q (…, h, n_r, d_k), K (…, g, m_r, d_k), V (…, g, m_r, d_v): checked.

    Raises TypeError or ValueError, naming the argument that does not fit.
    """

    def __init__(
        self,
        name,
        rank,
        Q,
        K,
        V,
        shards: Shards,
        key_shards: Shards,
        mask,
        bias,
        scale,
        softcap,
        sink,
        implementation,
    ):
        self.rank, self.shards, self.key_shards = rank, shards, key_shards
        self.Q, self.K, self.V = taken(Maker(name, "torch"), Q=Q, K=K, V=V)
        check_axes(self.Q, self.K, self.V)
        _check_rows("Q", self.Q, shards[rank], "shards")
        _check_rows("K", self.K, key_shards[rank], "key_shards")
        self.scale = usual_scale(Q.shape[-1]) if scale is None else scale
        form = Form(self.Q, self.K, self.V, None, None, self.scale, accumulator, softcap, sink)  # or refuses
        self.sums, self.batch, self.softcap = form.sums, form.batch, form.softcap
        self.sink = sink_of(form)
        self.rule = rule_of(mask, total(shards), total(key_shards), form)
        self.bias = None if bias is None else self._rows_of_bias(bias)
        self.implementation = implementation
        self.module = loaded(implementation)

    def _rows_of_bias(self, bias):
        """(…, h, n_r, m): this rank's rows, and every key."""
        check_type("bias", bias, "a torch tensor: torch.as_tensor({})")
        check_kind("bias", bias, "f", "floats")
        full = (*self.Q.shape[:-1], total(self.key_shards))
        try:
            return torch.broadcast_to(bias, full)
        except (RuntimeError, TypeError):
            shape = tuple(getattr(bias, "shape", ()))
            raise ValueError(f"bias has shape {shape}; wanted one that broadcasts to {full}") from None

    def described(self) -> dict[str, Any]:
        """What every rank must have the same of."""
        arrays = {"Q": self.Q, "K": self.K, "V": self.V}
        learned = arrays | {name: x for name in ("bias", "sink") if (x := getattr(self, name)) is not None}
        return {
            "dtype": str(self.Q.dtype),
            **{f"{name} (without its rows)": _without_rows(array) for name, array in arrays.items()},
            "shards": str(self.shards)[:500],
            "key_shards": str(self.key_shards)[:500],
            "mask": of_rule(self.rule),
            "bias": "none" if self.bias is None else str(self.bias.dtype),
            "scale": float(self.scale),
            "softcap": self.softcap,
            "sink": "none" if self.sink is None else of_numbers(self.sink),
            "gradients": gradients_of(**learned),
        }


def sink_of(form: Any) -> Tensor | None:
    """The sink (h,) of a form in the dtype of its sums, with NaN for what is no score: ∞ as well."""
    if form.sink is None:
        return None
    return (form.sink if form.bad_sink is None else form.sink.masked_fill(form.bad_sink, torch.nan))[:, 0]


def rule_of(mask: Rule | None, n: int, m: int, form: Any) -> Rule:
    """The rule for n queries and m keys, or an error as the contract has it, but an array is no rule."""
    if mask is None:
        return everybody
    if not isinstance(mask, Rule):
        came = f"mask is a {type(mask).__name__}"
        raise TypeError(f"{came}; wanted a rule, which knows every rank's positions: Table(array) makes one")
    if n > mask.ends[0] or m > mask.ends[1]:
        raise ValueError(f"mask ends before query {n - 1} or key {m - 1}: it is {mask!r}")
    if n and m:
        form._check_leading_axes(mask.tile(range(n - 1, n), range(m - 1, m)).shape)
    return mask


def gradients_of(**arrays: Tensor) -> str:
    """Whose gradients are wanted: every rank sends and awaits messages of the same."""
    learned = [name for name, array in arrays.items() if array.requires_grad]
    return ", ".join(learned) if learned and torch.is_grad_enabled() else "none"


def check_matrices(X: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, h: int, g: int) -> None:
    """X (…, n, d_model) and the matrices of h heads and g groups, which may be none.

    Raises TypeError or ValueError, naming the argument that does not fit.
    """
    matrices = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_O": W_O}
    for name, array in {"X": X, **matrices}.items():
        check_library(name, array, Maker("parallel", "torch"))
        check_kind(name, array, "f", "floats: float16, bfloat16, float32 or float64")
        if array.dtype != X.dtype:
            raise TypeError(f"{name} has dtype {array.dtype}; wanted that of X, {X.dtype}")
        if array.dim() < 2 or (name != "X" and array.dim() > 2):
            raise ValueError(f"{name} has shape {tuple(array.shape)}; wanted rows and columns")
    if min(h, g) < 0 or (h == 0) != (g == 0) or (g and h % g):
        raise ValueError(f"g is {g}; wanted a divisor of h = {h}, and both 0 or neither")
    d_model, (d_k, d_v) = X.shape[-1], (W.shape[1] // max(heads, 1) for W, heads in ((W_Q, h), (W_V, g)))
    wanted = (d_model, h * d_k), (d_model, g * d_k), (d_model, g * d_v), (h * d_v, d_model)
    for (name, W), shape in zip(matrices.items(), wanted, strict=True):
        if tuple(W.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(W.shape)}; wanted {shape}, of {h} heads, {g} groups")


def loaded(implementation: str) -> Loaded:
    """The module that computes a tile. ValueError for an unknown name, or one that cannot run here."""
    if implementation not in IMPLEMENTATIONS or IMPLEMENTATIONS[implementation].library != "torch":
        names = [name for name, known in IMPLEMENTATIONS.items() if known.library == "torch"]
        raise ValueError(f"implementation is {implementation!r}; wanted one of {', '.join(names)}")
    if why := IMPLEMENTATIONS[implementation].why_not():
        raise ValueError(f"implementation is {implementation!r}; it cannot run here: {why}")
    return import_module(f"selfattention.implementations.{IMPLEMENTATIONS[implementation].name}")


def _check_rows(name, array, shard, whose):
    if array.shape[-2] != tokens(shard):
        came = f"{name} has {array.shape[-2]} rows"
        raise ValueError(f"{came}; wanted {tokens(shard)}, as {whose} has them for this rank: {shard}")


def _without_rows(array):
    return str([*array.shape[:-2], array.shape[-1]])
