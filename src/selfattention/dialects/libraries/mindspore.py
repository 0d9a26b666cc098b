"""MindSpore on a processor: its layer, in evaluation."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, Written, joined, parted, words


def _layer(asked: Asked) -> Call:
    import mindspore
    from mindspore import nn

    mindspore.set_device("CPU")
    mindspore.set_seed(0)
    h = 1 if asked.as_it_lies else asked.Q.shape[1]
    width = h * asked.Q.shape[-1]
    kind = mindspore.float16 if asked.Q.dtype == np.float16 else mindspore.float32
    layer = nn.MultiheadAttention(
        width, h, dropout=asked.dropout, batch_first=True, has_bias=False, dtype=kind
    ).set_train(asked.training)
    if asked.wants in ("start", "storage"):
        return _fresh(layer, width, asked)
    eye = np.eye(width, dtype=asked.Q.dtype)
    for parameter in layer.get_parameters():
        packed = "in_proj_weight" in parameter.name
        parameter.set_data(mindspore.Tensor(np.concatenate([eye] * 3) if packed else eye))
    turned = (lambda X: X) if asked.as_it_lies else joined
    names = zip(("query", "key", "value"), (asked.Q, asked.K, asked.V), strict=True)
    given = {name: mindspore.Tensor(np.ascontiguousarray(turned(X))) for name, X in names}

    def read(answered):
        O, A = answered
        if asked.wants == "weights":
            return A.asnumpy()
        return O.asnumpy() if asked.as_it_lies else parted(O.asnumpy(), h)

    return Call(layer, "nn.MultiheadAttention(…, batch_first=True)", given, _masks(asked), read)


def _masks(asked):
    """attn_mask (n, m) or (b·h, n, m), True = hidden; or key_padding_mask (b, m) where no query is meant."""
    from mindspore import Tensor

    if asked.literal is not None:
        return {"attn_mask": Tensor(asked.literal[0, 0])}
    hidden = asked.bias if asked.mask is None else ~asked.mask
    if hidden is None:
        return {}
    name = "attn_mask"
    if hidden.ndim == 4:
        b, h, n, m = hidden.shape
        if n == 1 < asked.Q.shape[2]:
            name, hidden = "key_padding_mask", np.broadcast_to(hidden[:, 0, 0], (asked.Q.shape[0], m))
        else:
            hidden = hidden[0, 0] if b == h == 1 else hidden.reshape(-1, n, m)
    return {name: Written(Tensor(np.ascontiguousarray(hidden)), "bias" if asked.mask is None else "~mask")}


def _fresh(layer, width, asked):
    stored = next(p for p in layer.get_parameters() if "in_proj_weight" in p.name).asnumpy()
    both = stored, None
    return Call(
        lambda *_: stored[:width] if asked.wants == "start" else both,
        "nn.MultiheadAttention",
        {"256": 256, "8": 8},
        {},
        lambda answered: answered,
    )


LIBRARY = Library(
    title="MindSpore",
    packages=("mindspore==2.10.0", "numpy==1.26.4", "scipy==1.14.1"),
    doors=(
        Door(
            "MultiheadAttention",
            _layer,
            words(
                "mask, padding, bias, literal, 3 axes, mask of fewer axes, dropout, training,"
                "weights, start, storage"
            ),
        ),
    ),
    reports=("mindspore", "numpy"),
    settings={"GLOG_v": "4"},
    module="mindspore",
)
