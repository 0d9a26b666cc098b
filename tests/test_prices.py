"""What a mistake costs the trained model: the file holds what the model gives."""

import numpy as np
import pytest

from selfattention import formulas
from selfattention.formulas import encoder, split_heads
from selfattention.mutants import prices
from selfattention.mutants.prices import HEAD, LAYER, Affine, arrivals, matrices, priced
from selfattention.trained import reactions, rxnmapper

MODEL, CASES = rxnmapper.load(np.float64), reactions.load()
FEW = [3, 4]  # the shortest: 15 and 19 tokens


def test_every_mistake_has_its_price_and_no_price_is_left_over():
    """After a change to the mutants: make prices."""
    wanted = [(target, mutant.function.__name__) for target, mutant in priced()]
    assert wanted == [(target, name) for target, row in prices.load().items() for name in row]


@pytest.mark.parametrize(
    ("turn", "target", "mutant"),
    [(turn, *pair) for turn, pair in enumerate(priced())],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_price_is_what_the_model_gives(turn, target, mutant):
    """On the shortest reactions, and on one more, each in its turn; `make prices` counts them all."""
    some = [*FEW, turn % len(CASES)]
    counted = prices.price(MODEL, [CASES[i] for i in some], target, mutant.function)
    row = prices.load()[target][mutant.function.__name__]
    assert counted == [row[i] for i in some]


def test_the_right_functions_all_find_what_the_chapter_finds():
    """And on the way no score comes near 709, where the naive exponential would be found out."""
    found, scores = [], []

    def listening(Q, K, V, h):
        S = formulas.scaled_scores(split_heads(Q, h), split_heads(K, h))
        scores.append((S.max(), S.max(-1).min()))
        return formulas.attend_by_head(Q, K, V, h)

    for case in CASES:
        _, A = encoder(MODEL.embed(case.tokens), **MODEL.encoder, attend=listening)
        found.append(case.atoms_right(case.points_at(A[LAYER, HEAD])))
    for target, row in prices.load().items():
        assert row[target] == found, target
    highest, lowest_maximum = np.array(scores).T
    assert 30 < highest.max() < 50
    assert lowest_maximum.min() > -1  # so a hidden key at −10 keeps next to nothing


def test_read_gives_the_weights_of_the_right_function():
    tokens = CASES[3].tokens
    _, A = encoder(MODEL.embed(tokens), **MODEL.encoder)
    read = prices.read(MODEL, tokens, formulas.multi_head_attention)
    np.testing.assert_allclose(read, A[LAYER, HEAD], atol=1e-12)


def test_padding_that_nobody_may_see_changes_nothing():
    case = CASES[3]
    masked = prices.with_masked_attention(formulas.masked_attention)
    padded = prices.read(MODEL, case.tokens + ("[PAD]",) * prices.PADDING, masked)
    n = len(case.tokens)
    plain = prices.read(MODEL, case.tokens, formulas.multi_head_attention)
    np.testing.assert_allclose(padded[:n, :n], plain, atol=1e-12)
    assert (padded[:, n:] == 0).all()


def test_arrivals_are_the_weights_of_each_head(rng):
    X, h = rng.normal(size=(1, 5, 6)), 3
    W_Q, W_K = (Affine(rng.normal(size=(6, 6)), rng.normal(size=6)) for _ in "QK")
    Q, K = (split_heads(X @ W, h) for W in (W_Q, W_K))
    expected = formulas.softmax(formulas.scaled_scores(Q, K))
    found = arrivals(formulas.multi_head_attention, X, W_Q, W_K, h)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_matrix_keeps_its_bias_when_it_is_turned_or_cut(rng):
    W, b, X = rng.normal(size=(6, 6)), rng.normal(size=6), rng.normal(size=(5, 6))
    affine = Affine(W, b)
    np.testing.assert_allclose(X @ affine, X @ W + b)
    np.testing.assert_allclose(X @ affine.swapaxes(-1, -2), X @ W.T + b)
    blocks = affine.reshape(3, 2, 3, 2)[np.arange(3), :, np.arange(3)]
    np.testing.assert_allclose(
        split_heads(X, 3) @ blocks, split_heads(X, 3) @ np.asarray(blocks) + b.reshape(3, 1, 2)
    )
    assert type(X @ affine) is np.ndarray


def test_matrices_are_those_of_the_layer():
    X = np.random.default_rng(0).normal(size=(5, 256))
    for W, name in zip(matrices(MODEL), ("W_Q", "W_K", "W_V", "W_O"), strict=True):
        np.testing.assert_allclose(X @ W, formulas.append_ones(X) @ MODEL.layer[name])


def test_a_model_that_refuses_to_run_says_why():
    def transposed(X, *rest):
        return X.swapaxes(-1, -2)

    assert "broadcast" in prices.price(MODEL, CASES[3:4], "multi_head_attention", transposed)
