"""The layer that trains: the numbers and gradients of PyTorch's own, and of the NumPy formula."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
import torch
from torch.nn.functional import dropout, scaled_dot_product_attention

from selfattention import masks
from selfattention.formulas import multi_head_attention, multi_head_parameters
from selfattention.modules import Cache, MultiHeadAttention

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


def run_torch(layer, X, memory, **who):
    """Outputs, weights and all gradients of PyTorch's layer, named as ours are."""
    X, memory = X.clone().requires_grad_(), None if memory is None else memory.clone().requires_grad_()
    source = X if memory is None else memory
    Y, per_head = layer(X, source, source, average_attn_weights=False, **who)
    _, averaged = layer(X, source, source, **who)
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


def run_ours(layer, X, memory, **who):
    """The same of our layer."""
    X, memory = X.clone().requires_grad_(), None if memory is None else memory.clone().requires_grad_()
    Y, A = layer(X, memory, **who), layer.weights(X, memory, **who)
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


SEEN = torch.rand(BATCH, H, N, M, generator=torch.Generator().manual_seed(0)) < 0.6
SEEN[..., 0] = True  # no row is empty: of those PyTorch's layer has more than one opinion
KEYS = torch.arange(M) < torch.tensor([[5], [M]])
SQUARE = torch.ones(N, N, dtype=torch.bool).tril()
ADDED = torch.zeros(N, M).double().masked_fill(~SEEN[0, 0], -torch.inf)
# What PyTorch is told, what we are told, and whether there is a memory.
WAYS = {
    "attn_mask": ({"attn_mask": ~SEEN[0, 0]}, {"mask": SEEN[0, 0]}, True),
    "attn_mask per head": ({"attn_mask": ~SEEN.flatten(0, 1)}, {"mask": SEEN}, True),
    "key_padding_mask": ({"key_padding_mask": ~KEYS}, {"key_mask": KEYS}, True),
    "lengths": ({"key_padding_mask": ~KEYS}, {"mask": masks.padding([5, M])}, True),
    "both": (
        {"attn_mask": ~SEEN[0, 0], "key_padding_mask": ~KEYS},
        {"mask": SEEN[0, 0], "key_mask": KEYS},
        True,
    ),
    "added": ({"attn_mask": ADDED}, {"mask": ADDED == 0}, True),
    "is_causal": ({"attn_mask": ~SQUARE, "is_causal": True}, {"is_causal": True}, False),
    "causal rule": ({"attn_mask": ~SQUARE}, {"mask": masks.causal}, False),
}


@pytest.mark.parametrize("way", WAYS)
def test_same_numbers_and_gradients_as_torch_where_not_all_may_see(way):
    torch.manual_seed(0)
    told_torch, told_ours, cross = WAYS[way]
    theirs = torch_layer(bias=True, dtype=torch.float64, d_memory=D_MEMORY if cross else None)
    X = torch.randn(BATCH, N, D_MODEL, dtype=torch.float64)
    memory = torch.randn(BATCH, M, D_MEMORY, dtype=torch.float64) if cross else None
    ours = run_ours(MultiHeadAttention.from_torch(theirs), X, memory, **told_ours)
    reference = run_torch(theirs, X, memory, **told_torch)
    for name, exact in reference.items():
        largest = reference["W_K" if name == "b_K" else name].abs().max()
        assert (ours[name] - exact).abs().max() <= 16 * torch.finfo(torch.float64).eps * largest, name


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("graph", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("trains", [True, False], ids=["train", "eval"])
def test_same_numbers_as_torch_in_all_its_modes(trains, graph, need_weights):
    """Its path through the fused kernel, without it, and its fast path, which wants an even h."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64).train(trains)
    ours, X = MultiHeadAttention.from_torch(theirs), torch.randn(BATCH, N, 16, dtype=torch.float64)
    with torch.set_grad_enabled(graph):
        for told_torch, told_ours in (
            ({}, {}),
            ({"attn_mask": ~SQUARE}, {"mask": SQUARE}),
            ({"key_padding_mask": ~KEYS[:, :N]}, {"key_mask": KEYS[:, :N]}),
            ({"attn_mask": ~SQUARE, "is_causal": True}, {"is_causal": True}),
        ):
            Y, A = theirs(X, X, X, need_weights=need_weights, **told_torch)
            torch.testing.assert_close(ours(X, **told_ours), Y, rtol=1e-12, atol=1e-13)
            if need_weights:
                torch.testing.assert_close(ours.weights(X, **told_ours).mean(-3), A, rtol=1e-12, atol=1e-13)


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
    """`batch_first` is no parameter: the copy is batch first."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(D_MODEL, H, dropout=0.5, batch_first=False).eval()
    X = torch.randn(BATCH, N, D_MODEL)
    flipped = X.transpose(0, 1)
    expected = theirs(flipped, flipped, flipped)[0].transpose(0, 1)
    torch.testing.assert_close(MultiHeadAttention.from_torch(theirs)(X), expected)


@pytest.mark.parametrize("separate", [False, True], ids=["packed", "separate"])
def test_from_torch_keeps_what_trains_and_what_does_not(separate):
    theirs = torch_layer(bias=True, dtype=torch.float32, d_memory=D_MEMORY if separate else None)
    frozen = ["q_proj_weight"] if separate else ["in_proj_weight"]
    for name in [*frozen, "out_proj.bias"]:
        theirs.get_parameter(name).requires_grad_(False)
    ours = MultiHeadAttention.from_torch(theirs)
    still = {name for name, parameter in ours.named_parameters() if not parameter.requires_grad}
    assert still == {"W_Q", "b_O"} | (set() if separate else {"W_K", "W_V"})


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_from_torch_keeps_dtype_device_dropout_and_mode(device, dtype, trains):
    theirs = torch.nn.MultiheadAttention(D_MODEL, H, dropout=0.25, dtype=dtype, device=device).train(trains)
    ours = MultiHeadAttention.from_torch(theirs)
    assert {(p.dtype, p.device.type) for p in ours.parameters()} == {(dtype, device)}
    assert all(p.is_leaf and p.is_contiguous() and p.requires_grad for p in ours.parameters())
    assert (ours.dropout, ours.training) == (0.25, trains)
    assert ours(torch.ones(2, 3, D_MODEL, dtype=dtype, device=device)).device.type == device


def test_from_torch_keeps_a_dtype_for_each_parameter():
    theirs = torch_layer(bias=True, dtype=torch.float32)
    theirs.out_proj.double()
    ours = MultiHeadAttention.from_torch(theirs)
    doubles = {name for name, parameter in ours.named_parameters() if parameter.dtype == torch.float64}
    assert doubles == {"W_O", "b_O"}


def test_from_torch_draws_no_random_number():
    theirs = torch_layer(bias=True, dtype=torch.float32)
    before = torch.get_rng_state()
    MultiHeadAttention.from_torch(theirs)
    assert torch.equal(torch.get_rng_state(), before)


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


# ---- who may see whom ----


def fused(layer, X, memory=None, visible=None):
    """Y by PyTorch's fused attention, with our parameters."""
    source = X if memory is None else memory
    Q, K, V = (
        (tokens @ W + b).unflatten(-1, (heads, -1)).movedim(-2, -3)
        for tokens, W, b, heads in (
            (X, layer.W_Q, layer.b_Q, layer.h),
            (source, layer.W_K, layer.b_K, layer.g),
            (source, layer.W_V, layer.b_V, layer.g),
        )
    )
    H = scaled_dot_product_attention(Q, K, V, attn_mask=visible, enable_gqa=True)
    return H.movedim(-3, -2).flatten(-2) @ layer.W_O + layer.b_O


def layer_of(h=6, g=3, **options):
    """d_model 12; every parameter at random."""
    layer = MultiHeadAttention(12, h, g=g, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer


def tokens(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def everything(layer, call, *inputs):
    """Y, and the gradients of a number that depends on all of it."""
    inputs = [X.clone().requires_grad_() for X in inputs]
    Y = call(*inputs)
    wanted = [*layer.parameters(), *inputs]
    return Y, *torch.autograd.grad((Y * tokens(*Y.shape, seed=9)).sum(), wanted)


def spelt(allowed):
    """Read-only, and read backwards: what NumPy hands over need not be laid out as torch wants it."""
    backwards = np.ascontiguousarray(allowed.numpy()[..., ::-1])
    backwards.flags.writeable = False
    return backwards[..., ::-1]


LOWER = torch.ones(5, 5, dtype=torch.bool).tril()
HEADS = torch.rand(2, 6, 5, 5, generator=torch.Generator().manual_seed(1)) < 0.5
LENGTHS = torch.arange(5) < torch.tensor([[3], [5]])
SAID = {
    "rule": ({"mask": masks.causal & masks.window(2)}, LOWER & ~LOWER.tril(-2)),
    "rule of the batch": ({"mask": masks.padding([3, 5])}, LENGTHS[:, None, None]),
    "rule of one for the batch": ({"mask": masks.padding([3])}, LENGTHS[:1]),
    "table of the heads": ({"mask": masks.Table(HEADS.numpy())}, HEADS),
    "table of heads alone": ({"mask": masks.Table(HEADS[0].numpy())}, HEADS[0]),
    "two axes": ({"mask": HEADS[0, 0]}, HEADS[0, 0]),
    "one row for all": ({"mask": HEADS[0, 0, :1]}, HEADS[0, 0, :1]),
    "one column for all": ({"mask": HEADS[0, 0, :, :1]}, HEADS[0, 0, :, :1]),
    "all axes": ({"mask": HEADS}, HEADS),
    "batch": ({"mask": HEADS[:, :1]}, HEADS[:, :1]),
    "heads": ({"mask": HEADS[:1]}, HEADS[:1]),
    "array": ({"mask": spelt(HEADS)}, HEADS),
    "keys": ({"key_mask": LENGTHS}, LENGTHS[:, None, None]),
    "keys of all": ({"key_mask": LENGTHS[0]}, LENGTHS[:1]),
    "array of keys": ({"key_mask": spelt(LENGTHS)}, LENGTHS[:, None, None]),
    "causal": ({"is_causal": True}, LOWER),
    "all three": (
        {"mask": HEADS, "key_mask": LENGTHS, "is_causal": True},
        HEADS & LENGTHS[:, None, None] & LOWER,
    ),
    "nobody": ({"mask": torch.zeros(5, 5, dtype=torch.bool)}, torch.zeros(5, 5, dtype=torch.bool)),
}


@pytest.mark.parametrize("g", [1, 2, 6])
@pytest.mark.parametrize("said", SAID)
def test_who_may_see_whom_in_all_ways_to_say_it(said, g):
    who, visible = SAID[said]
    layer, X = layer_of(g=g), tokens(2, 5, 12)
    ours = everything(layer, lambda X: layer(X, **who), X)
    for one, other in zip(ours, everything(layer, lambda X: fused(layer, X, None, visible), X), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)
    A = layer.weights(X, **who)
    assert not A.masked_select(~visible).any()
    torch.testing.assert_close(A.sum(-1), visible.any(-1).double().expand(2, 6, 5))


def test_rules_and_arrays_with_no_batch_and_with_two_batch_axes():
    layer, X = layer_of(), tokens(2, 3, 5, 12)
    lengths = torch.tensor([[1, 2, 3], [4, 5, 5]])
    keys = torch.arange(5) < lengths[..., None]
    expected = fused(layer, X, None, keys[:, :, None, None])
    for who in (
        {"mask": masks.padding(lengths.flatten().numpy())},
        {"key_mask": keys},
        {"mask": keys[:, :, None, None]},
        {"mask": masks.Table(keys[:, :, None, None].expand(2, 3, 1, 5, 5).numpy())},
    ):
        torch.testing.assert_close(layer(X, **who), expected)
    for who in {"mask": masks.padding([4])}, {"key_mask": keys[1, 0]}, {"mask": keys[1, 0].expand(1, 5, 5)}:
        torch.testing.assert_close(layer(X[1, 0], **who), expected[1, 0])


@pytest.mark.parametrize(("n", "m"), [(2, 7), (7, 2), (1, 1), (1, 3), (3, 1)])
def test_is_causal_is_the_rule_causal_and_top_left_beside_a_memory(n, m):
    layer, X, memory = layer_of(), tokens(2, n, 12), tokens(2, m, 12, seed=1)
    Y = layer(X, memory, is_causal=True)
    torch.testing.assert_close(Y, layer(X, memory, mask=masks.causal), rtol=0, atol=0)
    allowed = torch.arange(m) <= torch.arange(n)[:, None]
    torch.testing.assert_close(Y, fused(layer, X, memory, allowed))


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_row_that_may_see_nobody_is_the_output_bias_and_sends_no_gradient_back():
    layer, X, memory = layer_of(), tokens(2, 5, 12), tokens(2, 7, 12, seed=1)
    allowed = torch.ones(5, 7, dtype=torch.bool)
    allowed[0] = False
    X.requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):  # not even one that is multiplied away later
        Y = layer(X, memory, mask=allowed)
        Y.sum().backward()
    assert torch.equal(Y[:, 0], layer.b_O.expand(2, 12))
    assert not layer.weights(X, memory, mask=allowed)[..., 0, :].any()
    assert torch.equal(X.grad[:, 0], torch.zeros(2, 12))
    assert X.grad[:, 1:].isfinite().all()
    assert X.grad[:, 1:].all()


def test_what_is_hidden_changes_no_bit():
    layer, X, memory = layer_of(), tokens(2, 5, 12), tokens(2, 7, 12, seed=1)
    hidden = memory.clone()
    hidden[:, 4:] = 1e100
    keys = torch.arange(7) < 4
    call = lambda X, memory: layer(X, memory, key_mask=keys)  # noqa: E731
    (Y, *before), (other, *after) = (everything(layer, call, X, M) for M in (memory, hidden))
    assert torch.equal(Y, other)
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert not before[-1][:, 4:].any()


def test_a_mask_refilled_between_forward_and_backward_changes_no_gradient():
    layer, X = layer_of(), tokens(2, 5, 12)
    grads = []
    for refill in False, True:
        array, keys = HEADS.numpy().copy(), LENGTHS.clone()
        Y = layer(X, mask=array, key_mask=keys)
        if refill:
            array[:], keys[:] = ~array, ~keys
        grads.append(torch.autograd.grad(Y.sum(), list(layer.parameters())))
    assert all(torch.equal(one, two) for one, two in zip(*grads, strict=True))


# ---- a text that comes in pieces ----

PIECES = {"one by one": [1] * 7, "prompt, then one by one": [4, 1, 1, 1], "two halves": [3, 4], "whole": [7]}
RULES = {
    "causal": {"is_causal": True},
    "rule": {"mask": masks.causal},
    "window": {"mask": masks.window(3), "is_causal": True},
    "documents": {"mask": masks.documents([0, 0, 0, 1, 1, 1, 1]) & masks.causal},
    "padding": {"mask": masks.padding([5, 7]) & masks.causal},
}


@pytest.mark.parametrize("g", [1, 3, 6])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pieces", PIECES)
def test_pieces_with_a_cache_are_the_whole_text(pieces, rule, g):
    layer, X, cache, seen = layer_of(g=g), tokens(2, 7, 12), Cache(), 0
    whole, Y = layer(X, **RULES[rule]), []
    A = layer.weights(X, **RULES[rule])
    for piece in X.split(PIECES[pieces], dim=1):
        rows = slice(seen, seen + piece.shape[1])
        step = layer.weights(piece, cache=cache, **RULES[rule])
        torch.testing.assert_close(step, A[..., rows, : rows.stop], rtol=0, atol=1e-12)
        assert cache.length == seen
        Y.append(layer(piece, cache=cache, **RULES[rule]))
        seen = cache.length
        assert seen == rows.stop
    torch.testing.assert_close(torch.cat(Y, dim=1), whole, rtol=0, atol=1e-12)
    assert (cache.K.shape, cache.V.shape) == ((2, g, 7, 2), (2, g, 7, 2))
    assert repr(cache) == "Cache(length=7)"


def test_keys_and_arrays_beside_a_cache_speak_of_all_keys():
    layer, X, cache = layer_of(), tokens(2, 7, 12), Cache()
    keys = torch.arange(7) >= torch.tensor([[2], [0]])  # padded on the left, as prompts are
    whole = layer(X, key_mask=keys, is_causal=True)
    first = layer(X[:, :4], key_mask=keys[:, :4], is_causal=True, cache=cache)
    array = torch.ones(3, 7, dtype=torch.bool).tril(4)
    last = layer(X[:, 4:], key_mask=keys, mask=array, cache=cache)
    torch.testing.assert_close(torch.cat([first, last], dim=1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,)])
def test_a_cache_has_the_leading_axes_of_its_tokens(batch):
    layer, X, cache = layer_of(g=2, d_k=3, d_v=5), tokens(*batch, 7, 12), Cache()
    first = layer(X[..., :4, :], mask=masks.causal, cache=cache)
    last = layer(X[..., 4:, :], mask=masks.causal, cache=cache)
    whole = layer(X, mask=masks.causal)
    torch.testing.assert_close(torch.cat([first, last], dim=-2), whole, rtol=0, atol=1e-12)
    assert (cache.length, cache.K.shape, cache.V.shape) == (7, (*batch, 2, 7, 3), (*batch, 2, 7, 5))


def test_gradients_flow_through_a_cache():
    layer, X = layer_of(), tokens(2, 7, 12)

    def in_pieces(X):
        cache = Cache()
        return torch.cat([layer(x, is_causal=True, cache=cache) for x in X.split(2, dim=1)], dim=1)

    whole = everything(layer, lambda X: layer(X, is_causal=True), X)
    for one, other in zip(everything(layer, in_pieces, X), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_a_call_that_is_refused_leaves_the_cache_as_it_was():
    layer, X, cache = layer_of(), tokens(2, 7, 12), Cache()
    layer(X, cache=cache)
    K, V = cache.K, cache.V
    for call, message in (
        (lambda: layer(X[:1], cache=cache), "cache holds K (2, 3, 7, 2), torch.float64, cpu; wanted what K"),
        (lambda: layer.float()(X.float(), cache=cache), "cache holds K (2, 3, 7, 2), torch.float64"),
        (
            lambda: layer.double()(X, mask=LOWER, cache=cache),
            "mask has shape (5, 5); wanted (n, m) = (7, 14)",
        ),
        (lambda: layer(X, X, cache=cache), "cache came with memory; wanted one of them"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call()
        assert cache.K is K
        assert cache.V is V
    with pytest.raises(TypeError, match=r"^cache is a tuple; wanted a selfattention.modules.Cache"):
        layer(X, cache=(K, V))


def test_a_cache_of_other_values_is_refused_too():
    cache, X = Cache(), tokens(2, 7, 12)
    MultiHeadAttention(12, 3, d_v=5, d_k=4).double()(X, cache=cache)
    with pytest.raises(ValueError, match=r"^cache holds V \(2, 3, 7, 5\)"):
        MultiHeadAttention(12, 3).double()(X, cache=cache)
    with pytest.raises(ValueError, match=r"^cache holds K \(2, 3, 7, 4\).* wanted what K \(2, 1, 7, 4\)"):
        MultiHeadAttention(12, 3, g=1).double()(X, cache=cache)


# ---- dropout ----


@pytest.mark.parametrize("p", [0.25, 0.5, 1.0])
def test_dropout_divides_the_survivors(p):
    """The formula with the same survivors: those that the same random numbers leave of a table of ones."""
    layer, X = layer_of(dropout=p), tokens(2, 5, 12)
    torch.manual_seed(7)
    Y = layer(X, is_causal=True)
    torch.manual_seed(7)
    survives = dropout(torch.ones(2, 6, 5, 5, dtype=torch.float64), p) > 0
    assert survives.double().mean() == pytest.approx(1 - p, abs=0.1)
    divided = layer.weights(X, is_causal=True) * survives / max(1 - p, 1e-300)
    V = (X @ layer.W_V + layer.b_V).unflatten(-1, (3, 2)).transpose(1, 2).repeat_interleave(2, dim=1)
    expected = (divided @ V).transpose(1, 2).flatten(-2) @ layer.W_O + layer.b_O
    torch.testing.assert_close(Y, expected)


def test_dropout_is_as_in_torch_in_training_and_off_in_eval():
    """In training PyTorch's layer draws the same numbers in the same order, where it makes weights."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(D_MODEL, H, dropout=0.5, batch_first=True).double()
    ours, X = MultiHeadAttention.from_torch(theirs), tokens(BATCH, N, D_MODEL)
    outputs = []
    for layer in lambda: theirs(X, X, X)[0], lambda: ours(X):
        torch.manual_seed(7)
        outputs.append(layer())
    torch.testing.assert_close(*outputs)
    theirs.eval(), ours.eval()
    torch.testing.assert_close(ours(X), theirs(X, X, X)[0])
    assert not torch.allclose(ours(X), outputs[1])


def test_dropout_leaves_the_weights_that_are_shown_alone():
    layer, X = layer_of(dropout=0.5), tokens(2, 5, 12)
    before = torch.get_rng_state()
    torch.testing.assert_close(layer.weights(X).sum(-1), torch.ones(2, 6, 5).double())
    layer.eval()(X)
    assert torch.equal(torch.get_rng_state(), before)


# ---- half precisions and autocast ----


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("g", [2, 4])
def test_behind_a_linear_under_autocast(dtype, g):
    """As PyTorch's layer: it takes what autocast made and returns autocast's dtype.

    Budget: over 16 texts, the largest error of Y and of two gradients is at most twice that of
    PyTorch's layer, with heads repeated where there are fewer groups, plus 4 eps of the largest entry.
    """
    torch.manual_seed(0)
    before, ours = torch.nn.Linear(16, 16), MultiHeadAttention(16, 4, g=g)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    causal = torch.ones(9, 9, dtype=torch.bool).tril()
    repeated = [
        W.unflatten(-1, (g, -1)).repeat_interleave(4 // g, dim=-2).flatten(-2) for W in (ours.W_K, ours.W_V)
    ]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.W_Q, *repeated], dim=1).T)
        theirs.out_proj.weight.copy_(ours.W_O.T)
    x = torch.randn(16, 9, 16)

    def run(call, layers, x, enabled):
        for layer in layers:
            layer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=enabled):
            X = layers[0](x)
            Y = call(layers[1], X)
        assert Y.dtype == (dtype if enabled else x.dtype)
        (Y.double() * torch.linspace(-1, 1, Y.numel()).double().reshape(Y.shape)).sum().backward()
        out = layers[1].W_O if layers[1].__class__ is MultiHeadAttention else layers[1].out_proj.weight
        return Y, layers[0].weight.grad, out.grad

    of_ours = lambda layer, X: layer(X, is_causal=True)  # noqa: E731
    of_theirs = lambda layer, X: layer(X, X, X, attn_mask=~causal, need_weights=False)[0]  # noqa: E731
    exact = run(of_ours, [copy.deepcopy(before).double(), copy.deepcopy(ours).double()], x.double(), False)
    torchs = run(of_theirs, [copy.deepcopy(before), theirs], x, True)
    mine = run(of_ours, [before, ours], x, True)
    turned = [torchs[0], torchs[1], torchs[2].T]
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in ours.parameters())
    for our, their, right in zip(mine, turned, exact, strict=True):
        budget = 2 * (their - right).abs().max() + 4 * torch.finfo(dtype).eps * right.abs().max()
        assert (our - right).abs().max() <= budget


@pytest.mark.parametrize("made", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_autocast_takes_whatever_it_casts(stored, made):
    layer, cache = MultiHeadAttention(8, 2).to(stored), Cache()
    X, memory = torch.randn(2, 5, 8, dtype=made), torch.randn(2, 3, 8, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(X, memory, mask=masks.causal).dtype == torch.bfloat16
        assert layer.weights(X).dtype == torch.bfloat16
        whole = layer(X, is_causal=True)
        steps = [layer(x, is_causal=True, cache=cache) for x in X.split(1, dim=1)]
        assert cache.K.dtype == torch.bfloat16
    torch.testing.assert_close(torch.cat(steps, dim=1), whole)


def test_autocast_leaves_doubles_alone():
    layer, X = layer_of(), tokens(2, 5, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(X).dtype == torch.float64
        with pytest.raises(TypeError, match=r"^X has dtype torch.float64; wanted the layer's, torch.float32"):
            MultiHeadAttention(12, 6)(X)
        with pytest.raises(TypeError, match=r"^X has dtype torch.float32; wanted the layer's, torch.float64"):
            layer(X.float())
    with pytest.raises(TypeError, match=r"^X has dtype torch.bfloat16; wanted the layer's, torch.float32"):
        MultiHeadAttention(12, 6)(X.bfloat16())


def plain(d=1, **options):
    """One head that hands everything on: every W the identity."""
    layer = MultiHeadAttention(d, 1, bias=False, **options)
    with torch.no_grad():
        for W in layer.parameters():
            W.copy_(torch.eye(d))
    return layer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precisions_take_their_softmax_in_float32(dtype):
    """Scores are the memory itself, so that the weights are rounded once: to half, at the end."""
    memory = (4 * tokens(300, 1000, 1)).to(dtype)
    A = plain().to(dtype).weights(torch.ones(300, 1, 1, dtype=dtype), memory)
    S = memory.transpose(1, 2)[:, None].contiguous()
    wide = torch.softmax(S.float(), dim=-1)
    assert A.dtype == dtype
    assert torch.equal(A, wide.to(dtype))


def test_half_precision_scales_before_it_multiplies():
    """q · k = 90000 is beyond float16; divided by √4 it is not."""
    X = torch.full((1, 4), 150.0, dtype=torch.float16)
    assert torch.equal(plain(4).half()(X), X)


# ---- sizes ----


@pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int16, np.int64, np.uint64])
def test_sizes_may_be_numpys_and_never_wrap(kind):
    """100 · 30 does not fit into eight bits."""
    layer = MultiHeadAttention(kind(100), kind(30), g=kind(15), d_k=kind(30), d_v=kind(20), d_memory=kind(90))
    assert layer.W_Q.shape == (100, 900)
    assert layer.W_K.shape == (90, 450)
    assert layer.W_V.shape == (90, 300)
    assert layer.W_O.shape == (600, 100)
    assert all(type(getattr(layer, name)) is int for name in ("d_model", "h", "g", "d_k", "d_v", "d_memory"))
    assert layer(torch.ones(2, 100), torch.ones(3, 90)).shape == (2, 100)


def test_the_smallest_layer_by_hand():
    """Everything is one: one query, one key, one head, one number. Y = x W_V W_O + b_V W_O + b_O."""
    layer = MultiHeadAttention(1, 1, g=1, d_k=1, d_v=1, d_memory=1)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), range(2, 10), strict=True):
            parameter.fill_(value)
    named = {name: parameter.item() for name, parameter in layer.named_parameters()}
    X = torch.tensor([[3.0]])
    expected = (3 * named["W_V"] + named["b_V"]) * named["W_O"] + named["b_O"]
    for Y in layer(X), layer(X, X), layer(X, is_causal=True), layer(X, cache=Cache()), layer(X[None])[0]:
        assert Y.item() == expected
    assert layer.weights(X).tolist() == [[[1.0]]]


@pytest.mark.parametrize("g", [1, 3])
@pytest.mark.parametrize(("b", "n", "m"), [(0, 5, 7), (2, 0, 7), (2, 5, 0), (0, 0, 0), (1, 1, 1)])
@pytest.mark.parametrize("who", [{}, {"is_causal": True}, {"mask": masks.causal | masks.prefix(2)}], ids=str)
def test_empty_axes(who, b, n, m, g):
    layer, X, memory = layer_of(g=g), tokens(b, n, 12), tokens(b, m, 12, seed=1)
    Y, *grads = everything(layer, lambda X, memory: layer(X, memory, **who), X, memory)
    assert Y.shape == (b, n, 12)
    assert all(grad.isfinite().all() for grad in grads)
    if m == 0:
        assert torch.equal(Y, layer.b_O.expand_as(Y))
    assert layer.weights(X, memory, **who).shape == (b, 6, n, m)


@pytest.mark.parametrize("g", [1, 2, 4])
def test_groups_are_the_full_layer_with_repeated_heads(g):
    """Head i reads block i // (h / g) of K and V."""
    grouped, full = layer_of(h=4, g=g, d_k=3, d_v=5), layer_of(h=4, g=4, d_k=3, d_v=5)
    with torch.no_grad():
        for name, parameter in grouped.named_parameters():
            if name[-1] in "KV":
                blocks = parameter.unflatten(-1, (g, -1))
                parameter = blocks.repeat_interleave(4 // g, dim=-2).flatten(-2)
            full.get_parameter(name).copy_(parameter)
    X = tokens(2, 5, 12)
    torch.testing.assert_close(grouped(X, is_causal=True), full(X, is_causal=True))
    assert grouped.W_K.shape == (12, g * 3)
    assert grouped.W_V.shape == (12, g * 5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"h": 3}, "d_model=12, h=3"),
        ({"h": 3, "g": 3, "d_k": 4, "d_v": 4, "d_memory": 12, "dropout": 0}, "d_model=12, h=3"),
        ({"h": 4, "g": 2}, "d_model=12, h=4, g=2"),
        ({"h": 5, "d_k": 2, "d_v": 2}, "d_model=12, h=5, d_k=2, d_v=2"),
        ({"h": 3, "d_k": 5}, "d_model=12, h=3, d_k=5"),
        ({"h": 3, "d_v": 5, "d_memory": 7}, "d_model=12, h=3, d_v=5, d_memory=7"),
        ({"h": 3, "bias": False, "dropout": 0.1}, "d_model=12, h=3, bias=False, dropout=0.1"),
    ],
)
def test_repr_says_what_is_not_as_usual_and_can_be_called(options, told):
    layer = MultiHeadAttention(12, **options)
    assert repr(layer) == f"MultiHeadAttention({told})"
    again = eval(repr(layer))
    assert repr(again) == repr(layer)
    assert [p.shape for p in again.parameters()] == [p.shape for p in layer.parameters()]


# ---- as any layer of PyTorch ----


@pytest.mark.parametrize("way", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_layer_can_be_copied_and_pickled(way):
    layer, X = layer_of(g=2, dropout=0.5).eval(), tokens(2, 5, 12)
    layer.W_Q.requires_grad_(False)
    again = way(layer)
    assert torch.equal(again(X, is_causal=True), layer(X, is_causal=True))
    assert (repr(again), again.training, again.W_Q.requires_grad) == (repr(layer), False, False)


def test_a_layer_can_be_half_or_without_numbers():
    layer, X = MultiHeadAttention(12, 6, g=2), torch.ones(2, 5, 12)
    who = {"mask": masks.padding([3, 5]), "is_causal": True, "key_mask": torch.ones(2, 5).bool()}
    assert copy.deepcopy(layer).half()(X.half(), **who).dtype == torch.float16
    nowhere = layer.to("meta")(X.to("meta"), **who)
    assert (nowhere.device.type, nowhere.shape) == ("meta", (2, 5, 12))


def test_vmap_over_tokens_and_their_masks():
    layer, X = layer_of(), tokens(2, 5, 12)
    one_by_one = torch.vmap(lambda x, keys: layer(x, key_mask=keys, is_causal=True))(X, LENGTHS)
    torch.testing.assert_close(one_by_one, layer(X, key_mask=LENGTHS, is_causal=True))


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # PyTorch's own, and no matter
def test_a_compiled_layer_has_no_break_in_its_graph():
    """`eager` runs what Dynamo recorded, compiling nothing. Rules are spelt out in NumPy, before."""
    layer, X = MultiHeadAttention(12, 6, g=2), torch.randn(2, 5, 12)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for who in {}, {"mask": torch.ones(5, 5).tril().bool(), "key_mask": LENGTHS, "is_causal": True}:
        torch.testing.assert_close(compiled(X, **who), layer(X, **who))


def test_an_exported_layer_takes_every_length():
    layer, X, n = MultiHeadAttention(12, 6, g=2), torch.randn(2, 5, 12), torch.export.Dim("n", min=2, max=99)
    keys = torch.ones(2, 5, dtype=torch.bool)
    told = {"key_mask": keys, "is_causal": True}
    shapes = {"X": {1: n}, "key_mask": {1: n}, "is_causal": None}
    exported = torch.export.export(layer, (X,), told, dynamic_shapes=shapes).module()
    X, keys = torch.randn(2, 11, 12), torch.arange(11) < torch.tensor([[4], [9]])
    torch.testing.assert_close(
        exported(X, key_mask=keys, is_causal=True), layer(X, key_mask=keys, is_causal=True)
    )


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


def test_a_weight_starts_with_variance_one_over_its_rows():
    """Six thousand entries and more: their spread is known to a hundredth."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(64, 4, g=2, d_k=48, d_v=32, d_memory=120)
    for W in layer.W_Q, layer.W_K, layer.W_V, layer.W_O:
        assert W.shape[0] != W.shape[1]
        assert W.std().item() * W.shape[0] ** 0.5 == pytest.approx(1, abs=0.05)


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
        ((6, 2), {"d_v": 0}, "d_v is 0; wanted a positive integer"),
        ((6, 2), {"d_memory": -1}, "d_memory is -1; wanted a positive integer"),
        ((6, 2), {"g": 0}, "g is 0; wanted a positive integer"),
        ((6, 2), {"g": False}, "g is False; wanted a positive integer"),
        ((6, 3), {"g": 2}, "g is 2; wanted a divisor of h = 3"),
        ((6, 3), {"g": 6}, "g is 6; wanted a divisor of h = 3"),
        ((None, 3), {}, "d_model is None; wanted a positive integer"),
        ((6, np.True_), {}, r"h is np.True_; wanted a positive integer"),
        ((np.float64(6), 3), {}, r"d_model is np.float64\(6.0\); wanted a positive integer"),
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
        with pytest.raises(TypeError, match=r"^memory is a list; wanted a torch.Tensor$"):
            call(X, [[1.0] * 5])


def test_tokens_of_another_library_or_place_are_refused_with_the_cure():
    layer, X, memory = MultiHeadAttention(6, 2, d_memory=5), torch.ones(3, 7, 6), torch.ones(3, 11, 5)
    ragged = torch.nested.nested_tensor([torch.ones(7, 6), torch.ones(4, 6)], layout=torch.jagged)
    for call in layer, layer.weights:
        for refused, error, message in (
            (
                X.numpy(),
                TypeError,
                "X is a ndarray; wanted a torch.Tensor: torch.from_numpy(X).to(torch.float32)",
            ),
            (X.to("meta"), ValueError, "X is on meta; wanted the layer's device: X.to('cpu')"),
            (
                X.long(),
                TypeError,
                "X has dtype torch.int64; wanted the layer's, torch.float32: X.to(torch.float32)",
            ),
        ):
            with pytest.raises(error, match="^" + re.escape(message) + "$"):
                call(refused, memory)
        with pytest.raises(
            ValueError, match=r"^memory is on meta; wanted the layer's device: memory.to\('cpu'\)"
        ):
            call(X, memory.to("meta"))
    for refused in X.to_sparse(), ragged:
        with pytest.raises(TypeError, match=r"^X is nested or sparse; wanted it padded, to_padded_tensor"):
            layer(refused, memory)
    with pytest.raises(
        TypeError, match=r"memory is a ndarray; .* torch.from_numpy\(memory\).to\(torch.float64\)"
    ):
        layer.double()(X.double(), memory.numpy())


def wanted(name):
    return (
        f"wanted booleans, True = may see: {name} != 0 of zeros and ones,"
        f" {name} == 0 of zeros and −inf that were to be added"
    )


def of_shape(*shape):
    return torch.ones(shape, dtype=torch.bool)


def table(*shape):
    return masks.Table(of_shape(*shape).numpy())


FITS = (
    "; wanted (n, m) = (3, 3) or (…, h, n, m) = (2, 6, 3, 3), where an axis may be 1;"
    " one row of keys per member of a batch is key_mask"
)
NO_MASK = "; wanted a tensor or array of booleans or a rule of selfattention.masks"
NO_KEYS = "; wanted (…, m) = (2, 3), or (3,)"
OF_ALL = "mask speaks of (…, h, n, m) = {}; wanted (2, 6, 3, 3)"
SHORT = masks.documents([0, 0])
NOT_OF_BOOLEANS = {
    "floats": ({"mask": torch.ones(3, 3)}, "mask has dtype torch.float32; " + wanted("mask")),
    "doubles": ({"mask": np.zeros((3, 3))}, "mask has dtype float64; " + wanted("mask")),
    "integers": ({"mask": torch.ones(3, 3).byte()}, "mask has dtype torch.uint8; "),
    "strings": ({"mask": np.array([["yes"] * 3] * 3)}, "mask has dtype <U3; "),
    "keys": ({"key_mask": torch.ones(2, 3)}, "key_mask has dtype torch.float32; " + wanted("key_mask")),
    "list": ({"mask": [[True] * 3] * 3}, "mask is a list" + NO_MASK),
    "function": ({"mask": lambda i, j: j <= i}, "mask is a function" + NO_MASK),
    "masked array": ({"mask": np.ma.ones((3, 3), bool)}, "mask is a MaskedArray" + NO_MASK),
    "rule of keys": ({"key_mask": masks.causal}, "key_mask is a Band; wanted a tensor or array of booleans"),
}
OF_OTHER_SHAPE = {
    "batch without heads": ({"mask": of_shape(2, 3, 3)}, "mask has shape (2, 3, 3)" + FITS),
    "heads without batch": ({"mask": of_shape(6, 3, 3)}, "mask has shape (6, 3, 3)" + FITS),
    "keys as mask": ({"mask": of_shape(2, 3)}, "mask has shape (2, 3)" + FITS),
    "two columns": ({"mask": of_shape(3, 2)}, "mask has shape (3, 2)" + FITS),
    "one axis": ({"mask": of_shape(3)}, "mask has shape (3,)" + FITS),
    "five axes": ({"mask": of_shape(1, 2, 6, 3, 3)}, "mask has shape (1, 2, 6, 3, 3)" + FITS),
    "other heads": ({"mask": of_shape(2, 5, 3, 3)}, "mask has shape (2, 5, 3, 3)" + FITS),
    "other keys": ({"key_mask": of_shape(2, 4)}, "key_mask has shape (2, 4)" + NO_KEYS),
    "other batch": ({"key_mask": of_shape(1, 3)}, "key_mask has shape (1, 3)" + NO_KEYS),
    "too few keys": ({"key_mask": of_shape(2)}, "key_mask has shape (2,)" + NO_KEYS),
    "short rule": ({"mask": SHORT}, "mask ends before query 2 or key 2: "),
    "short table": ({"mask": table(2, 2)}, "mask ends before query 2 or key 2: it is Table(2 × 2)"),
    "table of one row": ({"mask": table(1, 3)}, "mask ends before query 2 or key 2: it is Table(1 × 3)"),
    "table of one column": ({"mask": table(3, 1)}, "mask ends before query 2 or key 2: it is Table(3 × 1)"),
    "table of other heads": ({"mask": table(5, 3, 3)}, OF_ALL.format((5, 3, 3))),
    "table of five axes": ({"mask": table(1, 2, 6, 3, 3)}, OF_ALL.format((1, 2, 6, 3, 3))),
    "rule of five": ({"mask": masks.padding([1] * 5)}, OF_ALL.format((5, 1, 3, 3))),
}


@pytest.mark.parametrize("case", [*NOT_OF_BOOLEANS, *OF_OTHER_SHAPE])
def test_masks_that_do_not_fit_are_refused_by_name(case):
    who, message = (NOT_OF_BOOLEANS | OF_OTHER_SHAPE)[case]
    layer, X = layer_of(), tokens(2, 3, 12)
    for call in layer, layer.weights:
        error = TypeError if case in NOT_OF_BOOLEANS else ValueError
        with pytest.raises(error, match="^" + re.escape(message)):
            call(X, **who)


def test_a_rule_that_ends_before_a_cache_does_is_refused():
    layer, X, cache = layer_of(), tokens(2, 3, 12), Cache()
    layer(X[:, :2], mask=SHORT, cache=cache)
    with pytest.raises(ValueError, match=r"^mask ends before query 2 or key 2: "):
        layer(X[:, 2:], mask=SHORT, cache=cache)


@pytest.mark.parametrize("share", [0, 0.0, 1, 1.0, np.float32(0.5)])
def test_dropout_takes_every_probability(share):
    layer = MultiHeadAttention(6, 2, dropout=share)
    assert layer.dropout == share
    assert type(layer.dropout) is float


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), True, "0.1", None])
def test_dropout_that_is_no_probability_is_refused(wrong):
    with pytest.raises(
        ValueError, match=rf"^dropout is {re.escape(repr(wrong))}; wanted a probability, 0 to 1"
    ):
        MultiHeadAttention(6, 2, dropout=wrong)


@pytest.mark.parametrize("call", [MultiHeadAttention.forward, MultiHeadAttention.weights])
def test_masks_are_named(call):
    """A mask in third place would be PyTorch's key, somewhere else; X and memory may be named."""
    _, X, memory, *rest = inspect.signature(call).parameters.values()
    assert {p.kind for p in (X, memory)} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert {p.kind for p in rest} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_sizes_of_a_mask_that_does_not_fit_are_those_of_the_scores():
    layer = layer_of()
    for shape in ((7, 12), (2, 7, 12), (2, 3, 7, 12)):
        with pytest.raises(ValueError, match=r"^mask has shape \(5, 5\); wanted \(n, m\) = \(7, 7\) or"):
            layer(tokens(*shape), mask=of_shape(5, 5))
