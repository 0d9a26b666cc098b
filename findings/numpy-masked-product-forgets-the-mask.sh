#!/bin/sh
# numpy 2.4.6: the product A @ V of a masked array takes what lies under the mask, and masks elsewhere.
#
# A masked softmax in np.ma is right: hidden keys stay hidden, the rest sums to 1. Under the mask the old
# numbers lie on. @, np.matmul and np.einsum multiply those; the mask of the result is the two masks or-ed
# entry by entry, as for a sum. Where shapes do not fit it raises or gives a mask of another shape than its
# data (numpy/numpy issues 14992 and 19148); where they do fit, square A and V, it is silent. np.ma.dot is
# right.
#
# It hurts who masks by np.ma: the hidden key's value comes through with a weight larger than 1, and entries
# of the output are hidden that should not be.
#
# Seen (row 0 may not see keys 1 and 2, row 1 not key 2; scores 0, hidden ones 5; rows of V 1, 10, 100):
#     np.ma.dot: [[1.0, 1.0, 1.0], [5.5, 5.5, 5.5], [37.0, 37.0, 37.0]]
#     A @ V:     [[551.0, None, None], [505.5, 505.5, None], [37.0, 37.0, 37.0]]

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

hidden = np.triu(np.ones((3, 3), bool), 1)
S = np.ma.masked_array(np.where(hidden, 5.0, 0.0), mask=hidden)
E = np.ma.exp(S - S.max(-1, keepdims=True))
A = E / E.sum(-1, keepdims=True)
V = np.array([[1.0], [10], [100]]) * np.ones(3)
right, product = np.ma.dot(A, V), A @ V
print("np.ma.dot:", right.round(2).tolist())
print("A @ V:    ", product.round(2).tolist())
sums = np.allclose(A.sum(-1), 1)
still = sums and right[0].tolist() == [1, 1, 1] and product[0, 0] > 500 and product[0].mask.tolist() == [0, 1, 1]
sys.exit(0 if still else "The behaviour has changed.")
EOF
