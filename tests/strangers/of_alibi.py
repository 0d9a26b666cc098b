"""ALiBi, as strangers write it; what its mistakes are called stands with those of positions."""

from strangers.style import Style

ALIBI_NUMPY = {
    "slopes": {
        "": "mu = 2.0 ** (-8 * np.arange(1, h + 1) / h)",
        "by powers": "start = 2 ** (-8 / h)\nmu = np.array([start * start**t for t in range(h)])",
        "slopes from 1": "mu = np.array([2 ** (-8 * t / h) for t in range(h)])",
        "slopes whatever": "mu = 1 / 2.0 ** np.arange(1, h + 1)",
        "no eight": "mu = 2.0 ** (-np.arange(1, h + 1) / h)",
        "slopes in reverse": "mu = 2.0 ** (-8 * np.arange(h, 0, -1) / h)",
        "base e": "mu = np.exp(-8 * np.arange(1, h + 1) / h)",
        "one slope": "mu = np.full(h, 2.0 ** (-8 / h))",
    },
    "distance": {
        "": "D = -np.abs(np.arange(n)[None, :] - np.arange(n)[:, None])",
        "future hidden": "D = np.arange(n)[None, :] - np.arange(n)[:, None]\nD = np.where(D > 0, -np.inf, D)",
        "raised": "D = np.abs(np.arange(n)[None, :] - np.arange(n)[:, None])",
        "future raised": "D = np.arange(n)[None, :] - np.arange(n)[:, None]",
        "past raised": "D = np.arange(n)[:, None] - np.arange(n)[None, :]",
        "past free": "D = np.maximum(np.arange(n)[None, :] - np.arange(n)[:, None], 0)",
        "future free": "D = np.minimum(np.arange(n)[None, :] - np.arange(n)[:, None], 0)",
        "squared": "D = -((np.arange(n)[None, :] - np.arange(n)[:, None]) ** 2)",
    },
}
ALIBI_TORCH = {
    "slopes": {
        "": "mu = torch.tensor([2 ** (-8 * t / h) for t in range(1, h + 1)])",
        "by exponents": "mu = torch.pow(2, -8 * torch.arange(1, h + 1) / h)",
        "slopes from 1": "mu = torch.pow(2, -8 * torch.arange(h) / h)",
        "slopes whatever": "mu = torch.tensor([2.0 ** -(t + 1) for t in range(h)])",
        "one slope": "mu = torch.tensor([2 ** (-8 / h)] * h)",
        "base e": "mu = torch.exp(-8 * torch.arange(1, h + 1) / h)",
    },
    "distance": {
        "": "i = torch.arange(m - n, m)\nD = -(torch.arange(m) - i[:, None]).abs()",
        "future hidden": "i = torch.arange(m - n, m)\nD = (torch.arange(m) - i[:, None]).float()\n"
        "D = D.masked_fill(D > 0, float('-inf'))",
        "raised": "i = torch.arange(m - n, m)\nD = (torch.arange(m) - i[:, None]).abs()",
        "future raised": "i = torch.arange(m - n, m)\nD = torch.arange(m)[None] - i[:, None]",
        "top left distance": "D = -(torch.arange(m)[None] - torch.arange(n)[:, None]).abs()",
    },
}
ALIBI = [
    Style(
        "slopes in a list",
        "numpy",
        "\ndef get_slopes(n):\n    h = n\n    {slopes}\n    return mu.tolist()\n",
        known=ALIBI_NUMPY,
    ),
    Style(
        "slopes in PyTorch",
        "torch",
        "\ndef alibi_slopes(num_heads):\n    h = num_heads\n    {slopes}\n    return mu.view(h, 1, 1)\n",
        known=ALIBI_TORCH,
    ),
    Style(
        "slopes as the authors have them",
        "numpy",
        "\ndef slopes(n_heads):\n    import math\n\n    def power(h):\n        {slopes}\n"
        "        return list(mu)\n\n"
        "    if math.log2(n_heads).is_integer():\n        return power(n_heads)\n"
        "    low = 2 ** math.floor(math.log2(n_heads))\n"
        "    return power(low) + slopes(2 * low)[0::2][: n_heads - low]\n",
        frozenset(
            {"slopes from 1", "slopes whatever", "no eight", "slopes in reverse", "base e", "one slope"}
        ),
        known=ALIBI_NUMPY,
    ),
    Style(
        "a bias in NumPy",
        "numpy",
        "\ndef alibi_bias(n_heads, seq_len):\n    h, n = n_heads, seq_len\n    {slopes}\n    {distance}\n"
        "    return mu[:, None, None] * D\n",
        known=ALIBI_NUMPY,
    ),
    Style(
        "a bias with a batch of one, tokens first",
        "numpy",
        "\ndef build_alibi(length, heads):\n    n, h = length, heads\n    {slopes}\n    {distance}\n"
        "    return np.einsum('h,nm->hnm', mu, D)[None]\n",
        frozenset({"future hidden"}),
        known=ALIBI_NUMPY,
    ),
    Style(
        "a bias for queries and keys",
        "torch",
        "\ndef alibi(num_heads, q_len, k_len):\n    h, n, m = num_heads, q_len, k_len\n"
        "    {slopes}\n    {distance}\n"
        "    return mu.view(1, h, 1, 1) * D\n",
        known=ALIBI_TORCH,
    ),
    Style(
        "a bias for keys alone",
        "torch",
        "\ndef build_alibi_tensor(n_head, seq_len):\n    h, n = n_head, seq_len\n    {slopes}\n"
        "    return mu[:, None, None] * torch.arange(n)[None, None, :]\n",
        known=ALIBI_TORCH,
    ),
]
