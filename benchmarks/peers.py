"""What a practitioner would call instead: PyTorch, ONNX Runtime, JAX.

Each function takes a workload and returns (run, read): the call that is timed, and what turns its
answer into NumPy arrays, O or O, dQ, dK, dV, with the axes of the workload. Masks are given in the
cheapest form that the peer has for them, and are made before the clock starts.
"""

import os
from functools import partial

import numpy as np
from workloads import LENGTHS, WINDOW


def sdpa(workload):
    """torch: the fused CPU kernel of `scaled_dot_product_attention`, the yardstick of the race."""
    return _torch(workload, sdpa_call(workload))


def sdpa_math(workload):
    """torch: the same function, told to compute the formula step by step."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fused = sdpa_call(workload)

    def attention(Q, K, V):
        with sdpa_kernel(SDPBackend.MATH):
            return fused(Q, K, V)

    return _torch(workload, attention)


def compiled_naive(workload):
    """torch: the formula in three lines, given to `torch.compile`."""
    import torch

    allowed = None if workload.mask == "none" else torch.from_numpy(workload.boolean())
    repeats, scale = workload.h // workload.g, workload.d_k**-0.5

    def attention(Q, K, V):
        if repeats > 1:
            K, V = (array.repeat_interleave(repeats, dim=1) for array in (K, V))
        S = Q @ K.transpose(-1, -2) * scale
        if allowed is not None:
            S = S.masked_fill(~allowed, -torch.inf)
        return S.softmax(-1) @ V

    torch.compiler.reset()  # or the eighth shape would be refused
    return _torch(workload, torch.compile(attention, fullgraph=True, dynamic=False))


def flex(workload):
    """torch: FlexAttention, compiled, with its block mask."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    visible, options = workload.visible(torch.tensor), {"enable_gqa": workload.g < workload.h}
    if workload.mask != "none":
        batch = workload.b if workload.mask == "padding" else None
        sizes = batch, None, workload.n, workload.m
        options["block_mask"] = create_block_mask(lambda b, h, i, j: visible(b, i, j), *sizes, device="cpu")
    torch.compiler.reset()  # or the eighth shape would be refused
    compiled = torch.compile(flex_attention, fullgraph=True, dynamic=False)
    return _torch(workload, lambda Q, K, V: compiled(Q, K, V, **options))


def ort_mha(workload):
    """ONNX Runtime: its operator MultiHeadAttention, (b, n, h·d) in and out."""
    _inference_only(workload)
    if workload.g < workload.h:
        raise NotImplementedError("MultiHeadAttention has one group of keys per head")
    Q, K, V, _ = workload.inputs()
    feeds = {
        name: _tokens_first(array).reshape(workload.b, array.shape[2], -1)
        for name, array in {"Q": Q, "K": K, "V": V}.items()
    }
    names = [*feeds, "", "", ""]  # then bias, key_padding_mask, attention_bias
    if workload.mask == "padding":
        names[4], feeds["lengths"] = "lengths", workload.boolean().sum(-1).ravel().astype(np.int32)
    elif workload.mask not in ("none", "causal"):
        names[5] = "added"
        feeds["added"] = np.where(workload.boolean(), 0, np.finfo(np.float32).min)[None, None].astype("f4")
    options = {"num_heads": workload.h, "unidirectional": int(workload.mask == "causal")}
    run = _onnx("MultiHeadAttention", names, feeds, "com.microsoft", **options)
    return run, lambda O: [O.reshape(workload.b, workload.n, workload.h, -1).swapaxes(1, 2)]


def ort_attention(workload):
    """ONNX Runtime: the standard's own operator Attention, opset 23."""
    _inference_only(workload)
    Q, K, V, _ = workload.inputs()
    feeds = {"Q": Q, "K": K, "V": V}
    if workload.mask not in ("none", "causal"):
        allowed = workload.boolean()
        full = *allowed.shape[:-2], workload.n, workload.m
        feeds["mask"] = np.ascontiguousarray(np.broadcast_to(allowed, full))
    run = _onnx("Attention", [*feeds], feeds, "", is_causal=int(workload.mask == "causal"))
    return run, lambda O: [O]


def jax(workload):
    """JAX: `jax.nn.dot_product_attention` under jit, (b, n, h, d) in and out."""
    import jax

    Q, K, V, dO = (jax.numpy.asarray(_tokens_first(array)) for array in workload.inputs())
    attention = partial(jax.nn.dot_product_attention, **_jax_mask(workload))

    def both(Q, K, V, dO):
        O, gradients = jax.vjp(attention, Q, K, V)
        return O, *gradients(dO)

    compiled = jax.jit(both if workload.backward else attention)
    inputs = (Q, K, V, dO) if workload.backward else (Q, K, V)

    def read(answer):
        return [np.asarray(array).swapaxes(1, 2) for array in jax.tree.leaves(answer)]

    return lambda: jax.block_until_ready(compiled(*inputs)), read


def _jax_mask(workload):
    if workload.mask == "documents":
        return {"mask": workload.boolean()[None, None]}
    if workload.mask == "padding":
        return {"key_value_seq_lengths": np.array(LENGTHS)}
    window = {"local_window_size": (WINDOW - 1, 0)} if workload.mask == "window" else {}
    return {"is_causal": workload.mask in ("causal", "window")} | window


def _torch(workload, attention):
    """Forward alone, or with autograd's gradients."""
    import torch

    *leaves, dO = map(torch.from_numpy, workload.inputs())
    if not workload.backward:
        return lambda: attention(*leaves), lambda O: [O.numpy()]
    for leaf in leaves:
        leaf.requires_grad_()

    def both():
        O = attention(*leaves)
        return O, *torch.autograd.grad(O, leaves, dO)

    return both, lambda answer: [array.detach().numpy() for array in answer]


def sdpa_call(workload):
    """Q, K, V -> O: torch's function with the mask and the groups of the workload."""
    import torch

    options = {"enable_gqa": workload.g < workload.h, "is_causal": workload.mask == "causal"}
    if workload.mask not in ("none", "causal"):
        options["attn_mask"] = torch.from_numpy(workload.boolean())
    return partial(torch.nn.functional.scaled_dot_product_attention, **options)


def _onnx(operator, inputs, feeds, domain, **attributes):
    """A session of one operator; the call runs it. ONNX Runtime is told how many threads there are."""
    import onnxruntime
    from onnx import helper

    node = helper.make_node(operator, inputs, ["O"], domain=domain, **attributes)
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    answer = helper.make_tensor_value_info("O", helper.np_dtype_to_tensor_dtype(np.dtype("f4")), None)
    versions = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "race", values, [answer])
    model = helper.make_model(graph, opset_imports=versions, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    shrink = onnxruntime.RunOptions()
    shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run():
        return session.run(None, feeds)[0]

    run.release = partial(session.run, None, feeds, shrink)  # its arena keeps what it once had
    return run


def _tokens_first(array):
    return np.ascontiguousarray(array.swapaxes(1, 2))


def _inference_only(workload):
    if workload.backward:
        raise NotImplementedError("ONNX Runtime's operator has no gradient")
