"""Wrong `hiding_tokens(h, g, d_k, d_v, seen, word_bytes, flops_per_second, bytes_per_second, latency)`."""


def _root(per_pair, per_token, latency):
    return (per_token + (per_token**2 + 4 * per_pair * latency) ** 0.5) / (2 * per_pair)


def mask_forgotten(h, g, d_k, d_v, seen, word_bytes, flops_per_second, bytes_per_second, latency):
    """Every pair of a tile is computed: under a causal mask half are, and all keys come. Chapter 16."""
    per_pair = 2 * h * (d_k + d_v) / flops_per_second
    return _root(per_pair, g * (d_k + d_v) * word_bytes / bytes_per_second, latency)


def keys_for_every_head(h, g, d_k, d_v, seen, word_bytes, flops_per_second, bytes_per_second, latency):
    """Keys of every head travel, where a group has them in common. Chapter 16."""
    per_pair = 2 * seen * h * (d_k + d_v) / flops_per_second
    return _root(per_pair, h * (d_k + d_v) * word_bytes / bytes_per_second, latency)


def without_latency(h, g, d_k, d_v, seen, word_bytes, flops_per_second, bytes_per_second, latency):
    """g B P / (2 s h β): a message waits for its first byte as well. Chapter 16."""
    return g * word_bytes * flops_per_second / (2 * seen * h * bytes_per_second)


def one_head_computes(h, g, d_k, d_v, seen, word_bytes, flops_per_second, bytes_per_second, latency):
    """The tile of one head: while a group's keys come, all its heads compute. Chapter 16."""
    per_pair = 2 * seen * (d_k + d_v) / flops_per_second
    return _root(per_pair, g * (d_k + d_v) * word_bytes / bytes_per_second, latency)
