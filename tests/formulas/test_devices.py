"""When one device is not enough: who holds what, who sends what, and who waits."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfattention import masks
from selfattention.formulas import (
    all_reduce_bytes,
    all_to_all_backward_bytes,
    all_to_all_bytes,
    all_to_all_words,
    attention,
    causal_work,
    contiguous_work,
    exposed_seconds,
    finish_state,
    head_parallel_words,
    hiding_tokens,
    masked_attention,
    masked_scores,
    merge_states,
    most_ranks,
    multi_head_attention,
    ring_backward_bytes,
    ring_bytes,
    ring_seconds,
    ring_words,
    scaled_scores,
    shard_start,
    shared_rate,
    split_heads,
    step_seconds,
    tile_state,
    transfer_seconds,
    zigzag_work,
)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 200)
worlds = st.integers(1, 17)


def test_shard_start_by_hand():
    """Seven tokens for three: 2, 2 and 3. Two for three: nobody, one, one."""
    assert [shard_start(7, 3, r) for r in range(4)] == [0, 2, 4, 7]
    assert [shard_start(2, 3, r) for r in range(4)] == [0, 0, 1, 2]
    with pytest.raises(ValueError, match=r"^rank is 4; wanted an integer up to p = 3$"):
        shard_start(7, 3, 4)


@given(sizes, worlds)
def test_shard_start_lengths_differ_by_one(n, p):
    lengths = np.diff([shard_start(n, p, r) for r in range(p + 1)])
    assert lengths.sum() == n
    assert set(lengths) <= {n // p, n // p + 1}


def test_all_reduce_bytes_by_hand():
    """Six numbers, three ranks: pieces of two, of which each sends two and then two more, 8 numbers."""
    assert all_reduce_bytes(6, 3, 4) == 32
    assert all_reduce_bytes(7, 3, 4) == 48  # the last piece is filled up
    assert all_reduce_bytes(6, 1, 4) == 0


def test_all_reduce_bytes_hardly_grow_with_p():
    """Never twice the array: 1, 1.5, 1.75, … of it."""
    assert [all_reduce_bytes(64, p, 1) for p in (2, 4, 8, 16, 32, 64)] == [64, 96, 112, 120, 124, 126]


def pieces_sent(p, rank):
    """The ring, piece by piece: what this rank sends on in its p − 1 steps of sums, and then of sums made."""
    sums = [(rank - step) % p for step in range(p - 1)]
    return sums + [(rank + 1 - step) % p for step in range(p - 1)]


def test_all_reduce_bytes_are_enough():
    """Walked through: every number ends as the sum of all ranks' numbers, on every rank."""
    p = 5
    held = [{piece: {rank} for piece in range(p)} for rank in range(p)]  # whose numbers are in each sum
    for step in range(2 * (p - 1)):
        moved = [pieces_sent(p, rank)[step] for rank in range(p)]
        carried = [held[rank][moved[rank]].copy() for rank in range(p)]
        for rank in range(p):
            held[(rank + 1) % p][moved[rank]] |= carried[rank]
    assert all(whose == set(range(p)) for pieces in held for whose in pieces.values())
    assert len(pieces_sent(p, 0)) * 4 * 3 == all_reduce_bytes(5 * 3, p, 4)


def test_ring_bytes_by_hand():
    """Four ranks of two keys, one group, widths 3 and 5, float32: three times 2 · 8 numbers."""
    assert ring_bytes(8, 2, 1, 3, 5, 4) == 3 * 2 * 8 * 4
    assert ring_bytes(7, 1, 1, 3, 5, 4) == 6 * 8 * 4  # the shard behind is short
    assert ring_bytes(7, 7, 1, 3, 5, 4) == 0  # alone, or all the others are empty
    with pytest.raises(ValueError, match=r"^m_next is 8; wanted an integer up to 7$"):
        ring_bytes(7, 8, 1, 3, 5, 4)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_ring_bytes_shard_by_shard(shards):
    """Rank r sends on what came: in step t the shard of rank r − t."""
    p = len(shards)
    for rank in range(p):
        sent = sum(shards[(rank - step) % p] for step in range(p - 1))
        assert ring_bytes(sum(shards), shards[(rank + 1) % p], 1, 3, 5, 4) == sent * 8 * 4


def test_ring_backward_bytes_by_hand():
    """Twice the forward pass; where gradients of halves are summed in float32, three times."""
    assert ring_backward_bytes(8, 2, 2, 1, 3, 5, 4, 4) == 2 * ring_bytes(8, 2, 1, 3, 5, 4)
    assert ring_backward_bytes(8, 2, 2, 1, 3, 5, 2, 4) == 3 * ring_bytes(8, 2, 1, 3, 5, 2)
    assert ring_backward_bytes(7, 1, 3, 1, 3, 5, 4, 4) == (6 + 4) * 8 * 4


def test_all_to_all_bytes_by_hand():
    """Two ranks, two tokens and two heads each, widths 1: half of what a rank has leaves it."""
    there, back = 2 * (2 * 1 + 2 * 2), 2 * 2 * (1 + 1)  # queries, keys, values; outputs and L
    assert all_to_all_bytes(4, 2, 4, 2, 4, 2, 1, 1, 4, 4) == 4 * (there + back)
    assert all_to_all_bytes(4, 4, 4, 4, 4, 4, 1, 1, 4, 4) == 0
    with pytest.raises(ValueError, match=r"^g_own is 5; wanted an integer up to 4$"):
        all_to_all_bytes(4, 2, 4, 2, 4, 5, 1, 1, 4, 4)
    for own, named in ((5, 2, 2), "n_own"), ((2, 5, 2), "h_own"), ((2, 2, 5), "g_own"):
        with pytest.raises(ValueError, match=rf"^{named} is 5; wanted an integer up to 4$"):
            all_to_all_backward_bytes(4, own[0], 4, own[1], 4, own[2], 1, 1, 4, 4)


def test_all_to_all_bytes_shrink_with_p():
    """Of a ring's rank they do not: that sends nearly all keys, however many ranks there are."""
    n, h, d = 64, 64, 5
    swapped = [all_to_all_bytes(n, n // p, h, h // p, h, h // p, d, d, 4, 4) for p in (2, 4, 8, 16)]
    around = [ring_bytes(n, n // p, h, d, d, 4) for p in (2, 4, 8, 16)]
    assert swapped == sorted(swapped, reverse=True)
    assert around == sorted(around)


def test_all_to_all_backward_bytes_by_hand():
    """dO and dL there, dQ, dK and dV back: with equal shares as many as in the forward pass."""
    equal = 4, 2, 4, 2, 4, 2, 3, 5, 4, 4
    assert all_to_all_backward_bytes(*equal) == all_to_all_bytes(*equal)
    assert all_to_all_backward_bytes(3, 1, 2, 0, 2, 0, 3, 5, 4, 4) == 2 * (5 + 1) * 4  # a rank without heads


def test_head_parallel_words_by_hand():
    """Two tokens, widths 1: X and Y of width 3, one head with Q, O, L and one group with K, V."""
    assert head_parallel_words(2, 3, 1, 1, 1, 1) == 2 * (6 + 3 + 2)
    assert head_parallel_words(2, 3, 0, 0, 1, 1) == 2 * 6  # X and Y stay, whatever p is


def test_ring_words_by_hand():
    """Two queries of one head, and three shards of two keys; or one of those, and two pieces of one key."""
    assert ring_words(2, 2, 2, 1, 1, 1, 1) == 2 * 4 + 3 * 2 * 2
    assert ring_words(2, 2, 1, 1, 1, 1, 1) == 2 * 4 + (2 + 2 * 1) * 2


def test_ring_words_of_unequal_sizes():
    """Five queries of six heads, seven keys of two groups in pieces of three; widths 11 and 13."""
    assert ring_words(5, 7, 3, 6, 2, 11, 13) == 5 * 6 * (11 + 13 + 2) + (7 + 3 + 3) * 2 * (11 + 13)


def test_all_to_all_words_by_hand():
    """Two of four tokens with two heads, then four tokens with one."""
    assert all_to_all_words(4, 2, 2, 1, 2, 1, 1, 1) == (4 + 4) * 3 + (4 + 4) * 2


def test_causal_work_by_hand():
    """Queries 2, 3 and 4 see 3, 4 and 5 keys."""
    assert causal_work(2, 5) == 12
    with pytest.raises(ValueError, match=r"^stop is 1; wanted an integer from start = 2 on$"):
        causal_work(2, 1)
    with pytest.raises(ValueError, match=r"^stop is -1; wanted a non-negative integer$"):
        causal_work(0, -1)


@given(st.integers(0, 30), st.integers(0, 30))
def test_causal_work_counts_the_rules_pairs(start, more):
    rule = masks.causal.tile(range(start, start + more), range(start + more))
    assert causal_work(start, start + more) == rule.sum()


def test_contiguous_work_by_hand():
    """Four tokens for two: 1 + 2 pairs, and 3 + 4."""
    assert [contiguous_work(4, 2, r) for r in range(2)] == [3, 7]
    with pytest.raises(ValueError, match=r"^rank is 2; wanted an integer below p = 2$"):
        contiguous_work(4, 2, 2)


@given(sizes, worlds)
def test_contiguous_work_is_all_of_it(n, p):
    assert sum(contiguous_work(n, p, r) for r in range(p)) == causal_work(0, n)


@pytest.mark.parametrize("p", [2, 3, 4, 8])
def test_contiguous_last_rank(p):
    """Claim: the last contiguous shard has (2p − 1) / p² of the work, up to 1 / n, not its share 1 / p."""
    for n in (p, 4 * p, 1000 * p):
        share = Fraction(contiguous_work(n, p, p - 1), causal_work(0, n))
        assert abs(share - Fraction(2 * p - 1, p**2)) < Fraction(1, n)
        assert share == max(Fraction(contiguous_work(n, p, r), causal_work(0, n)) for r in range(p))
        assert share > Fraction(1, p)


def test_zigzag_work_by_hand():
    """Four tokens for two: the first and the last, 1 + 4 pairs, and those between, 2 + 3."""
    assert [zigzag_work(4, 2, r) for r in range(2)] == [5, 5]
    with pytest.raises(ValueError, match=r"^rank is 2; wanted an integer below p = 2$"):
        zigzag_work(4, 2, 2)


@given(sizes, worlds)
def test_zigzag_work_is_all_of_it(n, p):
    assert sum(zigzag_work(n, p, r) for r in range(p)) == causal_work(0, n)


@given(sizes, worlds)
def test_zigzag_balanced(n, p):
    """Claim: zig-zag shards differ by n pairs at most, what one query may see; by none where 2p divides n."""
    work = [zigzag_work(n, p, r) for r in range(p)]
    assert max(work) - min(work) <= n
    even = [zigzag_work(2 * p * n, p, r) for r in range(p)]
    assert max(even) == min(even)


def test_most_ranks_by_hand():
    assert most_ranks(100, 8, 2) == (8, 100, 2)
    assert most_ranks(1, 8, 2) == (8, 1, 1)
    with pytest.raises(ValueError, match=r"^g is 3; wanted a divisor of h = 8$"):
        most_ranks(100, 8, 3)


@given(st.integers(1, 12), worlds)
def test_groups_cap_all_to_all(g, p):
    """Claim: with more ranks than groups, some rank has no group, whoever divides them, and so no head."""
    with_one = [r for r in range(p) if shard_start(g, p, r) < shard_start(g, p, r + 1)]
    assert len(with_one) == min(p, g)
    _, _, most = most_ranks(1000, 3 * g, g)
    assert (len(with_one) == p) == (p <= most)


def test_heads_sum(rng):
    """Claim: Y is the sum over the heads of H^(i) W_O^(i), rows of W_O that belong to head i."""
    X, W_Q, W_K, W_V, W_O = (rng.normal(size=s) for s in [(5, 13), (13, 6), (13, 6), (13, 22), (22, 13)])
    Q, K, V = (split_heads(X @ W, 2) for W in (W_Q, W_K, W_V))
    H = attention(Q, K, V)
    Y = sum(H[i] @ W_O[11 * i : 11 * (i + 1)] for i in range(2))
    np.testing.assert_allclose(Y, multi_head_attention(X, W_Q, W_K, W_V, W_O, 2), rtol=1e-12)


@given(seeds, worlds)
def test_ring_any_order(seed, p):
    """Claim: wherever in the ring a query stands, merging the shards as they come is attention."""
    rng = np.random.default_rng(seed)
    n, d = 23, 3
    Q, K, V = (rng.normal(size=(n, d)) for _ in range(3))
    visible = np.tri(n, dtype=bool)
    S, whole = masked_scores(scaled_scores(Q, K), visible), masked_attention(Q, K, V, visible)
    cuts = [slice(shard_start(n, p, r), shard_start(n, p, r + 1)) for r in range(p)]
    for rank in range(p):
        state = tile_state(S[:, :0], V[:0])
        for step in range(p):
            keys = cuts[(rank - step) % p]
            state = merge_states(*state, *tile_state(S[:, keys], V[keys]))
        np.testing.assert_allclose(finish_state(*state)[0], whole, rtol=1e-11, atol=1e-13)


def test_all_to_all_words_of_unequal_sizes():
    """Two of seven tokens with six heads in three groups, then seven with two in one; widths 5 and 3."""
    before, after = 2 * 6 * (5 + 3 + 1) + 2 * 3 * (5 + 3), 7 * 2 * (5 + 3 + 1) + 7 * 1 * (5 + 3)
    assert all_to_all_words(7, 2, 6, 2, 3, 1, 5, 3) == before + after


def test_shared_rate_by_hand():
    """Two devices that do 6 a second: 6 for each of two ranks; of three or four some have half a device."""
    assert [shared_rate(6.0, p, 2) for p in (1, 2, 3, 4, 5)] == [6, 6, 3, 3, 2]


def test_transfer_seconds_by_hand():
    """Three messages of 40 bytes together, half a second each before it moves, 10 bytes a second."""
    assert transfer_seconds(3, 40, 10, 0.5) == 1.5 + 4
    assert transfer_seconds(0, 0, 10, 0.5) == 0


def test_step_seconds_by_hand():
    """Three seconds of computing and two of sending: 5 after one another, 3 side by side, 4 half and half."""
    assert [step_seconds(3, 2, overlap) for overlap in (0, 0.5, 1)] == [5, 4, 3]
    assert [step_seconds(2, 3, overlap) for overlap in (0, 0.5, 1)] == [5, 4, 3]
    with pytest.raises(ValueError, match=r"^overlap is 1.5; wanted a number from 0 to 1$"):
        step_seconds(3, 2, 1.5)


def test_ring_seconds_by_hand():
    """Three tiles of 2 seconds; two messages of 20 bytes, 2.5 seconds each, that begin with the first two."""
    rank = {"flops": 600, "sent_bytes": 40, "flops_per_second": 100, "bytes_per_second": 10, "latency": 0.5}
    assert ring_seconds(3, **rank, overlap=1) == 2.5 + 2.5 + 2
    assert ring_seconds(3, **rank, overlap=0) == 3 * 2 + 2 * 2.5
    assert ring_seconds(3, **rank, overlap=0.5) == 10 - 1  # each of two steps hides one of two seconds
    assert ring_seconds(1, **rank, overlap=1) == 6  # nobody to send to, whatever it would send
    assert ring_seconds(3, 900, 40, 100, 10, 0.5, 1) == 9  # hidden behind tiles of 3 seconds


def test_exposed_seconds_by_hand():
    """Six seconds of computing, four messages that wait half a second each, 40 bytes in 4 seconds."""
    assert exposed_seconds(3, 600, 40, 100, 10, 0.5) == 6 + 2 + 4
    assert exposed_seconds(1, 600, 0, 100, 10, 0.5) == 6


def test_ring_seconds_without_overlap_are_exposed():
    """What a ring cannot hide it pays like the others, but for p − 1 messages where they have 2 (p − 1)."""
    ring = ring_seconds(5, 600, 40, 100, 10, 0.5, 0)
    assert ring == pytest.approx(exposed_seconds(5, 600, 40, 100, 10, 0.5) - 4 * 0.5)


def test_hiding_tokens_by_hand():
    """One head, widths 1, half a word a second sent, 4 operations done: a tile of x takes x² s, its keys 4 x.

    And with a latency of 5 seconds x² = 5 + 4 x, so 5 tokens.
    """
    machine = {"word_bytes": 2, "flops_per_second": 4, "bytes_per_second": 1}
    assert hiding_tokens(1, 1, 1, 1, 1, **machine, latency=0) == 4
    assert hiding_tokens(1, 1, 1, 1, 1, **machine, latency=5) == 5
    assert hiding_tokens(8, 1, 1, 1, 1, **machine, latency=0) == 0.5  # eight heads share the keys
    assert hiding_tokens(1, 1, 1, 1, 0.5, **machine, latency=0) == 8  # half the pairs, twice the tokens
    assert hiding_tokens(1, 1, 1, 1, 1, 2, np.inf, 1, 0) == np.inf  # behind nothing, nothing hides
    with pytest.raises(ValueError, match=r"^seen is 0; wanted a number above 0, up to 1$"):
        hiding_tokens(1, 1, 1, 1, 0, **machine, latency=0)


@given(st.integers(1, 64), st.integers(1, 8), st.floats(0.1, 1), st.floats(1e9, 1e15), st.floats(1e6, 1e12))
def test_hiding_tokens_hide(h, g, seen, rate, speed):
    """With so many tokens a rank the tile takes as long as its message; with more, longer."""
    d_k, d_v, latency = 5, 3, 1e-5
    x = hiding_tokens(h, g, d_k, d_v, seen, 2, rate, speed, latency)
    for tokens, longer in (x, False), (2 * x, True):
        tile = 2 * seen * h * tokens**2 * (d_k + d_v) / rate
        message = transfer_seconds(1, tokens * g * (d_k + d_v) * 2, speed, latency)
        assert tile > message if longer else tile == pytest.approx(message)
