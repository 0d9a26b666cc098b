#!/bin/sh
# torch 2.13.0, CPU: the gradient of V behind a row that a large finite bias hides whole.
#
# A row whose bias is -1e9 everywhere sees all m keys alike: softmax takes no notice of a constant.
# scaled_dot_product_attention answers so, the mean of V. Its backward does not: the kernel keeps the row's
# log-sum-exp in float32, where -1e9 + ln(m) is -1e9, and computes the weights again from it. Each of the m
# weights comes back as 1 in place of 1/m: dV of that row is m times too large, and dQ and dK are wrong with
# it. It begins quietly (3 % at -1e6) and is right under SDPBackend.MATH.
#
# It hurts who hides with -1e9 or the lowest float ("safer than -inf"), and then pools over padded rows or
# adds the same large number to a whole row: the loss looks right, only training is off.
#
# Seen (64 keys, loss the sum of the row's outputs, so every entry of dV must be 1/64 = 0.015625):
#     bias -1e+00: output is the mean of V: True; dV 0.015625, under MATH 0.015625
#     bias -1e+04: output is the mean of V: True; dV 0.015620, under MATH 0.015625
#     bias -1e+06: output is the mean of V: True; dV 0.015184, under MATH 0.015625
#     bias -1e+07: output is the mean of V: True; dV 0.018316, under MATH 0.015625
#     bias -1e+09: output is the mean of V: True; dV 1.000000, under MATH 0.015625

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
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

m, d = 64, 16
generator = torch.Generator().manual_seed(0)
V0 = torch.randn(1, 1, m, d, generator=generator)


def forward_and_dV(bias):
    Q, K = torch.zeros(1, 1, 1, d, requires_grad=True), torch.zeros(1, 1, m, d)
    V = V0.clone().requires_grad_()
    O = sdpa(Q, K, V, attn_mask=torch.full((1, m), bias))
    O.sum().backward()
    return O.detach(), V.grad[0, 0, 0, 0].item()


for bias in (-1e0, -1e4, -1e6, -1e7, -1e9):
    O, dV = forward_and_dV(bias)
    with sdpa_kernel(SDPBackend.MATH):
        _, math = forward_and_dV(bias)
    mean = torch.allclose(O, V0.mean(-2, keepdim=True), atol=1e-6)
    print(f"bias {bias:.0e}: output is the mean of V: {mean}; dV {dV:.6f}, under MATH {math:.6f}")

still = mean and abs(dV - 1) < 1e-6 and abs(math - 1 / m) < 1e-6
sys.exit(0 if still else "The behaviour has changed.")
EOF
