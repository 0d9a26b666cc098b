#!/bin/sh
# onnx 1.23.2: the reference evaluator's Attention lets every query see key 0 alone under a row mask with
# is_causal.
#
# attn_mask may broadcast to (batch, heads, queries, keys), and padding is the same for every query: (1, 1,
# 1, m) booleans. With is_causal=1 the evaluator makes its triangle as large as the mask, one row, and
# broadcasts that: row 0's permission, key 0, for everybody. Padding on the left hides key 0 as well, and
# all outputs are zero. A mask of zeros to be added does the same. With the mask spelt out as (1, 1, n, m),
# or without is_causal, it is right. So do opsets 23, 24 and 25; ONNX Runtime 1.32.0 answers rightly at 25,
# and refuses the mask before.
#
# It hurts who takes the reference for the truth: a decoder's usual pair, padding and causal, tested against
# it, makes a right runtime look wrong, or a wrong one right.
#
# Seen (queries and keys of zeros, values the unit vectors; which keys each query's output holds):
#     opset 23, 24 and 25: no mask 0 | 01 | 012 | 0123, row mask 0 | 0 | 0 | 0, the same as a square
#     0 | 01 | 012 | 0123
#     padding on the left: row mask  |  |  | , the same as a square  | 1 | 12 | 123

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "onnx==1.23.2" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

n = 4
Q = K = np.zeros((1, 1, n, n), np.float32)
V = np.eye(n, dtype=np.float32)[None, None]


def seen(opset, mask=None):
    given = {"Q": Q, "K": K, "V": V} | ({} if mask is None else {"M": mask})
    types = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("bool"): TensorProto.BOOL}
    inputs = [helper.make_tensor_value_info(name, types[X.dtype], X.shape) for name, X in given.items()]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, V.shape)
    node = helper.make_node("Attention", list(given), ["Y"], is_causal=1)
    graph = helper.make_graph([node], "one", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)
    (Y,) = ReferenceEvaluator(model).run(None, given)
    return " | ".join("".join(str(j) for j in np.flatnonzero(row)) for row in Y[0, 0])


whole, left = np.ones((1, 1, 1, n), bool), np.array([[[[False, True, True, True]]]])
still = True
for opset in (23, 24, 25):
    said = [seen(opset, mask) for mask in (None, whole, np.repeat(whole, n, 2), left, np.repeat(left, n, 2))]
    print(f"opset {opset}: no mask {said[0]}, row mask {said[1]}, the same as a square {said[2]}")
    print(f"    padding on the left: row mask {said[3]}, the same as a square {said[4]}")
    still &= said == ["0 | 01 | 012 | 0123", "0 | 0 | 0 | 0", "0 | 01 | 012 | 0123", " |  |  | ", " | 1 | 12 | 123"]
sys.exit(0 if still else "The behaviour has changed.")
EOF
