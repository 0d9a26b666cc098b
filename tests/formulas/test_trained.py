"""Chapter 09: the encoder, held to torch, and what its heads do to thirty-two reactions.

The reference is written here in torch's own operations and shares no line with the package.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfattention.formulas import (
    attend_by_head,
    concat_heads,
    dot_scores,
    encoder,
    encoder_layer,
    feed_forward,
    gelu,
    layer_norm,
    scaled_scores,
    softmax,
    split_heads,
    token_scores,
    weighted_sum,
)
from selfattention.mutants import prices, right
from selfattention.mutants.kill_matrix import killers
from selfattention.trained import reactions, rxnmapper

LAYER, HEAD = 10, 5  # counted from 0: RXNMapper's published choice


def no_scale(Q, K, V, h):
    Q, K, V = (split_heads(wide, h) for wide in (Q, K, V))
    A = softmax(dot_scores(Q, K))
    return concat_heads(weighted_sum(A, V)), A


def no_transpose(Q, K, V, h):
    Q, K, V = (wide.reshape(h, len(wide), -1) for wide in (Q, K, V))
    A = softmax(scaled_scores(Q, K))
    return concat_heads(weighted_sum(A, V)), A


def over_queries(Q, K, V, h):
    Q, K, V = (split_heads(wide, h) for wide in (Q, K, V))
    A = softmax(scaled_scores(Q, K).swapaxes(-1, -2)).swapaxes(-1, -2)
    return concat_heads(weighted_sum(A, V)), A


class Reading:
    """All reactions through the model, once for each way of attending; rows are reactions."""

    def __init__(self):
        self.model, self.reactions = rxnmapper.load(np.float64), reactions.load()
        self.atoms = np.array([len(reaction.products) for reaction in self.reactions])
        self.report = np.array([reaction.part == "report" for reaction in self.reactions])
        self.blind = np.array([(r.right.sum(1) / r.same_element.sum(1)).sum() for r in self.reactions])
        self.kept = {}

    def right(self, attend=attend_by_head):
        """(reactions, layers, heads): atoms right."""
        if attend not in self.kept:
            counts = []
            for reaction in self.reactions:
                _, A = encoder(self.model.embed(reaction.tokens), **self.model.encoder, attend=attend)
                counts.append(reaction.atoms_right(reaction.points_at(A)))
            self.kept[attend] = np.array(counts)
        return self.kept[attend]


def nearest(reaction):
    """For each atom of the products, the column of the atom of its element nearest to it in order."""
    p, r = reaction.exact.shape
    apart = np.abs(np.arange(p)[:, None] - np.arange(r))
    return np.where(reaction.same_element, -apart, -np.inf).argmax(-1)


@pytest.fixture(scope="module")
def reading():
    return Reading()


def reference_forward(E, weights, h, depth):
    """All states and all weights, in torch: linear, layer_norm, an explicit softmax, gelu."""
    w = {name: torch.tensor(array) for name, array in weights.items()}

    def linear(X, name):
        return F.linear(X, w[name][:-1].T, w[name][-1])

    def norm(X, place):
        return F.layer_norm(X, X.shape[-1:], w["g_" + place], w["b_" + place], eps=1e-12)

    states, attentions = [linear(norm(torch.tensor(E), "E"), "W_E")], []
    for _ in range(depth):
        X = states[-1]
        q, k, v = (linear(X, name).unflatten(-1, (h, -1)).transpose(-2, -3) for name in ("W_Q", "W_K", "W_V"))
        attentions.append(torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1))
        heads = F.scaled_dot_product_attention(q, k, v)
        Z = norm(X + linear(heads.transpose(-2, -3).flatten(-2), "W_O"), "1")
        states.append(norm(Z + linear(F.gelu(linear(Z, "W_1")), "W_2"), "2"))
    return torch.stack(states).numpy(), torch.stack(attentions).numpy()


def arrays(model):
    return {**model.embedding, **model.layer}


def random_layer(rng, d_model, d_k, d_v, h, d_ff):
    shapes = {
        "W_Q": (d_model + 1, h * d_k),
        "W_K": (d_model + 1, h * d_k),
        "W_V": (d_model + 1, h * d_v),
        "W_O": (h * d_v + 1, d_model),
        "g_1": (d_model,),
        "b_1": (d_model,),
        "W_1": (d_model + 1, d_ff),
        "W_2": (d_ff + 1, d_model),
        "g_2": (d_model,),
        "b_2": (d_model,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_layer_norm_by_hand():
    """1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5; then twice that, and one more."""
    X = np.array([[1.0, 3.0, 5.0, 7.0]])
    expected = 2 * np.array([[-3, -1, 1, 3]]) / np.sqrt(5) + 1
    np.testing.assert_allclose(layer_norm(X, np.full(4, 2.0), np.full(4, 1.0)), expected)


def test_layer_norm_agrees_with_torch(rng):
    X, g, b = rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)
    expected = F.layer_norm(*map(torch.tensor, (X,)), (5,), torch.tensor(g), torch.tensor(b), eps=0.1)
    np.testing.assert_allclose(layer_norm(X, g, b, epsilon=0.1), expected, rtol=1e-12)


def test_layer_norm_scale(rng):
    """Claim: LN forgets the length of a row and what was added to all of it, exactly at ε = 0."""
    X, g, b = rng.normal(size=(3, 5)), rng.normal(size=5), rng.normal(size=5)
    moved = rng.uniform(0.1, 10, size=(3, 1)) * X + rng.normal(size=(3, 1))
    np.testing.assert_allclose(layer_norm(moved, g, b, epsilon=0), layer_norm(X, g, b, epsilon=0))
    assert not np.allclose(layer_norm(-X, g, b), layer_norm(X, g, b))


def test_layer_norm_of_a_constant_row_is_its_shift():
    """No spread: ε keeps 0 / 0 out."""
    Y = layer_norm(np.full((2, 3), 7.0), np.ones(3), np.arange(3.0))
    np.testing.assert_array_equal(Y, [[0, 1, 2]] * 2)


def test_layer_norm_epsilon():
    """A spread of 10⁻⁶ has variance 10⁻¹², the ε: every feature is 1/√2, not 1."""
    Y = layer_norm(np.array([[1e-6, -1e-6]]), np.ones(2), np.zeros(2))
    np.testing.assert_allclose(Y, [[0.5**0.5, -(0.5**0.5)]])


def test_layer_norm_of_a_variance_that_has_lost_its_digits_is_refused():
    """The smallest normal number is taken; of two rows below it the error quotes the first."""
    tiny = np.finfo(np.float64).tiny
    assert layer_norm(np.zeros((1, 2)), np.ones(2), np.ones(2), epsilon=tiny).tolist() == [[1, 1]]
    X = np.array([[1.0, -1.0], [0.5, -0.5]]) * 2.0**-512
    with pytest.raises(ValueError, match=f"layer_norm divides by the root of {2.0**-1024};"):
        layer_norm(X, np.ones(2), np.ones(2), epsilon=0)


def test_gelu_by_hand():
    """Φ(0) = ½, Φ(1) = 0.841345 from any table; gelu(x) − gelu(−x) = x."""
    np.testing.assert_allclose(gelu(np.array([0.0, 1.0, -1.0])), [0, 0.841345, -0.158655], atol=5e-7)


def test_gelu_agrees_with_torch_and_not_with_its_approximation():
    x = np.linspace(-6, 6, 241)
    np.testing.assert_allclose(gelu(x), F.gelu(torch.tensor(x)), atol=1e-15)
    approximate = F.gelu(torch.tensor(x), approximate="tanh").numpy()
    assert 1e-4 < np.abs(gelu(x) - approximate).max() < 5e-4


def test_gelu_takes_any_shape():
    assert gelu(np.zeros((0, 3))).shape == (0, 3)
    assert gelu(np.array(1.0)).shape == ()


def test_feed_forward_by_hand():
    """One token (2), one hidden unit 3·2 − 5 = 1, out gelu(1)·10 + 7."""
    W_1, W_2 = np.array([[3.0], [-5.0]]), np.array([[10.0], [7.0]])
    np.testing.assert_allclose(feed_forward(np.array([[2.0]]), W_1, W_2), [[15.413447]], atol=5e-6)


def test_feed_forward_sees_one_token_at_a_time(rng):
    X, W_1, W_2 = rng.normal(size=(7, 3)), rng.normal(size=(4, 5)), rng.normal(size=(6, 3))
    for token, whole in zip(X, feed_forward(X, W_1, W_2), strict=True):
        np.testing.assert_allclose(feed_forward(token[None], W_1, W_2)[0], whole)


def test_attend_by_head_agrees_with_torch(rng):
    """Heads of unequal widths, more keys than queries."""
    Q, K, V = rng.normal(size=(5, 6)), rng.normal(size=(7, 6)), rng.normal(size=(7, 22))
    q, k, v = (torch.tensor(wide).unflatten(-1, (2, -1)).transpose(-2, -3) for wide in (Q, K, V))
    O, A = attend_by_head(Q, K, V, 2)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)
    np.testing.assert_allclose(O, expected)
    np.testing.assert_allclose(A, torch.softmax(q @ k.mT / math.sqrt(3), -1))


def test_encoder_layer_agrees_with_torch(rng):
    """torch.nn.TransformerEncoderLayer, filled with the same matrices, and the weights it returns."""
    w = random_layer(rng, d_model=6, d_k=3, d_v=3, h=2, d_ff=7)
    X = rng.normal(size=(5, 6))
    layer = torch.nn.TransformerEncoderLayer(
        6, 2, 7, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.float64
    )
    t = {name: torch.tensor(array) for name, array in w.items()}
    qkv = torch.cat([t["W_Q"], t["W_K"], t["W_V"]], dim=1)
    places = {"self_attn.out_proj": "W_O", "linear1": "W_1", "linear2": "W_2"}
    layer.load_state_dict(
        {"self_attn.in_proj_weight": qkv[:-1].T, "self_attn.in_proj_bias": qkv[-1]}
        | {f"{place}.weight": t[name][:-1].T for place, name in places.items()}
        | {f"{place}.bias": t[name][-1] for place, name in places.items()}
        | {f"norm{i}.weight": t[f"g_{i}"] for i in "12"}
        | {f"norm{i}.bias": t[f"b_{i}"] for i in "12"}
    )
    Y, A = encoder_layer(X, **w, h=2)
    x = torch.tensor(X)[None]
    np.testing.assert_allclose(Y, layer(x)[0].detach(), atol=1e-12)
    expected = layer.self_attn(x, x, x, average_attn_weights=False)[1]
    np.testing.assert_allclose(A, expected[0].detach(), atol=1e-12)


def test_encoder_layer_takes_another_attention(rng):
    """Attention that gives nothing leaves X, the bias of W_O, and the feed-forward."""
    w = random_layer(rng, d_model=5, d_k=3, d_v=2, h=2, d_ff=7)
    X = rng.normal(size=(4, 5))
    Y, A = encoder_layer(X, **w, h=2, attend=lambda Q, K, V, h: (np.zeros_like(V), np.zeros((h, 4, 4))))
    Z = layer_norm(X + w["W_O"][-1], w["g_1"], w["b_1"])
    np.testing.assert_allclose(Y, layer_norm(Z + feed_forward(Z, w["W_1"], w["W_2"]), w["g_2"], w["b_2"]))
    assert not A.any()


def test_encoder_layer_wants_a_head(rng):
    """Another attention is not asked whether it could do without."""
    w = random_layer(rng, d_model=5, d_k=3, d_v=2, h=2, d_ff=7)
    with pytest.raises(ValueError, match=r"^h is 0; wanted a positive integer$"):
        encoder_layer(rng.normal(size=(4, 5)), **w, h=0, attend=lambda Q, K, V, h: (V, np.zeros((2, 4, 4))))


def test_encoder_layer_hands_an_integer_to_another_attention(rng):
    """Whatever h was: a reader's h · d_k must not wrap."""
    w, seen = random_layer(rng, d_model=5, d_k=3, d_v=2, h=2, d_ff=7), []

    def attend(Q, K, V, h):
        seen.append(type(h))
        return attend_by_head(Q, K, V, h)

    encoder_layer(rng.normal(size=(4, 5)), **w, h=np.int8(2), attend=attend)
    assert seen == [int]


def test_encoder_is_its_layer_again_and_again(rng):
    w = random_layer(rng, d_model=5, d_k=3, d_v=2, h=2, d_ff=7)
    E, W_E, ones, zeros = rng.normal(size=(4, 3)), rng.normal(size=(4, 5)), np.ones(3), np.zeros(3)
    X, A = encoder(E, ones, zeros, W_E, **w, h=2, depth=3)
    np.testing.assert_allclose(X[0], layer_norm(E, ones, zeros) @ W_E[:-1] + W_E[-1])
    for before, after, weights in zip(X[:-1], X[1:], A, strict=True):
        Y, of_layer = encoder_layer(before, **w, h=2)
        np.testing.assert_allclose(after, Y)
        np.testing.assert_allclose(weights, of_layer)


def test_token_scores_agree_with_torch(rng):
    X, T, W_M = rng.normal(size=(5, 7)), rng.normal(size=(11, 3)), rng.normal(size=(8, 3))
    g, b, b_T = rng.normal(size=3), rng.normal(size=3), rng.normal(size=11)
    x, t, w_m, g_m, b_m = map(torch.tensor, (X, T, W_M, g, b))
    hidden = F.layer_norm(F.gelu(F.linear(x, w_m[:-1].T, w_m[-1])), (3,), g_m, b_m, eps=1e-12)
    expected = F.linear(hidden, t, torch.tensor(b_T))
    np.testing.assert_allclose(token_scores(X, T, W_M, g, b, b_T), expected)


def test_trained_matches_reference(reading):
    """Claim: every state and every head's weights equal those of torch's own operations.

    In float64, on all reactions: 1e-10 is far above rounding (states reach 9, and 5e-14 was
    measured) and far below what any other formula could hide in.
    """
    model = reading.model
    for reaction in reading.reactions:
        E = model.embed(reaction.tokens)
        X, A = encoder(E, **model.encoder)
        states, weights = reference_forward(E, arrays(model), model.h, model.depth)
        assert X.shape == states.shape == (13, len(E), 256)
        assert A.shape == weights.shape == (12, 8, len(E), len(E))
        np.testing.assert_allclose(X, states, atol=1e-10, rtol=0)
        np.testing.assert_allclose(A, weights, atol=1e-10, rtol=0)


def test_trained_matches_reference_in_float32():
    """Twelve layers of rounding: at most twice the error of torch's float32, both against float64."""
    narrow, wide = rxnmapper.load(np.float32), rxnmapper.load(np.float64)
    errors = {"ours": [], "torch": []}
    for reaction in reactions.load()[:3]:
        E = narrow.embed(reaction.tokens)
        exact = reference_forward(wide.embed(reaction.tokens), arrays(wide), wide.h, wide.depth)
        runs = {"ours": encoder(E, **narrow.encoder), "torch": reference_forward(E, arrays(narrow), 8, 12)}
        for name, run in runs.items():
            assert all(array.dtype == np.float32 for array in run)
            errors[name].append([np.abs(a - b).max() for a, b in zip(run, exact, strict=True)])
    budget = 2 * np.max(errors["torch"], axis=0) + 4 * np.finfo(np.float32).eps
    assert (np.max(errors["ours"], axis=0) <= budget).all()


def test_trained_fills_masks(reading):
    """Claim: it guesses each atom of paracetamol, hidden in turn, from the rest of the reaction."""
    model = reading.model
    (paracetamol,) = [r for r in reading.reactions if r.name == "paracetamol"]
    for place in paracetamol.products:
        tokens = list(paracetamol.tokens)
        tokens[place] = "[MASK]"
        X, _ = encoder(model.embed(tokens), **model.encoder)
        p = softmax(token_scores(X[-1], model.T, **model.predictor)[place])
        assert p[model.vocabulary.index(paracetamol.tokens[place])] > 0.98


def test_trained_aligns_atoms(reading):
    """Claim: the head that its authors chose finds nine atoms in ten on reactions it was not
    chosen on; a blind guess among atoms of the element finds two, the nearest such atom is right for
    fewer than five, and no other head of the layer finds five."""
    right = reading.right()[reading.report]
    atoms = reading.atoms[reading.report].sum()
    assert right[:, LAYER, HEAD].sum() > 0.9 * atoms
    assert 0.2 < reading.blind[reading.report].sum() / atoms < 0.25
    assert sum(r.atoms_right(nearest(r)) for r in reading.reactions if r.part == "report") < 0.5 * atoms
    others = np.delete(right.sum(0)[LAYER], HEAD)
    assert others.max() < 0.5 * atoms


def test_trained_bugs_cost_atoms(reading):
    """Claim: without the scale the head finds less than one and a half times what a blind guess finds,
    split without the transpose less than half of it; softmax over the queries costs one atom in twelve."""
    right, scale, transpose, axis = (
        reading.right(attend)[:, LAYER, HEAD].sum()
        for attend in (attend_by_head, no_scale, no_transpose, over_queries)
    )
    guess = reading.blind.sum()
    assert scale < 1.5 * guess
    assert transpose < 0.5 * guess
    assert right > 4 * guess
    assert 1 / 14 < (right - axis) / right < 1 / 10


def test_trained_examples_miss_the_axis(reading):
    """Claim: on the two reactions of the model's README, softmax over the queries loses no atom,
    though weights move by almost 1; the other two bugs lose most."""
    both = reading.atoms[:2]
    np.testing.assert_array_equal(both, [11, 20])
    np.testing.assert_array_equal(reading.right()[:2, LAYER, HEAD], both)
    np.testing.assert_array_equal(reading.right(over_queries)[:2, LAYER, HEAD], both)
    assert reading.right(no_scale)[:2, LAYER, HEAD].sum() < 0.5 * both.sum()
    assert reading.right(no_transpose)[:2, LAYER, HEAD].sum() < 0.5 * both.sum()
    first = reading.reactions[0]
    E = reading.model.embed(first.tokens)
    (_, A), (_, wrong) = (
        encoder(E, **reading.model.encoder, attend=attend) for attend in (attend_by_head, over_queries)
    )
    assert np.abs(A - wrong).max() > 0.9


def test_trained_reading_ignores_scale(reading):
    """Claim: the scale of the layer that is read changes weights and no atom: argmax(s) = argmax(cs)."""
    model = reading.model
    for reaction in reading.reactions:
        X, A = encoder(model.embed(reaction.tokens), **model.encoder)
        _, unscaled = encoder_layer(X[LAYER], **model.layer, h=model.h, attend=no_scale)
        np.testing.assert_array_equal(reaction.points_at(unscaled), reaction.points_at(A[LAYER]))
        assert np.abs(unscaled - A[LAYER]).max() > 0.1


def test_trained_mistakes_that_cost_nothing():
    """Claim: nine mistakes find the same on every reaction and five find more; unit tests tell each."""
    price_list = prices.load()
    fine = price_list["attention"]["attention"]
    same, better = {}, {}
    for target, mutant in prices.priced():
        found = price_list[target][mutant.function.__name__]
        if mutant.function is not right(target):
            same |= {mutant.function: target} if found == fine else {}
            better |= {mutant.function: target} if sum(found) > sum(fine) else {}
    assert (len(same), len(better)) == (9, 5)
    for function, target in (same | better).items():
        assert killers(target, function), function.__name__
