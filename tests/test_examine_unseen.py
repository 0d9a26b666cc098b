"""What is written by those who never saw the engine: of 48 functions written blind, one of a kind."""

import numpy as np
import pytest
import torch

from selfattention import examine, formulas
from selfattention.examining import cases


def grouped(xq, xk, xv):
    """(batch, n, heads, d) each, as Llama's code has them; heads side by side come back."""
    repeats = xq.shape[2] // xk.shape[2]
    k, v = (x.repeat_interleave(repeats, 2).transpose(1, 2) for x in (xk, xv))
    S = xq.transpose(1, 2) @ k.mT / xq.shape[-1] ** 0.5
    future = torch.ones_like(S, dtype=torch.bool).triu(1)
    return (S.masked_fill(future, -torch.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)


def heads_first(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("function", [grouped, heads_first])
def test_heads_may_come_back_side_by_side(function):
    said = examine(function)
    assert said, said
    assert "the output (batch, n, heads · d)" in said.called


def of_tokens(X, W_Q, W_K, W_V, mask=None, softmax=formulas.softmax, width=None):
    Q, K, V = X @ W_Q, X @ W_K, X @ W_V
    S = Q @ K.swapaxes(-1, -2) / np.sqrt(width or K.shape[-1])
    return softmax(S if mask is None else np.where(mask, S, -1e30)) @ V


def of_columns(X, W_Q, W_K, W_V):
    return of_tokens(X.T, W_Q.T, W_K.T, W_V.T).T


def kept(x, wq, wk, wv, mask):
    return of_tokens(x, wq, wk, wv, softmax=lambda S: formulas.softmax(S) * mask)


def of_the_width(X, W_query, W_key, W_value):
    return of_tokens(X, W_query, W_key, W_value, width=X.shape[-1])


def over_queries(X, W_Q, W_K, W_V):
    return of_tokens(
        X, W_Q, W_K, W_V, softmax=lambda S: formulas.softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2)
    )


def masked_tokens(X, W_Q, W_K, W_V, mask=None):
    return of_tokens(X, W_Q, W_K, W_V, mask)


@pytest.mark.parametrize("function", [masked_tokens, of_columns])
def test_tokens_may_come_with_the_matrices_of_one_head(function):
    assert examine(function), examine(function)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (kept, "Weights set to zero after the softmax"),
        (of_the_width, "Divided by √d_model, the width of the tokens"),
        (over_queries, "Softmax over the queries"),
    ],
)
def test_and_their_mistakes_have_the_same_names(function, name):
    ((said,),) = examine(function).names
    assert said.startswith(name)


def test_tokens_of_one_width_come_with_their_matrices():
    """By that width the mistake of the scale is known."""
    found = [*cases.projected_once(), *cases.projected_and_masked()]
    assert {case.arrays["X"].shape[-1] for case in found} == {cases.WIDTH}
    assert len({case.name for case in found}) == len(found)  # explanations are remembered by name


def step(q_new, k_new, v_new, k_cache=None, v_cache=None):
    """Right without a cache, and wrong with one."""
    k = k_new if k_cache is None else torch.cat([k_cache, k_new], -2)
    v = v_new if v_cache is None else torch.cat([v_cache, v_new], -2)
    S = q_new @ k.mT / q_new.shape[-1] ** 0.5
    return S.masked_fill(torch.ones_like(S).tril() == 0, -torch.inf).softmax(-1) @ v, k, v


def test_a_function_that_may_be_given_a_cache_is_given_one():
    assert examine(step).names == (
        ("The causal mask lies top left: the first new token sees the oldest key, and no more",),
    )


def test_what_is_never_written_to_is_no_dropout():
    """Of an odd width, the last column; another number in each call, perhaps."""
    calls = iter(range(1000))

    def rotary(x):
        out = np.full_like(x, next(calls))
        angles = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(x.shape[1] // 2) * 2 / x.shape[1])
        a, b = x[:, 0 : x.shape[1] // 2 * 2 : 2], x[:, 1::2]
        out[:, 0 : a.shape[1] * 2 : 2] = a * np.cos(angles) + b * np.sin(angles)
        out[:, 1::2] = b * np.cos(angles) - a * np.sin(angles)
        return out

    assert examine(rotary).names == (("Turned the other way",),)


def causal_to_the_next(q, k, v):
    S = q @ k.mT / q.shape[-1] ** 0.5
    return S.masked_fill(torch.ones_like(S).triu(2) == 1, -torch.inf).softmax(-1) @ v


def causal_by_zero(q, k, v):
    S = q @ k.mT / q.shape[-1] ** 0.5
    return S.masked_fill(torch.ones_like(S).tril() == 0, 1e-9).softmax(-1) @ v


def keys_poured(q, k, v):
    S = q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]) / q.shape[-1] ** 0.5
    return S.softmax(-1) @ v


def alibi(n_heads, n):
    return -np.abs(np.arange(n)[:, None] - np.arange(n)) * (1 / np.arange(1, n_heads + 1))[:, None, None]


def rotary_of_nothing(x):
    half = x.shape[-1] // 2
    theta = 10_000.0 ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(theta), np.sin(theta)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (causal_to_the_next, "A causal mask one diagonal too late: each token sees the next one as well"),
        (
            causal_by_zero,
            "A causal mask that makes scores 0, not −∞: tokens in the future keep weight",
        ),
        (keys_poured, "The keys poured into the shape (d_k, m), not transposed: their numbers change places"),
        (alibi, "The slopes are 1, 1/2, 1/3 …, and no geometric sequence"),
        (rotary_of_nothing, "Every token is turned by the same angles: nobody asks where it stands"),
    ],
)
def test_mistakes_that_had_no_name(function, name):
    assert examine(function).names == ((name,),), examine(function)


def test_a_mask_named_for_the_hidden_that_holds_the_visible_is_pointed_out():
    def masked(Q, K, V, pad_mask):
        S = Q @ K.mT / Q.shape[-1] ** 0.5
        return S.masked_fill(pad_mask[:, None] == 0, -1e9).softmax(-1) @ V

    said = examine(masked)
    assert said, said
    assert any("Where pad_mask marks what its name says, it is turned round" in p for p in said.paragraphs)


def test_a_layer_that_takes_tokens_first_says_what_a_batch_first_would_do():
    class Encoder(torch.nn.Module):
        def __init__(self, d_model, num_heads):
            super().__init__()
            self.attn = torch.nn.MultiheadAttention(d_model, num_heads)

        def forward(self, x):
            return self.attn(x, x, x, need_weights=False)[0]

    said = examine(Encoder)
    assert said, said
    assert any("Where the batch comes first" in p for p in said.paragraphs)


class Remembering(torch.nn.Module):
    """Right as it is called, and wrong with a past, to which nobody looks."""

    def __init__(self, d_model, num_heads):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(d_model, num_heads, batch_first=True)

    def forward(self, x, past=None):
        memory = x if past is None else past
        return self.attn(x, memory, memory, need_weights=False)[0]


def test_a_cache_to_which_nobody_has_looked_is_named_in_the_title():
    said = examine(Remembering)
    assert said, said
    assert said.title.endswith("right; at past nobody has looked.")


def causal_afterwards(q, k, v):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return weights.tril() @ v


def test_a_triangle_after_the_softmax_has_a_name():
    ((name,),) = examine(causal_afterwards).names
    assert name.startswith("A causal mask after the softmax, as a factor")


def test_of_what_is_more_than_the_formula_nothing_is_said():
    """ALiBi inside of attention: not attention's numbers, and no mistake."""

    def alibi_attention(q, k, v):
        slopes = 2.0 ** (-8 * np.arange(1, len(q) + 1) / len(q))
        S = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + slopes[:, None, None] * np.arange(k.shape[-2])
        return formulas.softmax(S) @ v

    said = examine(alibi_attention)
    assert "cannot tell" in said.title
    assert "alibi" in said.title + " ".join(said.paragraphs)
