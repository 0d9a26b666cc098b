#!/bin/sh
# transformers 5.24.0: attention of MRA is zero where its CUDA kernel is not there, and nothing says so.
#
# MraModel's attention needs a kernel that is fetched and built for a GPU. Without it the function that
# should weight the values returns zeros in their place. The model runs all the same: every layer adds the
# bias of its output matrix and the feed-forward part, so that each token is computed alone.
#
# It hurts who runs, tests or fine-tunes an MRA model on a CPU: it answers, and no token ever learns of
# another one.
#
# Seen (two layers, 64 tokens; one token in the middle is exchanged):
#     largest output of the attention in two layers: 0.0 0.0
#     positions of the last layer that change: 5

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
cd "$room"
CUDA_VISIBLE_DEVICES="" HF_HUB_OFFLINE=1 "$room/venv/bin/python" - <<'EOF'
import sys

import torch
import transformers
from transformers import MraConfig, MraModel

transformers.logging.set_verbosity_error()
torch.manual_seed(0)
model = MraModel(
    MraConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=128, initializer_range=0.5,
    )
).eval()
largest = []
for layer in model.encoder.layer:
    layer.attention.self.register_forward_hook(
        lambda module, given, output: largest.append(output[0].abs().max().item())
    )
words = torch.randint(3, 60, (1, 64))
other = words.clone()
other[0, 5] = 1
with torch.no_grad():
    first = model(words).last_hidden_state
    seen = list(largest)
    second = model(other).last_hidden_state
changed = ((first - second)[0].abs().amax(-1) > 0).nonzero().flatten().tolist()
print("largest output of the attention in two layers:", *seen)
print("positions of the last layer that change:", *changed)
sys.exit(0 if seen == [0.0, 0.0] and changed == [5] else "The behaviour has changed.")
EOF
