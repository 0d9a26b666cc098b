#!/bin/sh
# equinox 0.13.8 (jax 0.10.2): a second RotaryPositionalEmbedding turns by the first one's theta.
#
# The table of angles is kept in one dictionary for the whole process, under the width and the dtype, not
# theta. Whoever comes second with the same width gets the first one's table, until a longer row is asked
# for: then the table is made anew with the asker's theta, and the first layer turns by that from now on.
# theta is shown rightly in both layers' repr.
#
# It hurts who has local and global layers with two bases (Gemma 3 and kin), compares bases, or loads two
# models in one process: every number depends on who was called first.
#
# Seen (ones of shape 5 x 8; differences between the turned arrays):
#     theta 1e4, then 100: between the two 0.0; between 100 called second and 100 called first 1.2
#     after 100 was asked for 6 rows, theta 1e4 of 5 rows differs from itself by 1.2

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "equinox==0.13.8" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import subprocess
import sys

import equinox as eqx
import jax.numpy as jnp
import numpy as np

x = jnp.ones((5, 8))
first, second = (eqx.nn.RotaryPositionalEmbedding(8, theta=theta) for theta in (1e4, 100.0))
early, late = np.array(first(x)), np.array(second(x))
alone = (
    "import equinox as eqx, jax.numpy as jnp, numpy as np\n"
    "np.save('alone.npy', eqx.nn.RotaryPositionalEmbedding(8, theta=100.0)(jnp.ones((5, 8))))\n"
)
subprocess.run([sys.executable, "-c", alone], check=True)
between, order = abs(early - late).max(), abs(late - np.load("alone.npy")).max()
second(jnp.ones((6, 8)))
itself = abs(np.array(first(x)) - early).max()
print(f"theta 1e4, then 100: between the two {between:.1f}; ", end="")
print(f"between 100 called second and 100 called first {order:.1f}")
print(f"after 100 was asked for 6 rows, theta 1e4 of 5 rows differs from itself by {itself:.1f}")
sys.exit(0 if between == 0 and order > 0.1 and itself > 0.1 else "The behaviour has changed.")
EOF
