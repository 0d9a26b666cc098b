#!/bin/sh
# xarray 2026.9.0 (numpy 2.4.6): a NaN score means "this key is not there", and an empty row means 0, unless
# xr.dot is used.
#
# max and sum of floats skip NaN by default. The softmax of a row with one NaN score is then right for the
# other keys, and (A * V).sum("key") leaves the spoilt key out: a finite, plausible output. A row of -inf
# gives NaN weights, and 0 by the same sum. xr.dot(A, V) does not skip, and gives NaN for both. NumPy on the
# same arrays gives NaN for both.
#
# It hurts who names axes for clarity and looks for NaN to find overflow or an empty row: the one product
# shows it, the other hides it.
#
# Seen (V = 1, 2, 4):
#     scores 0, nan, 0: (A * V).sum 2.5, xr.dot nan, NumPy nan
#     scores all -inf:  (A * V).sum 0.0, xr.dot nan, NumPy nan

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "xarray==2026.9.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import math
import sys
import warnings

import numpy as np
import xarray as xr

warnings.simplefilter("ignore", RuntimeWarning)  # -inf - -inf, and a maximum of NaN alone
V = xr.DataArray([1.0, 2, 4], dims="key")
seen = []
for name, row in (("0, nan, 0:", [0.0, np.nan, 0]), ("all -inf: ", [-np.inf] * 3)):
    S = xr.DataArray([row], dims=("query", "key"))
    E = np.exp(S - S.max("key"))
    A = E / E.sum("key")
    e = np.exp(np.array(row) - np.max(row))
    outs = [(A * V).sum("key").item(), xr.dot(A, V, dim="key").item(), float(e / e.sum() @ V.values)]
    print(f"scores {name} (A * V).sum {outs[0]}, xr.dot {outs[1]}, NumPy {outs[2]}")
    seen.append(outs)
still = [outs[0] for outs in seen] == [2.5, 0.0] and all(math.isnan(x) for outs in seen for x in outs[1:])
sys.exit(0 if still else "The behaviour has changed.")
EOF
