"""Chapter 13: states and their merge, the backward pass from L, words moved, memory, errors."""

import tracemalloc
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfattention.formulas import (
    attention,
    attention_backward,
    direct_traffic,
    finish_state,
    log_sum_exp,
    merge_states,
    rows_that_fit,
    scaled_scores,
    softmax,
    tile_backward,
    tile_state,
    tiled_traffic,
    weighted_sum,
)
from selfattention.implementations import numpy_direct, numpy_tiled

# The chapter's example: scores ln 1, ln 2, ln 5 and values 8, 4, 0, arriving two and one.
S = np.log([[1.0, 2.0, 5.0]])
V = np.array([[8.0], [4.0], [0.0]])
EMPTY = tile_state(np.zeros((1, 0)), np.zeros((0, 1)))

seeds = st.integers(0, 2**32 - 1)


def states_of(S, V, cuts):
    """One state for each part of the keys, cut at these places."""
    edges = [0, *sorted(cuts), S.shape[-1]]
    return [tile_state(S[:, a:b], V[a:b]) for a, b in pairwise(edges)]


def merged(a, b):
    return merge_states(*a, *b)


def assert_same_state(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


def masked_scores(rng, n, m, scale=3):
    """Scores with −inf here and there, and a first row that sees nothing."""
    S = np.where(rng.random((n, m)) < 0.7, rng.normal(scale=scale, size=(n, m)), -np.inf)
    S[0] = -np.inf
    return S


def test_tile_state_by_hand():
    """ln 1 and ln 2 with 8 and 4: c = ln 2, Z = 1/2 + 1, Õ = 8/2 + 4."""
    assert_same_state(tile_state(S[:, :2], V[:2]), ([np.log(2)], [1.5], [[8]]))
    assert_same_state(tile_state(S[:, 2:], V[2:]), ([np.log(5)], [1], [[0]]))


def test_tile_state_of_no_key_is_empty():
    for S, V in (np.zeros((2, 0)), np.zeros((0, 3))), (np.full((2, 5), -np.inf), np.ones((5, 3))):
        c, Z, O = tile_state(S, V)
        assert (c == -np.inf).all()
        assert (Z == 0).all()
        assert (O == 0).all()


def test_tile_state_does_not_overflow():
    c, Z, _ = tile_state(np.array([[1000.0, 999.0]]), np.ones((2, 1)))
    np.testing.assert_allclose([c[0], Z[0]], [1000, 1 + np.exp(-1)])


def test_merge_states_by_hand():
    """c = ln 5, Z = 2/5 · 3/2 + 1 = 8/5, Õ = 2/5 · 8 + 0 = 16/5; and the output is 2, as it should be."""
    state = merged(tile_state(S[:, :2], V[:2]), tile_state(S[:, 2:], V[2:]))
    assert_same_state(state, ([np.log(5)], [8 / 5], [[16 / 5]]))
    assert_same_state(finish_state(*state), ([[2]], [np.log(8)]))


@given(seeds)
def test_merge_states_associative(seed):
    """Claim: merging is associative and commutative, and the empty state changes nothing."""
    rng = np.random.default_rng(seed)
    S, V = masked_scores(rng, 5, 11), rng.normal(size=(11, 3))
    a, b, c = states_of(S, V, rng.integers(0, 12, size=2))
    assert_same_state(merged(merged(a, b), c), merged(a, merged(b, c)))
    assert_same_state(merged(a, b), merged(b, a))
    empty = tile_state(S[:, :0], V[:0])
    for x, y in zip(merged(a, empty), a, strict=True):
        np.testing.assert_array_equal(x, y)


def any_tree(states, rng):
    """Merge two states at random until one is left."""
    states = list(states)
    while len(states) > 1:
        a, b = rng.choice(len(states), size=2, replace=False)
        joined = merged(states[a], states[b])
        states = [state for i, state in enumerate(states) if i not in (a, b)] + [joined]
    return states[0]


@given(seeds, st.integers(0, 9))
def test_merge_states_any_order(seed, cuts):
    """Claim: however a row is cut and its parts merged, the end is softmax(S) V and the log-sum-exp."""
    rng = np.random.default_rng(seed)
    S, V = masked_scores(rng, 5, 23, scale=50), rng.normal(size=(23, 3))
    O, L = finish_state(*any_tree(states_of(S, V, rng.integers(0, 24, size=cuts)), rng))
    np.testing.assert_allclose(O, weighted_sum(softmax(S), V), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(L, log_sum_exp(S), rtol=1e-12)


@pytest.mark.parametrize("c", [np.zeros(5), np.linspace(-20, 20, 5)], ids=["zero", "any"])
def test_merge_states_equal_shifts(rng, c):
    """Claim: states with the same c merge by adding, and any c that does not overflow will do."""
    S, V = rng.normal(size=(5, 7)), rng.normal(size=(7, 3))
    E = np.exp(S - c[:, None])
    a = c, E[:, :4].sum(1), E[:, :4] @ V[:4]
    b = c, E[:, 4:].sum(1), E[:, 4:] @ V[4:]
    for x, y in zip(merged(a, b), (c, a[1] + b[1], a[2] + b[2]), strict=True):
        np.testing.assert_array_equal(x, y)
    assert_same_state(finish_state(*merged(a, b)), finish_state(*tile_state(S, V)))


@given(seeds, st.floats(-50, 50))
def test_merge_states_sink(seed, s):
    """Claim: merged with (s, 1, 0), O and L end as O / (1 + e^{s − L}) and ln(e^L + e^s)."""
    rng = np.random.default_rng(seed)
    S, V = masked_scores(rng, 5, 7), rng.normal(size=(7, 3))
    state = tile_state(S, V)
    O, L = finish_state(*state)
    sink = np.full(5, s), np.ones(5), np.zeros((5, 3))
    O_s, L_s = finish_state(*merge_states(*state, *sink))
    kept = 1 / (1 + np.exp(s - L))  # 0 for the row that sees nothing: s − L is +inf
    np.testing.assert_allclose(O_s, kept[:, None] * O, atol=1e-13)
    np.testing.assert_allclose(L_s, np.logaddexp(L, s))
    with_sink = softmax(np.concatenate([S, np.full((5, 1), s)], axis=1))
    np.testing.assert_allclose(O_s, with_sink[:, :-1] @ V, atol=1e-13)
    np.testing.assert_allclose(with_sink[:, :-1].sum(1), kept, atol=1e-13)


def test_finish_state_by_hand():
    O, L = finish_state(np.log([5.0]), np.array([8 / 5]), np.array([[16 / 5]]))
    np.testing.assert_allclose([O[0, 0], L[0]], [2, np.log(8)])


@pytest.mark.parametrize("Z", [1.0, 0.5])
def test_finish_state_of_a_small_sum(Z):
    """One key seen is Z = 1; relative to another c than the largest score, less. O = 3 / Z, L = 7 + ln Z."""
    O, L = finish_state(np.array([7.0]), np.array([Z]), np.array([[3.0]]))
    np.testing.assert_allclose([O[0, 0], L[0]], [3 / Z, 7 + np.log(Z)])


def test_finish_state_of_nothing():
    O, L = finish_state(*EMPTY)
    assert (O == 0).all()
    assert (L == -np.inf).all()


def test_tile_backward_by_hand():
    """Weights 1/8, 2/8 of the first two keys, from L = ln 8; dO = 8, so that dA = 64, 32; δ = 16."""
    dS, dV = tile_backward(S[:, :2], V[:2], np.array([[8.0]]), np.log([8.0]), np.array([16.0]))
    np.testing.assert_allclose(dS, [[(64 - 16) / 8, (32 - 16) * 2 / 8]])
    np.testing.assert_allclose(dV, [[1], [2]])


def test_tile_backward_sum(rng):
    """Claim: summed over the tiles of any cut, the tiles' gradients are those of the whole formula."""
    Q, K, V, dO = (rng.normal(size=shape) for shape in [(5, 3), (7, 3), (7, 11), (5, 11)])
    S = scaled_scores(Q, K)
    L, delta = log_sum_exp(S), (dO * attention(Q, K, V)).sum(1)
    dQ, dK, dV = np.zeros_like(Q), np.zeros_like(K), np.zeros_like(V)
    for i in slice(0, 2), slice(2, 5):
        for j in slice(0, 3), slice(3, 7):
            dS, dv = tile_backward(S[i, j], V[j], dO[i], L[i], delta[i])
            dQ[i] += dS @ K[j] / 3**0.5
            dK[j] += dS.T @ Q[i] / 3**0.5
            dV[j] += dv
    for ours, whole in zip((dQ, dK, dV), attention_backward(dO, Q, K, V), strict=True):
        np.testing.assert_allclose(ours, whole, atol=1e-13)


def test_tile_backward_agrees_with_autograd(rng):
    """With a row that sees nothing, L = −inf, and scores of −inf: zeros there, no NaN."""
    S, V, dO = masked_scores(rng, 5, 7), rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    O = weighted_sum(softmax(S), V)
    dS, dV = tile_backward(S, V, dO, log_sum_exp(S), (dO * O).sum(1))
    leaves = torch.tensor(S[1:], requires_grad=True), torch.tensor(V, requires_grad=True)
    output = torch.softmax(leaves[0], -1) @ leaves[1]
    expected = torch.autograd.grad(output, leaves, torch.tensor(dO[1:]))
    np.testing.assert_allclose(dS[1:], expected[0], atol=1e-13)
    np.testing.assert_allclose(dV, expected[1], atol=1e-13)
    assert (dS[0] == 0).all()


class Counted:
    """An array in slow memory: whatever is read or written is counted."""

    words = 0

    def __init__(self, array):
        self.array = array

    def __getitem__(self, where):
        part = self.array[where]
        Counted.words += part.size
        return part

    def __setitem__(self, where, part):
        self.array[where] = part
        Counted.words += self.array[where].size


def counted(program, *arrays):
    Counted.words = 0
    program(*map(Counted, arrays))
    return Counted.words


def direct(Q, K, V, S, A, O):
    S[:] = scaled_scores(Q[:], K[:])
    A[:] = softmax(S[:])
    O[:] = weighted_sum(A[:], V[:])


def tiled(n, m, r, w):
    def program(Q, K, V, O, L):
        for i in range(0, n, r):
            q, states = Q[i : i + r], []
            for j in range(0, m, w):
                states.append(tile_state(scaled_scores(q, K[j : j + w]), V[j : j + w]))
            O[i : i + r], L[i : i + r] = finish_state(*reduce(merged, states))

    return program


@pytest.mark.parametrize(("r", "w"), [(2, 3), (13, 17), (5, 1), (4, 16)])
def test_tiled_traffic_counted(rng, r, w):
    """Claim: the two counts are what programs read and write, to the word."""
    n, m, d_k, d_v = 13, 17, 3, 5
    Q, K, V = (rng.normal(size=shape) for shape in [(n, d_k), (m, d_k), (m, d_v)])
    O, L, S = np.zeros((n, d_v)), np.zeros(n), np.zeros((n, m))
    assert counted(tiled(n, m, r, w), Q, K, V, O, L) == tiled_traffic(n, m, d_k, d_v, r)
    np.testing.assert_allclose(O, attention(Q, K, V))
    assert counted(direct, Q, K, V, S, np.zeros((n, m)), O) == direct_traffic(n, m, d_k, d_v)


@given(*[st.integers(1, 5000)] * 2, *[st.integers(2, 200)] * 2, st.integers(1, 100), st.integers(0, 10**6))
def test_tiled_traffic_order(n, m, d_k, d_v, w, extra):
    """Claim: K and V cost between n m d²/M and 3 n m d²/M + m d words, d = d_k + d_v, w ≤ d/2, M ≥ 4 d²."""
    d = d_k + d_v
    w, M = min(w, d // 2), 4 * d**2 + extra
    words = tiled_traffic(n, m, d_k, d_v, rows_that_fit(M, d_k, d_v, w)) - n * d_k - n * d_v - n
    assert n * m * d**2 <= words * M
    assert words * M <= 3 * n * m * d**2 + m * d * M


def test_tiled_traffic_by_hand():
    """Five queries by two, so three times all keys: 5 · 1 + 3 · 7 · (1 + 2) + 5 · 2 + 5."""
    assert tiled_traffic(5, 7, 1, 2, 2) == 5 + 63 + 10 + 5


def test_tiled_traffic_wants_a_query():
    with pytest.raises(ValueError, match=r"^r is 0; wanted a positive integer$"):
        tiled_traffic(5, 7, 1, 2, 0)


def test_direct_traffic_by_hand():
    """Q and K in, S out; S in, A out; A and V in, O out."""
    assert direct_traffic(2, 3, 5, 7) == (2 * 5 + 3 * 5 + 6) + (6 + 6) + (6 + 3 * 7 + 2 * 7)


def test_rows_that_fit_by_hand():
    """One key of width 2 + 3 leaves 95 of 100 words; a query needs 2 + 3 + 1 + 2 of them."""
    assert rows_that_fit(100, 2, 3, 1) == 95 // 8


@given(*[st.integers(1, 200)] * 3, st.integers(0, 10**6))
def test_rows_that_fit_fill_the_memory(d_k, d_v, w, extra):
    M = w * (d_k + d_v) + d_k + d_v + w + 2 + extra
    r = rows_that_fit(M, d_k, d_v, w)
    needed = [rows * (d_k + d_v + 2) + rows * w + w * (d_k + d_v) for rows in (r, r + 1)]
    assert needed[0] <= M < needed[1]


def test_rows_that_fit_wants_room_for_one():
    assert rows_that_fit(13, 2, 3, 1) == 1
    for M in 0, 5:
        with pytest.raises(ValueError, match=f"^M is {M}; wanted 13 words or more$"):
            rows_that_fit(M, 2, 3, 1)
    with pytest.raises(ValueError, match=r"^M is -1; wanted a non-negative integer"):
        rows_that_fit(-1, 2, 3, 1)
    with pytest.raises(ValueError, match="M is 12; wanted 13 words or more"):
        rows_that_fit(12, 2, 3, 1)


def peak_bytes(function, *arrays):
    tracemalloc.start()
    function(*arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def peaks(module, n):
    """Of a forward and of a backward call, in bytes."""
    Q, K, V = np.random.default_rng(0).normal(size=(3, n, 16)).astype(np.float32)
    output = module.attention(Q, K, V)
    forward = peak_bytes(module.attention, Q, K, V)
    return np.array([forward, peak_bytes(module.attention_backward, V, Q, K, V, *output)])


def test_tiles_linear_memory():
    """Claim: twice the length takes at most twice the memory, both ways; four times for the whole matrix."""
    assert (peaks(numpy_tiled, 4096) <= 2 * peaks(numpy_tiled, 2048)).all()
    assert (peaks(numpy_direct, 2048) > 3.8 * peaks(numpy_direct, 1024)).all()


@pytest.mark.parametrize(
    ("n", "m", "d", "draws"),
    [(97, 97, 16, 100), (113, 203, 64, 30), (300, 2000, 16, 20), (1023, 1024, 64, 3)],
)
def test_tiles_exact(rng, n, m, d, draws):
    """Claim: against float64, half to twice the direct formula's mean square error, on every draw;
    the largest error at most twice its largest and 8 eps max|O|."""
    for _ in range(draws):
        Q, K, V = (rng.normal(size=(rows, d)).astype(np.float32) for rows in (n, m, m))
        truth = attention(*(array.astype(np.float64) for array in (Q, K, V)))
        tiled, direct = (f.attention(Q, K, V)[0] - truth for f in (numpy_tiled, numpy_direct))
        floor = 8 * np.finfo(np.float32).eps * abs(truth).max()
        assert abs(tiled).max() <= 2 * abs(direct).max() + floor
        assert 1 / 2 < np.linalg.norm(tiled) / np.linalg.norm(direct) < 2


def test_tiles_exact_would_notice_half_precision_sums(rng):
    """The bounds bite: partial sums that are rounded to float16 between two tiles break both."""
    Q, K, V = (rng.normal(size=(97, 16)).astype(np.float32) for _ in range(3))
    truth = attention(*(array.astype(np.float64) for array in (Q, K, V)))
    states = states_of(scaled_scores(Q, K), V, [32, 64])
    rounded = [(c, Z, O.astype(np.float16).astype(np.float32)) for c, Z, O in states]
    off, direct = (
        finish_state(*reduce(merged, rounded))[0] - truth,
        numpy_direct.attention(Q, K, V)[0] - truth,
    )
    assert abs(off).max() > 2 * abs(direct).max() + 8 * np.finfo(np.float32).eps * abs(truth).max()
    assert np.linalg.norm(off) > 2 * np.linalg.norm(direct)


@pytest.mark.parametrize("features", [1, 5])
def test_tiles_linear_attention(rng, features):
    """Claim: f (d_v + 1) running sums give what all causal pairs give; rank f or less, so that no more
    than f of the queries can give more than half to a key of their own."""
    q, k = np.exp(rng.normal(size=(2, 23, features)))
    V = rng.normal(size=(23, 3))
    pairs = np.tril(q @ k.T)
    sums = np.zeros((features, 3 + 1))
    for i in range(23):
        sums += np.outer(k[i], np.append(V[i], 1))
        *weighted, Z = q[i] @ sums
        np.testing.assert_allclose(weighted / Z, pairs[i] @ V / pairs[i].sum())
    assert np.linalg.matrix_rank(q @ k.T) == features
    pointed = np.eye(23, features) + 1e-3  # token i and feature i
    for numerators in q @ k.T, q**9 @ k.T**9, pointed @ pointed.T:
        A = numerators / numerators.sum(1, keepdims=True)
        assert (np.diagonal(A) > 1 / 2).sum() <= features
    assert (np.diagonal(A) > 1 / 2).sum() == features  # so many can
