#!/bin/sh
# ml_dtypes 0.6.0 (numpy 2.4.6): what asks NumPy "is this a float?" skips bfloat16, and NaN stays.
#
# np.issubdtype(bfloat16, np.floating) is False, and functions that treat only floats hand the array back as
# it came: nan_to_num leaves every NaN and infinity (jax-ml/ml_dtypes issue 346), sort does not carry NaN to
# the end but stops ordering round it, np.where(mask, S, -np.inf) answers in float64, np.load gives raw
# bytes of type V2 (void).
#
# It hurts who clears empty rows with nan_to_num after the softmax, takes the top k by sorting, or guards
# with "if it is floating": no error, the guard is simply not entered.
#
# Seen:
#     nan_to_num([nan, -inf, 1]) = [nan -inf 1], in float16 [0 -65504 1]
#     sort([3, nan, 1, 2]) = [3 nan 1 2], in float16 [1 2 3 nan]
#     where(mask, S, -inf) is float64, in float16 float16
#     saved and loaded again: |V2, in float16 float16

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


def short(x):
    return "[" + " ".join(f"{v:g}" for v in x.astype(float)) + "]"


def cleared(dtype):
    return short(np.nan_to_num(np.array([np.nan, -np.inf, 1], dtype)))


def ordered(dtype):
    return short(np.sort(np.array([3, np.nan, 1, 2], dtype)))


def hidden(dtype):
    return str(np.where(np.array([True, False]), np.ones(2, dtype), -np.inf).dtype)


def loaded(dtype):
    np.save("S.npy", np.ones(2, dtype))
    return str(np.load("S.npy").dtype)


seen = [(f(bfloat16), f(np.float16)) for f in (cleared, ordered, hidden, loaded)]
print("nan_to_num([nan, -inf, 1]) = {}, in float16 {}".format(*seen[0]))
print("sort([3, nan, 1, 2]) = {}, in float16 {}".format(*seen[1]))
print("where(mask, S, -inf) is {}, in float16 {}".format(*seen[2]))
print("saved and loaded again: {}, in float16 {}".format(*seen[3]))
expected = [
    ("[nan -inf 1]", "[0 -65504 1]"),
    ("[3 nan 1 2]", "[1 2 3 nan]"),
    ("float64", "float16"),
    ("|V2", "float16"),
]
sys.exit(0 if seen == expected else "The behaviour has changed.")
EOF
