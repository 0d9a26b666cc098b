"""Who takes part in the race: ours, from `IMPLEMENTATIONS`, and the peers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import blocks
import peers
from rungs import RUNGS

from selfattention.implementations import IMPLEMENTATIONS

MOST_SCORES = 2**26  # asked of those that keep all scores: beyond that they take gigabytes


@dataclass(frozen=True)
class Candidate:
    """`prepare(workload)` gives (run, read): the timed call, and what makes NumPy arrays of its answer."""

    prepare: Callable
    needs: tuple = ("torch",)
    keeps_scores: bool = False

    def why_not(self):
        """Why it cannot take part here; None where it can."""
        missing = [library for library in self.needs if find_spec(library) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def too_large(self, workload):
        """Why it is not asked this; None where it is."""
        scores = workload.b * workload.h * workload.n * workload.m
        return "it keeps all scores: too large" if self.keeps_scores and scores > MOST_SCORES else None


@dataclass(frozen=True)
class Ours(Candidate):
    """One of our implementations, under its name there."""

    name: str = ""

    def why_not(self):
        return IMPLEMENTATIONS[self.name].why_not()


def contract(attention, backward, convert, workload):
    """Forward, or both passes, of two functions that keep the contract."""
    Q, K, V, dO = map(convert, workload.inputs())
    mask = workload.rule()

    def both():
        O, L = attention(Q, K, V, mask=mask)
        return O, *backward(dO, Q, K, V, O, L, mask=mask)

    if workload.backward:
        return both, lambda answer: list(map(to_numpy, answer))
    return lambda: attention(Q, K, V, mask=mask)[0], lambda O: [to_numpy(O)]


def to_numpy(array):
    return array.numpy() if hasattr(array, "numpy") else array


def prepare_ours(name, workload):
    module = IMPLEMENTATIONS[name].load()
    convert = import_module("torch").from_numpy if IMPLEMENTATIONS[name].library == "torch" else lambda x: x
    return contract(module.attention, module.attention_backward, convert, workload)


def ours(prepare):
    """Every implementation that is meant for the CPU, by name."""
    return {
        name: Ours(partial(prepare, name), name=name, keeps_scores="direct" in name)
        for name, implementation in IMPLEMENTATIONS.items()
        if implementation.device == "cpu" and name != "triton_fused"  # Triton's interpreter runs no race
    }


def visitor(name):
    """A reader's own function, "module:function": NumPy arrays in, (O, L) out, as the contract says."""
    module, function = name.split(":")
    module = import_module(module)
    backward = getattr(module, f"{function}_backward", None)
    return Candidate(partial(contract, getattr(module, function), backward, lambda array: array), needs=())


ATTENTION = {
    "sdpa": Candidate(peers.sdpa),
    **ours(prepare_ours),
    "sdpa_math": Candidate(peers.sdpa_math, keeps_scores=True),
    "compiled_naive": Candidate(peers.compiled_naive, keeps_scores=True),
    "flex": Candidate(peers.flex),
    "ort_mha": Candidate(peers.ort_mha, ("onnxruntime", "onnx")),
    "ort_attention": Candidate(peers.ort_attention, ("onnxruntime", "onnx"), keeps_scores=True),
    "jax": Candidate(peers.jax, ("jax",), keeps_scores=True),
}
BLOCK = {
    "sdpa": Candidate(blocks.sdpa),
    **ours(blocks.with_implementation),
    "modules": Candidate(blocks.modules),
    "nn_mha": Candidate(blocks.nn_mha),
    "nn_mha_no_weights": Candidate(blocks.nn_mha_no_weights),
    "nn_mha_eval": Candidate(blocks.nn_mha_eval),
}
LADDER = {"sdpa": Candidate(peers.sdpa)} | {name: Candidate(rung, needs=()) for name, rung in RUNGS.items()}


def candidates(workload):
    """name -> Candidate, the yardstick first."""
    return {"block": BLOCK, "ladder": LADDER}.get(workload.name, ATTENTION)


def find(name, workload):
    """The candidate of that name; whoever is not in the list is a visitor."""
    listed = candidates(workload)
    return listed[name] if name in listed else visitor(name)
