"""The layers of attention over pictures: the numbers of their formulas, wherever a layer may stand."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from selfattention import formulas, masks
from selfattention.formulas import append_ones
from selfattention.vision_modules import (
    CBAM,
    AttentionGate,
    NonLocal,
    PictureTokens,
    SqueezeExcitation,
    VisionBlock,
)

CHANNELS, HIGH, WIDE, BATCH = 6, 4, 10, 3
MAP = (CHANNELS, HIGH, WIDE)


def stacked(W, b):
    """W with its bias as its last row, as the formulas take it."""
    return np.concatenate([W, np.atleast_1d(b)[None] if W.ndim == 2 else np.atleast_1d(b)])


def block(X, p, h, epsilon):
    """ViT's block in formulas of chapter 9, each norm before its part."""

    def normed(X, k):
        norm = p[f"norm_{k}.weight"], p[f"norm_{k}.bias"]
        return formulas.layer_norm(X, *norm, epsilon=epsilon)

    W_Q, W_K, W_V, W_O = (stacked(p[f"attention.W_{x}"], p[f"attention.b_{x}"]) for x in "QKVO")
    Q, K, V = formulas.projections(append_ones(normed(X, 1)), W_Q, W_K, W_V)
    O, A = formulas.attend_by_head(Q, K, V, h)
    Z = X + formulas.output_projection(append_ones(O), W_O)
    net = (stacked(p[f"W_{k}"], p[f"b_{k}"]) for k in "12")
    return Z + formulas.feed_forward(normed(Z, 2), *net), A


def tokens(F, p):
    X = formulas.patch_embedding(F, p["W_E"], p["b_E"])
    return (formulas.with_class_token(X, p["x_class"]) + p["P"],)


# name -> the layer, the shapes of its inputs, and the formula on NumPy arrays: output, weights …
LAYERS = {
    "SqueezeExcitation": (
        lambda: SqueezeExcitation(CHANNELS, 2),
        [MAP],
        lambda p, F: formulas.squeeze_excitation(F, p["W_1"], p["W_2"]),
    ),
    "CBAM": (
        lambda: CBAM(CHANNELS, 3, k=3),
        [MAP],
        lambda p, F: formulas.cbam(F, p["W_1"], p["W_2"], p["W"]),
    ),
    "AttentionGate": (
        lambda: AttentionGate(CHANNELS, 7, 5),
        [MAP, (7, HIGH, WIDE)],
        lambda p, F, G: formulas.attention_gate(
            F, G, p["W_F"], stacked(p["W_G"], p["b_G"]), stacked(p["w"], p["b_w"])
        ),
    ),
    "NonLocal": (
        lambda: NonLocal(CHANNELS, 5),
        [MAP],
        lambda p, F: formulas.non_local(F, p["W_Q"], p["W_K"], p["W_V"], p["W_O"]),
    ),
    "PictureTokens": (
        lambda: PictureTokens((2, 5), 2, CHANNELS, 7),
        [MAP],
        lambda p, F: tokens(F, p),
    ),
    "VisionBlock": (
        lambda: VisionBlock(6, 2, 11),
        [(5, 6)],
        lambda p, X: block(X, p, 2, 1e-6),
    ),
}


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


def made(name, dtype=torch.float64):
    """The layer with all parameters at random: many start at zero."""
    torch.manual_seed(0)
    layer = LAYERS[name][0]()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer.to(dtype)


def inputs(name, dtype=torch.float64, batch=(BATCH,)):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(*batch, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in LAYERS[name][1]
    ]


def answers(layer, given):
    """Output and weights, all that the formula returns."""
    weights = layer.weights(*given) if hasattr(layer, "weights") else ()
    return [layer(*given), *(weights if isinstance(weights, tuple) else (weights,))]


def formula(layer, given, dtype):
    parameters = {key: p.detach().numpy().astype(dtype) for key, p in layer.named_parameters()}
    return LAYERS[type(layer).__name__][2](parameters, *(x.numpy().astype(dtype) for x in given))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_layer_is_its_formula(name, dtype):
    """At most twice the formula's own error in the same dtype, plus 4 eps of the largest number; in float64,
    where nothing is more exact, 32 eps of it for two orders of up to 60 terms."""
    layer, given = made(name, dtype), inputs(name, dtype)
    exact = formula(layer, given, np.float64)
    narrow = formula(layer, given, np.float32)
    for ours, theirs, right in zip(answers(layer, given), narrow, exact, strict=True):
        room = (4 if dtype == torch.float32 else 32) * torch.finfo(dtype).eps * abs(right).max()
        budget = room + (2 * abs(theirs - right).max() if dtype == torch.float32 else 0)
        assert ours.dtype == dtype
        assert ours.shape == right.shape
        assert abs(ours.detach().double().numpy() - right).max() <= budget


def test_gradients_are_those_of_differences(name):
    """Of all parameters and inputs; the maxima of CBAM do not tie."""
    layer, given = made(name), [x[:2] for x in inputs(name)]

    def run(*arrays):
        own = dict(zip(dict(layer.named_parameters()), arrays[len(given) :], strict=True))
        return torch.func.functional_call(layer, own, arrays[: len(given)])

    arrays = [x.detach().clone().requires_grad_() for x in (*given, *layer.parameters())]
    assert torch.autograd.gradcheck(run, arrays, fast_mode=True)


def test_a_batch_is_its_pictures_one_by_one(name):
    """Whoever stands beside a picture changes nothing; any leading axes are a batch, an empty one too."""
    layer, given = made(name), inputs(name)
    for together, *alone in zip(
        answers(layer, given), *(answers(layer, [x[k] for x in given]) for k in range(BATCH)), strict=True
    ):
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=1e-12)
    strangers = [torch.cat([x[:1], 100 * x[1:]]) for x in given]
    torch.testing.assert_close(layer(*strangers)[0], layer(*given)[0], rtol=1e-12, atol=1e-12)
    wide = inputs(name, batch=(2, 3))
    flat = layer(*(x.flatten(0, 1) for x in wide))
    torch.testing.assert_close(layer(*wide).flatten(0, 1), flat, rtol=1e-12, atol=1e-12)
    assert layer(*inputs(name, batch=(0, 2))).shape[:2] == (0, 2)


def test_training_changes_no_answer(name):
    """No dropout, no statistics of the batch."""
    layer, given = made(name), inputs(name)
    assert torch.equal(layer.train()(*given), layer.eval()(*given))


def test_a_layer_is_saved_loaded_copied_and_pickled(name):
    layer, given = made(name), inputs(name)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = LAYERS[name][0]().double()
    other.load_state_dict(torch.load(file))
    for twin in other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)):
        assert torch.equal(twin(*given), layer(*given))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_layer_may_be_half(name, dtype):
    """Everything in half: within a few units of its rounding of the float64 layer with the same numbers."""
    layer, given = made(name, dtype), inputs(name, dtype)
    wide = copy.deepcopy(layer).double()(*(x.double() for x in given))
    ours = layer(*given)
    assert ours.dtype == dtype
    assert (ours - wide).abs().max() <= 16 * torch.finfo(dtype).eps * wide.abs().max()


@pytest.mark.parametrize("made_in", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_layer_trains_under_autocast(name, dtype, made_in):
    """Behind a layer whose answer is half, or in front: gradients are float32, and near those without it."""
    layer, given = made(name, torch.float32), inputs(name, made_in)
    with torch.autocast("cpu", dtype):
        output = layer(*given)
        assert all(answer.isfinite().all() for answer in answers(layer, given))
    output.float().cos().sum().backward()
    wide = made(name)
    right = wide(*(x.double() for x in given))
    right.cos().sum().backward()
    eps = torch.finfo(dtype).eps
    assert (output - right).abs().max() <= 16 * eps * right.abs().max()
    exact = {key: p.grad for key, p in wide.named_parameters()}
    for key, ours in layer.named_parameters():
        size = exact[key.replace("b_K", "W_K")].norm()  # b_K's is zero on paper: a key bias moves no weight
        assert ours.grad.dtype == torch.float32
        assert (ours.grad - exact[key]).norm() <= 32 * eps * size, key


def test_a_layer_moves_to_another_device(name):
    """meta stands for any: the shapes come out there."""
    layer, given = made(name), inputs(name)
    moved = layer.to("meta")(*(x.to("meta") for x in given))
    assert (moved.device.type, moved.shape) == ("meta", made(name)(*given).shape)


def test_what_comes_is_refused_by_name(name):
    layer, given = made(name), inputs(name)
    letter, x = ("X" if name == "VisionBlock" else "F"), given[0]
    for wrong, error, message in (
        (x.numpy(), TypeError, "is a ndarray; wanted a torch.Tensor: torch.from_numpy"),
        (x.tolist(), TypeError, "is a list; wanted a torch.Tensor"),
        (x.float(), TypeError, "has dtype torch.float32; wanted the layer's, torch.float64"),
        (x.to("meta"), ValueError, "is on meta; wanted the layer's device"),
        (x.to_sparse(), TypeError, "is nested or sparse; wanted"),
        (x[..., 0, :, :1].squeeze() if letter == "F" else x[..., :1], ValueError, "has shape .*; wanted"),
        (x[0, 0, 0], ValueError, r"has shape \(.*\); wanted"),
        *(
            (x.narrow(axis, 0, 0), ValueError, r"has shape \(.*\); wanted .* 1 or more")
            for axis in ((1, 2, 3) if letter == "F" else ())
        ),
    ):
        with pytest.raises(error, match=rf"^{letter} {message}"):
            layer(wrong, *given[1:])


def test_reset_gives_the_starting_numbers_again(name):
    """The same seed, the same layer; and everything is drawn anew."""
    torch.manual_seed(3)
    fresh = LAYERS[name][0]()
    layer = made(name, torch.float32)
    torch.manual_seed(3)
    layer.reset_parameters()
    for ours, theirs in zip(layer.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_repr_can_be_called(name):
    layer = LAYERS[name][0]()
    if name != "VisionBlock":
        assert repr(eval(repr(layer))) == repr(layer)
    assert repr(layer).startswith(f"{name}(")


# ---- each by itself ----


def test_as_many_parameters_as_the_formulas_count():
    def count(layer):
        return sum(p.numel() for p in layer.parameters())

    with torch.device("meta"):
        for bias in False, True:
            stages = (3, 256), (4, 512), (6, 1024), (3, 2048)
            added = sum(N * count(SqueezeExcitation(C, 16, bias=bias)) for N, C in stages)
            assert added == {False: 2_514_944, True: 2_530_992}[bias]
        assert count(CBAM(256)) == formulas.cbam_parameters(256, 16) == 8_290
        assert count(AttentionGate(256, 256, 128)) == 65_793
        assert count(NonLocal(256)) == 131_072
        tokens, block = PictureTokens((14, 14), 16, 3, 768), VisionBlock(768, 12)
        assert count(block) == 7_087_872
        head = 2 * 768 + 769 * 1000
        assert count(tokens) + 12 * count(block) + head == formulas.vit_parameters() == 86_567_656


def test_squeeze_excitation_with_biases_by_hand():
    """One channel of mean 1: relu(1 · 2 + 1) = 3, 3 · 1 − 3 = 0, and σ(0) = 1 / 2."""
    layer = SqueezeExcitation(1, 1, bias=True)
    with torch.no_grad():
        for parameter, value in zip((layer.W_1, layer.b_1, layer.W_2, layer.b_2), (2, 1, 1, -3), strict=True):
            parameter.fill_(value)
    assert torch.equal(layer(torch.ones(1, 2, 2)), torch.full((1, 2, 2), 0.5))
    assert "bias=True" in repr(layer)


def test_non_local_starts_as_the_identity_and_learns():
    """At first W_O alone has a gradient; after one step the others have one, too."""
    torch.manual_seed(0)
    layer, F = NonLocal(4), torch.randn(2, 4, 3, 5)
    assert torch.equal(layer(F), F)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    for first in True, False:
        optimiser.zero_grad()
        layer(F).cos().sum().backward()
        moved = {key for key, p in layer.named_parameters() if p.grad.abs().max() > 0}
        assert moved == ({"W_O"} if first else {"W_Q", "W_K", "W_V", "W_O"})
        optimiser.step()


def test_a_block_takes_masks():
    """A causal block: the first token is as if it stood alone."""
    layer, (X,) = made("VisionBlock"), inputs("VisionBlock")
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(layer(X, mask=masks.causal), layer(X, mask=seen))
    torch.testing.assert_close(layer(X, mask=masks.causal)[:, :1], layer(X[:, :1]))
    assert torch.equal(layer.weights(X, mask=masks.causal).triu(1), torch.zeros(BATCH, 2, 5, 5).double())
    with pytest.raises(ValueError, match=r"^mask has shape \(4, 4\); wanted \(n, m\) = \(5, 5\)"):
        layer(X, mask=seen[1:, 1:])
    with pytest.raises(
        ValueError, match=r"^mask ends before query 4 or key 4: it is shifted_windows\(2, 2, 2, 0"
    ):
        layer(X, mask=masks.shifted_windows(2, 2, 2))


def bilinear(P, old, new):
    """Positions between positions, axis by axis: new place k lies at (k + ½) old / new − ½, kept inside."""

    def matrix(old, new):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0, 1 - abs(at[:, None] - np.arange(old)))

    first, places = P[:1], P[1:].reshape(*old, -1)
    between = np.einsum("ya, xb, abd -> yxd", matrix(old[0], new[0]), matrix(old[1], new[1]), places)
    return np.concatenate([first, between.reshape(new[0] * new[1], -1)])


@pytest.mark.parametrize("grid", [(2, 5), (3, 7), (1, 1), (5, 2), [np.int64(4), 4]])
def test_positions_between_positions(grid):
    layer = made("PictureTokens")
    layer.b_E.requires_grad_(False)
    other = layer.eval().resized(grid)
    wanted = bilinear(layer.P.detach().numpy(), (2, 5), tuple(grid))
    np.testing.assert_allclose(other.P.detach().numpy(), wanted, rtol=1e-12, atol=1e-14)
    assert (other.grid, other.training, other.b_E.requires_grad) == (tuple(grid), False, False)
    assert torch.equal(other.W_E, layer.W_E)
    assert other.W_E is not layer.W_E
    F = torch.randn(2, CHANNELS, 2 * grid[0], 2 * grid[1], dtype=torch.float64)
    assert other(F).shape == (2, 1 + grid[0] * grid[1], 7)


@pytest.mark.parametrize("g", [61, 115, 122])
def test_every_size_is_reached_where_a_factor_floors_one_short(g):
    """14 · (g / 14) is below g in floating point: the three sizes under 130 for which it is."""
    assert int(14 * (g / 14)) == g - 1
    layer = PictureTokens((14, 14), 1, 1, 1).resized((g, g))
    assert layer(torch.ones(1, g, g)).shape == (1 + g * g, 1)


@pytest.mark.parametrize("grid", [4.357, (4.357, 4.357), (14, 0), (14,), 14, "14", (True, 2), None])
def test_a_grid_is_two_positive_integers(grid):
    for make in (lambda: PictureTokens(grid, 2, 3, 4)), (lambda: made("PictureTokens").resized(grid)):
        with pytest.raises(ValueError, match=r"^grid is .*; wanted two positive integers, how many patches"):
            make()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 5, 10), r"F has shape \(6, 5, 10\); wanted high and wide, multiples of p = 2"),
        ((6, 4, 9), r"F has shape \(6, 4, 9\); wanted high and wide, multiples of p = 2"),
        ((6, 4, 8), r"F is a grid of \(2, 4\) patches; wanted .*, \(2, 5\): layer.resized\(\(2, 4\)\)"),
        ((6, 10, 4), r"F is a grid of \(5, 2\) patches; wanted .*, \(2, 5\)"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(shape, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        made("PictureTokens")(torch.ones(shape).double())


@pytest.mark.parametrize("shape", [(7, 2, 5), (7, 10, 4), (2, 7, 4, 10), (5, 4, 10)])
def test_a_gate_wants_one_grid(shape):
    with pytest.raises(ValueError, match=r"^G has shape .*; wanted"):
        made("AttentionGate")(torch.ones(6, 4, 10).double(), torch.ones(shape).double())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SqueezeExcitation(6, 4), "r is 4; wanted a positive integer that divides channels = 6"),
        (lambda: SqueezeExcitation(0), "channels is 0; wanted a positive integer"),
        (lambda: SqueezeExcitation(8), "r is 16; wanted a positive integer that divides channels = 8"),
        (lambda: CBAM(6, 2.0), "r is 2.0; wanted a positive integer"),
        (lambda: CBAM(6, 5), "r is 5; wanted a positive integer that divides channels = 6"),
        (lambda: CBAM(6, 2, k=4), "k is 4; wanted an odd number of taps"),
        (lambda: CBAM(6, 2, k=0), "k is 0; wanted a positive integer"),
        (lambda: AttentionGate(6, 0, 3), "gate_channels is 0; wanted a positive integer"),
        (lambda: AttentionGate(6, 3, -1), "d_hidden is -1; wanted a positive integer"),
        (lambda: NonLocal(True), "channels is True; wanted a positive integer"),
        (lambda: NonLocal(6, 0), "d is 0; wanted a positive integer"),
        (lambda: PictureTokens((1, 1), 0, 3, 4), "p is 0; wanted a positive integer"),
        (lambda: PictureTokens((1, 1), 1, 3, None), "d_model is None; wanted a positive integer"),
        (lambda: VisionBlock(6, 4), "h is 4; wanted a divisor of d_model = 6"),
        (lambda: VisionBlock(6, 2, 0), "d_ff is 0; wanted a positive integer"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
