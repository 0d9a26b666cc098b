#!/bin/sh
# safetensors 0.8.0 (numpy 2.4.6): a transposed NumPy array is saved without its transposition.
#
# save and save_file write the memory as it lies, and the shape beside it. For W.T that is W's memory:
# loaded again, a square matrix is W, one of another shape has its numbers shuffled. Slices with a step and
# Fortran order go the same way. PyTorch's door refuses such a tensor by name, 0.7 wrote the right numbers;
# reported as safetensors/safetensors issue 825. np.ascontiguousarray(W.T) is right.
#
# It hurts who converts weights: (in, out) of one library to (out, in) of another is a transposition,
# projections are often square, and no shape tells. X W is computed where X W' is meant.
#
# Seen:
#     square: saved [[0, 2], [1, 3]], loaded [[0, 1], [2, 3]]; made contiguous [[0, 2], [1, 3]]
#     3 x 2: saved [[0, 3], [1, 4], [2, 5]], loaded [[0, 1], [2, 3], [4, 5]]; made contiguous [[0, 3], [1, 4], [2, 5]]

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "safetensors==0.8.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file


def there_and_back(W):
    save_file({"W": W}, "W.safetensors")
    return load_file("W.safetensors")["W"].astype(int).tolist()


still = True
for name, shape in (("square", (2, 2)), ("3 x 2", (2, 3))):
    W = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    saved, loaded = W.T.astype(int).tolist(), there_and_back(W.T)
    contiguous = there_and_back(np.ascontiguousarray(W.T))
    print(f"{name}: saved {saved}, loaded {loaded}; made contiguous {contiguous}")
    still &= loaded == W.reshape(W.T.shape).astype(int).tolist() != saved == contiguous
sys.exit(0 if still else "The behaviour has changed.")
EOF
