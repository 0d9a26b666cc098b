"""Wrong `all_to_all_backward_bytes(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes)`."""


def _there(n_own, h, h_own, d_v, word_bytes, sum_bytes):
    return n_own * (h - h_own) * (d_v * word_bytes + sum_bytes)


def _back(n, n_own, h_own, g_own, d_k, d_v, word_bytes):
    return (n - n_own) * (h_own * d_k + g_own * (d_k + d_v)) * word_bytes


def forward_once_more(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """What the forward pass sends: it is the same in sum, but a rank's share is another. Chapter 16."""
    there = n_own * ((h - h_own) * d_k + (g - g_own) * (d_k + d_v)) * word_bytes
    return there + (n - n_own) * h_own * (d_v * word_bytes + sum_bytes)


def slopes_of_log_sum_exps_stay(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """dO goes to who has the heads, and dL does not. Chapter 16."""
    there = _there(n_own, h, h_own, d_v, word_bytes, 0)
    return there + _back(n, n_own, h_own, g_own, d_k, d_v, word_bytes)


def gradients_for_every_head(n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes):
    """dK and dV come back for every head, where a group has one of each. Chapter 16."""
    there = _there(n_own, h, h_own, d_v, word_bytes, sum_bytes)
    return there + _back(n, n_own, h_own, h_own, d_k, d_v, word_bytes)
