#!/bin/sh
# torch 2.13.0: nn.MultiheadAttention reads the numbers of its out_proj and never calls it.
#
# layer.out_proj looks like a Linear inside the layer. The layer takes its weight and bias and multiplies
# for itself: forward hooks on out_proj do not run, in no mode, and whatever is put in its place as a Linear
# with a forward of its own (a low-rank adapter, a recorder, a quantised product) has no effect, without a
# word. Known since 2022: pytorch/pytorch issue 78109.
#
# It hurts who reads or edits what heads write back (hooks are how that is done), and who fine-tunes: the
# adapter's numbers get no gradient, the loss goes down all the same through the rest.
#
# Seen:
#     calls of the hook: 0 in training, 0 in evaluation
#     an out_proj that adds 100 changes the output by 0.0

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(1, 4, 8)
layer = nn.MultiheadAttention(8, 2, batch_first=True)
calls = []
layer.out_proj.register_forward_hook(lambda *_: calls.append(1))
counts = []
for training in (True, False):
    layer.train(training)
    before = len(calls)
    for weights in (True, False):
        layer(x, x, x, need_weights=weights)
    counts.append(len(calls) - before)


class Adapted(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 100


plain = layer(x, x, x)[0]
adapted = Adapted(8, 8)
adapted.load_state_dict(layer.out_proj.state_dict())
layer.out_proj = adapted
change = (layer(x, x, x)[0] - plain).abs().max().item()
print(f"calls of the hook: {counts[0]} in training, {counts[1]} in evaluation")
print(f"an out_proj that adds 100 changes the output by {change}")
sys.exit(0 if counts == [0, 0] and change == 0 else "The behaviour has changed.")
EOF
