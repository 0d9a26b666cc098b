#!/bin/sh
# mlx 0.32.4 on a CPU: mx.softmax in half precision adds its denominator in half, one by one.
#
# 4096 equal float16 scores get weights that sum to 2, bfloat16 ones to 16: the denominator stops at 2048
# and at 256. The sum of the same exponentials by mx.sum is right, so are logsumexp, the matrix product and
# the fused attention (mx.fast.scaled_dot_product_attention). precise=True is the cure, and off by default
# (ml-explore/mlx pull request 953 brought it). mx.cumsum stops at the same numbers.
#
# It hurts who writes attention by hand with mx.softmax and half weights: rows longer than 256 are too
# large, smoothly, by a factor that grows with the length.
#
# Seen (4096 equal scores: sum of the weights; their log-sum-exp, ln 4096 = 8.3; attention over values of
# 1):
#     float16: softmax 2.0, precise 1.0, logsumexp 8.3, fused attention 1.0
#     bfloat16: softmax 16.0, precise 1.0, logsumexp 8.3, fused attention 1.0

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "mlx[cpu]==0.32.4" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import mlx.core as mx

m, seen = 4096, []
for dtype in (mx.float16, mx.bfloat16):
    S = mx.zeros((1, m), dtype=dtype)
    values = {
        "softmax": mx.softmax(S, axis=-1).astype(mx.float32).sum(),
        "precise": mx.softmax(S, axis=-1, precise=True).astype(mx.float32).sum(),
        "logsumexp": mx.logsumexp(S),
    }
    Q, K, V = (f((1, 1, n, 64), dtype=dtype) for f, n in ((mx.zeros, 1), (mx.zeros, m), (mx.ones, m)))
    values["fused attention"] = mx.fast.scaled_dot_product_attention(Q, K, V, scale=1.0)[0, 0, 0, 0]
    print(f"{str(dtype).split('.')[-1]}:", ", ".join(f"{name} {x.item():.1f}" for name, x in values.items()))
    seen.append([round(x.item(), 1) for x in values.values()])
sys.exit(0 if seen == [[2.0, 1.0, 8.3, 1.0], [16.0, 1.0, 8.3, 1.0]] else "The behaviour has changed.")
EOF
