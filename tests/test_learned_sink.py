"""A cap and a sink: as released models have them, and what a sink learns, by autograd and without."""

import numpy as np
import oracle
import pytest
import torch
from oracle import Case

from selfattention import formulas, masks
from selfattention.implementations import IMPLEMENTATIONS, learned_bias, sinks
from selfattention.implementations.learned_bias import bias_backward
from selfattention.implementations.learned_sink import sink_backward

CASES = [
    Case(b=2, h=4, g=2, n=11, m=13, sink=0.0),
    Case(b=2, h=4, g=2, n=11, m=13, mask="bottom_right", softcap=1.5, sink=1.0),
    Case(b=2, h=4, g=4, n=11, m=13, mask="padding", bias=True, sink=-1.0),
    Case(b=2, h=4, g=1, n=11, m=13, mask="array", stretch=10, softcap=3.0, sink=3.0),
    Case(b=2, h=4, g=1, n=11, m=13, mask="nobody", sink=0.0),
    Case(b=2, h=4, g=2, n=11, m=13, stretch=30, sink=60.0),
]
TORCH = ["torch_direct", "torch_tiled", "triton_fused"]


def module_of(name):
    if why := IMPLEMENTATIONS[name].why_not():
        pytest.skip(why)
    return IMPLEMENTATIONS[name].load()


def tensors(case, dtype=torch.float64):
    """Q, K, V, dO, the bias and the sink."""
    return [*oracle.rounded(case, dtype), oracle.rounded_sinks(case, dtype)]


def by_definition(case, dtype, of_L=0.0):
    """The gradients by Q, K, V, the bias where there is one, and the sink, in float64."""
    Q, K, V, dO, bias, sink = (None if x is None else x.double() for x in tensors(case, dtype))
    leaves = [x.requires_grad_() for x in (Q, K, V, bias, sink) if x is not None]
    visible = torch.from_numpy(case.visible())
    O, L = oracle.attention(Q, K, V, visible, bias, None, case.softcap, sink)
    return torch.autograd.grad((O * dO).sum() + of_L * (L * dO[..., 0]).sum(), leaves)


@pytest.mark.parametrize("of_L", [0.0, 1.0], ids=["O", "O and L"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", TORCH)
def test_a_sink_learns_by_autograd(name, case, of_L):
    """Beside queries, keys, values and a bias that learn."""
    Q, K, V, dO, bias, sink = tensors(case)
    leaves = [x.requires_grad_() for x in (Q, K, V, bias, sink) if x is not None]
    O, L = module_of(name).attention(Q, K, V, mask=case.rule(), bias=bias, softcap=case.softcap, sink=sink)
    gradients = torch.autograd.grad((O * dO).sum() + of_L * (L * dO[..., 0]).sum(), leaves)
    for ours, exact in zip(gradients, by_definition(case, torch.float64, of_L), strict=True):
        assert ours.shape == exact.shape
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", ["numpy_direct", "numpy_tiled", "torch_direct"])
def test_sink_backward_is_what_the_definition_gives(name, case, dtype):
    """From O and L alone; so each dtype is right to what O was rounded to."""
    *QKV, dO, bias, sink = tensors(case, dtype)
    exact = by_definition(case, dtype)[-1]
    if IMPLEMENTATIONS[name].library == "numpy":
        *QKV, dO, bias, sink = (None if x is None else x.numpy() for x in (*QKV, dO, bias, sink))
    O, L = module_of(name).attention(*QKV, mask=case.rule(), bias=bias, softcap=case.softcap, sink=sink)
    ds = sink_backward(dO, O, L, sink=sink)
    assert ds.dtype == sink.dtype
    rows = case.b * case.n * case.d_v  # as many products are summed
    budget = rows**0.5 * torch.finfo(dtype).eps * max(1, abs(exact).max())
    assert abs(torch.as_tensor(ds).double() - exact).max() <= 2 * budget


@pytest.mark.parametrize("name", ["torch_direct", "torch_tiled"])
def test_second_derivatives(name):
    """Of all five, mixed ones too; also where a row sees the sink alone, and where a head has none."""
    case = Case(b=1, h=2, g=1, n=3, m=4, d_k=2, d_v=2, softcap=1.5, sink=0.0, bias=True)
    *QKV, _, bias, sink = tensors(case)
    attention, mask = module_of(name).attention, masks.Moved(masks.causal, -1)

    def run(Q, K, V, bias, sink):
        both = torch.cat([sink, torch.full((1,), -torch.inf, dtype=sink.dtype)])
        return attention(Q, K, V, bias=bias, mask=mask, softcap=case.softcap, sink=both)

    leaves = [x.requires_grad_() for x in (*QKV, bias, sink[:1].detach())]
    O, L = run(*leaves)
    assert (O[:, :, 0] == 0).all()
    assert L[0, 1, 0] == -torch.inf

    def finite(*leaves):
        O, L = run(*leaves)
        return O, L.masked_fill(L.isneginf(), 0)

    assert torch.autograd.gradcheck(finite, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(finite, leaves, fast_mode=True)


@pytest.mark.parametrize("name", TORCH)
def test_a_sink_may_learn_alone(name):
    Q, K, V, dO, _, sink = tensors(CASES[1])
    options = {"mask": CASES[1].rule(), "softcap": 1.5}
    O, L = module_of(name).attention(Q, K, V, sink=sink.requires_grad_(), **options)
    (gradient,) = torch.autograd.grad(O, sink, dO)
    by_hand = sink_backward(dO, O.detach(), L.detach(), sink=sink.detach())
    torch.testing.assert_close(gradient, by_hand, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", TORCH)
def test_a_sink_learns_in_its_own_dtype_and_nothing_without_a_graph(name):
    Q, K, V, dO, _, _ = tensors(CASES[0], torch.float32)
    attention = module_of(name).attention
    sink = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    attention(Q, K, V, sink=sink)[0].backward(dO)
    assert sink.grad.dtype == torch.float64
    with torch.no_grad():
        assert not attention(Q, K, V, sink=sink)[0].requires_grad


def test_a_row_that_is_no_number_teaches_the_sink_nothing():
    """Nor does one without a sink; a gradient that is no number does."""
    case = CASES[0]
    Q, K, V, dO, _, sink = (x.numpy() if x is not None else None for x in tensors(case))
    attention = IMPLEMENTATIONS["numpy_direct"].load().attention
    Q[0, 1, 3], sink[2] = np.nan, -np.inf
    O, L = attention(Q, K, V, sink=sink)
    ds = sink_backward(dO, O, L, sink=sink)
    silent = dO.copy()
    silent[0, 1, 3] = 0
    right = sink_backward(silent, *attention(np.nan_to_num(Q), K, V, sink=sink), sink=sink)
    np.testing.assert_allclose(ds, right, rtol=1e-12)
    assert ds[2] == 0
    dO[1, 0, 5, 1], dO[1, 2, 5, 1] = np.inf, np.nan
    spoilt = sink_backward(dO, O, L, sink=sink)
    np.testing.assert_array_equal(np.isnan(spoilt), [True, False, False, False])
    leaves = torch.tensor(sink, requires_grad=True)
    Q, K, V, dO = map(torch.tensor, (Q, K, V, dO))
    O, _ = IMPLEMENTATIONS["torch_tiled"].load().attention(Q, K, V, sink=leaves)
    ours = torch.autograd.grad(O, leaves, dO)[0].numpy()
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(spoilt))  # autograd: NaN or ∞
    np.testing.assert_allclose(ours[1:], spoilt[1:], rtol=1e-10)


@pytest.mark.parametrize(
    "case", [CASES[2], Case(b=2, h=4, g=2, n=11, m=13, bias=True, softcap=1.0, sink=9.0)]
)
@pytest.mark.parametrize("name", ["numpy_direct", "torch_tiled"])
def test_beside_a_cap_and_a_sink_a_bias_learns(name, case, monkeypatch):
    """The cap has no part in its gradient, the sink has."""
    monkeypatch.setattr(learned_bias, "AT_A_TIME", 400)  # some rows at a time
    *QKV, dO, bias, sink = tensors(case)
    exact = by_definition(case, torch.float64)[3]
    if IMPLEMENTATIONS[name].library == "numpy":
        *QKV, dO, bias, sink = (x.numpy() for x in (*QKV, dO, bias, sink))
    options = {"mask": case.rule(), "bias": bias, "softcap": case.softcap, "sink": sink}
    O, L = module_of(name).attention(*QKV, **options)
    dB = torch.as_tensor(bias_backward(dO, *QKV, O, L, **options))
    torch.testing.assert_close(dB, exact, rtol=1e-10, atol=1e-12)


# As others have them


@pytest.mark.filterwarnings(
    "ignore:flex_attention called without torch.compile"
)  # uncompiled is what we want
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_a_cap_is_flex_attentions_tanh_score_mod(name, mask):
    """PyTorch's own example of a score_mod; its causal one hides behind the cap, as ours does."""
    from torch.nn.attention.flex_attention import AuxRequest, flex_attention

    case, C = Case(b=1, h=2, g=2, n=7, m=7, d_k=4, d_v=4, mask=mask, stretch=4), 1.5
    Q, K, V = tensors(case)[:3]

    def soft(score, b, h, i, j):
        capped = C * torch.tanh(score / C)
        return torch.where(i >= j, capped, -torch.inf) if mask == "causal" else capped

    theirs, aux = flex_attention(Q, K, V, score_mod=soft, return_aux=AuxRequest(lse=True))
    O, ours_L = module_of(name).attention(Q, K, V, mask=case.rule(), softcap=C)
    torch.testing.assert_close(O, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours_L, aux.lse, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", [*IMPLEMENTATIONS])
def test_a_cap_is_right_to_the_last_digits(name, dtype):
    """With one key L is its score: C tanh(s / C), of scores far below the cap and far beyond it.

    1 − 2 / (e^{2x} + 1), as it is often computed, would lose C eps of a small score: twelve of these budgets.
    """
    module, made, C = module_of(name), IMPLEMENTATIONS[name], 50.0
    if made.compiler == "numba" and dtype == torch.float64:
        pytest.skip("compiles for seconds in each process; meets float64 in test_implementations.py")
    s = torch.cat([sign * torch.logspace(-3, 3, 61, dtype=torch.float64) for sign in (1, -1)]).to(dtype)
    Q, K = s.reshape(1, 1, -1, 1).to(made.device), torch.ones(1, 1, 1, 1, dtype=dtype, device=made.device)
    Q, K = (Q.numpy(), K.numpy()) if made.library == "numpy" else (Q, K)
    _, L = module.attention(Q, K, K, scale=1.0, softcap=C)
    exact = C * torch.tanh(s.double() / C)
    errors = (torch.as_tensor(L).cpu().double().flatten() - exact).abs() / exact.abs().clamp(min=1)
    assert errors.max() <= 4 * torch.finfo(dtype).eps


def gemma_2(Q, K, V, scaling, softcap, mask):
    """Transformers' `eager_attention_forward` of Gemma 2, in its order: scale, cap, mask, softmax."""
    weights = torch.matmul(Q, K.transpose(2, 3)) * scaling
    weights = torch.tanh(weights / softcap) * softcap
    weights = torch.softmax(weights + mask, dim=-1, dtype=torch.float32).to(Q.dtype)
    return torch.matmul(weights, V)


def gpt_oss(Q, K, V, scaling, sinks, mask):
    """That of gpt-oss: the sinks as a last column, the row's maximum taken off, the column dropped."""
    logits = torch.matmul(Q, K.transpose(2, 3)) * scaling + mask
    column = sinks.reshape(1, -1, 1, 1).expand(Q.shape[0], -1, Q.shape[2], -1)
    logits = torch.cat([logits, column], dim=-1)
    logits = logits - logits.max(dim=-1, keepdim=True).values
    return torch.matmul(torch.softmax(logits, dim=-1)[..., :-1], V)


@pytest.mark.parametrize("name", [*IMPLEMENTATIONS])
@pytest.mark.parametrize("model", ["Gemma 2", "gpt-oss"])
def test_released_models_compute_the_same(name, model):
    """Their layers' own formula, in plain torch: grouped heads, causal in a window."""
    module, made = module_of(name), IMPLEMENTATIONS[name]
    case = Case(b=2, h=4, g=2, n=9, m=9, d_k=8, d_v=8, stretch=5, sink=0.5)
    Q, K, V, _, _, sink = tensors(case, torch.float32)
    rule = masks.causal & masks.window(4)
    hidden = torch.zeros(9, 9).masked_fill(~torch.from_numpy(rule.tile(range(9), range(9))), -torch.inf)
    K_each, V_each = (x.repeat_interleave(2, dim=1) for x in (K, V))
    if model == "Gemma 2":
        theirs, options = gemma_2(Q, K_each, V_each, 0.25, 50.0, hidden), {"softcap": 50.0}
    else:
        theirs, options = gpt_oss(Q, K_each, V_each, 0.25, sink, hidden), {"sink": sink}
    give = (lambda x: x.numpy()) if made.library == "numpy" else (lambda x: x.to(made.device))
    options = {key: give(x) if isinstance(x, torch.Tensor) else x for key, x in options.items()}
    O, _ = module.attention(*map(give, (Q, K, V)), mask=rule, scale=0.25, **options)
    torch.testing.assert_close(torch.as_tensor(O).cpu(), theirs, rtol=1e-5, atol=1e-6)


# The merge


def test_a_merge_with_a_sink_by_hand():
    """Two keys of weights 1 and 3 and a sink of 4: half of O is left, and L = ln 8."""
    O, L = sinks.merged(np.full((1, 1, 1, 2), 6.0), np.log(np.full((1, 1, 1), 4.0)), np.log([[4.0]]))
    np.testing.assert_allclose(O, np.full((1, 1, 1, 2), 3.0))
    np.testing.assert_allclose(L, [[[np.log(8)]]])
    np.testing.assert_allclose(sinks.sinks_share(L, np.log([[4.0]])), [[[1 / 2]]])
    c, Z = sinks.state_with_sink(np.log([[[2.0]]]), np.array([[[2.0]]]), np.log([[4.0]]))
    np.testing.assert_allclose([c.item(), Z.item()], [np.log(4), 2])


def test_a_state_without_a_key_and_without_a_sink_stays_empty():
    nothing = np.full((1, 1), -np.inf)
    c, Z = sinks.state_with_sink(np.full((1, 1, 2), -np.inf), np.zeros((1, 1, 2)), np.array([[-np.inf]]))
    assert (c == -np.inf).all()
    assert sinks.state_with_sink(c, Z, None) == (c, Z)
    O, L = sinks.merged(np.zeros((1, 1, 2, 3)), np.full((1, 1, 2), -np.inf), nothing)
    assert not O.any()
    assert (L == -np.inf).all()
    np.testing.assert_array_equal(sinks.sinks_share(L, nothing), np.zeros((1, 1, 2)))


# What does not fit


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"sink": [0.0] * 4}, TypeError, "sink is a list; wanted an array of floats, one for each head"),
        ({"sink": np.zeros(4, int)}, TypeError, "sink has dtype int64; wanted floats"),
        ({"sink": np.zeros(3)}, ValueError, r"sink has shape \(3,\); wanted \(4,\)"),
        ({"sink": torch.zeros(4)}, TypeError, "sink is a torch Tensor beside a NumPy array O"),
        ({"L": np.zeros((2, 4, 7))}, ValueError, r"L has shape \(2, 4, 7\); wanted \(2, 4, 11\)"),
        (
            {"dO": np.zeros((2, 4, 11, 3))},
            ValueError,
            r"dO has shape \(2, 4, 11, 3\); wanted \(2, 4, 11, 5\)",
        ),
        (
            {"dO": torch.zeros(2, 4, 11, 5)},
            TypeError,
            "dO is a torch Tensor, and sink_backward computes with",
        ),
        ({"O": np.zeros(5)}, ValueError, r"O has shape \(5,\); wanted \(…, h, n, d_v\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changed, error, message):
    call = {"dO": np.zeros((2, 4, 11, 5)), "O": np.zeros((2, 4, 11, 5)), "L": np.zeros((2, 4, 11))}
    call |= {"sink": np.zeros(4)} | changed
    with pytest.raises(error, match=f"^{message}"):
        sink_backward(**call)


# PyTorch's layer ----------------------------------------------------------------------------------------

X = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)))
LATER = torch.ones(5, 5, dtype=torch.bool).triu(1)  # who may not be seen


def layer(**key):
    torch.manual_seed(0)
    return torch.nn.MultiheadAttention(4, 1, bias=False, dtype=torch.float64, **key)


def test_add_zero_attn_is_a_sink_of_score_zero():
    theirs = layer(add_zero_attn=True)
    Y, A = theirs(X, X, X)
    assert A.shape == (5, 6)
    W_Q, W_K, W_V = theirs.in_proj_weight.detach().numpy().reshape(3, 4, 4).swapaxes(1, 2)
    S, V = formulas.scaled_scores(X.numpy() @ W_Q, X.numpy() @ W_K), X.numpy() @ W_V
    O, _ = formulas.with_sink(formulas.softmax(S) @ V, formulas.log_sum_exp(S), np.zeros(5))
    expected = O @ theirs.out_proj.weight.detach().numpy().T
    np.testing.assert_allclose(Y.detach().numpy(), expected, atol=1e-12)


def test_add_bias_kv_is_a_key_that_tells_of_no_token():
    theirs = layer(add_bias_kv=True)
    Y, A = theirs(X, X, X, attn_mask=LATER)
    assert A.shape == (5, 6)
    assert not A[:, :5][LATER].any()
    assert (A[:, 5] > 0).all()  # not in the mask, and seen by everybody
    other = torch.cat([X[:4], X[4:] + 1])
    Y_other, _ = theirs(other, other, other, attn_mask=LATER)
    torch.testing.assert_close(Y_other[:4], Y[:4])
    assert not torch.allclose(Y_other[4], Y[4])


@pytest.mark.parametrize("key", ["add_bias_kv", "add_zero_attn"])
def test_with_a_key_more_a_query_that_may_see_no_token_is_finite(key):
    nobody = torch.ones(5, 5, dtype=torch.bool)
    assert layer(**{key: True})(X, X, X, attn_mask=nobody)[0].isfinite().all()
    assert layer()(X, X, X, attn_mask=nobody)[0].isnan().all()
