"""JAX on a processor: `jax.nn.dot_product_attention`."""

from functools import partial

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words
from selfattention.dialects.libraries.jax_arrays import answer, array, operands


def _attention(asked: Asked) -> Call:
    from jax.nn import dot_product_attention

    given = operands(asked)
    options = {
        "mask": array(asked.mask if asked.literal is None else asked.literal),
        "bias": array(asked.bias),
        "is_causal": asked.causal or None,
        "scale": asked.scale,
        "local_window_size": asked.window,
        "return_residual": True if asked.wants == "log-sum-exp" else None,
    }
    return _call(dot_product_attention, asked, given, options)


def _call(function, asked, given, options):
    said = {name: value for name, value in options.items() if value is not None}

    def read(answered):
        if asked.wants == "log-sum-exp":
            return np.asarray(answered[1]).swapaxes(1, 2)
        return answer(asked, partial(function, **said), given, answered)

    return Call(function, "jax.nn.dot_product_attention", given, options, read)


LIBRARY = Library(
    title="JAX",
    packages=("jax==0.10.2", "numpy==2.4.6"),
    doors=(
        Door(
            "dot_product_attention",
            _attention,
            words(
                "mask, padding, bias, mask and bias, literal, causal, scale, window, grouped, d_v,"
                "4 axes, 3 axes,"
                "mask of fewer axes, gradients, log-sum-exp"
            ),
        ),
    ),
    reports=("jax", "jaxlib"),
    settings={"JAX_PLATFORMS": "cpu"},
    module="jax.nn",
)
