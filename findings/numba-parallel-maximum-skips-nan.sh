#!/bin/sh
# numba 0.68.1 (numpy 2.4.6): parallel=True makes max and min pass over NaN.
#
# np.max of an array with a NaN is NaN in NumPy and under njit (it was not; mended after numba/numba issue
# 5788). Add parallel=True and the same line becomes a reduction by comparison, and NaN loses each: max is 3
# of [1, nan, 3]. argmax still points to the NaN, and sum is NaN: one function's results contradict each
# other. A prange loop with max() does the same.
#
# It hurts who guards a kernel by its row maximum ("not finite: say so"): a row with NaN among its scores
# looks healthy, as soon as the kernel is made parallel.
#
# Seen ([1, nan, 3]):
#     NumPy max nan argmax 1 sum nan; njit max nan argmax 1 sum nan; parallel max 3.0 argmax 1 sum nan

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "numba==0.68.1" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import math
import sys

import numba
import numpy as np


def summary(x):
    return np.max(x), np.argmax(x), np.sum(x)


S = np.array([1.0, np.nan, 3.0])
ways = {"NumPy": summary, "njit": numba.njit(summary), "parallel": numba.njit(parallel=True)(summary)}
seen = {name: f(S) for name, f in ways.items()}
print("; ".join(f"{name} max {c} argmax {i} sum {z}" for name, (c, i, z) in seen.items()))
alike = all(math.isnan(seen[name][0]) and seen[name][1] == 1 for name in ("NumPy", "njit"))
still = alike and seen["parallel"][0] == 3 and math.isnan(seen["parallel"][2])
sys.exit(0 if still else "The behaviour has changed.")
EOF
