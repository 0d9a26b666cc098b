#!/bin/sh
# torch 2.13.0, CPU: under autocast the float32 bias of scaled_dot_product_attention is rounded to half.
#
# Autocast casts Q, K and V, and the additive mask with them. bfloat16 has 8 bits: between 512 and 1024
# every fourth integer is a number. ALiBi in the form +slope*position (bloom's) then gives neighbours the
# same bias. float16 has no -1e9: it becomes -inf, and a row of them, which was the mean of V, becomes a row
# that sees nobody: zeros.
#
# It hurts who adds positions, log-probabilities or -1e9 to long rows: the same call, the same tensors, and
# only the with-line is new. Without autocast a float32 mask beside half Q is refused, so nothing warns.
#
# Seen (weights of the last three of 1024 keys under bias 0, 1, 2 ... 1023; then the row of -1e9, mean of V
# 2.5):
#     float32             0.0855 0.2325 0.6321   2.5
#     autocast bfloat16   0.0089 0.4863 0.4863   2.5
#     autocast float16    0.0856 0.2325 0.6323   0.0

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import contextlib
import sys

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

m = 1024
Q, K, V = torch.zeros(1, 1, 1, 16), torch.zeros(1, 1, m, 16), torch.eye(m)[None, None]
positions = torch.arange(float(m))[None]
four = torch.tensor([1.0, 2, 3, 4])[None, None, :, None].expand(1, 1, 4, 16)
seen = {}
for name in ("float32", "bfloat16", "float16"):
    cast = name != "float32"
    with torch.autocast("cpu", getattr(torch, name)) if cast else contextlib.nullcontext():
        last = sdpa(Q, K, V, attn_mask=positions)[0, 0, 0, -3:].tolist()
        hidden = sdpa(Q, K[:, :, :4], four, attn_mask=torch.full((1, 4), -1e9))[0, 0, 0, 0].item()
    title = "autocast " * cast + name
    print(f"{title:<19}", *(f"{w:.4f}" for w in last), f"  {hidden}")
    seen[name] = (*last, hidden)
still = seen["bfloat16"][1] == seen["bfloat16"][2] and seen["float16"][3] == 0 and seen["float32"][3] == 2.5
sys.exit(0 if still else "The behaviour has changed.")
EOF
