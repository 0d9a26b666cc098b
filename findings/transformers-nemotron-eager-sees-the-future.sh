#!/bin/sh
# transformers 5.24.0: in eager mode Nemotron's streaming encoder sees the future alone.
#
# NemotronAsrStreamingEncoder hides later chunks. Its layers fill −∞ where attention_mask.logical_not()
# holds, which is right for the booleans that sdpa gets. Eager gets zeros and the lowest float to be added:
# logical_not of them is true where a frame may be seen. So each frame sees later chunks and nothing else,
# and the last chunk, or all of a recording of one chunk, sees nothing and is NaN. huggingface/transformers
# pull request 48817, closed, is about this.
#
# It hurts who asks for the attention maps, which only eager gives, or runs where sdpa is off: the weights
# shown are those of a recogniser that listens to what has not been said yet.
#
# Seen (one layer, random weights, 51 frames in chunks of 14; share of a chunk's weights on its own past and
# chunk):
#     by chunk: eager 0.00 0.00 0.00 nan
#     frames that are NaN: eager 9 of 51, sdpa 0 of 51; of a short recording eager 9 of 9, sdpa 0 of 9

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
cd "$room"
HF_HUB_OFFLINE=1 "$room/venv/bin/python" - <<'EOF'
import sys

import torch
import transformers
from transformers import NemotronAsrStreamingEncoder, NemotronAsrStreamingEncoderConfig

transformers.logging.set_verbosity_error()
CHUNK = 14  # 13 frames of lookahead, by default, and the first


def encoder(way):
    torch.manual_seed(0)
    config = NemotronAsrStreamingEncoderConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, conv_kernel_size=3,
        subsampling_conv_channels=8, num_mel_bins=16, initializer_range=0.5, attn_implementation=way,
    )
    return NemotronAsrStreamingEncoder(config).eval()


numbers = torch.Generator().manual_seed(1)
long, short = (torch.randn(1, frames, 16, generator=numbers) for frames in (400, 64))
lost, total = {}, {}
with torch.no_grad():
    for way in ("eager", "sdpa"):
        model = encoder(way)
        for name, sound in (("long", long), ("short", short)):
            Y = model(input_features=sound).last_hidden_state[0]
            lost[way, name], total[name] = Y.isnan().any(-1).sum().item(), len(Y)
    A = encoder("eager")(input_features=long, output_attentions=True).attentions[0][0]
n = A.shape[-1]
chunk = torch.arange(n) // CHUNK
past = torch.where(chunk[None] <= chunk[:, None], A, 0).sum(-1).mean(0)
shares = [past[chunk == c].mean().item() for c in range(4)]
print("by chunk: eager", *(f"{share:.2f}" for share in shares))
said = {name: ", ".join(f"{way} {lost[way, name]} of {total[name]}" for way in ("eager", "sdpa")) for name in total}
print(f"frames that are NaN: {said['long']}; of a short recording {said['short']}")
still = all(share == 0 for share in shares[:3]) and lost["sdpa", "long"] == lost["sdpa", "short"] == 0
still &= lost["eager", "long"] == total["long"] - 3 * CHUNK and lost["eager", "short"] == total["short"]
sys.exit(0 if still else "The behaviour has changed.")
EOF
