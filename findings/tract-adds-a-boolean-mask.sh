#!/bin/sh
# tract 0.23.9: a boolean mask of ONNX's Attention is added to the scores where values are not as wide as
# keys.
#
# The standard says of a boolean attn_mask that True may take part. Where d_v = d_k, tract's runtime refuses
# such a model. Where d_v and d_k differ, as with latent keys, it runs, and the mask is cast to 0 and 1 and
# added: a key that may not be seen has its score, one that may be seen has 1 more. No key is hidden.
#
# It hurts who runs an exported decoder whose values are narrower than its keys: the triangle is a push of
# e¹ towards the past, the future is read, and nothing says so.
#
# Seen (queries and keys of zeros; query 0 of 3 under a triangle, its weights):
#     d_k 16, d_v 8: tract 0.58 0.21 0.21, onnx's reference 1.00 0.00 0.00
#     d_k 16, d_v 16: tract refuses

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "tract==0.23.9" "onnx==1.23.2" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np
import onnx
import tract
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

n, d_k = 3, 16
Q = K = np.zeros((1, 1, n, d_k), np.float32)
triangle = np.tri(n, dtype=bool)


def one_node(d_v):
    shapes = {"Q": Q.shape, "K": K.shape, "V": (1, 1, n, d_v)}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    inputs.append(helper.make_tensor_value_info("M", TensorProto.BOOL, triangle.shape))
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, shapes["V"])
    graph = helper.make_graph([helper.make_node("Attention", [i.name for i in inputs], ["Y"])], "one", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)


def by_tract(model, *arrays):
    onnx.save(model, "one.onnx")
    loaded = tract.onnx().load("one.onnx")
    loaded = loaded.into_model() if hasattr(loaded, "into_model") else loaded
    return loaded.into_runnable().run(list(arrays))[0].to_numpy()


def weights(Y):
    return " ".join(f"{weight:.2f}" for weight in Y[0, 0, 0, :n])


V = np.eye(n, 8, dtype=np.float32)[None, None]
model = one_node(8)
said = weights(by_tract(model, Q, K, V, triangle))
right = weights(ReferenceEvaluator(model).run(None, {"Q": Q, "K": K, "V": V, "M": triangle})[0])
print(f"d_k 16, d_v 8: tract {said}, onnx's reference {right}")
try:
    by_tract(one_node(16), Q, K, np.eye(n, 16, dtype=np.float32)[None, None], triangle)
    refused = False
except Exception:
    refused = True
print("d_k 16, d_v 16: tract", "refuses" if refused else "answers")
sys.exit(0 if (said, right, refused) == ("0.58 0.21 0.21", "1.00 0.00 0.00", True) else "The behaviour has changed.")
EOF
