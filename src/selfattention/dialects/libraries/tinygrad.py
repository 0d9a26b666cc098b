"""tinygrad, on the device that interprets its kernels in Python: it needs no compiler."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words


def _attention(asked: Asked) -> Call:
    from tinygrad import Tensor

    q, k, v = (Tensor(np.ascontiguousarray(X)) for X in (asked.Q, asked.K, asked.V))
    mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
    options = {
        "attn_mask": None if mask is None else Tensor(np.ascontiguousarray(mask)),
        "dropout_p": asked.dropout or None,
        "is_causal": asked.causal or None,
        "enable_gqa": "grouped" in asked.needs or None,
    }

    def read(O):
        if asked.wants != "gradients":
            return O.numpy()
        gradients = (O * Tensor(asked.dO)).sum().gradient(q, k, v)
        return [dX.numpy() for dX in gradients]

    return Call(
        q.scaled_dot_product_attention, "q.scaled_dot_product_attention", {"k": k, "v": v}, options, read
    )


LIBRARY = Library(
    title="tinygrad",
    packages=("tinygrad==0.14.0", "numpy==2.4.6"),
    doors=(
        Door(
            "scaled_dot_product_attention",
            _attention,
            words(
                "mask, padding, bias, literal, causal, grouped, d_v, dropout, 4 axes, 3 axes,"
                "mask of fewer axes, gradients"
            ),
        ),
    ),
    reports=("tinygrad",),
    settings={"DEV": "PYTHON"},
    module="tinygrad",
)
