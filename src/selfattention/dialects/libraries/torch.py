"""PyTorch on a processor: one function with two backends, one layer in four modes, and FlexAttention."""

from contextlib import nullcontext

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, Written, joined, parted, words
from selfattention.dialects.libraries.torch_arrays import answer, array, operands, tensor

COMMON = "mask, padding, bias, literal, causal, learning, gradients"


def _attn_mask(asked):
    given = next((x for x in (asked.literal, asked.mask, asked.bias) if x is not None), None)
    return None if given is None else tensor(given)


def _sdpa(backend):
    def call(asked: Asked) -> Call:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        given = operands(asked)

        def function(*arrays, **options):
            with nullcontext() if backend is None else sdpa_kernel(getattr(SDPBackend, backend)):
                return scaled_dot_product_attention(*arrays, **options)

        chosen = "" if backend is None else f"with sdpa_kernel(SDPBackend.{backend}): "
        options = {
            "attn_mask": _attn_mask(asked),
            "is_causal": asked.causal or None,
            "dropout_p": asked.dropout or None,
            "scale": asked.scale,
            "enable_gqa": "grouped" in asked.needs or None,
        }
        written = f"{chosen}F.scaled_dot_product_attention"
        return Call(function, written, given, options, lambda O: answer(asked, given, O))

    return call


def _flash_with_state(asked: Asked) -> Call:
    import torch

    function = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    given = operands(asked)
    bias = asked.bias
    if asked.mask is not None:
        bias = np.where(asked.mask, 0, -np.inf)
    options = {
        "is_causal": asked.causal or None,
        "attn_mask": None if bias is None else tensor(bias.astype(np.float32)),
        "scale": asked.scale,
    }

    def read(O_L):
        return array(O_L[asked.wants == "log-sum-exp"])

    return Call(function, "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu", given, options, read)


def _layer(training, need_weights):
    def call(asked: Asked) -> Call:
        import torch

        layer = _identity(asked).train(training)
        if asked.wants in ("start", "storage"):
            return _fresh(asked)
        given = operands(asked, (lambda X: X) if asked.as_it_lies else joined)
        given = dict(zip(("query", "key", "value"), given.values(), strict=True))
        learns = asked.learning or asked.wants == "gradients" or training

        def function(*arrays, **options):
            with torch.set_grad_enabled(learns):
                return layer(*arrays, **options)

        def read(answered):
            O, A = answered
            if asked.wants == "weights":
                return array(A)
            h = 1 if asked.as_it_lies else asked.Q.shape[1]
            turned = (lambda X: joined(X) if X is asked.dO else parted(X, h)) if O.ndim == 3 else None
            O = answer(asked, given, O, turned)
            return O[:, 0] if asked.as_it_lies else O

        options = _masks(asked) | {"is_causal": asked.causal or None, "need_weights": need_weights}
        mode = "train" if training else "eval"
        return Call(function, f"nn.MultiheadAttention(…, batch_first=True).{mode}()", given, options, read)

    return call


def _one_x(asked: Asked) -> Call:
    """Self-attention of one X = [Q K V 0]: the condition of the fast path, which wants an even h.

    Head 0 is the question's; the projections hand it its columns, and nothing to the three others.
    """
    import torch

    b, _, n, d = asked.Q.shape
    dtype = torch.float16 if asked.Q.dtype == np.float16 else torch.float32
    layer = torch.nn.MultiheadAttention(4 * d, 4, batch_first=True, dtype=dtype).eval()
    pick = torch.zeros(3, 4 * d, 4 * d, dtype=dtype)
    for part in range(3):
        pick[part, :d, part * d : (part + 1) * d] = torch.eye(d, dtype=dtype)
    with torch.no_grad():
        layer.in_proj_weight.copy_(pick.reshape(12 * d, 4 * d))
        layer.out_proj.weight.copy_(torch.eye(4 * d, dtype=dtype))
    X = np.concatenate([asked.Q, asked.K, asked.V, np.zeros_like(asked.V)], -1)
    X = tensor(X.reshape(b, n, 4 * d)).requires_grad_(asked.learning)
    options = _masks(asked, heads=4) | {"is_causal": asked.causal or None}

    def function(query, key, value, **options):
        with torch.set_grad_enabled(asked.learning):
            return layer(query, key, value, **options)

    def read(answered):
        O, A = answered
        return array(A) if asked.wants == "weights" else array(O)[:, None, :, :d]

    written = "nn.MultiheadAttention(…, batch_first=True).eval()"
    return Call(function, written, {"X": X, "X ": X, "X  ": X}, options, read)


def _masks(asked, heads=None):
    """attn_mask (n, m) or (b·h, n, m), True = hidden; or key_padding_mask (b, m) where no query is meant."""
    if asked.literal is not None:
        return {"attn_mask": tensor(asked.literal[0, 0])}
    hidden = asked.bias if asked.mask is None else ~asked.mask
    if hidden is None:
        return {}
    name = "attn_mask"
    if hidden.ndim == 4:
        b, h, n, m = hidden.shape
        if n == 1 < asked.Q.shape[2]:
            name, hidden = "key_padding_mask", np.broadcast_to(hidden[:, 0, 0], (asked.Q.shape[0], m))
        elif b == h == 1:
            hidden = hidden[0, 0]
        else:
            hidden = np.broadcast_to(hidden, (b, heads or h, n, m)).reshape(-1, n, m)
    return {name: Written(tensor(hidden), "bias" if asked.mask is None else "~mask")}


def _identity(asked):
    """A layer whose projections change nothing, so that the question reaches its attention as it is."""
    import torch

    h = 1 if asked.as_it_lies else asked.Q.shape[1]
    width = h * asked.Q.shape[-1]
    dtype = torch.float16 if asked.Q.dtype == np.float16 else torch.float32
    layer = torch.nn.MultiheadAttention(width, h, asked.dropout, bias=False, batch_first=True, dtype=dtype)
    eye = torch.eye(width, dtype=dtype)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([eye, eye, eye]))
        layer.out_proj.weight.copy_(eye)
    return layer


def _fresh(asked):
    import torch

    torch.manual_seed(0)
    h, d = asked.Q.shape[1], asked.Q.shape[-1]

    def read(layer):
        W = array(layer.in_proj_weight)
        return W[: h * d] if asked.wants == "start" else (W, None)

    operands = {"256": h * d, "8": h}
    return Call(torch.nn.MultiheadAttention, "nn.MultiheadAttention", operands, {}, read)


def _flex(asked: Asked) -> Call:
    import torch
    from torch.nn.attention import flex_attention as flex

    given = operands(asked)
    b, h, n, m = asked.Q.shape[0], asked.Q.shape[1], asked.Q.shape[2], asked.K.shape[2]
    rules, options = [], {}
    if asked.causal:
        rules.append((lambda b, h, i, j: i >= j, "lambda b, h, i, j: i >= j"))
    if asked.mask is not None:
        seen = tensor(np.broadcast_to(asked.mask, (b, h, n, m)))
        rules.append((lambda b, h, i, j: seen[b, h, i, j], "lambda b, h, i, j: mask[b, h, i, j]"))
    if rules:
        rule = rules[0][0] if len(rules) == 1 else flex.and_masks(*(rule for rule, _ in rules))
        text = ", ".join(text for _, text in rules)
        text = text if len(rules) == 1 else f"and_masks({text})"
        block_mask = flex.create_block_mask(rule, b, h, n, m, device="cpu")
        options["block_mask"] = Written(block_mask, f"create_block_mask({text}, …)")
    if asked.bias is not None:
        bias = tensor(np.broadcast_to(asked.bias, (b, h, n, m)))
        text = "lambda s, b, h, i, j: s + bias[b, h, i, j]"
        options["score_mod"] = Written(lambda s, b, h, i, j: s + bias[b, h, i, j], text)
    options["scale"] = asked.scale
    options["enable_gqa"] = "grouped" in asked.needs or None
    if asked.wants == "log-sum-exp":
        options["return_aux"] = Written(flex.AuxRequest(lse=True), "AuxRequest(lse=True)")

    def read(answered):
        if asked.wants == "log-sum-exp":
            return array(answered[1].lse)
        return answer(asked, given, answered)

    torch.manual_seed(0)
    return Call(flex.flex_attention, "flex_attention", given, options, read)


_LAYER = f"{COMMON}, mask of fewer axes, 3 axes, dropout, start, storage"
_SDPA = words(f"{COMMON}, scale, dropout, grouped, d_v, mask of fewer axes, 4 axes, 3 axes")

LIBRARY = Library(
    title="PyTorch",
    packages=(),
    doors=(
        Door("scaled_dot_product_attention", _sdpa(None), _SDPA),
        Door("scaled_dot_product_attention, MATH", _sdpa("MATH"), _SDPA),
        Door("scaled_dot_product_attention, FLASH_ATTENTION", _sdpa("FLASH_ATTENTION"), _SDPA),
        Door(
            "flash attention for CPU",
            _flash_with_state,
            words("mask, padding, bias, causal, scale, log-sum-exp") - {"n ≠ m"},
        ),
        Door("MultiheadAttention, training", _layer(True, False), words(_LAYER)),
        Door(
            "MultiheadAttention, training, weights", _layer(True, True), words(f"{_LAYER}, weights, training")
        ),
        Door("MultiheadAttention, evaluation", _layer(False, False), words(_LAYER)),
        Door("MultiheadAttention, evaluation, weights", _layer(False, True), words(f"{_LAYER}, weights")),
        Door(
            "MultiheadAttention, evaluation, one X",
            _one_x,
            words("mask, padding, bias, literal, causal, learning") - {"heads", "n ≠ m", "not a number"},
        ),
        Door(
            "flex_attention, eager",
            _flex,
            words(
                "mask, padding, bias, mask and bias, causal, scale, grouped, d_v, learning,"
                "log-sum-exp, gradients"
            ),
        ),
    ),
    reports=("torch",),
    module="torch",
)
