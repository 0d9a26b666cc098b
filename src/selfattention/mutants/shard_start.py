"""Wrong `shard_start(n, p, rank)`."""


def rest_dropped(n, p, rank):
    """⌊n / p⌋ tokens for everybody: the rest is nobody's. Chapter 16."""
    return rank * (n // p)


def rest_to_the_last(n, p, rank):
    """The last rank takes the rest, up to p − 1 tokens more than all others have. Chapter 16."""
    return n if rank == p else rank * (n // p)


def rounded_up(n, p, rank):
    """⌈n / p⌉ tokens for everybody, as `torch.chunk` cuts: the last ranks may get none. Chapter 16."""
    return min(n, rank * -(-n // p))


def ranks_from_one(n, p, rank):
    """Ranks counted from 1, where the library counts from 0. Chapter 16."""
    return max(rank - 1, 0) * n // p
