"""Attention over pictures as PyTorch layers that train: channels, positions, ViT's tokens and its block.

Chapter: notebooks/17_vision.

Every layer is its formula of `selfattention.formulas.vision` with that formula's letters, W stored (in, out),
for maps F (…, channels, high, wide) with any leading axes. What the formula returns beside its output, the
layer gives by `weights`. A picture's answer never depends on its neighbours in the batch: there is no norm
over the batch in here.
"""

from math import prod
from numbers import Integral

import numpy as np

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn

from selfattention.masks import Rule
from selfattention.modules import MultiHeadAttention, _affine, _check_tensor, _check_tokens, _size, _softmax


class SqueezeExcitation(nn.Module):
    """F'_c = s_c F_c,  s = σ(relu(z W_1 + b_1) W_2 + b_2),  z_c the mean of F_c.

    W_1 (channels, channels / r), W_2 (channels / r, channels). As in the paper's count there are no
    biases, unless `bias=True`. Source: Hu, Shen & Sun 2018.
    Raises ValueError or TypeError, naming the argument, for what does not fit.
    """

    b_1: nn.Parameter | None
    b_2: nn.Parameter | None

    def __init__(self, channels: int, r: int = 16, *, bias: bool = False):
        super().__init__()
        self.channels, self.r = _size("channels", channels), _size("r", r)
        hidden = _reduced(self.channels, self.r)
        self.W_1, self.W_2 = _empty(self.channels, hidden), _empty(hidden, self.channels)
        self.b_1, self.b_2 = (_empty(size) if bias else None for size in (hidden, self.channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, of variance one over their rows; biases are zero."""
        _draw(self.W_1, self.W_2)
        _clear(self.b_1, self.b_2)

    def forward(self, F: Tensor) -> Tensor:
        """F' (…, channels, high, wide) of F (…, channels, high, wide)."""
        return self.weights(F) * F

    def weights(self, F: Tensor) -> Tensor:
        """s (…, channels, 1, 1), from 0 to 1."""
        _check_map("F", F, self.channels, self.W_1)
        hidden = torch.relu(_affine(F.mean((-2, -1)), self.W_1, self.b_1))
        return torch.sigmoid(_affine(hidden, self.W_2, self.b_2))[..., None, None]

    def extra_repr(self) -> str:
        return f"{self.channels}, r={self.r}" + ", bias=True" * (self.b_1 is not None)


class CBAM(nn.Module):
    """Weights for channels from mean and maximum by one net, then for positions from k × k around.

    W_1 (channels, channels / r), W_2 (channels / r, channels), W (2, k, k), k odd. Without biases and
    without the norm that follows the second convolution in the authors' code. Source: Woo et al. 2018.
    Raises ValueError or TypeError, naming the argument, for what does not fit.
    """

    def __init__(self, channels: int, r: int = 16, *, k: int = 7):
        super().__init__()
        self.channels, self.r, self.k = _size("channels", channels), _size("r", r), _size("k", k)
        if self.k % 2 == 0:
            raise ValueError(f"k is {k}; wanted an odd number of taps: one has to be the middle")
        hidden = _reduced(self.channels, self.r)
        self.W_1, self.W_2 = _empty(self.channels, hidden), _empty(hidden, self.channels)
        self.W = _empty(2, self.k, self.k)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, of variance one over how many numbers each sums."""
        _draw(self.W_1, self.W_2)
        nn.init.normal_(self.W, std=self.W.numel() ** -0.5)

    def forward(self, F: Tensor) -> Tensor:
        """F'' (…, channels, high, wide) of F (…, channels, high, wide)."""
        return self._weighted(F)[0]

    def weights(self, F: Tensor) -> tuple[Tensor, Tensor]:
        """s (…, channels, 1, 1) and s (…, 1, high, wide), from 0 to 1."""
        return self._weighted(F)[1:]

    def _weighted(self, F):
        _check_map("F", F, self.channels, self.W_1)
        mean, most = (torch.relu(z @ self.W_1) @ self.W_2 for z in (F.mean((-2, -1)), F.amax((-2, -1))))
        s_channels = torch.sigmoid(mean + most)[..., None, None]
        F = s_channels * F
        two = torch.stack([F.mean(-3), F.amax(-3)], dim=-3)
        pictures = two.reshape(prod(two.shape[:-3]), *two.shape[-3:])
        scores = nn.functional.conv2d(pictures, self.W[None], padding=self.k // 2)
        s_positions = torch.sigmoid(scores.reshape(*F.shape[:-3], 1, *F.shape[-2:]))
        return s_positions * F, s_channels, s_positions

    def extra_repr(self) -> str:
        return f"{self.channels}, r={self.r}, k={self.k}"


class AttentionGate(nn.Module):
    """F'_i = α_i F_i,  α_i = σ(relu(f_i W_F + g_i W_G + b_G) · w + b_w):  G asks, the skip F is kept.

    W_F (channels, d_hidden), W_G (gate_channels, d_hidden), w (d_hidden). F and G come on one grid.
    Source: Oktay et al. 2018.
    Raises ValueError or TypeError, naming the argument, for what does not fit.
    """

    def __init__(self, channels: int, gate_channels: int, d_hidden: int):
        super().__init__()
        self.channels, self.gate_channels = _size("channels", channels), _size("gate_channels", gate_channels)
        self.d_hidden = _size("d_hidden", d_hidden)
        self.W_F, self.W_G = _empty(self.channels, self.d_hidden), _empty(self.gate_channels, self.d_hidden)
        self.w, self.b_G, self.b_w = _empty(self.d_hidden), _empty(self.d_hidden), _empty()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, of variance one over their rows; biases are zero."""
        _draw(self.W_F, self.W_G, self.w)
        _clear(self.b_G, self.b_w)

    def forward(self, F: Tensor, G: Tensor) -> Tensor:
        """F' (…, channels, high, wide) of the skip F and the coarser G (…, gate_channels, high, wide)."""
        return self.weights(F, G) * F

    def weights(self, F: Tensor, G: Tensor) -> Tensor:
        """α (…, 1, high, wide), from 0 to 1."""
        _check_map("F", F, self.channels, self.W_F)
        _check_map("G", G, self.gate_channels, self.W_G)
        if (*G.shape[:-3], *G.shape[-2:]) != (*F.shape[:-3], *F.shape[-2:]):
            raise ValueError(
                f"G has shape {(*G.shape,)}; wanted leading axes and grid of F, {(*F.shape,)}:"
                " torch.nn.functional.interpolate(G, size=F.shape[-2:])"
            )
        hidden = torch.relu(_tokens(F) @ self.W_F + _affine(_tokens(G), self.W_G, self.b_G))
        alpha = torch.sigmoid(_affine(hidden, self.w, self.b_w))
        return alpha.reshape(*F.shape[:-3], 1, *F.shape[-2:])

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.gate_channels}, {self.d_hidden}"


class NonLocal(nn.Module):
    """F' = F + softmax(Q Kᵀ) V W_O,  every position a token, the scale 1.

    W_Q, W_K, W_V (channels, d), W_O (d, channels); d is half the channels where it is not given. W_O
    starts at zero, and the layer as the identity: at first W_O alone learns. Source: Wang et al. 2018.
    Raises ValueError or TypeError, naming the argument, for what does not fit.
    """

    def __init__(self, channels: int, d: int | None = None):
        super().__init__()
        self.channels = _size("channels", channels)
        self.d = _size("d", d, max(1, self.channels // 2))
        self.W_Q, self.W_K, self.W_V = (_empty(self.channels, self.d) for _ in "QKV")
        self.W_O = _empty(self.d, self.channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, of variance one over their rows; W_O is zero."""
        _draw(self.W_Q, self.W_K, self.W_V)
        _clear(self.W_O)

    def forward(self, F: Tensor) -> Tensor:
        """F' (…, channels, high, wide) of F (…, channels, high, wide)."""
        added = self.weights(F) @ (_tokens(F) @ self.W_V) @ self.W_O
        return F + added.transpose(-1, -2).reshape(F.shape)

    def weights(self, F: Tensor) -> Tensor:
        """A (…, n, n), n = high · wide: row i is how position i divides its attention."""
        _check_map("F", F, self.channels, self.W_Q)
        X = _tokens(F)
        return _softmax((X @ self.W_Q) @ (X @ self.W_K).transpose(-1, -2), None)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.d}"


class PictureTokens(nn.Module):
    """X = [x_class; patches(F) W_E + b_E] + P:  a picture as tokens that know their places.

    `grid` is how many patches a picture is high and wide. W_E (channels, p, p, d_model), x_class
    (d_model), P (1 + high · wide, d_model). Source: Dosovitskiy et al. 2021, eq. 1.
    Raises ValueError or TypeError, naming the argument, for what does not fit.
    """

    def __init__(self, grid: tuple[int, int], p: int, channels: int, d_model: int):
        super().__init__()
        self.grid, self.p, self.channels = _grid(grid), _size("p", p), _size("channels", channels)
        self.d_model = _size("d_model", d_model)
        self.W_E, self.b_E = _empty(self.channels, self.p, self.p, self.d_model), _empty(self.d_model)
        self.x_class, self.P = _empty(self.d_model), _empty(1 + self.grid[0] * self.grid[1], self.d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W_E anew, of variance one over its rows, and P of deviation 0.02; the rest is zero."""
        nn.init.normal_(self.W_E, std=(self.channels * self.p**2) ** -0.5)
        nn.init.normal_(self.P, std=0.02)
        _clear(self.b_E, self.x_class)

    def forward(self, F: Tensor) -> Tensor:
        """X (…, 1 + n, d_model) of F (…, channels, high, wide), the class token first."""
        _check_map("F", F, self.channels, self.W_E)
        if F.shape[-2] % self.p or F.shape[-1] % self.p:
            raise ValueError(f"F has shape {(*F.shape,)}; wanted high and wide, multiples of p = {self.p}")
        squares = F.unflatten(-1, (-1, self.p)).unflatten(-3, (-1, self.p))  # …, channels, down, p, along, p
        grid = squares.shape[-4], squares.shape[-2]
        if grid != self.grid:
            raise ValueError(
                f"F is a grid of {grid} patches; wanted that of the positions, {self.grid}:"
                f" layer.resized({grid})"
            )
        rows = squares.movedim((-4, -2), (-5, -4)).flatten(-3).flatten(-3, -2)
        X = _affine(rows, self.W_E.flatten(0, 2), self.b_E)
        first = self.x_class.to(X.dtype).expand(*X.shape[:-2], 1, -1)
        return torch.cat([first, X], dim=-2) + self.P.to(X.dtype)

    def resized(self, grid: tuple[int, int]) -> "PictureTokens":
        """A layer for pictures of another grid, its positions between those of this one; the rest copied.

        `grid` is how many patches, not a factor: 14 · (61 / 14) is 60.99…, and would floor to 60.
        Bilinear, the centres of the outermost patches kept inside; the class token's row stays as it is.
        """
        with torch.device("meta"):  # no number is drawn for what is replaced
            layer = PictureTokens(_grid(grid), self.p, self.channels, self.d_model)
        first, places = self.P.detach().split([1, len(self.P) - 1])
        known = places.T.reshape(1, self.d_model, *self.grid)
        between = nn.functional.interpolate(known, size=layer.grid, mode="bilinear", align_corners=False)
        P = torch.cat([first, between[0].flatten(1).T])
        for name, numbers in (dict(self.named_parameters()) | {"P": P}).items():
            trains = getattr(self, name).requires_grad
            setattr(layer, name, nn.Parameter(numbers.detach().clone(), trains))
        return layer.train(self.training)

    def extra_repr(self) -> str:
        return f"{self.grid}, p={self.p}, channels={self.channels}, d_model={self.d_model}"


class VisionBlock(nn.Module):
    """Z = X + MHA(LN_1(X)),  Y = Z + gelu(LN_2(Z) W_1 + b_1) W_2 + b_2:  a block of ViT.

    Each sum is normalised before the next part, not after it. d_ff is 4 · d_model where it is not given.
    Source: Dosovitskiy et al. 2021, eqs. 2 and 3.
    Raises ValueError or TypeError, naming the argument, for what does not fit.
    """

    def __init__(self, d_model: int, h: int, d_ff: int | None = None, *, epsilon: float = 1e-6):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, h)
        self.norm_1, self.norm_2 = (nn.LayerNorm(self.attention.d_model, eps=epsilon) for _ in "12")
        self.d_ff = _size("d_ff", d_ff, 4 * self.attention.d_model)
        self.W_1, self.b_1 = _empty(self.attention.d_model, self.d_ff), _empty(self.d_ff)
        self.W_2, self.b_2 = _empty(self.d_ff, self.attention.d_model), _empty(self.attention.d_model)
        self._reset_net()

    def reset_parameters(self) -> None:
        """Draw the weights anew, of variance one over their rows; biases are zero, gains one."""
        for part in self.attention, self.norm_1, self.norm_2:
            part.reset_parameters()
        self._reset_net()

    def _reset_net(self):
        _draw(self.W_1, self.W_2)
        _clear(self.b_1, self.b_2)

    def forward(self, X: Tensor, *, mask: Rule | Tensor | np.ndarray | None = None) -> Tensor:
        """Y (…, n, d_model) of X (…, n, d_model); `mask` as in MultiHeadAttention: True = may see."""
        _check_tokens("X", X, ("n", "d_model"), self.attention.d_model, self.W_1)
        Z = X + self.attention(self.norm_1(X), mask=mask)
        hidden = nn.functional.gelu(_affine(self.norm_2(Z), self.W_1, self.b_1))
        return Z + _affine(hidden, self.W_2, self.b_2)

    def weights(self, X: Tensor, *, mask: Rule | Tensor | np.ndarray | None = None) -> Tensor:
        """A (…, h, n, n), head by head."""
        _check_tokens("X", X, ("n", "d_model"), self.attention.d_model, self.W_1)
        return self.attention.weights(self.norm_1(X), mask=mask)

    def extra_repr(self) -> str:
        return f"d_ff={self.d_ff}"


def _empty(*shape):
    return nn.Parameter(torch.empty(shape))


def _draw(*matrices):
    for W in matrices:
        nn.init.normal_(W, std=W.shape[0] ** -0.5)


def _clear(*parameters):
    for b in parameters:
        if b is not None:
            nn.init.zeros_(b)


def _tokens(F):
    """(…, channels, high, wide) as (…, n, channels)."""
    return F.flatten(-2).transpose(-1, -2)


def _reduced(channels, r):
    if channels % r:
        raise ValueError(f"r is {r}; wanted a positive integer that divides channels = {channels}")
    return channels // r


def _grid(grid):
    numbers = isinstance(grid, tuple | list) and len(grid) == 2
    if not numbers or not all(isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in grid):
        raise ValueError(f"grid is {grid!r}; wanted two positive integers, how many patches high and wide")
    return int(grid[0]), int(grid[1])


def _check_map(name, F, channels, W):
    """A map of so many channels, of the layer's device and dtype, with at least one position."""
    _check_tensor(name, F, W)
    if F.is_nested or F.layout != torch.strided:
        raise TypeError(f"{name} is nested or sparse; wanted a dense map")
    if F.dim() < 3 or F.shape[-3] != channels or 0 in F.shape[-2:]:
        wanted = f"(…, channels, high, wide) with channels = {channels}, high and wide 1 or more"
        raise ValueError(f"{name} has shape {(*F.shape,)}; wanted {wanted}")
