#!/bin/sh
# numpy 2.4.6: einsum over float16 adds in float32 or in float16, by the order of the letters.
#
# "ij,kj->ik" (both operands run along the summed letter) adds wider and rounds once. "ij,jk->ik", the
# product A V as it is written everywhere, adds into the float16 result step by step: a one more on 2048
# changes nothing. The same letters with optimize=True, a transposed view or the operator @ go other ways.
# Nothing in the call says which.
#
# It hurts who computes A V in half precision by einsum over more than 2048 keys: the far keys vanish from
# the output.
#
# Seen (4096 keys; A ones, then A uniform weights 1/4096 and V ones, where 1 is right):
#     sums     @ 4096.0   ij,kj->ik 4096.0   ij,jk->ik 2048.0   optimized 4096.0   bhij,bhjk->bhik 2048.0
#     weights  @ 1.0   ij,kj->ik 1.0   ij,jk->ik 0.5   optimized 1.0   bhij,bhjk->bhik 0.5

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np

m = 4096
V = np.ones((m, 3), np.float16)
seen = {}
for name, weight in (("sums", 1.0), ("weights", 1 / m)):
    A = np.full((2, m), weight, np.float16)
    ways = {
        "@": (A @ V)[0, 0],
        "ij,kj->ik": np.einsum("ij,kj->ik", A, V.T.copy())[0, 0],
        "ij,jk->ik": np.einsum("ij,jk->ik", A, V)[0, 0],
        "optimized": np.einsum("ij,jk->ik", A, V, optimize=True)[0, 0],
        "bhij,bhjk->bhik": np.einsum("bhij,bhjk->bhik", A[None, None], V[None, None])[0, 0, 0, 0],
    }
    print(f"{name:<8}", "   ".join(f"{way} {float(value)}" for way, value in ways.items()))
    seen[name] = [float(value) for value in ways.values()]
still = seen == {"sums": [4096, 4096, 2048, 4096, 2048], "weights": [1, 1, 0.5, 1, 0.5]}
sys.exit(0 if still else "The behaviour has changed.")
EOF
