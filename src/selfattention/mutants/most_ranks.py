"""Wrong `most_ranks(n, h, g)`."""


def heads_for_groups(n, h, g):
    """As many ranks by all-to-all as there are heads, though heads share their keys. Chapter 16."""
    return h, n, min(h, n)


def short_text_forgotten(n, h, g):
    """By all-to-all a rank needs a group, and tokens it may do without. Chapter 16."""
    return h, n, g


def groups_cap_heads(n, h, g):
    """By heads no more ranks than groups: heads of one group may have copies of its matrices. Chapter 16."""
    return g, n, min(g, n)


def heads_cap_the_ring(n, h, g):
    """In a ring no more ranks than heads: it divides tokens, and every rank has all heads. Chapter 16."""
    return h, min(h, n), min(g, n)


def ways_multiplied(n, h, g):
    """Groups times tokens: all-to-all divides by one, and then by the other. Chapter 16."""
    return h, n, g * n
