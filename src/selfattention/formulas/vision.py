"""Attention over pictures: what is a token, and who is weighted. Chapter: notebooks/17_vision.

A map F (…, channels, high, wide) is a picture, or what a layer has made of one. A family returns its
output and the weights that it used. Weights of channels or of positions keep all the axes of a map, of
length 1 where they are shared, so that output = weights · F. What the papers normalise on the way (batch
norms) is left out.
"""

import math

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.heads import multi_head_parameters
from selfattention.formulas.masks import masked_scores
from selfattention.formulas.output import output_projection
from selfattention.formulas.projections import append_ones, projections
from selfattention.formulas.scaling import scaled_scores
from selfattention.formulas.scores import dot_scores
from selfattention.formulas.softmax import softmax
from selfattention.notation import Tokens
from selfattention.signatures import checked, scalars, size, truth, whole

Anything = Float[np.ndarray, "*axes"]
Map = Float[np.ndarray, "*batch channels high wide"]  # F
Branches = Float[np.ndarray, "*batch branches channels high wide"]
Film = Float[np.ndarray, "*batch frames channels high wide"]
Coarser = Float[np.ndarray, "*batch gate_channels high wide"]  # G, on the grid of F
QueryMap = Float[np.ndarray, "*batch h d_k high wide"]  # Q, and K, of h heads
ValueMap = Float[np.ndarray, "*batch h d_v high wide"]
ChannelWeights = Float[np.ndarray, "*batch channels 1 1"]
PositionWeights = Float[np.ndarray, "*batch 1 high wide"]
BranchWeights = Float[np.ndarray, "*batch branches channels 1 1"]
TapWeights = Float[np.ndarray, "*batch channels taps"]
PairWeights = Float[np.ndarray, "*batch n n"]
WindowWeights = Float[np.ndarray, "*batch h down along places places"]
Patches = Float[np.ndarray, "*batch n features"]
Windows = Float[np.ndarray, "*batch down along places channels"]
PatchWeights = Float[np.ndarray, "channels side side d_model"]  # W_E
OneMoreToken = Float[np.ndarray, "*#batch n+1 d_model"]
PatchBias = Float[np.ndarray, "d_model"]  # b_E
FirstToken = Float[np.ndarray, "d_model"]
Places = Float[np.ndarray, "tokens d_model"]  # P
PlacedTokens = Float[np.ndarray, "*batch tokens d_model"]
LayersOfWeights = Float[np.ndarray, "*batch depth h n n"]
Squeeze = Float[np.ndarray, "channels d_hidden"]  # W_1
Excite = Float[np.ndarray, "d_hidden channels"]  # W_2
Taps = Float[np.ndarray, "taps"]
TwoMaps = Float[np.ndarray, "2 taps taps"]  # one kernel for the means, one for the maxima
ExciteBranches = Float[np.ndarray, "branches d_hidden channels"]
ChannelQueries = Float[np.ndarray, "channels d_k"]  # W_Q and W_K of maps
ChannelValues = Float[np.ndarray, "channels d_v"]
ChannelOutputs = Float[np.ndarray, "d_v channels"]
GateWeights = Float[np.ndarray, "gate_channels+1 d_hidden"]  # its last row the bias
HiddenToScore = Float[np.ndarray, "d_hidden+1"]
FramesToHidden = Float[np.ndarray, "frames d_hidden"]
HiddenToTaps = Float[np.ndarray, "d_hidden taps"]
Offsets = Int[np.ndarray, "places places"]  # a row of T for each pair of a window's places
BiasTable = Float[np.ndarray, "*batch offsets h"]  # T
LearnedTable = Float[np.ndarray, "offsets h"]
WindowBias = Float[np.ndarray, "*batch h places places"]  # B
Rows = Float[np.ndarray, "*batch inputs"]
First = Float[np.ndarray, "inputs d_hidden"]
Second = Float[np.ndarray, "d_hidden outputs"]
Answers = Float[np.ndarray, "*batch outputs"]


@checked
def sigmoid(X: Anything) -> Anything:
    """Eq. sigmoid:  σ(x) = 1 / (1 + e^{−x}),  number by number.

    Any shape. From 0 to 1, and σ(−x) = 1 − σ(x). Computed as e^{−ln(1 + e^{−x})}, which keeps its
    digits where it is small and overflows nowhere. Source: Verhulst 1845.
    Raises ValueError or TypeError for what is not an array of finite floats.
    """
    return np.exp(-np.logaddexp(0, -X))


@checked
def _relu(X: Anything) -> Anything:
    """max(x, 0). Checked by itself: of a sum that has overflowed to −∞ it would make a 0."""
    return np.maximum(X, 0)


@checked
def _two_layers(Z: Rows, W_1: First, W_2: Second) -> Answers:
    """relu(Z W_1) W_2, the small net of most families."""
    return _relu(Z @ W_1) @ W_2


# Pictures as tokens


@checked
@scalars(p=size(1))
def patches(F: Map, p: int) -> Patches:
    """Eq. patches:  row (y, x) holds F_c,py+a,px+b,  c slowest, then a, then b.

    F (…, channels, high, wide) gives (…, n, channels · p²), a row for each of the
    n = (high / p)(wide / p) squares of p × p, from the left and then down. With p = 1 every
    position is a token.
    Raises ValueError where p does not divide high and wide.
    Source: Dosovitskiy et al. 2021.
    """
    *batch, channels, high, wide = F.shape
    if high % p or wide % p:
        raise ValueError(f"p is {p}; wanted a positive integer that divides high and wide, {high} × {wide}")
    squares = F.reshape(*batch, channels, high // p, p, wide // p, p)
    rows = np.moveaxis(squares, (-4, -2), (-5, -4))
    return rows.reshape(*batch, high // p * (wide // p), channels * p * p)


@checked
def patch_embedding(F: Map, W_E: PatchWeights, b_E: PatchBias) -> Tokens:
    """Eq. patch-embedding:  X = patches(F) W_E + b_E,  W_E read as (channels · p², d_model).

    F (…, channels, high, wide), W_E (channels, p, p, d_model) and b_E (d_model) give X (…, n, d_model).
    A convolution with kernels of p × p and stride p, as one product (Claim patch-embedding-convolution).
    Raises ValueError where p does not divide high and wide.
    Source: Dosovitskiy et al. 2021.
    """
    p = W_E.shape[1]
    if F.shape[-2] % p or F.shape[-1] % p:
        raise ValueError(f"F has shape {F.shape}; wanted (…, channels, high, wide), multiples of p = {p}")
    return patches(F, p) @ W_E.reshape(-1, W_E.shape[-1]) + b_E


@checked
def with_class_token(X: Tokens, x_class: FirstToken) -> OneMoreToken:
    """Eq. with-class-token:  X' = [x_class; X],  a first row that no patch has made.

    X (…, n, d_model) and x_class (d_model) give (…, n + 1, d_model). It asks all patches, and its
    last state is read by the head. Source: Dosovitskiy et al. 2021, eq. 1; Devlin et al. 2019.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    first = np.broadcast_to(x_class, (*X.shape[:-2], 1, X.shape[-1]))
    return np.concatenate([first, X], axis=-2)


@checked
def vit_tokens(F: Map, W_E: PatchWeights, b_E: PatchBias, x_class: FirstToken, P: Places) -> PlacedTokens:
    """Eq. vit-tokens:  X = [x_class; patches(F) W_E + b_E] + P,  a row of P for every place, learned.

    F (…, channels, high, wide), W_E (channels, p, p, d_model), b_E and x_class (d_model) and
    P (n + 1, d_model), its first row the class token's, give X (…, n + 1, d_model).
    Raises ValueError where p does not divide high and wide, or P has not one row more than F has patches:
    a single row would be added to all of them, and nothing told.
    Source: Dosovitskiy et al. 2021, eq. 1.
    """
    X = with_class_token(patch_embedding(F, W_E, b_E), x_class)
    if len(P) != X.shape[-2]:
        raise ValueError(
            f"P has {len(P)} rows; wanted {X.shape[-2]}, one for the class token and one for each patch of"
            f" F {F.shape}"
        )
    return X + P


# Weights for channels


@checked
def squeeze_excitation(F: Map, W_1: Squeeze, W_2: Excite) -> tuple[Map, ChannelWeights]:
    """Eq. squeeze-excitation:  F'_c = s_c F_c,  s = σ(relu(z W_1) W_2),  z_c the mean of F_c.

    F (…, channels, high, wide), W_1 (channels, d_hidden), W_2 (d_hidden, channels) give F' as F and
    s (…, channels, 1, 1). d_hidden is channels / r. Source: Hu, Shen & Sun 2018, eqs. 2 to 4.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    s = sigmoid(_two_layers(F.mean((-2, -1)), W_1, W_2))[..., None, None]
    return s * F, s


@checked
def eca(F: Map, w: Taps) -> tuple[Map, ChannelWeights]:
    """Eq. eca:  F'_c = s_c F_c,  s_c = σ(Σ_t w_t z_{c + t − (k − 1)/2}),  z_c the mean of F_c.

    The score of a channel is made from its k neighbours alone; beyond the first and the last stands
    0. F (…, channels, high, wide) and w (k), k odd, give F' as F and s (…, channels, 1, 1).
    Raises ValueError where k is even: no middle. Source: Wang et al. 2020, ECA-Net.
    """
    _check_odd("w", w)
    s = sigmoid(_neighbours(F.mean((-2, -1)), len(w), -1) @ w)[..., None, None]
    return s * F, s


@scalars(C=whole(1))
def eca_kernel_size(C: int) -> int:
    """Eq. eca-kernel-size:  k = ⌊t⌋, or one more where that is even,  t = (log₂ C + 1) / 2.

    The reading of the authors' code (γ = 2, b = 1). Returns an odd number of neighbours for C
    channels. Source: Wang et al. 2020, figure 3.
    Raises ValueError where C is not a positive integer.
    """
    t = C.bit_length() // 2  # ⌊(log₂ C + 1) / 2⌋ = ⌊(⌊log₂ C⌋ + 1) / 2⌋
    return t + (t % 2 == 0)


@scalars(C=whole(1))
def eca_nearest_odd(C: int) -> tuple[int, ...]:
    """Eq. eca-nearest-odd:  k = the odd number nearest to t,  t = (log₂ C + 1) / 2.

    The reading of the paper's words; where t is even, two are equally near, and both are returned.
    Source: Wang et al. 2020, ECA-Net.
    Raises ValueError where C is not a positive integer.
    """
    k = 1
    while 2 ** (2 * k + 1) < C:  # t is nearer to k + 2, or beyond
        k += 2
    return (k, k + 2) if 2 ** (2 * k + 1) == C else (k,)


@checked
def cbam_channels(F: Map, W_1: Squeeze, W_2: Excite) -> tuple[Map, ChannelWeights]:
    """Eq. cbam-channels:  F'_c = s_c F_c,  s = σ(N(mean of F_c) + N(max of F_c)),  N(z) = relu(z W_1) W_2.

    One net N for both. F (…, channels, high, wide), W_1 (channels, d_hidden), W_2 (d_hidden, channels)
    give F' as F and s (…, channels, 1, 1). Source: Woo et al. 2018, eq. 2.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    mean, most = _two_layers(F.mean((-2, -1)), W_1, W_2), _two_layers(F.max((-2, -1)), W_1, W_2)
    s = sigmoid(mean + most)[..., None, None]
    return s * F, s


# Weights for positions


@checked
def cbam_positions(F: Map, W: TwoMaps) -> tuple[Map, PositionWeights]:
    """Eq. cbam-positions:  F'_yx = s_yx F_yx,  s = σ(W ∗ [mean; max]),  both over the channels.

    F (…, channels, high, wide) and W (2, k, k), k odd and 7 in the source, its first kernel for the
    means, give F' as F and s (…, 1, high, wide). Around the map stands 0.
    Raises ValueError where k is even: no middle. Source: Woo et al. 2018, eq. 3.
    """
    _check_odd("W", W)
    two = np.stack([F.mean(-3), F.max(-3)], axis=-3)
    k = W.shape[-1]
    around = _neighbours(_neighbours(two, k, -2), k, -2)  # the axis that was last is second to last now
    s = sigmoid(np.einsum("...cyxab,cab->...yx", around, W))[..., None, :, :]
    return s * F, s


@checked
def cbam(F: Map, W_1: Squeeze, W_2: Excite, W: TwoMaps) -> tuple[Map, ChannelWeights, PositionWeights]:
    """Eq. cbam:  F'' = positions(channels(F)),  first Eq. cbam-channels, then Eq. cbam-positions.

    F (…, channels, high, wide), W_1 (channels, d_hidden), W_2 (d_hidden, channels), W (2, k, k) give
    F'' as F and the weights of both. Source: Woo et al. 2018, eq. 1.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    weighted, s_channels = cbam_channels(F, W_1, W_2)
    weighted, s_positions = cbam_positions(weighted, W)
    return weighted, s_channels, s_positions


@checked
def attention_gate(
    F: Map, G: Coarser, W_F: Squeeze, W_G: GateWeights, w: HiddenToScore
) -> tuple[Map, PositionWeights]:
    """Eq. attention-gate:  F'_i = α_i F_i,  α_i = σ([relu(f_i W_F + [g_i 1] W_G) 1] · w).

    The coarser level G asks, the skip F is kept: α says which of F's positions pass. F (…, channels,
    high, wide) and G (…, gate_channels, high, wide), on one grid, W_F (channels, d_hidden),
    W_G (gate_channels + 1, d_hidden), w (d_hidden + 1) give F' as F and α (…, 1, high, wide).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Oktay et al. 2018, eqs. 1 and 2, who bring F to the grid of G and α back again.
    """
    hidden = _relu(patches(F, 1) @ W_F + append_ones(patches(G, 1)) @ W_G)
    alpha = sigmoid(append_ones(hidden) @ w).reshape(*F.shape[:-3], 1, *F.shape[-2:])
    return alpha * F, alpha


# Weights for branches and for frames


@checked
def selective_kernel(F: Branches, W_1: Squeeze, W_2: ExciteBranches) -> tuple[Map, BranchWeights]:
    """Eq. selective-kernel:  F'_c = Σ_b a_bc F_bc,  a_·c = softmax over b of relu(z W_1) W_2b.

    z_c is the mean of Σ_b F_bc. F (…, branches, channels, high, wide), what convolutions of several
    sizes have made of one map, W_1 (channels, d_hidden) and W_2 (branches, d_hidden, channels) give
    F' (…, channels, high, wide) and a (…, branches, channels, 1, 1).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Li et al. 2019, eqs. 1 to 6.
    """
    hidden = _relu(F.sum(-4).mean((-2, -1)) @ W_1)
    scores = _finite(np.einsum("...d,bdc->...cb", hidden, W_2))
    a = softmax(scores).swapaxes(-1, -2)[..., None, None]
    return (a * F).sum(-4), a


@checked
def temporal(F: Film, W_1: FramesToHidden, W_2: HiddenToTaps) -> tuple[Film, TapWeights]:
    """Eq. temporal:  F'_tc = Σ_k a_ck F_{t + k − (K − 1)/2, c},  a_c = softmax(relu(z_c W_1) W_2).

    A kernel of K taps for each channel of each film, from the channel's own track: z_ct is the mean
    of F_tc. F (…, frames, channels, high, wide), W_1 (frames, d_hidden) and W_2 (d_hidden, K), K odd,
    give F' as F and a (…, channels, K). Before the first frame and after the last stands 0.
    Raises ValueError where K is even: no middle. Source: Liu et al. 2021, TAM, the global branch.
    """
    _check_odd("W_2", W_2)
    tracks = F.mean((-2, -1)).swapaxes(-1, -2)
    a = softmax(_finite(_two_layers(tracks, W_1, W_2)))
    return np.einsum("...tcyxk,...ck->...tcyx", _neighbours(F, W_2.shape[-1], -4), a), a


# Weights for pairs of positions


@checked
def non_local(
    F: Map, W_Q: ChannelQueries, W_K: ChannelQueries, W_V: ChannelValues, W_O: ChannelOutputs
) -> tuple[Map, PairWeights]:
    """Eq. non-local:  F' = F + softmax(Q Kᵀ) V W_O,  every position a token, the scale 1.

    F (…, channels, high, wide), W_Q and W_K (channels, d_k), W_V (channels, d_v), W_O (d_v, channels)
    give F' as F and A (…, n, n) for n = high · wide. W_O = 0, at the start, gives F' = F.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Wang et al. 2018, eqs. 1, 3 and 6, the embedded Gaussian.
    """
    Q, K, V = projections(patches(F, 1), W_Q, W_K, W_V)
    A = softmax(dot_scores(Q, K))
    return F + _as_map(output_projection(weighted_sum(A, V), W_O), *F.shape[-2:]), A


@checked
@scalars(M=size(1), shift=whole(0))
def window_partition(F: Map, M: int, *, shift: int = 0) -> Windows:
    """Eq. window-partition:  window (y, x) holds F at M y + a + s, M x + b + s,  around the edges.

    F (…, channels, high, wide) gives (…, high / M, wide / M, M², channels): the map moved up and to
    the left by s = shift, what falls off put in again on the other side, then cut into windows of
    M × M tokens.
    Raises ValueError where M does not divide high and wide, or shift is not below M.
    Source: Liu et al. 2021, Swin.
    """
    high, wide = F.shape[-2:]
    if high % M or wide % M:
        raise ValueError(f"M is {M}; wanted a positive integer that divides high and wide, {high} × {wide}")
    _check_shift(shift, M)
    return _cut(F, M, shift)


def _cut(F, M, shift):
    *batch, channels, high, wide = F.shape
    moved = np.roll(F, (-shift, -shift), axis=(-2, -1))
    cut = moved.reshape(*batch, channels, high // M, M, wide // M, M)
    tokens = np.moveaxis(cut, -5, -1).swapaxes(-4, -3)
    return tokens.reshape(*batch, high // M, wide // M, M * M, channels)


@checked
@scalars(shift=whole(0))
def window_join(X: Windows, *, shift: int = 0) -> Map:
    """Eq. window-join:  window_join(window_partition(F)) = F,  with the same shift.

    X (…, down, along, M², channels) gives (…, channels, down · M, along · M).
    Raises ValueError where a window has no square number of tokens, or shift is not below M.
    Source: Liu et al. 2021, Swin.
    """
    M = math.isqrt(X.shape[-2])
    if M * M != X.shape[-2] or M == 0:
        raise ValueError(f"X has {X.shape[-2]} tokens in a window; wanted a square number, M²")
    _check_shift(shift, M)
    return _joined(X, M, shift)


def _joined(X, M, shift):
    *batch, down, along, _, channels = X.shape
    cut = X.reshape(*batch, down, along, M, M, channels)
    moved = np.moveaxis(cut.swapaxes(-4, -3), -1, -5).reshape(*batch, channels, down * M, along * M)
    return np.roll(moved, (shift, shift), axis=(-2, -1))


@checked
@scalars(M=size(1))
def relative_position_index(M: int) -> Offsets:
    """Eq. relative-position-index:  r_ij = (Δy + M − 1)(2M − 1) + Δx + M − 1,  Δ = place i − place j.

    Returns (M², M²): for each pair of a window's places which of (2M − 1)² offsets lies between them.
    Raises ValueError where M is not a positive integer. Source: Liu et al. 2021, Swin.
    """
    y, x = np.divmod(np.arange(M * M), M)
    down, along = y[:, None] - y, x[:, None] - x
    return (down + M - 1) * (2 * M - 1) + along + M - 1


@checked
def relative_bias(T: BiasTable) -> WindowBias:
    """Eq. relative-bias:  B_tij = T_{r_ij, t},  r as in Eq. relative-position-index.

    T (…, (2M − 1)², h), learned, gives B (…, h, M², M²), to be added to the scaled scores: M⁴ pairs
    of places share (2M − 1)² numbers.
    Raises ValueError where T has no such number of rows. Source: Liu et al. 2021, Swin, eq. 4.
    """
    M = _window_side(T)
    return np.moveaxis(T[..., relative_position_index(M), :], -1, -3)


@checked
@scalars(shift=whole(0))
def window_attention(
    Q: QueryMap, K: QueryMap, V: ValueMap, T: LearnedTable, *, shift: int = 0
) -> tuple[ValueMap, WindowWeights]:
    """Eq. window-attention:  O = join(softmax(Q_w K_wᵀ / √d_k + B, among neighbours) V_w),  window by window.

    Q and K (…, h, d_k, high, wide), V (…, h, d_v, high, wide), every position a token; T
    ((2M − 1)², h) as in Eq. relative-bias. Gives O (…, h, d_v, high, wide) and A (…, h, high / M,
    wide / M, M², M²). In a shifted window only those see each other that were neighbours before the map
    was moved around its edges.
    Raises ValueError where M does not divide high and wide, or shift is not below M.
    Source: Liu et al. 2021, Swin.
    """
    M, (high, wide) = _window_side(T), Q.shape[-2:]
    if high % M or wide % M:
        raise ValueError(f"Q has shape {Q.shape}; wanted (…, h, d_k, high, wide), multiples of M = {M}")
    _check_shift(shift, M)
    Q, K, V = (_cut(X, M, shift) for X in (Q, K, V))
    rows, columns = (np.arange(length) < shift for length in (high, wide))  # moved to the other side
    part = _cut((2 * rows[:, None] + columns)[None], M, shift)[..., 0]
    S = scaled_scores(Q, K) + relative_bias(T)[..., None, None, :, :]
    A = softmax(masked_scores(_finite(S), part[..., :, None] == part[..., None, :]))
    return _joined(weighted_sum(A, V), M, shift), A


# What the weights of several layers say


@checked
def rollout(A: LayersOfWeights) -> PairWeights:
    """Eq. rollout:  R = Ā_depth ⋯ Ā_1,  Ā_l = the mean of the layer's heads + I, each row over its sum.

    How much of the first layer's token j has come to the last layer's token i, if tokens were only ever
    averaged: I stands for the residual, and neither values nor feed-forward nets are looked at. A (…,
    depth, h, n, n), 0 or more, gives R (…, n, n), whose rows sum to 1. Rows of A need not: who discards
    small weights passes zeros.
    Raises ValueError where A holds a negative number. Source: Abnar & Zuidema 2020.
    """
    if (A < 0).any():
        raise ValueError(f"A holds {A.min()}; wanted weights, 0 or more")
    mixed = A.mean(-3) + np.eye(A.shape[-1], dtype=A.dtype)
    mixed /= mixed.sum(-1, keepdims=True)
    R = mixed[..., 0, :, :]
    for layer in range(1, mixed.shape[-3]):
        R = mixed[..., layer, :, :] @ R
    return R


# How many parameters


@scalars(C=whole(1), r=whole(1), bias=truth)
def squeeze_excitation_parameters(C: int, r: int, *, bias: bool) -> int:
    """Eq. squeeze-excitation-parameters:  2 C² / r  weights,  and C / r + C biases.

    C channels and a hidden layer of C / r. Returns a count of parameters.
    Raises ValueError where r does not divide C. Source: Hu, Shen & Sun 2018.
    """
    hidden = _reduced(C, r)
    return 2 * C * hidden + bias * (hidden + C)


@scalars(C=whole(1), r=whole(1), k=whole(1))
def cbam_parameters(C: int, r: int, *, k: int = 7) -> int:
    """Eq. cbam-parameters:  2 C² / r + 2 k²,  one net for mean and maximum, and two kernels.

    Without biases. Returns a count of parameters.
    Raises ValueError where r does not divide C, or an argument is no count.
    Source: Woo et al. 2018.
    """
    return 2 * C * _reduced(C, r) + 2 * k * k


@scalars(
    image=whole(1),
    p=whole(1),
    channels=whole(1),
    depth=whole(0),
    d_model=whole(1),
    d_ff=whole(1),
    classes=whole(0),
)
def vit_parameters(
    *,
    image: int = 224,
    p: int = 16,
    channels: int = 3,
    depth: int = 12,
    d_model: int = 768,
    d_ff: int = 3072,
    classes: int = 1000,
) -> int:
    """Eq. vit-parameters:  (channels p² + 1) d + d + (n + 1) d + depth · block + 2 d + (d + 1) classes.

    d is d_model and n = (image / p)². The terms are patches, class token, positions, blocks, last norm
    and head. A block is an attention, a net of d_ff and two norms, all with biases; the usual values are
    ViT-B/16. Returns a count of parameters.
    Raises ValueError where p does not divide image, or an argument is no count.
    Source: Dosovitskiy et al. 2021.
    """
    if image % p:
        raise ValueError(f"p is {p}; wanted a positive integer that divides image = {image}")
    tokens = 1 + (image // p) ** 2
    embedding = (channels * p * p + 1) * d_model + d_model + tokens * d_model
    return embedding + depth * _block(d_model, d_ff) + 2 * d_model + (d_model + 1) * classes


def _whole_numbers(name, values):
    """The rule for several counts, each a positive integer."""
    try:
        return tuple(whole(1)(name, value) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {values!r}; wanted positive integers") from None


@scalars(
    d=whole(1),
    depths=_whole_numbers,
    heads=_whole_numbers,
    M=whole(1),
    p=whole(1),
    channels=whole(1),
    classes=whole(0),
)
def swin_parameters(
    *,
    d: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
    M: int = 7,
    p: int = 4,
    channels: int = 3,
    classes: int = 1000,
) -> int:
    """Eq. swin-parameters:  (channels p² + 3) d + Σ_s N_s (block(2^s d) + (2M − 1)² h_s) + merges + head.

    Stage s has N_s blocks of width 2^s d and h_s heads, each with a table of (2M − 1)² numbers per head.
    Between stages a norm of 4 · 2^s d and a product 8 · 4^s d² without bias join four tokens; the head has
    a norm before it. The usual values are Swin-T. Returns a count of parameters.
    Raises ValueError where depths and heads have not one number for each stage, or one is no count.
    Source: Liu et al. 2021, Swin.
    """
    if len(depths) != len(heads) or not depths:
        raise ValueError(f"heads is {heads}; wanted a number for each stage, as depths {depths}")
    widths = [d * 2**s for s in range(len(depths))]
    stages = sum(
        N * (_block(width, 4 * width) + (2 * M - 1) ** 2 * h)
        for N, width, h in zip(depths, widths, heads, strict=True)
    )
    merges = sum(8 * width + 8 * width**2 for width in widths[:-1])
    head = 2 * widths[-1] + (widths[-1] + 1) * classes
    return (channels * p * p + 3) * d + stages + merges + head


def _block(d, d_ff):
    """Attention, two layers and two norms of a transformer's block, all with biases."""
    return multi_head_parameters(d, 1, bias=True) + 2 * d * d_ff + d_ff + d + 4 * d


def _reduced(C, r):
    if C % r:
        raise ValueError(f"r is {r}; wanted a positive integer that divides C = {C}")
    return C // r


# Places


def _neighbours(X, k, axis):
    """For each place along an axis (…, −1) the k around it, on a new last axis; 0 beyond the ends."""
    around = [(0, 0)] * X.ndim
    around[axis] = (k // 2, k // 2)
    return sliding_window_view(np.pad(X, around), k, axis=axis)


def _as_map(X, high, wide):
    """(…, n, d) as (…, d, high, wide)."""
    return X.swapaxes(-1, -2).reshape(*X.shape[:-2], X.shape[-1], high, wide)


@checked
def _finite(S: Anything) -> Anything:
    """Scores as they are. Checked: of a sum that has overflowed to −∞ softmax thinks that nobody may see."""
    return S


def _check_odd(name, W):
    if W.shape[-1] % 2 == 0:
        raise ValueError(
            f"{name} has shape {W.shape}; wanted an odd number of taps: one has to be the middle"
        )


def _check_shift(shift, M):
    if shift >= M:
        raise ValueError(f"shift is {shift}; wanted a non-negative integer below M = {M}")


def _window_side(T):
    side = math.isqrt(T.shape[-2])
    if side * side != T.shape[-2] or side % 2 == 0:
        raise ValueError(f"T has {T.shape[-2]} rows; wanted (2M − 1)², the square of an odd number")
    return (side + 1) // 2
