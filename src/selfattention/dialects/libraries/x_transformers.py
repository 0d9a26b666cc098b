"""x-transformers on PyTorch: its attention, with and without flash."""

from selfattention.dialects.asking import LAYER_ONLY, Asked, Call, Door, Library, words
from selfattention.dialects.libraries.torch_arrays import answer, array, operands, tensor

TAKES = (
    "mask, padding, bias, mask and bias, literal, causal, scale, grouped, d_v, learning, 4 axes,"
    "mask of fewer axes, gradients"
)


def _attend(flash):
    def call(asked: Asked) -> Call:
        from x_transformers.attend import Attend

        given = operands(asked)
        settings = {"flash": flash, "causal": asked.causal, "scale": asked.scale, "dropout": asked.dropout}
        if asked.softcap is not None:
            settings |= {"softclamp_logits": True, "logit_softclamp_value": asked.softcap}
        settings = {name: value for name, value in settings.items() if value}
        settings |= {"scale": asked.scale} if asked.scale is not None else {}
        mask = asked.mask if asked.literal is None else asked.literal
        if mask is not None and mask.ndim == 4 and mask.shape[2] == 1 < asked.Q.shape[2]:
            mask = mask[:, 0, 0]
        options = {
            "mask": None if mask is None else tensor(mask),
            "attn_bias": None if asked.bias is None else tensor(asked.bias),
        }
        said = ", ".join(f"{name}={value!r}" for name, value in settings.items())

        def read(answered):
            if asked.wants == "weights":
                return array(answered[1].post_softmax_attn)
            return answer(asked, given, answered[0])

        attend, mode = Attend(**settings), "train" if asked.training else "eval"
        return Call(attend.train(asked.training), f"Attend({said}).{mode}()", given, options, read)

    return call


def _layer(asked: Asked) -> Call:
    def function(width, **options):
        import torch
        from x_transformers.x_transformers import Attention

        torch.manual_seed(0)
        layer = Attention(width, **options)
        stored = array(layer.to_q.weight)
        return stored if asked.wants == "start" else (stored, array(layer.to_q(torch.eye(width))))

    return Call(function, "Attention", {"256": 256}, {"heads": 8, "dim_head": 32}, lambda answered: answered)


LIBRARY = Library(
    title="x-transformers",
    packages=("x-transformers==2.31.10", "torch==2.13.0", "numpy==2.4.6"),
    doors=(
        Door("Attend", _attend(False), words(f"{TAKES}, softcap, dropout, training, weights")),
        Door("Attend, flash", _attend(True), words(f"{TAKES}, dropout")),
        Door("Attention", _layer, LAYER_ONLY),
    ),
    reports=("x-transformers", "torch"),
    module="x_transformers",
)
