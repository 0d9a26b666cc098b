"""Chapter 19: the score of a suite, the greedy suite, and what the chapter says of mistakes and sources."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from selfattention import formulas
from selfattention.formulas import greedy_suite, mutation_score
from selfattention.mutants import RIGHT, mutants, prices, properties, right
from selfattention.mutants.kill_matrix import kill_matrix, killers

# The chapter's example: four mutants, the last of which nobody kills.
KILLED = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)

some_matrix = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=7))


def test_mutation_score_by_hand():
    assert mutation_score(KILLED) == 3 / 4


def test_mutation_score_of_no_properties_is_zero():
    assert mutation_score(KILLED[:, :0]) == 0


def test_mutation_score_needs_a_mutant():
    with pytest.raises(ValueError, match=r"^killed has shape \(0, 3\); wanted at least one mutant$"):
        mutation_score(KILLED[:0])


def test_mutation_score_wants_booleans():
    with pytest.raises(TypeError, match=r"^killed has dtype int64; wanted booleans$"):
        mutation_score(KILLED.astype(int))


def test_greedy_suite_by_hand():
    """The first two columns kill two each: the first of equals, then the one that is still needed."""
    np.testing.assert_array_equal(greedy_suite(KILLED), [0, 1])


def test_greedy_suite_refuses_ones_and_zeros():
    with pytest.raises(TypeError, match=r"^killed has dtype float64; wanted booleans"):
        greedy_suite(np.ones((3, 2)))


def test_greedy_suite_is_empty_where_nobody_kills():
    assert greedy_suite(np.zeros((3, 2), dtype=bool)).shape == (0,)


def test_greedy_suite_need_not_be_the_smallest():
    """The middle column kills four of six; then both others are needed, which kill all alone."""
    trap = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(np.sort(greedy_suite(trap)), [0, 1, 2])
    assert mutation_score(trap[:, [0, 2]]) == 1


@given(some_matrix)
def test_greedy_suite_loses_nothing(killed):
    """Claim: the chosen properties have the score of all, and none is chosen in vain."""
    chosen = greedy_suite(killed)
    assert mutation_score(killed[:, chosen]) == mutation_score(killed)
    scores = [mutation_score(killed[:, chosen[:t]]) for t in range(len(chosen) + 1)]
    assert (np.diff(scores) > 0).all()


@given(some_matrix)
def test_greedy_suite_is_within_the_harmonic_bound(killed):
    """Chvátal 1979: at most 1 + 1/2 + … + 1/g times the smallest, g the most that one property kills."""
    everything = killed.any(1)
    smallest = next(
        size
        for size in range(killed.shape[1] + 1)
        for columns in combinations(range(killed.shape[1]), size)
        if (killed[:, columns].any(1) == everything).all()
    )
    bound = sum(1 / k for k in range(1, killed.sum(0).max() + 1)) * smallest
    assert smallest <= len(greedy_suite(killed)) <= bound + 1e-9


def test_mutants_all_killed():
    """Claim: every target's score is 1, and its right function has every property."""
    for target in RIGHT:
        assert mutation_score(kill_matrix(target)) == 1
        assert killers(target, right(target)) == []


def test_mutants_formula_is_not_enough():
    """Claim: these five pass the comparison with the formula on random inputs, and no others."""
    passing = [
        mutant.function.__name__
        for target in ("attention", "masked_attention")
        for mutant in mutants(target)
        if "formula" not in killers(target, mutant.function)
    ]
    masks = ["finite_fill", "constant_added", "not_a_number_for_an_empty_row", "mask_read_sideways"]
    assert passing == ["naive_softmax", *masks]


def test_mutants_relations_miss_the_temperature():
    """Claim: at any temperature but 1 attention has every relation and fails wherever numbers are given."""
    names = [prove.__name__ for prove in properties("attention")]
    answers = {name for name in names if name.startswith("formula") or name == "by_hand"}
    assert len(names) - len(answers) == 12
    for T in (0.01, 0.5, 1.1, 2.0, 100.0):
        told_by = killers("attention", lambda Q, K, V, T=T: formulas.attention(Q / T, K, V))
        assert set(told_by) == answers, T


READINGS = {
    "attention": [
        "star_for_at",
        "softmax_over_the_queries",
        "cosine_for_dot",
        "farthest_key_wins",
        "tokens_in_columns",
        "softmax_forgotten",
    ],
    "softmax": ["over_everything"],
    "multi_head_attention": [
        "scale_by_the_whole_width",
        "output_projection_transposed",
        "identical_heads",
        "heads_in_reverse",
        "one_wide_head",
    ],
}


def test_mutants_loose_readings():
    """Claim: each reading is told; the task forgives two of twelve, and ten lose more than half."""
    price_list, kept = prices.load(), {}
    best = sum(price_list["attention"]["attention"])
    for target, names in READINGS.items():
        functions = {mutant.function.__name__: mutant.function for mutant in mutants(target)}
        for name in names:
            assert killers(target, functions[name])
            kept[name] = sum(price_list[target][name]) / best
    assert len(kept) == 12
    forgiven = {name for name, share in kept.items() if share > 0.5}
    assert forgiven == {"softmax_over_the_queries", "scale_by_the_whole_width"}
    assert all(0.9 < kept[name] < 1 for name in forgiven)


@pytest.mark.parametrize("d", [4, 8, 32, 64])
def test_mutants_two_tables_of_positions(d):
    """Claim: the frequencies share only the first; in both tables a shift turns each pair by its angle."""
    half = d // 2
    printed = formulas.frequencies(d)
    programmed = 10_000.0 ** (-np.arange(half) / (half - 1))
    apart = np.abs(printed[:, None] / programmed - 1).min(1)
    assert apart[0] == 0
    assert apart[1:].min() > 1e-3
    angles = np.arange(64)[:, None] * programmed
    halves, alternating = np.hstack([np.sin(angles), np.cos(angles)]), formulas.sinusoids(64, d)
    same = np.abs(alternating[:, :, None] - halves[:, None]).max(0) < 1e-9
    assert np.argwhere(same).tolist() == [
        [0, 0],
        [1, half],
    ]  # sine and cosine of frequency 1, no other columns
    for sines, cosines, theta in (
        (halves[:, :half], halves[:, half:], programmed),
        (alternating[:, ::2], alternating[:, 1::2], printed),
    ):
        z = cosines + 1j * sines
        np.testing.assert_allclose(z[3:], z[:-3] * np.exp(3j * theta), atol=1e-12)
