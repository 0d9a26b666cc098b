#!/bin/sh
# transformers 5.24.0: with rope_type "dynamic" a model's answer depends on what it was asked before.
#
# Dynamic scaling chooses RoPE's base from the length, once the length passes max_position_embeddings. The
# layer keeps the base of the longest row it has seen, and forgets it only at a row shorter than the
# original limit. So a row of 12 (limit 8) has other logits after a row of 32, and its old ones again after
# a row of 4. And token by token, with a cache, each key keeps the base of its day: the logits differ from
# those of the whole row from the second token on. The first was reported in 2023 for short rows and mended
# for those (huggingface/transformers issue 25306), the second is issue 25104.
#
# It hurts who compares two implementations, or one model twice: a batch's order changes the numbers.
#
# Seen (a tiny random Llama):
#     the row of 12 again: 0.0; after a row of 32: 1.7; after a row of 4 as well: 0.0
#     token by token against the whole row: 0.8

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore", FutureWarning)  # past_key_values is to be called cache
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
    initializer_range=0.5, max_position_embeddings=8,
    rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
)
model = LlamaForCausalLM(config).eval()
row = torch.arange(1, 13)[None]


def after(*lengths):
    for length in lengths:
        model(torch.arange(1, length + 1)[None])
    return model(row).logits


def far(logits):
    return (logits - first).abs().max().item()


with torch.no_grad():
    first = after()
    again, longer, short = far(after()), far(after(32)), far(after(4))
    after(4)
    model(torch.arange(1, 5)[None])
    cache = DynamicCache(config=config)
    steps = [model(row[:, t : t + 1], past_key_values=cache).logits for t in range(12)]
    stepwise = far(torch.cat(steps, 1))
print(f"the row of 12 again: {again:.1f}; after a row of 32: {longer:.1f}; after a row of 4 as well: {short:.1f}")
print(f"token by token against the whole row: {stepwise:.1f}")
still = again == 0 and longer > 0.1 and short == 0 and stepwise > 0.1
sys.exit(0 if still else "The behaviour has changed.")
EOF
