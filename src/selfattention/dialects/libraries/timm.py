"""timm on PyTorch: its layer makes Q, K and V of one array, so its weights only are asked for."""

from selfattention.dialects.asking import LAYER_ONLY, Asked, Call, Door, Library
from selfattention.dialects.libraries.torch_arrays import array


def _layer(asked: Asked) -> Call:
    def function(width, **options):
        import torch
        from timm.layers import Attention

        torch.manual_seed(0)
        stored = array(Attention(width, **options).qkv.weight)
        return stored[:width] if asked.wants == "start" else (stored, None)

    return Call(function, "Attention", {"256": 256}, {"num_heads": 8}, lambda answered: answered)


LIBRARY = Library(
    title="timm",
    packages=("timm==1.0.31", "torch==2.13.0", "numpy==2.4.6"),
    doors=(Door("Attention", _layer, LAYER_ONLY),),
    reports=("timm", "torch"),
    module="timm.layers",
)
