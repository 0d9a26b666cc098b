"""ggml, the engine of llama.cpp, on a processor: its fused attention, and the operators it stands for."""

import ctypes
import sys
from functools import cache
from pathlib import Path

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words

PACKAGE = Path(sys.prefix, "node_modules/@node-llama-cpp/linux-x64")  # shared libraries, and no JavaScript
ROWS = 64  # of which a mask of the fused operator has a multiple; those behind the last query are not read
TYPES = {"float32": 0, "float16": 1}
POINTER, FLOAT, SIZE, INT = ctypes.c_void_p, ctypes.c_float, ctypes.c_size_t, ctypes.c_int
SIGNATURES = {
    "ggml_backend_load_all_from_path": (None, ctypes.c_char_p),
    "ggml_backend_init_by_type": (POINTER, INT, ctypes.c_char_p),
    "ggml_new_tensor_4d": (POINTER, POINTER, INT, *(ctypes.c_int64,) * 4),
    "ggml_new_graph": (POINTER, POINTER),
    "ggml_build_forward_expand": (None, POINTER, POINTER),
    "ggml_backend_alloc_ctx_tensors": (POINTER, POINTER, POINTER),
    "ggml_backend_buffer_free": (None, POINTER),
    "ggml_backend_tensor_set": (None, POINTER, POINTER, SIZE, SIZE),
    "ggml_backend_tensor_get": (None, POINTER, POINTER, SIZE, SIZE),
    "ggml_backend_graph_compute": (INT, POINTER, POINTER),
    "ggml_free": (None, POINTER),
    "ggml_flash_attn_ext": (POINTER, *(POINTER,) * 5, *(FLOAT,) * 3),
    "ggml_flash_attn_ext_add_sinks": (None, POINTER, POINTER),
    "ggml_mul_mat": (POINTER, *(POINTER,) * 3),
    "ggml_soft_max_ext": (POINTER, *(POINTER,) * 3, FLOAT, FLOAT),
    "ggml_soft_max_add_sinks": (None, POINTER, POINTER),
    "ggml_diag_mask_inf": (POINTER, POINTER, POINTER, INT),
}


class _Room(ctypes.Structure):
    """struct ggml_init_params: room for the descriptions of tensors, and none for their numbers."""

    _fields_ = (("mem_size", SIZE), ("mem_buffer", POINTER), ("no_alloc", ctypes.c_bool))


@cache
def _library():
    """The functions by their names, and a processor to run on."""
    (folder,) = PACKAGE.glob("bins/*")
    (door,) = folder.glob("libggml.v*.so")
    parts = [ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL) for file in (folder / "libggml-base.so", door)]
    functions = {}
    for name, (result, *arguments) in {**SIGNATURES, "ggml_init": (POINTER, _Room)}.items():
        function = next(getattr(part, name) for part in parts if hasattr(part, name))
        function.restype, function.argtypes = result, arguments
        functions[name.removeprefix("ggml_")] = function
    functions["backend_load_all_from_path"](str(folder).encode())
    return functions, functions["backend_init_by_type"](0, None)


def _fused(asked: Asked) -> Call:
    """K and V in the dtype of Q's question, as a cache in float32, or in float16, would have them."""
    scale = asked.Q.shape[-1] ** -0.5 if asked.scale is None else asked.scale
    given = {"q": asked.Q, "k": asked.K, "v": asked.V}
    bias = asked.bias if asked.literal is None else asked.literal
    mask = None if bias is None else _padded(bias)

    def graph(g, room, q, k, v, mask, sink):
        O = g["flash_attn_ext"](room, q, k, v, mask, scale, 0.0, asked.softcap or 0.0)
        if sink is not None:
            g["flash_attn_ext_add_sinks"](O, sink)
        return O

    def function(q, k, v, **_):
        b, h, n, _ = q.shape
        O = _run(graph, (q.astype("float32"), k, v, mask, asked.sink), (b, n, h, v.shape[-1]))
        return O.swapaxes(1, 2)

    options = {"mask": bias, "scale": scale, "logit_softcap": asked.softcap, "sinks": asked.sink}
    return Call(function, "ggml_flash_attn_ext", given, options)


def _in_parts(asked: Asked) -> Call:
    """Scores, softmax and values one after the other, as llama.cpp has them where nothing is fused."""
    scale = asked.Q.shape[-1] ** -0.5 if asked.scale is None else asked.scale
    V = np.swapaxes(asked.V, -1, -2)
    given = {"q": asked.Q, "k": asked.K, "v": asked.V}
    bias = asked.bias if asked.literal is None else asked.literal
    shape = (*asked.Q.shape[:-1], asked.V.shape[-1])
    mask = None if bias is None else _spelt_out(asked, bias)

    def graph(g, room, q, k, v, mask, sink):
        S = g["mul_mat"](room, k, q)
        if asked.causal:
            S = g["diag_mask_inf"](room, S, asked.past)
        A = g["soft_max_ext"](room, S, mask, scale, 0.0)
        if sink is not None:
            g["soft_max_add_sinks"](A, sink)
        return g["mul_mat"](room, v, A)

    causal = {"diag_mask_inf": asked.past} if asked.causal else {}
    options = {"mask": bias, "scale": scale, "sinks": asked.sink, **causal}

    def function(q, k, v, **_):
        if not k.shape[-2]:
            raise NotImplementedError("left out by the adapter: an assertion of the library ends the process")
        return _run(graph, (q.astype("float32"), k, V, mask, asked.sink), shape)

    return Call(function, "ggml_soft_max_ext", given, options)


def _spelt_out(asked, bias):
    """For every query and key; heads and batches of one are spread by the operator."""
    return np.broadcast_to(bias, (*bias.shape[:2], asked.Q.shape[-2], asked.K.shape[-2])).astype("float32")


def _padded(bias):
    """In half precision, as the fused operator wants its mask."""
    n = bias.shape[-2]
    mask = np.full((*bias.shape[:-2], -(-n // ROWS) * ROWS, bias.shape[-1]), -np.inf, np.float16)
    with np.errstate(over="ignore"):  # the lowest float32 is −∞ there
        mask[..., :n, :] = bias
    return mask


def _run(graph, arrays, shape):
    """What the graph of these arrays gives, of this shape; None stays None."""
    g, processor = _library()
    room = g["init"](_Room(1 << 20, None, True))
    arrays = [None if array is None else np.ascontiguousarray(array) for array in arrays]
    tensors = [None if array is None else _tensor(g, room, array) for array in arrays]
    answer, nodes = graph(g, room, *tensors), g["new_graph"](room)
    g["build_forward_expand"](nodes, answer)
    held = g["backend_alloc_ctx_tensors"](room, processor)
    try:
        for array, tensor in zip(arrays, tensors, strict=True):
            if array is not None:
                g["backend_tensor_set"](tensor, array.ctypes.data, 0, array.nbytes)
        if status := g["backend_graph_compute"](processor, nodes):
            raise RuntimeError(f"ggml_backend_graph_compute returns {status}")
        O = np.empty(shape, np.float32)
        g["backend_tensor_get"](answer, O.ctypes.data, 0, O.nbytes)
        return O
    finally:
        g["backend_buffer_free"](held)
        g["free"](room)


def _tensor(g, room, array):
    """Its axes are named from the last to the first, and there are four."""
    axes = [*array.shape[::-1], *(1,) * (4 - array.ndim)]
    return g["new_tensor_4d"](room, TYPES[array.dtype.name], *axes)


LIBRARY = Library(
    title="ggml (in node-llama-cpp)",
    packages=("numpy==2.4.6",),
    npm=("@node-llama-cpp/linux-x64@3.22.1",),
    doors=(
        Door(
            "flash_attn_ext",
            _fused,
            words("bias, literal, scale, softcap, sink, grouped, d_v") - {"masks of any dtype"},
        ),
        Door(
            "soft_max_ext",
            _in_parts,
            words("bias, literal, causal, scale, sink, grouped, d_v, past") - {"half", "masks of any dtype"},
        ),
    ),
    reports=("numpy",),
)
