"""Named mistakes: plausible wrong versions of the book's functions, one function each.

A module here is called after the function it gets wrong. Each of its public functions is a mutant,
with the signature of the right one and a docstring that opens with the mistake as a reader would
say it. To add a mutant, add a function; `kill_matrix` finds it, and a test fails if no property of
`selfattention.properties` tells it from the right one.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import getdoc, getmembers, getsource, isfunction
from textwrap import dedent
from typing import Any

Function = Callable[..., Any]


def headline(function: Function) -> str:
    """The first line of a docstring, read from the source where `python -OO` has stripped it."""
    said = getdoc(function) or ast.get_docstring(ast.parse(dedent(getsource(function))).body[0])
    return said.splitlines()[0]


def sentence(function: Function) -> str:
    """The mistake, as its docstring's first line says it, without its chapter."""
    return headline(function).split(". Chapter")[0].rstrip(".")


@dataclass(frozen=True)
class Mutant:
    """One wrong function and what it is called."""

    target: str
    function: Function

    @property
    def name(self) -> str:
        """The mistake, as a reader would say it."""
        return sentence(self.function)

    @property
    def source(self) -> str:
        """Where the course meets it, the chapter and, where there is one, the pitfall's number."""
        return "Chapter" + headline(self.function).split(". Chapter", 1)[1].rstrip(".")


# The right function of each target: module and name.
RIGHT = {
    "softmax": ("selfattention.formulas", "softmax"),
    "attention": ("selfattention.formulas", "attention"),
    "multi_head_attention": ("selfattention.formulas", "multi_head_attention"),
    "masked_attention": ("selfattention.formulas", "masked_attention"),
    "rotary": ("selfattention.formulas", "rotary"),
    "attention_backward": ("selfattention.formulas", "attention_backward"),
    "merge_states": ("selfattention.formulas", "merge_states"),
    "pieces": ("selfattention.formulas", "pieces"),
    "six_products": ("selfattention.formulas", "six_products"),
    "step": ("selfattention.formulas", "step"),
    "rotary_step": ("selfattention.formulas", "rotary_step"),
    "patches": ("selfattention.formulas", "patches"),
    "vit_tokens": ("selfattention.formulas", "vit_tokens"),
    "cbam_channels": ("selfattention.formulas", "cbam_channels"),
    "attention_gate": ("selfattention.formulas", "attention_gate"),
    "selective_kernel": ("selfattention.formulas", "selective_kernel"),
    "eca_kernel_size": ("selfattention.formulas", "eca_kernel_size"),
    "non_local": ("selfattention.formulas", "non_local"),
    "relative_position_index": ("selfattention.formulas", "relative_position_index"),
    "window_attention": ("selfattention.formulas", "window_attention"),
    "rollout": ("selfattention.formulas", "rollout"),
    "shard_start": ("selfattention.formulas", "shard_start"),
    "all_reduce_bytes": ("selfattention.formulas", "all_reduce_bytes"),
    "ring_bytes": ("selfattention.formulas", "ring_bytes"),
    "ring_backward_bytes": ("selfattention.formulas", "ring_backward_bytes"),
    "all_to_all_bytes": ("selfattention.formulas", "all_to_all_bytes"),
    "all_to_all_backward_bytes": ("selfattention.formulas", "all_to_all_backward_bytes"),
    "head_parallel_words": ("selfattention.formulas", "head_parallel_words"),
    "ring_words": ("selfattention.formulas", "ring_words"),
    "all_to_all_words": ("selfattention.formulas", "all_to_all_words"),
    "contiguous_work": ("selfattention.formulas", "contiguous_work"),
    "zigzag_work": ("selfattention.formulas", "zigzag_work"),
    "most_ranks": ("selfattention.formulas", "most_ranks"),
    "shared_rate": ("selfattention.formulas", "shared_rate"),
    "step_seconds": ("selfattention.formulas", "step_seconds"),
    "ring_seconds": ("selfattention.formulas", "ring_seconds"),
    "exposed_seconds": ("selfattention.formulas", "exposed_seconds"),
    "hiding_tokens": ("selfattention.formulas", "hiding_tokens"),
    "implementation": ("selfattention.implementations.numpy_direct", "attention"),
    "softcap": ("selfattention.implementations.numpy_direct", "attention"),
    "sink": ("selfattention.implementations.numpy_direct", "attention"),
    "capped_backward": ("selfattention.implementations.numpy_direct", "attention_backward"),
}


def right(target: str) -> Function:
    """The function that the mutants of `target` get wrong."""
    module, name = RIGHT[target]
    return getattr(import_module(module), name)


def public_functions(module_name: str) -> list[Function]:
    """The functions that a module defines itself, in the order of its text."""
    module = import_module(module_name)
    own = [f for _, f in getmembers(module, isfunction) if f.__module__ == module_name]
    return sorted((f for f in own if not f.__name__.startswith("_")), key=lambda f: f.__code__.co_firstlineno)


def mutants(target: str) -> list[Mutant]:
    """All mutants of a target."""
    return [Mutant(target, function) for function in public_functions(f"selfattention.mutants.{target}")]


def properties(target: str) -> list[Function]:
    """All properties that a function of this target should have, each a function of the candidate."""
    return public_functions(f"selfattention.properties.{target}")
