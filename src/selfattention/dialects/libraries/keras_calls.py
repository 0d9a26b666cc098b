"""Keras, whichever backend it stands on: a function, two layers whose flags matter, one without heads."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Written, heads_last, joined, parted, words


def _array(X):
    from keras import ops

    return None if X is None else ops.convert_to_tensor(X)


def _numpy(X):
    from keras import ops

    return ops.convert_to_numpy(X)


def _function(asked: Asked) -> Call:
    from keras import ops

    turned = (lambda X: X) if asked.as_it_lies else heads_last
    names = zip(("query", "key", "value"), (asked.Q, asked.K, asked.V), strict=True)
    given = {name: _array(turned(X)) for name, X in names}
    options = {
        "mask": _array(asked.mask if asked.literal is None else asked.literal),
        "bias": _array(asked.bias),
        "is_causal": asked.causal or None,
        "scale": asked.scale,
    }

    def read(O):
        return _numpy(O) if asked.as_it_lies else turned(_numpy(O))

    return Call(ops.dot_product_attention, "ops.dot_product_attention", given, options, read)


def _layer(kind, scores):
    def call(asked: Asked) -> Call:
        import keras

        keras.utils.set_random_seed(0)
        h = 1 if asked.as_it_lies else asked.Q.shape[1]
        d = asked.Q.shape[-1]
        sizes = (
            (h, d)
            if kind == "MultiHeadAttention"
            else (d, h, asked.K.shape[1] if not asked.as_it_lies else 1)
        )
        window = {} if asked.window is None else {"sliding_window": asked.window}
        layer = getattr(keras.layers, kind)(
            *sizes, use_bias=False, dropout=asked.dropout, dtype=str(asked.Q.dtype), **window
        )
        turned = (lambda X: X) if asked.as_it_lies else joined
        X = {
            name: turned(getattr(asked, letter))
            for name, letter in (("query", "Q"), ("value", "V"), ("key", "K"))
        }
        layer.build(X["query"].shape, X["value"].shape, X["key"].shape)
        if asked.wants in ("start", "storage"):
            return _fresh(layer, kind, sizes, asked)
        for part in ("query", "key", "value"):
            _make_identity(getattr(layer, f"_{part}_dense").kernel)
        _make_identity(layer._output_dense.kernel)
        options = {
            "key": Written(_array(X["key"]), "key"),
            "attention_mask": _mask(asked),
            "use_causal_mask": asked.causal or None,
            "return_attention_scores": scores or None,
            "training": asked.training or None,
        }

        def read(answered):
            O, A = answered if scores else (answered, None)
            if asked.wants == "weights":
                return _numpy(A)
            return _numpy(O) if asked.as_it_lies else parted(_numpy(O), h)

        given = {"query": _array(X["query"]), "value": _array(X["value"])}
        return Call(layer, f"layers.{kind}(…)", given, options, read)

    return call


def _make_identity(kernel):
    width = int(np.sqrt(np.prod(kernel.shape)))
    kernel.assign(np.eye(width, dtype="float32").reshape(kernel.shape))


def _mask(asked):
    """(b, n, m)."""
    mask = asked.mask if asked.literal is None else asked.literal
    return _array(mask if mask is None or mask.ndim != 4 else mask[:, 0])


def _fresh(layer, kind, sizes, asked):
    stored = _numpy(layer._query_dense.kernel)
    width = stored.shape[0]
    applied = _numpy(layer._query_dense(np.eye(width, dtype="float32")[None])).reshape(width, width)
    both = stored, applied
    shown = {str(size): size for size in sizes}
    return Call(
        lambda *_: stored if asked.wants == "start" else both,
        f"layers.{kind}",
        shown,
        {},
        lambda answered: answered,
    )


def _without_heads(scores):
    """This layer does not scale: one multiplies the queries, unless the question is what happens without."""

    def call(asked: Asked) -> Call:
        import keras

        layer = keras.layers.Attention(dropout=asked.dropout, dtype=str(asked.Q.dtype))
        scale = 1 if asked.tersely else asked.Q.dtype.type(asked.Q.shape[-1] ** -0.5)
        X = [_array(joined(X)) for X in (asked.Q * scale, asked.V, asked.K)]
        mask = None
        if asked.mask is not None:
            mask = Written([None, _array(asked.mask[:, 0, 0])], "[None, mask]")
        options = {
            "mask": mask,
            "use_causal_mask": asked.causal or None,
            "return_attention_scores": scores or None,
            "training": asked.training or None,
        }

        def read(answered):
            O, A = answered if scores else (answered, None)
            return _numpy(A)[:, None] if asked.wants == "weights" else parted(_numpy(O), 1)

        given = {f"[query{'' if asked.tersely else ' * d**-0.5'}, value, key]": X}
        return Call(layer, "layers.Attention()", given, options, read)

    return call


FUNCTION = (
    "mask, padding, bias, mask and bias, literal, causal, scale, grouped, d_v, 4 axes, mask of fewer axes"
)
LAYER = "mask, padding, literal, causal, window, 3 axes, mask of fewer axes, dropout, start, storage"
ONE_HEAD = words("padding, causal, d_v, dropout") - {"heads"}
DOORS = (
    Door("ops.dot_product_attention", _function, words(FUNCTION)),
    Door("MultiHeadAttention", _layer("MultiHeadAttention", False), words(LAYER)),
    Door(
        "MultiHeadAttention, scores", _layer("MultiHeadAttention", True), words(f"{LAYER}, weights, training")
    ),
    Door("GroupQueryAttention", _layer("GroupQueryAttention", False), words(LAYER)),
    Door(
        "GroupQueryAttention, scores",
        _layer("GroupQueryAttention", True),
        words(f"{LAYER}, weights, training"),
    ),
    Door("Attention", _without_heads(False), ONE_HEAD),
    Door("Attention, scores", _without_heads(True), ONE_HEAD | {"weights", "training"}),
)
