"""`make witness`: the language model beside transformers' Llama, float32, on the same weights.

Not of `make test`: transformers and what it needs are larger than the course. What was measured is written to
log.json beside this file, with the versions, and tests/test_witness.py holds the log to what is claimed.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from selfattention.trained import gguf, smollm2

LOG = Path(__file__).parent / "log.json"
LIBRARIES = "transformers", "torch", "numpy", "tokenizers", "gguf"
FRANCE = "The capital of France is"
PLACES = {"g_1": "input_layernorm", "W_O": "self_attn.o_proj", "g_2": "post_attention_layernorm"}
PLACES |= {"W_gate": "mlp.gate_proj", "W_up": "mlp.up_proj", "W_down": "mlp.down_proj"}


@pytest.fixture(scope="module")
def model():
    return smollm2.load()


@pytest.fixture(scope="module")
def story(model):
    return model.tokens(smollm2.story())[:300]


@pytest.fixture(scope="module")
def log():
    """Filled by the tests, written when they are done."""
    measured = {}
    yield measured
    where = {library: version(library) for library in LIBRARIES}
    where |= {"python": platform.python_version(), "sha256": smollm2.MODEL.sha256}
    LOG.write_text(json.dumps({"versions": where, **measured}, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def theirs(model):
    return llama(model)


def llama(model):
    """transformers' model with our weights: (out, in) again, and RoPE's pairs sorted into halves."""
    config = LlamaConfig(
        vocab_size=len(model.T),
        hidden_size=model.T.shape[1],
        intermediate_size=model.layers[0]["W_up"].shape[1],
        num_hidden_layers=len(model.layers),
        num_attention_heads=model.h,
        num_key_value_heads=model.g,
        head_dim=model.d,
        max_position_embeddings=model.most,
        rms_norm_eps=model.epsilon,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": model.base},
    )
    state = {"model.embed_tokens.weight": model.T, "lm_head.weight": model.T, "model.norm.weight": model.g_N}
    for number, W in enumerate(model.layers):
        state |= {f"model.layers.{number}.{name}.weight": array for name, array in renamed(model, W).items()}
    theirs = LlamaForCausalLM(config).to(torch.from_numpy(model.T).dtype).eval()
    theirs.load_state_dict(
        {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()}
    )
    return theirs


def renamed(model, W):
    ends = np.cumsum([model.h, model.g]) * model.d
    Q, K, V = np.split(W["W_QKV"].T, ends)
    named = {"self_attn.q_proj": in_halves(Q, model.d), "self_attn.k_proj": in_halves(K, model.d)}
    return named | {"self_attn.v_proj": V} | {place: W[name].T for name, place in PLACES.items()}


def in_halves(rows, d):
    """Of each head's rows, 0 2 4 … first and then 1 3 5 …"""
    return rows.reshape(-1, d // 2, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def logits(theirs, tokens):
    with torch.no_grad():
        return theirs(torch.tensor([tokens])).logits[0].numpy()


def test_logits_of_a_prompt_and_of_a_story(model, theirs, story, log):
    for name, tokens in {"prompt": model.tokens(FRANCE), "story": story}.items():
        ours, wanted = model.logits(tokens), logits(theirs, tokens)
        off = np.abs(ours - wanted).max(-1)
        log[name] = {
            "tokens": len(tokens),
            "first_token": float(off[0]),
            "the_others": float(off[1:].max()),
            "largest_logit": float(np.abs(wanted).max()),
            "equal_choices": float((ours.argmax(-1) == wanted.argmax(-1)).mean()),
        }


def test_twenty_tokens_from_a_cache(model, theirs, log):
    """The likeliest one each time, both from their own caches."""
    tokens = model.tokens(FRANCE)
    ours_cache, their_cache = model.cache(), DynamicCache(config=theirs.config)
    ours_new = theirs_new = tokens
    said, worst = ([], []), 0.0
    for _ in range(20):
        ours = model.logits(ours_new, ours_cache)[-1]
        with torch.no_grad():
            out = theirs(torch.tensor([theirs_new]), cache=their_cache, use_cache=True)
        wanted = out.logits[0, -1].numpy()
        worst = max(worst, float(np.abs(ours - wanted).max()))
        ours_new, theirs_new = [int(ours.argmax())], [int(wanted.argmax())]
        said[0].extend(ours_new)
        said[1].extend(theirs_new)
    log["steps"] = {"tokens": 20, "logits": worst, "ours": said[0], "theirs": said[1]}


def test_weights_as_the_package_gguf_reads_them(log):
    """Another reader of the file, bit for bit."""
    from gguf import GGUFReader, dequantize

    file, other = gguf.read(smollm2.fetch()), GGUFReader(smollm2.fetch())
    arrays = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in other.tensors}
    assert arrays.keys() == file.stored.keys()
    log["gguf"] = {
        "arrays": len(arrays),
        "equal": sum(bool((file.array(name) == array).all()) for name, array in arrays.items()),
    }
