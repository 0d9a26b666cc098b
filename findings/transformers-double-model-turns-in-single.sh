#!/bin/sh
# transformers 5.24.0: a Llama in float64 is turned by float32 angles, and says float64.
#
# model.double() converts the inverse frequencies too, and the cosines and sines come out as float64. But the
# angles, position times frequency, are multiplied in float32 and widened afterwards, so they carry the
# rounding of a float32 of the size of the position: the further from the start, the more is wrong. At
# position 100,000 the cosines are right to three digits, in every dtype, and a wider one does not help.
#
# It hurts who takes the float64 model as the reference: an implementation that is right in float64 differs
# from it by 1e-5 after a few hundred tokens, by 1e-3 far out, and looks wrong; and a difference that is
# blamed on half precision is there in full precision as well.
#
# Seen (largest difference of a cosine from cos(position · base^(−2c/d)) in float64):
#     position      1: torch.float64, off by 3.5e-08
#     position   1000: torch.float64, off by 1.4e-05
#     position 100000: torch.float64, off by 1.1e-03

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

d = 64
config = LlamaConfig(
    hidden_size=d, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8, vocab_size=8,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
)
model = LlamaForCausalLM(config).double().eval()
right = 10000.0 ** (-np.arange(0, d, 2) / d)
row = torch.zeros(1, 1, d, dtype=torch.float64)
off = []
for position in (1, 1000, 100_000):
    cosines, _ = model.model.rotary_emb(row, torch.tensor([[position]]))
    off.append(abs(cosines[0, 0, : d // 2].numpy() - np.cos(position * right)).max())
    print(f"position {position:6}: {cosines.dtype}, off by {off[-1]:.1e}")
still = cosines.dtype == torch.float64 and off[1] > 1e-7 and off[2] > 1e-4
sys.exit(0 if still else "The behaviour has changed.")
EOF
