"""What every adapter that stands on JAX shares: arrays out of a question, and gradients of a call."""

import numpy as np

from selfattention.dialects.asking import Asked, heads_last


def array(X):
    """A JAX array, or None."""
    import jax.numpy as jnp

    return None if X is None else jnp.asarray(X)


def operands(asked: Asked, turned=heads_last) -> dict:
    """q, k and v with positions before heads, or as they lie."""
    turned = (lambda X: X) if asked.as_it_lies else turned
    return {name: array(turned(X)) for name, X in zip("qkv", (asked.Q, asked.K, asked.V), strict=True)}


def answer(asked: Asked, function, given: dict, O, turned=heads_last):
    """O with the axes of `Asked`; or the gradients of q, k and v for the question's dO."""
    if asked.wants != "gradients":
        return np.asarray(O) if asked.as_it_lies else turned(np.asarray(O))
    import jax

    O, back = jax.vjp(function, *given.values())
    return [turned(np.asarray(dX)) for dX in back(array(turned(asked.dO)).astype(O.dtype))]
