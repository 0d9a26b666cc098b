"""A whole multi-head block, from X to Y: projections, attention, the output matrix. Inference."""

from functools import partial

from peers import sdpa_call

from selfattention.implementations import IMPLEMENTATIONS


def with_implementation(name, workload):
    """Plain matrix products around one of our implementations."""
    implementation = IMPLEMENTATIONS[name]
    attention = implementation.load().attention
    if implementation.library == "torch":
        return _torch_block(workload, lambda Q, K, V: attention(Q, K, V)[0])
    block = partial(_block, workload.h, lambda Q, K, V: attention(Q, K, V)[0])
    arrays = workload.block_inputs()
    return lambda: block(*arrays), lambda Y: [Y]


def sdpa(workload):
    """torch: the same products around the fused kernel."""
    return _torch_block(workload, sdpa_call(workload))


def nn_mha(workload):
    """torch: `nn.MultiheadAttention` with its defaults, which return the mean of the weights too."""
    layer, X = _layer(workload)
    return _inference(lambda: layer(X, X, X)[0])


def nn_mha_no_weights(workload):
    """torch: the same, told that nobody wants the weights."""
    layer, X = _layer(workload)
    return _inference(lambda: layer(X, X, X, need_weights=False)[0])


def nn_mha_eval(workload):
    """torch: the same after `.eval()`, on its fast path."""
    layer, X = _layer(workload)
    layer.eval()
    return _inference(lambda: layer(X, X, X, need_weights=False)[0])


def modules(workload):
    """The course's layer that trains."""
    from selfattention.modules import MultiHeadAttention

    layer, X = _layer(workload)
    ours = MultiHeadAttention.from_torch(layer)
    return _inference(lambda: ours(X))


def _block(h, attention, X, W_Q, W_K, W_V, W_O, b_Q, b_K, b_V, b_O):
    """Y = Concat(H^(1) … H^(h)) W_O + b_O, in NumPy or torch."""
    Q, K, V = (_split(X @ W + b, h) for W, b in ((W_Q, b_Q), (W_K, b_K), (W_V, b_V)))
    return attention(Q, K, V).swapaxes(1, 2).reshape(X.shape) @ W_O + b_O


def _split(wide, h):
    """(b, n, h·d) to (b, h, n, d)."""
    return wide.reshape(*wide.shape[:2], h, -1).swapaxes(1, 2)


def _torch_block(workload, attention):
    import torch

    tensors = [torch.from_numpy(array) for array in workload.block_inputs()]
    return _inference(lambda: _block(workload.h, attention, *tensors))


def _layer(workload):
    """`nn.MultiheadAttention` with the block's numbers in it, and X."""
    import torch

    X, *parameters = (torch.from_numpy(array) for array in workload.block_inputs())
    W, b = parameters[:4], parameters[4:]
    layer = torch.nn.MultiheadAttention(X.shape[-1], workload.h, batch_first=True)
    layer.load_state_dict(
        {
            "in_proj_weight": torch.cat([w.T for w in W[:3]]),  # torch keeps them (out, in)
            "in_proj_bias": torch.cat(b[:3]),
            "out_proj.weight": W[3].T,
            "out_proj.bias": b[3],
        }
    )
    return layer, X


def _inference(call):
    import torch

    def run():
        with torch.no_grad():
            return call()

    return run, lambda Y: [Y.numpy()]
