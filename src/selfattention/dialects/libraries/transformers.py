"""transformers on PyTorch: the two functions behind `attn_implementation`, as Llama calls them."""

import numpy as np

from selfattention.dialects.asking import USUAL, Asked, Call, Door, Library, words
from selfattention.dialects.libraries.torch_arrays import answer, array, operands, tensor

TAKES = "mask, padding, bias, literal, scale, grouped, d_v, learning, 4 axes, gradients"


def _module(asked):
    """What the functions read of the layer that calls them."""
    import torch

    module = torch.nn.Module().train(asked.training)
    module.num_key_value_groups = asked.Q.shape[1] // asked.K.shape[1]
    module.is_causal = asked.causal
    return module


def _call(function, written, asked, **more):
    given = operands(asked)
    mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
    options = {
        "attention_mask": None if mask is None else tensor(mask),
        "scaling": _scaling(asked),
        "dropout": asked.dropout or None,
    } | more

    def called(module, q, k, v, attention_mask=None, **options):
        return function(module, q, k, v, attention_mask, **options)

    def read(answered):
        O, A = answered
        return array(A) if asked.wants == "weights" else answer(asked, given, O.transpose(1, 2))

    return Call(called, written, {"module": _module(asked)} | given, options, read)


def _scaling(asked):
    """Layers always hand it over."""
    if asked.scale is None and not asked.tersely:
        return asked.Q.shape[-1] ** -0.5
    return asked.scale


def _eager(asked: Asked) -> Call:
    from transformers.models.llama.modeling_llama import eager_attention_forward

    return _call(eager_attention_forward, "eager_attention_forward", asked)


def _capped(asked: Asked) -> Call:
    from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

    return _call(eager_attention_forward, "gemma2.eager_attention_forward", asked, softcap=asked.softcap)


def _with_sink(asked: Asked) -> Call:
    from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

    call = _call(eager_attention_forward, "gpt_oss.eager_attention_forward", asked)
    sink = np.full(asked.Q.shape[1], -np.inf) if asked.sink is None else asked.sink
    call.operands["module"].sinks = tensor(sink.astype(asked.Q.dtype))
    return call


def _sdpa(asked: Asked) -> Call:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return _call(sdpa_attention_forward, "sdpa_attention_forward", asked, is_causal=asked.causal)


LIBRARY = Library(
    title="transformers",
    packages=("transformers==5.24.0", "torch==2.13.0", "numpy==2.4.6"),
    doors=(
        Door("eager", _eager, words(f"{TAKES}, dropout, training, weights")),
        Door("eager, Gemma 2", _capped, USUAL | {"mask", "bias", "softcap"}),
        Door("eager, gpt-oss", _with_sink, USUAL | {"sink"}),
        Door("sdpa", _sdpa, words(f"{TAKES}, causal, dropout")),
    ),
    reports=("transformers", "torch"),
    settings={"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"},
    module="transformers.models.llama.modeling_llama",
)
