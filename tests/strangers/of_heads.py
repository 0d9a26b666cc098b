"""How strangers write multi-head attention."""

from strangers.style import Style

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
