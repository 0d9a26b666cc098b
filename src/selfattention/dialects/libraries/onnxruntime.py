"""ONNX Runtime on a processor: the standard's operator, and two of its own that came before it."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, joined, parted, words
from selfattention.dialects.libraries.onnx_models import attention, model

STANDARD = (
    "mask, padding, bias, literal, causal, scale, past, grouped, d_v, 4 axes, mask of fewer axes,"
    "weights, softcap"
)


def _run(made, given):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


def _standard(opset):
    def call(asked: Asked) -> Call:
        made, given, attributes = attention(asked, opset)
        which = -1 if asked.wants == "weights" else 0
        return Call(
            lambda *_, **__: _run(made, given),
            f"Attention-{opset}",
            given,
            attributes,
            lambda out: np.asarray(out[which]),
        )

    return call


def _multi_head(asked: Asked) -> Call:
    h, past = asked.Q.shape[1], asked.past
    inputs = {
        "query": joined(asked.Q),
        "key": joined(asked.K[:, :, past:]),
        "value": joined(asked.V[:, :, past:]),
        "bias": None,
        "key_padding_mask": _keep(asked),
        "attention_bias": asked.bias,
        "past_key": np.ascontiguousarray(asked.K[:, :, :past]) if past else None,
        "past_value": np.ascontiguousarray(asked.V[:, :, :past]) if past else None,
    }
    attributes = {"num_heads": h, "unidirectional": 1 if asked.causal else None, "scale": asked.scale}
    outputs = ("output", "present_key", "present_value") if past else ("output",)
    return _contrib("MultiHeadAttention", inputs, outputs, attributes, h)


def _keep(asked):
    """int32, 1 = keep: (b, m), or (b, n, m) where it depends on the query."""
    if asked.literal is not None:
        return np.ascontiguousarray(asked.literal[:, 0])
    if asked.mask is None:
        return None
    mask = asked.mask.astype(np.int32)
    if mask.ndim != 4:
        return mask
    n = asked.Q.shape[2]
    shape = (
        (asked.Q.shape[0], asked.K.shape[2])
        if mask.shape[2] == 1 < n
        else (asked.Q.shape[0], n, asked.K.shape[2])
    )
    return np.ascontiguousarray(np.broadcast_to(mask[:, 0, 0] if len(shape) == 2 else mask[:, 0], shape))


def _grouped(asked: Asked) -> Call:
    b, h, n, d = asked.Q.shape
    g, m, past = asked.K.shape[1], asked.K.shape[2], asked.past
    earlier = np.zeros((b, g, 0, d), asked.Q.dtype)
    inputs = {
        "query": joined(asked.Q),
        "key": joined(asked.K[:, :, past:]),
        "value": joined(asked.V[:, :, past:]),
        "past_key": np.ascontiguousarray(asked.K[:, :, :past]) if past else earlier,
        "past_value": np.ascontiguousarray(asked.V[:, :, :past]) if past else earlier,
        "seqlens_k": np.full(b, m - 1, np.int32),
        "total_sequence_length": np.array(m, np.int32),
        "cos_cache": None,
        "sin_cache": None,
        "position_ids": None,
        "attention_bias": None if asked.bias is None else np.broadcast_to(asked.bias, (b, h, n, m)).copy(),
        "head_sink": asked.sink,
    }
    attributes = {
        "num_heads": h,
        "kv_num_heads": g,
        "causal": None if asked.causal else 0,
        "scale": asked.scale,
        "local_window_size": asked.window,
        "softcap": asked.softcap,
    }
    return _contrib("GroupQueryAttention", inputs, ("output", "present_key", "present_value"), attributes, h)


def _contrib(operator, inputs, outputs, attributes, h):
    attributes = {name: value for name, value in attributes.items() if value is not None}
    made, given = model(operator, inputs, outputs, 1, "com.microsoft", **attributes)
    shown = {name: X for name, X in given.items() if not (name.startswith("past") and not X.size)}
    return Call(
        lambda *_, **__: _run(made, given),
        operator,
        shown,
        attributes,
        lambda out: parted(np.asarray(out[0]), h),
    )


LIBRARY = Library(
    title="ONNX Runtime",
    packages=("onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6"),
    doors=(
        *(Door(f"Attention-{opset}", _standard(opset), words(STANDARD)) for opset in (23, 24)),
        Door("Attention-25", _standard(25), words(f"{STANDARD}, window")),
        Door(
            "MultiHeadAttention",
            _multi_head,
            words(
                "mask, padding, bias, mask and bias, literal, causal, scale, past, d_v, mask of fewer axes"
            ),
        ),
        Door(
            "GroupQueryAttention",
            _grouped,
            words("bias, causal, scale, window, softcap, sink, past, grouped, d_v"),
        ),
    ),
    reports=("onnxruntime", "onnx"),
    module="onnxruntime",
)
