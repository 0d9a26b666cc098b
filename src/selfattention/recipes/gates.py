"""Weights for channels in parts: squeeze-and-excitation, and the channels of CBAM."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from selfattention.mutants import cbam_channels as wrong
from selfattention.recipes.recipe import Known, Mistake

# The parts, each as it should be.


def mean(F):
    return (F.mean((-2, -1)),)


def mean_and_maximum(F):
    return F.mean((-2, -1)), F.max((-2, -1))


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def two_layers(p, z, W_1, W_2, b_1, b_2):
    return p.between(z @ W_1 + b_1) @ W_2 + b_2


def added(p, pooled, net):
    return p.squash(sum(map(net, pooled)))


def of_channels(s, F):
    return s[..., None, None] * F


def as_weighted(weighted, s, F):
    return weighted


@dataclass(frozen=True)
class Channels:
    """F' of F (…, channels, high, wide), two matrices (in, out) and their biases."""

    pool: Callable = mean
    net: Callable = two_layers
    between: Callable = relu
    squash: Callable = sigmoid
    together: Callable = added
    weigh: Callable = of_channels
    finish: Callable = as_weighted

    def __call__(self, F, W_1, W_2, b_1=0.0, b_2=0.0):
        s = self.together(self, self.pool(F), lambda z: self.net(self, z, W_1, W_2, b_1, b_2))
        return self.finish(self.weigh(s, F), s, F)


# The parts that people write instead.


def maximum(F):
    """The maximum alone, and the mean of the channel is not used. Chapter 17."""
    return (F.max((-2, -1)),)


def mean_alone(F):
    """The mean alone: squeeze-and-excitation, and the maximum is not asked. Chapter 17."""
    return mean(F)


def mean_twice(F):
    return mean(F) * 2


def maximum_twice(F):
    """The maximum twice, N(max) + N(max): the mean is not used. Chapter 17."""
    return maximum(F) * 2


def total(F):
    """Sums for means: the weights depend on how large the map is. Chapter 17."""
    return (F.sum((-2, -1)),)


def rows_alone(F):
    """Pooled over one of the two sides only. Chapter 17."""
    return (F.mean(-1).max(-1),)


def over_the_channels(F):
    """Pooled over the channels, where each channel has a mean of its own. Chapter 17."""
    return (F.mean((-3, -2)),)


def pooled_before_the_net(p, pooled, net):
    return p.squash(net(sum(pooled)))


def squashed_before_the_sum(p, pooled, net):
    return sum(p.squash(net(z)) for z in pooled)


def multiplied(p, pooled, net):
    """The two scores are multiplied, not added. Chapter 17."""
    return p.squash(np.prod([net(z) for z in pooled], axis=0))


def no_net(p, z, W_1, W_2, b_1, b_2):
    return z


def no_net_at_all():
    """No net: σ of each channel's own mean, and no channel hears of another. Chapter 17."""


def no_relu(x):
    return x


def sigmoid_between(x):
    """A sigmoid between the layers, where the relu belongs. Chapter 17."""
    return sigmoid(x)


def relu_twice(p, z, W_1, W_2, b_1, b_2):
    """A relu behind both layers: no weight is below one half. Chapter 17."""
    return relu(two_layers(p, z, W_1, W_2, b_1, b_2))


def softmax(x):
    E = np.exp(x - x.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True)


def softmax_over_the_batch(x):
    """A softmax over the batch: pictures compete for each channel. Chapter 17."""
    return softmax(x.T).T if x.ndim > 1 else softmax(x)


def nothing(x):
    """No sigmoid: weights of any size and sign. Chapter 17."""
    return x


def hyperbolic(x):
    """tanh for the sigmoid: weights may be negative. Chapter 17."""
    return np.tanh(x)


def relu_for_sigmoid(x):
    """A relu for the sigmoid: weights without an upper end, and many of them 0. Chapter 17."""
    return relu(x)


def along_the_width(s, F):
    """The weights lie along the width, not the channels: no error where there are as many. Chapter 17."""
    return s[..., None, None, :] * F


def along_the_height(s, F):
    """The weights lie along the height, not the channels: no error where there are as many. Chapter 17."""
    return s[..., None, :, None] * F


def put_on_top(s, F):
    """The weights are added to the channels, not multiplied. Chapter 17."""
    return s[..., None, None] + F


def turned_round(s, F):
    """Weighted with 1 − s. Chapter 17."""
    return (1 - s)[..., None, None] * F


def weighted_twice(s, F):
    """Weighted twice. Chapter 17."""
    return (s * s)[..., None, None] * F


def with_the_map(weighted, s, F):
    return weighted + F


def weights_alone(weighted, s, F):
    return s


_alike = (
    Mistake("pool", total, total),
    Mistake("pool", rows_alone, rows_alone),
    Mistake("pool", over_the_channels, over_the_channels),
    Mistake("net", relu_twice, relu_twice),
    Mistake("between", no_relu, wrong.relu_forgotten),
    Mistake("between", sigmoid_between, sigmoid_between),
    Mistake("squash", softmax, wrong.softmax_over_the_channels),
    *(
        Mistake("squash", part, part)
        for part in (softmax_over_the_batch, nothing, hyperbolic, relu_for_sigmoid)
    ),
    *(
        Mistake("weigh", part, part)
        for part in (along_the_width, along_the_height, put_on_top, turned_round, weighted_twice)
    ),
    Mistake("finish", with_the_map, wrong.input_added),
)
SQUEEZE = Known(
    "squeeze-and-excitation",
    Channels(),
    (Mistake("pool", maximum, maximum), Mistake("net", no_net, no_net_at_all), *_alike),
)
CBAM = Known(
    "channel attention of CBAM",
    Channels(pool=mean_and_maximum),
    (
        Mistake("pool", mean_twice, wrong.average_twice),
        Mistake("pool", maximum_twice, maximum_twice),
        Mistake("pool", maximum, maximum),
        Mistake("pool", mean_alone, mean_alone),
        Mistake("together", pooled_before_the_net, wrong.added_before_the_net),
        Mistake("together", squashed_before_the_sum, wrong.sigmoid_of_each),
        Mistake("together", multiplied, multiplied),
        Mistake("net", no_net, wrong.net_forgotten),
        *_alike,
    ),
)


def of_weights(known: Known) -> Known:
    """The same for a function that returns the weights, and not the weighted map."""
    kept = tuple(m for m in known.mistakes if m.path not in ("weigh", "finish"))
    return replace(known, recipe=replace(known.recipe, finish=weights_alone), mistakes=kept)
