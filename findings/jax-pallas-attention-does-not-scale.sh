#!/bin/sh
# jax 0.10.2: the Pallas kernels for attention do not divide by sqrt(d) unless told so.
#
# jax.nn.dot_product_attention scales by 1/sqrt(d). The kernels in jax.experimental.pallas.ops,
# gpu.attention.mha and tpu.flash_attention, take sm_scale=1.0 by default: plain softmax(QK'). The GPU's
# decode_attention was given 1/sqrt(d), to match (jax-ml/jax pull request 24602). So one package has two
# defaults, and a prompt and its decoding steps two attentions if both are left at theirs.
#
# It hurts who swaps the slow call for the fast one: shapes fit, weights are near one-hot, training is only
# worse.
#
# Seen (interpreted on a CPU; d = 64, standard normal entries):
#     mha against dot_product_attention: 3.6; against the same with scale=1.0: 0.0
#     default sm_scale: mha 1.0, tpu flash_attention 1.0, decode_attention None

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import inspect
import sys

import jax
from jax.experimental.pallas.ops.gpu.attention import mha
from jax.experimental.pallas.ops.gpu.decode_attention import gqa
from jax.experimental.pallas.ops.tpu.flash_attention import flash_attention

Q, K, V = (jax.random.normal(jax.random.key(i), (1, 128, 2, 64)) for i in range(3))
O = mha(Q, K, V, None, interpret=True)
scaled, plain = (float(abs(O - jax.nn.dot_product_attention(Q, K, V, scale=s)).max()) for s in (None, 1.0))
print(f"mha against dot_product_attention: {scaled:.1f}; against the same with scale=1.0: {plain:.1f}")
defaults = [inspect.signature(f).parameters["sm_scale"].default for f in (mha, flash_attention, gqa)]
print("default sm_scale: mha {}, tpu flash_attention {}, decode_attention {}".format(*defaults))
still = scaled > 0.1 and plain < 1e-4 and defaults == [1.0, 1.0, None]
sys.exit(0 if still else "The behaviour has changed.")
EOF
