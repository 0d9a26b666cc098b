"""Chapter 10: masked scores and masked attention; what a mask hides, and from whom."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfattention import masks
from selfattention.formulas import attention, masked_attention, masked_scores, scaled_scores, softmax
from selfattention.implementations import torch_direct

EXAMPLE = np.log([[1.0, 2.0, 5.0]])  # the chapter's: weights 1/8, 2/8, 5/8 without a mask


def qkv(rng, n=5, m=7, leading=()):
    return [rng.normal(size=(*leading, *axes)) for axes in ((n, 3), (m, 3), (m, 2))]


def seen(rule, n, m):
    return rule.tile(range(n), range(m))


def test_masked_scores_by_hand():
    S = masked_scores(EXAMPLE, np.array([[True, True, False]]))
    np.testing.assert_array_equal(S, [[0, np.log(2), -np.inf]])
    np.testing.assert_allclose(softmax(S), [[1 / 3, 2 / 3, 0]])


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_masked_scores_refuse_ones_and_zeros(dtype):
    with pytest.raises(TypeError, match=f"^visible has dtype {np.dtype(dtype)}; wanted booleans"):
        masked_scores(EXAMPLE, np.array([[1, 1, 0]], dtype=dtype))


@given(
    arrays(np.float64, (3, 5), elements=st.floats(-50, 50)),
    arrays(np.bool_, (3, 5)),
)
def test_masked_scores_renormalise(S, visible):
    """Claim: the masked softmax is the softmax times zeros and ones, over its new sum."""
    some = visible.any(1)
    kept = softmax(S)[some] * visible[some]
    np.testing.assert_allclose(
        softmax(masked_scores(S, visible))[some], kept / kept.sum(1, keepdims=True), rtol=1e-9
    )


@given(arrays(np.bool_, (2, 3, 5)))
def test_masked_scores_and(both):
    """Claim: masking by a and then by b is masking by `a & b`, in either order."""
    S = np.arange(15.0).reshape(3, 5)
    a, b = both
    expected = masked_scores(S, a & b)
    np.testing.assert_array_equal(masked_scores(masked_scores(S, a), b), expected)
    np.testing.assert_array_equal(masked_scores(masked_scores(S, b), a), expected)


def test_masked_attention_by_hand():
    """Queries (1), keys ln 1, ln 2, ln 5 in one dimension; the third is hidden."""
    V = np.array([[3.0, 0.0], [0.0, 3.0], [9.0, 9.0]])
    O = masked_attention(np.ones((1, 1)), EXAMPLE.T, V, np.array([[True, True, False]]))
    np.testing.assert_allclose(O, [[1, 2]])


def test_masked_attention_without_a_mask_is_attention(rng):
    Q, K, V = qkv(rng)
    np.testing.assert_array_equal(masked_attention(Q, K, V, seen(masks.everybody, 5, 7)), attention(Q, K, V))


def test_masked_attention_broadcasts_a_mask_over_heads(rng):
    """`padding` answers (b, 1, n, m): one mask per sample, the same for each of its heads."""
    Q, K, V = qkv(rng, leading=(2, 3))
    visible = seen(masks.padding([4, 6]), 5, 7)
    O = masked_attention(Q, K, V, visible)
    for b, h in np.ndindex(2, 3):
        np.testing.assert_allclose(O[b, h], masked_attention(Q[b, h], K[b, h], V[b, h], visible[b, 0]))


def test_masked_attention_agrees_with_torch(rng):
    """torch's fused function: True = keep, and zeros for the row that may see nothing."""
    Q, K, V = qkv(rng, leading=(2, 3))
    visible = rng.random((2, 3, 5, 7)) < 0.4
    visible[1, 2, 3] = False
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.from_numpy, (Q, K, V)), attn_mask=torch.from_numpy(visible)
    )
    np.testing.assert_allclose(masked_attention(Q, K, V, visible), theirs, atol=1e-14)


@given(arrays(np.bool_, (5, 7)))
def test_masked_attention_deleted_keys(visible):
    """Claim: a query's output is attention over the keys it may see, the others taken away."""
    Q, K, V = qkv(np.random.default_rng(0))
    O = masked_attention(Q, K, V, visible)
    for q, row, o in zip(Q, visible, O, strict=True):
        if row.any():
            np.testing.assert_allclose(o, attention(q[None], K[row], V[row])[0], atol=1e-14)


def blocks(X, W, visible):
    """‖∂o_i / ∂x_j‖, by autograd through the formula spelt out in torch."""

    def output(X):
        Q, K, V = (X @ torch.from_numpy(w) for w in W)
        S = (Q @ K.T / Q.shape[-1] ** 0.5).masked_fill(~torch.from_numpy(visible), -torch.inf)
        return torch.softmax(S, -1) @ V

    X = torch.from_numpy(X)
    np.testing.assert_allclose(masked_attention(*(X.numpy() @ w for w in W), visible), output(X), atol=1e-14)
    J = torch.autograd.functional.jacobian(output, X)  # (n, d_v, n, d_model)
    return J.pow(2).sum((1, 3)).sqrt().numpy()


@pytest.mark.parametrize(
    "rule",
    [
        masks.causal,
        masks.causal & masks.window(2),
        masks.causal | masks.prefix(3),
        masks.causal & masks.documents([0, 0, 0, 1, 1]),
        masks.prefix(2),  # the queries 3, 4 and 5 do not see themselves
    ],
    ids=["causal", "window", "prefix", "documents", "first two"],
)
def test_masked_attention_causal_jacobian(rng, rule):
    """Claim: ∂o_i / ∂x_j vanishes unless j = i or i may see j, so above the diagonal if causal."""
    X, *W = rng.normal(size=(5, 3)), *rng.normal(size=(3, 3, 3))
    visible = seen(rule, 5, 5)
    J = blocks(X, W, visible)
    reached = visible | np.eye(5, dtype=bool)
    assert (J[~reached] == 0).all()
    assert (J[reached] > 1e-9).all()
    if rule is masks.causal:
        assert (J[np.triu_indices(5, 1)] == 0).all()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_masked_attention_cache(rng, n):
    """Claim: the last n rows of causal attention are n queries under causal, bottom-right."""
    Q, K, V = qkv(rng, n=7, m=7)
    whole = masked_attention(Q, K, V, seen(masks.causal, 7, 7))
    new = masked_attention(Q[-n:], K, V, seen(masks.bottom_right(masks.causal, n, 7), n, 7))
    np.testing.assert_allclose(new, whole[-n:], atol=1e-14)
    wrong = masked_attention(Q[-n:], K, V, seen(masks.top_left(masks.causal, n, 7), n, 7))
    np.testing.assert_allclose(wrong[0], V[0])  # top-left: the first value, whatever the query
    assert np.allclose(wrong, new) == (n == 7)


def test_masked_attention_empty_row(rng):
    """Claim: a query that may see no key has output zero and derivatives zero; the others keep theirs."""
    Q, K, V = qkv(rng)
    visible = np.ones((5, 7), dtype=bool)
    visible[2] = False
    O = masked_attention(Q, K, V, visible)
    assert (O[2] == 0).all()
    np.testing.assert_array_equal(O[[0, 1, 3, 4]], attention(Q, K, V)[[0, 1, 3, 4]])

    leaves = [torch.from_numpy(array).requires_grad_() for array in (Q, K, V)]
    output, _ = torch_direct.attention(*leaves, mask=torch.from_numpy(visible))
    np.testing.assert_allclose(output.detach(), O, atol=1e-14)
    for gradient in torch.autograd.grad(output[2].sum(), leaves, retain_graph=True):
        assert (gradient == 0).all()
    S = scaled_scores(Q, K)  # the loss over all rows: dV_j is what key j is given by the other four
    given_away = np.delete(softmax(S), 2, axis=0).sum(0)
    (dV,) = torch.autograd.grad(output.sum(), leaves[2:])
    np.testing.assert_allclose(dV, np.tile(given_away[:, None], 2), atol=1e-14)
