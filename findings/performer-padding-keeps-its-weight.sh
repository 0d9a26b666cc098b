#!/bin/sh
# performer-pytorch 1.1.4: padding that the mask hides keeps its share of the weights.
#
# The mask sets hidden values to zero and does nothing to the keys. In Performer's attention the denominator
# is a sum over all keys, so the hidden ones are still counted: the visible weights no longer sum to 1, and
# the output shrinks by how much padding stands beside it. What lies under the mask moves it as well. The
# same goes for context_mask in cross-attention; local heads (local_heads=) mask properly.
#
# It hurts who pads a batch: a sentence's output depends on the longest sentence beside it, in training and
# in evaluation, and no row is NaN or zero.
#
# Seen (5 tokens, values all 1: the outputs are the sums of the visible weights, 1 wanted):
#     padded to 5 with 0.0: 1.00
#     padded to 8 with 0.0: 0.56
#     padded to 16 with 0.0: 0.26
#     padded to 64 with 0.0: 0.06
#     padded to 64 with 1.0: 0.07

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "performer-pytorch==1.1.4" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import torch

warnings.simplefilter("ignore")
from performer_pytorch import SelfAttention

torch.manual_seed(0)
layer = SelfAttention(dim=16, heads=2, dim_head=8, qkv_bias=True).eval()
layer.to_out = torch.nn.Identity()
x = torch.randn(1, 5, 16)
seen = []
with torch.no_grad():
    layer.to_v.weight.zero_()
    layer.to_v.bias.fill_(1.0)
    for n, under in ((5, 0.0), (8, 0.0), (16, 0.0), (64, 0.0), (64, 1.0)):
        padded = torch.full((1, n, 16), under)
        padded[:, :5] = x
        mask = (torch.arange(n) < 5)[None]
        seen.append(layer(padded, mask=mask)[0, :5].mean().item())
        print(f"padded to {n} with {under}: {seen[-1]:.2f}")
sys.exit(0 if abs(seen[0] - 1) < 1e-3 and max(seen[2:]) < 0.6 else "The behaviour has changed.")
EOF
