"""A vision transformer that reads handwritten digits, trained here: who needs attention, and for what.

The pictures are scikit-learn's digits: 1797 of 8 × 8 pixels, no download. `train` takes some seconds of one
thread; every attention, forward and backward, is this package's `torch_direct`. What is taken from a net is
held at zero by a function that returns a copy, `uniform`, `silent`, `placeless`: called before training or
after it, the same function asks two different questions.
Source of the pictures: Alpaydin & Kaynak 1998, UCI's optical recognition of handwritten digits.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from selfattention.extras import needed

with needed():
    import torch
    from torch import Tensor, nn

from selfattention.implementations import torch_direct
from selfattention.modules import MultiHeadAttention
from selfattention.trained.progress import with_bar
from selfattention.vision_modules import PictureTokens, VisionBlock

WEIGHTS = files("selfattention") / "data" / "digits.npz"
GRID, P, D_MODEL, H, D_FF, DEPTH, CLASSES = (4, 4), 2, 32, 4, 64, 2, 10
EPOCHS, BATCH, RATE, DECAY = 30, 64, 6e-3, 1e-2


# The pictures -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """Pictures (N, 8, 8), float32 from 0 to 1, 1 is ink; labels (N), the digits 0 … 9."""

    pictures: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, some: slice | Tensor) -> "Digits":
        return Digits(self.pictures[some], self.labels[some])


def load() -> tuple[Digits, Digits]:
    """1297 digits to train on and the other 500, the same for everybody.

    Raises ModuleNotFoundError, with what to install, where scikit-learn is missing.
    """
    with needed():
        from sklearn.datasets import load_digits
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pictures = torch.from_numpy((pixels[order] / 16).astype(np.float32)).unflatten(1, (8, 8))
    both = Digits(pictures, torch.from_numpy(labels[order]))
    return both[:1297], both[1297:]


def shuffled(digits: Digits, seed: int) -> Digits:
    """Every picture's patches in an order of its own."""
    n = GRID[0] * GRID[1]
    order = torch.rand(len(digits), n, generator=_source(seed)).argsort(1)
    squares = digits.pictures.unflatten(2, (GRID[1], P)).unflatten(1, (GRID[0], P))  # N, down, p, along, p
    rows = squares.transpose(2, 3).reshape(len(digits), n, P * P)
    moved = rows.gather(1, order[..., None].expand_as(rows)).reshape(-1, *GRID, P, P)
    return Digits(moved.transpose(2, 3).reshape(digits.pictures.shape), digits.labels)


# The net ----------------------------------------------------------------------------------------------


class Attention(MultiHeadAttention):
    """`MultiHeadAttention` whose heads are `torch_direct`'s: gradients by its formulas, not by autograd."""

    def forward(self, X: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Y (…, n, d_model) of X (…, n, d_model); `mask` broadcasts to (…, h, n, n), True = may see."""
        Q, K, V = (
            self._split(X @ W + b, self.h)
            for W, b in ((self.W_Q, self.b_Q), (self.W_K, self.b_K), (self.W_V, self.b_V))
        )
        O, _ = torch_direct.attention(Q, K, V, mask=mask)
        return O.transpose(-3, -2).flatten(-2) @ self.W_O + self.b_O


class OverTheBatch(nn.Module):
    """The mistake: a layer that reads (n, batch, d_model) is given (batch, n, d_model), and says nothing.

    Token i of a picture then attends to token i of the other pictures, and to nothing in its own.
    """

    def __init__(self, attention: MultiHeadAttention):
        super().__init__()
        self.attention, self.d_model = attention, attention.d_model

    def forward(self, X: Tensor, *, mask: None = None) -> Tensor:
        """Y (N, n, d_model) of X (N, n, d_model)."""
        return self.attention(X.transpose(0, 1), mask=mask).transpose(0, 1)

    def weights(self, X: Tensor, *, mask: None = None) -> Tensor:
        """A (n, h, N, N): row i of token t is how picture i divides its attention among pictures."""
        return self.attention.weights(X.transpose(0, 1), mask=mask)


class Reader(nn.Module):
    """Logits of ten digits from the class token, after two blocks of ViT over sixteen patches of 2 × 2.

    `tokens` is the embedding with its positions P (17, d_model), `blocks` are VisionBlocks. Sixteen patches
    and the class token, which comes first, are n = 17 tokens.
    """

    def __init__(self):
        super().__init__()
        self.tokens = PictureTokens(GRID, P, 1, D_MODEL)
        self.blocks = nn.ModuleList(VisionBlock(D_MODEL, H, D_FF) for _ in range(DEPTH))
        for block in self.blocks:
            block.attention = Attention(D_MODEL, H)
        self.norm, self.head = nn.LayerNorm(D_MODEL), nn.Linear(D_MODEL, CLASSES)

    def forward(self, pictures: Tensor, *, key_mask: Tensor | None = None) -> Tensor:
        """Logits (N, 10) of pictures (N, 8, 8); `key_mask` (N, 17), True = may be seen, in every block."""
        X, mask = self.tokens(pictures[:, None]), _for_all(key_mask)
        for block in self.blocks:
            X = block(X, mask=mask)
        return self.head(self.norm(self.pooled(X)))

    def weights(self, pictures: Tensor, *, key_mask: Tensor | None = None) -> Tensor:
        """A (N, depth, h, 17, 17) of pictures (N, 8, 8), as `formulas.rollout` takes them."""
        X, mask, A = self.tokens(pictures[:, None]), _for_all(key_mask), []
        for block in self.blocks:
            A.append(block.weights(X, mask=mask))
            X = block(X, mask=mask)
        return torch.stack(A, dim=1)

    def pooled(self, X: Tensor) -> Tensor:
        """What the head reads of tokens X (N, 17, d_model): the class token."""
        return X[:, 0]


class AveragingReader(Reader):
    """The same net, but the head reads the mean of the sixteen patches."""

    def pooled(self, X: Tensor) -> Tensor:
        """What the head reads of tokens X (N, 17, d_model): the mean of the patches."""
        return X[:, 1:].mean(1)


def reader(seed: int) -> Reader:
    """An untrained net that reads by its class token."""
    return _drawn(Reader, seed)


def averaging_reader(seed: int) -> AveragingReader:
    """An untrained net that reads by the mean of its patches, with the weights of `reader(seed)`."""
    return _drawn(AveragingReader, seed)


def trained() -> Reader:
    """The net of seed 0 as it was recorded, from data/digits.npz."""
    net = reader(0)
    with np.load(str(WEIGHTS)) as weights:
        net.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
    return net.eval()


# What is taken from it --------------------------------------------------------------------------------


def uniform(net: Reader, layers: Iterable[int] = range(DEPTH)) -> Reader:
    """A copy whose attention is uniform: W_Q and b_Q are 0 and stay so, so that all scores are 0."""
    return _held_at_zero(net, _attention(layers, "W_Q", "b_Q"))


def silent(net: Reader, layers: Iterable[int] = range(DEPTH)) -> Reader:
    """A copy without attention: W_O and b_O are 0 and stay so, so that no token hears of another."""
    return _held_at_zero(net, _attention(layers, "W_O", "b_O"))


def placeless(net: Reader) -> Reader:
    """A copy without positions: P is 0 and stays so."""
    return _held_at_zero(net, ["tokens.P"])


def one_position(net: Reader) -> Reader:
    """The mistake `vit_tokens.one_position_for_all`: a copy whose P is one row, broadcast to all tokens."""
    copy = deepcopy(net)
    copy.tokens.P = nn.Parameter(copy.tokens.P.detach()[:1].clone())
    return copy


def over_the_batch(net: Reader) -> Reader:
    """The mistake `batch_first` forgotten: a copy that attends over the pictures of its batch."""
    copy = deepcopy(net)
    for block in copy.blocks:
        block.attention = OverTheBatch(block.attention)
    return copy


# Training and reading ---------------------------------------------------------------------------------


def train(net: Reader, digits: Digits, seed: int, *, epochs: int = EPOCHS, text: str = "digits") -> Reader:
    """The net itself, trained on the digits in an order drawn from `seed`, with a bar beside `text`.

    AdamW on the cross-entropy, batches of 64, the rate once up to 0.006 and down again. One thread is
    fastest: `torch.set_num_threads(1)`.
    """
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=RATE, weight_decay=DECAY, fused=True)
    batches = len(digits) // BATCH
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * batches)
    source = _source(seed)
    net.train()
    for _ in with_bar(range(epochs), text):
        order = torch.randperm(len(digits), generator=source)
        for some in order[: batches * BATCH].split(BATCH):
            batch = digits[some]
            error = nn.functional.cross_entropy(net(batch.pictures), batch.labels)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            rate.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: Reader, digits: Digits) -> float:
    """The share of the digits that the net reads rightly, all in one batch."""
    return _share(net(digits.pictures), digits)


@torch.no_grad()
def alone(net: Reader, digits: Digits) -> float:
    """The same share where the net is shown one picture at a time."""
    return _share(torch.cat([net(picture[None]) for picture in digits.pictures]), digits)


@torch.no_grad()
def loss(net: Reader, digits: Digits) -> float:
    """The mean cross-entropy in nats; who knows nothing has ln 10 = 2.303."""
    return nn.functional.cross_entropy(net(digits.pictures), digits.labels).item()


def parameters(net: Reader) -> int:
    """How many numbers of the net train; what is held at zero does not count."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def logistic_regression(digits: Digits) -> Any:
    """scikit-learn's, fitted to the 64 pixels as they stand: 650 numbers, no attention.

    `.score(test.pictures.flatten(1), test.labels)` is its accuracy.
    """
    with needed():
        from sklearn.linear_model import LogisticRegression
    return LogisticRegression(max_iter=2000).fit(digits.pictures.flatten(1).numpy(), digits.labels.numpy())


def _source(seed):
    return torch.Generator().manual_seed(seed)


def _drawn(kind, seed):
    with torch.random.fork_rng(devices=[]):  # what else the caller draws does not change
        torch.manual_seed(seed)
        return kind()


def _for_all(key_mask):
    """(N, 17) as (N, 1, 1, 17): the same for all heads and queries."""
    return None if key_mask is None else key_mask[:, None, None, :]


def _attention(layers, *names):
    return [f"blocks.{layer}.attention.{name}" for layer in layers for name in names]


def _held_at_zero(net, names):
    copy = deepcopy(net)
    for name in names:
        parameter = copy.get_parameter(name)
        nn.init.zeros_(parameter)
        parameter.requires_grad_(False)
    return copy


def _share(logits, digits):
    return (logits.argmax(1) == digits.labels).float().mean().item()
