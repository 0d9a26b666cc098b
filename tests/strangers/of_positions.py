"""Tables of sines and cosines, and rotary positions, as strangers write them."""

from strangers.style import Style

CALLED = {
    "from one": "ositions counted from one",
    "from the end": "counted from the end",
    "share": "divided by the length",
    "no two": "without its 2",
    "doubled": "exponent doubled",
    "d less one": "Divided by d − 1",
    "half less one": "last frequency made 1/10,000",
    "base 1000": "The base is 1,000,",
    "base 50000": "The base is 50,000,",
    "rising": "Multiplied by base",
    "same speed": "Every pair has the same frequency|Every pair turns at the same speed",
    "own column": "A column's own number in the exponent",
    "cosines first": "even columns have the cosines",
    "sines alone": "Sines in all columns",
    "clockwise": "Turned the other way",
    "places ignored": "Not turned at all",
    "no sines": "Multiplied by the cosines only",
    "sign lost": "without its minus sign",
    "mixed": "no rotation",
    "each twice": "Half of the frequencies",
    "slopes from 1": "The slopes begin with 1",
    "slopes whatever": "whatever the number of heads",
    "no eight": "the 8 forgotten",
    "slopes in reverse": "slopes in reverse",
    "base e": "e to the power",
    "one slope": "One slope for all heads",
    "raised": "sign of the distance",
    "future raised": "keys in the future are raised",
    "past raised": "what is long past is raised",
    "past free": "relu\\(j − i\\)",
    "future free": "Distances to the past alone",
    "squared": "The distance squared",
    "top left distance": "The first query beside the first key",
}

# Tables. n and d are given.
TABLE = {
    "places": {
        "": "i = np.arange(n)[:, None]",
        "from one": "i = np.arange(1, n + 1).reshape(-1, 1)",
        "share": "i = np.arange(n).reshape(n, 1) / n",
        "from the end": "i = np.arange(n - 1, -1, -1)[:, None]",
    },
    "theta": {
        "": "theta = 1 / 10000 ** (2 * np.arange(d // 2) / d)",
        "by exp": "theta = np.exp(np.arange(0, d, 2) * (-np.log(10000.0) / d))",
        "no two": "theta = 1 / 10000 ** (np.arange(d // 2) / d)",
        "doubled": "theta = 1 / 10000 ** (2 * np.arange(0, d, 2) / d)",
        "d less one": "theta = np.power(10000.0, -np.arange(0, d, 2) / (d - 1))",
        "half less one": "theta = np.exp(-np.log(10000.0) * np.arange(d // 2) / max(d // 2 - 1, 1))",
        "base 1000": "theta = 1000.0 ** -(np.arange(0, d, 2) / d)",
        "base 50000": "theta = 50_000 ** -(np.arange(0, d, 2) / d)",
        "rising": "theta = np.power(10000, 2 * np.arange(d // 2) / d)",
    },
    "waves": {
        "": "s, k = np.sin(i * theta), np.cos(i * theta)",
        "cosines first": "k, s = np.sin(i * theta), np.cos(i * theta)",
        "sines alone": "s = k = np.sin(i * theta)",
    },
    "columns": {
        "": "P = np.zeros((n, d))\nP[:, 0::2] = s\nP[:, 1::2] = k",
        "halves": "P = np.hstack([s, k])",
    },
    "columns of each": {  # a loop over columns; t is the angle's divisor
        "": "a = p / 10000 ** ((j // 2) * 2 / d)",
        "by floor": "a = p / np.power(10000, 2 * (j // 2) / np.float64(d))",
        "own column": "a = p / 10000 ** (j / d)",
        "doubled": "a = p / 10000 ** (4 * (j // 2) / d)",
        "no two": "a = p / 10000 ** ((j // 2) / d)",
        "d less one": "a = p / 10000 ** (2 * (j // 2) / (d - 1))",
    },
}
IN_TORCH = {
    "places": {
        "": "i = torch.arange(n, dtype=torch.float).unsqueeze(1)",
        "from one": "i = torch.arange(1, n + 1, dtype=torch.float).unsqueeze(1)",
        "share": "i = torch.arange(n).unsqueeze(1) / n",
    },
    "theta": {
        "": "theta = torch.exp(torch.arange(0, d, 2).float() * (-math.log(10000.0) / d))",
        "by power": "theta = 10000.0 ** (-torch.arange(0, d, 2) / d)",
        "no two": "theta = torch.exp(torch.arange(d // 2) * (-math.log(10000.0) / d))",
        "doubled": "theta = torch.exp(2 * torch.arange(0, d, 2) * -(math.log(10000.0) / d))",
        "half less one": "theta = torch.exp(torch.arange(d // 2) * -(math.log(1e4) / max(d // 2 - 1, 1)))",
        "base 1000": "theta = torch.exp(torch.arange(0, d, 2).float() * (-math.log(1000.0) / d))",
        "rising": "theta = torch.exp(torch.arange(0, d, 2).float() * (math.log(10000.0) / d))",
        "same speed": "theta = torch.ones(d // 2)",
    },
    "waves": {
        "": "s, k = torch.sin(i * theta), torch.cos(i * theta)",
        "cosines first": "s, k = torch.cos(i * theta), torch.sin(i * theta)",
        "sines alone": "s, k = torch.sin(i * theta), torch.sin(i * theta)",
    },
    "columns": {
        "": "P = torch.stack([s, k], dim=2).flatten(1)",
        "halves": "P = torch.cat([s, k], dim=-1)",
    },
}
TABLES = [
    Style(
        "a table in NumPy",
        "numpy",
        "\ndef positional_encoding(seq_len, d_model):\n    n, d = seq_len, d_model\n    {places}\n"
        "    {theta}\n"
        "    {waves}\n    {columns}\n    return P\n",
        known=TABLE,
    ),
    Style(
        "a table with a batch of one, the width first",
        "numpy",
        "\ndef get_position_encoding(embed_dim, max_len):\n    n, d = max_len, embed_dim\n"
        "    {places}\n    {theta}\n"
        "    {waves}\n    {columns}\n    return P[np.newaxis].astype(np.float32)\n",
        frozenset({"rising"}),  # angles of thousands, in single precision
        known=TABLE,
    ),
    Style(
        "a table column by column",
        "numpy",
        """
def get_sinusoid_encoding_table(n_position, d_hid):
    d = d_hid

    def row(p):
        found = []
        for j in range(d):
            {columns of each}
            found.append(a)
        return found

    table = np.array([row(p) for p in range(n_position)])
    table[:, 0::2] = np.sin(table[:, 0::2])
    table[:, 1::2] = np.cos(table[:, 1::2])
    return table
""",
        known=TABLE,
    ),
    Style(
        "a table in PyTorch",
        "torch",
        "\ndef make_pe(max_len, d_model):\n    n, d = max_len, d_model\n    {places}\n    {theta}\n"
        "    {waves}\n"
        "    {columns}\n    return P.unsqueeze(0)\n",
        frozenset({"rising"}),
        known=IN_TORCH,
    ),
    Style(
        "times in PyTorch",
        "torch",
        "\ndef timestep_embedding(timesteps, dim):\n    d = dim\n"
        "    i = timesteps[:, None].float()\n    {theta}\n"
        "    {waves}\n    P = torch.cat([k, s], dim=-1)\n    return P\n",
        frozenset({"rising", "cosines first"}),
        known=IN_TORCH,
    ),
]

# Rotary positions. x (…, n, d), i the positions (n).
ROTARY_NUMPY = {
    "theta": {
        "": "theta = 10000.0 ** (-2 * np.arange(d // 2) / d)",
        "by division": "theta = 1.0 / (10000 ** (np.arange(0, d, 2) / d))",
        "no two": "theta = 10000.0 ** (-np.arange(d // 2) / d)",
        "doubled": "theta = 10000.0 ** (-2 * np.arange(0, d, 2) / d)",
        "base 1000": "theta = 1000.0 ** (-2 * np.arange(d // 2) / d)",
        "same speed": "theta = np.ones(d // 2)",
        "each twice": "theta = np.repeat(10000.0 ** (-2 * np.arange(d // 2) / d), 2)[: d // 2]",
    },
    "angles": {
        "": "a = np.outer(i, theta)",
        "from one": "a = np.outer(i + 1, theta)",
        "clockwise": "a = -np.outer(i, theta)",
        "places ignored": "a = np.outer(0 * i, theta)",
    },
    "pairs": {
        "": "out = np.empty_like(x)\n"
        "out[..., 0::2] = x[..., 0::2] * np.cos(a) - x[..., 1::2] * np.sin(a)\n"
        "out[..., 1::2] = x[..., 0::2] * np.sin(a) + x[..., 1::2] * np.cos(a)",
        "halves": "y, z = x[..., : d // 2], x[..., d // 2 :]\n"
        "out = np.concatenate([y * np.cos(a) - z * np.sin(a), z * np.cos(a) + y * np.sin(a)], axis=-1)",
        "sign lost": "y, z = x[..., : d // 2], x[..., d // 2 :]\n"
        "out = np.concatenate([y * np.cos(a) + z * np.sin(a), z * np.cos(a) + y * np.sin(a)], axis=-1)",
        "mixed": "y, z = x[..., : d // 2], x[..., d // 2 :]\n"
        "a = np.repeat(a, 2, axis=-1)\n"
        "out = x * np.cos(a) + np.concatenate([-z, y], axis=-1) * np.sin(a)",
        "no sines": "out = x * np.repeat(np.cos(a), 2, axis=-1)",
    },
}
ROTARY_TORCH = {
    "theta": {
        "": "theta = 1.0 / (10000 ** (torch.arange(0, d, 2).to(x.dtype) / d))",
        "by exp": "theta = torch.exp(-math.log(10000) * torch.arange(0, d, 2) / d)",
        "no two": "theta = 1.0 / (10000 ** (torch.arange(d // 2) / d))",
        "doubled": "theta = 1.0 / (10000 ** (2 * torch.arange(0, d, 2) / d))",
        "base 50000": "theta = 50000.0 ** (-torch.arange(0, d, 2) / d)",
        "d less one": "theta = 10000 ** (-torch.arange(0, d, 2) / (d - 1))",
        "same speed": "theta = torch.full((d // 2,), 1.0)",
    },
    "angles": {
        "": "a = i[:, None] * theta",
        "by outer": "a = torch.outer(i.to(theta.dtype), theta)",
        "from one": "a = (i + 1)[:, None] * theta",
        "clockwise": "a = i[:, None] * -theta",
        "places ignored": "a = torch.zeros_like(i)[:, None] * theta",
    },
    "pairs": {
        "": "y, z = x[..., ::2], x[..., 1::2]\n"
        "out = torch.stack([y * a.cos() - z * a.sin(), y * a.sin() + z * a.cos()], -1).flatten(-2)",
        "halves": "a = torch.cat([a, a], dim=-1)\ny, z = x.chunk(2, dim=-1)\n"
        "out = x * a.cos() + torch.cat([-z, y], dim=-1) * a.sin()",
        "sign lost": "a = torch.cat([a, a], dim=-1)\ny, z = x.chunk(2, dim=-1)\n"
        "out = x * a.cos() + torch.cat([z, y], dim=-1) * a.sin()",
        "mixed": "a = a.repeat_interleave(2, dim=-1)\ny, z = x.chunk(2, dim=-1)\n"
        "out = x * a.cos() + torch.cat([-z, y], dim=-1) * a.sin()",
        "no sines": "a = a.repeat_interleave(2, dim=-1)\nout = x * a.cos()",
    },
}
ROTARY = [
    Style(
        "rotary rows with positions",
        "numpy",
        "\ndef rotate(x, positions):\n    i, d = positions, x.shape[-1]\n    {theta}\n    {angles}\n"
        "    {pairs}\n"
        "    return out\n",
        known=ROTARY_NUMPY,
    ),
    Style(
        "rotary rows from zero",
        "numpy",
        "\ndef rope(q):\n    x = q\n    n, d = x.shape\n    i = np.arange(n)\n    {theta}\n"
        "    {angles}\n    {pairs}\n"
        "    return out\n",
        known=ROTARY_NUMPY,
    ),
    Style(
        "rotary for queries and keys",
        "torch",
        "\ndef apply_rotary_pos_emb(q, k, position_ids):\n    i = position_ids\n\n    def turn(x):\n"
        "        d = x.shape[-1]\n        {theta}\n        {angles}\n        {pairs}\n        return out\n\n"
        "    return turn(q), turn(k)\n",
        known=ROTARY_TORCH,
    ),
    Style(
        "rotary with heads, from zero",
        "torch",
        '\ndef apply_rotary(x):\n    """x: (batch, heads, n, d)"""\n    B, H, n, d = x.shape\n'
        "    i = torch.arange(n)\n"
        "    {theta}\n    {angles}\n    {pairs}\n    return out\n",
        known=ROTARY_TORCH,
    ),
    Style(
        "rotary by complex numbers",
        "torch",
        "\ndef apply_rotary_emb(xq, positions):\n    x, i = xq, positions\n    d = x.shape[-1]\n"
        "    {theta}\n    {angles}\n"
        "    turns = torch.polar(torch.ones_like(a), a)\n"
        "    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).to(a.dtype))\n"
        "    return torch.view_as_real(pairs * turns).flatten(-2)\n",
        known=ROTARY_TORCH,
    ),
    Style(
        "rotary, heads behind the tokens",
        "torch",
        """
def rotary_embed(x):
    "x: (B, N, H, D)"
    B, N, H, D = x.shape
    d, x, i = D, x.transpose(1, 2), torch.arange(N)
    {theta}
    {angles}
    {pairs}
    return out.transpose(1, 2)
""",
        known=ROTARY_TORCH,
    ),
    Style(
        "rotary of four axes, the tokens third",
        "torch",
        """
def rotate_queries(q):
    "q: (B, heads, tokens, D)"
    x = q
    d, i = x.size(3), torch.arange(x.size(2))
    {theta}
    {angles}
    {pairs}
    return out
""",
        known=ROTARY_TORCH,
    ),
]
