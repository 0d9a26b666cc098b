"""Flax NNX: the function, its other path that a dropout rate opens, and the layer."""

from functools import partial

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, joined, parted, words
from selfattention.dialects.libraries.jax_arrays import answer, array, operands

FUNCTION = words(
    "mask, padding, bias, mask and bias, literal, causal, grouped, d_v, 4 axes, 3 axes,"
    "mask of fewer axes, gradients"
)


def _mask(asked):
    return array(asked.mask if asked.literal is None else asked.literal)


def _attention(**flags):
    def call(asked: Asked) -> Call:
        from flax.nnx import dot_product_attention

        given = operands(asked)
        options = {"mask": _mask(asked), "bias": array(asked.bias), "is_causal": asked.causal or None} | flags
        said = {name: value for name, value in options.items() if value is not None}

        def read(O):
            return answer(asked, partial(dot_product_attention, **said), given, O)

        return Call(dot_product_attention, "nnx.dot_product_attention", given, options, read)

    return call


def _layer(asked: Asked) -> Call:
    from flax import nnx

    h = 1 if asked.as_it_lies else asked.Q.shape[1]
    width = h * asked.Q.shape[-1]
    fresh = asked.wants in ("start", "storage")
    layer = nnx.MultiHeadAttention(
        h,
        width,
        use_bias=False,
        decode=False,
        dropout_rate=asked.dropout,
        dtype=asked.Q.dtype,
        rngs=nnx.Rngs(0),
    )
    if fresh:
        return _fresh(layer, h, width, asked)
    eye = np.eye(width, dtype=asked.Q.dtype)
    for part in (layer.query, layer.key, layer.value):
        part.kernel = nnx.Param(array(eye.reshape(width, h, width // h)))
    layer.out.kernel = nnx.Param(array(eye.reshape(h, width // h, width)))
    turned = (lambda X: X) if asked.as_it_lies else joined
    given = {
        name: array(turned(getattr(asked, name[-1].upper()))) for name in ("inputs_q", "inputs_k", "inputs_v")
    }
    options = {"mask": _mask(asked), "sow_weights": True if asked.wants == "weights" else None}
    options["deterministic"] = False if asked.training else None if asked.dropout else True

    def read(O):
        if asked.wants == "weights":
            sown = layer.attention_weights.get_value()
            return np.asarray(sown[0] if isinstance(sown, tuple) else sown)
        return np.asarray(O) if asked.as_it_lies else parted(np.asarray(O), h)

    return Call(layer, "nnx.MultiHeadAttention(…, decode=False)", given, options, read)


def _fresh(layer, h, width, asked):
    stored = np.asarray(layer.query.kernel[...])
    applied = np.asarray(layer.query(array(np.eye(width, dtype=np.float32)))).reshape(width, width)
    shown = {"8": 8, "256": 256, "rngs=nnx.Rngs(0)": None}
    return Call(
        lambda *_: (stored, applied),
        "nnx.MultiHeadAttention",
        shown,
        {},
        lambda both: _asked_for(asked, both),
    )


def _asked_for(asked, stored_and_applied):
    return stored_and_applied[0] if asked.wants == "start" else stored_and_applied


LIBRARY = Library(
    title="Flax NNX",
    packages=("flax==0.12.8", "jax==0.10.2", "numpy==2.4.6"),
    doors=(
        Door("dot_product_attention", _attention(), FUNCTION),
        Door(
            "dot_product_attention, with a dropout rate",
            _attention(dropout_rate=0.1, deterministic=True),
            FUNCTION,
        ),
        Door(
            "MultiHeadAttention",
            _layer,
            words(
                "mask, padding, literal, 3 axes, mask of fewer axes, dropout, training,"
                "weights, start, storage"
            ),
        ),
    ),
    reports=("flax", "jax"),
    settings={"JAX_PLATFORMS": "cpu"},
    module="flax.nnx",
)
