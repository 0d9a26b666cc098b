#!/bin/sh
# h-transformer-1d 0.1.9: with causal=True most tokens see little of the past, some only themselves.
#
# The hierarchy looks back over blocks of means. The finest level holds a token's own block and nothing
# else, so tokens of the second block never see the first one; a coarser level may be read only by the last
# token of its group, so every second token does not read it at all. Nothing looks ahead, and that is all
# which a test for leaks can tell.
#
# It hurts who trains a language model on it: no depth brings back what stands in no layer's reach. Token 4
# below is predicted from itself alone, with one layer and with six.
#
# Seen (16 tokens, block_size=4; how many tokens each position's logits depend on; wanted 1 2 3 ... 16):
#     depth 1: 1 2 3 4 1 2 3 4 1 10 3 12 1 10 3 12
#     depth 6: 1 2 3 4 1 2 3 4 1 10 11 12 1 10 11 12

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "h-transformer-1d==0.1.9" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from h_transformer_1d import HTransformer1D

n, seen = 16, []
for depth in (1, 6):
    torch.manual_seed(0)
    model = HTransformer1D(
        num_tokens=10, dim=16, depth=depth, causal=True, max_seq_len=n, heads=2, dim_head=8, block_size=4
    ).eval()
    tokens = torch.randint(0, 10, (1, n))
    embedded = []
    model.token_emb.register_forward_hook(lambda layer, given, E: embedded.append(E))
    rows = model(tokens)[0]
    grads = [torch.autograd.grad(row.square().sum(), embedded[0], retain_graph=True)[0][0] for row in rows]
    seen.append([int((grad != 0).any(-1).sum()) for grad in grads])
    print(f"depth {depth}:", *seen[-1])
still = all(counts[4] == 1 and counts[7] == 4 and counts[:4] == [1, 2, 3, 4] for counts in seen)
sys.exit(0 if still else "The behaviour has changed.")
EOF
