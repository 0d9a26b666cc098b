"""Exercises of chapter 12."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import agree, numbers, show
from selfattention.extras import needed
from selfattention.formulas import (
    attention,
    attention_backward,
    concat_heads,
    product_backward,
    projections,
    scaled_scores,
    softmax,
    softmax_backward,
    split_heads,
)
from selfattention.mutants import attention_backward as wrong

NAMES = ["dA", "δ", "dS", "dQ", "dK", "dV"]


def change_of(name):
    """Evidence: how far the array of this name moves when all values are raised."""

    def largest_change(trial):
        draw = np.random.default_rng(0).normal
        dO, Q, K, V = (draw(size=axes) for axes in [(5, 2), (5, 3), (7, 3), (7, 2)])
        raise_by = np.array([10.0, -3.0])
        before, after = (_on_the_way_back(dO, Q, K, values)[name] for values in (V, V + raise_by))
        change = np.abs(after - before).max().round(9)
        return f"On five queries and seven keys drawn by lot, {name} changes by up to {show(change)}."

    return largest_change


def _on_the_way_back(dO, Q, K, V):
    A, dA = softmax(scaled_scores(Q, K)), dO @ V.T
    arrays = dA, (A * dA).sum(1), softmax_backward(dA, A), *attention_backward(dO, Q, K, V)
    return dict(zip(NAMES, arrays, strict=True))


@exercise(
    worth_trying="a vector of its own for every value, and one for every query's dO. Which of them is felt?",
)
def raised_values():
    """Row i of dA and its average δ_i rise by the same number, and dS is their difference."""
    return "changes", "changes", "stays", "stays", "stays", "stays"


@raised_values.mistake_shown_by(change_of("dA"))
def dA_stays():
    """dA is a product with the values: raise them, and it rises."""
    return "stays", "changes", "stays", "stays", "stays", "stays"


@raised_values.mistake_shown_by(change_of("δ"))
def delta_stays():
    """δ is an average of a row of dA: if all of the row rises by a number, so does the average."""
    return "changes", "stays", "stays", "stays", "stays", "stays"


@raised_values.mistake_shown_by(change_of("dS"))
def dS_changes():
    """dS holds the difference of dA and δ, and both rise by the same."""
    return "changes", "changes", "changes", "stays", "stays", "stays"


@raised_values.mistake_shown_by(change_of("dQ"))
def dQ_changes():
    """The values reach dQ by way of dS alone."""
    return "changes", "changes", "stays", "changes", "stays", "stays"


@raised_values.mistake_shown_by(change_of("dK"))
def dK_changes():
    """The values reach dK by way of dS alone."""
    return "changes", "changes", "stays", "stays", "changes", "stays"


@raised_values.mistake_shown_by(change_of("dV"))
def dV_changes():
    """dV is made of A and dO, and the values occur in neither."""
    return "changes", "changes", "stays", "stays", "stays", "changes"


def healthy_or_rounding(norms):
    """Each norm beside the largest: a gradient, or what rounding leaves of none."""
    norms = np.array([float(norm) for norm in norms])
    if not np.isfinite(norms).all():
        return np.full(len(norms), "not finite")
    beside = norms / (norms.max() or 1)
    return np.where(beside > 1e-5, "healthy", np.where(beside > 1e-12, "small", "rounding"))


def beside_the_largest(trial):
    norms = np.array([float(norm) for norm in trial.result])
    said = ", ".join(f"{name} {show(norm)}" for name, norm in zip(("b_Q", "b_K", "b_V"), norms, strict=True))
    return f"You gave {said}."


def _norms(tokens, dtype="float64", parameter="in_proj_bias"):
    """The norms of three gradients in PyTorch's layer, after one step back."""
    with needed():
        import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        layer = torch.nn.MultiheadAttention(6, 2, batch_first=True).to(getattr(torch, dtype))
        x = torch.randn(2, tokens, 6, dtype=getattr(torch, dtype))
    layer(x, x, x)[0].square().sum().backward()
    return [part.norm().item() for part in getattr(layer, parameter).grad.chunk(3)]


@exercise(
    seen_as=healthy_or_rounding,
    evidence=beside_the_largest,
    worth_trying="a query bias only, then a value bias only, taken out of a trained layer. Who minds?",
)
def bias_norms():
    """The rows of dS sum to zero, so Σ_j dK_j = 0: a key bias gets rounding for a gradient."""
    return _norms(5)


@bias_norms.mistake
def another_order():
    """One is small, and it stands first; PyTorch packs the biases in the order Q, K, V."""
    return _norms(5)[1::-1] + _norms(5)[2:]


@bias_norms.mistake
def gradients_of_the_weights():
    """None of the three is small: `in_proj_weight` has such gradients, the bias has not."""
    return _norms(5, parameter="in_proj_weight")


@bias_norms.mistake
def float32():
    """The middle one is small, but it is the rounding of float32: the layer wants a `.double()`."""
    return _norms(5, dtype="float32")


@bias_norms.mistake
def single_token():
    """Two are nothing but rounding, b_Q as well: with one key, nothing moves a weight of one."""
    return _norms(1)


def which_are_wrong(trial):
    """Of the four gradients, the names of those that are wrong."""
    if not isinstance(trial.given, tuple) or len(trial.given) != 4:
        return numbers(trial)
    names, fine = ["dW_Q", "dW_K", "dW_V", "dW_O"], []
    for name, given, wanted in zip(names, trial.given, trial.wanted, strict=True):
        if given.shape == wanted.shape and agree(given, wanted, 1e-6).all():
            fine.append(name)
    wrong_ones = [name for name in names if name not in fine]
    return f"Wrong: {', '.join(wrong_ones)}. Right: {', '.join(fine) or 'none'}."


def _layer(n, d_model, h, d_k, d_v):
    draw = np.random.default_rng(0).normal
    widths = [(d_model, h * d_k), (d_model, h * d_k), (d_model, h * d_v), (h * d_v, d_model)]
    return draw(size=(n, d_model)), draw(size=(n, d_model)), *(draw(size=axes) for axes in widths), h


@exercise(
    cases=[_layer(3, 5, 2, 3, 2), _layer(5, 7, 3, 2, 5)],
    evidence=which_are_wrong,
    worth_trying="the four biases. Three of them cost one line each, and b_K none at all.",
)
def layer_gradients(dY, X, W_Q, W_K, W_V, W_O, h):
    """What was split is concatenated on the way back, and what was concatenated is split."""
    wide = projections(X, W_Q, W_K, W_V)
    Q, K, V = (split_heads(M, h) for M in wide)
    O = concat_heads(attention(Q, K, V))
    dO, dW_O = product_backward(dY, O, W_O)
    narrow = attention_backward(split_heads(dO, h), Q, K, V)
    return [*(X.T @ concat_heads(dM) for dM in narrow), dW_O]


def _gradients(dY, X, W_Q, W_K, W_V, W_O, h, backward):
    """The right gradients, but for what goes back through the heads."""
    Q, K, V = (split_heads(M, h) for M in projections(X, W_Q, W_K, W_V))
    dO, dW_O = product_backward(dY, concat_heads(attention(Q, K, V)), W_O)
    narrow = backward(dO, Q, K, V)
    return [*(X.T @ concat_heads(dM) for dM in narrow), dW_O]


@layer_gradients.mistake
def delta_left_out(dY, X, W_Q, W_K, W_V, W_O, h):
    """The δ is missing: dS is A ∘ dA in every head."""

    def backward(dO, *QKV):
        return wrong.delta_forgotten(split_heads(dO, h), *QKV)

    return _gradients(dY, X, W_Q, W_K, W_V, W_O, h, backward)


@layer_gradients.mistake
def root_left_out(dY, X, W_Q, W_K, W_V, W_O, h):
    """The 1/√d_k of the way there is missing on the way back."""

    def backward(dO, *QKV):
        return wrong.scale_forgotten(split_heads(dO, h), *QKV)

    return _gradients(dY, X, W_Q, W_K, W_V, W_O, h, backward)


@layer_gradients.mistake
def queries_for_keys(dY, X, W_Q, W_K, W_V, W_O, h):
    """dW_Q and dW_K have changed places."""
    dW_Q, dW_K, dW_V, dW_O = layer_gradients.solution(dY, X, W_Q, W_K, W_V, W_O, h)
    return dW_K, dW_Q, dW_V, dW_O


@layer_gradients.mistake
def split_by_a_reshape(dY, X, W_Q, W_K, W_V, W_O, h):
    """dO is split by a reshape alone, without the swap: heads get scraps of tokens."""

    def backward(dO, *QKV):
        return attention_backward(dO.reshape(h, len(X), -1), *QKV)

    return _gradients(dY, X, W_Q, W_K, W_V, W_O, h, backward)


@layer_gradients.mistake
def one_wide_head(dY, X, W_Q, W_K, W_V, W_O, h):
    """The number of heads is not used: these are the gradients of one head of the whole width."""
    return layer_gradients.solution(dY, X, W_Q, W_K, W_V, W_O, 1)


@layer_gradients.mistake
def as_linear_stores_them(dY, X, W_Q, W_K, W_V, W_O, h):
    """They are transposed, (out, in), as `nn.Linear` stores its weight; the book's are (in, out)."""
    return [dW.T for dW in layer_gradients.solution(dY, X, W_Q, W_K, W_V, W_O, h)]


@layer_gradients.mistake
def past_the_output_matrix(dY, X, W_Q, W_K, W_V, W_O, h):
    """dY goes to the heads as it is, and does not fit: W_O stands between, dO is dY W_Oᵀ."""
    return _gradients(
        dY, X, W_Q, W_K, W_V, W_O, h, lambda _, *QKV: attention_backward(split_heads(dY, h), *QKV)
    )


def _rows(n, m, d_k, d_v):
    draw = np.random.default_rng(0).normal
    return draw(size=(n, d_v)), draw(size=n), draw(size=(n, d_k)), draw(size=(m, d_k)), draw(size=(m, d_v))


@exercise(
    cases=[_rows(1, 2, 3, 2), _rows(5, 7, 3, 2)],
    worth_trying="dL alone, with dO all zero: the gradient is an average of keys. Which one?",
)
def query_gradient(dO, dL, Q, K, V):
    """dS = A ∘ (dA − (δ − dL)): the term belongs to δ."""
    A = softmax(scaled_scores(Q, K))
    delta = (dO * (A @ V)).sum(-1) - dL
    dS = A * (dO @ V.T - delta[:, None])
    return dS @ K / K.shape[-1] ** 0.5


def _query_gradient(dO, dL, Q, K, V, dS_of):
    A = softmax(scaled_scores(Q, K))
    dA = dO @ V.T
    return dS_of(A, dA, softmax_backward(dA, A), dL[:, None]) @ K / K.shape[-1] ** 0.5


@query_gradient.mistake
def dL_without_effect(dO, dL, Q, K, V):
    """dL has no effect: it is not used, or added to a row of dA, where δ takes it away again."""
    return _query_gradient(dO, dL, Q, K, V, lambda A, dA, dS, dL: softmax_backward(dA + dL, A))


@query_gradient.mistake
def dL_subtracted(dO, dL, Q, K, V):
    """The sign of dL is wrong: what is subtracted from δ, which is subtracted itself, is added."""
    return _query_gradient(dO, dL, Q, K, V, lambda A, dA, dS, dL: dS - A * dL)


@query_gradient.mistake
def dL_for_every_key(dO, dL, Q, K, V):
    """Every key gets the whole of dL; ∂L/∂S is A, a share for each."""
    return _query_gradient(dO, dL, Q, K, V, lambda A, dA, dS, dL: dS + dL)


@query_gradient.mistake
def dL_through_the_softmax_jacobian(dO, dL, Q, K, V):
    """dL meets A (1 − A), the derivative of a weight; the log-sum-exp's derivative is the weight itself."""
    return _query_gradient(dO, dL, Q, K, V, lambda A, dA, dS, dL: dS + A * (1 - A) * dL)


@query_gradient.mistake
def delta_replaced(dO, dL, Q, K, V):
    """dL stands where δ stood; it is one term more, and δ remains."""
    return _query_gradient(dO, dL, Q, K, V, lambda A, dA, dS, dL: A * (dA + dL))


@query_gradient.mistake
def root_forgotten(dO, dL, Q, K, V):
    """The 1/√d_k of the scores is missing on the way back."""
    return query_gradient.solution(dO, dL, Q, K, V) * K.shape[-1] ** 0.5
