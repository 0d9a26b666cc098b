"""Multi-head attention as a PyTorch layer that trains. Chapter: notebooks/08_heads.

The layer computes the book's formula with its letters, from plain tensor operations: no fused
kernel is called, so that it can be held against the fused ones, and `torch.compile`, `torch.export`
and `torch.func` see nothing that they do not know.
"""

from functools import reduce
from math import prod
from numbers import Integral, Real

import numpy as np

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn

from selfattention.masks import Rule


class Cache:
    """K (…, g, m, d_k) and V (…, g, m, d_v) of the m tokens that a layer has seen; empty at first.

    Hand the same one to every call of the same layer, `layer(token, is_causal=True, cache=cache)`,
    and do so under `torch.no_grad()` unless gradients are to flow back through all the pieces.
    """

    def __init__(self):
        self.K: Tensor | None = None
        self.V: Tensor | None = None

    @property
    def length(self) -> int:
        """m, how many tokens it holds."""
        return 0 if self.K is None else self.K.shape[-2]

    def followed_by(self, K: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """What it holds with K and V behind it. It keeps nothing of them: that is for the layer to do."""
        if self.K is None:
            return K, V
        for name, held, new in ("K", self.K, K), ("V", self.V, V):
            told, wanted = ((*t.shape[:-2], t.shape[-1], t.dtype, t.device) for t in (held, new))
            if told != wanted:
                raise ValueError(
                    f"cache holds {name} {(*held.shape,)}, {held.dtype}, {held.device}; wanted what {name}"
                    f" {(*new.shape,)}, {new.dtype}, {new.device} continues: a new Cache() for another text"
                )
        return torch.cat([self.K, K], dim=-2), torch.cat([self.V, V], dim=-2)

    def __repr__(self):
        return f"Cache(length={self.length})"


class MultiHeadAttention(nn.Module):
    """Y = Concat(H^(1) … H^(h)) W_O + b_O,  H^(i) = softmax(Q^(i) K^(i)ᵀ / √d_k) V^(i).

    Q = X W_Q + b_Q, and K and V likewise from `memory`, or from X where no memory is given;
    head i owns the i-th block of columns of Q, and block i // (h / g) of K and V. Every W is
    stored (in, out), as in the formula: W_Q (d_model, h·d_k), W_K (d_memory, g·d_k),
    W_V (d_memory, g·d_v) and W_O (h·d_v, d_model). With `bias=False` the four b are None.

    d_k and d_v are d_model / h, d_memory is d_model and g is h, where they are not given. While
    it trains, and never after `.eval()`, the layer drops each weight with probability `dropout`
    and divides those that survive by 1 − dropout.

    Each W starts with independent normal entries of variance 1 / (its number of rows), each b
    at zero: tokens of unit variance then give queries, keys and values of unit variance, and
    scaled scores of variance one.

    Raises ValueError or TypeError, naming the argument, for what does not fit. Sources: Vaswani
    et al. 2017, section 3.2.2; for g < h, Ainslie et al. 2023.
    """

    W_Q: nn.Parameter
    W_K: nn.Parameter
    W_V: nn.Parameter
    W_O: nn.Parameter
    b_Q: nn.Parameter | None
    b_K: nn.Parameter | None
    b_V: nn.Parameter | None
    b_O: nn.Parameter | None

    def __init__(
        self,
        d_model: int,
        h: int,
        *,
        g: int | None = None,
        d_k: int | None = None,
        d_v: int | None = None,
        d_memory: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        d_model, h = _size("d_model", d_model), _size("h", h)
        if None in (d_k, d_v) and d_model % h:
            raise ValueError(f"h is {h}; wanted a divisor of d_model = {d_model}, or both d_k and d_v given")
        d_k, d_v = _size("d_k", d_k, d_model // h), _size("d_v", d_v, d_model // h)
        d_memory, g = _size("d_memory", d_memory, d_model), _size("g", g, h)
        if h % g:
            raise ValueError(f"g is {g}; wanted a divisor of h = {h}")
        if isinstance(dropout, bool) or not isinstance(dropout, Real) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout!r}; wanted a probability, 0 to 1")
        self.d_model, self.h, self.g, self.d_k, self.d_v = d_model, h, g, d_k, d_v
        self.d_memory, self.dropout = d_memory, float(dropout)
        shapes = {
            "Q": (d_model, h * d_k),
            "K": (d_memory, g * d_k),
            "V": (d_memory, g * d_v),
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

    def extra_repr(self) -> str:
        """The sizes, and of everything else what is not as usual."""
        width = None if self.d_model % self.h else self.d_model // self.h
        usual = {"d_model": None, "h": None, "g": self.h, "d_k": width, "d_v": width}
        usual |= {"d_memory": self.d_model, "bias": True, "dropout": 0.0}
        mine = vars(self) | {"bias": self.b_O is not None}
        return ", ".join(f"{name}={mine[name]}" for name in usual if mine[name] != usual[name])

    def forward(
        self,
        X: Tensor,
        memory: Tensor | None = None,
        *,
        mask: Rule | Tensor | np.ndarray | None = None,
        key_mask: Tensor | np.ndarray | None = None,
        is_causal: bool = False,
        cache: Cache | None = None,
    ) -> Tensor:
        """Y (…, n, d_model) from X (…, n, d_model) and memory (…, m, d_memory), or X.

        Who may see whom, each a narrowing of the others, **True = may see**:

        - `mask`: a rule of `selfattention.masks`, `masks.padding(lengths)` included, or booleans
          (n, m), or (…, h, n, m) with every leading axis of X; an axis may be 1;
        - `key_mask`: booleans (…, m), one row of keys for each member of the batch, or (m,);
        - `is_causal`: the same as `mask=masks.causal`.

        `cache` is for a text that comes in pieces: X are the next n tokens, and the m keys are
        all that the cache holds, these n, which it keeps, included. Query i stands at position
        i + m − n then (the last query beside the last key), and at position i without a cache
        (query 0 beside key 0, memory or not). Rules and `is_causal` ask for those positions; the
        rows of a boolean array are the n queries.

        A row that may see nothing has context 0, so Y = b_O, and zero gradients. Of hidden tokens
        no number matters, unless it is NaN or infinite: 0 · NaN is NaN, here as in PyTorch's layer.
        Softmax is in float32 or wider; under autocast Y has autocast's dtype. `torch.compile`
        with `fullgraph` and `torch.export` with a dynamic n take `is_causal` and tensors, but no rules:
        those are spelt out in NumPy.
        """
        A, K, V = self._attend(X, memory, mask, key_mask, is_causal, cache)
        if cache is not None:
            cache.K, cache.V = K, V
        H = self._per_group(nn.functional.dropout(A, self.dropout, self.training), V)
        joined = H.transpose(-3, -2).flatten(-2)  # Concat: swap heads and tokens, then join
        return _affine(joined, self.W_O, self.b_O)

    def weights(
        self,
        X: Tensor,
        memory: Tensor | None = None,
        *,
        mask: Rule | Tensor | np.ndarray | None = None,
        key_mask: Tensor | np.ndarray | None = None,
        is_causal: bool = False,
        cache: Cache | None = None,
    ) -> Tensor:
        """A (…, h, n, m), head by head: row i of a head is how query i divides its attention.

        The arguments are those of `forward`. Nothing is dropped, and the cache stays as it is.
        """
        return self._attend(X, memory, mask, key_mask, is_causal, cache)[0]

    def _attend(self, X, memory, mask, key_mask, is_causal, cache):
        """A, and K and V of everything that may be seen."""
        self._check_inputs(X, memory, cache)
        source, past = X if memory is None else memory, 0 if cache is None else cache.length
        Q = self._split(_affine(X, self.W_Q, self.b_Q), self.h)
        K = self._split(_affine(source, self.W_K, self.b_K), self.g)
        V = self._split(_affine(source, self.W_V, self.b_V), self.g)
        if cache is not None:
            K, V = cache.followed_by(K, V)
        S = self._per_group(Q * self.d_k**-0.5, K.transpose(-2, -1))  # scaled first: fewer halves overflow
        visible = _visible(S, past, mask, key_mask, is_causal)
        return _softmax(S, visible), K, V

    def _split(self, wide, heads):
        """(…, n, h·d) to (…, h, n, d): cut the columns into heads, then swap tokens and heads."""
        return wide.unflatten(-1, (heads, -1)).transpose(-3, -2)

    def _per_group(self, left, right):
        """left (…, h, n, p) times right (…, g, p, q): the heads of a group share its right, uncopied."""
        grouped = left.unflatten(-3, (self.g, -1))
        return torch.einsum("...grnp, ...gpq -> ...grnq", grouped, right).flatten(-4, -3)

    def _check_inputs(self, X, memory, cache):
        _check_tokens("X", X, ("n", "d_model"), self.d_model, self.W_Q)
        if memory is not None:
            _check_tokens("memory", memory, ("m", "d_memory"), self.d_memory, self.W_K)
            if X.shape[:-2] != memory.shape[:-2]:
                raise ValueError(
                    f"memory has shape {(*memory.shape,)}; wanted the leading axes of X, {(*X.shape,)}"
                )
        elif self.d_memory != self.d_model:
            raise ValueError(f"memory is missing; wanted (…, m, d_memory) with d_memory = {self.d_memory}")
        if not isinstance(cache, Cache | None):
            raise TypeError(f"cache is a {type(cache).__name__}; wanted a selfattention.modules.Cache")
        if cache is not None and memory is not None:
            raise ValueError("cache came with memory; wanted one of them: a cache holds what X was before")

    @classmethod
    def from_torch(cls, attention: nn.MultiheadAttention) -> "MultiHeadAttention":
        """A layer with copies of `attention`'s parameters: the same outputs, the same gradients.

        Takes packed (`in_proj_weight`) and separate (`q_proj_weight` …) projections, with and
        without bias; keeps dtype, device and `requires_grad` of each, dropout, and whether it
        trains. Ours reads X (…, n, d_model) whatever the source's `batch_first` says, and its
        booleans say who *may* see, torch's who may not: for `attn_mask` (n, m) and
        `key_padding_mask` give `mask=~attn_mask, key_mask=~key_padding_mask`, and for an
        `attn_mask` (b·h, n, m) `mask=~attn_mask.unflatten(0, (b, h))`.

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

        sizes, options = (attention.embed_dim, attention.num_heads), {"dropout": attention.dropout}
        with torch.device("meta"):  # no number is drawn for what is replaced
            layer = cls(*sizes, d_memory=attention.kdim, bias=attention.in_proj_bias is not None, **options)
        for name, parameter in _parameters_of(attention):
            copied = parameter.detach().clone(memory_format=torch.contiguous_format)
            setattr(layer, name, nn.Parameter(copied, parameter.requires_grad))
        return layer.train(attention.training)


def _parameters_of(attention):
    """PyTorch's parameters under our names; it stores every W (out, in)."""
    packed, bias = attention.in_proj_weight, attention.in_proj_bias
    separate = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
    weights = [*(separate if packed is None else packed.chunk(3)), attention.out_proj.weight]
    biases = [] if bias is None else [*bias.chunk(3), attention.out_proj.bias]
    yield from ((f"W_{letter}", W.T) for letter, W in zip("QKVO", weights, strict=True))
    yield from ((f"b_{letter}", b) for letter, b in zip("QKVO", biases, strict=False))


def _affine(X, W, b):
    product = X @ W
    return product if b is None else product + b.to(product.dtype)  # autocast left b as it was


def _softmax(S, visible):
    """A, in the dtype of S; 0 where nobody is visible, and there as little NaN on the way back."""
    if visible is not None:
        empty = ~visible.any(-1, keepdim=True)
        S = S.masked_fill(~visible, -torch.inf).masked_fill(empty, 0)
    A = torch.softmax(S, dim=-1, dtype=torch.promote_types(S.dtype, torch.float32)).to(S.dtype)
    return A if visible is None else A.masked_fill(empty, 0)


def _visible(S, past, mask, key_mask, is_causal):
    """Booleans that broadcast to S (…, h, n, m), or None where everybody may see everybody."""
    narrowings = []
    if mask is not None:
        narrowings.append(_of_rule(mask, S, past) if isinstance(mask, Rule) else _of_array(mask, S))
    if key_mask is not None:
        narrowings.append(_of_keys(key_mask, S))
    if is_causal:
        narrowings.append(torch.ones(S.shape[-2:], dtype=torch.bool, device=S.device).tril(past))
    return reduce(torch.logical_and, narrowings) if narrowings else None


def _of_rule(rule, S, past):
    """A rule, spelt out; what it calls the batch is all leading axes of X in one."""
    *batch, _, n, m = S.shape
    ends_before = f"mask ends before query {past + n - 1} or key {m - 1}: it is {rule!r}"
    if past + n > rule.ends[0] or m > rule.ends[1]:
        raise ValueError(ends_before)
    try:  # a rule of one's own may have an end that it does not know of
        visible = _booleans("mask", rule.tile(range(past, past + n), range(m)), S.device)
    except IndexError as error:
        raise ValueError(f"{ends_before}, {error}") from None
    if visible.dim() == 4 and visible.shape[0] == prod(batch):
        visible = visible.unflatten(0, batch) if batch else visible[0]
    if visible.shape[-2:] != (n, m) or not _broadcasts(visible.shape, S.shape):
        raise ValueError(f"mask speaks of (…, h, n, m) = {(*visible.shape,)}; wanted {(*S.shape,)}")
    return visible


def _of_array(mask, S):
    visible = _booleans("mask", mask, S.device)
    if visible.dim() not in (2, S.dim()) or not _broadcasts(visible.shape, S.shape):
        raise ValueError(
            f"mask has shape {(*mask.shape,)}; wanted (n, m) = {(*S.shape[-2:],)} or (…, h, n, m) ="
            f" {(*S.shape,)}, where an axis may be 1; one row of keys per member of a batch is key_mask"
        )
    return visible


def _of_keys(key_mask, S):
    visible, (*batch, _, _, m) = _booleans("key_mask", key_mask, S.device), S.shape
    wanted = (m,) if visible.dim() == 1 else (*batch, m)
    if tuple(visible.shape) != wanted:
        raise ValueError(f"key_mask has shape {(*visible.shape,)}; wanted (…, m) = {(*batch, m)}, or {(m,)}")
    return visible[..., None, None, :]


def _booleans(name, mask, device):
    """A tensor on `device`; of NumPy's a copy, since strides may be negative and arrays read-only."""
    if isinstance(mask, np.ma.MaskedArray) or not isinstance(mask, Tensor | np.ndarray):
        rule = " or a rule of selfattention.masks" if name == "mask" else ""
        raise TypeError(f"{name} is a {type(mask).__name__}; wanted a tensor or array of booleans{rule}")
    try:
        visible = mask if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))
    except TypeError:  # strings, objects: nothing that torch knows
        visible = None
    if visible is None or visible.dtype != torch.bool:
        raise TypeError(
            f"{name} has dtype {mask.dtype}; wanted booleans, True = may see: {name} != 0 of zeros and ones,"
            f" {name} == 0 of zeros and −inf that were to be added"
        )
    return visible.to(device)


def _broadcasts(shape, full):
    pairs = zip(reversed(shape), reversed(full), strict=False)
    return len(shape) <= len(full) and all(a in (1, b) for a, b in pairs)


def _size(name, size, usual=None):
    """A size as a Python integer, which no product of sizes can wrap."""
    if size is None and usual is not None:
        return usual
    if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
        raise ValueError(f"{name} is {size!r}; wanted a positive integer")
    return int(size)


def _check_tokens(name, X, axes, width, W):
    """Dense tokens of the layer's width."""
    _check_tensor(name, X, W)
    if X.is_nested or X.layout != torch.strided:
        raise TypeError(f"{name} is nested or sparse; wanted it padded, to_padded_tensor(0.0), and key_mask")
    if X.dim() < 2 or X.shape[-1] != width:
        raise ValueError(
            f"{name} has shape {(*X.shape,)}; wanted (…, {', '.join(axes)}) with {axes[1]} = {width}"
        )


def _check_tensor(name, X, W):
    """A tensor of the layer's device and dtype, or of a dtype that autocast makes into another."""
    if not isinstance(X, Tensor):
        cure = f": torch.from_numpy({name}).to({W.dtype})" if isinstance(X, np.ndarray) else ""
        raise TypeError(f"{name} is a {type(X).__name__}; wanted a torch.Tensor{cure}")
    if X.device != W.device:
        raise ValueError(f"{name} is on {X.device}; wanted the layer's device: {name}.to({str(W.device)!r})")
    if X.dtype != W.dtype and not (_autocasts(X) and _autocasts(W)):
        raise TypeError(f"{name} has dtype {X.dtype}; wanted the layer's, {W.dtype}: {name}.to({W.dtype})")


def _autocasts(tensor):
    """Does autocast change its dtype? Of a double it never does."""
    kind, dtypes = tensor.device.type, (torch.float32, torch.bfloat16, torch.float16)
    known = torch.amp.is_autocast_available(kind)
    return known and torch.is_autocast_enabled(kind) and tensor.dtype in dtypes
