"""Head parallelism as PyTorch has it: four linear layers, and a plan that says how each is cut."""

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from selfattention.implementations import torch_tiled
from selfattention.masks import Rule


class Block(nn.Module):
    """Y = Concat(H^(1) … H^(h)) W_O from X (…, n, d_model): `head_parallel` in four linear layers."""

    def __init__(self, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, d_k: int, d_v: int):
        super().__init__()
        self.q, self.k, self.v, self.o = map(_linear, (W_Q, W_K, W_V, W_O))
        self.d_k, self.d_v = d_k, d_v

    def forward(self, X: Tensor, mask: Rule | None = None) -> Tensor:
        """The layers may have been cut: how many heads there are is seen from their widths."""
        widths = (self.q, self.d_k), (self.k, self.d_k), (self.v, self.d_v)
        Q, K, V = (layer(X).unflatten(-1, (-1, d)).transpose(-3, -2) for layer, d in widths)
        O, _ = torch_tiled.attention(Q, K, V, mask=mask)
        return self.o(O.transpose(-3, -2).flatten(-2))


def divided(block: Block, mesh: DeviceMesh) -> nn.Module:
    """The block with its heads divided among the ranks of a mesh, each of which has all its tokens.

    The number of ranks has to divide that of the groups: the library cuts columns, and knows no heads.
    """
    plan = dict.fromkeys("qkv", ColwiseParallel()) | {"o": RowwiseParallel()}
    return parallelize_module(block, mesh, plan)


def _linear(W):
    layer = nn.Linear(*W.shape, bias=False, dtype=W.dtype, device=W.device)
    layer.weight = nn.Parameter(W.detach().T.clone(memory_format=torch.contiguous_format))
    return layer
