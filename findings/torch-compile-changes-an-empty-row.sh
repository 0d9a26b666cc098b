#!/bin/sh
# torch 2.13.0, CPU: torch.compile turns a hand-written attention's NaN into zeros, by how it is written.
#
# softmax(QK' / sqrt(d) + B) V, written out, gives NaN in a row whose bias is -inf everywhere. Under
# torch.compile the five operations are recognised and replaced by the fused attention, which gives that row
# zeros. The same formula with masked_fill in place of the addition is not recognised, and stays NaN. (A C++
# compiler is needed.)
#
# It hurts who checks for empty rows by their NaN, or teaches what the formula gives: the same function has
# two answers, and an edit that changes nothing in eager mode switches between them when compiled. The same
# rewriting is reported for a softmax along another axis, with wrong numbers: pytorch/pytorch issue 196468.
#
# Seen (the empty row's first number):
#     B added:       eager nan, compiled 0.0
#     masked_fill:   eager nan, compiled nan

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import math
import sys

import torch

torch.manual_seed(0)


def added(Q, K, V, B):
    return torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.size(-1)) + B, -1) @ V


def filled(Q, K, V, hidden):
    S = Q @ K.transpose(-2, -1) / math.sqrt(Q.size(-1))
    return torch.softmax(S.masked_fill(hidden, -math.inf), -1) @ V


Q, K, V = (torch.randn(2, 4, 16, 32) for _ in range(3))
B = torch.full((16, 16), -math.inf).triu(1)
B[3] = -math.inf
seen = []
with torch.no_grad():
    for name, f, mask in (("B added:    ", added, B), ("masked_fill:", filled, B.isneginf())):
        eager, compiled = (g(Q, K, V, mask)[0, 0, 3, 0].item() for g in (f, torch.compile(f)))
        print(f"{name}   eager {eager}, compiled {compiled}")
        seen += [math.isnan(eager), compiled]
still = seen[0] and seen[1] == 0 and seen[2] and math.isnan(seen[3])
sys.exit(0 if still else "The behaviour has changed.")
EOF
