"""Wrong `zigzag_work(n, p, rank)`."""


def _triangle(x):
    return x * (x + 1) // 2


def _block(n, count, block, seen=_triangle):
    start, stop = (edge * n // count for edge in (block, block + 1))
    return seen(stop) - seen(start)


def contiguous(n, p, rank):
    """One block for each, from the front to the back: the last rank works longest. Chapter 16."""
    return _block(n, p, rank)


def dealt_like_cards(n, p, rank):
    """Blocks r and p + r, dealt like cards: the last rank has the later one of both rounds. Chapter 16."""
    return _block(n, 2 * p, rank) + _block(n, 2 * p, p + rank)


def striped(n, p, rank):
    """Every p-th token: nearly as even, but these are other tokens. Chapter 16."""
    return sum(i + 1 for i in range(rank, n, p))


def not_oneself(n, p, rank):
    """A query does not see its own key: i keys, where it is i + 1. Chapter 16."""
    seen = [_block(n, 2 * p, block, lambda x: x * (x - 1) // 2) for block in (rank, 2 * p - 1 - rank)]
    return sum(seen)


def mask_forgotten(n, p, rank):
    """Every query of its own sees every key: pairs behind the mask are counted as work. Chapter 16."""
    return n * sum(_block(n, 2 * p, block, lambda x: x) for block in (rank, 2 * p - 1 - rank))


def even_share(n, p, rank):
    """A p-th of all pairs, wherever the blocks end. Chapter 16."""
    return _triangle(n) // p
