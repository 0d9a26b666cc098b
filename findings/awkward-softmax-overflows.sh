#!/bin/sh
# awkward 2.14.0: ak.softmax does not subtract the maximum.
#
# Ragged rows (a document each) are what the library is for, and ak.softmax takes them one by one, None left
# out. It divides exp(x) by its sum as written in the formula: float64 scores above 709 give NaN, and so do
# rows of scores below -745, where all exponentials are 0. float32 ends at 88 and -103. A warning of NumPy's
# is all that tells.
#
# It hurts who gathers attention scores of ragged rows: scores of 100 are usual, a large bias as well.
#
# Seen (softmax of two equal scores, 0.5 each wanted):
#     float64: 700 [0.5, 0.5]  1000 [nan, nan]  -1000 [nan, nan]
#     float32: 80 [0.5, 0.5]  100 [nan, nan]  -200 [nan, nan]

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "awkward==2.14.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import awkward as ak
import numpy as np

warnings.simplefilter("ignore")
seen = []
for dtype, scores in ((np.float64, (700, 1000, -1000)), (np.float32, (80, 100, -200))):
    rows = [ak.softmax(ak.Array(np.full((1, 2), s, dtype)), axis=-1).tolist()[0] for s in scores]
    print(f"{dtype.__name__}:", "  ".join(f"{s} {row}" for s, row in zip(scores, rows)))
    seen.append([bool(np.isnan(row).all()) for row in rows])
sys.exit(0 if seen == [[False, True, True]] * 2 else "The behaviour has changed.")
EOF
