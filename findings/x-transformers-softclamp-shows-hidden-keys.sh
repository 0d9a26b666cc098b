#!/bin/sh
# x-transformers 2.31.10: softclamp_logits caps the bias as well, and −∞ becomes −50.
#
# Attend(softclamp_logits=True) takes 50 tanh(S / 50) after attn_bias has been added. A bias of −∞, the
# usual way to hide a key or to build a window, comes out as −50: the key has a weight again, and where the
# scores of the keys in sight are low it has a large one. A mask given as mask= is applied behind the cap
# and holds. So does −∞ without the cap.
#
# It hurts who hides keys by a bias and switches the cap on for stability: a future token leaks just where
# the model is sure that nothing before it matters. A bias by distance, as ALiBi's, is flattened beyond −50.
#
# Seen (one query, two keys, the second hidden; its weight, for a score of the first of 0, −50 and −200):
#     bias −∞, no cap: 0.000 0.000 0.000
#     bias −∞, cap: 0.000 0.000 0.492
#     mask, cap: 0.000 0.000 0.000

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "x-transformers==2.31.10" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from x_transformers.attend import Attend

V = torch.tensor([[0.0, 0.0], [1.0, 1.0]])[None, None]
K = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, None]


def weight_of_the_hidden(score, cap, **hiding):
    Q = torch.tensor([[score, 0.0]])[None, None]
    attend = Attend(softclamp_logits=cap, scale=1.0).eval()
    return attend(Q, K, V, **hiding)[0].flatten()[0].item()


bias = {"attn_bias": torch.tensor([[[0.0, -torch.inf]]])}
mask = {"mask": torch.tensor([[[[True, False]]]])}
ways = {"bias −∞, no cap": (False, bias), "bias −∞, cap": (True, bias), "mask, cap": (True, mask)}
seen = {}
for name, (cap, hiding) in ways.items():
    seen[name] = [weight_of_the_hidden(score, cap, **hiding) for score in (0.0, -50.0, -200.0)]
    print(f"{name}:", *(f"{weight:.3f}" for weight in seen[name]))
leaks = seen.pop("bias −∞, cap")
still = leaks[2] > 0.4 > leaks[1] > 0 and all(weight == 0 for weights in seen.values() for weight in weights)
sys.exit(0 if still else "The behaviour has changed.")
EOF
