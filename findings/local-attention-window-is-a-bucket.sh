#!/bin/sh
# local-attention 1.11.2: window_size=4 lets a query see 5 to 8 keys, by where it stands; "exact" means 5.
#
# The row is cut into buckets of window_size; a query sees its own bucket as far as itself and the whole
# bucket before. So the reach is 4 back for the first of a bucket and 7 for the last: i - j < 4 of the
# formulas is not what is computed, and moving a text by one token changes what its words see.
# exact_windowsize=True gives one number for all, and it is 5: the query itself is not counted. A row that
# may see nobody gets the mean of its buckets, padding of -1 before the row included.
#
# It hurts who compares with a window of another library, or converts trained weights: transformers counts
# 4, itself included.
#
# Seen (16 tokens, causal; how many keys each query sees):
#     window_size=4: 1 2 3 4 5 6 7 8 5 6 7 8 5 6 7 8
#     exact_windowsize=True: 1 2 3 4 5 5 5 5 5 5 5 5 5 5 5 5
#     first token hidden, values all 1: output of row 0 is 0.0

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "local-attention==1.11.2" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from local_attention import LocalAttention

n = 16
Q, V = torch.zeros(1, n, 8), torch.eye(n)[None]
seen = []
for name, flags in (("window_size=4", {}), ("exact_windowsize=True", {"exact_windowsize": True})):
    attend = LocalAttention(dim=8, window_size=4, causal=True, use_rotary_pos_emb=False, **flags)
    seen.append((attend(Q, Q, V)[0] > 0).sum(-1).tolist())
    print(f"{name}:", *seen[-1])
mask = torch.ones(1, n, dtype=torch.bool)
mask[0, 0] = False
attend = LocalAttention(dim=8, window_size=4, causal=True, use_rotary_pos_emb=False)
hidden = attend(Q, Q, torch.ones(1, n, 8), mask=mask)[0, 0, 0].item()
print(f"first token hidden, values all 1: output of row 0 is {hidden}")
still = seen[0] == [1, 2, 3, 4] + [5, 6, 7, 8] * 3 and seen[1] == [1, 2, 3, 4] + [5] * 12 and hidden == 0
sys.exit(0 if still else "The behaviour has changed.")
EOF
