#!/bin/sh
# numba 0.68.1 (numpy 2.4.6): sum and mean of float32 add one by one and stop at 16777216.
#
# NumPy adds pairwise, so that the error hardly grows with the length. Compiled by njit the same line is one
# running float32 number: a one more on 2^24 changes nothing, and a tenth is far off long before. The mean
# is that sum divided by the length: 0.5 of 2^25 ones. parallel=True, with a sum for each thread, moves the
# fault by the machine.
#
# It hurts who sums a loss, weights or squared gradients over batch, heads and n x n scores: 10^7 entries
# are 8 heads of 1120 positions. The decorator changes the number, not the code.
#
# Seen:
#     2^25 ones: NumPy's sum 33554432, numba's 16777216; mean 1.0 and 0.5
#     10^7 tenths: NumPy's sum 1000000, numba's 1087937; mean 0.100 and 0.109

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "numba==0.68.1" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numba
import numpy as np


def both(x):
    return x.sum(), np.mean(x)


compiled = numba.njit(both)
seen = []
for name, x, digits in (
    ("2^25 ones", np.ones(2**25, np.float32), 1),
    ("10^7 tenths", np.full(10**7, 0.1, np.float32), 3),
):
    (s, mean), (t, average) = both(x), compiled(x)
    print(f"{name}: NumPy's sum {s:.0f}, numba's {t:.0f}; mean {mean:.{digits}f} and {average:.{digits}f}")
    seen.append((t, average))
still = seen[0] == (2**24, 0.5) and seen[1][0] > 1.05e6 and seen[1][1] > 0.105
sys.exit(0 if still else "The behaviour has changed.")
EOF
