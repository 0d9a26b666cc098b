"""OpenVINO on a processor: opset 13's operator, told to compute in float32."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words


def _attention(asked: Asked) -> Call:
    import openvino
    from openvino import opset13

    given = {"query": asked.Q, "key": asked.K, "value": asked.V}
    mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
    options = {"attention_mask": mask, "scale": asked.scale, "causal": asked.causal or None}

    def function(*arrays, attention_mask=None, scale=None, causal=False):
        arrays = [*arrays] if attention_mask is None else [*arrays, np.ascontiguousarray(attention_mask)]
        inputs = [opset13.parameter(list(X.shape), openvino.Type(X.dtype)) for X in arrays]
        said = {"attention_mask": inputs[3]} if len(inputs) == 4 else {}
        if scale is not None:
            said["scale"] = opset13.constant(np.array(scale, asked.Q.dtype))
        node = opset13.scaled_dot_product_attention(*inputs[:3], causal=causal, **said)
        half = asked.Q.dtype == np.float16
        compiled = openvino.Core().compile_model(
            openvino.Model([node], inputs, "one"),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f16" if half else "f32"},
        )
        return compiled(arrays)[0]

    return Call(function, "opset13.scaled_dot_product_attention", given, options)


LIBRARY = Library(
    title="OpenVINO",
    packages=("openvino==2026.4.1", "numpy==2.4.6"),
    doors=(
        Door(
            "scaled_dot_product_attention",
            _attention,
            words(
                "mask, padding, bias, literal, causal, scale, grouped, d_v, 4 axes, 3 axes,mask of fewer axes"
            ),
        ),
    ),
    reports=("openvino",),
    module="openvino",
)
