#!/bin/sh
# reformer-pytorch 1.4.4: causal=True, and a token's logits change when a later token does.
#
# No query sees a later key. But tokens are sorted by their hash and cut into chunks of equal size, and a
# query sees its chunk and the one before. One more token in an early bucket moves all that are sorted behind
# it across the chunks' borders: who is beside a query depends on tokens that come after it. Hashes are drawn
# anew in every call; here they are drawn alike, so that nothing but the later token differs.
#
# It hurts who decodes: the logits of a prompt are not those that its tokens had in training, and a cache
# of past tokens cannot be right, because the past has no fixed answer. It hurts who tests for leaks as well:
# the test finds one.
#
# Seen (64 tokens, the last one changed; largest change of the logits of the 63 before, which reach 2.16):
#     the same text, hashes drawn alike: 0.00
#     the last token changed, hashes drawn alike: 0.21
#     full attention (use_full_attn=True), the last token changed: 0.00

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "reformer-pytorch==1.4.4" "torch==2.13.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys
import warnings

import torch

warnings.simplefilter("ignore")
from reformer_pytorch import ReformerLM


def logits(text, **flags):
    torch.manual_seed(0)  # weights and hashes
    model = ReformerLM(50, 32, 2, 64, heads=4, bucket_size=8, n_hashes=2, causal=True, **flags).eval()
    with torch.no_grad():
        return model(text)[0, :-1]


text = torch.arange(64)[None] % 47
other = text.clone()
other[0, -1] = 49
first = logits(text)
same, moved = (first - logits(text)).abs().max(), (first - logits(other)).abs().max()
full = (logits(text, use_full_attn=True) - logits(other, use_full_attn=True)).abs().max()
print(f"logits reach {first.abs().max():.2f}")
print(f"the same text, hashes drawn alike: {same:.2f}")
print(f"the last token changed, hashes drawn alike: {moved:.2f}")
print(f"full attention (use_full_attn=True), the last token changed: {full:.2f}")
sys.exit(0 if same == 0 and full < 1e-5 and moved > 0.02 else "The behaviour has changed.")
EOF
