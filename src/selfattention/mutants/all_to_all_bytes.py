"""Wrong `all_to_all_bytes(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes)`."""


def _there(n_own, h, h_own, g, g_own, d_k, d_v, word_bytes):
    return n_own * ((h - h_own) * d_k + (g - g_own) * (d_k + d_v)) * word_bytes


def _back(n, n_own, h_own, d_v, word_bytes, sum_bytes):
    return (n - n_own) * h_own * (d_v * word_bytes + sum_bytes)


def one_way(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """Q, K and V go there, and nothing comes back. Chapter 16."""
    return _there(n_own, h, h_own, g, g_own, d_k, d_v, word_bytes)


def log_sum_exps_stay(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """The outputs come back without their log-sum-exps. Chapter 16."""
    there = _there(n_own, h, h_own, g, g_own, d_k, d_v, word_bytes)
    return there + _back(n, n_own, h_own, d_v, word_bytes, 0)


def own_pieces_sent(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """A rank sends itself what it keeps. Chapter 16."""
    there = _there(n_own, h, 0, g, 0, d_k, d_v, word_bytes)
    return there + _back(n, 0, h_own, d_v, word_bytes, sum_bytes)


def keys_for_every_head(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """Keys and values are copied for every head of their group, and then sent. Chapter 16."""
    there = _there(n_own, h, h_own, h, h_own, d_k, d_v, word_bytes)
    return there + _back(n, n_own, h_own, d_v, word_bytes, sum_bytes)


def own_outputs_back(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """What comes back are a rank's own tokens: it is those of all others that it sends. Chapter 16."""
    there = _there(n_own, h, h_own, g, g_own, d_k, d_v, word_bytes)
    return there + _back(2 * n_own, n_own, h_own, d_v, word_bytes, sum_bytes)
