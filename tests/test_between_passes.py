"""What happens between forward and backward, around both, and beside them; and what is handed in."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS

TORCH = ["torch_direct", "torch_tiled", "triton_fused"]
NUMPY = ["numpy_direct", "numpy_tiled", "numba_tiled"]


def module_of(name):
    if why := IMPLEMENTATIONS[name].why_not():
        pytest.skip(why)
    return IMPLEMENTATIONS[name].load()


def arrays(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(dtype)


def leaves(dtype=torch.float32):
    return [torch.tensor(x, dtype=dtype, requires_grad=True) for x in arrays()]


# Refilled before the backward pass.

BEFORE = {
    "a mask": lambda: torch.ones(5, 5).tril().bool(),
    "an array for a mask": lambda: np.tri(5, dtype=bool),
    "a bias": lambda: torch.ones(5, 5).tril(),
    "an array for a bias": lambda: np.tri(5, dtype=np.float32),
    "a bias of another dtype": lambda: torch.ones(5, 5).tril().double(),
    "a sink": lambda: torch.full((1, 2), 3.0),
    "an array for a sink": lambda: np.full((1, 2), 3, np.float32),
}


@pytest.mark.parametrize("kind", BEFORE)
@pytest.mark.parametrize("name", TORCH)
def test_what_is_refilled_before_the_backward_pass_is_kept_or_refused(name, kind):
    attention, array, inputs = module_of(name).attention, BEFORE[kind](), leaves()
    name = next(name for name in ("mask", "bias", "sink") if name in kind)
    O, _ = attention(*inputs, **{name: array[0] if name == "sink" else array})
    right = torch.autograd.grad(O.square().sum(), inputs, retain_graph=True)
    array[:, :2] = 1
    if kind == "a bias":
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(O.square().sum(), inputs)
        return
    for ours, theirs in zip(torch.autograd.grad(O.square().sum(), inputs), right, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


# Autocast.


@pytest.mark.parametrize("backward_inside", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", TORCH)
def test_autocast_changes_nothing(name, dtype, backward_inside):
    """Both passes compute in the dtype of what they are given, wherever they run."""
    module, inputs = module_of(name), leaves(dtype)
    O, L = module.attention(*inputs, mask=masks.causal)
    plain = O, L, *torch.autograd.grad(O.sum(), inputs), *backward(module, O, inputs, O, L)
    with torch.autocast("cpu", torch.bfloat16):
        O, L = module.attention(*inputs, mask=masks.causal)
        explicit = backward(module, O, inputs, O, L)
        gradients = torch.autograd.grad(O.sum(), inputs) if backward_inside else None
    gradients = gradients or torch.autograd.grad(O.sum(), inputs)
    for ours, theirs in zip((O, L, *gradients, *explicit), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def backward(module, dO, inputs, O, L):
    return module.attention_backward(
        dO.detach(), *(x.detach() for x in inputs), O.detach(), L.detach(), mask=masks.causal
    )


@pytest.mark.parametrize("name", ["torch_direct", "torch_tiled"])
def test_what_autocast_has_made_is_computed_with(name):
    """Queries and keys from a linear layer are bfloat16 then; float32 beside them is named."""
    attention, X = module_of(name).attention, torch.tensor(arrays()[0])
    layer = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        Q = layer(X)
        O, L = attention(Q, Q, Q)
        assert (O.dtype, L.dtype) == (torch.bfloat16, torch.float32)
        O.sum().backward()
        with pytest.raises(TypeError, match=r"^K has dtype torch.float32; wanted that of Q, torch.bfloat16"):
            attention(Q, X, X)
    assert torch.isfinite(layer.weight.grad).all()


# Threads.


@pytest.mark.parametrize("name", ["triton_fused", "torch_tiled", "numpy_tiled"])
def test_several_threads_get_what_one_gets(name):
    """Triton's interpreter patches Triton for the whole process while a kernel runs."""
    module, numpy = module_of(name), IMPLEMENTATIONS[name].library == "numpy"
    rng = np.random.default_rng(0)
    calls = [rng.normal(size=(3, 1, n, 4)).astype(np.float32) for n in (3, 5, 7, 9, 11, 13)]

    def both(inputs):
        Q, K, V = inputs if numpy else map(torch.tensor, inputs)
        O, L = module.attention(Q, K, V, mask=masks.causal)
        return O, L, *module.attention_backward(O, Q, K, V, O, L, mask=masks.causal)

    alone = [both(inputs) for inputs in calls]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(both, calls * 2))
    for ours, theirs in zip(together, alone * 2, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


# What is handed in.


class Own(np.ndarray):
    """A subclass whose numbers may mean anything."""


def sparse(x):
    return torch.tensor(x).to_sparse()


FOREIGN = {
    "list": (lambda x: x.tolist(), "numpy", "a list; wanted a NumPy array: np.asarray({})"),
    "matrix": (lambda x: x[0].view(np.matrix), "numpy", "a matrix; wanted a NumPy array: np.asarray({})"),
    "masked": (np.ma.masked_invalid, "numpy", "a masked array; wanted {}.filled"),
    "subclass": (lambda x: x.view(Own), "numpy", "a Own; wanted a NumPy array: np.asarray({})"),
    "tensor": (torch.tensor, "numpy", "a torch Tensor, and {name} computes with NumPy: {}.numpy()"),
    "learning tensor": (
        lambda x: torch.tensor(x, requires_grad=True),
        "numpy",
        "a torch Tensor, and {name} computes with NumPy: {}.numpy(force=True)",
    ),
    "array": (lambda x: x, "torch", "a NumPy array, and {name} computes with torch: torch.from_numpy({})"),
    "list for torch": (lambda x: x.tolist(), "torch", "a list; wanted a torch tensor: torch.as_tensor({})"),
    "sparse": (sparse, "torch", "a Tensor (sparse_coo); wanted a dense one: {}.to_dense()"),
    "nested": (
        lambda x: torch.nested.nested_tensor([torch.tensor(y) for y in x], layout=torch.jagged),
        "torch",
        "(nested); wanted a dense one",
    ),
}


@pytest.mark.parametrize("argument", ["Q", "K", "V", "dO", "O", "L"])
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", NUMPY + TORCH)
def test_a_foreign_array_is_named_with_its_cure(name, kind, argument):
    change, library, message = FOREIGN[kind]
    if library != IMPLEMENTATIONS[name].library:
        return
    module, own = module_of(name), torch.tensor if library == "torch" else np.array
    given = dict(zip(("Q", "K", "V", "dO", "O"), map(own, np.resize(arrays(), (5, 2, 5, 4))), strict=True))
    given["L"] = own(arrays()[0, :, :, 0])
    given[argument] = change(np.asarray(given[argument]))
    forward = {name: x for name, x in given.items() if name in "QKV"}
    for call in (lambda: module.attention(**forward),) * (argument in "QKV") + (
        lambda: module.attention_backward(**given),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value).startswith(f"{argument} is a ")
        assert message.format(argument, name=name) in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool, torch.float8_e5m2], ids=str)
def test_a_tensor_of_no_floats_is_named(dtype):
    Q, K, V = (torch.tensor(x) for x in arrays())
    with pytest.raises(TypeError, match=f"^K has dtype {dtype}; wanted floats: float16"):
        module_of("torch_tiled").attention(Q, K.to(dtype), V)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_quantised_and_a_meta_tensor_are_named():
    Q, K, V = (torch.tensor(x) for x in arrays())
    attention = module_of("torch_direct").attention
    with pytest.raises(ValueError, match=r"^Q is on meta, where there are shapes and no numbers"):
        attention(*(x.to("meta") for x in (Q, K, V)))
    with pytest.raises(TypeError, match=r"^V has dtype torch.qint8; wanted floats"):
        attention(Q, K, torch.quantize_per_tensor(V, 0.1, 0, torch.qint8))


@pytest.mark.parametrize("name", TORCH)
def test_tensors_inside_of_torch_func_are_named(name):
    """A kernel sees no numbers there, and a derivative would not be recorded."""
    Q, K, V = map(torch.tensor, arrays())
    attention = module_of(name).attention
    for call in (
        lambda: torch.vmap(lambda Q: attention(Q, K[0], V[0])[0])(Q),
        lambda: torch.func.grad(lambda Q: attention(Q, K, V)[0].sum())(Q),
    ):
        with pytest.raises(TypeError, match=r"^Q is inside of torch\.func: leading axes do what vmap does"):
            call()


def test_a_negation_put_off_is_not_forgotten():
    """torch may keep −x as x and a mark, and a kernel reads what lies in memory."""
    Q, K, V = map(torch.tensor, arrays())
    marked = torch.complex(K, -K).conj().imag
    assert marked.is_neg()
    for name in TORCH:
        attention = module_of(name).attention
        torch.testing.assert_close(attention(Q, marked, V), attention(Q, K, V), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["numpy_tiled", "torch_tiled", "triton_fused"])
def test_any_kind_of_number_may_be_the_scale(name):
    attention = module_of(name).attention
    X = arrays() if IMPLEMENTATIONS[name].library == "numpy" else torch.tensor(arrays())
    right = attention(*X, scale=2.0)[0]
    for scale in 2, np.int64(2), np.uint8(2), np.float16(2), np.float32(2):
        np.testing.assert_array_equal(attention(*X, scale=scale)[0], right)
    for scale in True, np.True_, "2", 2j, np.array([2.0]), np.nan, 10**400:
        with pytest.raises(ValueError, match=r"^scale is .*; wanted a finite number"):
            attention(*X, scale=scale)
    with pytest.raises(ValueError, match=r"^scale is 1e\+60; wanted a number in the range of .*float32"):
        attention(*X, scale=1e60)


MASKED = np.ma.masked_array(np.zeros((5, 5), np.float32), np.eye(5, dtype=bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": MASKED}, "bias is a masked array; wanted bias.filled"),
        ({"mask": MASKED > 0}, "mask is a masked array; wanted mask.filled"),
        ({"mask": np.eye(5, dtype=bool).view(Own)}, "mask is a Own; wanted a rule or an array of booleans"),
        ({"bias": [[0.0] * 5] * 5}, "bias is a list; wanted an array of floats"),
        ({"bias": torch.zeros(5, 5)}, "bias is a torch Tensor beside a NumPy array Q: bias.numpy"),
        ({"mask": torch.ones(5, 5, dtype=torch.bool)}, "mask is a torch Tensor beside a NumPy array Q"),
    ],
)
def test_a_foreign_mask_or_bias_is_named(options, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        module_of("numpy_tiled").attention(*arrays(), **options)


@pytest.mark.parametrize("name", TORCH)
def test_a_loss_of_L_alone_and_rows_without_one(name):
    """dL at a row that sees nobody is nobody's: that of a sum over L there is not even a number."""
    attention, inputs = module_of(name).attention, leaves()
    mask = torch.ones(5, 5).tril(-1).bool()
    _, L = attention(*inputs, mask=mask)
    came = torch.autograd.grad(torch.where(L.isneginf(), torch.nan, 1) * L, inputs, torch.ones_like(L))
    _, L = attention(*inputs, mask=mask)
    right = torch.autograd.grad(L[:, 1:].sum(), inputs)
    for ours, theirs in zip(came, right, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
