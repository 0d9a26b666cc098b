"""A whole block with the tokens divided: X of one's own tokens, the matrices as a whole on every rank."""

from collections.abc import Callable, Sequence

from selfattention.extras import needed

with needed():
    import torch.distributed as dist
    from torch import Tensor
    from torch.distributed.device_mesh import DeviceMesh

from selfattention.masks import Rule
from selfattention.parallel.agreement import agreed
from selfattention.parallel.arguments import check_matrices, gradients_of
from selfattention.parallel.links import Link
from selfattention.parallel.sums import shared


def by_tokens(
    X: Tensor,
    W_Q: Tensor,
    W_K: Tensor,
    W_V: Tensor,
    W_O: Tensor,
    h: int,
    g: int,
    *,
    attend: Callable[..., tuple[Tensor, Tensor]],
    group: "Link | dist.ProcessGroup | DeviceMesh | None" = None,
    shards: Sequence[Sequence[range]],
    mask: Rule | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Tensor | None = None,
    implementation: str = "torch_tiled",
) -> Tensor:
    """Y (…, n_r, d_model) of this rank's tokens X (…, n_r, d_model); `attend` is `ring` or `all_to_all`.

    Every rank has all of W_Q (d_model, h·d_k), W_K (d_model, g·d_k), W_V (d_model, g·d_v) and W_O
    (h·d_v, d_model), and gets their gradients of the sum of all ranks' losses: each is summed once over the
    ranks. All else is as in `attend`, errors included; it has no bias.
    """
    link = Link.of(group)
    matrices = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_O": W_O}
    agreed(link, link.call(), "by_tokens", lambda: _Block(X, matrices, h, g))
    W_Q, W_K, W_V, W_O = (shared(W, link, link.call(), name) for name, W in matrices.items())
    Q, K, V = (
        (X @ W).unflatten(-1, (heads, W.shape[1] // heads)).transpose(-3, -2)
        for W, heads in ((W_Q, h), (W_K, g), (W_V, g))
    )
    how = {"mask": mask, "scale": scale, "softcap": softcap, "sink": sink, "implementation": implementation}
    O, _ = attend(Q, K, V, group=link, shards=shards, **how)
    return O.transpose(-3, -2).flatten(-2) @ W_O


class _Block:
    """A rank's arguments, checked."""

    def __init__(self, X, matrices, h, g):
        check_matrices(X, *matrices.values(), h, g)
        if h < 1:
            raise ValueError(f"h is {h}; wanted a positive integer")
        self.X, self.matrices = X, matrices

    def described(self):
        return {
            "X (without its rows)": str([*self.X.shape[:-2], self.X.shape[-1]]),
            "dtype": str(self.X.dtype),
            **{name: str(list(W.shape)) for name, W in self.matrices.items()},
            "gradients": gradients_of(X=self.X, **self.matrices),
        }
