"""Wrong `contiguous_work(n, p, rank)`."""


def _triangle(x):
    return x * (x + 1) // 2


def fair_share(n, p, rank):
    """A p-th of all pairs for everybody: who comes later sees more. Chapter 16."""
    return _triangle(n) // p


def mask_forgotten(n, p, rank):
    """Every query of its own sees every key, those behind the mask as well. Chapter 16."""
    return n * ((rank + 1) * n // p - rank * n // p)


def not_oneself(n, p, rank):
    """A query does not see its own key: i keys, where it is i + 1. Chapter 16."""
    start, stop = rank * n // p, (rank + 1) * n // p
    return stop * (stop - 1) // 2 - start * (start - 1) // 2


def own_shard_alone(n, p, rank):
    """A rank's queries see its own keys, and none of those that come around. Chapter 16."""
    return _triangle((rank + 1) * n // p - rank * n // p)


def rounded_up(n, p, rank):
    """Shards of ⌈n / p⌉ tokens, as torch.chunk cuts: the last ranks have few, or nothing. Chapter 16."""
    length = -(-n // p)
    start, stop = (min(edge * length, n) for edge in (rank, rank + 1))
    return _triangle(stop) - _triangle(start)
