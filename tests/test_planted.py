"""Tests of the tests: one mistake of each kind is planted, and the test that should object must object.

`test_implementations.py` plants mistakes of arithmetic and of rounding. Here are those of what stands around
the arithmetic: what is not finite, rules, whole numbers, what is handed in, what happens between two passes.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import test_between_passes as between
import test_modules as of_layers
import test_nonfinite as nonfinite
import test_rules as of_rules
import test_rules_everywhere as everywhere
import test_signatures as of_formulas

from selfattention import masks, modules, signatures
from selfattention.implementations import IMPLEMENTATIONS, arguments, contract

RIGHT = nonfinite.passes("numpy_direct")
OBJECTION = (AssertionError, TypeError, ValueError, RuntimeWarning, ExceptionGroup, pytest.fail.Exception)


def nan_in_the_bias_is_a_mask(Q, K, V, dO, mask=None, bias=None):
    return RIGHT(Q, K, V, dO, mask, None if bias is None else np.where(np.isnan(bias), -np.inf, bias))


def overflow_is_nobody(Q, K, V, dO, mask=None, bias=None):
    O, L, *gradients = RIGHT(Q, K, V, dO, mask, bias)
    return np.nan_to_num(O), np.where(np.isnan(L), -np.inf, L), *gradients


def hidden_values_leak(Q, K, V, dO, mask=None, bias=None):
    O, *rest = RIGHT(Q, K, V, dO, mask, bias)
    with np.errstate(invalid="ignore"):
        return O + 0 * V.sum(-2, keepdims=True), *rest


def a_row_of_nan_poisons_all_keys(Q, K, V, dO, mask=None, bias=None):
    O, L, dQ, dK, dV = RIGHT(Q, K, V, dO, mask, bias)
    return O, L, dQ, dK + 0 * L.sum(), dV


def a_large_negative_bias_is_a_mask(Q, K, V, dO, mask=None, bias=None):
    return RIGHT(Q, K, V, dO, mask, None if bias is None else np.where(bias < -1e8, -np.inf, bias))


def weights_from_a_rounded_log_sum_exp(Q, K, V, dO, mask=None, bias=None):
    O, L, dQ, dK, _ = RIGHT(Q, K, V, dO, mask, bias)
    S = Q @ K.swapaxes(-1, -2) * np.float32(Q.shape[-1] ** -0.5)
    dV = np.exp(S - L[..., None]).swapaxes(-1, -2) @ dO
    return O, L, dQ, dK, dV.sum(1, keepdims=True)


PASSES = {
    nan_in_the_bias_is_a_mask: (nonfinite.test_whoever_sees_it_shows_it, ["bias"]),
    overflow_is_nobody: (nonfinite.test_a_score_that_overflows_is_seen, [1]),
    hidden_values_leak: (nonfinite.test_a_hidden_key_may_hold_anything, ["by a rule"]),
    a_row_of_nan_poisons_all_keys: (nonfinite.test_whoever_sees_it_shows_it, ["K"]),
    a_large_negative_bias_is_a_mask: (nonfinite.test_a_large_negative_bias_hides_nobody, [-1e9]),
    weights_from_a_rounded_log_sum_exp: (nonfinite.test_the_weights_of_large_scores_sum_to_one, [1e4]),
}


@pytest.mark.parametrize("wrong", PASSES, ids=lambda wrong: wrong.__name__)
def test_a_mistake_in_both_passes_is_rejected(wrong):
    test, arguments = PASSES[wrong]
    test(RIGHT, *arguments)
    with pytest.raises(OBJECTION):
        test(wrong, *arguments)


def of_direct(test, *arguments):
    return lambda: test(IMPLEMENTATIONS["numpy_direct"], *arguments)


def two_or_more(name, size, usual=None):
    size = usual if size is None else size
    if size < 2:
        raise ValueError(f"{name} is {size}")
    return size


PATCHES = {
    "positions before the first are counted from the end": (
        (masks, "_exists", lambda positions, size: positions < size),
        of_rules.test_a_rule_answers_for_any_positions,
    ),
    "a rule is true": (
        (masks.Rule, "__bool__", lambda rule: True),
        lambda: of_rules.test_a_rule_is_neither_true_nor_false(masks.causal, bool),
    ),
    "zeros and ones are booleans": (
        (masks, "_booleans", lambda rule, answer, shape: answer),
        of_direct(
            everywhere.test_answers_that_are_no_masks_are_refused,
            lambda i, j: (j <= i) * 1,
            TypeError,
            lambda rule: ~rule,
        ),
    ),
    "whole numbers are what they come as": (
        (masks, "_integers", lambda name, values: np.asarray(values)),
        of_rules.test_integers_larger_than_int64,
    ),
    "a rule keeps the caller's own array": (
        (masks, "_copied", lambda name, array: np.asarray(array)),
        lambda: of_rules.test_who_refills_an_array_changes_no_rule(masks.documents, [0, 0, 1], 5, "numpy"),
    ),
    "three axes are a batch": (
        (contract.Form, "_check_leading_axes", lambda form, shape: None),
        of_direct(
            everywhere.test_a_mask_that_does_not_fit_is_named,
            masks.Table(np.ones((2, 5, 7), bool)),
            "mask speaks of 2 heads; wanted 4",
        ),
    ),
    "autocast goes on inside": (
        (contract, "in_its_own_dtype", lambda Q: nullcontext()),
        lambda: between.test_autocast_changes_nothing("torch_tiled", between.torch.float32, False),
    ),
    "a mask is asked for again when the gradients are": (
        (contract.Form, "_array", lambda form, array: between.torch.as_tensor(array)),
        lambda: between.test_what_is_refilled_before_the_backward_pass_is_kept_or_refused(
            "torch_direct", "a mask"
        ),
    ),
    "a masked array is an array": (
        (arguments, "check_type", lambda name, array, wanted: None),
        lambda: between.test_a_foreign_array_is_named_with_its_cure("numpy_direct", "masked", "Q"),
    ),
    "halves stay halves": (
        (signatures, "_computed_in", lambda dtype, array: array),
        of_formulas.test_long_rows_of_halves_keep_their_sums,
    ),
    "a count wraps": (
        (signatures, "_integer", lambda name, value, *limits: value),
        lambda: of_formulas.test_counts_do_not_wrap("attention_flops", np.int32),
    ),
    "one head is too few": (
        (modules, "_size", two_or_more),
        of_layers.test_the_smallest_layer_by_hand,
    ),
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_mistake_around_the_arithmetic_is_rejected(name, monkeypatch):
    (owner, attribute, wrong), test = PATCHES[name]
    test()
    monkeypatch.setattr(owner, attribute, wrong)
    with pytest.raises(OBJECTION):
        test()
