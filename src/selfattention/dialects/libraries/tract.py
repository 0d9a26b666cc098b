"""tract: the standard's operator, in another runtime."""

import tempfile
from pathlib import Path

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words
from selfattention.dialects.libraries.onnx_models import attention


def _attention(opset):
    def call(asked: Asked) -> Call:
        made, given, attributes = attention(asked, opset)
        function = lambda *_, **__: _run(made, given)  # noqa: E731
        return Call(function, f"Attention-{opset}", given, attributes)

    return call


def _run(made, given):
    import tract

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "one.onnx")
        file.write_bytes(made.SerializeToString())
        loaded = tract.onnx().load(str(file))
    loaded = loaded.into_model() if hasattr(loaded, "into_model") else loaded
    return loaded.into_runnable().run([np.ascontiguousarray(X) for X in given.values()])[0].to_numpy()


LIBRARY = Library(
    title="tract",
    packages=("tract==0.23.9", "onnx==1.23.2", "numpy==2.4.6"),
    doors=(
        Door(
            "Attention-24",
            _attention(24),
            words(
                "mask, padding, bias, literal, causal, scale, past, grouped, d_v, 4 axes,"
                "mask of fewer axes, softcap"
            ),
        ),
    ),
    reports=("tract", "onnx"),
    module="tract",
)
