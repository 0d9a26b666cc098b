"""PaddlePaddle on a processor: the function, which takes positions before heads, and the layer."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, heads_last, joined, parted, words


def _attention(asked: Asked) -> Call:
    import paddle
    from paddle.nn.functional import scaled_dot_product_attention

    paddle.set_device("cpu")
    turned = (lambda X: X) if asked.as_it_lies else heads_last
    asks = asked.learning or asked.wants == "gradients"
    names = zip(("query", "key", "value"), (asked.Q, asked.K, asked.V), strict=True)
    given = {name: paddle.to_tensor(turned(X), stop_gradient=not asks) for name, X in names}
    mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
    options = {
        "attn_mask": None if mask is None else paddle.to_tensor(np.ascontiguousarray(mask)),
        "dropout_p": asked.dropout or None,
        "is_causal": asked.causal or None,
        "scale": asked.scale,
    }

    def read(O):
        if asked.wants != "gradients":
            return O.numpy() if asked.as_it_lies else turned(O.numpy())
        gradients = paddle.grad(O, [*given.values()], paddle.to_tensor(turned(asked.dO)))
        return [turned(dX.numpy()) for dX in gradients]

    return Call(scaled_dot_product_attention, "F.scaled_dot_product_attention", given, options, read)


def _layer(weights):
    def call(asked: Asked) -> Call:
        import paddle

        paddle.set_device("cpu")
        paddle.seed(0)
        h = 1 if asked.as_it_lies else asked.Q.shape[1]
        width = h * asked.Q.shape[-1]
        layer = paddle.nn.MultiHeadAttention(
            width, h, dropout=asked.dropout, need_weights=weights, bias_attr=False
        )
        if asked.wants in ("start", "storage"):
            return _fresh(layer, width, asked)
        for part in (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj):
            part.weight.set_value(np.eye(width, dtype="float32"))
        turned = (lambda X: X) if asked.as_it_lies else joined
        names = zip(("query", "key", "value"), (asked.Q, asked.K, asked.V), strict=True)
        given = {name: paddle.to_tensor(turned(X)) for name, X in names}
        mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
        options = {"attn_mask": None if mask is None else paddle.to_tensor(np.ascontiguousarray(mask))}

        def read(answered):
            O, A = answered if weights else (answered, None)
            if asked.wants == "weights":
                return A.numpy()
            return O.numpy() if asked.as_it_lies else parted(O.numpy(), h)

        written = f"nn.MultiHeadAttention(…{', need_weights=True' if weights else ''})"
        return Call(layer, written, given, options, read)

    return call


def _fresh(layer, width, asked):
    import paddle

    stored = layer.q_proj.weight.numpy()
    both = stored, layer.q_proj(paddle.eye(width)).numpy()
    return Call(
        lambda *_: stored if asked.wants == "start" else both,
        "nn.MultiHeadAttention",
        {"256": 256, "8": 8},
        {},
        lambda answered: answered,
    )


LAYER = words("mask, padding, bias, literal, 3 axes, mask of fewer axes, dropout, start, storage") - {"half"}

LIBRARY = Library(
    title="PaddlePaddle",
    packages=("paddlepaddle==3.3.1", "numpy==2.4.6"),
    doors=(
        Door(
            "scaled_dot_product_attention",
            _attention,
            words(
                "mask, padding, bias, literal, causal, scale, grouped, d_v, learning, dropout, 4 axes,"
                "mask of fewer axes, gradients"
            ),
        ),
        Door("MultiHeadAttention", _layer(False), LAYER),
        Door("MultiHeadAttention, weights", _layer(True), LAYER | {"weights", "training"}),
    ),
    reports=("paddlepaddle",),
    module="paddle",
)
