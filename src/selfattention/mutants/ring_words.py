"""Wrong `ring_words(n_own, m_own, piece, h, g, d_k, d_v)`."""


def whole_shards(n_own, m_own, piece, h, g, d_k, d_v):
    """Three whole shards, however short the pieces are in which they travel. Chapter 16."""
    return n_own * h * (d_k + d_v + 2) + 3 * m_own * g * (d_k + d_v)


def room_for_one_piece(n_own, m_own, piece, h, g, d_k, d_v):
    """One piece beside its own keys: another one arrives while that is computed with. Chapter 16."""
    return n_own * h * (d_k + d_v + 2) + (m_own + piece) * g * (d_k + d_v)


def log_sum_exps_for_states(n_own, m_own, piece, h, g, d_k, d_v):
    """One number beside each output, as at the end: until then a state has two, c and Z. Chapter 16."""
    return n_own * h * (d_k + d_v + 1) + (m_own + 2 * piece) * g * (d_k + d_v)
