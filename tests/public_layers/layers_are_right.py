"""`make layers`: attention layers of public packages, examined as they are; no mistake, and in which time.

Not of `make test`: the packages and what they need are larger than the course, and have an environment of
their own. What was said is written to log.json beside this file, with the versions;
tests/test_public_layers.py holds the log to what is claimed.

Left out, for `examine` cannot tell: vit-pytorch's cross attention (its norm is of the tokens alone) and NaViT
(queries and keys of one length), timm's BEiT (a table with rows for the class token) and multi-query
attention of pictures. Keras' layers run on PyTorch.
"""

import json
import os
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from selfattention import examine
from selfattention.examining.report import Status

os.environ["KERAS_BACKEND"] = "torch"
LOG = Path(__file__).parent / "log.json"
SIZE = 24  # d_model; heads are 3 or 6
TRANSFORMERS = {
    "GPT2Attention": ("gpt2", "GPT2Config", {"n_embd": SIZE, "n_head": 3}),
    "LlamaAttention": ("llama", "LlamaConfig", {"num_attention_heads": 6, "num_key_value_heads": 2}),
    "MistralAttention": (
        "mistral",
        "MistralConfig",
        {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4},
    ),
    "GPTNeoXAttention": ("gpt_neox", "GPTNeoXConfig", {"num_attention_heads": 3}),
    "OPTAttention": ("opt", "OPTConfig", {"num_attention_heads": 3, "dropout": 0.1}),
    "BertSelfAttention": ("bert", "BertConfig", {"num_attention_heads": 3}),
    "BertAttention": ("bert", "BertConfig", {"num_attention_heads": 3}),
    "DistilBertSelfAttention": ("distilbert", "DistilBertConfig", {"dim": SIZE, "n_heads": 3}),
    "ViTAttention": ("vit", "ViTConfig", {"num_attention_heads": 3}),
    "CLIPAttention": ("clip", "CLIPVisionConfig", {"num_attention_heads": 3}),
    "Qwen3Attention": (
        "qwen3",
        "Qwen3Config",
        {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4},
    ),
}
NUMBERED = {
    "GPT2Attention",
    "LlamaAttention",
    "MistralAttention",
    "GPTNeoXAttention",
    "OPTAttention",
    "Qwen3Attention",
}


def of_transformers(name):
    room, config, settings = TRANSFORMERS[name]
    sizes = {} if {"n_embd", "dim"} & set(settings) else {"hidden_size": SIZE}
    made = getattr(import_module("transformers"), config)(**sizes, **settings, attn_implementation="eager")
    kind = getattr(import_module(f"transformers.models.{room}.modeling_{room}"), name)
    return kind(made, layer_idx=0) if name in NUMBERED else kind(made)


def of_x_transformers(**settings):
    return import_module("x_transformers.x_transformers").Attention(SIZE, dim_head=8, **settings)


def of_perceiver():
    return import_module("perceiver_pytorch.perceiver_pytorch").Attention(SIZE, heads=3, dim_head=8)


def of_t5():
    made = import_module("transformers").T5Config(d_model=SIZE, d_kv=8, num_heads=3, d_ff=SIZE)
    kind = import_module("transformers.models.t5.modeling_t5").T5Attention
    return kind(made, has_relative_attention_bias=True, layer_idx=0)


def of_timm(name, room="layers", **settings):
    return getattr(import_module(f"timm.{room}"), name)(SIZE, num_heads=3, **settings)


def of_vit_pytorch(room):
    return import_module(f"vit_pytorch.{room}").Attention(SIZE, heads=3, dim_head=8)


def of_keras(name, *sizes):
    layer = getattr(import_module("keras").layers, name)(*sizes)
    layer.build((2, 6, SIZE), (2, 6, SIZE))
    return layer


LAYERS = {
    **{f"transformers {name}": lambda name=name: of_transformers(name) for name in TRANSFORMERS},
    "x-transformers Attention": lambda: of_x_transformers(heads=3),
    "x-transformers Attention, causal": lambda: of_x_transformers(heads=3, causal=True),
    "x-transformers Attention, two heads of keys": lambda: of_x_transformers(heads=6, kv_heads=2),
    "x-transformers Attention, gated": lambda: of_x_transformers(heads=3, gate_values=True),
    "perceiver-pytorch Attention": of_perceiver,
    "transformers T5Attention": of_t5,
    "timm Attention": lambda: of_timm("Attention", qkv_bias=True),
    "timm Attention, norms of heads": lambda: of_timm(
        "Attention", qk_norm=True, norm_layer=torch.nn.LayerNorm
    ),
    "timm AttentionRope, without a rotation": lambda: of_timm("AttentionRope"),
    "timm Attention2d": lambda: of_timm("Attention2d"),
    "timm WindowAttention": lambda: of_timm("WindowAttention", "models.swin_transformer", window_size=3),
    "vit-pytorch Attention": lambda: of_vit_pytorch("vit"),
    "vit-pytorch Attention, simple": lambda: of_vit_pytorch("simple_vit"),
    "keras MultiHeadAttention": lambda: of_keras("MultiHeadAttention", 3, 8),
    "keras GroupQueryAttention": lambda: of_keras("GroupQueryAttention", 4, 6, 2),
    "torch MultiheadAttention": lambda: torch.nn.MultiheadAttention(SIZE, 3, batch_first=True),
}


@pytest.fixture(scope="module")
def log():
    """Filled by the tests, written when they are done."""
    said = {}
    yield said
    libraries = (
        "torch",
        "torchvision",
        "transformers",
        "x-transformers",
        "perceiver-pytorch",
        "timm",
        "vit-pytorch",
        "keras",
    )
    where = {library: version(library) for library in libraries}
    text = json.dumps({"versions": where, "layers": said}, ensure_ascii=False, indent=1)
    LOG.write_text(text + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_of_a_public_package_makes_a_mistake(name, log):
    torch.set_num_threads(1)
    layer = LAYERS[name]()
    began = time.perf_counter()
    said = examine(layer)
    log[name] = {
        "status": said.status.name.lower(),
        "title": said.title,
        "paragraphs": list(said.paragraphs),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(f"\n{said.title} {log[name]['seconds']} s")
    assert said.status is Status.RIGHT, said
