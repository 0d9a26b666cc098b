"""What the ranks are handed: the contract's arguments, of which each rank has its own rows."""

from importlib import import_module
from typing import Any

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations import IMPLEMENTATIONS, Loaded
from selfattention.implementations.arguments import (
    accumulator,
    check_axes,
    check_kind,
    check_type,
    taken,
    usual_scale,
)
from selfattention.implementations.contract import Form
from selfattention.implementations.introduction import Maker
from selfattention.masks import Rule, everybody
from selfattention.parallel.agreement import of_rule
from selfattention.parallel.shards import Shards, tokens, total


class Share:
    """A rank's part of a call, Q (…, h, n_r, d_k), K (…, g, m_r, d_k), V (…, g, m_r, d_v): checked.

    Raises TypeError or ValueError, naming the argument that does not fit.
    """

    def __init__(
        self, name, rank, Q, K, V, shards: Shards, key_shards: Shards, mask, bias, scale, implementation
    ):
        self.rank, self.shards, self.key_shards = rank, shards, key_shards
        self.Q, self.K, self.V = taken(Maker(name, "torch"), Q=Q, K=K, V=V)
        check_axes(self.Q, self.K, self.V)
        _check_rows("Q", self.Q, shards[rank], "shards")
        _check_rows("K", self.K, key_shards[rank], "key_shards")
        self.scale = usual_scale(Q.shape[-1]) if scale is None else scale
        form = Form(self.Q, self.K, self.V, None, None, self.scale, accumulator)  # refuses a bad scale
        self.sums, self.batch = form.sums, form.batch
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
        learned = arrays | ({} if self.bias is None else {"bias": self.bias})
        learns = [name for name, array in learned.items() if array.requires_grad]
        return {
            "dtype": str(self.Q.dtype),
            **{f"{name} (without its rows)": _without_rows(array) for name, array in arrays.items()},
            "shards": str(self.shards)[:500],
            "key_shards": str(self.key_shards)[:500],
            "mask": of_rule(self.rule),
            "bias": "none" if self.bias is None else str(self.bias.dtype),
            "scale": float(self.scale),
            "gradients": ", ".join(learns) if torch.is_grad_enabled() and learns else "none",
            "own": {},
        }


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
