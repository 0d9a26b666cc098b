#!/bin/sh
# torch 2.13.0: how far a NaN in a hidden value reaches through FlexAttention depends on whether it is compiled.
#
# A causal block mask, 130 tokens; the value of the last one is NaN, as storage for tokens to come may hold. All
# rows but the last may not see it. As written, `flex_attention` multiplies hidden values by 0, and all 130 rows are
# NaN. Under `torch.compile`, which is how it is meant to be used, blocks of 128 that nobody sees are skipped: the
# first 128 rows are right, and row 128, which may not see the NaN either, has it, since it stands in the same
# block as row 129. The same causal rule as a `score_mod` makes every row NaN in both.
#
# It hurts who looks for a NaN: whoever debugs without compiling sees it in every row, whoever logs the loss of
# the first 128 tokens of a compiled model sees none, and the row that has it next to the right one gives no hint.
#
# Seen (rows of 130 that hold NaN):
#     block mask, as written 130, compiled 2: 128 and 129
#     score_mod, as written 130, compiled 130
#
# Compiling on a CPU needs a C++ compiler.

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "numpy==2.4.6"
cd "$room"
TORCHINDUCTOR_CACHE_DIR="$room/cache" "$room/venv/bin/python" - <<'EOF'
import sys

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

torch.manual_seed(0)
n = 130
Q, K, V = torch.randn(3, 1, 2, n, 32)
V[:, :, -1] = torch.nan


def causal(b, h, i, j):
    return j <= i


def past(score, b, h, i, j):
    return torch.where(j <= i, score, -float("inf"))


def rows_of_nan(attention, **how):
    return attention(Q, K, V, **how)[0, 0].isnan().any(-1).nonzero().flatten().tolist()


mask = create_block_mask(causal, None, None, n, n, device="cpu")
compiled = torch.compile(flex_attention)
seen = {}
for name, how in ("block mask", {"block_mask": mask}), ("score_mod", {"score_mod": past}):
    written, by_code = rows_of_nan(flex_attention, **how), rows_of_nan(compiled, **how)
    seen[name] = len(written), by_code if len(by_code) < 5 else len(by_code)
    print(f"{name}: as written {seen[name][0]} rows, compiled {seen[name][1]}")
sys.exit(0 if seen == {"block mask": (130, [128, 129]), "score_mod": (130, 130)} else "The behaviour has changed.")
EOF
