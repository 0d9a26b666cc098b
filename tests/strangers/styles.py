"""How strangers write attention around these lines, and a softmax."""

from strangers.style import Style

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
        BATCHED | {"keys for values", "values for keys", "from zero"},  # x · x is never below 0
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
