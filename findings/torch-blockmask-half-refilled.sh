#!/bin/sh
# torch 2.13.0, CPU: a FlexAttention BlockMask whose lengths are refilled follows the new ones by halves.
#
# A mask_mod may look at a tensor (lengths, document ids). create_block_mask asks it once which blocks are
# whole, partial or empty; flex_attention asks it again, but only inside partial blocks. Fill the tensor
# with the next batch's lengths and keep the BlockMask: compiled, the blocks that were whole are still seen
# whole. Eager, every entry is asked again, and the answer is that of the new lengths: the two disagree, and
# the compiled answer belongs to neither batch. (A C++ compiler is needed.)
#
# It hurts who allocates lengths once and refills them (as for CUDA graphs), tries it in eager mode, and
# compiles it. A longer length goes unnoticed as long as it ends in the same block.
#
# Seen (equal scores, V the key's number, mask built at length 500: the output is (length - 1) / 2):
#     length 500: want 249.5, eager 249.5, compiled 249.5
#     length 100: want 49.5, eager 49.5, compiled 191.5
#     length 512: want 255.5, eager 255.5, compiled 255.5

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

warnings.simplefilter("ignore")  # eager flex_attention warns that it is slow
n, d = 512, 16
lengths = torch.tensor([500])
block_mask = create_block_mask(lambda b, h, i, j: j < lengths[b], 1, None, n, n, device="cpu")
Q = K = torch.zeros(1, 1, n, d)
V = torch.arange(float(n))[None, None, :, None].expand(1, 1, n, d).contiguous()
compiled = torch.compile(flex_attention)
seen = {}
with torch.no_grad():
    for length in (500, 100, 512):
        lengths.fill_(length)
        e, c = (f(Q, K, V, block_mask=block_mask)[0, 0, 0, 0].item() for f in (flex_attention, compiled))
        print(f"length {length}: want {(length - 1) / 2}, eager {e:.1f}, compiled {c:.1f}")
        seen[length] = (round(e, 1), round(c, 1))
still = seen[500] == (249.5, 249.5) and seen[100] == (49.5, 191.5)
sys.exit(0 if still else "The behaviour has changed.")
EOF
