"""A step beside a cache, merges of two halves, and the way back, as strangers write them."""

from strangers.style import Style

CALLED = {
    "positions from zero": "counts its positions from zero again",
    "steps at zero": "beside a cache stands at position zero",
    "place too far": "one too large",
    "cached turned again": "turned again at every step",
    "keys not turned": "Keys go into the cache as they are",
    "queries not turned": "the query that asks them is not",
    "values turned": "Values are turned",
    "no mask": "the first sees the last",
    "top left": "lies top left",
    "itself hidden": "and not itself",
    "cache unread": "grows and is not read",
    "cache kept": "handed on as it came",
    "in front": "put before the old ones",
    "new alone": "without the old ones",
    "dealt out": "head i reads group i mod g",
    "averaged": "averaged as equals",
    "outputs added": "The outputs are added",
    "other's weight": "has the weight of the other",
    "logarithms weigh": "the logarithm of what should weigh",
    "powers of two": "2 to the power of L",
    "whole": "exponentials of L are taken whole",
    "not divided": "not divided by the new sum",
    "logarithms added": "two log-sum-exps are added",
    "larger": "The larger log-sum-exp",
    "sigmoid": "where the first half is empty",
    "weights by L": "O is not a number where both",
    "shifted": "−∞ − \\(−∞\\) is NaN",
    "no delta": "δ term left out",
    "delta added": "δ is added",
    "delta of columns": "δ is summed over the queries",
    "sigmoid's": "sigmoid's derivative",
    "softmax skipped": "softmax skipped",
    "jacobian summed": "Jacobian is summed",
    "matrix product": "as a product of matrices",
    "back unscaled": "1/√d_k left out",
    "back by d_k": "1/d_k on the way back",
    "dV not transposed": "dV = A dO",
    "dK not transposed": "dK = dS Q",
    "by the batch": "divided by the batch",
    "dQ for dK": "dQ and dK returned in the wrong order",
    "dV first": "in another order",
}

# A step: q, k, v the new ones, pk and pv the cache.
STEP_NUMPY = {
    "append": {
        "": "K, V = np.concatenate([pk, k], axis=-2), np.concatenate([pv, v], axis=-2)",
        "in front": "K, V = np.concatenate([k, pk], axis=-2), np.concatenate([v, pv], axis=-2)",
    },
    "scale": {"": "S = S / np.sqrt(q.shape[-1])", "no scale": ""},
    "mask": {
        "": "S = np.where(np.tril(np.ones((n, m)), m - n) > 0, S, -np.inf)",
        "large": "S = S + np.triu(np.full((n, m), -1e9), k=m - n + 1)",
        "no mask": "",
        "top left": "S = np.where(np.tril(np.ones((n, m))) > 0, S, -np.inf)",
        "itself hidden": "S = np.where(np.tril(np.ones((n, m)), m - n - 1) > 0, S, -1e9)",
    },
    "kept": {"": "", "cache kept": "K, V = pk, pv", "new alone": "K, V = k, v"},
}
STEP_TORCH = {
    "append": {
        "": "K, V = torch.cat([pk, k], dim=-2), torch.cat([pv, v], dim=-2)",
        "in front": "K, V = torch.cat((k, pk), dim=-2), torch.cat((v, pv), dim=-2)",
    },
    "turn": {
        "": "at = torch.arange(past, past + n)",
        "positions from zero": "at = torch.arange(n)",
        "steps at zero": "at = torch.arange(n) * (past == 0)",
        "place too far": "at = torch.arange(n) + past + (1 if past else 0)",
    },
    "turned": {
        "": "q, k = rope(q, at), rope(k, at)",
        "keys not turned": "q = rope(q, at)",
        "queries not turned": "k = rope(k, at)",
        "values turned": "q, k, v = rope(q, at), rope(k, at), rope(v, at)",
        "cached turned again": "q, k, pk = rope(q, at), rope(k, at), rope(pk, torch.arange(past))",
    },
    "scale": {"": "S = S * q.shape[-1] ** -0.5", "no scale": ""},
    "mask": {
        "": "S = S.masked_fill(torch.triu(torch.ones(n, m), m - n + 1).bool(), float('-inf'))",
        "by places": "S = S.masked_fill(torch.arange(m)[None] > torch.arange(m - n, m)[:, None], -1e9)",
        "no mask": "",
        "top left": "S = S.masked_fill(torch.triu(torch.ones(n, m), 1).bool(), float('-inf'))",
    },
    "groups": {
        "": "K_, V_ = (x.repeat_interleave(q.size(1) // k.size(1), dim=1) for x in (K, V))",
        "dealt out": "K_, V_ = (x.repeat(1, q.size(1) // k.size(1), 1, 1) for x in (K, V))",
    },
    "read": {"": "R, W = K, V", "cache unread": "R, W = k, v"},
    "kept": {"": "", "cache kept": "K, V = pk, pv", "new alone": "K, V = k, v"},
}
A_SOFTMAX = "E = np.exp(S - S.max(axis=-1, keepdims=True))\n    A = E / E.sum(axis=-1, keepdims=True)\n"
_ROPE = """
def rope(x, at):
    y, z = x[..., {first}], x[..., {second}]
    d = x.shape[-1]
    a = at[:, None] * 10000.0 ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
    out = y * a.cos() - z * a.sin(), y * a.sin() + z * a.cos()
    return {together}


"""
NEIGHBOURS = (
    _ROPE.replace("{first}", "0::2")
    .replace("{second}", "1::2")
    .replace("{together}", "torch.stack(out, dim=-1).flatten(-2)")
)
HALVES = (
    _ROPE.replace("{first}", ": x.shape[-1] // 2")
    .replace("{second}", "x.shape[-1] // 2 :")
    .replace("{together}", "torch.cat(out, dim=-1)")
)
STEPS = [
    Style(
        "a step in NumPy",
        "numpy",
        "\ndef step(q, k, v, past_k, past_v):\n    pk, pv = past_k, past_v\n    {append}\n"
        "    n, m = q.shape[-2], K.shape[-2]\n    S = q @ K.swapaxes(-1, -2)\n    {scale}\n    {mask}\n"
        f"    {A_SOFTMAX}    O = A @ V\n    {{kept}}\n    return O, K, V\n",
        known=STEP_NUMPY,
    ),
    Style(
        "a step that keeps its cache to itself",
        "numpy",
        "\ndef decode(q, k, v, k_cache, v_cache):\n    pk, pv = k_cache, v_cache\n    {append}\n"
        "    n, m = q.shape[-2], K.shape[-2]\n    S = np.einsum('...nd,...md->...nm', q, K)\n"
        "    {scale}\n    {mask}\n"
        f"    {A_SOFTMAX}    return A @ V\n",
        known=STEP_NUMPY,
    ),
    Style(
        "a step with a pair for a cache",
        "torch",
        "\ndef attention_with_cache(q, k, v, kv_cache):\n    pk, pv = kv_cache\n    {append}\n    {read}\n"
        "    n, m = q.size(-2), R.size(-2)\n    S = q @ R.transpose(-2, -1)\n    {scale}\n    {mask}\n"
        "    O = torch.softmax(S, dim=-1) @ W\n    {kept}\n    return O, (K, V)\n",
        known=STEP_TORCH,
    ),
    Style(
        "a step with groups of heads",
        "torch",
        '\ndef cached_attention(query, key, value, past_key, past_value):\n    "(B, heads, n, d)"\n'
        "    q, k, v, pk, pv = query, key, value, past_key, past_value\n    {append}\n    {groups}\n"
        "    n, m = q.size(2), K.size(2)\n    S = q @ K_.transpose(2, 3)\n    {scale}\n    {mask}\n"
        "    O = torch.softmax(S, dim=-1) @ V_\n    {kept}\n    return O, K, V\n",
        known=STEP_TORCH,
    ),
    *(
        Style(
            name,
            "torch",
            rope + "def decode_step(q, k, v, past_k, past_v):\n"
            "    pk, pv, past, n = past_k, past_v, past_k.shape[-2], "
            "q.shape[-2]\n    {turn}\n    {turned}\n    {append}\n    m = K.shape[-2]\n"
            "    S = q @ K.mT\n    {scale}\n"
            "    {mask}\n    O = S.softmax(-1) @ V\n    {kept}\n    return O, K, V\n",
            known=STEP_TORCH,
            called="decode_step",
        )
        for name, rope in (
            ("a rotary step", NEIGHBOURS),
            ("a rotary step in halves", HALVES),
        )
    ),
]

# Merges of o1, l1 (…, n) and o2, l2.
MERGE_NUMPY = {
    "outputs": {
        "": "w = 1 / (1 + np.exp(l2 - l1))\nw = np.where(np.isinf(l1) & np.isinf(l2), 0, w)[..., None]\n"
        "u = 1 / (1 + np.exp(l1 - l2))\nu = np.where(np.isinf(l1) & np.isinf(l2), 0, u)[..., None]\n"
        "o = w * o1 + u * o2",
        "by a finite maximum": "c = np.maximum(l1, l2)\nc = np.where(np.isinf(c), 0, c)\n"
        "a, b = np.exp(l1 - c)[..., None], np.exp(l2 - c)[..., None]\n"
        "o = (a * o1 + b * o2) / np.maximum(a + b, 1e-300)",
        "averaged": "o = (o1 + o2) / 2",
        "outputs added": "o = o1 + o2",
        "other's weight": "w = 1 / (1 + np.exp(l1 - l2))[..., None]\no = w * o1 + (1 - w) * o2",
        "logarithms weigh": "o = (l1[..., None] * o1 + l2[..., None] * o2) / (l1 + l2)[..., None]",
        "not divided": "c = np.maximum(l1, l2)\nc = np.where(np.isinf(c), 0, c)\n"
        "o = np.exp(l1 - c)[..., None] * o1 + np.exp(l2 - c)[..., None] * o2",
        "weights by L": "L = np.logaddexp(l1, l2)\n"
        "o = np.exp(l1 - L)[..., None] * o1 + np.exp(l2 - L)[..., None] * o2",
    },
    "sums": {
        "": "l = np.logaddexp(l1, l2)",
        "logarithms added": "l = l1 + l2",
        "larger": "l = np.maximum(l1, l2)",
        "sigmoid": "l = l1 - np.log(1 / (1 + np.exp(l2 - l1)))",
    },
}
MERGE_TORCH = {
    "outputs": {
        "": "w = torch.sigmoid(l1 - l2).nan_to_num()[..., None]\n"
        "u = torch.sigmoid(l2 - l1).nan_to_num()[..., None]\n"
        "o = w * o1 + u * o2",
        "averaged": "o = 0.5 * o1 + 0.5 * o2",
        "outputs added": "o = o1.add(o2)",
        "other's weight": "w = torch.sigmoid(l2 - l1).unsqueeze(-1)\no = w * o1 + (1 - w) * o2",
        "weights by L": "w = torch.exp(l1 - torch.logaddexp(l1, l2))[..., None]\n"
        "u = torch.exp(l2 - torch.logaddexp(l1, l2))[..., None]\no = o1 * w + o2 * u",
    },
    "sums": {
        "": "l = torch.logaddexp(l1, l2)",
        "logarithms added": "l = torch.add(l1, l2)",
        "larger": "l = torch.maximum(l1, l2)",
        "sigmoid": "l = l1 - F.logsigmoid(l1 - l2)",
    },
}
WHOLE = {
    "both": {
        "": "c = np.maximum(l1, l2)\nf = np.where(c == -np.inf, 0, c)\n"
        "a, b = np.exp(l1 - f), np.exp(l2 - f)\n"
        "Z = np.where(a + b == 0, 1, a + b)\no = (a / Z) * o1 + (b / Z) * o2\nl = c + np.log(Z)",
        "shifted": "c = np.maximum(l1, l2)\na, b = np.exp(l1 - c), np.exp(l2 - c)\n"
        "o = (a * o1 + b * o2) / (a + b)\nl = c + np.log(a + b)",
        "whole": "a, b = np.exp(l1), np.exp(l2)\no = (a * o1 + b * o2) / (a + b)\nl = np.log(a + b)",
        "powers of two": "a, b = 1 / (1 + 2 ** (l2 - l1)), 1 / (1 + 2 ** (l1 - l2))\n"
        "o = a * o1 + b * o2\nl = np.logaddexp2(l1, l2)",
    }
}
MERGES = [
    Style(
        "a merge in NumPy",
        "numpy",
        "\ndef merge_outputs(O_1, L_1, O_2, L_2):\n    o1, l1, o2, l2 = O_1, L_1, O_2, L_2\n"
        "    {outputs}\n    {sums}\n"
        "    return o, l\n",
        known=MERGE_NUMPY,
    ),
    Style(
        "a merge, outputs before sums",
        "numpy",
        "\ndef combine(out_a, out_b, lse_a, lse_b):\n"
        "    o1, o2, l1, l2 = out_a, out_b, lse_a, lse_b\n    {sums}\n"
        "    {outputs}\n    return o, l\n",
        known=MERGE_NUMPY,
    ),
    Style(
        "a merge in PyTorch",
        "torch",
        "\ndef merge_attn_states(out_prev, lse_prev, out_cur, lse_cur):\n"
        "    o1, l1, o2, l2 = out_prev, lse_prev, out_cur, lse_cur\n    {outputs}\n    {sums}\n"
        "    return o, l\n",
        known=MERGE_TORCH,
    ),
    Style(
        "a merge with sums in columns",
        "numpy",
        '\ndef merge(o1, lse1, o2, lse2):\n    "lse: (n, 1)"\n    l1, l2 = lse1, lse2\n    {both}\n'
        "    return o, l\n",
        known=WHOLE,
    ),
    Style(
        "a merge that gives a dictionary",
        "numpy",
        "\ndef merge_partials(o_a, l_a, o_b, l_b):\n"
        "    o1, l1, o2, l2 = o_a, l_a[..., None], o_b, l_b[..., None]\n"
        "    {both}\n    return dict(out=o, lse=l[..., 0])\n",
        known=WHOLE,
    ),
]
