#!/bin/sh
# jax 0.10.2: document ids of 64 bits lose their upper half without a word, and documents merge.
#
# Without jax_enable_x64, jnp.asarray of a NumPy int64 array keeps the low 32 bits of every number; only an
# explicit dtype=int64 warns. Ids that are hashes, time stamps times 2^k or (shard, number) packed in one
# integer can agree in their low bits. The mask "same document" then lets them see each other. Comparing the
# NumPy arrays with jnp.equal casts them first and says the same.
#
# It hurts who packs documents and masks by id: NumPy and PyTorch tell them apart, JAX does not.
#
# Seen (two documents, ids 7 and 7 + 2^32; V the position's number, equal scores, output of the last
# position):
#     ids [7, 7, 4294967303, 4294967303] become [7, 7, 7, 7], warnings: 0
#     output with the mask made in NumPy 2.5, in JAX 1.5

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

ids = np.array([7, 7, 7 + 2**32, 7 + 2**32])
Q = K = jnp.zeros((1, 4, 1, 8))
V = jnp.broadcast_to(jnp.arange(4.0)[None, :, None, None], (1, 4, 1, 8))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    held = jnp.asarray(ids)
    same = {"NumPy": ids[:, None] == ids, "JAX": held[:, None] == held}
    out = [float(jax.nn.dot_product_attention(Q, K, V, mask=jnp.asarray(m)[None, None])[0, -1, 0, 0])
           for m in same.values()]
print(f"ids {ids.tolist()} become {held.tolist()}, warnings: {len(caught)}")
print(f"output with the mask made in NumPy {out[0]}, in JAX {out[1]}")
still = held.tolist() == [7] * 4 and not caught and out == [2.5, 1.5]
sys.exit(0 if still else "The behaviour has changed.")
EOF
