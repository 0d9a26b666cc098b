"""Chapter 15: a step with its cache, what a cache costs, and what may change in it without harm."""

import numpy as np
import pytest
import torch

from selfattention.formulas import attention, cache_bytes, layer_norm, rms_norm, silu, step, swiglu

# The chapter's example: keys ln 1, ln 2, ln 5 in one dimension, the query 1, values 8, 4, 0.
K = np.log([[[1.0], [2.0], [5.0]]])
V = np.array([[[8.0], [4.0], [0.0]]])
ONE = np.ones((1, 1, 1))


def test_rms_norm_by_hand():
    """1 and 7 have the mean square 25, and 3 and 4 half of it."""
    np.testing.assert_allclose(rms_norm(np.array([[1.0, 7.0]]), np.array([5.0, 10.0]), epsilon=0), [[1, 14]])
    np.testing.assert_allclose(rms_norm(np.array([[1.0, 7.0]]), np.ones(2), epsilon=11), [[1 / 6, 7 / 6]])


def test_rms_norm_of_centred_rows_is_layer_norm(rng):
    X, g = rng.normal(size=(5, 7)), rng.normal(size=7)
    X -= X.mean(1, keepdims=True)
    ours = rms_norm(X, g, epsilon=1e-5)
    np.testing.assert_allclose(ours, layer_norm(X, g, np.zeros(7), epsilon=1e-5), rtol=1e-13)


def test_rms_norm_agrees_with_torch(rng):
    X, g = rng.normal(size=(2, 5, 7)), rng.normal(size=7)
    theirs = torch.nn.functional.rms_norm(torch.from_numpy(X), (7,), torch.from_numpy(g), 1e-5)
    np.testing.assert_allclose(rms_norm(X, g), theirs, rtol=1e-13)


def test_rms_norm_does_not_take_an_infinite_mean_square():
    with pytest.raises(ValueError, match=r"^X, g leave the range of float32: _mean_square gives inf"):
        rms_norm(np.full((1, 2), 1e30, "f4"), np.ones(2, "f4"))
    with pytest.raises(ValueError, match=r"leave the range of float64: rms_norm divides by the root of 1"):
        rms_norm(np.full((1, 2), 1e-160), np.ones(2), epsilon=0)


def test_silu_by_hand():
    """e^(ln 3) = 3, so ln 3 · 3/4 and −ln 3 · 1/4."""
    np.testing.assert_allclose(silu(np.log([3.0, 1 / 3, 1])), np.log(3) * np.array([3 / 4, -1 / 4, 0]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_silu_far_out(dtype):
    """0 on the left, x on the right, and no overflow on the way."""
    np.testing.assert_array_equal(silu(np.array([-60_000, 60_000], dtype)), np.array([0, 60_000], dtype))


def test_swiglu_by_hand():
    """One token (1, 2): the gate ln 3 + 0 opens by 3/4 of ln 3, the other branch holds 1 + 2 · 4 = 9."""
    X, W_gate, W_up = np.array([[1.0, 2.0]]), np.array([[np.log(3)], [0]]), np.array([[1.0], [4.0]])
    Y = swiglu(X, W_gate, W_up, np.array([[2.0, -1.0]]))
    np.testing.assert_allclose(Y, np.log(3) * 27 / 4 * np.array([[2, -1]]))


def test_swiglu_agrees_with_torch(rng):
    X, W_gate, W_up, W_down = (rng.normal(size=s) for s in [(2, 5, 7), (7, 11), (7, 11), (11, 7)])
    x, gate, up, down = map(torch.from_numpy, (X, W_gate, W_up, W_down))
    theirs = (torch.nn.functional.silu(x @ gate) * (x @ up)) @ down
    np.testing.assert_allclose(swiglu(X, W_gate, W_up, W_down), theirs, rtol=1e-12, atol=1e-13)


def test_step_by_hand():
    """Two keys in the cache, the third arrives: (1 · 8 + 2 · 4 + 5 · 0) / 8 = 2."""
    O, all_K, all_V = step(ONE, K[:, 2:], V[:, 2:], K[:, :2], V[:, :2])
    np.testing.assert_allclose(O, [[[2]]])
    np.testing.assert_array_equal(all_K, K)
    np.testing.assert_array_equal(all_V, V)


def test_step_of_several_by_hand():
    """Key ln 1 cached, two arrive: the first sees 8 and 4 with weights 1/3 and 2/3, the second all."""
    O, _, _ = step(np.ones((1, 2, 1)), K[:, 1:], V[:, 1:], K[:, :1], V[:, :1])
    np.testing.assert_allclose(O, [[[16 / 3], [2]]])


def test_step_from_nothing():
    """The first token sees itself alone."""
    O, _, _ = step(ONE, K[:, :1], V[:, :1], K[:, :0], V[:, :0])
    np.testing.assert_array_equal(O, V[:, :1])


def test_step_heads_in_groups_by_hand():
    """Four heads, two groups: heads 0 and 1 read group 0, heads 2 and 3 group 1."""
    V = np.array([[[3.0]], [[7.0]]])
    O, _, _ = step(np.ones((4, 1, 1)), np.ones((2, 1, 1)), V, np.ones((2, 0, 1)), np.ones((2, 0, 1)))
    np.testing.assert_array_equal(O.ravel(), [3, 3, 7, 7])


def test_step_wants_as_many_heads_for_each_group():
    Q, K = np.ones((3, 1, 2)), np.ones((2, 1, 2))
    with pytest.raises(ValueError, match=r"^Q has 3 heads; wanted a multiple of the 2 of K"):
        step(Q, K, K, K, K)


def test_step_leaves_the_cache_it_was_given(rng):
    Q, K, V, past_K, past_V = (rng.normal(size=(2, n, 3)) for n in (1, 1, 1, 5, 5))
    before = past_K.copy(), past_V.copy()
    _, all_K, all_V = step(Q, K, V, past_K, past_V)
    all_K[:], all_V[:] = 0, 0
    np.testing.assert_array_equal(past_K, before[0])
    np.testing.assert_array_equal(past_V, before[1])


def test_step_without_a_cache_and_one_token_is_attention(rng):
    Q, K, V = (rng.normal(size=(2, 1, 3)) for _ in range(3))
    np.testing.assert_array_equal(step(Q, K, V, K[:, :0], V[:, :0])[0], attention(Q, K, V))


# layers, groups, width: Llama-2-7B, Llama-2-70B and Llama-3-8B in bfloat16, SmolLM2-135M in float32.
@pytest.mark.parametrize(
    ("layers", "g", "d", "word_bytes", "per_token"),
    [
        (32, 32, 128, 2, 524_288),
        (80, 8, 128, 2, 327_680),
        (32, 8, 128, 2, 131_072),
        (30, 3, 64, 4, 46_080),
    ],
)
def test_cache_bytes_known(layers, g, d, word_bytes, per_token):
    assert cache_bytes(1, layers, g, d, word_bytes) == per_token
    assert cache_bytes(4096, layers, g, d, word_bytes) == 4096 * per_token


def test_cache_bytes_are_those_of_the_arrays():
    cache = [[np.zeros((2, 5, 3), "f4") for _ in "KV"] for _ in range(7)]
    assert cache_bytes(5, 7, 2, 3, 4) == sum(array.nbytes for pair in cache for array in pair) == 1680
