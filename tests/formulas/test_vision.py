"""Chapter 17: pictures as tokens, and weights for channels, positions, branches, frames and windows."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfattention.formulas import (
    attention,
    attention_gate,
    cbam,
    cbam_channels,
    cbam_parameters,
    cbam_positions,
    eca,
    eca_kernel_size,
    eca_nearest_odd,
    multi_head_attention,
    non_local,
    patch_embedding,
    patches,
    relative_bias,
    relative_position_index,
    rollout,
    score_variance,
    selective_kernel,
    sigmoid,
    softmax,
    squeeze_excitation,
    squeeze_excitation_parameters,
    swin_parameters,
    temporal,
    vit_parameters,
    vit_tokens,
    window_attention,
    window_join,
    window_partition,
    with_class_token,
)
from selfattention.implementations import IMPLEMENTATIONS, numpy_direct
from selfattention.masks import shifted_windows
from selfattention.mutants.rollout import columns_divided

ONE, TWO, FOUR = np.ones((1, 1)), np.full((1, 1), 2.0), np.arange(4.0).reshape(1, 2, 2)
LOG = {k: math.log(k) for k in (2, 3, 4)}  # σ(ln k) = k / (k + 1)


@pytest.fixture
def F(rng):
    """A map of 5 channels, 3 × 7."""
    return rng.normal(size=(2, 5, 3, 7))


def permuted_positions(F, order):
    return F.reshape(*F.shape[:-2], -1)[..., order].reshape(F.shape)


def convolved(F, kernel, **options):
    return torch.nn.functional.conv2d(torch.from_numpy(F), torch.from_numpy(kernel), **options).numpy()


# Pictures as tokens


def test_sigmoid_by_hand():
    np.testing.assert_allclose(sigmoid(np.log([1, 3, 1 / 4])), [1 / 2, 3 / 4, 1 / 5])


def test_sigmoid_has_hardly_a_slope_at_eight():
    """What an unscaled product of 64 entries would do to a gate: asked in the chapter."""
    s = sigmoid(np.array(score_variance(64) ** 0.5))
    assert round(s * (1 - s), 4) == 0.0003


def test_sigmoid_keeps_its_digits_far_out():
    """e^{−700} itself, not 0 and not 1 − 1; and no overflow on the way."""
    np.testing.assert_allclose(sigmoid(np.array([-700.0, 700.0, -1e308])), [math.exp(-700), 1, 0], rtol=1e-12)
    assert sigmoid(np.float32([-80])) > 0


def test_patches_by_hand():
    """Two channels of 2 × 4, squares of two: the first channel's four numbers, then the second's."""
    F = np.arange(16.0).reshape(2, 2, 4)
    np.testing.assert_array_equal(patches(F, 2), [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]])
    np.testing.assert_array_equal(patches(F, 1)[:5, 0], [0, 1, 2, 3, 4])


def test_patches_are_torchs(rng):
    F = rng.normal(size=(2, 5, 6, 9))
    theirs = torch.nn.functional.unfold(torch.from_numpy(F), 3, stride=3).transpose(1, 2)
    np.testing.assert_array_equal(patches(F, 3), theirs)


@pytest.mark.parametrize("shape", [(5, 6, 9), (5, 9, 6)])
def test_patches_divide_the_picture(shape):
    with pytest.raises(ValueError, match=r"^p is 2; wanted a positive integer that divides high and wide, "):
        patches(np.ones(shape), 2)


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (3, 4, 0)])
def test_patches_of_nothing_are_refused(shape):
    with pytest.raises(ValueError, match=rf"^F has shape \{str(shape)[:-1]}\); wanted .* 1 or more$"):
        patches(np.ones(shape), 2)


def test_patch_embedding_by_hand():
    """One patch 0, 1, 2, 3: its sum plus 10, and its last number less 1."""
    W_E = np.array([[1.0, 0], [1, 0], [1, 0], [1, 1]]).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(patch_embedding(FOUR, W_E, np.array([10.0, -1])), [[16, 2]])


def test_patch_embedding_convolution(rng):
    """Claim: a convolution with kernels of p × p and stride p is a product with the flattened patches."""
    F, W_E, b = rng.normal(size=(2, 5, 6, 9)), rng.normal(size=(5, 3, 3, 7)), rng.normal(size=7)
    kernel = np.ascontiguousarray(np.moveaxis(W_E, -1, 0))
    theirs = convolved(F, kernel, bias=torch.from_numpy(b), stride=3)
    ours = patch_embedding(F, W_E, b)
    np.testing.assert_allclose(ours, theirs.reshape(2, 7, 6).swapaxes(1, 2), atol=1e-13)


@pytest.mark.parametrize("shape", [(5, 6, 8), (5, 8, 6)])
def test_patch_embedding_divides_the_picture(shape):
    with pytest.raises(ValueError, match=r"^F has shape \(5, ., .\); wanted .*, multiples of p = 3$"):
        patch_embedding(np.ones(shape), np.ones((5, 3, 3, 7)), np.ones(7))


def test_with_class_token_by_hand():
    X = np.array([[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(with_class_token(X, np.array([9.0, 8])), [[9, 8], [1, 2], [3, 4]])


def test_with_class_token_unordered(rng):
    """Claim: without positions the class token gives the same for patches in any order, or of any shuffle."""
    F, W_E, b, x_class = (rng.normal(size=s) for s in ((3, 4, 6), (3, 2, 2, 8), (8,), (8,)))
    W = rng.normal(size=(4, 8, 8)) / 3
    X = patch_embedding(F, W_E, b)
    order = rng.permutation(len(X))
    P = rng.normal(size=(7, 8))

    def asked(X, P=0):
        return multi_head_attention(with_class_token(X, x_class) + P, *W, 2)[0]

    np.testing.assert_allclose(asked(X[order]), asked(X), rtol=1e-12)
    assert abs(asked(X[order], P) - asked(X, P)).max() > 0.01


def test_vit_tokens_by_hand():
    """One patch 0, 1, 2, 3, its sum and a bias of 10; the class token 7; positions 100 and 200."""
    W_E, P = np.ones((1, 2, 2, 1)), np.array([[100.0], [200]])
    X = vit_tokens(FOUR, W_E, np.array([10.0]), np.array([7.0]), P)
    np.testing.assert_array_equal(X, [[107], [216]])


@pytest.mark.parametrize("rows", [1, 6, 8])
def test_vit_tokens_wants_a_row_for_each_place(rng, rows):
    """A single row would be added to all tokens, and nothing told."""
    F, W_E, b = rng.normal(size=(5, 4, 6)), rng.normal(size=(5, 2, 2, 3)), rng.normal(size=3)
    with pytest.raises(
        ValueError, match=rf"^P has {rows} rows; wanted 7, one for the class token .* patch of F \(5, 4, 6\)$"
    ):
        vit_tokens(F, W_E, b, b, np.ones((rows, 3)))


# Weights for channels


def test_squeeze_excitation_by_hand():
    """One channel, its mean 3 / 2: σ(relu(1.5 · 2) · ln 3 / 3) = 3 / 4 of every number."""
    F, s = squeeze_excitation(FOUR, TWO, ONE * LOG[3] / 3)
    np.testing.assert_allclose(s, [[[3 / 4]]])
    np.testing.assert_allclose(F, 0.75 * FOUR)
    np.testing.assert_allclose(squeeze_excitation(FOUR, -TWO, ONE)[1], [[[1 / 2]]])  # relu: 0


def test_squeeze_excitation_is_torchs(F, rng):
    W_1, W_2 = rng.normal(size=(5, 2)), rng.normal(size=(2, 5))
    x, first, second = map(torch.from_numpy, (F, W_1, W_2))
    s = torch.sigmoid(torch.relu(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1) @ first) @ second)
    np.testing.assert_allclose(squeeze_excitation(F, W_1, W_2)[0], x * s[..., None, None], rtol=1e-12)


def test_squeeze_excitation_refuses_a_sum_that_overflows():
    """relu would make 0 of −∞, and σ a weight of 1 / 2: nobody would be told."""
    with pytest.raises(ValueError, match=r"^F, W_1, W_2 leave the range of float64: _relu is given -inf"):
        squeeze_excitation(np.full((1, 1, 1), 1e300), -1e300 * ONE, ONE)
    with pytest.raises(ValueError, match=r"leave the range of float64: _two_layers gives inf"):
        squeeze_excitation(np.full((1, 1, 1), 1e300), ONE, 1e300 * ONE)


def test_eca_by_hand():
    """Three channels with means 1, 2, 3 and taps 1, 0, 1: beside the middle 1 + 3, at the ends 2 and 2."""
    F = np.arange(1.0, 4)[:, None, None] * np.ones((3, 2, 2))
    _, s = eca(F, np.array([1.0, 0, 1]))
    np.testing.assert_allclose(s.ravel(), sigmoid(np.array([2.0, 4, 2])))
    np.testing.assert_allclose(eca(F, np.array([LOG[2], 0, 0]))[1].ravel(), [1 / 2, 2 / 3, 4 / 5])


def test_eca_is_torchs(F, rng):
    w = rng.normal(size=7)  # longer than the channels are
    z = torch.from_numpy(F).mean((-2, -1))[:, None]
    s = torch.sigmoid(torch.nn.functional.conv1d(z, torch.from_numpy(w)[None, None], padding=3))
    np.testing.assert_allclose(eca(F, w)[0], torch.from_numpy(F) * s[:, 0, :, None, None], rtol=1e-12)


@pytest.mark.parametrize("k", [0, 2])
def test_eca_wants_a_middle(F, k):
    with pytest.raises(ValueError, match=rf"^w has shape \({k},\); wanted an odd number of taps"):
        eca(F, np.ones(k))


def test_eca_kernel_size_of_the_paper():
    """3 for 64 channels, 5 for 128 to 1024, 7 for 2048; and at least a channel itself."""
    C = [1, 2, 8, 64, 128, 256, 512, 1024, 2048]
    assert [eca_kernel_size(c) for c in C] == [1, 1, 3, 3, 5, 5, 5, 5, 7]


@given(st.integers(1, 2**40))
def test_eca_kernel_size_is_the_authors_line(C):
    t = int(abs((math.log2(C) + 1) / 2))
    assert eca_kernel_size(C) == (t if t % 2 else t + 1)


def test_eca_nearest_odd_by_hand():
    """(log₂ 64 + 1) / 2 = 3.5 is nearest to 3; of 128 it is 4, between 3 and 5; of 2048 it is 6."""
    assert [eca_nearest_odd(C) for C in (1, 64, 127, 128, 129, 2048)] == [
        (1,),
        (3,),
        (3,),
        (3, 5),
        (5,),
        (5, 7),
    ]


@given(st.integers(1, 2**40))
def test_eca_nearest_odd_by_definition(C):
    t = (math.log2(C) + 1) / 2
    apart = {k: abs(k - t) for k in range(1, 30, 2)}
    assert eca_nearest_odd(C) == tuple(k for k in apart if apart[k] == min(apart.values()))


def test_eca_kernel_size_ties():
    """Claim: the two readings agree wherever the words decide: not for 8, 128, 2048 … channels."""
    for C in range(1, 5000):
        nearest = eca_nearest_odd(C)
        assert eca_kernel_size(C) == max(nearest)
        assert (len(nearest) == 2) == (C in (8, 128, 2048))


def test_cbam_channels_by_hand():
    """Mean 3 / 2 and maximum 3 through one net: σ(1.5 x + 3 x), x = ln 4 / 4.5, is 4 / 5."""
    F, s = cbam_channels(FOUR, ONE, ONE * LOG[4] / 4.5)
    np.testing.assert_allclose(s, [[[4 / 5]]])
    np.testing.assert_allclose(F, 0.8 * FOUR)


def test_cbam_channels_sees_a_peak_that_leaves_the_mean_alone():
    """Two pictures of one mean: who takes the mean twice gives both one weight."""
    flat, peak = np.full((1, 2, 2), 1.0), np.array([[[4.0, 0], [0, 0]]])
    (_, s_flat), (_, s_peak) = cbam_channels(flat, ONE, ONE), cbam_channels(peak, ONE, ONE)
    np.testing.assert_allclose([s_flat.item(), s_peak.item()], sigmoid(np.array([2.0, 5.0])))


def test_channel_attention_blind(F, rng):
    """Claim: SE, ECA and CBAM's channels give the same weights for positions in any order."""
    W_1, W_2, w = rng.normal(size=(5, 2)), rng.normal(size=(2, 5)), rng.normal(size=3)
    shuffled = permuted_positions(F, rng.permutation(21))
    for family in (
        lambda F: squeeze_excitation(F, W_1, W_2),
        lambda F: eca(F, w),
        lambda F: cbam_channels(F, W_1, W_2),
    ):
        np.testing.assert_allclose(family(shuffled)[1], family(F)[1], rtol=1e-12)
    W = rng.normal(size=(2, 3, 3))
    assert abs(cbam_positions(shuffled, W)[1].sum() - cbam_positions(F, W)[1].sum()) > 1e-3


# Weights for positions


def test_cbam_positions_by_hand():
    """Two channels, 1 × 2: means 2 and 3, maxima 3 and 5; taps for left and middle of one row."""
    F = np.array([[[1.0, 1]], [[3, 5]]])
    W = np.zeros((2, 3, 3))
    W[0, 1, 0], W[1, 1, 1] = 1, 10  # the mean to the left, ten times the maximum here
    _, s = cbam_positions(F / 20, W)
    np.testing.assert_allclose(s, sigmoid(np.array([[[30.0, 2 + 50]]]) / 20))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_cbam_positions_is_torchs(F, k, rng):
    W = rng.normal(size=(2, k, k))
    two = np.stack([F.mean(1), F.max(1)], axis=1)
    s = torch.sigmoid(torch.from_numpy(convolved(two, W[None], padding=k // 2)))
    np.testing.assert_allclose(cbam_positions(F, W)[0], torch.from_numpy(F) * s, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("k", [0, 2])
def test_cbam_positions_wants_a_middle(F, k):
    with pytest.raises(ValueError, match=rf"^W has shape \(2, {k}, {k}\); wanted an odd number of taps"):
        cbam_positions(F, np.ones((2, k, k)))


def test_cbam_is_one_after_the_other(F, rng):
    """Positions are weighted in what the channels' weights have left."""
    W_1, W_2, W = rng.normal(size=(5, 2)), rng.normal(size=(2, 5)), rng.normal(size=(2, 3, 3))
    weighted, s_channels, s_positions = cbam(F, W_1, W_2, W)
    np.testing.assert_allclose(weighted, s_positions * s_channels * F, rtol=1e-12)
    np.testing.assert_array_equal(s_positions, cbam_positions(s_channels * F, W)[1])
    assert abs(s_positions - cbam_positions(F, W)[1]).max() > 0.01


def test_attention_gate_by_hand():
    """f = 2 and g = 1, 5: hidden 2 − g, at least 0; α = σ(ln 3 · hidden) is 3 / 4 and 1 / 2."""
    F, G = np.full((1, 1, 2), 2.0), np.array([[[1.0, 5]]])
    weighted, alpha = attention_gate(F, G, ONE, np.array([[-1.0], [0]]), np.array([LOG[3], 0]))
    np.testing.assert_allclose(alpha, [[[3 / 4, 1 / 2]]])
    np.testing.assert_allclose(weighted, [[[3 / 2, 1]]])


def test_attention_gate_has_two_biases():
    """Of nothing but biases: σ(relu(2) · 1 − 2 + ln 2) = 2 / 3."""
    nothing = np.zeros((1, 1, 1))
    _, alpha = attention_gate(nothing, nothing, ONE, np.array([[1.0], [2]]), np.array([1, LOG[2] - 2]))
    np.testing.assert_allclose(alpha, [[[2 / 3]]])


def test_attention_gate_keeps_the_skip(F, rng):
    """Claim: the output is the skip, weighted; what the asking signal says passes through α alone."""
    G, W_F, W_G, w = (rng.normal(size=s) for s in ((2, 3, 3, 7), (5, 4), (4, 4), (5,)))
    weighted, alpha = attention_gate(F, G, W_F, W_G, w)
    np.testing.assert_array_equal(weighted, alpha * F)
    np.testing.assert_array_equal(attention_gate(0 * F, G, W_F, W_G, w)[0], 0 * F)
    assert abs(attention_gate(F, 0 * G, W_F, W_G, w)[1] - alpha).max() > 0.01


def test_attention_gate_wants_one_grid(F):
    with pytest.raises(
        ValueError,
        match=r"^G has shape \(2, 3, 2, 4\); wanted \(…, gate_channels, high, wide\), where F .* is",
    ):
        attention_gate(F, np.ones((2, 3, 2, 4)), np.ones((5, 4)), np.ones((4, 4)), np.ones(5))


def test_position_attention_blind(F, rng):
    """Claim: CBAM's positions give the same weights for channels in any order; SE's channels go along."""
    W, order = rng.normal(size=(2, 3, 3)), rng.permutation(5)
    np.testing.assert_allclose(cbam_positions(F[:, order], W)[1], cbam_positions(F, W)[1], rtol=1e-12)
    W_1, W_2 = rng.normal(size=(5, 2)), rng.normal(size=(2, 5))
    s = squeeze_excitation(F, W_1, W_2)[1]
    assert abs(squeeze_excitation(F[:, order], W_1, W_2)[1] - s[:, order]).max() > 0.01


def test_sigmoid_no_mean(rng):
    """Claim: sigmoid weights need not sum to 1: a constant picture changes, and so leaves its tokens' hull.

    The hull of tokens that are all (4, 4, 4) is that one point; at scores 0 every weight is 1 / 2, and all
    tokens become (2, 2, 2).
    """
    F, none = np.full((3, 2, 2), 4.0), np.zeros((3, 3))
    for weighted, s in (
        squeeze_excitation(F, none, none),
        eca(F, np.zeros(3)),
        cbam_channels(F, none, none),
        cbam_positions(F, np.zeros((2, 3, 3))),
        attention_gate(F, F, none, np.zeros((4, 3)), np.zeros(4)),
    ):
        np.testing.assert_array_equal(weighted, F / 2)
        assert s.sum() != 1
    pushed = squeeze_excitation(F, np.abs(none + 1), np.diag([5.0, 0, -5]))[0][:, 0, 0]
    assert pushed[0] > 3.9  # not even the same for all channels
    assert pushed[2] < 0.1


def test_softmax_mean(rng):
    """Claim: softmax weights sum to 1 over what they weigh: constants stay, and means stay in the hull."""
    F, W = np.full((3, 2, 4), 4.0), rng.normal(size=(3, 3, 5))
    np.testing.assert_allclose(selective_kernel(np.stack([F, F]), W[0], W[1:].swapaxes(1, 2))[0], F)
    np.testing.assert_allclose(non_local(F, *W[:2], np.eye(3), np.eye(3))[0], F + F)
    film = np.full((5, 3, 2, 2), 4.0)
    np.testing.assert_allclose(temporal(film, np.ones((5, 3)), W[0, :, :3])[0][1:-1], film[1:-1])
    Q, K, V = rng.normal(size=(3, 1, 2, 4, 4))
    O, A = window_attention(Q, K, V, rng.normal(size=(9, 1)), shift=1)
    np.testing.assert_allclose(A.sum(-1), 1)
    assert V.min() < O.min() < O.max() < V.max()


# Weights for branches and for frames


def test_selective_kernel_by_hand():
    """Two branches, 1 and 3, one channel: their sum's mean is 4, scores 4 · (ln 3 / 4) and 0."""
    F = np.array([1.0, 3]).reshape(2, 1, 1, 1)
    mixed, a = selective_kernel(F, ONE, np.array([LOG[3] / 4, 0]).reshape(2, 1, 1))
    np.testing.assert_allclose(a.ravel(), [3 / 4, 1 / 4])
    np.testing.assert_allclose(mixed, [[[3 / 4 + 3 / 4]]])


def test_selective_kernel_sigmoid(rng):
    """Claim: of two branches the softmax is a sigmoid of the difference of their scores."""
    F, W_1, W_2 = rng.normal(size=(2, 5, 3, 7)), rng.normal(size=(5, 3)), rng.normal(size=(2, 3, 5))
    hidden = np.maximum(F.sum(0).mean((-2, -1)) @ W_1, 0)
    difference = hidden @ (W_2[0] - W_2[1])
    np.testing.assert_allclose(selective_kernel(F, W_1, W_2)[1][0, :, 0, 0], sigmoid(difference), rtol=1e-12)


def test_selective_kernel_refuses_a_score_that_overflows():
    """Softmax would take −∞ for a branch that may not be seen."""
    F, W_2 = np.full((2, 1, 1, 1), 1e200), np.array([-1e200, 1]).reshape(2, 1, 1)
    with pytest.raises(ValueError, match=r"^F, W_1, W_2 leave the range of float64: _finite gives -inf"):
        selective_kernel(F, ONE, W_2)


def test_selective_kernel_does_not_look_at_its_neighbours(rng):
    """A picture's weights do not change with the batch; over the branches they sum to 1 for each channel."""
    F, W_1, W_2 = rng.normal(size=(3, 2, 5, 3, 7)), rng.normal(size=(5, 3)), rng.normal(size=(2, 3, 5))
    a = selective_kernel(F, W_1, W_2)[1]
    np.testing.assert_allclose(a.sum(1), np.ones((3, 5, 1, 1)))
    np.testing.assert_allclose(a[1], selective_kernel(F[1], W_1, W_2)[1], rtol=1e-12)


def test_temporal_by_hand():
    """Frames 1, 2, 4: at scores 0 every tap is 1 / 3; at ln 2, 0, 0 half of the weight is the past's."""
    F = np.array([1.0, 2, 4]).reshape(3, 1, 1, 1)
    smooth, a = temporal(F, np.zeros((3, 1)), np.ones((1, 3)))
    np.testing.assert_allclose(a, [[1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(smooth.ravel(), [1, 7 / 3, 2])
    late, a = temporal(F, np.full((3, 1), 1 / 7), np.array([[LOG[2], 0, 0]]))
    np.testing.assert_allclose(a, [[1 / 2, 1 / 4, 1 / 4]])
    np.testing.assert_allclose(late.ravel(), [1 / 4 + 2 / 4, 1 / 2 + 2 / 4 + 4 / 4, 2 / 2 + 4 / 4])


def test_temporal_is_torchs(rng):
    """A depthwise convolution along the frames, with the kernel of each channel."""
    F, W_1, W_2 = rng.normal(size=(5, 3, 2, 4)), rng.normal(size=(5, 7)), rng.normal(size=(7, 3))
    ours, a = temporal(F, W_1, W_2)
    tracks = torch.from_numpy(F).permute(2, 3, 1, 0).flatten(0, 1)  # (place, channel, frame)
    theirs = torch.nn.functional.conv1d(tracks, torch.from_numpy(a)[:, None], padding=1, groups=3)
    np.testing.assert_allclose(ours.transpose(2, 3, 1, 0).reshape(8, 3, 5), theirs, rtol=1e-12)


@pytest.mark.parametrize("k", [0, 4])
def test_temporal_wants_a_middle(rng, k):
    with pytest.raises(ValueError, match=rf"^W_2 has shape \(2, {k}\); wanted an odd number of taps"):
        temporal(np.ones((5, 3, 2, 2)), np.ones((5, 2)), np.ones((2, k)))


# Weights for pairs of positions


def test_non_local_by_hand():
    """Positions 0 and x = ln 3 ask with their number: the second's scores are 0 and x², e^{x²} = 3^x."""
    x = LOG[3]
    F, A = non_local(np.array([[[0.0, x]]]), ONE, ONE, ONE, TWO)
    other = 1 / (1 + 3**x)
    np.testing.assert_allclose(A, [[1 / 2, 1 / 2], [other, 1 - other]])
    np.testing.assert_allclose(F, [[[x, x + 2 * (1 - other) * x]]])


def test_non_local_starts_as_the_identity(F, rng):
    W = rng.normal(size=(3, 5, 3))
    np.testing.assert_array_equal(non_local(F, *W, np.zeros((3, 5)))[0], F)


def test_non_local_contract(F, rng):
    """Claim: what is added is the contract's attention at scale 1, with every position a token."""
    W_Q, W_K, W_V, W_O = (rng.normal(size=s) for s in ((5, 2), (5, 2), (5, 3), (3, 5)))
    X = patches(F, 1)
    O, _ = numpy_direct.attention(X @ W_Q, X @ W_K, X @ W_V, scale=1)
    ours = non_local(F, W_Q, W_K, W_V, W_O)[0] - F
    np.testing.assert_allclose(ours.reshape(2, 5, 21), (O @ W_O).swapaxes(-1, -2), rtol=1e-10, atol=1e-12)


def test_window_partition_by_hand():
    """Two rows of four: two windows; moved by one, the first column stands behind the last."""
    F = np.arange(8.0).reshape(1, 2, 4)
    np.testing.assert_array_equal(window_partition(F, 2)[0, ..., 0], [[0, 1, 4, 5], [2, 3, 6, 7]])
    moved = window_partition(F, 2, shift=1)[0, ..., 0]
    np.testing.assert_array_equal(moved, [[5, 6, 1, 2], [7, 4, 3, 0]])


@pytest.mark.parametrize("shape", [(5, 6, 8), (5, 8, 6)])
def test_window_partition_divides_the_map(shape):
    with pytest.raises(
        ValueError, match=r"^M is 4; wanted a positive integer that divides high and wide, . × .$"
    ):
        window_partition(np.ones(shape), 4)


@pytest.mark.parametrize("shift", [2, 3])
def test_window_partition_moves_by_less_than_a_window(shift):
    with pytest.raises(ValueError, match=rf"^shift is {shift}; wanted a non-negative integer below M = 2$"):
        window_partition(np.ones((1, 4, 4)), 2, shift=shift)
    with pytest.raises(ValueError, match=rf"^shift is {shift}; wanted a non-negative integer below M = 2$"):
        window_join(np.ones((2, 2, 4, 1)), shift=shift)
    with pytest.raises(ValueError, match=rf"^shift is {shift}; wanted a non-negative integer below M = 2$"):
        window_attention(*np.ones((3, 1, 1, 4, 4)), np.ones((9, 1)), shift=shift)


def test_window_join_by_hand():
    X = np.array([[[0.0, 1, 4, 5], [2, 3, 6, 7]]])[..., None]
    np.testing.assert_array_equal(window_join(X)[0], [[0, 1, 2, 3], [4, 5, 6, 7]])


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_window_join_inverse(shift, rng):
    """Claim: joining undoes cutting, whatever the shift, and cutting undoes joining."""
    F = rng.normal(size=(2, 5, 6, 9))
    X = window_partition(F, 3, shift=shift)
    assert X.shape == (2, 2, 3, 9, 5)
    np.testing.assert_array_equal(window_join(X, shift=shift), F)
    np.testing.assert_array_equal(window_partition(window_join(X, shift=shift), 3, shift=shift), X)


@pytest.mark.parametrize("places", [0, 2, 8])
def test_window_join_wants_squares(places):
    with pytest.raises(ValueError, match=rf"^X has {places} tokens in a window; wanted a square number, M²$"):
        window_join(np.ones((5, 1, 1, places, 3)))


def test_relative_position_index_by_hand():
    """A square of two: itself is offset 4 of 0 … 8, to the right −1, below −3."""
    np.testing.assert_array_equal(
        relative_position_index(2), [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    )


def test_relative_position_index_offsets():
    """Claim: (2M − 1)² numbers for M⁴ pairs; coordinates added without the factor 2M − 1 leave 4M − 3."""
    for M in 1, 2, 3, 7:
        index = relative_position_index(M)
        y, x = np.divmod(np.arange(M * M), M)
        offsets = np.stack([y[:, None] - y, x[:, None] - x], axis=-1).reshape(-1, 2)
        assert index.size == M**4
        assert sorted(set(index.ravel().tolist())) == list(range((2 * M - 1) ** 2))
        pairs = np.column_stack([index.ravel(), offsets])
        assert len(np.unique(pairs, axis=0)) == len(np.unique(offsets, axis=0)) == (2 * M - 1) ** 2
        assert len(set((offsets.sum(1)).tolist())) == 4 * M - 3
    assert ((2 * 7 - 1) ** 2, 7**4, 4 * 7 - 3) == (169, 2401, 25)


def test_relative_bias_by_hand():
    """Two heads, T counts its rows: the second head's numbers are ten times the first's."""
    T = np.arange(9.0)[:, None] * [1, 10]
    B = relative_bias(T)
    np.testing.assert_array_equal(B, [relative_position_index(2), 10 * relative_position_index(2)])


@pytest.mark.parametrize("rows", [0, 4, 8, 10])
def test_relative_bias_wants_a_square_of_an_odd_number(rows):
    with pytest.raises(
        ValueError, match=rf"^T has {rows} rows; wanted \(2M − 1\)², the square of an odd number$"
    ):
        relative_bias(np.ones((rows, 3)))


def test_window_attention_by_hand():
    """Rows of one, windows of one: everybody sees itself alone, whatever the table says."""
    V = np.arange(6.0).reshape(1, 1, 2, 3)
    O, A = window_attention(V, V, V, np.array([[5.0]]))
    np.testing.assert_array_equal(O, V)
    np.testing.assert_array_equal(A, np.ones((1, 2, 3, 1, 1)))


def test_window_attention_of_one_window_is_attention(rng):
    """Where the window is the whole map and the table 0; with a table, the contract's with its bias."""
    Q, K, V, T = (rng.normal(size=s) for s in ((2, 3, 4, 4), (2, 3, 4, 4), (2, 5, 4, 4), (49, 2)))
    tokens = [patches(X, 1) for X in (Q, K, V)]
    plain = window_attention(Q, K, V, 0 * T)[0]
    np.testing.assert_allclose(patches(plain, 1), attention(*tokens), rtol=1e-12)
    O, _ = numpy_direct.attention(*tokens, bias=relative_bias(T))
    np.testing.assert_allclose(patches(window_attention(Q, K, V, T)[0], 1), O, rtol=1e-12)


def test_window_attention_refuses_a_score_that_overflows():
    """Neither score nor bias is too large, but their sum is: −∞ would hide the key."""
    Q = np.full((1, 1, 2, 2), 1e154)
    with pytest.raises(ValueError, match=r"^Q, K, V, T leave the range of float64: _finite gives -inf"):
        window_attention(Q, -1.7 * Q, Q, np.full((9, 1), -1e308))


def test_window_attention_counts_swins_pairs(rng):
    """14 × 14, M = 7, shift 3: 2401, 1225, 1225 and 625 pairs see each other in the four windows."""
    Q = np.ones((1, 1, 14, 14))
    _, A = window_attention(Q, Q, Q, np.zeros((169, 1)), shift=3)
    np.testing.assert_array_equal((A > 0).sum((-2, -1))[0], [[2401, 1225], [1225, 625]])


@pytest.mark.parametrize("high", [4, 6])
def test_window_attention_divides_the_map(high):
    with pytest.raises(
        ValueError, match=r"^Q has shape .*; wanted \(…, h, d_k, high, wide\), multiples of M = 5$"
    ):
        window_attention(*np.ones((3, 1, 1, high, 5)), np.ones((81, 1)))


def whole_bias(T, height, width):
    """B for all pairs of the picture: by their offset, where it is in the table."""
    M = (math.isqrt(len(T)) + 1) // 2
    y, x = np.divmod(np.arange(height * width), width)
    down, along = (np.clip(c[:, None] - c, 1 - M, M - 1) + M - 1 for c in (y, x))
    return np.moveaxis(T[down * (2 * M - 1) + along], -1, 0)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("shift", [0, 2])
def test_shifted_windows_rule(name, shift, rng):
    """Claim: one attention of the whole picture under a mask rule, no token moved, is Swin's windows."""
    if why := IMPLEMENTATIONS[name].why_not():
        pytest.skip(why)
    if IMPLEMENTATIONS[name].compiler == "numba":
        pytest.skip("compiles for seconds in each process: meets these windows in test_implementations.py")
    module, device = IMPLEMENTATIONS[name].load(), IMPLEMENTATIONS[name].device
    Q, K, V, T = (rng.normal(size=s) for s in ((2, 3, 6, 9), (2, 3, 6, 9), (2, 5, 6, 9), (25, 2)))
    arrays = [patches(X, 1) for X in (Q, K, V)] + [whole_bias(T, 6, 9)]
    if IMPLEMENTATIONS[name].library == "torch":
        arrays = [torch.tensor(x, device=device) for x in arrays]
    *QKV, bias = arrays
    O, _ = module.attention(*QKV, mask=shifted_windows(6, 9, 3, shift), bias=bias)
    ours = patches(window_attention(Q, K, V, T, shift=shift)[0], 1)
    np.testing.assert_allclose(O.cpu() if isinstance(O, torch.Tensor) else O, ours, rtol=1e-9, atol=1e-12)


# What the weights of several layers say


def test_rollout_by_hand():
    """1 reads 0, then 2 reads 1, half of each stays what it was: a quarter of 0 comes to 2."""
    first, second = np.eye(3), np.eye(3)
    first[1], second[2] = [1, 0, 0], [0, 1, 0]
    R = rollout(np.stack([first, second])[:, None])
    np.testing.assert_allclose(R, [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 4, 1 / 4, 1 / 2]])


def test_rollout_fills_up_what_was_discarded():
    """Token 0 has lost all weights and stays itself; 1 has lost the half that it gave itself."""
    A = np.array([[0.0, 0], [0.5, 0]])[None, None]
    np.testing.assert_allclose(rollout(A), [[1, 0], [1 / 3, 2 / 3]])


def test_rollout_takes_the_mean_of_the_heads(rng):
    A = softmax(rng.normal(size=(3, 2, 5, 5)))
    np.testing.assert_allclose(rollout(A), rollout(A.mean(1, keepdims=True)))


def test_rollout_refuses_what_is_no_weight():
    with pytest.raises(ValueError, match=r"^A holds -0\.5; wanted weights, 0 or more$"):
        rollout(np.array([[1.0, -0.5], [0, 1]])[None, None])


def test_rollout_columns(rng):
    """Claim: dividing columns by the sums of the rows is told by no number, until a weight is discarded.

    Rows of softmaxes and of I sum to 2 everywhere, so every division is by 2. Of 17 tokens and 12 layers
    with nine weights in ten discarded, rows then sum to other numbers than 1.
    """
    A = softmax(2 * rng.normal(size=(12, 1, 17, 17)))
    np.testing.assert_allclose(columns_divided(A), rollout(A), rtol=1e-12)
    kept = np.where(A >= np.quantile(A, 0.9, axis=(-2, -1), keepdims=True), A, 0)
    np.testing.assert_allclose(rollout(kept).sum(-1), 1)
    assert abs(columns_divided(kept).sum(-1) - 1).max() > 0.1
    assert abs(columns_divided(kept)[0] - rollout(kept)[0]).max() > 0.01


# How many parameters


def test_squeeze_excitation_parameters_of_a_resnet():
    """SE-ResNet-50, r = 16: + 2,514,944 without biases, as the paper counts; + 2,530,992 with them."""
    stages = (3, 256), (4, 512), (6, 1024), (3, 2048)
    assert sum(N * squeeze_excitation_parameters(C, 16, bias=False) for N, C in stages) == 2_514_944
    assert sum(N * squeeze_excitation_parameters(C, 16, bias=True) for N, C in stages) == 2_530_992


@pytest.mark.parametrize("bias", [False, True])
def test_squeeze_excitation_parameters_counts_the_arrays(bias):
    layers = torch.nn.Linear(12, 4, bias=bias), torch.nn.Linear(4, 12, bias=bias)
    counted = sum(p.numel() for layer in layers for p in layer.parameters())
    assert squeeze_excitation_parameters(12, 3, bias=bias) == counted
    assert type(squeeze_excitation_parameters(12, 3, bias=bias)) is int
    with pytest.raises(ValueError, match=r"^r is 5; wanted a positive integer that divides C = 12$"):
        squeeze_excitation_parameters(12, 5, bias=bias)


def test_cbam_parameters_of_256_channels():
    """8,192 of one net and 98 of two kernels of 7 × 7; two nets would make 16,482."""
    assert cbam_parameters(256, 16) == 8_290
    assert cbam_parameters(256, 16) + squeeze_excitation_parameters(256, 16, bias=False) == 16_482


def test_cbam_parameters_counts_the_arrays(F):
    W_1, W_2, W = np.ones((5, 1)), np.ones((1, 5)), np.ones((2, 3, 3))
    cbam(F, W_1, W_2, W)
    assert cbam_parameters(5, 5, k=3) == W_1.size + W_2.size + W.size
    with pytest.raises(ValueError, match=r"^r is 2; wanted a positive integer that divides C = 5$"):
        cbam_parameters(5, 2)


def test_vit_parameters_of_the_base_model():
    """ViT-B/16: 590,592 of patches, 768, 151,296 of positions, 12 × 7,087,872, 1,536 and 769,000."""
    assert vit_parameters() == 86_567_656
    assert 590_592 + 768 + 151_296 + 12 * 7_087_872 + 1_536 + 769_000 == 86_567_656
    assert vit_parameters(depth=13) - vit_parameters() == 7_087_872


def test_vit_parameters_counts_the_arrays():
    """PyTorch's layers, three of them, and what stands before and behind."""
    layer = torch.nn.TransformerEncoderLayer(12, 3, 7)
    parts = torch.nn.Conv2d(5, 12, 2, 2), torch.nn.LayerNorm(12), torch.nn.Linear(12, 11)
    counted = sum(p.numel() for part in parts for p in part.parameters())
    counted += 3 * sum(p.numel() for p in layer.parameters()) + 12 + (1 + 4 * 4) * 12
    sizes = {"image": 8, "p": 2, "channels": 5, "depth": 3, "d_model": 12, "d_ff": 7, "classes": 11}
    assert vit_parameters(**sizes) == counted
    assert type(vit_parameters(**sizes)) is int
    with pytest.raises(ValueError, match=r"^d_model is 0; wanted a positive integer$"):
        vit_parameters(**sizes | {"d_model": 0})
    with pytest.raises(ValueError, match=r"^p is 3; wanted a positive integer that divides image = 8$"):
        vit_parameters(**sizes | {"p": 3})


def test_swin_parameters_of_the_tiny_model():
    """Swin-T, 23,322 of its parameters in the tables of relative positions: 169 rows for 2,401 pairs."""
    assert swin_parameters() == 28_288_354
    assert swin_parameters() - swin_parameters(M=1) == 23_322 - 23_322 // 169


def test_swin_parameters_counts_the_arrays():
    """Two stages, widths 6 and 12, of one and two blocks."""
    nn = torch.nn
    parts = [nn.Conv2d(5, 6, 2, 2), nn.LayerNorm(6), nn.LayerNorm(24), nn.Linear(24, 12, bias=False)]
    for width, heads, blocks in (6, 3, 1), (12, 2, 2):
        parts += [nn.TransformerEncoderLayer(width, 1, 4 * width) for _ in range(blocks)]
        parts += [nn.Embedding(9, heads) for _ in range(blocks)]
    parts += [nn.LayerNorm(12), nn.Linear(12, 7)]
    counted = sum(p.numel() for part in parts for p in part.parameters())
    given = {"d": 6, "depths": (1, 2), "heads": (3, 2), "M": 2, "p": 2, "channels": 5, "classes": 7}
    assert swin_parameters(**given) == counted


@pytest.mark.parametrize(
    ("depths", "heads", "named"),
    [
        ((1, 2), (3,), "heads"),
        ((), (), "heads"),
        (3, (3,), "depths"),
        ((0, 1), (3, 3), "depths"),
        ((1,), (1.5,), "heads"),
    ],
)
def test_swin_parameters_wants_a_number_for_each_stage(depths, heads, named):
    with pytest.raises(ValueError, match=f"^{named} is .*; wanted "):
        swin_parameters(depths=depths, heads=heads)
