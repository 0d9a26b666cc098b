#!/bin/sh
# rotary-embedding-torch 0.9.1: queries in half precision are turned by positions in half precision.
#
# rotate_queries_or_keys counts the positions in the dtype of what it turns. Above 256 bfloat16 has every
# second integer only, above 512 every fourth: from there on neighbours share a position. float16 ends at
# 2048. The angles are then kept for the next call, whatever its dtype: float32 rows that are not longer are
# turned by the rounded positions too.
#
# It hurts who trains under autocast, where the projections hand on bfloat16: behind token 256 the order of
# neighbours is gone, and a float32 evaluation by the same layer repeats the fault instead of showing it.
#
# Seen (d = 8; ones; how many neighbours are turned alike; largest difference from float32):
#     torch.float32  4100 tokens: alike 0, first [], off by 0.0, float32 after it by 0.0
#     torch.bfloat16 600 tokens: alike 193, first [256], off by 2.4, float32 after it by 2.4
#     torch.float16  4100 tokens: alike 1026, first [2048], off by 2.2, float32 after it by 2.2

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "rotary-embedding-torch==0.9.1" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from rotary_embedding_torch import RotaryEmbedding

seen = []
for dtype, n in ((torch.float32, 4100), (torch.bfloat16, 600), (torch.float16, 4100)):
    x = torch.ones(1, 1, n, 8)
    right = RotaryEmbedding(dim=8).rotate_queries_or_keys(x)
    layer = RotaryEmbedding(dim=8)
    turned, again = layer.rotate_queries_or_keys(x.to(dtype)), layer.rotate_queries_or_keys(x)
    alike = (turned[0, 0, 1:] == turned[0, 0, :-1]).all(-1).nonzero()[:, 0].tolist()
    far, after = ((y.float() - right).abs().max().item() for y in (turned, again))
    print(f"{str(dtype):<14} {n} tokens: alike {len(alike)}, first {alike[:1]}, off by {far:.1f}, ", end="")
    print(f"float32 after it by {after:.1f}")
    seen.append((alike[:1], far > 1, after > 1))
still = seen == [([], False, False), ([256], True, True), ([2048], True, True)]
sys.exit(0 if still else "The behaviour has changed.")
EOF
