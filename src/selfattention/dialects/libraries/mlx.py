"""MLX on a processor: the fast function, and the layer for how it keeps its weights."""

import numpy as np

from selfattention.dialects.asking import LAYER_ONLY, Asked, Call, Door, Library, words


def _attention(asked: Asked) -> Call:
    import mlx.core as mx

    given = {name: mx.array(X) for name, X in zip("qkv", (asked.Q, asked.K, asked.V), strict=True)}
    mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
    options = {
        "scale": _scale(asked),
        "mask": "causal" if asked.causal else None if mask is None else mx.array(mask),
        "sinks": None if asked.sink is None else mx.array(asked.sink),
    }

    def read(O):
        if asked.wants != "gradients":
            return _numpy(O)

        def loss(q, k, v):
            O = mx.fast.scaled_dot_product_attention(q, k, v, scale=options["scale"], mask=options["mask"])
            return (O * mx.array(asked.dO)).sum()

        return [_numpy(dX) for dX in mx.grad(loss, (0, 1, 2))(*given.values())]

    return Call(
        mx.fast.scaled_dot_product_attention, "mx.fast.scaled_dot_product_attention", given, options, read
    )


def _scale(asked):
    """It has no default."""
    if asked.scale is None and not asked.tersely:
        return asked.Q.shape[-1] ** -0.5
    return asked.scale


def _numpy(X):
    import mlx.core as mx

    return np.array(X.astype(mx.float32))


def _layer(asked: Asked) -> Call:
    import mlx.core as mx
    from mlx import nn

    def function(width, heads):
        mx.random.seed(0)
        layer = nn.MultiHeadAttention(width, heads)
        stored = np.array(layer.query_proj.weight)
        return stored if asked.wants == "start" else (stored, np.array(layer.query_proj(mx.eye(width))))

    return Call(function, "nn.MultiHeadAttention", {"256": 256, "8": 8}, {}, lambda answered: answered)


LIBRARY = Library(
    title="MLX",
    packages=("mlx==0.32.4", "mlx-cpu==0.32.4", "numpy==2.4.6"),
    doors=(
        Door(
            "fast.scaled_dot_product_attention",
            _attention,
            words(
                "mask, padding, bias, literal, causal, scale, sink, grouped, d_v, 4 axes,"
                "mask of fewer axes, gradients"
            )
            - {"mask and causal"},
        ),
        Door("MultiHeadAttention", _layer, LAYER_ONLY),
    ),
    reports=("mlx", "mlx-cpu"),
    module="mlx.core",
)
