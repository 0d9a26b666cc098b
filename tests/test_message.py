"""The task in which a message must travel: its pictures, its nets, and who heard."""

import numpy as np
import pytest
import torch

from selfattention.trained import cells, message, message_runs

LIGHT, WANTED = message.Pictures(5).batch(40)


# The pictures -----------------------------------------------------------------------------------------


def cells_of(light):
    """[(top, left, colour, marked)] of the cells of one picture (3, side, side), found by their light."""
    found = []
    for top in range(0, light.shape[1], message.PLACE):
        for left in range(0, light.shape[2], message.PLACE):
            place = light[:, top : top + message.PLACE, left : left + message.PLACE]
            bright = (place > 0.5).flatten(1)
            marked = bool((place > 1.7).all(0).any())
            if bright.any():
                found.append((top, left, int(bright.sum(1).argmax()), marked))
    return found


def test_what_is_wanted_has_the_colour_of_the_marked_cell():
    for light, wanted in zip(LIGHT, WANTED, strict=True):
        found = cells_of(light)
        assert len(found) == 16
        (colour,) = [colour for _, _, colour, marked in found if marked]
        for top, left, own, _ in found:
            there = wanted[top : top + message.PLACE, left : left + message.PLACE].sum()
            assert there == (message.CELL**2 if own == colour else 0)
        of_the_colour = sum(own == colour for _, _, own, _ in found)
        assert wanted.sum() == message.CELL**2 * of_the_colour


def test_the_pixels_of_a_cell_are_bright_in_its_colour_alone():
    light, wanted = LIGHT[0], WANTED[0] > 0
    (marked,) = [(top, left, colour) for top, left, colour, mark in cells_of(light) if mark]
    inside = light[:, wanted].numpy()
    plain = inside[:, ~(inside > 1.7).all(0)]
    assert plain[marked[2]].mean() == pytest.approx(1, abs=0.1)
    assert np.delete(plain, marked[2], 0).mean() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("places", "side", "filled"), [(2, 8, 2), (4, 16, 7), (6, 24, 16)])
def test_smaller_pictures_are_as_full(places, side, filled):
    light, wanted = message.Pictures(0).batch(8, places=places)
    assert light.shape == (8, 3, side, side)
    assert wanted.shape == (8, side, side)
    assert [len(cells_of(picture)) for picture in light] == [filled] * 8


def test_one_point_is_marked_and_the_brightest():
    light, _ = message.Pictures(0).batch(4)
    assert ((light == message.MARK).all(1).sum((1, 2)) == 1).all()
    assert (light.flatten(1).median(1).values.abs() < 0.1).all()


def test_the_same_seed_gives_the_same_pictures():
    again, other = message.Pictures(5).batch(40)[0], message.Pictures(6).batch(40)[0]
    assert torch.equal(LIGHT, again)
    assert not torch.equal(LIGHT, other)


def test_every_cell_is_one_in_three_and_the_marked_one():
    """(1 + 15 / 3) / 16 of the cells are wanted, on average over many pictures."""
    _, wanted = message.Pictures(0).batch(4000)
    assert message.every_cell(wanted) == pytest.approx(6 / 16, abs=0.005)


def test_every_cell_is_what_a_net_gets_that_knows_no_more():
    """A net that says "one in three" of every cell: nothing at ½, and all cells at its best cut."""
    cell = (LIGHT > 0.5).any(1)
    logits = torch.where(cell, np.log(1 / 2), -9.0)
    half, best = message.ious(lambda light: logits, LIGHT, WANTED)
    assert half == 0
    assert best == pytest.approx(message.every_cell(WANTED), abs=0.02)


def test_who_knows_has_one_at_any_cut():
    assert message.ious(lambda light: 20 * WANTED - 10, LIGHT, WANTED) == (1, 1)


# The nets ---------------------------------------------------------------------------------------------


@pytest.fixture(params=message.FAMILIES)
def name(request):
    return request.param


def test_all_are_equally_large():
    sizes = {name: cells.parameters(message.messenger(name, 0)) for name in message.FAMILIES}
    assert max(sizes.values()) <= 1.001 * min(sizes.values())
    assert max(sizes.values()) <= message.BUDGET


def test_a_logit_for_every_pixel_and_none_from_a_neighbour_in_the_batch(name):
    net = message.messenger(name, 0).eval()
    with torch.no_grad():
        logits = net(LIGHT)
        assert logits.shape == WANTED.shape
        torch.testing.assert_close(logits[:1], net(LIGHT[:1]), atol=1e-4, rtol=0)


def heard(net):
    """How much a mark in the upper left place changes the logits of the lower right one."""
    marked = LIGHT[:1].clone()
    marked[:, :, 1, 1] += message.MARK
    with torch.no_grad():
        change = net(marked) - net(LIGHT[:1])
    return change[0, -message.PLACE :, -message.PLACE :].abs().max().item()


def woken(name):
    """A net whose layer is not the identity any more, as it is after some steps."""
    net = message.messenger(name, 0)
    if name == "non-local":
        torch.nn.init.normal_(net.layer.W_O)
    return net


def test_who_can_hear_from_the_other_corner():
    """By what they are, not by how they were trained. Five places are too far for steps of 1 and of 3."""
    can = {name for name in message.FAMILIES if heard(woken(name)) > 0}
    assert can == {"norm", "squeeze-excitation", "CBAM", "non-local"}


def test_non_local_starts_as_nothing():
    net = message.messenger("non-local", 0)
    F = torch.randn(2, message.CHANNELS, 6, 6)
    assert torch.equal(net.layer(F), F)
    assert heard(net) == 0


def test_dilated_hears_from_four_places_away():
    net = message.messenger("dilated", 0)
    F = torch.zeros(1, message.CHANNELS, 9, 9)
    lit = F.clone()
    lit[..., 4, 4] = 1
    with torch.no_grad():
        reached = (net.layer(lit) != net.layer(F)).any(1)[0].nonzero()
    assert (reached - 4).abs().max() == 4


def test_the_gate_asks_the_level_below():
    F = torch.randn(1, message.CHANNELS, 4, 4)
    layer = message.Gate(message.CHANNELS)
    below = torch.nn.functional.avg_pool2d(F, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(layer(F), layer.weights(F, below) * F)


# Training ---------------------------------------------------------------------------------------------


def test_lessons_say_how_many_places_a_step_has():
    steps, small = (0, 299, 300, 599, 600, 5000), message.LESSONS["small first"]
    assert [message.places_at(step, small) for step in steps] == [2, 2, 4, 4, 6, 6]
    assert {message.places_at(step, message.LESSONS["as it is"]) for step in steps} == {6}


def test_the_same_row_is_trained_again_bit_for_bit():
    nets = [message.messenger("CBAM", 1) for _ in range(2)]
    curves = [message.train(net, 1, message.LESSONS["small first"], steps=60) for net in nets]
    assert curves[0] == curves[1]
    assert [step for step, _, _ in curves[0]] == [50]
    torch.testing.assert_close(*(net.state_dict() for net in nets), atol=0, rtol=0)


def test_training_ends_when_it_is_solved(monkeypatch):
    monkeypatch.setattr(message, "SOLVED", 0.0)
    curve = message.train(message.messenger("nothing", 0), 0, message.LESSONS["small first"], steps=200)
    assert len(curve) == 1


# What is written down ---------------------------------------------------------------------------------

ROWS = message_runs.load()


def test_every_row_of_the_plan_is_there_and_no_other():
    """After a change here: remove data/message.jsonl, and python -m selfattention.trained.message_runs."""
    assert sorted(ROWS) == sorted(message_runs.PLAN)
    assert len(message_runs.SEEDS) >= 3


def test_a_row_holds_what_it_should():
    for (name, *_), row in ROWS.items():
        assert row["parameters"] == cells.parameters(message.messenger(name, 0))
        assert row["half"] <= row["best"]
        last = row["curve"][-1]
        assert last[0] == message.STEPS or last[1] >= message.SOLVED
        assert row["half"] == pytest.approx(last[1], abs=0.05)  # other pictures of the same kind


def test_who_cannot_hear_stays_at_every_cell():
    _, wanted = message.Pictures(message.FRESH).batch(1000)
    floor = message.every_cell(wanted)
    for (name, *_), row in ROWS.items():
        if name in ("nothing", "attention gate"):
            assert row["best"] == pytest.approx(floor, abs=0.02)


def test_non_local_is_the_one_that_always_hears():
    always = {
        name
        for name in message.FAMILIES
        if all(ROWS[name, "small first", seed]["half"] > 0.95 for seed in message_runs.seeds(name))
    }
    assert always == {"non-local"}


def test_one_row_trained_again():
    """Another machine rounds otherwise, and the step of the jump moves; that it comes does not."""
    torch.set_num_threads(1)
    key = ("non-local", "small first", 1)
    row = message_runs.row(*key)
    assert row["half"] > 0.95
    assert row["parameters"] == ROWS[key]["parameters"]
