"""diffusers on PyTorch: its layer, with the processor that calls PyTorch's function, and the one before."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, joined, parted, words
from selfattention.dialects.libraries.torch_arrays import array, tensor


def _layer(processor):
    def call(asked: Asked) -> Call:
        import torch
        from diffusers.models import attention_processor

        torch.manual_seed(0)
        h = 1 if asked.as_it_lies else asked.Q.shape[1]
        d = asked.Q.shape[-1]
        layer = attention_processor.Attention(
            h * d,
            heads=h,
            dim_head=d,
            dropout=asked.dropout,
            processor=getattr(attention_processor, processor)(),
        ).eval()
        if asked.wants in ("start", "storage"):
            return _fresh(layer, processor, h * d, asked)
        return _attend(layer, processor, h, d, asked)

    return call


def _attend(layer, processor, h, d, asked):
    """Its queries are made from one array, its keys and values from another: half of a wider one for each."""
    import torch

    half = asked.Q.dtype == np.float16
    b, m = asked.K.shape[0], asked.K.shape[2]
    width = h * d
    for part, columns in ((layer.to_k, slice(0, width)), (layer.to_v, slice(width, 2 * width))):
        part.weight = torch.nn.Parameter(torch.zeros(width, 2 * width))
        part.weight.data[:, columns] = torch.eye(width)
    layer.to_q.weight.data.copy_(torch.eye(width))
    layer.to_out[0].weight.data.copy_(torch.eye(width))
    layer.to_out[0].bias.data.zero_()
    layer = layer.half() if half else layer
    both = np.concatenate([joined(asked.K), joined(asked.V)], -1).reshape(b, m, 2 * width)
    given = {"hidden_states": tensor(joined(asked.Q)), "encoder_hidden_states": tensor(both)}
    mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
    if mask is not None and mask.ndim == 4:
        mask = np.broadcast_to(mask[:, 0], (b, mask.shape[2], m))
    options = {"attention_mask": None if mask is None else tensor(mask)}
    written = f"Attention(…, processor={processor}())"
    return Call(layer, written, given, options, lambda O: parted(array(O), h))


def _fresh(layer, processor, width, asked):
    import torch

    stored = array(layer.to_q.weight)
    both = stored, array(layer.to_q(torch.eye(width)))
    return Call(
        lambda *_: stored if asked.wants == "start" else both,
        "Attention",
        {"256": width, "heads=8": 8, "dim_head=32": 32},
        {},
        lambda answered: answered,
    )


TAKES = words("mask, padding, bias, literal, mask of fewer axes, dropout, start, storage") - {"not a number"}

LIBRARY = Library(
    title="diffusers",
    packages=("diffusers==0.42.1", "torch==2.13.0", "numpy==2.4.6"),
    doors=(
        Door("Attention, AttnProcessor2_0", _layer("AttnProcessor2_0"), TAKES),
        Door("Attention, AttnProcessor", _layer("AttnProcessor"), TAKES),
    ),
    reports=("diffusers", "torch"),
    module="diffusers.models.attention_processor",
)
