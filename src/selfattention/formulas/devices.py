"""When one device is not enough: who holds what, who sends what, and who waits.

p ranks, counted from 0, share one attention. Heads, tokens or both may be divided among them; what is
divided has its bytes, its words of memory and its pairs of query and key on every rank. Bytes are those
that a rank sends; all ranks together receive as many.

What that takes is said by a model with five measures of a machine: the operations and the bytes that a rank
gets done in a second, the seconds before a message moves, the part of a message that computing hides, and
how many devices the ranks have. `selfattention.clusters` has the figures that others have published.
"""

import math

from selfattention.signatures import not_negative, rate, scalars, share, some, whole


@scalars(n=whole(0), p=whole(1), rank=whole(0))
def shard_start(n: int, p: int, rank: int) -> int:
    """Eq. shard-start:  s_r = ⌊r n / p⌋.

    Where the shard of rank r begins, if n tokens are cut into p pieces; it ends where the next one begins,
    and s_p = n. Lengths differ by one at most, and where n < p some are empty.
    Returns a position. Raises ValueError where rank is above p, or an argument is no count.
    """
    if rank > p:
        raise ValueError(f"rank is {rank}; wanted an integer up to p = {p}")
    return rank * n // p


@scalars(words=whole(0), p=whole(1), word_bytes=whole(1))
def all_reduce_bytes(words: int, p: int, word_bytes: int) -> int:
    """Eq. all-reduce-bytes:  2 (p − 1) ⌈N / p⌉ · word_bytes.

    What every rank sends until all hold the sum of p arrays of N = `words` numbers: p − 1 times a piece of
    its own sum, then p − 1 times a finished piece. Head parallelism needs it once for Y, where N =
    n d_model, and once for dX on the way back. Returns bytes, fewer than 2 N · word_bytes however many
    ranks there are, but for the rounding.
    Raises ValueError, naming the argument that is no count.
    Source: Patarasuk & Yuan 2009; for heads, Shoeybi et al. 2019.
    """
    return 2 * (p - 1) * -(-words // p) * word_bytes


@scalars(m=whole(0), m_next=whole(0), g=whole(1), d_k=whole(1), d_v=whole(0), word_bytes=whole(1))
def ring_bytes(m: int, m_next: int, g: int, d_k: int, d_v: int, word_bytes: int) -> int:
    """Eq. ring-bytes:  (m − m_next) g (d_k + d_v) · word_bytes,  (p − 1) m / p keys where shards are equal.

    What a rank sends while all keys and values travel once around the ring: every shard but that of the
    rank behind it, which has that one already. m keys in all, of which that rank holds m_next; g groups of
    heads, and for a batch m and m_next count the keys of all its members. Returns bytes.
    Raises ValueError where m_next is more than m, or an argument is no count.
    Source: Liu et al. 2023.
    """
    _check_part("m_next", m_next, m)
    return (m - m_next) * g * (d_k + d_v) * word_bytes


@scalars(
    m=whole(0),
    m_next=whole(0),
    m_own=whole(0),
    g=whole(1),
    d_k=whole(1),
    d_v=whole(0),
    word_bytes=whole(1),
    sum_bytes=whole(1),
)
def ring_backward_bytes(
    m: int, m_next: int, m_own: int, g: int, d_k: int, d_v: int, word_bytes: int, sum_bytes: int
) -> int:
    """Eq. ring-backward-bytes:  ((m − m_next) · word_bytes + (m − m_own) · sum_bytes) g (d_k + d_v).

    Keys and values go around again, and behind them the sums of their gradients, in numbers of `sum_bytes`,
    up to the rank that owns them: a rank sends on all of these but its own, which end here. Twice the
    forward pass, where shards and numbers are equal. Returns bytes.
    Raises ValueError where m_next or m_own is more than m, or an argument is no count.
    Source: Liu et al. 2023.
    """
    _check_part("m_own", m_own, m)
    gradients = (m - m_own) * g * (d_k + d_v) * sum_bytes
    return ring_bytes(m, m_next, g, d_k, d_v, word_bytes) + gradients


@scalars(
    n=whole(0),
    n_own=whole(0),
    h=whole(1),
    h_own=whole(0),
    g=whole(1),
    g_own=whole(0),
    d_k=whole(1),
    d_v=whole(0),
    word_bytes=whole(1),
    sum_bytes=whole(1),
)
def all_to_all_bytes(
    n: int,
    n_own: int,
    h: int,
    h_own: int,
    g: int,
    g_own: int,
    d_k: int,
    d_v: int,
    word_bytes: int,
    sum_bytes: int,
) -> int:
    """Eq. all-to-all-bytes:  n_r ((h − h_r) d_k + (g − g_r)(d_k + d_v)) B + (n − n_r) h_r (d_v B + B_L).

    A rank that holds n_r of n tokens sends their queries of all heads but its own h_r, their keys and
    values of all groups but its own g_r; and of its heads the outputs and L of all others' tokens. B is
    `word_bytes`, B_L = `sum_bytes` the size of a number of L. On the way back it sends as many: Q, K and V
    change places with O and L, `all_to_all_backward_bytes`. Returns bytes.
    Raises ValueError where a part is more than the whole, or an argument is no count.
    Source: Jacobs et al. 2023.
    """
    for name, part, most in ("n_own", n_own, n), ("h_own", h_own, h), ("g_own", g_own, g):
        _check_part(name, part, most)
    there = n_own * ((h - h_own) * d_k + (g - g_own) * (d_k + d_v)) * word_bytes
    back = (n - n_own) * h_own * (d_v * word_bytes + sum_bytes)
    return there + back


@scalars(
    n=whole(0),
    n_own=whole(0),
    h=whole(1),
    h_own=whole(0),
    g=whole(1),
    g_own=whole(0),
    d_k=whole(1),
    d_v=whole(0),
    word_bytes=whole(1),
    sum_bytes=whole(1),
)
def all_to_all_backward_bytes(
    n: int,
    n_own: int,
    h: int,
    h_own: int,
    g: int,
    g_own: int,
    d_k: int,
    d_v: int,
    word_bytes: int,
    sum_bytes: int,
) -> int:
    """Eq. all-to-all-backward-bytes:  n_r (h − h_r)(d_v B + B_L) + (n − n_r)(h_r d_k + g_r (d_k + d_v)) B.

    dO and dL of a rank's tokens go to the ranks that have the heads, and dQ, dK and dV of its heads to those
    that have the tokens. Letters and errors are those of `all_to_all_bytes`. Returns bytes.
    Source: Jacobs et al. 2023.
    """
    for name, part, most in ("n_own", n_own, n), ("h_own", h_own, h), ("g_own", g_own, g):
        _check_part(name, part, most)
    there = n_own * (h - h_own) * (d_v * word_bytes + sum_bytes)
    back = (n - n_own) * (h_own * d_k + g_own * (d_k + d_v)) * word_bytes
    return there + back


@scalars(n=whole(0), d_model=whole(1), h_own=whole(0), g_own=whole(0), d_k=whole(1), d_v=whole(0))
def head_parallel_words(n: int, d_model: int, h_own: int, g_own: int, d_k: int, d_v: int) -> int:
    """Eq. head-parallel-words:  n (2 d_model + h_r (d_k + d_v + 1) + g_r (d_k + d_v)).

    What a rank with h_r heads and g_r groups holds of n tokens: X and Y as a whole, Q, O and L of its heads,
    K and V of its groups. More ranks do not make X and Y smaller. Returns a count of numbers; a tile of
    scores and the matrices come on top. Raises ValueError, naming the argument that is no count.
    Source: Shoeybi et al. 2019.
    """
    return n * (2 * d_model + h_own * (d_k + d_v + 1) + g_own * (d_k + d_v))


@scalars(n_own=whole(0), m_own=whole(0), piece=whole(0), h=whole(1), g=whole(1), d_k=whole(1), d_v=whole(0))
def ring_words(n_own: int, m_own: int, piece: int, h: int, g: int, d_k: int, d_v: int) -> int:
    """Eq. ring-words:  n_r h (d_k + d_v + 2) + (m_r + 2 c) g (d_k + d_v).

    What a rank holds of its n_r queries, Q, O, c and Z of all heads, and keys and values: its own m_r, the
    c = `piece` that it computes with and sends on, and as many that arrive meanwhile. Where shards travel
    whole, c = m_r, those are three shards; in pieces, hardly more than its own. Returns a count of numbers,
    beside what a tile needs. Raises ValueError, naming the argument that is no count.
    Source: Liu et al. 2023.
    """
    return n_own * h * (d_k + d_v + 2) + (m_own + 2 * piece) * g * (d_k + d_v)


@scalars(
    n=whole(0),
    n_own=whole(0),
    h=whole(1),
    h_own=whole(0),
    g=whole(1),
    g_own=whole(0),
    d_k=whole(1),
    d_v=whole(0),
)
def all_to_all_words(n: int, n_own: int, h: int, h_own: int, g: int, g_own: int, d_k: int, d_v: int) -> int:
    """Eq. all-to-all-words:  (n_r h + n h_r)(d_k + d_v + 1) + (n_r g + n g_r)(d_k + d_v).

    What a rank holds: Q, O and L, K and V of its own tokens, and once more, of all tokens, for the heads and
    groups that it computes. Returns a count of numbers, beside a tile of scores.
    Raises ValueError, naming the argument that is no count.
    Source: Jacobs et al. 2023.
    """
    return (n_own * h + n * h_own) * (d_k + d_v + 1) + (n_own * g + n * g_own) * (d_k + d_v)


@scalars(start=whole(0), stop=whole(0))
def causal_work(start: int, stop: int) -> int:
    """Eq. causal-work:  T(stop) − T(start),  T(x) = x (x + 1) / 2,  pairs.

    How many keys the queries from `start` to before `stop` see, all together, if query i sees the i + 1
    keys up to its own. Returns a count of pairs.
    Raises ValueError where stop comes before start, or an argument is no count.
    """
    if stop < start:
        raise ValueError(f"stop is {stop}; wanted an integer from start = {start} on")
    return (stop * (stop + 1) - start * (start + 1)) // 2


@scalars(n=whole(0), p=whole(1), rank=whole(0))
def contiguous_work(n: int, p: int, rank: int) -> int:
    """Eq. contiguous-work:  T(s_{r+1}) − T(s_r),  of n tokens in p shards.

    The pairs of rank r under a causal mask, if every rank has the tokens from s_r on: the last has
    nearly (2p − 1) / p² of all, where 1 / p would be its share (Claim contiguous-last-rank).
    Returns a count of pairs. Raises ValueError where rank is not below p, or an argument is no count.
    Source: Brandon et al. 2023.
    """
    _check_rank(rank, p)
    return causal_work(shard_start(n, p, rank), shard_start(n, p, rank + 1))


@scalars(n=whole(0), p=whole(1), rank=whole(0))
def zigzag_work(n: int, p: int, rank: int) -> int:
    """Eq. zigzag-work:  T(s_{r+1}) − T(s_r) + T(s_{2p−r}) − T(s_{2p−1−r}),  of n tokens in 2p blocks.

    The pairs of rank r under a causal mask, if it has block r from the front and block r from the back. No
    two ranks differ by more than n pairs, what one query sees at most (Claim zigzag-balanced).
    Returns a count of pairs. Raises ValueError where rank is not below p, or an argument is no count.
    Source: Llama team 2024.
    """
    _check_rank(rank, p)
    return contiguous_work(n, 2 * p, rank) + contiguous_work(n, 2 * p, 2 * p - 1 - rank)


@scalars(n=whole(0), h=whole(1), g=whole(1))
def most_ranks(n: int, h: int, g: int) -> tuple[int, int, int]:
    """Eq. most-ranks:  p ≤ h by heads,  p ≤ n in a ring,  p ≤ min(g, n) by all-to-all.

    How many ranks have something to do: by heads one needs a head, where ranks of one group have copies of
    its matrices; in a ring a token; and by all-to-all a token before, and after it a whole group of heads
    (Claim groups-cap-all-to-all). Returns three counts. Raises ValueError, naming what is no count, or g
    where it does not divide h.
    Source: Jacobs et al. 2023, where g = h; groups, Ainslie et al. 2023.
    """
    if h % g:
        raise ValueError(f"g is {g}; wanted a divisor of h = {h}")
    return h, n, min(g, n)


@scalars(rate=rate, p=whole(1), devices=whole(1))
def shared_rate(rate: float, p: int, devices: int) -> float:
    """Eq. shared-rate:  P / ⌈p / c⌉.

    What the slowest of p ranks gets of c devices, if each rank stays on one, and one alone would do P =
    `rate` in a second: operations, or bytes where a processor moves them. Up to c ranks share nothing; above,
    all wait for those of the device that has the most, so that three ranks on two are no faster than two
    would be with as much work each. Returns a rate in the unit of P.
    Raises ValueError, naming the argument that does not fit.
    """
    return rate / -(-p // devices)


@scalars(messages=whole(0), sent_bytes=not_negative, bytes_per_second=rate, latency=not_negative)
def transfer_seconds(messages: int, sent_bytes: float, bytes_per_second: float, latency: float) -> float:
    """Eq. transfer-seconds:  k α + N / β.

    k messages, one after the other, of N bytes together: each waits α = `latency` seconds before its first
    byte moves, and then β = `bytes_per_second` of them do in a second. Returns seconds.
    Raises ValueError, naming the argument that does not fit.
    Source: Hockney 1994.
    """
    return messages * latency + sent_bytes / bytes_per_second


@scalars(computing=not_negative, sending=not_negative, overlap=share)
def step_seconds(computing: float, sending: float, overlap: float) -> float:
    """Eq. step-seconds:  max(t_c, t_s) + (1 − ω) min(t_c, t_s).

    A step that computes for t_c seconds while a message is on its way for t_s. Of the shorter of the two the
    longer hides the part ω = `overlap`: all of it where ω = 1, and where ω = 0 they come one after the other.
    Returns seconds. Raises ValueError, naming the argument that does not fit.
    """
    return max(computing, sending) + (1 - overlap) * min(computing, sending)


@scalars(
    p=whole(1),
    flops=not_negative,
    sent_bytes=not_negative,
    flops_per_second=rate,
    bytes_per_second=rate,
    latency=not_negative,
    overlap=share,
)
def ring_seconds(
    p: int,
    flops: float,
    sent_bytes: float,
    flops_per_second: float,
    bytes_per_second: float,
    latency: float,
    overlap: float,
) -> float:
    """Eq. ring-seconds:  (p − 1) step(t_c, t_s) + t_c,  t_c = W / (p P),  t_s = α + N / ((p − 1) β).

    A rank with W = `flops` operations to do and N = `sent_bytes` to send on, `ring_bytes`: in each of p steps
    it does a p-th of the work, and in all but the last a (p − 1)-th of the bytes leaves meanwhile, as one
    message; in k pieces a shard waits k times, α is then k latencies. Of unequal ranks the one with the most
    work says how long it takes. Returns seconds.
    Raises ValueError, naming the argument that does not fit.
    Source: Liu et al. 2023, section 3.
    """
    computing = flops / (p * flops_per_second)
    if p == 1:
        return computing
    sending = transfer_seconds(1, sent_bytes / (p - 1), bytes_per_second, latency)
    return (p - 1) * step_seconds(computing, sending, overlap) + computing


@scalars(
    p=whole(1),
    flops=not_negative,
    sent_bytes=not_negative,
    flops_per_second=rate,
    bytes_per_second=rate,
    latency=not_negative,
)
def exposed_seconds(
    p: int,
    flops: float,
    sent_bytes: float,
    flops_per_second: float,
    bytes_per_second: float,
    latency: float,
) -> float:
    """Eq. exposed-seconds:  W / P + 2 (p − 1) α + N / β.

    Where computing waits for messages and messages for computing. So it is by heads, with N =
    `all_reduce_bytes` that go twice around, p − 1 messages each time; and by all-to-all, with N =
    `all_to_all_bytes` in one message to each of p − 1 others before, and one afterwards. Returns seconds.
    Raises ValueError, naming the argument that does not fit.
    Source: Shoeybi et al. 2019 and Jacobs et al. 2023, for what is sent.
    """
    return flops / flops_per_second + transfer_seconds(2 * (p - 1), sent_bytes, bytes_per_second, latency)


@scalars(
    h=whole(1),
    g=whole(1),
    d_k=whole(1),
    d_v=whole(0),
    seen=some,
    word_bytes=whole(1),
    flops_per_second=rate,
    bytes_per_second=rate,
    latency=not_negative,
)
def hiding_tokens(
    h: int,
    g: int,
    d_k: int,
    d_v: int,
    seen: float,
    word_bytes: int,
    flops_per_second: float,
    bytes_per_second: float,
    latency: float,
) -> float:
    """Eq. hiding-tokens:  n / p ≥ (b + √(b² + 4 a α)) / (2 a),  without latency n / p ≥ g B P / (2 s h β).

    How many tokens a rank must have for a ring to hide behind arithmetic: a step's tile takes a (n / p)²
    seconds, a = 2 s h (d_k + d_v) / P, and its message α + b n / p, b = g (d_k + d_v) B / β. Of the pairs
    of a tile the part s = `seen` is computed: all where there is no mask, half in a causal zig-zag. h heads
    share g groups of keys and values. Returns a number of tokens, seldom a whole one; infinity where
    computing takes no time.
    Raises ValueError, naming the argument that does not fit.
    Source: Liu et al. 2023, section 3, where g = h, s = 1 and α = 0.
    """
    per_pair = 2 * seen * h * (d_k + d_v) / flops_per_second
    per_token = g * (d_k + d_v) * word_bytes / bytes_per_second
    if per_pair == 0:
        return math.inf
    return (per_token + math.sqrt(per_token**2 + 4 * per_pair * latency)) / (2 * per_pair)


def _check_rank(rank, p):
    if rank >= p:
        raise ValueError(f"rank is {rank}; wanted an integer below p = {p}")


def _check_part(name, part, most):
    if part > most:
        raise ValueError(f"{name} is {part}; wanted an integer up to {most}")
