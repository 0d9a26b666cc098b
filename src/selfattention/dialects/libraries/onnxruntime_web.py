"""ONNX Runtime for browsers, its WebAssembly run by Node: the standard's operator."""

import base64

from selfattention.dialects.asking import Asked, Call, Door, Library, words
from selfattention.dialects.libraries.node_process import packed, run
from selfattention.dialects.libraries.onnx_models import attention

SCRIPT = """
import * as ort from 'onnxruntime-web/wasm';
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'fatal';
const kinds = {float32: Float32Array, bool: Uint8Array, uint8: Uint8Array, int32: Int32Array};
const data = array => array.type === 'int64' ?
  BigInt64Array.from(numbers(array), BigInt) : kinds[array.type].from(numbers(array));
try {
  const model = Uint8Array.from(atob(given.model), c => c.charCodeAt(0));
  const session = await ort.InferenceSession.create(model);
  const inputs = Object.entries(given.inputs).map(
    ([name, array]) => [name, new ort.Tensor(array.type, data(array), array.dims)]);
  const output = (await session.run(Object.fromEntries(inputs)))[given.output];
  tell(output.dims, output.data);
} catch (error) { thrown(error); }
"""


def _standard(opset):
    def call(asked: Asked) -> Call:
        made, given, attributes = attention(asked, opset)
        told = {
            "model": base64.b64encode(made.SerializeToString()).decode(),
            "inputs": {name: packed(X) for name, X in given.items()},
            "output": "qk" if asked.wants == "weights" else "Y",
        }

        def function(*_, **__):
            return run(SCRIPT, told)

        return Call(function, f"Attention-{opset}", given, attributes)

    return call


TAKES = words(
    "mask, padding, bias, literal, causal, scale, past, grouped, d_v, 4 axes, mask of fewer axes,"
    "weights, softcap"
) - {"half"}

LIBRARY = Library(
    title="ONNX Runtime Web",
    packages=("onnx==1.23.2", "numpy==2.4.6"),
    npm=("onnxruntime-web@1.30.0",),
    doors=(Door("Attention-23", _standard(23), TAKES), Door("Attention-24", _standard(24), TAKES)),
    reports=("onnx",),
    module="onnx",
)
