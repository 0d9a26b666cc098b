"""How strangers write attention tile by tile."""

from strangers.style import Style

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
