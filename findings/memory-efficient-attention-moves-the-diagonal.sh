#!/bin/sh
# memory-efficient-attention-pytorch 0.1.6: memory_efficient=True moves the causal diagonal.
#
# With as many queries as keys both ways agree. With fewer queries the plain one lets the last query see
# every key (the diagonal ends in the corner below, right), the efficient one lets the first query see the
# first key alone (the diagonal begins in the corner above, left). Same function, same flag, other answer.
#
# It hurts who checks the plain way on a cache or a chunk of queries and then switches the efficient one on
# to save memory: the newest token no longer sees the newest keys. Nothing is NaN and no shape differs.
#
# Seen (4 queries, 6 keys, causal; how many keys each query sees):
#     plain: 3 4 5 6
#     memory efficient: 1 2 3 4
#     6 queries, 6 keys, both: 1 2 3 4 5 6

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "memory-efficient-attention-pytorch==0.1.6" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from memory_efficient_attention_pytorch.memory_efficient_attention import attention, memory_efficient_attention


def keys_seen(attend, n, m, **buckets):
    Q, K, V = torch.zeros(1, 1, n, 8), torch.zeros(1, 1, m, 8), torch.eye(m)[None, None]
    return (attend(Q, K, V, causal=True, **buckets)[0, 0] > 1e-6).sum(-1).tolist()


buckets = {"q_bucket_size": 2, "k_bucket_size": 2}
plain, efficient = keys_seen(attention, 4, 6), keys_seen(memory_efficient_attention, 4, 6, **buckets)
print("plain:", *plain)
print("memory efficient:", *efficient)
square = keys_seen(attention, 6, 6), keys_seen(memory_efficient_attention, 6, 6, **buckets)
print("6 queries, 6 keys, both:", *square[0])
still = plain == [3, 4, 5, 6] and efficient == [1, 2, 3, 4] and square[0] == square[1] == [1, 2, 3, 4, 5, 6]
sys.exit(0 if still else "The behaviour has changed.")
EOF
