"""Wrong `all_to_all_words(n, n_own, h, h_own, g, g_own, d_k, d_v)`."""


def own_heads_alone(n, n_own, h, h_own, g, g_own, d_k, d_v):
    """All tokens of its heads, and not its own tokens, which it has had before and has again. Chapter 16."""
    return n * h_own * (d_k + d_v + 1) + n * g_own * (d_k + d_v)


def keys_for_every_head(n, n_own, h, h_own, g, g_own, d_k, d_v):
    """Keys and values for each of its heads, where a group has one of each. Chapter 16."""
    return (n_own * h + n * h_own) * (2 * d_k + 2 * d_v + 1)


def own_tokens_twice(n, n_own, h, h_own, g, g_own, d_k, d_v):
    """Twice its own tokens' arrays: as much only where all ranks have equal shares. Chapter 16."""
    return 2 * n_own * (h * (d_k + d_v + 1) + g * (d_k + d_v))
