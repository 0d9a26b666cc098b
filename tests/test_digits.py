"""The net that reads digits, its variants, the deletion of patches; the files hold what they give."""

import json

import deletion_by_hand
import numpy as np
import pytest
import torch

from selfattention import formulas
from selfattention.modules import MultiHeadAttention
from selfattention.trained import deletion, digit_runs, digits

TRAIN, TEST = digits.load()
NET = digits.trained()
SOME = TEST[:20]


def logits(net, pictures=SOME.pictures):
    with torch.no_grad():
        return net(pictures)


# The pictures -----------------------------------------------------------------------------------------


def test_the_split_is_a_split():
    assert (len(TRAIN), len(TEST)) == (1297, 500)
    both = torch.cat([TRAIN.pictures, TEST.pictures])
    assert both.shape == (1797, 8, 8)
    assert (both.dtype, both.min(), both.max()) == (torch.float32, 0, 1)
    assert both.flatten(1).unique(dim=0).shape == (1797, 64)  # no picture stands on both sides
    assert sorted(set(TEST.labels.tolist())) == [*range(10)]


def test_shuffled_moves_patches_and_keeps_what_is_in_them():
    moved = digits.shuffled(SOME, 1)
    rows = [formulas.patches(d.pictures[:, None].numpy(), 2) for d in (SOME, moved)]
    assert not np.array_equal(*rows)
    for before, after in zip(*rows, strict=True):
        assert sorted(before.tolist()) == sorted(after.tolist())


# The net ----------------------------------------------------------------------------------------------


def test_its_attention_is_the_layer_of_chapter_08_forward_and_backward():
    torch.manual_seed(0)
    ours, layer = digits.Attention(12, 3).double(), MultiHeadAttention(12, 3).double()
    layer.load_state_dict(ours.state_dict())
    X = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    mask = (torch.arange(5) < 4).expand(2, 1, 1, 5)
    Y, wanted = ours(X, mask=mask), layer(X, mask=mask)
    torch.testing.assert_close(Y, wanted)
    slopes = [torch.autograd.grad(out.square().sum(), [X, *net.parameters()]) for out, net in
              ((Y, ours), (wanted, layer))]  # fmt: skip
    torch.testing.assert_close(*slopes)


def test_a_batch_is_its_pictures_one_by_one():
    one_by_one = torch.cat([logits(NET, picture[None]) for picture in SOME.pictures])
    torch.testing.assert_close(logits(NET), one_by_one, atol=1e-4, rtol=0)


def test_its_weights_are_what_rollout_takes():
    A = NET.weights(SOME.pictures).detach()
    assert A.shape == (20, 2, 4, 17, 17)
    R = formulas.rollout(A.numpy())
    np.testing.assert_allclose(R.sum(-1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_net_and_leaves_other_draws_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = digits.reader(0), digits.averaging_reader(0), digits.reader(1)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first.tokens.P, second.tokens.P)
    assert not torch.equal(first.tokens.P, other.tokens.P)


# What is taken from it --------------------------------------------------------------------------------


def test_uniform_attention_is_uniform():
    A = digits.uniform(NET).weights(SOME.pictures)
    torch.testing.assert_close(A, torch.full_like(A, 1 / 17))
    second = digits.uniform(NET, [1]).weights(SOME.pictures)
    assert torch.equal(second[:, 0], NET.weights(SOME.pictures)[:, 0])
    torch.testing.assert_close(second[:, 1], A[:, 1])


def test_a_silent_class_token_knows_no_picture():
    assert torch.equal(*logits(digits.silent(NET), TEST.pictures[:2]))
    assert not torch.equal(*logits(digits.silent(NET, [0]), TEST.pictures[:2]))


def test_a_placeless_net_is_blind_to_the_order_of_patches():
    net = digits.placeless(NET)
    torch.testing.assert_close(logits(net), logits(net, digits.shuffled(SOME, 0).pictures), atol=1e-4, rtol=0)
    assert (logits(NET) - logits(NET, digits.shuffled(SOME, 0).pictures)).abs().max() > 1


@pytest.mark.parametrize("change", [digits.uniform, digits.silent, digits.placeless, digits.one_position])
def test_what_is_taken_is_taken_from_a_copy(change):
    before = {name: W.clone() for name, W in NET.state_dict().items()}
    copy = change(NET)
    assert digits.parameters(copy) < digits.parameters(NET)
    torch.testing.assert_close(NET.state_dict(), before, atol=0, rtol=0)


def test_what_is_held_at_zero_stays_there():
    net = digits.train(digits.uniform(digits.placeless(digits.reader(0))), TRAIN[:64], 0, epochs=2)
    for block in net.blocks:
        assert not block.attention.W_Q.any()
        assert not block.attention.b_Q.any()
        assert block.attention.W_K.any()
    assert not net.tokens.P.any()


def test_over_the_batch_is_torchs_layer_without_batch_first():
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(12, 3)  # batch_first=False, as it is unless asked
    X = torch.randn(4, 5, 12)  # meant as (batch, n, d_model)
    ours = digits.OverTheBatch(MultiHeadAttention.from_torch(theirs))
    wanted, weights = theirs(X, X, X, average_attn_weights=False)
    torch.testing.assert_close(ours(X), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.weights(X), weights, atol=1e-5, rtol=0)


def test_over_the_batch_a_class_token_meets_class_tokens_only():
    """Whatever the pictures, whatever the weights: the logits are those of an empty page."""
    net = digits.over_the_batch(NET)
    torch.testing.assert_close(logits(net), logits(net, torch.zeros(20, 8, 8)), atol=1e-5, rtol=0)


def test_over_the_batch_a_mean_reads_its_neighbours():
    net = digits.over_the_batch(digits.averaging_reader(0))
    assert (logits(net)[:1] - logits(net, SOME.pictures[:1])).abs().max() > 1e-2


# Deletion ---------------------------------------------------------------------------------------------


def test_dropping_is_masking_and_blanking_is_whitening():
    gone = torch.tensor([[0, 5], [15, 3], [7, 8]])
    pictures = TEST.pictures[:3]
    seen, blank = deletion_by_hand.visible(gone), deletion_by_hand.blank(pictures, gone)
    torch.testing.assert_close(deletion.dropped(NET, pictures, gone), logits_where(pictures, seen))
    torch.testing.assert_close(deletion.blanked(NET, pictures, gone), logits(NET, blank))


def logits_where(pictures, seen):
    """The net without the tokens that nobody may see: they are not there at all."""
    answers = []
    with torch.no_grad():
        for picture, row in zip(pictures, seen, strict=True):
            X = NET.tokens(picture[None, None])[:, row]
            for block in NET.blocks:
                X = block(X)
            answers.append(NET.head(NET.norm(X[:, 0])))
    return torch.cat(answers)


@pytest.mark.parametrize("delete", deletion.WAYS.values(), ids=deletion.WAYS)
def test_deleting_nothing_changes_nothing_and_everything_everything(delete):
    none, every = torch.zeros(20, 0, dtype=torch.int64), torch.arange(16).expand(20, -1)
    torch.testing.assert_close(delete(NET, SOME.pictures, none), logits(NET), atol=1e-5, rtol=0)
    emptied = delete(NET, SOME.pictures, every)
    torch.testing.assert_close(emptied, emptied[:1].expand_as(emptied), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (torch.tensor([[16]] * 20), r"gone holds 16 … 16; wanted numbers of patches, 0 … 15"),
        (torch.tensor([[-1]] * 20), r"gone holds -1 … -1; wanted"),
        (torch.zeros(3, 1, dtype=torch.int64), r"gone has shape \(3, 1\), .*; wanted int64 \(20, k\)"),
        (torch.zeros(20, 1), r"gone has shape \(20, 1\), torch.float32; wanted int64"),
    ],
)
def test_patches_that_are_not_there(gone, said):
    for delete in deletion.WAYS.values():
        with pytest.raises(ValueError, match=said):
            delete(NET, SOME.pictures, gone)


def test_ink_and_gradients():
    rows = formulas.patches(SOME.pictures[:, None].numpy(), 2)
    np.testing.assert_allclose(deletion.ink(SOME.pictures), rows.sum(-1), rtol=1e-6)
    slope, pictures = deletion.gradients(NET, SOME.pictures), SOME.pictures.clone()
    best = logits(NET).argmax(1)
    step = 1e-2
    pictures[:, 3, 4] += step
    with torch.no_grad():
        rise = NET(pictures) - NET(SOME.pictures)
    np.testing.assert_allclose(
        rise[range(20), best] / step, slope[:, 3, 4], atol=0.05 * float(slope.abs().max())
    )


def test_left_out_is_the_probability_lost():
    lost = deletion.left_out(NET, SOME.pictures, deletion.blanked)
    p, without = (
        logits(NET).softmax(1),
        deletion.blanked(NET, SOME.pictures, torch.full((20, 1), 6)).softmax(1),
    )
    best = p.argmax(1)
    torch.testing.assert_close(lost[:, 6], (p - without)[range(20), best], atol=1e-6, rtol=0)


def test_agreement_is_spearmans():
    a, b = torch.arange(16.0)[None], torch.arange(16.0)[None] ** 3
    assert deletion.agreement(a, b) == pytest.approx(1)
    assert deletion.agreement(a, -b) == pytest.approx(-1)
    swapped = torch.tensor([[1.0, 0, *range(2, 16)]])
    assert deletion.agreement(a, swapped) == pytest.approx(1 - 6 * 2 / (16 * 255))  # 1 − 6 Σd² / n(n² − 1)


def test_interval_is_students():
    """Three numbers: mean 2, deviation 1; t with two degrees of freedom is 4.3027, in every table."""
    mean, half = deletion.interval([[1.0], [2.0], [3.0]])
    assert mean == [2]
    assert half == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    with pytest.raises(ValueError, match="values has 1 rows; wanted two or more"):
        deletion.interval([[1.0]])


# What is written down ---------------------------------------------------------------------------------

RECORDED = digit_runs.load()
ROWS = {(row["net"], row["seed"]): row for row in RECORDED["rows"]}


def test_every_seed_has_every_row():
    """After a change here: python -m selfattention.trained.digit_runs."""
    names = [*digit_runs.FROM_THE_START, *digit_runs.AFTERWARDS, *digit_runs.SHUFFLED]
    wanted = [(name, seed) for seed in digit_runs.SEEDS for name in names]
    assert [*ROWS] == [("logistic regression", None), *wanted]
    curves = [(row["seed"], row["how"]) for row in RECORDED["deletion"]]
    assert curves == [(s, how) for s in digit_runs.SEEDS for how in deletion.WAYS for _ in range(9)]
    assert (RECORDED["command"], RECORDED["epochs"]) == (digit_runs.COMMAND, digits.EPOCHS)
    assert RECORDED["gone"] == [*deletion.GONE]


def test_the_logistic_regression_is_what_scikit_learn_gives():
    row = digit_runs.logistic_row(TRAIN, TEST)
    assert row["parameters"] == 650
    kept = ROWS["logistic regression", None]
    assert row["accuracy"] == pytest.approx(kept["accuracy"], abs=0.005)
    assert row["loss"] == pytest.approx(kept["loss"], abs=0.005)


def test_the_kept_weights_give_the_rows_of_their_seed():
    changes = {"as trained": lambda net: net, **digit_runs.AFTERWARDS}
    for name, change in changes.items():
        row, kept = digit_runs.row(name, 0, change(NET), TEST), ROWS[name, 0]
        assert row["parameters"] == kept["parameters"]
        for share in ("accuracy", "alone"):
            assert row[share] == pytest.approx(kept[share], abs=0.005)  # two pictures of 500
        assert row["loss"] == pytest.approx(kept["loss"], abs=0.005)


def test_the_kept_weights_give_their_deletion_curves():
    kept = {(row["how"], row["order"]): row for row in RECORDED["deletion"] if row["seed"] == 0}
    for row in digit_runs.deletions(0, NET, TEST):
        wanted = kept[row["how"], row["order"]]
        np.testing.assert_allclose(row["accuracy"], wanted["accuracy"], atol=0.015)
        assert row["agreement"] == pytest.approx(wanted["agreement"], abs=0.02)


def test_one_row_trained_again():
    """Another machine rounds otherwise, and training amplifies it: three standard errors, 500 pictures."""
    row = digit_runs.row("as trained", 0, digit_runs.trained("as trained", 0, TRAIN), TEST)
    kept = ROWS["as trained", 0]
    p = kept["accuracy"]
    assert row["accuracy"] == pytest.approx(p, abs=3 * np.sqrt(p * (1 - p) / len(TEST)))
    assert row["parameters"] == kept["parameters"]


def test_the_maps_are_those_of_the_kept_weights():
    maps = digit_runs.maps()["pictures"]
    again = digit_runs.attention_maps(NET, digit_runs.one_of_each(TEST))
    assert [each["label"] for each in maps] == [*range(10)]
    for kept, new in zip(maps, again, strict=True):
        assert kept["pixels"] == new["pixels"]
        assert kept["says"] == new["says"]
        assert np.shape(kept["A"]) == (2, 17, 17)
        assert np.abs(np.sum(kept["A"], -1) - 1000).max() <= 9  # seventeen roundings
        for name in ("p", "A", "drop", "blank"):
            np.testing.assert_allclose(kept[name], new[name], atol=2, rtol=0)


def test_the_maps_are_small_enough_for_a_page():
    assert len(json.dumps(digit_runs.maps())) <= 150_000
    assert (digit_runs.DATA / "digit_maps.json").stat().st_size <= 150_000
