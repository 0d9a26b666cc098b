#!/bin/sh
# hypothesis 6.170.17: hypothesis.extra.numpy.arrays draws matrices that are one number nearly everywhere.
#
# An array is filled with one drawn value, and a few entries are drawn apart (the fill is documented; its
# size is what surprises). In half of the 16 x 16 matrices at least 98 % of the entries are equal, and every
# eighth matrix is constant. On equal scores softmax is the same along both axes, any mask of equal entries
# hides all or nothing, heads and positions can be swapped: a property of attention tested on such arrays
# passes for many wrong functions. fill=st.nothing() draws each entry.
#
# It hurts who trusts "300 random examples": the shapes are tested, the numbers hardly.
#
# Seen (300 examples, whose draws vary a little; share of the commonest entry, median; constant arrays):
#     float scores 98%, constant 13%; boolean masks 99%, constant 20%; scores without fill 2%, constant 0%

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "hypothesis==6.170.17" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import statistics
import sys

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def survey(arrays):
    shares = []

    @settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arrays)
    def look(x):
        shares.append(np.unique(x, return_counts=True)[1].max() / x.size)

    look()
    return statistics.median(shares), sum(s == 1 for s in shares) / len(shares)


scores = st.floats(-5, 5)
seen = {
    "float scores": survey(hnp.arrays(np.float64, (16, 16), elements=scores)),
    "boolean masks": survey(hnp.arrays(np.bool_, (16, 16))),
    "scores without fill": survey(hnp.arrays(np.float64, (16, 16), elements=scores, fill=st.nothing())),
}
print("; ".join(f"{name} {share:.0%}, constant {constant:.0%}" for name, (share, constant) in seen.items()))
still = all(seen[name][0] > 0.9 and seen[name][1] > 0.05 for name in ("float scores", "boolean masks"))
sys.exit(0 if still else "The behaviour has changed.")
EOF
