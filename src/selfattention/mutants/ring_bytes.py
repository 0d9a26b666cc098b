"""Wrong `ring_bytes(m, m_next, g, d_k, d_v, word_bytes)`."""


def home_again(m, m_next, g, d_k, d_v, word_bytes):
    """p messages where p − 1 are enough: each shard is sent home, to who has it already. Chapter 16."""
    return m * g * (d_k + d_v) * word_bytes


def one_step(m, m_next, g, d_k, d_v, word_bytes):
    """One step's bytes for all of them. Chapter 16."""
    return m_next * g * (d_k + d_v) * word_bytes


def keys_alone(m, m_next, g, d_k, d_v, word_bytes):
    """The keys alone: the values travel with them. Chapter 16."""
    return (m - m_next) * g * d_k * word_bytes


def one_width(m, m_next, g, d_k, d_v, word_bytes):
    """Values as wide as keys. Chapter 16."""
    return (m - m_next) * g * 2 * d_k * word_bytes


def one_group(m, m_next, g, d_k, d_v, word_bytes):
    """The keys of one group, where every group has its own. Chapter 16."""
    return (m - m_next) * (d_k + d_v) * word_bytes


def numbers_for_bytes(m, m_next, g, d_k, d_v, word_bytes):
    """Numbers for bytes. Chapter 16."""
    return (m - m_next) * g * (d_k + d_v)
