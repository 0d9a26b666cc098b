"""Chapter 18: what comes out where the formula is silent, derived, and against what libraries answered."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention import masks
from selfattention.dialects import QUESTIONS, answers, reading
from selfattention.dialects.readings import close
from selfattention.formulas import (
    absorbed_below,
    added_ones_share,
    attention,
    buried_scores,
    cap_after_mask,
    finish_state,
    group_of_head,
    group_sum,
    keys_seen,
    largest_entry,
    masked_attention,
    masked_scores,
    merge_states,
    merged_shares,
    scaled_scores,
    softcap,
    softmax,
    weighted_sum,
    zeroed_rows,
)

DIGITS = {np.float64: 53, np.float32: 24, np.float16: 11}
NOBODY = np.zeros((1, 3), bool)
EXAMPLE = np.log([[1.0, 2.0, 5.0]])  # the chapter's: weights 1/8, 2/8, 5/8 without a mask
VALUES = np.array([[1.0], [2.0], [6.0]])


def test_buried_scores_by_hand():
    S = np.array([[1.0, 2.0, 5.0]])
    np.testing.assert_array_equal(buried_scores(S, np.array([[True, False, True]]), 10.0), [[1, -8, 5]])


def test_buried_scores_with_somebody_in_sight_are_masked(rng):
    S, visible = rng.normal(size=(5, 7)), np.tri(5, 7, dtype=bool)
    np.testing.assert_allclose(softmax(buried_scores(S, visible, 1e4)), softmax(masked_scores(S, visible)))


@given(arrays(np.float64, (3, 5), elements=st.floats(-50, 50)), st.integers(1, 1000))
def test_buried_row_unmasked(S, F):
    """Claim: as long as nothing is rounded away, a row buried whole has the weights it has without a mask."""
    hidden = np.zeros((3, 5), bool)
    np.testing.assert_allclose(softmax(buried_scores(S, hidden, float(F))), softmax(S), rtol=1e-9)


@given(arrays(np.float32, (3, 5), elements=st.floats(-31, 31, width=32)))
def test_buried_row_mean(S):
    """Claim: scores below the half distance at F are absorbed, and the row is the mean of all values."""
    assert absorbed_below(1e9, 24) == 32
    hidden = np.zeros((3, 5), bool)
    np.testing.assert_array_equal(softmax(buried_scores(S, hidden, 1e9)), np.full((3, 5), np.float32(0.2)))


def test_buried_row_mean_is_what_libraries_answer():
    """3 is the mean of 1, 2 and 6, and 4.375 what the row is without a mask: both stand in the file."""
    said = {}
    for answer in answers():
        if answer.question == "empty-row" and answer.variant == "" and answer.numbers is not None:
            said.setdefault(answer.reading, set()).add(round(answer.numbers[1], 3))
    assert said["mean of all keys"] == {3.0}
    assert said["as if unmasked"] == {round((weighted_sum(softmax(EXAMPLE), VALUES)).item(), 3)}
    assert reading("onnxruntime", "MultiHeadAttention", "empty-row") == "as if unmasked"  # F = 10,000
    assert absorbed_below(1e4, 24) < np.log(2)  # far too small to swallow a score


@given(
    st.lists(st.sampled_from(["first", "second", "both"]), min_size=7, max_size=7).filter(
        lambda who: {*who} - {"both"}
    )
)
def test_buried_row_less_buried(hides):
    """Claim: of two masks that are added, the keys that one alone hides have all that the row can give."""
    hides, S = np.array(hides), np.linspace(-2, 2, 7)[None]
    one, other = (hides == "second")[None], (hides == "first")[None]  # what each lets see
    A = softmax(buried_scores(buried_scores(S, one, 1e4), other, 1e4))[0]
    once = hides != "both"
    np.testing.assert_array_equal(A[~once], 0)
    np.testing.assert_allclose(A[once], softmax(S[:, once])[0], rtol=1e-9)


@given(arrays(np.float64, 5, elements=st.floats(0.01, 1)))
def test_nobody_any_limit(a):
    """Claim: any weights are the limit of a row whose scores all go to −∞, so 0/0 has no value of its own."""
    a = a / a.sum()
    for t in 1e1, 1e3, 1e5:
        np.testing.assert_allclose(softmax(np.log(a)[None] - t)[0], a, rtol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "F"),
    [
        (dtype, F)
        for dtype in DIGITS
        for F in (1.5, 1e3, 1e4, 65504.0, 1e9, 3e38)
        if float(np.finfo(dtype).max) >= F
    ],
)
def test_absorbed_below_is_half_the_distance_of_numpy_s_floats(dtype, F):
    F = dtype(F)
    half = float(F - np.nextafter(F, dtype(0))) / 2
    assert absorbed_below(float(F), DIGITS[dtype]) == half
    below, above = dtype(half * 0.99), dtype(half * 1.01)
    assert below - F == -below - F == -F
    assert above - F > -F


def test_absorbed_below_by_hand():
    """2²⁹ < 10⁹ < 2³⁰: float32 has 24 digits, so neighbours are 64 apart there."""
    assert absorbed_below(1e9, 24) == 32
    assert absorbed_below(65504.0, 11) == 16
    assert absorbed_below(float(np.finfo(np.float32).max), 24) == 2.0**103


def test_zeroed_rows_by_hand():
    O = zeroed_rows(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[True, False], [False, False]]))
    np.testing.assert_array_equal(O, [[1, 2], [0, 0]])


@given(arrays(np.bool_, (5, 7)), arrays(np.float64, (5, 2), elements=st.floats(-9, 9)))
def test_zeroed_rows_forget(visible, anything):
    """Claim: after it, what a library puts into empty rows no longer shows; all give masked attention."""
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=axes) for axes in ((5, 3), (7, 3), (7, 2)))
    ours = masked_attention(Q, K, V, visible)
    theirs = np.where(visible.any(1, keepdims=True), ours, anything)
    np.testing.assert_array_equal(zeroed_rows(theirs, visible), ours)


@pytest.mark.parametrize(("n", "m"), [(2, 5), (5, 2), (1, 7), (3, 3)])
def test_keys_seen_counts_the_rules(n, m):
    for align, offset in ((masks.top_left, 0), (masks.bottom_right, m - n)):
        rows = align(masks.causal, n, m).tile(range(n), range(m)).sum(1)
        assert rows.tolist() == [keys_seen(i, m, offset) for i in range(n)]


def test_keys_seen_by_hand():
    """Two queries, five keys."""
    assert [keys_seen(i, 5, 0) for i in (0, 1)] == [1, 2]
    assert [keys_seen(i, 5, 3) for i in (0, 1)] == [4, 5]
    assert keys_seen(0, 2, -3) == 0


@given(st.integers(1, 9), st.integers(1, 9))
def test_keys_seen_square(n, m):
    """Claim: the two corners are one where n = m and nowhere else; bottom right, n − m rows see nobody."""
    corners = [[keys_seen(i, m, offset) for i in range(n)] for offset in (0, m - n)]
    agree = corners[0] == corners[1]
    assert agree == (n == m)
    assert corners[1].count(0) == max(n - m, 0)


def test_added_ones_share_by_hand():
    """Two keys, one kept: e : 1."""
    assert added_ones_share(1, 1) == pytest.approx(math.e / (math.e + 1))
    assert added_ones_share(3, 0) == 1


def test_added_ones_share_is_what_libraries_answer():
    """Equal scores and the values 1 and 0: the output is the share of the kept key."""
    said = {round(a.numbers[0], 3) for a in answers() if a.reading == "added to the scores" and
            a.question == "mask-of-integers"}  # fmt: skip
    assert said == {round(added_ones_share(1, 1), 3)}


@given(arrays(np.float64, (3, 5), elements=st.floats(-20, 20)), arrays(np.bool_, (3, 5)))
def test_added_ones_odds(S, visible):
    """Claim: added, ones and zeros multiply the odds of a kept key against another by e, and hide nobody."""
    plain, added = softmax(S), softmax(S + visible)
    assert (added > 0).all()
    ratio = added / plain
    for row, seen in zip(ratio, visible, strict=True):
        if seen.any() and not seen.all():
            np.testing.assert_allclose(row[seen] / row[~seen][0], np.e, rtol=1e-9)


def test_cap_after_mask_by_hand():
    S = cap_after_mask(np.array([[0.0, 50.0, 3.0]]), np.array([[True, True, False]]), 2.0)
    np.testing.assert_allclose(S, [[0, 2, -2]])


def test_cap_after_mask_is_the_cap_of_minus_infinity(rng):
    S, visible = rng.normal(size=(5, 7)), np.tri(5, 7, dtype=bool)
    capped = softcap(masked_scores(S, visible), 1.5)
    np.testing.assert_allclose(cap_after_mask(S, visible, 1.5), capped)


@given(arrays(np.float64, (3, 7), elements=st.floats(-99, 99)), st.floats(0.5, 9))
def test_cap_after_mask_leaks(S, C):
    """Claim: capped after the mask, each hidden key has at least 1 / (1 + (m − 1) e^{2C}) of the row."""
    visible = np.arange(7) < 4
    A = softmax(cap_after_mask(S, np.broadcast_to(visible, S.shape).copy(), C))
    assert (A[:, ~visible] >= 1 / (1 + 6 * math.exp(2 * C)) * (1 - 1e-9)).all()


def test_largest_entry_by_hand():
    """√(65504 / 16) is nearly 64: at 120 the product is beyond half precision, scaled first it is not."""
    assert largest_entry(65504.0, 16, 1.0) == pytest.approx(63.984, abs=1e-3)
    assert largest_entry(65504.0, 16, 0.25) == pytest.approx(127.97, abs=1e-2)
    question = QUESTIONS["half-beyond-its-range"]
    assert 64 < float(question.asked.Q.max()) < 127 < float(question.variant("the score as well").Q.max())


@given(st.integers(1, 512))
def test_largest_entry_scale_first(d):
    """Claim: scaled first, entries may be larger by the fourth root of d."""
    ratio = largest_entry(65504.0, d, d**-0.5) / largest_entry(65504.0, d, 1.0)
    assert ratio == pytest.approx(d**0.25)


def test_merged_shares_by_hand():
    np.testing.assert_allclose(merged_shares(np.log([[1.0, 3.0]])), [[0.25, 0.75]])
    np.testing.assert_array_equal(merged_shares(np.full((1, 2), -np.inf)), [[0, 0]])


def test_merged_shares_are_the_merge_of_tiles(rng):
    """(L, 1, O) is a state."""
    L, O = rng.normal(size=(2, 5)), rng.normal(size=(2, 5, 3))
    one = np.ones(5)
    merged, _ = finish_state(*merge_states(L[0], one, O[0], L[1], one, O[1]))
    shares = merged_shares(L.T)
    np.testing.assert_allclose(merged, shares[:, :1] * O[0] + shares[:, 1:] * O[1])


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_merged_shares_nobody(L, other):
    """Claim: −∞ alone is a log-sum-exp that has no share in any merge; every finite one has."""
    np.testing.assert_array_equal(merged_shares(np.array([[L, -np.inf]])), [[1, 0]])
    assert merged_shares(np.array([[L, other]]))[0, 1] > 0


def test_group_of_head_by_hand():
    assert [group_of_head(i, 4, 2) for i in range(4)] == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"^g is 3; wanted a divisor of h = 4"):
        group_of_head(0, 4, 3)
    with pytest.raises(ValueError, match=r"^i is 4; wanted an integer below h = 4"):
        group_of_head(4, 4, 2)


def test_group_of_head_is_the_group_whose_gradients_are_summed(rng):
    dK = rng.normal(size=(6, 7, 3))
    summed = np.zeros((2, 7, 3))
    for i in range(6):
        summed[group_of_head(i, 6, 2)] += dK[i]
    np.testing.assert_allclose(group_sum(dK, 2), summed)


@given(st.integers(1, 8), st.integers(1, 8))
def test_group_of_head_tiled(g, times):
    """Claim: neighbours that share and heads that take turns agree only with one group, or one for each."""
    h = g * times
    agree = [group_of_head(i, h, g) for i in range(h)] == [i % g for i in range(h)]
    assert agree == (g in (1, h))


def test_group_of_head_tiled_is_what_libraries_answer():
    question = QUESTIONS["grouped-heads"]
    values = question.asked.V[0, :, 0, 0]
    mean = values + 1  # of 10 and 12, of 20 and 22
    for name, group in (("head i reads group i // 2", group_of_head), ("head i reads group i mod 2", None)):
        order = [group(i, 4, 2) if group else i % 2 for i in range(4)]
        assert close(np.repeat(mean[order], 2), question.expected(name), "float32")


def test_nobody_any_limit_in_attention(rng):
    """The same with queries and keys: a constant added to a row of scores is a key bias in disguise."""
    Q, K, V = (rng.normal(size=axes) for axes in ((2, 3), (5, 3), (5, 2)))
    wide_Q = np.concatenate([Q, np.full((2, 1), 50.0)], 1)
    wide_K = np.concatenate([K, np.full((5, 1), -50.0)], 1)
    S, deep = scaled_scores(Q, K), scaled_scores(wide_Q, wide_K)
    assert (deep < -1000).all()
    np.testing.assert_allclose(softmax(deep), softmax(S * (3 / 4) ** 0.5), rtol=1e-9)
    np.testing.assert_allclose(
        attention(wide_Q, wide_K, V), weighted_sum(softmax(S * (3 / 4) ** 0.5), V), rtol=1e-9
    )


def test_dialects_differ():
    """Claim: doors of two libraries answer something differently, or one function is behind both."""
    doors = dict.fromkeys((a.library, a.door) for a in answers() if a.library != "ours")
    table = {door: {name: reading(*door, name) for name in QUESTIONS} for door in doors}
    alike = set()
    for one, other in combinations(doors, 2):
        both = [name for name in QUESTIONS if table[one][name] and table[other][name]]
        if one[0] != other[0] and len(both) >= 10 and all(table[one][n] == table[other][n] for n in both):
            alike.add((one[0], other[0]))
    assert alike == {("flax", "keras_jax"), ("keras_jax", "keras_torch"), ("torch", "x_transformers")}
