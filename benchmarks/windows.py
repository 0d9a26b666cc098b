"""Who takes part in the race over pictures: attention in Swin's shifted windows, ours and torch's.

A map of 56 × 56 tokens in windows of 7 × 7, moved by 3; three heads of 32 numbers: Swin-T's first layers.
Run as a script, it is a worker of `vision`.
"""

from dataclasses import dataclass

import numpy as np
from candidates import find
from worker import Worker, main
from workloads import Workload

from selfattention import masks
from selfattention.formulas import relative_bias
from selfattention.implementations import IMPLEMENTATIONS

SIDE, M, SHIFT, HEADS, D = 56, 7, 3, 3, 32
WINDOWS = (SIDE // M) ** 2


@dataclass(frozen=True)
class Windows:
    """One question: "windows", of tokens that stand in windows; "layer", in a map; "rule", without bias."""

    name: str
    n: int = M * M
    m: int = M * M
    b: int = WINDOWS
    h: int = HEADS
    d_k: int = D
    d_v: int = D
    passes: str = "forward"

    def __str__(self):
        return f"{self.name}, {self.passes}, {self.b} windows of {self.n}"

    def exact(self):
        """The answer in float64, window by window, and who are neighbours asked pair by pair."""
        Q, K, V = (in_windows(X.astype(np.float64)) for X in map_of_tokens())
        S = Q @ K.swapaxes(-1, -2) * D**-0.5 + (0 if self.name == "rule" else bias())
        E = np.exp(np.where(neighbours(), S, -np.inf))
        O = E / E.sum(-1, keepdims=True) @ V
        return (O if self.name == "windows" else on_the_map(O),)


def map_of_tokens():
    """Q, K, V of a map, (SIDE, SIDE, HEADS, D) each, views of one array as a product gives it."""
    rng = np.random.default_rng(0)
    return np.moveaxis(rng.standard_normal((SIDE, SIDE, 3, HEADS, D), dtype=np.float32), 2, 0)


def bias():
    """(HEADS, M², M²), out of a table as it is learned."""
    rng = np.random.default_rng(1)
    return relative_bias(rng.standard_normal(((2 * M - 1) ** 2, HEADS), dtype=np.float32))


def order():
    """Which token of the map is the next, window after window."""
    grid = np.roll(np.arange(SIDE * SIDE).reshape(SIDE, SIDE), (-SHIFT, -SHIFT), (0, 1))
    return grid.reshape(SIDE // M, M, SIDE // M, M).swapaxes(1, 2).ravel()


def neighbours():
    """(WINDOWS, 1, M², M²): were two tokens of a window in one before the map was moved around its edges?"""
    y, x = np.divmod(order().reshape(WINDOWS, M * M), SIDE)
    part = 2 * (y < SHIFT) + (x < SHIFT)
    return (part[:, :, None] == part[:, None, :])[:, None]


def in_windows(X):
    """(SIDE, SIDE, HEADS, d) as (WINDOWS, HEADS, M², d)."""
    tokens = X.reshape(SIDE * SIDE, HEADS, -1)[order()]
    return tokens.reshape(WINDOWS, M * M, HEADS, -1).swapaxes(1, 2)


def on_the_map(O):
    """The same back again."""
    answer = np.empty((SIDE * SIDE, HEADS, O.shape[-1]), O.dtype)
    answer[order()] = O.swapaxes(1, 2).reshape(answer.shape)
    return answer.reshape(SIDE, SIDE, HEADS, -1)


def ours_in_windows(attention):
    """The contract on a batch of windows, with the bias and the mask as two arrays."""
    Q, K, V = (np.ascontiguousarray(in_windows(X)) for X in map_of_tokens())
    given = {"mask": neighbours(), "bias": bias()}
    return lambda: attention(Q, K, V, **given)[0], lambda O: [O]


def ours_on_the_map(attention):
    """The same from a map to a map: every row of 32 numbers is moved once, and its answer is taken back."""
    rows = np.ascontiguousarray(np.moveaxis(map_of_tokens(), 0, 2)).reshape(-1, D)
    here = np.arange(len(rows)).reshape(SIDE, SIDE, 3, HEADS)
    there = np.stack([in_windows(here[:, :, one])[..., 0] for one in range(3)])
    back = np.argsort(in_windows(np.arange(SIDE * SIDE * HEADS).reshape(SIDE, SIDE, HEADS)), axis=None)
    given = {"mask": neighbours(), "bias": bias()}

    def layer():
        O, _ = attention(*rows.take(there, axis=0), **given)
        return O.reshape(-1, D).take(back, axis=0)

    return layer, lambda answer: [answer.reshape(SIDE, SIDE, HEADS, D)]


def ours_by_rule(attention):
    """No token moves: one mask rule says who are neighbours, of the whole map."""
    Q, K, V = (
        np.ascontiguousarray(X.reshape(1, SIDE * SIDE, HEADS, D).swapaxes(1, 2)) for X in map_of_tokens()
    )
    rule = masks.shifted_windows(SIDE, SIDE, M, SHIFT)
    return (
        lambda: attention(Q, K, V, mask=rule)[0],
        lambda O: [O[0].swapaxes(0, 1).reshape(SIDE, SIDE, HEADS, D)],
    )


def sdpa_in_windows():
    """torch's fused kernel on the same arrays; the bias is learned, so that it is new in every step."""
    import torch

    Q, K, V = (torch.from_numpy(np.ascontiguousarray(in_windows(X))) for X in map_of_tokens())
    learned, hidden = torch.from_numpy(bias()), _hidden(torch)
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda: attention(Q, K, V, attn_mask=learned + hidden), lambda O: [O.numpy()]


def sdpa_with_their_sum():
    """The same where bias and mask have been added before: in a net that learns no more."""
    import torch

    Q, K, V = (torch.from_numpy(np.ascontiguousarray(in_windows(X))) for X in map_of_tokens())
    added = torch.from_numpy(bias()) + _hidden(torch)
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda: attention(Q, K, V, attn_mask=added), lambda O: [O.numpy()]


def sdpa_on_the_map():
    """From a map to a map as it is usually written: rolled, cut, and both again in the other direction."""
    import torch

    return _usual_layer(torch, torch.from_numpy(bias()))


def sdpa_without_bias():
    """The same layer with the mask alone."""
    import torch

    return _usual_layer(torch, torch.zeros(()))


def _usual_layer(torch, learned):
    tokens = torch.from_numpy(np.ascontiguousarray(np.moveaxis(map_of_tokens(), 0, 2)))
    tokens, hidden, side = tokens.reshape(1, SIDE, SIDE, -1), _hidden(torch), SIDE // M

    def layer():
        moved = torch.roll(tokens, (-SHIFT, -SHIFT), (1, 2))
        cut = moved.view(1, side, M, side, M, -1).permute(0, 1, 3, 2, 4, 5)
        Q, K, V = cut.reshape(WINDOWS, M * M, 3, HEADS, D).permute(2, 0, 3, 1, 4)
        O = torch.nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=learned + hidden)
        back = O.transpose(1, 2).reshape(1, side, side, M, M, -1).permute(0, 1, 3, 2, 4, 5)
        return torch.roll(back.reshape(1, SIDE, SIDE, -1), (SHIFT, SHIFT), (1, 2))

    return layer, lambda answer: [answer.reshape(SIDE, SIDE, HEADS, D).numpy()]


def _hidden(torch):
    return torch.where(torch.from_numpy(neighbours()), 0.0, -torch.inf)


OURS = {"windows": ours_in_windows, "layer": ours_on_the_map, "rule": ours_by_rule}
SDPA = {"windows": sdpa_in_windows, "layer": sdpa_on_the_map, "rule": sdpa_without_bias}
TAKE_PART = {
    "map": ("sdpa", "numba_tiled", "numpy_tiled", "numpy_direct"),
    "windows": ("sdpa", "sdpa, sum ready", "numba_tiled", "numpy_direct"),
    "layer": ("sdpa", "numba_tiled", "numpy_direct"),
    "rule": ("sdpa", "numba_tiled"),
}


class Onlooker(Worker):
    """A worker that knows these questions, too."""

    def prepared(self, workload):
        if workload["name"] == "map":
            return find(self.name, Workload(**workload)).prepare(Workload(**workload))
        if self.name == "sdpa, sum ready":
            return sdpa_with_their_sum()
        if self.name == "sdpa":
            return SDPA[workload["name"]]()
        return OURS[workload["name"]](IMPLEMENTATIONS[self.name].load().attention)


if __name__ == "__main__":
    main(Onlooker)
