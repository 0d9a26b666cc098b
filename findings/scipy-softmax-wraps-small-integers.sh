#!/bin/sh
# scipy 1.17.1 (numpy 2.4.6): softmax and log_softmax of int8, uint8 and int16 wrap before they
# exponentiate.
#
# The maximum is subtracted in the array's own integers: -128 - 127 is 1 in int8, and uint8 has nothing
# below 0 at all. So the smallest score can get the largest weight, quietly, or NaN with a warning of
# overflow (eight bits become float16, where exp(12) is infinite). logsumexp of the same arrays is right,
# and so is softmax of int32 and int64.
#
# It hurts who works with quantised scores: narrow ranges are right, wide ones wrong by what lies in the
# row.
#
# Seen (softmax, of the integers and of the same numbers as float64):
#     int8 [127, -128]: [0.269, 0.731] [1.0, 0.0]
#     int8 [100, -30]: [0.0, nan] [1.0, 0.0]
#     uint8 [100, 101]: [nan, 0.0] [0.269, 0.731]
#     int32 [127, -128]: [1.0, 0.0] [1.0, 0.0]

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "scipy==1.17.1" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
from scipy.special import softmax

warnings.simplefilter("ignore")
seen = []
for dtype, row in (("int8", [127, -128]), ("int8", [100, -30]), ("uint8", [100, 101]), ("int32", [127, -128])):
    A, right = (softmax(np.array(row, d)).astype(float).round(3).tolist() for d in (dtype, "float64"))
    print(f"{dtype} {row}: {A} {right}")
    seen.append(np.allclose(A, right, atol=1e-3))
sys.exit(0 if seen == [False, False, False, True] else "The behaviour has changed.")
EOF
