"""What `test_implementations.py` does not ask of the fused kernels: small tiles, halves, views, scales."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import Case
from test_implementations import answers, assert_within_budget
from test_rules import rules

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS

FUSED = IMPLEMENTATIONS["triton_fused"]
if why := FUSED.why_not():
    pytest.skip(why, allow_module_level=True)

from selfattention.implementations import torch_tiled, triton_fused, triton_here  # noqa: E402 - where there is Triton
from selfattention.implementations.triton_fused import Tiles  # noqa: E402

SMALL = {"b": 1, "h": 2, "g": 1, "n": 37, "m": 37, "d_k": 16, "d_v": 16}  # the interpreter is slow
TWO = SMALL | {"b": 2}
WORKLOADS = {
    "dense": Case(**SMALL),
    "causal": Case(**SMALL, mask="causal", stretch=10),
    "ragged": Case(**TWO | {"n": 21, "m": 43, "d_k": 17, "d_v": 5}, mask="bottom_right"),
    "window": Case(**SMALL, mask="window"),
    "sinks": Case(**SMALL | {"n": 21, "m": 69}, mask="sinks"),
    "hole": Case(**SMALL | {"n": 5, "m": 69}, mask="hole"),  # a gap before what is full
    "hole behind": Case(**SMALL | {"n": 5, "m": 69}, mask="hole behind"),  # and one after it
    "prefix": Case(**SMALL, mask="prefix"),
    "padding": Case(**TWO, mask="padding"),
    "documents": Case(**SMALL, mask="documents"),
    "table": Case(**TWO, mask="array", bias=True),
}


TILES = [(16, 16, name, dtype) for name in WORKLOADS for dtype in (torch.float32, torch.float16)]
TILES += [(*sides, name, torch.float32) for name in ("causal", "ragged") for sides in ((16, 32), (32, 16))]


@pytest.mark.parametrize(("rows", "columns", "name", "dtype"), TILES)
def test_small_tiles_give_the_same(rows, columns, name, dtype, monkeypatch):
    """Several tiles along each axis, so that blocks are skipped, full, on the edge, and merged."""
    tiles = Tiles(rows, columns, num_warps=1, num_stages=1)
    for table in ("FORWARD", "QUERIES", "KEYS", "EXACT"):
        monkeypatch.setattr(triton_fused, table, dict.fromkeys((64, "table"), tiles))
    case = WORKLOADS[name]
    assert_within_budget(answers(FUSED, case, dtype), case, dtype)


@settings(max_examples=25)
@given(rules, st.sampled_from([1, 2]), st.integers(1, 12), st.integers(1, 12))
def test_random_rules_forward_and_backward(rule, g, n, m):
    """Expressions of all rules, tables among them, against the rule spelt out, as far as it goes."""
    n, m = (max(0, min(size, end)) for size, end in zip((n, m), rule.ends, strict=True))
    assume(n <= rule.ends[0])
    rng = np.random.default_rng(0)
    shapes = (3, 2, n, 3), (3, g, m, 3), (3, g, m, 5), (3, 2, n, 5)
    Q, K, V, dO = (torch.from_numpy(rng.normal(size=shape)) for shape in shapes)
    leaves = [x.requires_grad_() for x in (Q, K, V)]
    visible = torch.from_numpy(np.broadcast_to(rule.tile(range(n), range(m)), (3, 2, n, m)).copy())
    exact, _ = oracle.attention(*leaves, visible, None)
    ours, _ = triton_fused.attention(*leaves, mask=rule)
    for a, b in zip(*([O, *torch.autograd.grad(O, leaves, dO)] for O in (ours, exact)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def tensors(case, dtype=torch.float32):
    return [torch.tensor(x, dtype=dtype) for x in case.inputs()[:4]]


def test_a_loss_may_depend_on_the_log_sum_exp():
    """Autograd hands the backward pass a dL as well."""
    case = Case(b=1, h=2, g=1, n=5, m=7, mask="causal")
    gradients = []
    for module in triton_fused, torch_tiled:
        Q, K, V, dO = tensors(case)
        leaves = [x.requires_grad_() for x in (Q, K, V)]
        O, L = module.attention(*leaves, mask=case.rule())
        gradients.append(torch.autograd.grad((O * dO).sum() + (L**2).sum(), leaves))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 0.0, -0.7, 1e-60])
def test_any_scale(scale):
    """The kernel takes a positive float32; the maximum of −S is not that of S."""
    Q, K, V, dO = (x.double() for x in tensors(Case(b=1, h=2, g=2)))
    leaves = [x.requires_grad_() for x in (Q, K, V)]
    exact, L = oracle.attention(*leaves, torch.ones(5, 7, dtype=torch.bool), None, scale)
    wanted = [exact, L, *torch.autograd.grad(exact, leaves, dO)]
    Q, K, V, dO = (x.detach().float() for x in (*leaves, dO))
    O, L = triton_fused.attention(Q, K, V, scale=scale)
    given = [O, L, *triton_fused.attention_backward(dO, Q, K, V, O, L, scale=scale)]
    for ours, truth in zip(given, wanted, strict=True):
        torch.testing.assert_close(ours, truth.detach().float(), rtol=1e-5, atol=1e-6)


def test_a_large_negative_scale_stays_out_of_the_halves():
    """Only its sign is multiplied into Q: −10⁵ is no float16."""
    Q, K, V, _ = tensors(Case(b=1, h=2, g=2), torch.float16)
    wanted, _ = torch_tiled.attention(Q, K, V, scale=-1e5)
    given, _ = triton_fused.attention(Q, K, V, scale=-1e5)
    torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "rule", [masks.prefix(2**40), masks.bottom_right(masks.causal, np.int64(5), np.int64(7))]
)
def test_numbers_of_a_rule_may_be_large_or_numpy_s(rule):
    Q, K, V, _ = tensors(Case(b=1, h=2, g=2))
    wanted, _ = torch_tiled.attention(Q, K, V, mask=rule)
    torch.testing.assert_close(triton_fused.attention(Q, K, V, mask=rule)[0], wanted)


def test_rows_may_lie_far_apart():
    """Beyond 2³¹ numbers, where an address no longer fits into 32 bits. Only the rows are ever touched."""
    Q, K, V, _ = tensors(Case(b=1, h=1, g=1, n=3, m=3, d_k=16, d_v=16), torch.float16)
    near, _ = triton_fused.attention(Q, K, V)
    room = torch.empty(2**31 + 16, dtype=torch.float16)
    far = room.as_strided(Q.shape, (1, 1, 2**30, 1)).copy_(Q)
    torch.testing.assert_close(triton_fused.attention(far, K, V)[0], near, rtol=0, atol=0)


def test_gradients_of_gradients_are_refused():
    """Autograd would take what a kernel computes for a constant, and be wrong without a word."""
    leaves = [x.requires_grad_() for x in tensors(Case(b=1, h=1, g=1))[:3]]
    O, _ = triton_fused.attention(*leaves)
    with pytest.raises(RuntimeError, match="create_graph=True"):
        torch.autograd.grad(O.sum(), leaves, create_graph=True)


@pytest.mark.parametrize(("name", "widths"), [("Q", (257, 16)), ("V", (16, 257))])
def test_a_width_that_fits_on_no_chip_is_refused(name, widths):
    d_k, d_v = widths
    Q, K, V, _ = tensors(Case(b=1, h=1, g=1, d_k=d_k, d_v=d_v))
    with pytest.raises(ValueError, match=f"^{name} has width 257; wanted 256 or less"):
        triton_fused.attention(Q, K, V)


def test_heads_may_lie_side_by_side_in_memory():
    """(b, n, h, d) seen as (b, h, n, d): read through its strides, not copied."""
    Q, K, V, _ = tensors(Case(b=1, h=2, g=2))
    apart, _ = triton_fused.attention(Q, K, V)
    side_by_side = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (Q, K, V))
    together, _ = triton_fused.attention(*side_by_side)
    torch.testing.assert_close(together, apart, rtol=0, atol=0)


def test_gradients_of_a_sum_and_of_another_dtype():
    """The gradient of a sum is one number seen everywhere, by strides of 0; L may come transposed."""
    Q, K, V, dO = tensors(Case(b=1, h=3, g=3, n=5), torch.float16)
    O, L = triton_fused.attention(Q, K, V)
    wanted = triton_fused.attention_backward(torch.ones_like(dO), Q, K, V, O, L)
    L = L.transpose(1, 2).contiguous().transpose(1, 2)
    given = triton_fused.attention_backward(torch.ones(()).expand(dO.shape), Q, K, V, O, L)
    for ours, theirs in zip(given, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_skipped_key_is_never_read():
    """Behind the diagonal lies what no arithmetic survives, put there after the contract has looked."""
    Q, K, V, _ = tensors(Case(b=1, h=1, g=1, n=300, m=300, d_k=16, d_v=16))
    rule, first = masks.causal & masks.prefix(128), slice(0, 128)
    call = triton_fused._Call(Q, K, V, rule, None, 0.25)
    tree, operands = call.tree, call.operands
    assert triton_fused.key_blocks(tree, operands, 300, 300, 128, 128)[..., 3].max() == 128
    clean, _ = triton_fused._forward(Q, K, V, rule, None, 0.25)
    K[:, :, 128:], V[:, :, 128:] = torch.nan, torch.nan
    spoilt, _ = triton_fused._forward(Q, K, V, rule, None, 0.25)
    torch.testing.assert_close(spoilt, clean, rtol=0, atol=0)
    assert np.isfinite(spoilt[:, :, first].numpy()).all()


def test_between_sinks_and_window_no_key_is_read():
    """Where a block's ranges leave a gap, there may lie anything, for outputs, gradients and states."""
    n, m, scale = 3, 700, 0.25
    Q, K, V, dO = tensors(Case(b=1, h=1, g=1, n=n, m=m, d_k=16, d_v=16))
    rule = masks.bottom_right(masks.causal & (masks.window(40) | masks.sinks(4)), n, m)
    call = triton_fused._Call(Q, K, V, rule, None, scale)
    ranges = triton_fused.key_blocks(call.tree, call.operands, n, m, 128, 128)
    np.testing.assert_array_equal(ranges, [[[0, 640, 640, 700, 128, 640]]])
    clean = triton_fused._forward(Q, K, V, rule, None, scale)
    answers = [*clean, *triton_fused._gradients(dO, None, Q, K, V, *clean, rule, None, scale)]
    answers += triton_fused._states(Q, K, rule, None, scale)
    K[:, :, 128:640], V[:, :, 128:640] = torch.nan, torch.nan
    spoilt = [*triton_fused._forward(Q, K, V, rule, None, scale)]
    spoilt += triton_fused._gradients(dO, None, Q, K, V, *spoilt, rule, None, scale)
    spoilt += triton_fused._states(Q, K, rule, None, scale)
    for came, wanted in zip(spoilt, answers, strict=True):
        torch.testing.assert_close(came, wanted, rtol=0, atol=0)
        assert np.isfinite(came.numpy()).all()


def test_where_nothing_could_run_it_says_so(monkeypatch):
    """Whoever loads the module without asking `why_not` met "0 active drivers"."""
    monkeypatch.setattr(triton_here, "INTERPRETED", False)
    Q, K, V, _ = tensors(Case(b=1, h=1, g=1))
    with pytest.raises(RuntimeError, match=r"^Q is on cpu: Triton compiles for the GPU"):
        triton_fused.attention(Q, K, V)


def test_the_interpreter_refuses_bfloat16():
    Q, K, V, _ = tensors(Case(b=1, h=1, g=1), torch.bfloat16)
    with pytest.raises(TypeError, match=r"^Q has dtype bfloat16"):
        triton_fused.attention(Q, K, V)
