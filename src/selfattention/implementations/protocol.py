"""What every implementation offers, for type checkers: arrays in, arrays of the same library out."""

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from selfattention.masks import Rule

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")


class Attention(Protocol):
    """`attention` of any implementation; see `contract`."""

    def __call__(
        self,
        Q: Array,
        K: Array,
        V: Array,
        *,
        mask: Rule | Array | None = None,
        bias: Array | None = None,
        scale: float | None = None,
    ) -> tuple[Array, Array]: ...


class AttentionBackward(Protocol):
    """`attention_backward` of any implementation; see `contract`."""

    def __call__(
        self,
        dO: Array,
        Q: Array,
        K: Array,
        V: Array,
        O: Array,
        L: Array,
        *,
        mask: Rule | Array | None = None,
        bias: Array | None = None,
        scale: float | None = None,
    ) -> tuple[Array, Array, Array]: ...


class Loaded(Protocol):
    """The module of an implementation."""

    attention: Attention
    attention_backward: AttentionBackward
