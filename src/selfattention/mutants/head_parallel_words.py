"""Wrong `head_parallel_words(n, d_model, h_own, g_own, d_k, d_v)`."""


def tokens_forgotten(n, d_model, h_own, g_own, d_k, d_v):
    """What its heads need, and not X and Y, which every rank has as a whole. Chapter 16."""
    return n * (h_own * (d_k + d_v + 1) + g_own * (d_k + d_v))


def keys_for_every_head(n, d_model, h_own, g_own, d_k, d_v):
    """Keys and values for each of its heads, where a group has one of each. Chapter 16."""
    return n * (2 * d_model + h_own * (2 * d_k + 2 * d_v + 1))


def log_sum_exps_forgotten(n, d_model, h_own, g_own, d_k, d_v):
    """Queries and outputs of its heads without their log-sum-exps. Chapter 16."""
    return n * (2 * d_model + h_own * (d_k + d_v) + g_own * (d_k + d_v))
