"""The lines that people write, right and wrong, in NumPy and PyTorch, and what a wrong one is to be called.

Nothing here knows the package's recipes: what a line does is only what Python makes of it.
"""

# A word for each mistake, and what the sentence that names it must contain.
CALLED = {
    "no scale": "Not scaled at all|Scores without the 1/√d_k",
    "d_k": "Divided by d_k instead",
    "keys": "root of the number of keys",
    "queries": "root of the number of queries",
    "times": "Multiplied by √d_k",
    "axis": "Softmax over the queries",
    "batch": "Softmax along the first axis",
    "heads": "Softmax over the heads",
    "one sum": "One sum for the whole matrix",
    "no maximum": "without the maximum",
    "one maximum": "One maximum for all rows",
    "from zero": "begins at 0",
    "base two": "2 to the score",
    "no sum": "Not divided by the row sum",
    "lying down": "lost their axis",
    "shares": "without exponentials",
    "no softmax": "No softmax at all",
    "best only": "argmax instead",
    "softmax twice": "softmax of the softmax",
    "zeros": "exactly 0 taken for a hidden key|hides scores of exactly 0",
    "causal": "causal mask that nobody asked for",
    "diagonal": "the diagonal is masked",
    "keys for values": "The keys are averaged",
    "values for keys": "compared with the values",
    "not transposed": "keys are not transposed",
    "scaled again": "Scaled again after",
    "scaled last": "Scaled after the softmax",
    "values inside": "V inside the softmax",
    "star": "entry by entry",
    "reverse": "different orders",
    "cosines": "Cosine scores",
    "average": "scores are thrown away",
    "sideways": "rows taken for its columns",
    "first row": "first query's mask",
    "multiplied": "Scores multiplied by the mask",
    "added": "Ones and zeros added",
    "after": "Weights set to zero after",
    "fill": "finite fill",
    "plus": "hidden keys take all the weight",
    "both ways": "both ways",
    "ignored": "mask is not used",
    "itself": "hides a token from itself|does not see itself",
    "next": "sees the next one",
    "future": "the wrong way round|future and not the past",
    "old output": "sum is rescaled, the output is not",
    "not rescaled": "Sums added as they are",
    "last tile": "loop over whole tiles",
    "padded tile": "filled up with zeros",
    "sum begins anew": "sum begins anew",
    "tiles averaged": "tiles' outputs are averaged",
    "split": "Heads split by a reshape",
    "merge": "Heads joined by a reshape",
    "dealt": "every h-th column",
    "one matrix": "One matrix for queries and keys",
    "exchanged": "Queries and keys change places",
    "tokens for values": "W_V forgotten",
    "whole width": "the whole width",
    "first head": "every head is the first",
    "mean of heads": "mean of the heads",
    "heads turned": "another order than W_O",
    "no output": "W_O forgotten",
    "output turned": "W_O as \\(out, in\\)",
    "residual": "residual X is added",
}

# Each line by its mistake; "" is right. `S` the scores, `Q`, `K`, `V`, `A`; Kt is K transposed.
NUMPY_SCORES = {
    "": "S = Q @ Kt",
    "cosines": "lengths = [np.linalg.norm(x, axis=-1) for x in (Q, K)]\n"
    "S = Q @ Kt / (lengths[0][..., None] * lengths[1][..., None, :])",
    "values for keys": "S = Q @ np.swapaxes(V, -1, -2)",
    "not transposed": "S = Q @ K",
}
NUMPY_SCALE = {
    "": "S = S / np.sqrt(Q.shape[-1])",
    "no scale": "",
    "d_k": "S = S / Q.shape[-1]",
    "keys": "S = S / np.sqrt(K.shape[-2])",
    "queries": "S = S / np.sqrt(Q.shape[-2])",
    "times": "S = S * np.sqrt(Q.shape[-1])",
}
NUMPY_SOFTMAX = {
    "": "E = np.exp(S - S.max(axis=-1, keepdims=True))\nA = E / E.sum(axis=-1, keepdims=True)",
    "axis": "E = np.exp(S - S.max(axis=-2, keepdims=True))\nA = E / E.sum(axis=-2, keepdims=True)",
    "batch": "E = np.exp(S - S.max(axis=0, keepdims=True))\nA = E / E.sum(axis=0, keepdims=True)",
    "one sum": "E = np.exp(S - np.max(S))\nA = E / np.sum(E)",
    "no maximum": "E = np.exp(S)\nA = E / E.sum(axis=-1, keepdims=True)",
    "one maximum": "E = np.exp(S - S.max())\nA = E / np.sum(E, axis=-1, keepdims=True)",
    "from zero": "c = np.zeros(S.shape[:-1])\nfor j in range(S.shape[-1]):\n"
    "    c = np.maximum(c, S[..., j])\n"
    "E = np.exp(S - c[..., None])\nA = E / E.sum(-1)[..., None]",
    "base two": "E = 2.0 ** (S - S.max(axis=-1, keepdims=True))\nA = E / E.sum(axis=-1, keepdims=True)",
    "no sum": "A = np.exp(S - S.max(axis=-1, keepdims=True))",
    "lying down": "E = np.exp(S - S.max(axis=-1, keepdims=True))\nA = E / E.sum(axis=-1)",
    "shares": "A = S / S.sum(axis=-1, keepdims=True)",
    "no softmax": "A = S",
    "best only": "A = np.eye(S.shape[-1])[S.argmax(-1)]",
    "average": "A = np.ones_like(S) / S.shape[-1]",
    "softmax twice": "for _ in range(2):\n    E = np.exp(S - S.max(axis=-1, keepdims=True))\n"
    "    S = E / E.sum(axis=-1, keepdims=True)\nA = S",
    "zeros": "S = np.where(S == 0, -1e9, S)\nE = np.exp(S - S.max(axis=-1, keepdims=True))\n"
    "A = E / E.sum(axis=-1, keepdims=True)",
    "no maximum + one sum": "A = np.exp(S) / np.exp(S).sum()",
    "no maximum + axis": "E = np.exp(S)\nA = E / E.sum(axis=-2, keepdims=True)",
    "logsumexp": "L = S.max(-1, keepdims=True)\nL = L + np.log(np.exp(S - L).sum(-1, keepdims=True))\n"
    "A = np.exp(S - L)",
    "the others": "E = np.exp(S - S.max(axis=-1, keepdims=True))\n"
    "c = np.exp(-S.max(axis=-1, keepdims=True))\n"
    "A = E / (E.sum(axis=-1, keepdims=True) + c)",
}
NUMPY_HIDE = {  # `mask` is 1 where a key may be seen
    "": "S = np.where(mask, S, -np.inf)",
    "large": "S = np.where(mask == 0, -1e9, S)",
    "lowest": "S = np.where(mask == 0, np.finfo(S.dtype).min, S)",
    "sum": "S = S + (1 - mask) * -1e9",
    "sideways": "S = np.where(np.swapaxes(mask, -1, -2), S, -1e9)",
    "first row": "S = np.where(mask[..., :1, :], S, -np.inf)",
    "multiplied": "S = S * mask",
    "added": "S = S + mask",
    "fill -5": "S = np.where(mask, S, -5.0)",
    "fill -50": "S = np.where(mask, S, -50.0)",
    "fill -1000": "S = np.where(mask, S, -1000)",
    "fill -10000": "S = np.where(mask, S, -1e4)",
    "plus": "S = np.where(mask, S, 1e9)",
    "both ways": "S = np.where(mask & np.swapaxes(mask, -1, -2), S, -np.inf)",
    "ignored": "mask = mask",
    "zeros": "S = np.where(mask, S, 0)\nS = np.where(S == 0, -np.inf, S)",
}
NUMPY_OUT = {
    "": "O = A @ V",
    "keys for values": "O = A @ K",
    "scaled again": "O = A / np.sqrt(Q.shape[-1]) @ V",
    "star": "O = A * V",
    "reverse": "O = A @ V[..., ::-1, :]",
}

TORCH_SCORES = {
    "": "S = torch.matmul(Q, Kt)",
    "cosines": "q, k = (F.normalize(x, dim=-1) for x in (Q, K))\nS = q @ k.transpose(-2, -1)",
    "values for keys": "S = Q @ V.transpose(-2, -1)",
    "not transposed": "S = Q @ K",
}
TORCH_SCALE = {
    "": "S = S / math.sqrt(Q.size(-1))",
    "no scale": "",
    "d_k": "S = S / Q.size(-1)",
    "keys": "S = S / K.size(-2) ** 0.5",
    "queries": "S = S / math.sqrt(Q.size(-2))",
    "times": "S = S * Q.size(-1) ** 0.5",
}
TORCH_SOFTMAX = {
    "": "A = torch.softmax(S, dim=-1)",
    "axis": "A = F.softmax(S, dim=-2)",
    "batch": "A = S.softmax(dim=0)",
    "heads": "A = F.softmax(S, dim=1)",
    "one sum": "E = torch.exp(S - S.max())\nA = E / E.sum()",
    "no maximum": "E = torch.exp(S)\nA = E / E.sum(dim=-1, keepdim=True)",
    "one maximum": "E = (S - S.max()).exp()\nA = E / E.sum(-1, keepdim=True)",
    "from zero": "c = S.amax(-1, keepdim=True).clamp(min=0)\nE = (S - c).exp()\n"
    "A = E / E.sum(-1, keepdim=True)",
    "base two": "E = torch.exp2(S - S.amax(-1, keepdim=True))\nA = E / E.sum(-1, keepdim=True)",
    "no sum": "A = torch.exp(S - S.amax(-1, keepdim=True))",
    "lying down": "E = torch.exp(S - S.amax(-1, keepdim=True))\nA = E / E.sum(-1)",
    "shares": "A = S / S.sum(-1, keepdim=True)",
    "no softmax": "A = S",
    "best only": "A = torch.zeros_like(S).scatter(-1, S.argmax(-1, keepdim=True), 1.0)",
    "average": "A = torch.ones_like(S) / S.size(-1)",
    "softmax twice": "A = nn.Softmax(dim=-1)(F.softmax(S, dim=-1))",
    "zeros": "S = S.masked_fill(S == 0, float('-inf'))\nA = torch.softmax(S, dim=-1)",
    "no maximum + one sum": "A = torch.exp(S) / torch.sum(torch.exp(S))",
    "no maximum + axis": "A = torch.exp(S) / torch.exp(S).sum(-2, keepdim=True)",
    "logsumexp": "A = torch.exp(S - torch.logsumexp(S, -1, keepdim=True))",
    "the others": "one = torch.zeros_like(S[..., :1])\n"
    "A = torch.softmax(torch.cat([S, one], -1), -1)[..., :-1]",
}
TORCH_HIDE = {
    "": "S = S.masked_fill(mask == 0, float('-inf'))",
    "large": "S = S.masked_fill(mask == 0, -1e9)",
    "lowest": "S = S.masked_fill(mask == 0, torch.finfo(S.dtype).min)",
    "sum": "S = S + (1.0 - mask.to(S.dtype)) * -1e9",
    "sideways": "S = S.masked_fill(mask.transpose(-1, -2) == 0, -1e9)",
    "first row": "S = S.masked_fill(mask[..., :1, :] == 0, -1e9)",
    "multiplied": "S = S * mask",
    "added": "S = S + mask",
    "fill -5": "S = S.masked_fill(mask == 0, -5)",
    "fill -50": "S = S.masked_fill(mask == 0, -50.0)",
    "fill -1000": "S = S.masked_fill(mask == 0, -1000.0)",
    "fill -10000": "S = S.masked_fill(mask == 0, -1e4)",
    "plus": "S = S.masked_fill(mask == 0, 1e9)",
    "both ways": "S = S.masked_fill((mask * mask.transpose(-1, -2)) == 0, float('-inf'))",
    "ignored": "mask = mask.bool()",
    "zeros": "S = S * mask\nS = S.masked_fill(S == 0, float('-inf'))",
}
TORCH_OUT = {
    "": "O = torch.matmul(A, V)",
    "keys for values": "O = A @ K",
    "scaled again": "O = (A / Q.size(-1) ** 0.5) @ V",
    "star": "O = A * V",
    "reverse": "O = A @ V.flip(-2)",
}
# A triangle that the function makes itself.
NUMPY_TRIANGLE = {
    "": "S = np.where(np.tril(np.ones((n, n), dtype=bool)), S, -np.inf)",
    "large": "S = S + np.triu(np.full((n, n), -1e9), k=1)",
    "itself": "S = np.where(np.triu(np.ones((n, n))) == 1, -np.inf, S)",
    "next": "S = np.where(np.tril(np.ones((n, n)), k=1) == 1, S, -1e9)",
    "future": "S = np.where(np.tri(n).T == 1, S, -1e9)",
}
TORCH_TRIANGLE = {
    "": "S = S.masked_fill(torch.triu(torch.ones(n, n), diagonal=1).bool(), float('-inf'))",
    "large": "S = S.masked_fill(torch.tril(torch.ones(n, n)) == 0, -1e9)",
    "itself": "S = S.masked_fill(torch.triu(torch.ones(n, n)) == 1, -1e9)",
    "next": "S = S.masked_fill(torch.tril(torch.ones(n, n), diagonal=1) == 0, -1e9)",
    "future": "S = S.masked_fill(torch.tril(torch.ones(n, n), diagonal=-1) == 1, -1e9)",
}

# Heads: X, and WQ, WK, WV, WO as (in, out); h heads.
PROJECT = {
    "": "Q, K, V = X @ WQ, X @ WK, X @ WV",
    "one matrix": "Q, K, V = X @ WQ, X @ WQ, X @ WV",
    "exchanged": "Q, K, V = X @ WK, X @ WQ, X @ WV",
    "tokens for values": "Q, K, V = X @ WQ, X @ WK, X",
}
OUTPUT = {
    "": "Y = O @ WO",
    "no output": "Y = O",
    "output turned": "Y = O @ WO.T",
    "residual": "Y = X + O @ WO",
}
NUMPY_SPLIT = {
    "": "Q, K, V = (x.reshape(B, n, h, -1).transpose(0, 2, 1, 3) for x in (Q, K, V))",
    "split": "Q, K, V = (x.reshape(B, h, n, -1) for x in (Q, K, V))",
    "dealt": "Q, K, V = (x.reshape(B, n, -1, h).transpose(0, 3, 1, 2) for x in (Q, K, V))",
}
NUMPY_MERGE = {
    "": "O = O.transpose(0, 2, 1, 3).reshape(B, n, -1)",
    "merge": "O = O.reshape(B, n, -1)",
    "first head": "O = np.concatenate([O[:, 0]] * h, axis=-1)",
    "mean of heads": "O = np.concatenate([O.mean(axis=1)] * h, axis=-1)",
    "heads turned": "O = np.concatenate([O[:, i] for i in reversed(range(h))], axis=-1)",
}
TORCH_SPLIT = {
    "": "Q, K, V = (x.view(B, n, h, -1).transpose(1, 2) for x in (Q, K, V))",
    "split": "Q, K, V = (x.view(B, h, n, -1) for x in (Q, K, V))",
    "dealt": "Q, K, V = (x.reshape(B, n, -1, h).permute(0, 3, 1, 2) for x in (Q, K, V))",
}
TORCH_MERGE = {
    "": "O = O.transpose(1, 2).contiguous().view(B, n, -1)",
    "merge": "O = O.contiguous().view(B, n, -1)",
    "first head": "O = torch.cat([O[:, 0]] * h, dim=-1)",
    "mean of heads": "O = O.mean(1).repeat(1, 1, h)",
    "heads turned": "O = O.flip(1).transpose(1, 2).reshape(B, n, -1)",
}
# Between two tiles: Z and O of the keys before, E the exponentials, W the tile's values.
CARRY = {
    "": "Z = Z * old + E.sum(-1, keepdims=True)\nO = O * old + E @ W",
    "old output": "Z = Z * old + E.sum(-1, keepdims=True)\nO = O + E @ W",
    "not rescaled": "Z = Z + E.sum(-1, keepdims=True)\nO = O + E @ W",
    "sum begins anew": "Z = E.sum(-1, keepdims=True)\nO = O * old + E @ W",
}
TORCH_CARRY = {name: line.replace("keepdims", "keepdim") for name, line in CARRY.items()}
LOOP = {
    "": "starts = range(0, K.shape[-2], width)",
    "last tile": "starts = range(0, K.shape[-2] - width + 1, width)",
}
