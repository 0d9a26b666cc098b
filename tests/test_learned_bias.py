"""A bias that is learned: its gradient, in every implementation, by autograd and by `bias_backward`."""

import numpy as np
import oracle
import pytest
import torch
from oracle import Case

from selfattention import masks
from selfattention.formulas import relative_position_index
from selfattention.implementations import IMPLEMENTATIONS, learned_bias
from selfattention.implementations.learned_bias import bias_backward

CASE = Case(b=2, h=2, g=1, n=11, m=13)
LONG = Case(b=1, h=2, g=1, n=67, m=131)
# What a bias may be broadcast over: nothing, pictures, heads, queries, keys, all.
SHAPES = [
    (2, 2, 11, 13),
    (2, 11, 13),
    (1, 2, 11, 13),
    (2, 1, 11, 13),
    (11, 13),
    (2, 1, 13),
    (2, 11, 1),
    (13,),
    (),
]
TORCH = ["torch_direct", "torch_tiled", "triton_fused"]


@pytest.fixture(params=IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
def implementation(request):
    if why := request.param.why_not():
        pytest.skip(why)
    if request.param.compiler == "numba":
        pytest.skip("compiles for seconds in each process; the gradient of a bias asks it for O and L alone")
    if request.param.compiler == "triton" and request.param.device == "cpu":
        pytest.skip("Triton's interpreter takes its time: it meets biases that learn under `differentiable`")
    return request.param


@pytest.fixture(params=TORCH)
def differentiable(request):
    """The attention of an implementation that autograd goes through."""
    if why := IMPLEMENTATIONS[request.param].why_not():
        pytest.skip(why)
    return IMPLEMENTATIONS[request.param].load().attention


def drawn(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def leaves_of(case, dtype, bias):
    Q, K, V, dO, _ = (None if x is None else torch.tensor(x, dtype=dtype) for x in case.inputs())
    return Q, K, V, dO, torch.tensor(bias, dtype=dtype)


def wanted(case, dtype, bias, visible, computed_in=torch.float64):
    """dB by autograd through the definition, of numbers rounded to dtype; and the sum of its terms' sizes."""
    Q, K, V, dO, bias = (x.to(computed_in) for x in leaves_of(case, dtype, bias))
    leaf = bias.expand(case.b, case.h, case.n, case.m).clone().requires_grad_()
    O, _ = oracle.attention(Q, K, V, visible, leaf)
    dS = torch.autograd.grad(O, leaf, dO)[0]
    return [x.sum_to_size(bias.shape).numpy() for x in (dS, dS.abs())]


def numpys(x):
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x


def given_by(implementation, case, dtype, bias, mask):
    """dB in all ways there are: by the function, and where it computes in torch by autograd as well."""
    arrays = leaves_of(case, dtype, bias)
    if implementation.library == "numpy":
        Q, K, V, dO, bias = (x.numpy() for x in arrays)
        O, L = implementation.load().attention(Q, K, V, bias=bias, mask=mask)
        return [bias_backward(dO, Q, K, V, O, L, bias=bias, mask=mask)]
    Q, K, V, dO, bias = (x.to(implementation.device) for x in arrays)
    leaf = bias.clone().requires_grad_()
    O, L = implementation.load().attention(Q, K, V, bias=leaf, mask=mask)
    return [
        torch.autograd.grad(O, leaf, dO)[0],
        bias_backward(dO, Q, K, V, O.detach(), L.detach(), bias=bias, mask=mask),
    ]


def assert_within_budget(implementation, case, dtype, bias, mask=None, visible=None):
    """At most twice the error of autograd through the definition in the same dtype (halves: in float32,
    rounded), plus 4 eps of the largest sum of sizes; in float64 16, for orders of summing."""
    if visible is None:
        visible = torch.ones(case.n, case.m, dtype=torch.bool)
    exact, size = wanted(case, dtype, bias, visible)
    plain, _ = wanted(case, dtype, bias, visible, torch.promote_types(dtype, torch.float32))
    rounded = torch.from_numpy(plain).to(dtype).double().numpy()
    room = (16 if dtype == torch.float64 else 4) * torch.finfo(dtype).eps * size.max()
    budget = 2 * abs(rounded - exact).max() + room
    for dB in given_by(implementation, case, dtype, bias, mask):
        assert dB.shape == exact.shape
        assert str(dB.dtype).endswith(str(dtype).removeprefix("torch."))
        assert abs(numpys(dB.double() if isinstance(dB, torch.Tensor) else dB) - exact).max() <= budget


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_summed_over_what_it_was_broadcast_over(implementation, shape, dtype):
    assert_within_budget(implementation, CASE, dtype, drawn(shape))


@pytest.mark.parametrize("dtype", oracle.HALVES, ids=str)
def test_halves_are_summed_in_float32(implementation, dtype):
    if dtype == torch.bfloat16 and implementation.library == "numpy":
        pytest.skip("NumPy has no bfloat16")
    assert_within_budget(implementation, LONG, dtype, drawn((2, 1, 131)))


@pytest.mark.parametrize("mask", ["bottom_right", "padding", "array"])
def test_nothing_is_sent_where_nobody_may_see(implementation, mask):
    case = Case(b=2, h=2, g=1, n=11, m=13, mask=mask)
    seen, bias = torch.from_numpy(case.visible()), drawn((2, 2, 11, 13))
    assert_within_budget(implementation, case, torch.float64, bias, case.rule(), seen)
    hidden = np.broadcast_to(~case.visible(), bias.shape)
    for dB in given_by(implementation, case, torch.float64, bias, case.rule()):
        assert (numpys(dB)[hidden] == 0).all()
        assert (numpys(dB)[~hidden] != 0).any()


def test_minus_infinity_in_a_bias_hides_and_learns_nothing(implementation):
    """A row of nothing else too; and what hides so is as if a mask had hidden it, to the last bit but one."""
    bias = drawn((2, 11, 13))
    seen = drawn((2, 11, 13), seed=2) > -0.5
    seen[:, 4] = False
    hiding = np.where(seen, bias, -np.inf)
    ways = given_by(implementation, CASE, torch.float64, hiding, None)
    for dB, masked in zip(ways, given_by(implementation, CASE, torch.float64, bias, seen), strict=True):
        np.testing.assert_allclose(numpys(dB), numpys(masked), rtol=1e-12, atol=1e-15)
        assert (numpys(dB)[~seen] == 0).all()


@pytest.mark.parametrize("size", [1e4, -1e9])
def test_large_biases_keep_their_digits(implementation, size):
    """Where L is as large as the bias, its rounding has swallowed ln Z: the weights are taken again."""
    bias = size + np.round(drawn((2, 11, 13)))
    assert_within_budget(implementation, CASE, torch.float64, bias)


def test_any_number_of_rows_at_a_time_gives_the_same(monkeypatch):
    bias = drawn((2, 11, 13))
    whole = given_by(IMPLEMENTATIONS["numpy_direct"], CASE, torch.float64, bias, masks.causal)[0]
    monkeypatch.setattr(learned_bias, "AT_A_TIME", 400)
    few = given_by(IMPLEMENTATIONS["numpy_direct"], CASE, torch.float64, bias, masks.causal)[0]
    np.testing.assert_allclose(few, whole, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("sizes", [{"n": 0}, {"m": 0}, {"b": 0}, {"d_v": 0}], ids=str)
def test_of_nothing_a_bias_learns_nothing(implementation, sizes):
    case = Case(**sizes)
    for shape in (case.h, case.n, case.m), (1, 1), ():
        for dB in given_by(implementation, case, torch.float64, drawn(shape), None):
            assert dB.shape == shape
            assert (numpys(dB) == 0).all()


def test_a_row_that_is_no_number_sends_nothing_and_poisons_nobody(implementation):
    """NaN in a query, and in a bias that is seen: that row of dB is 0, the others are as without it."""
    bias = drawn((2, 2, 11, 13))
    clean = given_by(implementation, CASE, torch.float64, bias, None)
    spoilt = bias.copy()
    spoilt[1, 1, 3, 4] = np.nan
    for dB, right in zip(given_by(implementation, CASE, torch.float64, spoilt, None), clean, strict=True):
        expected = numpys(right).copy()
        expected[1, 1, 3] = 0
        np.testing.assert_allclose(numpys(dB), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_reaches_what_its_row_sees(value):
    Q, K, V, dO, _ = CASE.inputs()
    bias, attention = drawn((2, 2, 11, 13)), IMPLEMENTATIONS["numpy_direct"].load().attention
    O, L = attention(Q, K, V, bias=bias, mask=masks.causal)
    right = bias_backward(dO, Q, K, V, O, L, bias=bias, mask=masks.causal)
    dO[1, 1, 3, 4] = value
    dB = bias_backward(dO, Q, K, V, O, L, bias=bias, mask=masks.causal)
    assert np.isnan(dB[1, 1, 3, :4]).all()
    assert (dB[1, 1, 3, 4:] == 0).all()
    right[1, 1, 3, :4] = dB[1, 1, 3, :4] = 0
    np.testing.assert_array_equal(dB, right)


def test_values_near_the_largest_number(implementation):
    """A mean of them is finite, and so is what comes back, from a gradient that is small enough."""
    Q, K, V, dO, bias = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
    large = {"numpy": lambda x: x.numpy(), "torch": lambda x: x.to(implementation.device)}[
        implementation.library
    ]
    size = 3e38 / V.abs().max()
    Q, K, V, dO, bias = map(large, (Q, K, V * size, dO / size, bias))
    O, L = implementation.load().attention(Q, K, V, bias=bias)
    dB = numpys(bias_backward(dO, Q, K, V, O, L, bias=bias))
    exact = wanted(CASE, torch.float32, drawn((2, 11, 13)), torch.ones(11, 13, dtype=torch.bool))[0]
    np.testing.assert_allclose(dB, exact, atol=1e-4 * abs(exact).max())


# ---- autograd ----


def test_learning_a_bias_changes_no_other_gradient(differentiable):
    """To the bit, and O and L neither."""
    results = []
    for learns in False, True:
        Q, K, V, dO, bias = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
        leaves = [x.requires_grad_() for x in (Q, K, V)]
        O, L = differentiable(*leaves, bias=bias.requires_grad_(learns))
        results.append([O, L, *torch.autograd.grad((O, L), leaves, (dO, dO[..., 0]))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_bias_may_learn_alone(differentiable):
    """From O, from L, or from both."""
    Q, K, V, dO, bias = leaves_of(CASE, torch.float64, drawn((2, 11, 13)))
    for share in ((1, 0), (0, 1), (1, 1)):
        ours, theirs = (bias.clone().requires_grad_() for _ in range(2))
        for O, L in (
            differentiable(Q, K, V, bias=ours),
            oracle.attention(Q, K, V, torch.ones(11, 13, dtype=torch.bool), theirs),
        ):
            (share[0] * (O * dO).sum() + share[1] * (L * dO[..., 0]).sum()).backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alone", [0, 1, 2], ids="QKV".__getitem__)
def test_so_may_each_of_the_others(differentiable, alone):
    """And it learns what it learns beside the rest, to the bit."""
    Q, K, V, dO, bias = leaves_of(CASE, torch.float64, drawn((2, 11, 13)))
    together = [X.clone().requires_grad_() for X in (Q, K, V)]
    apart = [X.clone().requires_grad_(place == alone) for place, X in enumerate((Q, K, V))]
    for leaves in together, apart:
        differentiable(*leaves, bias=bias)[0].backward(dO)
    assert torch.equal(apart[alone].grad, together[alone].grad)
    assert [X.grad is None for X in apart] == [place != alone for place in range(3)]


def test_a_bias_learns_in_its_own_dtype(differentiable):
    Q, K, V, dO, _ = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
    for dtype in torch.float16, torch.float64:
        bias = torch.zeros(2, 11, 13, dtype=dtype, requires_grad=True)
        differentiable(Q, K, V, bias=bias)[0].backward(dO)
        assert bias.grad.dtype == dtype


def test_without_a_graph_nothing_is_kept(differentiable):
    Q, K, V, _, bias = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
    with torch.no_grad():
        O, _ = differentiable(Q, K, V, bias=bias.requires_grad_())
    assert not O.requires_grad
    assert torch.equal(O, differentiable(Q, K, V, bias=bias.detach())[0])


def test_a_bias_refilled_between_the_passes_is_noticed(differentiable):
    Q, K, V, dO, bias = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
    O, _ = differentiable(Q, K, V, bias=bias.requires_grad_())
    with torch.no_grad():
        bias.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        O.backward(dO)


def test_a_mask_refilled_between_the_passes_changes_nothing(differentiable):
    Q, K, V, dO, bias = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
    mask, grads = torch.ones(11, 13).tril().bool(), []
    for refilled in False, True:
        leaf = bias.clone().requires_grad_()
        O, _ = differentiable(Q, K, V, bias=leaf, mask=mask)
        if refilled:
            mask.fill_(True)
        O.backward(dO)
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_autocast_changes_nothing(differentiable):
    """The layer in front makes halves; the arrays that come decide."""
    Q, K, V, dO, bias = leaves_of(CASE, torch.float32, drawn((2, 11, 13)))
    grads = []
    for enabled in False, True:
        leaf = bias.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            O, _ = differentiable(Q, K, V, bias=leaf)
            O.backward(dO)
        grads.append(leaf.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("name", ["torch_direct", "torch_tiled"])
def test_second_derivatives(name):
    """Of Q, K, V and the bias, mixed ones too; a kernel refuses them, as before."""
    case = Case(b=1, h=2, g=1, n=3, m=4, d_k=2, d_v=2)
    Q, K, V, _, bias = leaves_of(case, torch.float64, drawn((2, 3, 4)))
    attention = IMPLEMENTATIONS[name].load().attention

    def run(Q, K, V, bias):
        return attention(Q, K, V, bias=bias, mask=masks.bottom_right(masks.causal, 3, 4))

    leaves = [x.requires_grad_() for x in (Q, K, V, bias)]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


# ---- tables of relative positions ----


def swin(M=3):
    return torch.from_numpy(relative_position_index(M)), (2 * M - 1) ** 2


def beit(M=3):
    """A class token before the window, with three offsets of its own."""
    index, rows = swin(M)
    whole = torch.full((len(index) + 1,) * 2, rows)
    whole[1:, 1:], whole[1:, 0], whole[0, 0] = index, rows + 1, rows + 2
    return whole, rows + 3


def levit(M=3):
    """Distances down and along without their signs."""
    y, x = np.divmod(np.arange(M * M), M)
    return torch.from_numpy(abs(y[:, None] - y) * M + abs(x[:, None] - x)), M * M


def t5(n=9):
    """Exact up to two places, then in buckets that double."""
    distance = np.arange(n)[:, None] - np.arange(n)
    bucket = np.where(
        abs(distance) < 3, abs(distance), 3 + np.log2(np.maximum(abs(distance), 3) / 3).astype(int)
    )
    return torch.from_numpy(np.where(distance < 0, bucket + 5, bucket)), 10


@pytest.mark.parametrize("scheme", [swin, beit, levit, t5])
def test_a_table_of_relative_positions_learns(differentiable, scheme):
    """One number for many pairs: the table's gradient is the sum over all of them, in all pictures."""
    index, rows = scheme()
    case = Case(b=2, h=2, g=2, n=len(index), m=len(index))
    Q, K, V, dO, table = leaves_of(case, torch.float64, drawn((rows, 2)))
    grads = []
    for call in differentiable, lambda Q, K, V, bias: oracle.attention(Q, K, V, torch.tensor([[True]]), bias):
        leaf = table.clone().requires_grad_()
        O, _ = call(Q, K, V, bias=leaf[index].movedim(-1, 0))
        O.backward(dO)
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)
    assert (grads[0].abs().sum(1) > 0).sum() == len(index.unique())


# ---- what does not fit ----


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"bias": None}, TypeError, "bias is None; wanted the one that `attention` was given"),
        ({"bias": np.zeros((5, 13))}, ValueError, r"bias has shape \(5, 13\); wanted one that broadcasts to"),
        ({"bias": [[0.0]]}, TypeError, "bias is a list; wanted"),
        ({"bias": np.zeros((11, 13), int)}, TypeError, "bias has dtype int64; wanted floats"),
        ({"bias": torch.zeros(11, 13)}, TypeError, "bias is a torch Tensor beside a NumPy array Q"),
        ({"O": np.zeros((2, 2, 11, 3))}, ValueError, r"O has shape \(2, 2, 11, 3\); wanted"),
        ({"L": np.zeros((2, 2, 13))}, ValueError, r"L has shape \(2, 2, 13\); wanted"),
        (
            {"dO": torch.zeros(2, 2, 11, 11)},
            TypeError,
            "dO is a torch Tensor, and bias_backward computes with",
        ),
        ({"mask": np.ones((13, 11), bool)}, ValueError, r"mask has shape \(13, 11\); wanted"),
        ({"scale": "1"}, ValueError, "scale is '1'; wanted a finite number"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changed, error, message):
    Q, K, V, dO, _ = CASE.inputs()
    bias = np.zeros((11, 13))
    O, L = IMPLEMENTATIONS["numpy_direct"].load().attention(Q, K, V, bias=bias)
    call = {"dO": dO, "Q": Q, "K": K, "V": V, "O": O, "L": L, "bias": bias} | changed
    with pytest.raises(error, match=f"^{message}"):
        bias_backward(**call)
