#!/bin/sh
# flax 0.12.8 (jax 0.10.2): decoding past the cache's length overwrites the last token, silently.
#
# MultiHeadAttention(decode=True) writes each step's key with dynamic_update_slice, which moves a write that
# does not fit back until it fits. Step 5 into a cache of 4 lands on token 4's place, step 6 again.
# cache_index goes on counting, nothing raises, and the numbers are those of another, shorter history:
# tokens 1, 2, 3 and the newest. nnx and linen alike.
#
# It hurts who generates a little longer than planned: every number is finite and none is right.
# (transformers' StaticCache raises here.)
#
# Seen (cache of 4; difference from causal attention over the whole row, step by step):
#     nnx    0.0 0.0 0.0 0.0 0.8 0.9   index 6, and against tokens 1, 2, 3, 6 alone 0.0
#     linen  0.0 0.0 0.0 0.0 0.1 0.3   index 6, and against tokens 1, 2, 3, 6 alone 0.0

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "flax==0.12.8" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

size, steps = 4, 6
x = jax.random.normal(jax.random.key(1), (1, steps, 8))
kept = x[:, jnp.array([0, 1, 2, 5])]


def with_nnx():
    whole, cached = (nnx.MultiHeadAttention(2, 8, decode=d, rngs=nnx.Rngs(0)) for d in (False, True))
    cached.init_cache((1, size, 8))
    rows = [cached(x[:, t : t + 1]) for t in range(steps)]
    return rows, lambda x: whole(x, mask=nnx.make_causal_mask(x[..., 0])), cached.cache_index[...]


def with_linen():
    whole, cached = (nn.MultiHeadDotProductAttention(2, qkv_features=8, decode=d) for d in (False, True))
    state = cached.init(jax.random.key(0), jnp.ones((1, size, 8)))
    params, cache, rows = state["params"], state["cache"], []
    for t in range(steps):
        row, new = cached.apply({"params": params, "cache": cache}, x[:, t : t + 1], mutable=["cache"])
        cache = new["cache"]
        rows.append(row)

    def full(x):
        return whole.apply({"params": params}, x, mask=nn.make_causal_mask(x[..., 0]))

    return rows, full, cache["cache_index"]


still = []
for name, run in (("nnx", with_nnx), ("linen", with_linen)):
    rows, full, index = run()
    O = full(x)
    far = [float(abs(row[:, 0] - O[:, t]).max()) for t, row in enumerate(rows)]
    short = float(abs(rows[-1][:, 0] - full(kept)[:, -1]).max())
    print(f"{name:<6}", *(f"{f:.1f}" for f in far), f"  index {index}, ", end="")
    print(f"and against tokens 1, 2, 3, 6 alone {short:.1f}")
    still.append(max(far[:size]) < 1e-4 and min(far[size:]) > 0.05 and short < 1e-4 and index == steps)
sys.exit(0 if all(still) else "The behaviour has changed.")
EOF
