"""The way back, as strangers write it; what its mistakes are called stands with those of caches."""

from strangers.of_caches import A_SOFTMAX
from strangers.style import Style

# The way back, of dO, Q, K, V.
BACK_NUMPY = {
    "upstream": {"": "", "by the batch": "dO = dO / len(dO)"},
    "through": {
        "": "dS = A * (dA - np.sum(dA * A, axis=-1, keepdims=True))",
        "by the output": "dS = A * (dA - np.sum(dO * (A @ V), axis=-1, keepdims=True))",
        "no delta": "dS = A * dA",
        "delta added": "dS = A * (dA + np.sum(dA * A, axis=-1, keepdims=True))",
        "delta of columns": "dS = A * (dA - np.sum(dA * A, axis=-2, keepdims=True))",
        "sigmoid's": "dS = dA * A * (1 - A)",
        "softmax skipped": "dS = dA",
        "matrix product": "dS = dA @ (A * (1 - A))",
    },
    "scale": {
        "": "dS = dS / np.sqrt(Q.shape[-1])",
        "back unscaled": "",
        "back by d_k": "dS = dS / Q.shape[-1]",
    },
    "values": {"": "dV = np.swapaxes(A, -1, -2) @ dO", "dV not transposed": "dV = A @ dO"},
    "keys": {"": "dK = np.swapaxes(dS, -1, -2) @ Q", "dK not transposed": "dK = dS @ Q"},
    "given": {
        "": "found = dS @ K, dK, dV",
        "dQ for dK": "found = dK, dS @ K, dV",
        "dV first": "found = dV, dK, dS @ K",
    },
}
BACK_TORCH = {
    "upstream": {"": "", "by the batch": "dO = dO / dO.size(0)"},
    "through": {
        "": "dS = A * (dA - (dA * A).sum(-1, keepdim=True))",
        "by einsum": "dS = A * (dA - torch.einsum('...nm,...nm->...n', dA, A)[..., None])",
        "no delta": "dS = A.mul(dA)",
        "sigmoid's": "dS = A * (1 - A) * dA",
        "softmax skipped": "dS = dA.clone()",
        "jacobian summed": "J = torch.diag_embed(A) - A.unsqueeze(-1) * A.unsqueeze(-2)\ndS = dA * J.sum(-1)",
    },
    "scale": {
        "": "dS = dS * Q.size(-1) ** -0.5",
        "back unscaled": "",
        "back by d_k": "dS = dS / Q.size(-1)",
    },
    "values": {"": "dV = A.transpose(-2, -1) @ dO", "dV not transposed": "dV = torch.matmul(A, dO)"},
    "keys": {"": "dK = dS.transpose(-2, -1) @ Q", "dK not transposed": "dK = torch.matmul(dS, Q)"},
    "given": {"": "found = dS @ K, dK, dV", "dQ for dK": "found = dK, dS @ K, dV"},
}
_BACK = """    dA = dO @ {V}
    {{through}}
    {{scale}}
    {{values}}
    {{keys}}
    {{given}}
    return found
"""
BACKWARDS = [
    Style(
        "the way back in NumPy",
        "numpy",
        "\ndef attention_backward(dO, Q, K, V):\n    {upstream}\n"
        "    S = Q @ np.swapaxes(K, -1, -2) / np.sqrt(Q.shape[-1])\n"
        f"    {A_SOFTMAX}"
        + _BACK.replace("{V}", "np.swapaxes(V, -1, -2)").replace("{{", "{").replace("}}", "}"),
        known=BACK_NUMPY,
    ),
    Style(
        "the way back, the gradient last",
        "numpy",
        "\ndef backward(q, k, v, grad_output):\n    Q, K, V, dO = q, k, v, grad_output\n"
        "    assert Q.ndim == 2\n"
        f"    S = Q @ K.T * Q.shape[-1] ** -0.5\n    {A_SOFTMAX}"
        + _BACK.replace("{V}", "V.T")
        .replace("{{", "{")
        .replace("}}", "}")
        .replace("return found", "return dict(zip('qkv', found))"),
        frozenset({"by the batch", "dV first"}),
        known=BACK_NUMPY,
    ),
    Style(
        "the way back, the weights handed over",
        "torch",
        "\ndef attn_bwd(dout, q, k, v, attn):\n    dO, Q, K, V, A = dout, q, k, v, attn\n    {upstream}\n"
        + _BACK.replace("{V}", "V.transpose(-2, -1)").replace("{{", "{").replace("}}", "}"),
        known=BACK_TORCH,
    ),
    Style(
        "the way back in a batch",
        "torch",
        '\ndef attention_grad(grad, query, key, value):\n    "(batch, n, d) each"\n'
        "    dO, Q, K, V = grad, query, key, value\n"
        "    {upstream}\n"
        "    A = torch.softmax(torch.bmm(Q, K.transpose(1, 2)) / math.sqrt(Q.size(2)), dim=-1)\n"
        + _BACK.replace("{V}", "V.transpose(1, 2)").replace("{{", "{").replace("}}", "}"),
        known=BACK_TORCH,
    ),
]
