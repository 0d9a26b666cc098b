"""Multi-head attention as a PyTorch layer that trains. Chapter: notebooks/08_heads.

The layer computes the book's formula with its letters, from plain tensor operations: no fused
kernel is called, so that it can be held against the fused ones.
"""

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Y = Concat(H^(1) … H^(h)) W_O + b_O,  H^(i) = softmax(Q^(i) K^(i)ᵀ / √d_k) V^(i).

    Q = X W_Q + b_Q, and K and V likewise from `memory`, or from X where no memory is given;
    head i owns the i-th block of columns of each. Every W is stored (in, out), as in the
    formula: W_Q (d_model, h·d_k), W_K (d_memory, h·d_k), W_V (d_memory, h·d_v) and
    W_O (h·d_v, d_model). With `bias=False` the four b are None.

    d_k and d_v are d_model / h, and d_memory is d_model, where they are not given. The layer
    keeps nothing between calls, and has neither dropout nor mask.

    Each W starts with independent normal entries of variance 1 / (its number of rows), each b
    at zero: tokens of unit variance then give queries, keys and values of unit variance, and
    scaled scores of variance one.

    Raises ValueError or TypeError, naming the argument, for sizes, axes or dtypes that do not
    fit. Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self,
        d_model: int,
        h: int,
        *,
        d_k: int | None = None,
        d_v: int | None = None,
        d_memory: int | None = None,
        bias: bool = True,
    ):
        super().__init__()
        _check_sizes(d_model=d_model, h=h)
        if None in (d_k, d_v) and d_model % h:
            raise ValueError(f"h is {h}; wanted a divisor of d_model = {d_model}, or both d_k and d_v given")
        d_k = d_model // h if d_k is None else d_k
        d_v = d_model // h if d_v is None else d_v
        d_memory = d_model if d_memory is None else d_memory
        _check_sizes(d_k=d_k, d_v=d_v, d_memory=d_memory)
        self.d_model, self.h, self.d_k, self.d_v, self.d_memory = d_model, h, d_k, d_v, d_memory
        shapes = {
            "Q": (d_model, h * d_k),
            "K": (d_memory, h * d_k),
            "V": (d_memory, h * d_v),
            "O": (h * d_v, d_model),
        }
        for letter, (rows, columns) in shapes.items():
            self.register_parameter(f"W_{letter}", nn.Parameter(torch.empty(rows, columns)))
            self.register_parameter(f"b_{letter}", nn.Parameter(torch.empty(columns)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's random numbers and set the biases to zero."""
        for W in self.W_Q, self.W_K, self.W_V, self.W_O:
            nn.init.normal_(W, std=W.shape[0] ** -0.5)
        for b in self.b_Q, self.b_K, self.b_V, self.b_O:
            if b is not None:
                nn.init.zeros_(b)

    def forward(self, X: Tensor, memory: Tensor | None = None) -> Tensor:
        """Y (…, n, d_model) from X (…, n, d_model) and memory (…, m, d_memory), or X."""
        A = self.weights(X, memory)
        V = self._split(_affine(X if memory is None else memory, self.W_V, self.b_V))
        H = A @ V
        joined = H.transpose(-3, -2).flatten(-2)  # Concat: swap heads and tokens, then join
        return _affine(joined, self.W_O, self.b_O)

    def weights(self, X: Tensor, memory: Tensor | None = None) -> Tensor:
        """A (…, h, n, m), head by head: row i of a head is how query i divides its attention."""
        self._check_inputs(X, memory)
        Q = self._split(_affine(X, self.W_Q, self.b_Q))
        K = self._split(_affine(X if memory is None else memory, self.W_K, self.b_K))
        return torch.softmax(Q @ K.transpose(-2, -1) * self.d_k**-0.5, dim=-1)

    def _split(self, wide):
        """(…, n, h·d) to (…, h, n, d): cut the columns into heads, then swap tokens and heads."""
        return wide.unflatten(-1, (self.h, -1)).transpose(-3, -2)

    def _check_inputs(self, X, memory):
        _check_tokens("X", X, ("n", "d_model"), self.d_model, self.W_Q.dtype)
        if memory is not None:
            _check_tokens("memory", memory, ("m", "d_memory"), self.d_memory, self.W_K.dtype)
            if X.shape[:-2] != memory.shape[:-2]:
                raise ValueError(
                    f"memory has shape {(*memory.shape,)}; wanted the leading axes of X, {(*X.shape,)}"
                )
        elif self.d_memory != self.d_model:
            raise ValueError(f"memory is missing; wanted (…, m, d_memory) with d_memory = {self.d_memory}")

    @classmethod
    def from_torch(cls, attention: nn.MultiheadAttention) -> "MultiHeadAttention":
        """A layer with copies of `attention`'s parameters: the same outputs, the same gradients.

        Takes packed (`in_proj_weight`) and separate (`q_proj_weight` …) projections, with and
        without bias, and the dtype and device of the source. Ours reads X (…, n, d_model)
        whatever the source's `batch_first` says; its dropout is left out, as after `.eval()`.
        Raises TypeError for any other layer, and ValueError for what the formula does not
        have: kdim ≠ vdim, add_bias_kv, add_zero_attn.
        """
        if not isinstance(attention, nn.MultiheadAttention):
            raise TypeError(f"attention is a {type(attention).__name__}; wanted torch.nn.MultiheadAttention")
        if attention.kdim != attention.vdim:
            raise ValueError(
                f"attention has kdim {attention.kdim}, vdim {attention.vdim}; wanted one d_memory"
            )
        if attention.bias_k is not None:
            raise ValueError("attention has add_bias_kv=True; wanted no key and value beside the memory's")
        if attention.add_zero_attn:
            raise ValueError("attention has add_zero_attn=True; wanted no key and value beside the memory's")

        packed, bias = attention.in_proj_weight, attention.in_proj_bias
        separate = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
        weights = [*(separate if packed is None else packed.chunk(3)), attention.out_proj.weight]
        biases = [] if bias is None else [*bias.chunk(3), attention.out_proj.bias]
        state = {f"W_{letter}": W.T for letter, W in zip("QKVO", weights, strict=True)}  # torch: (out, in)
        state |= {f"b_{letter}": b for letter, b in zip("QKVO", biases, strict=False)}

        sizes = attention.embed_dim, attention.num_heads
        layer = cls(*sizes, d_memory=attention.kdim, bias=bias is not None).to(attention.out_proj.weight)
        layer.load_state_dict(state)  # copies
        return layer


def _affine(X, W, b):
    return X @ W if b is None else X @ W + b


def _check_sizes(**sizes):
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} is {size!r}; wanted a positive integer")


def _check_tokens(name, X, axes, width, dtype):
    if not isinstance(X, Tensor):
        raise TypeError(f"{name} is a {type(X).__name__}; wanted a torch.Tensor")
    if X.dtype != dtype:
        raise TypeError(f"{name} has dtype {X.dtype}; wanted the layer's, {dtype}")
    if X.dim() < 2 or X.shape[-1] != width:
        raise ValueError(
            f"{name} has shape {(*X.shape,)}; wanted (…, {', '.join(axes)}) with {axes[1]} = {width}"
        )
