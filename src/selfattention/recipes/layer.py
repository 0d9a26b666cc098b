"""A layer with projections of its own in parts: heads, biases, shared keys, a mask, a sequence to look at.

It is `heads` and what a module has besides: X may look at another sequence Y, and take its values from a
third, Z; a projection has a bias; neighbouring heads may share keys and values; `visible` says who sees whom.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfattention.mutants import multi_head_attention as wrong
from selfattention.recipes import attention, heads, inside, masks
from selfattention.recipes.heads import Heads
from selfattention.recipes.inside import Meeting, of_length_one, standardised, ungated
from selfattention.recipes.recipe import Convention, Known, Mistake
from selfattention.recipes.softmax import as_it_is

# The parts, each as it should be.


def neighbours(H, h):
    """Head i reads the keys of group i // (h / g)."""
    return np.repeat(H, h // H.shape[-3], axis=-3)


def alone(Y, X):
    return Y


def like_others(Y, visible):
    return Y


def these(X, Y, Z):
    return X, Y, Z


def in_order(p, X, Y, Z, weights, biases, h, g, visible):
    X, Y, Z = map(p.enter, p.source(X, Y, Z))
    W_Q, W_K, W_V, W_O = weights
    *into, b_O = biases
    each = [wide + b for wide, b in zip(projected(p, (X, Y, Z), (W_Q, W_K, W_V)), into, strict=True)]
    count = p.heads.count(h)
    Q, K, V = (
        p.heads.split(wide, p.heads.count(number)) for wide, number in zip(each, (h, g, g), strict=True)
    )
    K, V = (p.share(H, count) for H in (K, V))
    H = p.heads.heads(p.heads.attend(*p.meet(Q, K), V, visible))
    return p.padding(p.heads.output(p.gate(p.heads.merge(H), X), W_O) + b_O, visible)


def projected(p, sequences, weights):
    """Q, K and V, each from its sequence; where these differ in width, no mistake can mix them up."""
    if len({len(W) for W in weights}) > 1:
        if p.heads.project is not heads.each_its_own:
            raise ValueError("sequences of several widths have each its own matrix")
        return [T @ W for T, W in zip(sequences, weights, strict=True)]
    return [p.heads.project(T, *weights)[i] for i, T in enumerate(sequences)]


@dataclass(frozen=True)
class Layer:
    """Y (batch, n, d_model) of X, Y and Z (batch, …, d_model); matrices are (in, out), heads side by side."""

    source: Callable = these
    enter: Callable = as_it_is
    heads: Heads = Heads()  # noqa: RUF009 (it is frozen)
    share: Callable = neighbours
    meet: Meeting = Meeting()  # noqa: RUF009 (it is frozen)
    gate: Callable = ungated
    padding: Callable = like_others  # what becomes of tokens that nobody may see
    finish: Callable = alone
    order: Callable = in_order

    def __call__(self, X, Y, Z, W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O, h, g, visible):
        Y, Z = (X if T is None else T for T in (Y, Z))
        weights, biases = (W_Q, W_K, W_V, W_O), (b_Q, b_K, b_V, b_O)
        return self.finish(self.order(self, X, Y, Z, weights, biases, h, g, visible), X)


# The parts that people write instead.


def over_the_batch(p, X, Y, Z, weights, biases, h, g, visible):
    turned = (T.swapaxes(0, 1) for T in (X, Y, Z))
    return in_order(p, *turned, weights, biases, h, g, visible).swapaxes(0, 1)


def slices_first(p, X, Y, Z, weights, biases, h, g, visible):
    """Each head projects its own slice of the tokens: of `weights` only the blocks of the diagonal matter."""
    *into, W_O = weights
    *b, b_O = biases
    Q, K, V = (
        heads.blocks(T, h) @ heads.diagonal_blocks(W, h) + heads.blocks(bias[None], h)
        for T, W, bias in zip((X, Y, Z), into, b, strict=True)
    )
    H = p.heads.heads(p.heads.attend(Q, K, V, visible))
    return p.heads.output(p.heads.merge(H), W_O) + b_O


def values_of_the_keys(X, Y, Z):
    """The values are made of the keys' sequence, not of their own. Chapter 06."""
    return X, Y, Y


def keys_and_values_exchanged(X, Y, Z):
    """Keys and values change places: each is made of the other's sequence. Chapter 06."""
    return X, Z, Y


def nothing_elsewhere(X, Y, Z):
    """The other sequence is not used: the tokens look at themselves. Chapter 08."""
    return X, X, X


def in_turn(H, h):
    """Heads share keys in turn: head i reads group i mod g, where most have neighbours share. Chapter 08."""
    return np.concatenate([H] * (h // H.shape[-3]), axis=-3)


def silent(Y, visible):
    """Tokens that nobody may see give 0 themselves: padding stays empty. Chapter 10."""
    if visible is None or visible.shape[-1] != Y.shape[-2]:
        return Y
    seen = visible.any(-2).any(-2)  # (batch, n)
    return np.where(seen[..., None], Y, 0)


def added(Y, X):
    """A residual connection: the tokens are added to the output. Chapter 07."""
    return X + Y


def added_and_standardised(Y, X):
    """A residual connection and a LayerNorm behind it. Chapter 09."""
    return standardised(X + Y)


def norm_first():
    """A LayerNorm before the projections. Chapter 09."""


def length_first():
    """An RMSNorm before the projections. Chapter 09."""


NORMS = Convention("enter", standardised, norm_first), Convention("enter", of_length_one, length_first)
ADDED = Convention("finish", added, added)
ADDED_AND_NORM = Convention("finish", added_and_standardised, added_and_standardised)
SURROUNDINGS = ((), (ADDED,), (ADDED_AND_NORM,), *((n,) for n in NORMS), *((n, ADDED) for n in NORMS))
"""What stands around the attention of a layer: nothing, mostly."""

MISTAKES = (
    *(m.inside("heads") for m in heads.MISTAKES if m.path not in ("order", "finish")),
    *(
        m.inside("heads.attend")
        for m in attention.MISTAKES
        if m.path in ("see", "hide", "fill") or m.part is attention.masked_last
    ),
    Mistake("source", values_of_the_keys, values_of_the_keys),
    Mistake("source", keys_and_values_exchanged, keys_and_values_exchanged),
    Mistake("source", nothing_elsewhere, nothing_elsewhere),
    Mistake("order", slices_first, wrong.split_before_projecting),
    Mistake("order", over_the_batch, wrong.attends_over_the_batch),
)
ROOTLESS = attention.WITHOUT_A_ROOT.inside("heads.attend")
CONVENTIONS = (
    Convention("share", in_turn, in_turn),
    Convention("padding", silent, silent),
    ROOTLESS,
    *(c.inside("heads.attend") for c in attention.CONVENTIONS if c.path.startswith("softmax")),
)
READINGS = tuple(r.inside("heads.attend") for r in masks.READINGS)


def surrounded(conventions) -> Known:
    """What is known of a layer that has these around it or inside."""
    recipe = Layer()
    for convention in conventions:
        recipe = convention.of(recipe)
    turns = inside.MISTAKES if any(c.path == "meet.turn" for c in conventions) else ()
    return Known("a layer of attention", recipe, (*MISTAKES, *turns), CONVENTIONS, READINGS)


LAYER = surrounded(())
