"""Models of one node, for everybody who runs ONNX."""

import numpy as np

from selfattention.dialects.asking import Asked


def model(operator: str, inputs: dict, outputs: tuple, opset: int, domain: str = "", **attributes):
    """A graph with one node; `inputs` by name in the operator's order, None where nothing is given."""
    from onnx import TensorProto, helper

    types = {
        "float32": TensorProto.FLOAT,
        "float16": TensorProto.FLOAT16,
        "bool": TensorProto.BOOL,
        "int64": TensorProto.INT64,
        "int32": TensorProto.INT32,
        "uint8": TensorProto.UINT8,
    }
    given = {name: X for name, X in inputs.items() if X is not None}
    names = [name if name in given else "" for name in inputs]
    while not names[-1]:
        names.pop()
    node = helper.make_node(operator, names, list(outputs), domain=domain, **attributes)
    first = types[next(iter(given.values())).dtype.name]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, types[X.dtype.name], X.shape) for name, X in given.items()],
        [helper.make_tensor_value_info(name, first, None) for name in outputs if name],
    )
    opsets = [helper.make_opsetid("", opset if not domain else 20)]
    opsets += [helper.make_opsetid(domain, opset)] if domain else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=10 if domain else 11), given


def attention(asked: Asked, opset: int):
    """ai.onnx's Attention: (model, inputs, the attributes, what the line shows as inputs)."""
    past, n = asked.past, asked.K.shape[2]
    whole = range(past, n)
    inputs = {
        "Q": asked.Q,
        "K": np.ascontiguousarray(asked.K[..., whole.start :, :]),
        "V": np.ascontiguousarray(asked.V[..., whole.start :, :]),
        "attn_mask": next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None),
    }
    if past:
        inputs |= {
            "past_key": np.ascontiguousarray(asked.K[..., :past, :]),
            "past_value": np.ascontiguousarray(asked.V[..., :past, :]),
        }
    attributes = {
        "is_causal": 1 if asked.causal else None,
        "scale": asked.scale,
        "softcap": asked.softcap,
        "qk_matmul_output_mode": 3 if asked.wants == "weights" else None,
    }
    if opset >= 25 and asked.window is not None:
        attributes["left_window_size"] = asked.window
    attributes = {name: value for name, value in attributes.items() if value is not None}
    outputs = ("Y", "present_key", "present_value") if past else ("Y",)
    outputs = ("Y", "", "", "qk") if asked.wants == "weights" else outputs
    made, given = model("Attention", inputs, outputs, opset, **attributes)
    return made, given, attributes
