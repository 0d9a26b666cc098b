"""How strangers write a function around these lines: each style is a skeleton and a way to be called."""

from dataclasses import dataclass, field

from strangers import lines

NUMPY = {
    "scores": lines.NUMPY_SCORES,
    "scale": lines.NUMPY_SCALE,
    "softmax": lines.NUMPY_SOFTMAX,
    "hide": lines.NUMPY_HIDE,
    "triangle": lines.NUMPY_TRIANGLE,
    "out": lines.NUMPY_OUT,
    "project": lines.PROJECT,
    "split": lines.NUMPY_SPLIT,
    "merge": lines.NUMPY_MERGE,
    "last": lines.OUTPUT,
    "carry": lines.CARRY,
    "loop": lines.LOOP,
}
TORCH = {
    "scores": lines.TORCH_SCORES,
    "scale": lines.TORCH_SCALE,
    "softmax": lines.TORCH_SOFTMAX,
    "hide": lines.TORCH_HIDE,
    "triangle": lines.TORCH_TRIANGLE,
    "out": lines.TORCH_OUT,
    "project": lines.PROJECT,
    "split": lines.TORCH_SPLIT,
    "merge": lines.TORCH_MERGE,
    "last": lines.OUTPUT,
    "carry": lines.TORCH_CARRY,
    "loop": lines.LOOP,
}
TOP = {
    "numpy": "import numpy as np\n\n\n",
    "torch": "import math\n\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n",
}


@dataclass(frozen=True)
class Style:
    """A skeleton with places in braces for lines; `lacks` are mistakes that it cannot make or show."""

    name: str
    library: str
    skeleton: str
    lacks: frozenset = field(default=frozenset())
    replaced: tuple = ()  # pairs of texts, done to every line at last

    @property
    def slots(self) -> list[str]:
        """The places that it has."""
        return [slot for slot in NUMPY if "{" + slot + "}" in self.skeleton]

    def source(self, chosen: dict[str, str]) -> str:
        """A module with the function, `chosen` saying which line is in which place; others are right."""
        known = NUMPY if self.library == "numpy" else TORCH
        text = self.skeleton
        for slot in self.slots:
            put = known[slot][chosen.get(slot, "")]
            for before, after in self.replaced:
                put = put.replace(before, after)
            (line,) = (x for x in text.split("\n") if "{" + slot + "}" in x)
            indent = line[: len(line) - len(line.lstrip())]
            body = "\n".join(indent + x for x in put.split("\n")) if put else ""
            text = text.replace(line, body)
        return TOP[self.library] + "\n".join(x for x in text.split("\n") if x.strip()) + "\n"


BATCHED = frozenset({"batch", "heads"})
NARROW = BATCHED | {"axis 3"}
STYLES = [
    Style(
        "rows of one sequence",
        "numpy",
        '''
def attention(Q, K, V):
    """Q: (n, d), K: (m, d), V: (m, d_v)"""
    assert Q.ndim == 2
    Kt = K.T
    {scores}
    {scale}
    {softmax}
    {out}
    return O
''',
        BATCHED,
    ),
    Style(
        "any leading axes, a mask",
        "numpy",
        """
def dot_product_attention(query, key, value, mask=None):
    Q, K, V = query, key, value
    Kt = np.swapaxes(K, -2, -1)
    {scores}
    {scale}
    if mask is not None:
        {hide}
    {softmax}
    {out}
    return O
""",
        frozenset({"heads", "added"}),
    ),
    Style(
        "keys first, in a batch",
        "numpy",
        '''
def attend(keys, values, queries):
    """All of shape (batch, tokens, features)."""
    K, V, Q = keys, values, queries
    batch, n, d = Q.shape
    Kt = K.transpose(0, 2, 1)
    {scores}
    {scale}
    {softmax}
    {out}
    return A, O
''',
        frozenset({"heads", "batch"}),
    ),
    Style(
        "arguments without names",
        "numpy",
        """
def f(a, b, c):
    Q, K, V = a, b, c
    Kt = K.T
    {scores}
    {scale}
    {softmax}
    {out}
    return O, A
""",
        BATCHED,
    ),
    Style(
        "one matrix of tokens",
        "numpy",
        """
def self_attention(x):
    Q = K = V = x
    Kt = K.T
    {scores}
    {scale}
    {softmax}
    {out}
    return O
""",
        BATCHED | {"keys for values", "values for keys"},
    ),
    Style(
        "single precision, a mask of ones that is needed",
        "numpy",
        """
def masked_attention(q, k, v, visible):
    Q, K, V, mask = (np.asarray(x, dtype=np.float32) for x in (q, k, v, visible))
    mask = mask > 0
    Kt = K.swapaxes(-1, -2)
    {scores}
    {scale}
    {hide}
    {softmax}
    {out}
    return O
""",
        frozenset({"heads"}),
    ),
    Style(
        "the mask is True where a key is hidden",
        "numpy",
        """
def attention_layer(Q, K, V, pad_mask):
    mask = ~pad_mask
    Kt = np.swapaxes(K, -1, -2)
    {scores}
    {scale}
    {hide}
    {softmax}
    {out}
    return {{"output": O, "weights": A}}
""".replace("{{", "{ ").replace("}}", " }"),
        frozenset({"heads"}),
    ),
    Style(
        "heads, as annotated",
        "torch",
        """
def attention(query, key, value, mask=None, dropout=None):
    Q, K, V = query, key, value
    Kt = K.transpose(-2, -1)
    {scores}
    {scale}
    if mask is not None:
        {hide}
    {softmax}
    if dropout is not None:
        A = dropout(A)
    {out}
    return O, A
""",
        frozenset({"added"}),  # of a mask that is meant to be added it is right
    ),
    Style(
        "batched products, values second",
        "torch",
        '''
def scaled_attention(key, value, query):
    """(B, n, d) each"""
    K, V, Q = key, value, query
    bs = Q.shape[0]
    Kt = torch.einsum("bnd->bdn", K)
    {scores}
    {scale}
    {softmax}
    {out}
    return A, O
''',
        frozenset({"heads", "batch"}),
    ),
    Style(
        "heads behind the tokens",
        "torch",
        '''
def attention_bnhd(q, k, v, is_causal=False):
    """q, k, v: (B, N, H, D)"""
    B, N, H, D = q.shape
    Q, K, V = (x.transpose(1, 2) for x in (q, k, v))
    Kt = K.transpose(2, 3)
    {scores}
    {scale}
    if is_causal:
        n = N
        {triangle}
    {softmax}
    {out}
    return O.transpose(1, 2)
''',
    ),
    Style(
        "rows in PyTorch, d_k handed over",
        "torch",
        """
def sdpa(q, k, v, d_k):
    Q, K, V = q, k, v
    Kt = K.t()
    {scores}
    {scale}
    {softmax}
    {out}
    return O
""",
        BATCHED,
        (("Q.size(-1)", "d_k"),),
    ),
    Style(
        "queries and keys as a pair",
        "torch",
        """
def attend(qk, v):
    Q, K = qk
    V = v
    Kt = K.mT
    {scores}
    {scale}
    {softmax}
    {out}
    return O, None
""",
        frozenset({"heads"}),
    ),
    Style(
        "a causal decoder's",
        "torch",
        '''
def causal_attention(q, k, v):
    """Decoder attention: q, k, v of shape (batch, heads, n, d)."""
    Q, K, V = q, k, v
    n = Q.size(-2)
    Kt = K.transpose(-2, -1)
    {scores}
    {scale}
    {triangle}
    {softmax}
    {out}
    return O
''',
        frozenset({"keys", "queries"}),
    ),
]
SOFTMAXES = [
    Style(
        "a softmax of rows",
        "numpy",
        "\ndef softmax(S):\n    S = np.asarray(S)\n    {softmax}\n    return A\n",
        BATCHED,
    ),
    Style(
        "a softmax of x", "numpy", "\ndef my_softmax(x):\n    S = x\n    {softmax}\n    return A\n", BATCHED
    ),
    Style(
        "a softmax in PyTorch",
        "torch",
        "\ndef softmax(logits):\n    S = logits\n    {softmax}\n    return A\n",
        BATCHED,
    ),
    Style(
        "a softmax in single precision",
        "numpy",
        "\ndef softmax(scores):\n    S = scores.astype(np.float32)\n    {softmax}\n    return A\n",
        BATCHED,
    ),
]

_unseen = frozenset({"star", "batch", "lying down", "not transposed", "cosines", "values for keys", "zeros"})
HEADS = [
    Style(
        "heads in NumPy",
        "numpy",
        """
def multi_head_attention(X, W_Q, W_K, W_V, W_O, h):
    WQ, WK, WV, WO = W_Q, W_K, W_V, W_O
    B, n, _ = X.shape
    {project}
    {split}
    Kt = np.swapaxes(K, -1, -2)
    {scores}
    {scale}
    {softmax}
    {out}
    {merge}
    {last}
    return Y
""",
        _unseen | {"heads"},
    ),
    Style(
        "heads in PyTorch, matrices as in Linear",
        "torch",
        """
def mha(x, wq, wk, wv, wo, num_heads):
    X, h = x, num_heads
    WQ, WK, WV, WO = wq.T, wk.T, wv.T, wo.T
    B, n, _ = X.size()
    {project}
    {split}
    Kt = K.transpose(-1, -2)
    {scores}
    {scale}
    {softmax}
    {out}
    {merge}
    {last}
    return Y, A
""",
        _unseen,
    ),
    Style(
        "heads of one sequence, the count second",
        "numpy",
        """
def heads_attention(x, n_heads, Wq, Wk, Wv, Wo):
    n, _ = x.shape
    X, h, B = x[None], n_heads, 1
    WQ, WK, WV, WO = Wq, Wk, Wv, Wo
    {project}
    {split}
    Kt = K.transpose(0, 1, 3, 2)
    {scores}
    {scale}
    {softmax}
    {out}
    {merge}
    {last}
    return Y[0]
""",
        _unseen | {"heads"},
    ),
    Style(
        "heads in single precision",
        "torch",
        """
def self_attention(inputs, q_weight, k_weight, v_weight, out_weight, heads):
    X = inputs.float()
    h = heads
    WQ, WK, WV, WO = (w.float() for w in (q_weight, k_weight, v_weight, out_weight))
    B, n, _ = X.shape
    {project}
    {split}
    Kt = torch.einsum("bhnd->bhdn", K)
    {scores}
    {scale}
    {softmax}
    {out}
    {merge}
    {last}
    return Y
""",
        _unseen,
    ),
]
TILES = [
    Style(
        "tiles of 64 in NumPy",
        "numpy",
        """
def flash_attention(Q, K, V, block_size=64):
    width = block_size
    c, Z, O = np.full((len(Q), 1), -np.inf), 0, 0
    {loop}
    for j in starts:
        S = Q @ K[j : j + width].T / np.sqrt(Q.shape[1])
        W = V[j : j + width]
        new = np.maximum(c, S.max(-1, keepdims=True))
        old, E = np.exp(c - new), np.exp(S - new)
        {carry}
        c = new
    return O / Z
""",
    ),
    Style(
        "tiles of 32 with heads",
        "torch",
        '''
def tiled(q, k, v):
    """(batch, heads, n, d)"""
    Q, K, V = q, k, v
    width = 32
    c = torch.full((*Q.shape[:-1], 1), -torch.inf, dtype=Q.dtype)
    Z, O = 0, 0
    {loop}
    for j in starts:
        S = Q @ K[..., j : j + width, :].transpose(-1, -2) * Q.shape[-1] ** -0.5
        W = V[..., j : j + width, :]
        new = torch.maximum(c, S.amax(-1, keepdim=True))
        old, E = torch.exp(c - new), torch.exp(S - new)
        {carry}
        c = new
    return O / Z
''',
    ),
    Style(
        "tiles that must divide n",
        "numpy",
        """
def block_attention(query, key, value):
    Q, K, V = query, key, value
    width = 16
    assert Q.shape == K.shape == V.shape and len(K) % width == 0
    c, Z, O = np.full((len(Q), 1), -1e30), 0, 0
    {loop}
    for j in starts:
        S = Q @ K[j : j + width].T / np.sqrt(Q.shape[1])
        W = V[j : j + width]
        new = np.maximum(c, S.max(-1, keepdims=True))
        old, E = np.exp(c - new), np.exp(S - new)
        {carry}
        c = new
    return O / Z, c + np.log(Z)
""",
        frozenset({"last tile"}),
    ),
    Style(
        "tiles of two, the output first",
        "torch",
        """
def online_softmax_attention(Q, K, V):
    width = 2
    c = torch.full((Q.shape[0], 1), -torch.inf, dtype=Q.dtype)
    Z, O = 0, 0
    {loop}
    for j in starts:
        S = Q @ K[j : j + width].t() / math.sqrt(Q.shape[1])
        W = V[j : j + width]
        new = torch.maximum(c, S.amax(-1, keepdim=True))
        old, E = torch.exp(c - new), torch.exp(S - new)
        {carry}
        c = new
    return O / Z, c + torch.log(Z)
""",
    ),
]
