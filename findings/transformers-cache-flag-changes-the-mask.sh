#!/bin/sh
# transformers 5.24.0: use_cache, or an attention_mask of ones, changes the logits of a packed row.
#
# Two documents packed in one row are told apart by position_ids that start again: 0 1 2 3 0 1 2 3. The
# library sees this and hides the first document from the second, but only where no attention_mask and no
# cache is there. In evaluation a cache is made by default (use_cache=True), so the plain call lets the
# second document read the first; use_cache=False parts them; a mask of ones, which says the same as none,
# joins them again. The mask of ones was discussed in huggingface/transformers pull request 46634 and kept;
# that the cache flag does it too is less to be seen.
#
# It hurts who trains on packed rows and then measures perplexity: the two numbers are of two different
# attentions.
#
# Seen (a tiny random Llama; difference from the second document computed alone):
#     eager use_cache=True, no mask: 5.50    mask of ones: 5.50
#     eager use_cache=False, no mask: 0.00    mask of ones: 5.50
#     sdpa use_cache=True, no mask: 5.50    mask of ones: 5.50
#     sdpa use_cache=False, no mask: 0.00    mask of ones: 5.50

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
    initializer_range=0.5,
)
model = LlamaForCausalLM(config).eval()
tokens = torch.arange(1, 9)[None]
positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])
seen = []
with torch.no_grad():
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        alone = model(tokens[:, 4:], use_cache=False).logits
        for cache in (True, False):
            far = []
            for mask in (None, torch.ones_like(tokens)):
                packed = model(tokens, attention_mask=mask, position_ids=positions, use_cache=cache).logits
                far.append((packed[:, 4:] - alone).abs().max().item())
            print(f"{implementation} use_cache={cache}, no mask: {far[0]:.2f}    mask of ones: {far[1]:.2f}")
            seen.append([f < 1e-4 for f in far])
still = seen == [[False, False], [True, False]] * 2
sys.exit(0 if still else "The behaviour has changed.")
EOF
