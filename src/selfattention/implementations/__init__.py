"""The same attention, computed many ways: every module here keeps `contract`.

`IMPLEMENTATIONS` lists them by name. Nothing heavy is loaded until one is asked for:

>>> attention = IMPLEMENTATIONS["numpy_direct"].load().attention
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from selfattention.extras import advice
from selfattention.implementations.contract import Attention, AttentionBackward


class Loaded(Protocol):
    """The module of an implementation."""

    attention: Attention
    attention_backward: AttentionBackward


@dataclass(frozen=True)
class Implementation:
    """One module of this folder: what it needs to run, and on which arrays it works."""

    name: str
    library: str  # of the arrays it takes: numpy or torch
    device: str = "cpu"
    compiler: str | None = None  # what else it needs

    def why_not(self) -> str | None:
        """Why it cannot run here, in words; None where it can."""
        for needed in filter(None, (self.library, self.compiler)):
            if find_spec(needed) is None:
                return advice(needed)
        if self.device == "cuda" and not import_module("torch").cuda.is_available():
            return "no CUDA device"
        if self.compiler == "triton":
            return import_module("selfattention.implementations.triton_here").why_not(self.device)
        if self.name == "matrix_tiled":
            return import_module("selfattention.implementations.tiles_here").why_not()
        return None

    def load(self) -> Loaded:
        """The module, with `attention` and `attention_backward`."""
        return cast(Loaded, import_module(f"selfattention.implementations.{self.name}"))


IMPLEMENTATIONS = {
    "numpy_direct": Implementation("numpy_direct", "numpy"),
    "numpy_tiled": Implementation("numpy_tiled", "numpy"),
    "numba_tiled": Implementation("numba_tiled", "numpy", compiler="numba"),
    "matrix_tiled": Implementation("matrix_tiled", "numpy", compiler="numba"),
    "torch_direct": Implementation("torch_direct", "torch"),
    "torch_direct_cuda": Implementation("torch_direct", "torch", device="cuda"),
    "torch_tiled": Implementation("torch_tiled", "torch"),
    "torch_tiled_cuda": Implementation("torch_tiled", "torch", device="cuda"),
    "triton_fused": Implementation("triton_fused", "torch", compiler="triton"),  # in its interpreter
    "triton_fused_cuda": Implementation("triton_fused", "torch", device="cuda", compiler="triton"),
}
