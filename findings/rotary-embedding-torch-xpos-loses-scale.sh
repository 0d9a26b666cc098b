#!/bin/sh
# rotary-embedding-torch 0.9.1: xPos with cached keys scales queries and keys from two different middles.
#
# xPos multiplies query i by s^(i - middle) and key j by s^-(j - middle), so that scores depend on i - j.
# The scale's exponent is counted from the middle of whatever it is given: rotate_queries_with_cached_keys
# gives it all keys, but only the newest query, whose middle is itself the last position. Every score of a
# cached step is off by s^(m/2), another factor for each pair of channels, and it grows with the length.
# (The function was taught xPos after issue 27 of its repository.)
#
# It hurts who decodes with a cache: short texts look right, long ones drift, and no shape is wrong.
#
# Seen (d = 64, standard normal; the last query's scores, cached against whole; the largest score in
# brackets):
#     12 keys: 0.1 (15.2)   128 keys: 1.2 (19.0)   2048 keys: 10.8 (23.8)

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


def scores(turn, Q, K):
    Q, K = turn(Q, K)
    return (Q @ K.transpose(-1, -2))[:, :, -1]


far = []
for m in (12, 128, 2048):
    torch.manual_seed(0)
    Q, K = torch.randn(1, 1, m, 64), torch.randn(1, 1, m, 64)
    whole = scores(RotaryEmbedding(64, use_xpos=True).rotate_queries_and_keys, Q, K)
    cached = scores(RotaryEmbedding(64, use_xpos=True).rotate_queries_with_cached_keys, Q[:, :, -1:], K)
    plain = RotaryEmbedding(64)
    assert torch.allclose(  # without xPos the same two ways agree
        plain.rotate_queries_or_keys(Q)[:, :, -1:],
        plain.rotate_queries_with_cached_keys(Q[:, :, -1:], K)[0],
        atol=1e-5,
    )
    far.append((whole - cached).abs().max().item())
    print(f"{m} keys: {far[-1]:.1f} ({whole.abs().max():.1f})", end="   ")
print()
sys.exit(0 if far[0] > 1e-2 and far[2] > 1 else "The behaviour has changed.")
EOF
