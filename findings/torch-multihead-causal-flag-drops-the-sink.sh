#!/bin/sh
# torch 2.13.0: nn.MultiheadAttention loses its extra key when told that the mask is causal.
#
# add_bias_kv=True and add_zero_attn=True append one more key, seen by every query (a sink). With attn_mask
# the triangle and is_causal=True, which only repeats what the mask says, the answer depends on
# need_weights: with need_weights=False the mask is dropped for the flag, the appended key stands last,
# after the triangle, and no query sees it. The learned bias_v then gets no gradient at all.
#
# It hurts who trains with need_weights=False for speed: the sink that the layer was built for is not there,
# and it comes back as soon as somebody asks for the weights or leaves the flag out.
#
# Seen:
#     add_bias_kv: flag against no flag, weights asked 0.0, not asked 0.9; gradient of bias_v 0.0
#     add_zero_attn: flag against no flag, weights asked 0.0, not asked 0.7

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from torch import nn

torch.manual_seed(0)
n, e = 4, 8
x = torch.randn(1, n, e)
triangle = nn.Transformer.generate_square_subsequent_mask(n)
far = []
for extra in ("add_bias_kv", "add_zero_attn"):
    layer = nn.MultiheadAttention(e, 2, batch_first=True, **{extra: True})
    if layer.bias_v is not None:
        nn.init.normal_(layer.bias_v, std=3)

    def ask(causal, weights):
        return layer(x, x, x, attn_mask=triangle, is_causal=causal, need_weights=weights)[0]

    asked, not_asked = ((ask(True, w) - ask(False, w)).abs().max().item() for w in (True, False))
    line = f"{extra}: flag against no flag, weights asked {asked:.1f}, not asked {not_asked:.1f}"
    if layer.bias_v is not None:
        ask(True, False).sum().backward()
        gradient = 0.0 if layer.bias_v.grad is None else layer.bias_v.grad.abs().max().item()
        line += f"; gradient of bias_v {gradient:.1f}"
        far.append(gradient == 0)
    print(line)
    far.append(asked < 1e-5 and not_asked > 0.1)
sys.exit(0 if all(far) else "The behaviour has changed.")
EOF
