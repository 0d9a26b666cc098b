"""Chapter 11: what attention does not know of order, and three ways to tell it."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfattention.formulas import (
    alibi,
    alibi_slopes,
    attention,
    dot_scores,
    frequencies,
    multi_head_attention,
    rotary,
    rotary_halves,
    rotation,
    sinusoids,
    softmax,
)
from selfattention.implementations import numpy_direct
from selfattention.masks import causal

N, M, D_MODEL, D_MEMORY, H, D_K, D_V = 7, 11, 13, 17, 3, 5, 2
POSITIONS = np.array([0, 1, 2, 3, 50, 4000, 100_000])
positions = st.integers(-10_000, 10_000)


@pytest.fixture
def weights(rng):
    """W_Q, W_K, W_V, W_O of three heads, for tokens X and a memory of another width."""
    shapes = (D_MODEL, H * D_K), (D_MEMORY, H * D_K), (D_MEMORY, H * D_V), (H * D_V, D_MODEL)
    return [rng.normal(size=shape) / shape[0] ** 0.5 for shape in shapes]


@pytest.fixture
def square_weights(rng):
    return rng.normal(size=(4, 6, 6)) / 6**0.5


def complex_rotary(Q, positions, theta):
    """An independent RoPE: pairs of neighbours are complex numbers, and turning multiplies."""
    pairs = Q[..., 0::2] + 1j * Q[..., 1::2]
    pairs = pairs * np.exp(1j * np.multiply.outer(positions, theta))
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(Q.shape)


def constant_diagonals(S):
    return np.allclose(S[1:, 1:], S[:-1, :-1], atol=1e-10)


# Symmetry


def test_positions_equivariant(rng, square_weights):
    """Claim: reordered tokens give outputs reordered alike, for every permutation and head count."""
    X = rng.normal(size=(2, 5, 6))
    for h in 1, 2, 3:
        Y = multi_head_attention(X, *square_weights, h)
        for order in permutations(range(5)):
            moved = multi_head_attention(X[:, order], *square_weights, h)
            np.testing.assert_allclose(moved, Y[:, order], atol=1e-12)
    assert abs(Y[:, ::-1] - Y).max() > 0.1


def test_positions_keys(rng, weights):
    """Claim: a reordered memory changes nothing; keys reordered without their values do."""
    X, memory = rng.normal(size=(N, D_MODEL)), rng.normal(size=(M, D_MEMORY))
    order = rng.permutation(M)
    Y = multi_head_attention(X, *weights, H, memory=memory)
    moved = multi_head_attention(X, *weights, H, memory=memory[order])
    np.testing.assert_allclose(moved, Y, atol=1e-12)
    Q, K, V = (rng.normal(size=shape) for shape in [(N, D_K), (M, D_K), (M, D_V)])
    np.testing.assert_allclose(attention(Q, K[order], V[order]), attention(Q, K, V), atol=1e-12)
    assert abs(attention(Q, K[order], V) - attention(Q, K, V)).max() > 0.01


def test_positions_needed(rng, square_weights):
    """Claim: two layers say at a word, and in any pooling, the same for all orders of six words.

    With positions added, they do not.
    """
    words = rng.normal(size=(6, 6))
    orders = np.array(list(permutations(range(6))))
    first_word = np.arange(len(orders)), (orders == 0).argmax(1)

    def network(X):
        X = X + multi_head_attention(X, *square_weights, 2)
        return np.tanh(X + multi_head_attention(X, *square_weights, 3))

    def said(X):
        Y = network(X)
        return np.concatenate([Y[first_word], Y.sum(1), Y.mean(1), Y.max(1)], axis=-1)

    assert np.ptp(said(words[orders]), axis=0).max() < 1e-12
    assert np.ptp(said(words[orders] + sinusoids(6, 6)), axis=0).min() > 1e-3


def causal_last(X, layers):
    for W_Q, W_K, W_V in layers:
        X = X + numpy_direct.attention(X @ W_Q, X @ W_K, X @ W_V, mask=causal)[0]
    return X[:, -1]


def test_positions_causal_order(rng):
    """Claim: the order of earlier tokens is invisible after one causal layer, and visible after two."""
    X, layers = rng.normal(size=(6, 7)), rng.normal(size=(2, 3, 7, 7)) / 7**0.5
    orders = np.array([(*order, 5) for order in permutations(range(5))])
    one, two = causal_last(X[orders], layers[:1]), causal_last(X[orders], layers)
    assert np.ptp(one, axis=0).max() < 1e-12
    apart = np.linalg.norm(two[:, None] - two, axis=-1) + np.eye(120)
    assert apart.min() > 1e-3


def test_positions_causal_count(rng):
    """Claim: equal tokens, equal outputs, in three layers; a stranger in front weighs 1/(1 + i e^Δ)."""
    layers = rng.normal(size=(3, 3, 5, 5)) / 5**0.5
    X = np.tile(rng.normal(size=5), (11, 1))
    for W_Q, W_K, W_V in layers:
        X = X + numpy_direct.attention(X @ W_Q, X @ W_K, X @ W_V, mask=causal)[0]
        np.testing.assert_allclose(X, X[:1].repeat(11, axis=0), atol=1e-12)
    for delta in -2.0, 0.0, 0.7:
        first = np.eye(11, 1)
        A, _ = numpy_direct.attention(np.ones((11, 1)), -delta * first, first, mask=causal)
        np.testing.assert_allclose(A[:, 0], 1 / (1 + np.arange(11) * np.exp(delta)))
        assert len(np.unique(A)) == 11


def test_positions_set_maps(rng):
    """Claim: averaged over all permutations, any matrix becomes λ I + γ 1 1ᵀ; and those commute."""
    Pi = np.eye(5)[np.array(list(permutations(range(5))))]
    for A in rng.normal(size=(3, 5, 5)):
        averaged = (Pi @ A @ Pi.swapaxes(1, 2)).mean(0)
        gamma = (A.sum() - np.trace(A)) / 20
        expected = (np.trace(A) / 5 - gamma) * np.eye(5) + gamma
        np.testing.assert_allclose(averaged, expected, atol=1e-14)
        np.testing.assert_allclose(Pi @ expected @ Pi.swapaxes(1, 2), np.tile(expected, (120, 1, 1)))
        assert abs(Pi @ A @ Pi.swapaxes(1, 2) - A).max() > 0.1


# The clock


def test_frequencies_by_hand():
    """10000^(−2c/8): each hand ten times slower than the one before."""
    np.testing.assert_allclose(frequencies(8), [1, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(frequencies(4, base=100.0), [1, 0.1])


@given(st.integers(1, 300))
def test_frequencies_end_before_one_over_base(pairs):
    theta = frequencies(2 * pairs)
    assert theta[0] == 1
    np.testing.assert_allclose(theta[-1], 10_000 ** (1 / pairs - 1))
    np.testing.assert_allclose(theta[1:] / theta[:-1], 10_000 ** (-1 / pairs))


@given(st.integers(2, 100), st.floats(1, 1e3), st.floats(10, 1e7))
def test_frequencies_base(pairs, slower, base):
    """Claim: base · a^(d/(d − 2)) leaves the first hand, slows the last by a, hand c by a^(2c/(d − 2))."""
    d = 2 * pairs
    ratio = frequencies(d, base=base) / frequencies(d, base=base * slower ** (d / (d - 2)))
    assert ratio[0] == 1
    np.testing.assert_allclose(ratio[-1], slower, rtol=1e-9)
    np.testing.assert_allclose(ratio, slower ** (2 * np.arange(pairs) / (d - 2)), rtol=1e-9)


@pytest.mark.parametrize("d", [0, 1, -2, 5, 4.0, True, None])
def test_frequencies_refuses_an_odd_width(d):
    with pytest.raises(ValueError, match=r"^d is .*; wanted a positive even integer: columns in pairs$"):
        frequencies(d)


def test_sinusoids_at_positions_zero_and_one():
    """sin 0 = 0 and cos 0 = 1; then the closed form, sine and cosine of 1, 0.1, 0.01, 0.001."""
    angles = np.array([1, 0.1, 0.01, 0.001])
    zero, one = sinusoids(2, 8)
    np.testing.assert_array_equal(zero, [0, 1] * 4)
    np.testing.assert_allclose(one[0::2], np.sin(angles), rtol=1e-15)
    np.testing.assert_allclose(one[1::2], np.cos(angles), rtol=1e-15)


def test_sinusoids_agree_with_the_printed_formula():
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), entry by entry."""
    P = sinusoids(11, 6)
    for pos, i in np.ndindex(11, 3):
        assert np.isclose(P[pos, 2 * i], np.sin(pos / 10_000 ** (2 * i / 6)), rtol=1e-12)
        assert np.isclose(P[pos, 2 * i + 1], np.cos(pos / 10_000 ** (2 * i / 6)), rtol=1e-12)


def test_sinusoids_refuse_an_odd_width():
    with pytest.raises(ValueError, match=r"^d_model is 5; wanted a positive even integer: columns in pairs$"):
        sinusoids(3, 5)


def test_rotation_by_hand():
    """One step turns the first pair by one radian; the pairs do not mix."""
    R = rotation(1, 2)
    np.testing.assert_allclose([1.0, 0.0] @ R, [np.cos(1), np.sin(1)])
    np.testing.assert_allclose([0.0, 1.0] @ R, [-np.sin(1), np.cos(1)])
    assert rotation(5, 4)[0, 2:].tolist() == [0, 0]


@given(positions, positions)
def test_rotation_is_a_group(j, k):
    np.testing.assert_allclose(rotation(j, 6) @ rotation(k, 6), rotation(j + k, 6), atol=1e-9)
    np.testing.assert_array_equal(rotation(k, 6).T, rotation(-k, 6))
    np.testing.assert_allclose(np.linalg.det(rotation(k, 6)), 1)


@given(st.integers(0, 500), st.integers(1, 9))
def test_sinusoids_shift(k, pairs):
    """Claim: the row k further on is the row times R_kᵀ, the same for all rows."""
    P = sinusoids(k + 5, 2 * pairs)
    np.testing.assert_allclose(P[k:], P[:5] @ rotation(k, 2 * pairs).T, atol=1e-12)


def test_sinusoids_distance():
    """Claim: p_i · p_j = Σ cos((i − j) θ), and ‖p‖² = d/2; not with 2i and 2(i + 1) in the exponents."""
    P = sinusoids(97, 26)
    distance = np.subtract.outer(np.arange(97), np.arange(97))
    expected = np.cos(distance[..., None] * frequencies(26)).sum(-1)
    np.testing.assert_allclose(P @ P.T, expected, atol=1e-12)
    np.testing.assert_allclose((P * P).sum(1), 13)
    i, position = np.arange(0, 26, 2), np.arange(97)[:, None]
    P[:, 0::2] = np.sin(position / 10_000 ** (2 * i / 26))
    P[:, 1::2] = np.cos(position / 10_000 ** (2 * (i + 1) / 26))
    assert not constant_diagonals(P @ P.T)


# RoPE


def test_rotary_by_hand():
    """At position 0 nothing turns; at 1 the first pair turns by 1, the second by 0.01."""
    Q = np.array([[1.0, 0.0, 1.0, 0.0]] * 2)
    turned = rotary(Q, np.array([0, 1]))
    np.testing.assert_array_equal(turned[0], Q[0])
    np.testing.assert_allclose(turned[1], [np.cos(1), np.sin(1), np.cos(0.01), np.sin(0.01)])


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rotary_agrees_with_complex_numbers(rng, base):
    """Multiplication by e^{i p θ}, out to position 100,000."""
    Q = rng.normal(size=(3, N, 10))
    theta = base ** (-np.array([0, 2, 4, 6, 8]) / 10)
    expected = complex_rotary(Q, POSITIONS, theta)
    np.testing.assert_allclose(rotary(Q, POSITIONS, base=base), expected, rtol=1e-9, atol=1e-9)


def test_rotary_is_a_product_with_the_rotation(rng):
    Q = rng.normal(size=(2, N, 6))
    expected = np.stack([Q[:, row] @ rotation(p, 6) for row, p in enumerate(POSITIONS)], axis=1)
    np.testing.assert_allclose(rotary(Q, POSITIONS), expected, atol=1e-14)


def test_rotary_takes_positions_of_its_own_for_each_member_of_a_batch(rng):
    Q, offsets = rng.normal(size=(2, 3, 5, 4)), np.array([0, 7])
    own = offsets[:, None, None] + np.arange(5)  # (batch, 1, n): all heads alike
    expected = [rotary(member, offset + np.arange(5)) for member, offset in zip(Q, offsets, strict=True)]
    np.testing.assert_array_equal(rotary(Q, own), expected)


def test_rotary_in_float32_knows_far_positions(rng):
    """The angle is computed in float64: at position 10⁶, float32 would miss it by up to 0.002."""
    Q = rng.normal(size=(3, 6))
    far = np.array([999_983, 1_000_003, 1_000_033])
    narrow = rotary(Q.astype(np.float32), far)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, rotary(Q, far), atol=1e-6)


def test_rotary_refuses_what_does_not_fit(rng):
    for turn in rotary, rotary_halves:
        with pytest.raises(ValueError, match=r"^Q has width 5; wanted an even one: columns in pairs$"):
            turn(rng.normal(size=(3, 5)), np.arange(3))
        with pytest.raises(ValueError, match=r"^Q has width 5; "):
            turn(rng.normal(size=(2, 3, 5)), np.arange(3))
    with pytest.raises(ValueError, match=r"^positions has shape \(4,\); wanted \(…, n\), where Q"):
        rotary(rng.normal(size=(3, 6)), np.arange(4))
    with pytest.raises(TypeError, match=r"^positions has dtype float64; wanted integers$"):
        rotary(rng.normal(size=(3, 6)), np.arange(3.0))


def test_rotary_powers(rng):
    """Claim: powers of an orthogonal matrix give scores of i − j, in some basis RoPE; others do not."""
    q, k = rng.normal(size=(2, 6))

    def scores(A):
        powers = [np.linalg.matrix_power(A, i) for i in range(7)]
        return np.array([[q @ A_i @ A_j.T @ k for A_j in powers] for A_i in powers])

    orthogonal = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert constant_diagonals(scores(orthogonal))
    assert not constant_diagonals(scores(1.1 * orthogonal))
    assert not constant_diagonals(scores(np.eye(6) + 0.1 * rng.normal(size=(6, 6))))

    orthogonal[0] *= np.linalg.det(orthogonal)  # a rotation, so without a lone −1
    values, vectors = np.linalg.eig(orthogonal.T)  # rows, x ↦ x A, are columns of Aᵀ
    upper = values.imag > 0
    np.testing.assert_allclose(abs(values), 1)
    planes = np.stack([vectors[:, upper].real, -vectors[:, upper].imag], axis=-1).reshape(6, 6) * 2**0.5
    np.testing.assert_allclose(planes.T @ planes, np.eye(6), atol=1e-12)  # a basis of three planes
    theta = -np.angle(values[upper])
    turned = complex_rotary(np.tile(q @ planes, (7, 1)), np.arange(7), -theta)
    expected = np.array([q @ np.linalg.matrix_power(orthogonal, i) for i in range(7)]) @ planes
    np.testing.assert_allclose(turned, expected, atol=1e-12)


@given(st.integers(0, 2**32 - 1), positions)
def test_rotary_relative(seed, shift):
    """Claim: shifting all positions alike changes no score, and lengths are kept."""
    rng = np.random.default_rng(seed)
    Q, K = rng.normal(size=(5, 8)), rng.normal(size=(7, 8))
    i, j = rng.integers(0, 1000, size=5), rng.integers(0, 1000, size=7)
    S = dot_scores(rotary(Q, i), rotary(K, j))
    np.testing.assert_allclose(dot_scores(rotary(Q, i + shift), rotary(K, j + shift)), S, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rotary(Q, i), axis=1), np.linalg.norm(Q, axis=1))
    expected = [
        [q @ rotation(a - b, 8) @ k for b, k in zip(j, K, strict=True)] for a, q in zip(i, Q, strict=True)
    ]
    np.testing.assert_allclose(S, expected, atol=1e-9)


def test_rotary_of_queries_alone_is_not_relative(rng):
    """Off by one matters where only one side moves: a new query counted from the wrong position."""
    Q, K = rng.normal(size=(2, 5, 8))
    i = np.arange(5)
    S = dot_scores(rotary(Q, i), rotary(K, i))
    assert abs(dot_scores(rotary(Q, i + 1), rotary(K, i)) - S).max() > 0.1


@pytest.mark.parametrize("r", [2, 4, 8])
def test_rotary_partial(rng, r):
    """Claim: with r columns turned, a score is theirs, of distances only, plus the rest's dot product."""
    Q, K = rng.normal(size=(5, 8)), rng.normal(size=(7, 8))
    i, j = rng.integers(0, 1000, size=5), rng.integers(0, 1000, size=7)

    def partly(rows, positions):
        return np.concatenate([rotary(rows[:, :r], positions), rows[:, r:]], axis=-1)

    S = dot_scores(partly(Q, i), partly(K, j))
    turned = dot_scores(rotary(Q[:, :r], i), rotary(K[:, :r], j))
    np.testing.assert_allclose(S, turned + Q[:, r:] @ K[:, r:].T, atol=1e-12)
    np.testing.assert_allclose(dot_scores(partly(Q, i + 77), partly(K, j + 77)), S, atol=1e-10)
    assert abs(dot_scores(partly(Q, i + 1), partly(K, j)) - S).max() > 0.1


def test_rotary_halves_by_hand():
    """Columns 0 and 2 are a pair and turn by 1; 1 and 3 turn by 0.01."""
    Q = np.array([[1.0, 1.0, 0.0, 0.0]])
    turned = rotary_halves(Q, np.array([1]))
    np.testing.assert_allclose(turned[0], [np.cos(1), np.cos(0.01), np.sin(1), np.sin(0.01)])


def test_rotary_halves_agrees_with_complex_numbers(rng):
    """The left half are real parts, the right half imaginary ones."""
    Q = rng.normal(size=(3, N, 10))
    pairs = (Q[..., :5] + 1j * Q[..., 5:]) * np.exp(1j * POSITIONS[:, None] * 100.0 ** (-np.arange(5) / 5))
    expected = np.concatenate([pairs.real, pairs.imag], axis=-1)
    np.testing.assert_allclose(rotary_halves(Q, POSITIONS, base=100.0), expected, atol=1e-9)


def test_rotary_halves_order(rng):
    """Claim: with even columns first, halves turn as neighbours did, and scores agree; unsorted, not."""
    Q, K = rng.normal(size=(2, 3, N, 10))
    even_first = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    i = np.arange(N)
    sorted_Q, sorted_K = (rotary_halves(rows[..., even_first], i) for rows in (Q, K))
    np.testing.assert_allclose(sorted_Q, rotary(Q, i)[..., even_first], rtol=1e-12)
    S = dot_scores(rotary(Q, i), rotary(K, i))
    np.testing.assert_allclose(dot_scores(sorted_Q, sorted_K), S, atol=1e-12)
    unsorted = dot_scores(rotary_halves(Q, i), rotary_halves(K, i))
    np.testing.assert_allclose(np.diagonal(unsorted, axis1=1, axis2=2), np.diagonal(S, axis1=1, axis2=2))
    assert abs(unsorted - S).max() > 0.1


# ALiBi


def test_alibi_slopes_for_eight_heads():
    """The paper's: 1/2, 1/4 … 1/256."""
    np.testing.assert_array_equal(
        alibi_slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    )


@given(st.integers(1, 99))
def test_alibi_slopes_start_at_their_own_ratio(h):
    """The paper, section 3: the sequence starts at 2^(−8/h), and that is its ratio too."""
    slopes = alibi_slopes(h)
    np.testing.assert_allclose(slopes[0], 2 ** (-8 / h))
    np.testing.assert_allclose(slopes[1:] / slopes[:-1], slopes[0])
    np.testing.assert_allclose(slopes[-1], 1 / 256)


@pytest.mark.parametrize("h", [0, -8, 2.0, True, None])
def test_alibi_slopes_refuse_a_wrong_count(h):
    with pytest.raises(ValueError, match=r"^h is .*; wanted a positive integer$"):
        alibi_slopes(h)


def test_alibi_by_hand():
    """Two heads, slopes 1/16 and 1/256; one query at position 2, three keys."""
    B = alibi(np.array([2]), np.array([0, 1, 2]), 2)
    np.testing.assert_array_equal(B * 256, [[[-32, -16, 0]], [[-2, -1, 0]]])


def test_alibi_entry_by_entry():
    B = alibi(np.array([0, 1, 5]), np.arange(7), 8)
    assert B.shape == (8, 3, 7)
    for t, row, j in np.ndindex(8, 3, 7):
        assert B[t, row, j] == -abs((0, 1, 5)[row] - j) / 2 ** (t + 1)


@given(positions)
def test_alibi_knows_distances_only(shift):
    i, j = np.arange(3, 8), np.arange(11)
    np.testing.assert_array_equal(alibi(i + shift, j + shift, 5), alibi(i, j, 5))


def test_alibi_after_a_cache_is_the_last_row(rng):
    """One new query at position 10: the last row of the bias of all eleven."""
    i = np.arange(11)
    np.testing.assert_array_equal(alibi(i[-1:], i, 3), alibi(i, i, 3)[:, -1:])


def test_alibi_as_bias_is_added_to_the_scaled_scores(rng):
    """The contract's `bias`, against the softmax of scores and bias written out."""
    Q, K, V = (rng.normal(size=(4, *shape)) for shape in [(5, 3), (7, 3), (7, 2)])
    B = alibi(np.arange(2, 7), np.arange(7), 4)
    O, _ = numpy_direct.attention(Q, K, V, bias=B)
    np.testing.assert_allclose(O, softmax(Q @ K.swapaxes(1, 2) / 3**0.5 + B) @ V)


def test_alibi_geometric():
    """Claim: with equal scores a step back costs e^{−μ}; the mean distance tends to 1/(e^μ − 1)."""
    n, slopes = 3001, alibi_slopes(8)
    A = softmax(alibi(np.array([n - 1]), np.arange(n), 8))[:, 0, ::-1]  # by distance
    for weights, slope in zip(A, slopes, strict=True):
        seen = weights[weights > 1e-300]  # the steepest heads underflow in the end
        np.testing.assert_allclose(seen[1:] / seen[:-1], np.exp(-slope))
    np.testing.assert_allclose(A[:, 0], 1 - np.exp(-slopes), rtol=1e-4)  # what lies beyond: e^{−11.7}
    np.testing.assert_allclose(A @ np.arange(n), 1 / np.expm1(slopes), rtol=1e-3)
