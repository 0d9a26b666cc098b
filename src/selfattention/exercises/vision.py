"""Exercises of chapter 17."""

from functools import wraps

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import agree, fits, numbers, show
from selfattention.formulas import sigmoid, softmax
from selfattention.mutants import attention_gate as wrong_gate
from selfattention.mutants import cbam_channels as wrong_channels
from selfattention.mutants import patches as wrong_patches
from selfattention.mutants import relative_position_index as wrong_index
from selfattention.mutants import rollout as wrong_rollout
from selfattention.recipes.gates import CBAM, of_weights


def _numbered(channels, high, wide):
    """A picture whose numbers say where they stand: 100 c + 10 y + x."""
    c, y, x = np.indices((channels, high, wide))
    return 100.0 * c + 10 * y + x


def _place(number, F):
    """Where a number of `_numbered` stands."""
    c, y, x = np.argwhere(number == F)[0]
    return f"channel {c}, row {y}, column {x}"


def first_number_out_of_place(trial):
    (F, p), (given,), (wanted,) = trial.inputs.values(), trial.given, trial.wanted
    if given.shape != wanted.shape or not np.isin(given, F).all():
        return numbers(trial)
    i, k = np.argwhere(given != wanted)[0]
    yours, right = _place(given[i, k], F), _place(wanted[i, k], F)
    return f"Of a picture {F.shape} in squares of {p}, row {i} has in place {k} {yours}; wanted {right}."


@exercise(
    cases=[(_numbered(2, 2, 4), 2), (_numbered(2, 3, 5), 1), (_numbered(3, 6, 9), 3)],
    evidence=first_number_out_of_place,
    worth_trying="the way back, from rows to the picture. Which of your axes have to move, and where?",
)
def patch_rows(F, p):
    """Two axes for each side; then the two that count squares come first, and the rest is a row."""
    channels, high, wide = F.shape
    squares = F.reshape(channels, high // p, p, wide // p, p)
    return squares.transpose(1, 3, 0, 2, 4).reshape(-1, channels * p * p)


for _function in (
    wrong_patches.reshaped_only,
    wrong_patches.channels_left_in_front,
    wrong_patches.pixels_dealt_out,
    wrong_patches.columns_first,
    wrong_patches.transposed_inside,
    wrong_patches.channels_last,
    wrong_patches.picture_upside_down,
):
    patch_rows.mistake(_function)


def _maps(*shapes):
    draw = np.random.default_rng(sum(map(sum, shapes))).normal
    return tuple(draw(size=shape) for shape in shapes)


def most_misjudged_channel(trial):
    """The channel whose weight is farthest off, with its mean and its maximum."""
    if not fits(trial.given, trial.wanted):
        return numbers(trial)
    F, (given,), (wanted,) = trial.inputs["F"], trial.given, trial.wanted
    c = np.abs(given - wanted).argmax()
    pooled = f"Channel {c} has the mean {show(F[c].mean())} and the maximum {show(F[c].max())}"
    return f"{pooled}; you weight it with {show(given[c])}, and {show(wanted[c])} is right."


def sum_of_all(trial):
    (given,) = trial.given
    return f"Your {given.size} weights sum to {show(given.sum())}, whatever the channels hold."


def largest_of_all(trial):
    (given,) = trial.given
    return f"Your largest weight is {show(given.max())}; a sigmoid stays below 1."


@exercise(
    cases=[_maps((2, 1, 2), (2, 1), (1, 2)), _maps((5, 3, 7), (5, 2), (2, 5))],
    evidence=most_misjudged_channel,
    recipe=of_weights(CBAM),
    worth_trying="a picture with a peak, and beside it a hole as deep. Which of the poolings sees it?",
)
def channel_weights(F, W_1, W_2):
    """One net for both: σ(N(mean) + N(max)), N(z) = relu(z W_1) W_2."""
    scores = [np.maximum(z @ W_1, 0) @ W_2 for z in (F.mean((1, 2)), F.max((1, 2)))]
    return sigmoid(sum(scores))


def _channels(function):
    """A mutant of CBAM, its weights without the axes of length 1."""

    @wraps(function)
    def weights(F, W_1, W_2):
        return function(F, W_1, W_2)[1][:, 0, 0]

    return weights


for _function in (
    wrong_channels.average_twice,
    wrong_channels.added_before_the_net,
    wrong_channels.net_forgotten,
    wrong_channels.relu_forgotten,
):
    channel_weights.mistake(_channels(_function))
channel_weights.mistake_shown_by(largest_of_all)(_channels(wrong_channels.sigmoid_of_each))
channel_weights.mistake_shown_by(sum_of_all)(_channels(wrong_channels.softmax_over_the_channels))


@channel_weights.mistake
def maximum_not_asked(F, W_1, W_2):
    """The mean alone: squeeze-and-excitation."""
    return sigmoid(np.maximum(F.mean((1, 2)) @ W_1, 0) @ W_2)


@channel_weights.mistake
def mean_not_asked(F, W_1, W_2):
    """The maximum alone, and the mean of the channel is not used."""
    return sigmoid(np.maximum(F.max((1, 2)) @ W_1, 0) @ W_2)


def position_of_the_skip(trial):
    """Which of the two parts is off, and what stands there in both signals."""
    if not fits(trial.given, trial.wanted):
        return numbers(trial)
    (F, G, *_), (given, alpha), (wanted, right) = trial.inputs.values(), trial.given, trial.wanted
    if agree(alpha, right, 1e-6).all():
        c, y, x = np.unravel_index(np.abs(given - wanted).argmax(), wanted.shape)
        here = f"the skip has {show(F[c, y, x])}, the coarser level {show(G[c, y, x])}"
        yours = f"with α = {show(alpha[y, x])} you make {show(given[c, y, x])} of them"
        return f"Your α is right. At [{c}, {y}, {x}] {here}; {yours}, and {show(wanted[c, y, x])} is right."
    y, x = np.unravel_index(np.abs(alpha - right).argmax(), right.shape)
    return f"At [{y}, {x}] your α is {show(alpha[y, x])}, and {show(right[y, x])} is right."


@exercise(
    cases=[
        _maps((2, 1, 2), (2, 1, 2), (2, 3), (3, 3), (4,)),
        _maps((5, 3, 7), (5, 3, 7), (5, 4), (6, 4), (5,)),
    ],
    evidence=position_of_the_skip,
    worth_trying="an empty skip. Who would be told by a score that the wrong signal was kept?",
)
def gated_skip(F, G, W_F, W_G, w):
    """The coarser level asks, the skip is kept: α F, and never α G."""
    f, g = (X.reshape(len(X), -1).T for X in (F, G))
    hidden = np.maximum(f @ W_F + g @ W_G[:-1] + W_G[-1], 0)
    alpha = sigmoid(hidden @ w[:-1] + w[-1]).reshape(F.shape[1:])
    return alpha * F, alpha


def _gate(function):
    """A mutant of the gate, its weights without the axis of length 1."""

    @wraps(function)
    def gated(F, G, W_F, W_G, w):
        weighted, alpha = function(F, G, W_F, W_G, w)
        return weighted, alpha[0]

    return gated


for _function in (
    wrong_gate.coarser_level_kept,
    wrong_gate.signals_swapped,
    wrong_gate.skip_asks_itself,
    wrong_gate.skip_not_asked,
    wrong_gate.softmax_over_the_positions,
    wrong_gate.relu_forgotten,
    wrong_gate.input_added,
):
    gated_skip.mistake(_gate(_function))


@gated_skip.mistake
def biases_left_out(F, G, W_F, W_G, w):
    """The last rows of W_G and w, the biases, are not used: nothing passes by itself."""
    without = [np.concatenate([W[:-1], 0 * W[-1:]]) for W in (W_G, w)]
    return gated_skip.solution(F, G, W_F, *without)


def pair_of_places(trial):
    """A pair of places whose row is wrong; and whether its row belongs to others, or to nobody."""
    if not fits(trial.given, trial.wanted):
        return numbers(trial)
    (M,), (given,), (wanted,) = trial.inputs.values(), trial.given, trial.wanted
    i, j = np.argwhere(given != wanted)[0]
    down, along = i // M - j // M, i % M - j % M
    row, last = given[i, j], (2 * M - 1) ** 2 - 1
    said = (
        f"For M = {M}, place {i} less place {j} is {down} down and {along} to the right; you give row {row}"
    )
    if not 0 <= row <= last:
        return f"{said}, and the table has rows 0 to {last}."
    theirs = np.unique(wanted[given == row])
    if len(theirs) > 1:
        return f"{said}, as you do for {len(theirs) - 1} other offsets: they will learn one number together."
    return f"{said}; wanted {wanted[i, j]}."


@exercise(
    cases=[(2,), (3,), (7,)],
    evidence=pair_of_places,
    worth_trying="a window of 3 × 5. Which of the two sides is in the factor?",
)
def offset_rows(M):
    """2M − 1 rows for Δx, so a step of Δy is 2M − 1 rows; M − 1 makes both begin at 0."""
    y, x = np.divmod(np.arange(M * M), M)
    down, along = y[:, None] - y, x[:, None] - x
    return (down + M - 1) * (2 * M - 1) + along + M - 1


for _function in (
    wrong_index.factor_forgotten,
    wrong_index.factor_of_M,
    wrong_index.factor_of_2M,
    wrong_index.not_raised,
    wrong_index.key_less_query,
    wrong_index.columns_before_rows,
    wrong_index.distances,
):
    offset_rows.mistake(_function)


def _layers(depth, h, n, share):
    """Weights of several layers, of which a share has been discarded."""
    A = softmax(2 * np.random.default_rng(n).normal(size=(depth, h, n, n)))
    return np.where(A >= np.quantile(A, share), A, 0)


def rows_of_the_product(trial):
    """Whether rows sum to one; then the number that is farthest off."""
    if not fits(trial.given, trial.wanted):
        return numbers(trial)
    A, (given,), (wanted,) = trial.inputs["A"], trial.given, trial.wanted
    came = f"Of {A.size} weights in {len(A)} layer{'s' * (len(A) > 1)}, {(A == 0).sum()} are discarded"
    sums = given.sum(-1)
    i = np.abs(sums - 1).argmax()
    if not np.isclose(sums[i], 1):
        return f"{came}: your row {i} sums to {show(sums[i])}, and every token's shares are 1 together."
    i, j = np.unravel_index(np.abs(given - wanted).argmax(), wanted.shape)
    said = f"you say that {show(given[i, j])} of token {j} came to token {i}"
    return f"{came}, and {said}; {show(wanted[i, j])} is right."


@exercise(
    cases=[(_layers(1, 1, 2, 0),), (_layers(2, 3, 3, 0),), (_layers(3, 2, 5, 0.8),)],
    evidence=rows_of_the_product,
    worth_trying="a hundred layers of random weights. What is left of the difference between two rows?",
)
def rolled_out(A):
    """Mean over the heads, I for the residual, each row over its sum; the last layer leftmost."""
    R = np.eye(A.shape[-1])
    for heads in A:
        mixed = heads.mean(0) + np.eye(len(R))
        R = mixed / mixed.sum(-1, keepdims=True) @ R
    return R


for _function in (
    wrong_rollout.columns_divided,
    wrong_rollout.halved_only,
    wrong_rollout.not_divided,
    wrong_rollout.residual_forgotten,
    wrong_rollout.first_layer_leftmost,
    wrong_rollout.last_layer_alone,
    wrong_rollout.largest_head,
    wrong_rollout.layers_added,
):
    rolled_out.mistake(_function)
