"""The language model's forward pass written once more, in plain torch, from the paper and not from us.

It takes nothing of the package but the weights. Pairs of columns are complex numbers, turned by e^{ipθ};
attention, norms and SiLU are torch's own.
"""

import torch
from torch.nn import functional as F


def logits(model, tokens):
    """S (n, vocabulary) of the tokens (n), in the dtype of the weights."""
    T = torch.from_numpy(model.T)
    X, n = T[list(tokens)], len(tokens)
    pairs, one = torch.arange(model.d // 2, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    angles = torch.outer(torch.arange(n, dtype=torch.float64), model.base ** (-pairs * 2 / model.d))
    turn = torch.polar(one, angles).to(T.dtype.to_complex())

    def norm(X, gain):
        return F.rms_norm(X, gain.shape, gain, model.epsilon)

    def turned(heads):
        return torch.view_as_real(
            torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous()) * turn
        ).flatten(-2)

    for arrays in model.layers:
        W = {name: torch.from_numpy(array) for name, array in arrays.items()}
        wide = norm(X, W["g_1"]) @ W["W_QKV"]
        Q, K, V = (
            part.unflatten(-1, (-1, model.d)).transpose(0, 1)
            for part in wide.split([heads * model.d for heads in (model.h, model.g, model.g)], dim=-1)
        )
        O = F.scaled_dot_product_attention(
            turned(Q)[None], turned(K)[None], V[None], is_causal=True, enable_gqa=True
        )
        X = X + O[0].transpose(0, 1).flatten(1) @ W["W_O"]
        N = norm(X, W["g_2"])
        X = X + (F.silu(N @ W["W_gate"]) * (N @ W["W_up"])) @ W["W_down"]
    return (norm(X, torch.from_numpy(model.g_N)) @ T.T).numpy()
