#!/bin/sh
# ml_dtypes 0.6.0 (numpy 2.4.6): a softmax over 4096 keys in bfloat16 has weights that sum to 16.
#
# NumPy adds float16 pairwise and takes means of it in float32. Of a foreign type it knows nothing: bfloat16
# arrays are summed one by one in bfloat16, and at 256 a one more changes nothing. The denominator of equal
# scores is 256 from 256 keys on, so every weight is 1/256. max and exp are right, the matrix product is
# right (it adds wider), so the rest of the formula hides it. sum(dtype=float32) cures it. The sum alone is
# known: jax-ml/ml_dtypes issue 63.
#
# It hurts who reads bfloat16 weights or activations into NumPy and computes on: means, norms and softmax
# are off by factors, from 256 entries on.
#
# Seen:
#     4096 equal scores: weights sum to 16.0 in bfloat16, 1.0 in float16
#     mean of 4096 ones: 0.0625 in bfloat16, 1.0 in float16

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "ml-dtypes==0.6.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np
from ml_dtypes import bfloat16


def softmax(S):
    E = np.exp(S - S.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True)


sums, means = [], []
for dtype in (bfloat16, np.float16):
    A = softmax(np.zeros((1, 4096), dtype))
    assert A.dtype == dtype
    sums.append(float(A.astype(np.float64).sum()))
    means.append(float(np.ones(4096, dtype).mean()))
print("4096 equal scores: weights sum to {} in bfloat16, {} in float16".format(*sums))
print("mean of 4096 ones: {} in bfloat16, {} in float16".format(*means))
sys.exit(0 if sums == [16.0, 1.0] and means == [0.0625, 1.0] else "The behaviour has changed.")
EOF
