"""Wrong `ring_backward_bytes(m, m_next, m_own, g, d_k, d_v, word_bytes, sum_bytes)`."""


def gradients_stay(m, m_next, m_own, g, d_k, d_v, word_bytes, sum_bytes):
    """Keys and values go around again, and nobody sends their gradients home. Chapter 16."""
    return (m - m_next) * g * (d_k + d_v) * word_bytes


def summed_in_the_keys_numbers(m, m_next, m_own, g, d_k, d_v, word_bytes, sum_bytes):
    """Gradients travel in numbers as short as the keys', where their sums are in float32. Chapter 16."""
    return (2 * m - m_next - m_own) * g * (d_k + d_v) * word_bytes


def next_ones_sums_kept(m, m_next, m_own, g, d_k, d_v, word_bytes, sum_bytes):
    """Of the sums those of the next rank's keys stay here, as its keys do: it is one's own. Chapter 16."""
    return (m - m_next) * g * (d_k + d_v) * (word_bytes + sum_bytes)
