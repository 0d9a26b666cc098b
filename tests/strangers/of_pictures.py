"""Weights for the channels of a picture, as strangers write them: squeeze-and-excitation, and CBAM's."""

from strangers.style import Style

CALLED = {
    "maximum": "The maximum alone",
    "total": "Sums for means",
    "one side": "Pooled over one of the two sides",
    "channels pooled": "Pooled over the channels",
    "average twice": "The average twice",
    "maximum twice": "The maximum twice",
    "mean alone": "The mean alone",
    "before the net": "added before the net",
    "sigmoid each": "A sigmoid of each and then the sum",
    "product": "two scores are multiplied",
    "no net": "No net",
    "no relu": "without its relu",
    "sigmoid between": "A sigmoid between the layers",
    "relu twice": "A relu behind both layers",
    "softmax": "A softmax for the sigmoid",
    "softmax of the batch": "A softmax over the batch",
    "no sigmoid": "No sigmoid",
    "tanh": "tanh for the sigmoid",
    "relu for sigmoid": "A relu for the sigmoid",
    "width": "along the width",
    "height": "along the height",
    "put on top": "weights are added to the channels",
    "turned round": "Weighted with 1 − s",
    "weighted twice": "Weighted twice",
    "map added": "a residual inside",
}

NUMPY = {
    "pool": {
        "": "z = x.mean(axis=(2, 3))",
        "by a reshape": "z = x.reshape(*x.shape[:2], -1).mean(-1)",
        "maximum": "z = x.max(axis=(2, 3))",
        "total": "z = x.sum(axis=(2, 3))",
    },
    "hidden": {
        "": "t = np.maximum(z @ w1, 0)",
        "no relu": "t = z @ w1",
        "sigmoid between": "t = 1 / (1 + np.exp(-(z @ w1)))",
    },
    "score": {"": "t = t @ w2", "relu twice": "t = np.maximum(t @ w2, 0)", "no net": "t = z"},
    "squash": {
        "": "s = 1 / (1 + np.exp(-t))",
        "softmax": "e = np.exp(t - t.max(-1, keepdims=True))\ns = e / e.sum(-1, keepdims=True)",
        "softmax of the batch": "e = np.exp(t - t.max(0))\ns = e / e.sum(0)",
        "no sigmoid": "s = t",
        "tanh": "s = np.tanh(t)",
    },
    "weigh": {
        "": "y = x * s[:, :, None, None]",
        "width": "y = x * s[:, None, None, :]",
        "put on top": "y = x + s[:, :, None, None]",
        "turned round": "y = x * (1 - s)[:, :, None, None]",
        "map added": "y = x + x * s[:, :, None, None]",
        "weighted twice": "s = s[:, :, None, None]\ny = s * (s * x)",
    },
}
LAST = {
    "pool": {
        "": "z = x.mean(axis=(0, 1))",
        "maximum": "z = x.max(axis=(0, 1))",
        "one side": "z = x.mean(axis=1).max(axis=0)",
    },
    "hidden": NUMPY["hidden"],
    "score": NUMPY["score"],
    "squash": {name: line for name, line in NUMPY["squash"].items() if "batch" not in name},
    "weigh": {
        "": "y = x * s",
        "put on top": "y = x + s",
        "turned round": "y = (1 - s) * x",
        "map added": "y = x + s * x",
    },
}
TORCH = {
    "pool": {
        "": "z = x.mean(dim=(2, 3))",
        "adaptive": "z = F.adaptive_avg_pool2d(x, 1).flatten(1)",
        "maximum": "z = F.adaptive_max_pool2d(x, 1).flatten(1)",
        "total": "z = x.flatten(2).sum(-1)",
    },
    "hidden": {
        "": "t = F.relu(F.linear(z, w1, b1))",
        "no relu": "t = F.linear(z, w1, b1)",
        "sigmoid between": "t = torch.sigmoid(F.linear(z, w1, b1))",
    },
    "score": {"": "t = F.linear(t, w2, b2)", "relu twice": "t = F.linear(t, w2, b2).relu()"},
    "squash": {
        "": "s = torch.sigmoid(t)",
        "softmax": "s = torch.softmax(t, dim=1)",
        "softmax of the batch": "s = F.softmax(t, dim=0)",
        "no sigmoid": "s = t",
        "relu for sigmoid": "s = torch.relu(t)",
    },
    "weigh": {
        "": "y = x * s.view(*s.shape, 1, 1)",
        "expanded": "y = x * s.unsqueeze(-1).unsqueeze(-1).expand_as(x)",
        "height": "y = x * s[:, None, :, None]",
        "map added": "y = x + x * s[..., None, None]",
    },
}
SQUEEZES = [
    Style(
        "squeeze and excitation in NumPy",
        "numpy",
        "\ndef squeeze_excite(x, w1, w2):\n    {pool}\n    {hidden}\n    {score}\n    {squash}\n"
        "    {weigh}\n    return y\n",
        known=NUMPY,
    ),
    Style(
        "squeeze and excitation, channels last",
        "numpy",
        '\ndef se_block(feature_map, W_down, W_up):\n    "feature_map: (H, W, C)"\n'
        "    x, w1, w2 = feature_map, W_down, W_up\n"
        "    {pool}\n    {hidden}\n    {score}\n    {squash}\n    {weigh}\n    return y\n",
        known=LAST,
    ),
    Style(
        "squeeze and excitation with biases",
        "torch",
        "\ndef se(x, fc1_weight, fc1_bias, fc2_weight, fc2_bias):\n"
        "    w1, b1, w2, b2 = fc1_weight, fc1_bias, fc2_weight, fc2_bias\n"
        "    {pool}\n    {hidden}\n    {score}\n    {squash}\n    {weigh}\n    return y\n",
        known=TORCH,
    ),
    Style(
        "the weights alone",
        "torch",
        "\ndef channel_weights(x, w1, b1, w2, b2):\n    {pool}\n    {hidden}\n    {score}\n    {squash}\n"
        "    return s[:, :, None, None]\n",
        known=TORCH,
    ),
]

CBAM_NUMPY = {
    "pools": {
        "": "a, b = x.mean((-1, -2)), x.max((-1, -2))",
        "average twice": "a, b = x.mean((-1, -2)), x.mean((-1, -2))",
        "maximum twice": "a = b = x.max((-1, -2))",
    },
    "net": {
        "": "net = lambda z: np.maximum(z @ w1, 0) @ w2",
        "no relu": "net = lambda z: z @ w1 @ w2",
        "no net": "net = lambda z: z",
    },
    "sums": {
        "": "t = net(a) + net(b)",
        "before the net": "t = net(a + b)",
        "product": "t = net(a) * net(b)",
        "mean alone": "t = net(a)",
        "maximum": "t = net(b)",
    },
    "squash": {
        "": "s = 1 / (1 + np.exp(-t))",
        "sigmoid each": "s = 1 / (1 + np.exp(-net(a))) + 1 / (1 + np.exp(-net(b)))",
        "softmax": "s = np.exp(t - t.max(-1, keepdims=True))\ns = s / s.sum(-1, keepdims=True)",
        "no sigmoid": "s = t",
    },
    "weigh": {
        "": "y = s[..., None, None] * x",
        "map added": "y = x + s[..., None, None] * x",
        "width": "y = s[..., None, None, :] * x",
    },
}
CBAM_TORCH = {
    "pools": {
        "": "a, b = F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)",
        "amax": "a, b = x.mean(dim=[2, 3]), x.amax(dim=[2, 3])",
        "average twice": "a, b = (F.adaptive_avg_pool2d(x, 1).flatten(1) for _ in range(2))",
        "maximum twice": "a, b = x.amax(dim=[2, 3]), x.amax(dim=[2, 3])",
    },
    "net": {
        "": "net = lambda z: F.linear(F.relu(F.linear(z, w1)), w2)",
        "no relu": "net = lambda z: F.linear(F.linear(z, w1), w2)",
        "relu twice": "net = lambda z: F.relu(F.linear(F.relu(F.linear(z, w1)), w2))",
    },
    "sums": {
        "": "t = net(a) + net(b)",
        "before the net": "t = net(torch.add(a, b))",
        "mean alone": "t = net(a)",
        "maximum": "t = net(b)",
    },
    "squash": {
        "": "s = torch.sigmoid(t)",
        "sigmoid each": "s = torch.sigmoid(net(a)) + torch.sigmoid(net(b))",
        "softmax": "s = torch.softmax(t, dim=-1)",
        "tanh": "s = torch.tanh(t)",
    },
    "weigh": {
        "": "y = x * s[:, :, None, None]",
        "map added": "y = x * s[:, :, None, None] + x",
        "height": "y = x * s[:, None, :, None]",
    },
}
CBAMS = [
    Style(
        "the channels of CBAM in NumPy",
        "numpy",
        "\ndef cbam_channel_attention(F, W_1, W_2):\n    x, w1, w2 = F, W_1, W_2\n    {pools}\n"
        "    {net}\n    {sums}\n"
        "    {squash}\n    {weigh}\n    return y, s\n",
        known=CBAM_NUMPY,
    ),
    Style(
        "the channels of CBAM in PyTorch",
        "torch",
        "\ndef channel_attention(x, fc1, fc2):\n    w1, w2 = fc1, fc2\n    {pools}\n    {net}\n    {sums}\n"
        "    {squash}\n    {weigh}\n    return y\n",
        frozenset({"mean alone"}),  # nothing in its name says that it is no squeeze-and-excitation
        known=CBAM_TORCH,
    ),
    Style(
        "the weights of CBAM alone",
        "numpy",
        "\ndef cbam_weights(feature, w1, w2):\n    x = feature\n    {pools}\n    {net}\n    {sums}\n"
        "    {squash}\n"
        "    return s\n",
        known=CBAM_NUMPY,
    ),
]
