"""The layer that trains: the numbers and gradients of PyTorch's own, and of the NumPy formula."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from selfattention.formulas import multi_head_attention, multi_head_parameters
from selfattention.modules import MultiHeadAttention

D_MODEL, H, D_MEMORY = 15, 5, 17  # five heads of width three: every axis its own prime
BATCH, N, M = 2, 7, 11


def torch_layer(*, bias, dtype, d_memory=None):
    """A PyTorch layer with every parameter at random: its biases start at zero."""
    layer = torch.nn.MultiheadAttention(
        D_MODEL, H, bias=bias, kdim=d_memory, vdim=d_memory, batch_first=True, dtype=dtype
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer


def run_torch(layer, X, memory):
    """Outputs, weights and all gradients of PyTorch's layer, named as ours are."""
    X, memory = X.clone().requires_grad_(), None if memory is None else memory.clone().requires_grad_()
    source = X if memory is None else memory
    Y, per_head = layer(X, source, source, average_attn_weights=False)
    _, averaged = layer(X, source, source)
    (Y * torch.arange(Y.numel(), dtype=Y.dtype).reshape(Y.shape).cos()).sum().backward()
    if layer.in_proj_weight is not None:
        W = layer.in_proj_weight.grad.chunk(3)
    else:
        W = [layer.get_parameter(f"{x}_proj_weight").grad for x in "qkv"]
    results = {"Y": Y, "A": per_head, "mean A": averaged, "X": X.grad}
    results |= dict(zip(["W_Q", "W_K", "W_V"], [grad.T for grad in W], strict=True))
    results["W_O"] = layer.out_proj.weight.grad.T
    if layer.in_proj_bias is not None:
        results |= dict(zip(["b_Q", "b_K", "b_V"], layer.in_proj_bias.grad.chunk(3), strict=True))
        results["b_O"] = layer.out_proj.bias.grad
    return results | ({} if memory is None else {"memory": memory.grad})


def run_ours(layer, X, memory):
    """The same of our layer."""
    X, memory = X.clone().requires_grad_(), None if memory is None else memory.clone().requires_grad_()
    Y, A = layer(X, memory), layer.weights(X, memory)
    (Y * torch.arange(Y.numel(), dtype=Y.dtype).reshape(Y.shape).cos()).sum().backward()
    results = {"Y": Y, "A": A, "mean A": A.mean(-3), "X": X.grad}
    results |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return results | ({} if memory is None else {"memory": memory.grad})


CASES = {"packed, self": (None, False), "packed, cross": (None, True), "separate, cross": (D_MEMORY, True)}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_same_numbers_and_gradients_as_torch(case, dtype, bias):
    """Error budget: against a float64 run, twice PyTorch's own error plus 4 eps of the largest entry.

    In float64 the reference is PyTorch itself; two orders of summing up to 77 terms differ by
    a few eps, for which 16 is room enough.
    """
    torch.manual_seed(0)
    d_memory, cross = CASES[case]
    theirs = torch_layer(bias=bias, dtype=dtype, d_memory=d_memory)
    X = torch.randn(BATCH, N, D_MODEL, dtype=dtype)
    memory = torch.randn(BATCH, M, d_memory or D_MODEL, dtype=dtype) if cross else None
    wide = copy.deepcopy(theirs).double(), X.double(), None if memory is None else memory.double()

    ours = run_ours(MultiHeadAttention.from_torch(theirs), X, memory)
    torchs, reference = run_torch(theirs, X, memory), run_torch(*wide)
    assert ours.keys() == reference.keys()
    for name, exact in reference.items():
        largest, eps = exact.abs().max(), torch.finfo(dtype).eps
        if name == "b_K":  # zero on paper, for a key bias moves no weight: all rounding
            largest = reference["W_K"].abs().max()
        room = 16 if dtype == torch.float64 else 4
        budget = 2 * (torchs[name] - exact).abs().max() + room * eps * largest
        assert ours[name].dtype == dtype
        assert ours[name].shape == exact.shape
        assert (ours[name] - exact).abs().max() <= budget, name


def test_same_numbers_as_the_numpy_formula(rng):
    layer = MultiHeadAttention(13, 3, d_k=5, d_v=7, d_memory=17, bias=False).double()
    X, memory = rng.normal(size=(2, 11, 13)), rng.normal(size=(2, 19, 17))
    W = [W.detach().numpy() for W in (layer.W_Q, layer.W_K, layer.W_V, layer.W_O)]
    Y = layer(torch.from_numpy(X), torch.from_numpy(memory)).detach()
    np.testing.assert_allclose(multi_head_attention(X, *W, 3, memory=memory), Y, rtol=1e-12, atol=1e-13)


def test_same_numbers_as_scaled_dot_product_attention():
    torch.manual_seed(0)
    layer = MultiHeadAttention(13, 3, d_k=5, d_v=7).double()
    X = torch.randn(2, 11, 13, dtype=torch.float64)
    Q, K = (X @ W.reshape(13, 3, 5).transpose(0, 1)[:, None] for W in (layer.W_Q, layer.W_K))
    V = X @ layer.W_V.reshape(13, 3, 7).transpose(0, 1)[:, None]  # heads first, then the batch
    H = scaled_dot_product_attention(Q, K, V)
    Y = sum(H_i @ W_i for H_i, W_i in zip(H, layer.W_O.reshape(3, 7, 13), strict=True))
    torch.testing.assert_close(layer(X), Y, rtol=1e-12, atol=1e-13)


def test_from_torch_reads_whatever_the_layout():
    """`batch_first` and dropout are not parameters: the copy is the source in eval mode, batch first."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(D_MODEL, H, dropout=0.5, batch_first=False).eval()
    X = torch.randn(BATCH, N, D_MODEL)
    flipped = X.transpose(0, 1)
    expected = theirs(flipped, flipped, flipped)[0].transpose(0, 1)
    torch.testing.assert_close(MultiHeadAttention.from_torch(theirs)(X), expected)


def test_from_torch_copies():
    theirs = torch_layer(bias=True, dtype=torch.float32)
    ours = MultiHeadAttention.from_torch(theirs)
    before = ours.W_Q.clone()
    with torch.no_grad():
        theirs.in_proj_weight.zero_()
    torch.testing.assert_close(ours.W_Q, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kdim": 3, "vdim": 7}, "kdim 3, vdim 7"),
        ({"add_bias_kv": True}, "add_bias_kv"),
        ({"add_zero_attn": True}, "add_zero_attn"),
    ],
)
def test_from_torch_refuses_what_the_formula_has_not(options, named):
    with pytest.raises(ValueError, match=f"^attention has {named}"):
        MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(D_MODEL, H, **options))


def test_from_torch_refuses_other_layers():
    with pytest.raises(TypeError, match=r"^attention is a Linear; wanted torch.nn.MultiheadAttention"):
        MultiHeadAttention.from_torch(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_parameters_are_as_many_as_the_formula_counts(bias):
    layer = MultiHeadAttention(13, 3, d_k=5, d_v=7, bias=bias)
    counted = multi_head_parameters(13, 3, d_k=5, d_v=7, bias=bias)
    assert sum(parameter.numel() for parameter in layer.parameters()) == counted
    assert {name for name, _ in layer.named_parameters()} == {
        f"{kind}_{letter}" for letter in "QKVO" for kind in ("Wb" if bias else "W")
    }


def test_state_is_saved_and_loaded():
    first, second = MultiHeadAttention(6, 2), MultiHeadAttention(6, 2)
    second.load_state_dict(first.state_dict())
    X = torch.randn(3, 6)
    torch.testing.assert_close(first(X), second(X), rtol=0, atol=0)


def test_a_layer_starts_with_scores_of_variance_one():
    """Tokens of unit variance; the spread over 50 layers' worth of scores is below 5 %."""
    torch.manual_seed(0)
    X = torch.randn(50, 64, 64, dtype=torch.float64)
    scores = []
    for tokens in X:
        layer = MultiHeadAttention(64, 4).double()
        assert all((b == 0).all() for b in (layer.b_Q, layer.b_K, layer.b_V, layer.b_O))
        A = layer.weights(tokens)
        scores.append(A.log() - A.log().mean(-1, keepdim=True))  # the scores, up to a constant per row
    assert abs(torch.stack(scores).var().item() - 1) < 0.05


def test_leading_axes_are_a_batch():
    layer = MultiHeadAttention(6, 2, d_memory=5).double()
    X = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    memory = torch.randn(2, 3, 11, 5, dtype=torch.float64)
    assert layer.weights(X, memory).shape == (2, 3, 2, 7, 11)
    for i, j in np.ndindex(2, 3):
        torch.testing.assert_close(layer(X, memory)[i, j], layer(X[i, j], memory[i, j]))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 1), {}, "d_model is 0; wanted a positive integer"),
        ((6, True), {}, "h is True; wanted a positive integer"),
        ((6, 4), {}, "h is 4; wanted a divisor of d_model = 6, or both d_k and d_v given"),
        ((6, 4), {"d_k": 2}, "h is 4; wanted a divisor of d_model = 6, or both d_k and d_v given"),
        ((6, 2), {"d_k": 1.5}, "d_k is 1.5; wanted a positive integer"),
        ((6, 2), {"d_memory": -1}, "d_memory is -1; wanted a positive integer"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MultiHeadAttention(*arguments, **options)


def test_inputs_that_do_not_fit_are_refused_by_name():
    layer, X = MultiHeadAttention(6, 2, d_memory=5), torch.ones(3, 7, 6)
    for call in layer, layer.weights:
        with pytest.raises(
            ValueError, match=r"^X has shape \(3, 7, 5\); wanted \(…, n, d_model\) with d_model = 6"
        ):
            call(torch.ones(3, 7, 5), X)
        with pytest.raises(ValueError, match=r"^X has shape \(6,\)"):
            call(torch.ones(6), torch.ones(11, 5))
        with pytest.raises(ValueError, match=r"^memory is missing; wanted .* d_memory = 5"):
            call(X)
        with pytest.raises(ValueError, match=r"^memory has shape \(3, 11, 6\); wanted .* d_memory = 5"):
            call(X, torch.ones(3, 11, 6))
        with pytest.raises(ValueError, match=r"^memory has shape \(2, 11, 5\); wanted the leading axes of X"):
            call(X, torch.ones(2, 11, 5))
        with pytest.raises(TypeError, match=r"^X has dtype torch.float64; wanted the layer's, torch.float32"):
            call(X.double(), torch.ones(3, 11, 5))
        with pytest.raises(TypeError, match=r"^memory is a list; wanted a torch.Tensor"):
            call(X, [[1.0] * 5])
