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
from llama import llama
from transformers import DynamicCache

from selfattention.trained import gguf, smollm2

LOG = Path(__file__).parent / "log.json"
LIBRARIES = "transformers", "torch", "numpy", "tokenizers", "gguf"
FRANCE = "The capital of France is"


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


def logits(theirs, tokens):
    with torch.no_grad():
        return theirs(torch.tensor([tokens])).logits[0].numpy()


def first_alone(model, tokens):
    """Our logits, the first token alone: its state leaps, and one row is summed more exactly than many."""
    cache = model.cache()
    return np.concatenate([model.logits(tokens[:1], cache), model.logits(tokens[1:], cache)])


def test_logits_of_a_prompt_and_of_a_story(model, theirs, story, log):
    for name, tokens in {"prompt": model.tokens(FRANCE), "story": story}.items():
        ours, at_once, wanted = first_alone(model, tokens), model.logits(tokens), logits(theirs, tokens)
        off = np.abs(at_once - wanted).max(-1)
        log[name] = {
            "tokens": len(tokens),
            "difference": float(np.abs(ours - wanted).max()),
            "at_once": {"first_token": float(off[0]), "the_others": float(off[1:].max())},
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
