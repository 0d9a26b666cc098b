"""The reference evaluator of ONNX: what the standard itself computes."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words
from selfattention.dialects.libraries.onnx_models import attention

TAKES = "mask, padding, bias, literal, causal, scale, past, grouped, d_v, 4 axes, mask of fewer axes, weights"


def _reference(opset):
    def call(asked: Asked) -> Call:
        from onnx.reference import ReferenceEvaluator

        made, given, attributes = attention(asked, opset)

        def function(*_, **__):
            return ReferenceEvaluator(made).run(None, given)

        return Call(
            function, f"Attention-{opset}", given, attributes, lambda out: np.asarray(out[_which(asked)])
        )

    return call


def _which(asked):
    """The weights are the last output."""
    return -1 if asked.wants == "weights" else 0


LIBRARY = Library(
    title="ONNX reference",
    packages=("onnx==1.23.2", "numpy==2.4.6"),
    doors=tuple(
        Door(f"Attention-{opset}", _reference(opset), words(f"{TAKES}, softcap")) for opset in (23, 24)
    ),
    reports=("onnx", "numpy"),
    module="onnx.reference",
)
