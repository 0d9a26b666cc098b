#!/bin/sh
# transformers 5.24.0: Moshi and Kyutai's speech-to-text have a sliding window with a cache, and none
# without.
#
# Both configurations have sliding_window (3000 and 375 frames), and the cache made from them keeps no more.
# The mask of a whole row is the plain causal one. So token by token a query sees the last sliding_window
# keys, in one pass it sees all; a prompt sees all of itself, and the first step after it only the last
# sliding_window. Every number differs from the first position behind the window on; 375 frames are 30
# seconds of speech.
#
# It hurts who trains or scores in one pass and decodes with the cache, or compares either with another
# implementation: the two are different models on everything longer than the window.
#
# Seen (one layer, sliding_window=4, 12 tokens; how many tokens each position's logits depend on):
#     moshi, one pass:  1 2 3 4 5 6 7 8 9 10 11 12
#     moshi, by steps:  1 2 3 4 4 4 4 4 4 4 4 4
#     kyutai, one pass:  1 2 3 4 5 6 7 8 9 10 11 12
#     kyutai, by steps:  1 2 3 4 4 4 4 4 4 4 4 4

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
import transformers
from transformers import (
    KyutaiSpeechToTextConfig,
    KyutaiSpeechToTextForConditionalGeneration,
    MoshiConfig,
    MoshiForCausalLM,
)

warnings.simplefilter("ignore", FutureWarning)  # past_key_values is to be called cache
transformers.logging.set_verbosity_error()
sizes = dict(
    vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, head_dim=8,
    ffn_dim=48, max_position_embeddings=64, sliding_window=4, initializer_range=0.5,
)
codes = dict(
    codebook_vocab_size=9, num_codebooks=2, audio_bos_token_id=8, audio_pad_token_id=7, bos_token_id=1, pad_token_id=0,
)


def one_pass(model, rows):
    return model(rows, use_cache=False).logits


def by_steps(model, rows):
    cache, logits = None, []
    for t in range(rows.shape[1]):
        out = model(rows[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits)
    return torch.cat(logits, 1)


def dependents(f, model, rows, other):
    still = f(model, rows)
    moved = []
    for j in range(rows.shape[1]):
        changed = rows.clone()
        changed[:, j] = other
        moved.append((f(model, changed) - still).abs().amax((0, 2)) > 0)
    return torch.stack(moved).sum(0).tolist()


torch.manual_seed(0)
moshi = MoshiForCausalLM(MoshiConfig(**sizes)).eval()
kyutai = KyutaiSpeechToTextForConditionalGeneration(KyutaiSpeechToTextConfig(**sizes, **codes)).eval()
text = torch.arange(3, 15)[None]
frames = torch.stack([text[0], text[0] % 7, text[0] % 5], -1)[None]
seen = []
with torch.no_grad():
    for name, model, rows, other in (("moshi", moshi, text, 40), ("kyutai", kyutai, frames, 6)):
        for way, f in (("one pass", one_pass), ("by steps", by_steps)):
            seen.append(dependents(f, model, rows, other))
            print(f"{name}, {way}: ", *seen[-1])
still = (MoshiConfig().sliding_window, KyutaiSpeechToTextConfig().sliding_window) == (3000, 375)
still &= seen == [list(range(1, 13)), [1, 2, 3] + [4] * 9] * 2
sys.exit(0 if still else "The behaviour has changed.")
EOF
