"""The picture of cells, the five nets that find them, and what the rows of their training say."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from scipy import stats

from selfattention.trained import cell_picture, cell_runs, cells, paired
from selfattention.trained import rows as row_file

PICTURE = cells.load()
FOLDS = cells.folds(PICTURE)
DATA = cell_picture.DATA


# The picture ------------------------------------------------------------------------------------------


def test_the_pictures_hold_the_numbers_of_the_wheel():
    for picture, (_, _, sha256) in zip(cell_picture.load(), cell_picture.PICTURES.values(), strict=True):
        assert (picture.shape, picture.dtype) == ((512, 512), np.uint8)
        assert hashlib.sha256(picture.tobytes()).hexdigest() == sha256


def test_the_hashes_and_the_licence_stand_beside_them():
    said = (DATA / "cells-README.md").read_text("utf-8")
    for _, member, numbers in cell_picture.PICTURES.values():
        assert member in said
        assert numbers in said
    assert cell_picture.WHEEL_SHA256 in said
    assert "CC0" in said
    assert "BSD 3-Clause License" in said


def test_125_cells_and_what_the_readme_says_of_them():
    _, labels = cell_picture.load()
    numbers = np.unique(labels)[1:]
    assert (len(numbers), numbers.max()) == (125, 183)
    pieces = [_pieces(labels == number) for number in numbers]
    assert {int(n): p for n, p in zip(numbers, pieces, strict=True) if p > 1} == {129: 2}
    assert 0.19 < (labels > 0).mean() < 0.21


def _pieces(cell):
    from scipy.ndimage import label

    return label(cell)[1]


def test_another_wheel_is_refused_and_nothing_written(tmp_path):
    wheel = tmp_path / "stardist.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("stardist/data/images/img2d.tif", b"another")
    with pytest.raises(ValueError, match=r"the wheel came with SHA-256 [0-9a-f]{64}; wanted 2316c0f"):
        cell_picture.from_wheel(wheel)


def test_from_a_wheel_to_bytes(tmp_path, monkeypatch):
    """The way from TIFF to PNG, on a wheel made here; the true one is not fetched in a test."""
    from PIL import Image

    pictures = {"a.png": np.arange(12, dtype=np.uint16).reshape(3, 4), "b.png": np.eye(3, dtype=np.uint16)}
    wheel, pinned = tmp_path / "made.whl", {}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, picture in pictures.items():
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "TIFF")
            archive.writestr(f"{cell_picture.FOLDER}{name}.tif", file.getvalue())
            sha256 = hashlib.sha256(file.getvalue()).hexdigest()
            pinned[name] = (f"{name}.tif", sha256, cell_picture.numbers_sha256(picture))
    monkeypatch.setattr(cell_picture, "PICTURES", pinned)
    monkeypatch.setattr(cell_picture, "DATA", tmp_path)
    monkeypatch.setattr(cell_picture, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    cell_picture.main(wheel)
    for came, wanted in zip(cell_picture.load(), pictures.values(), strict=True):
        assert came.dtype == np.uint8
        assert np.array_equal(came, wanted)
    monkeypatch.setitem(pinned, "b.png", (*pinned["b.png"][:2], "0" * 64))
    with pytest.raises(ValueError, match=r"b\.png came with SHA-256 .*; wanted 0000"):
        cell_picture.from_wheel(wheel)


def test_what_does_not_fit_in_a_byte_is_refused():
    with pytest.raises(ValueError, match=r"picture holds 0 … 256; wanted 0 … 255"):
        cell_picture.numbers_sha256(np.array([[0, 256]]))


def test_the_light_runs_from_one_hundredth_to_ninety_nine():
    low, high = np.percentile(PICTURE.light, (1, 99))
    assert (low, high) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    assert PICTURE.light.dtype == torch.float32


# Two folds, and no cell in both sides -------------------------------------------------------------------


def test_no_cell_bridges_the_gap():
    for train, test in FOLDS:
        assert train.light.shape == (512, 288)
        assert test.light.shape == (512, 192)
        both = np.intersect1d(train.labels.numpy(), test.labels.numpy())
        assert both.tolist() == [0]


def test_the_folds_test_other_columns():
    (_, right), (_, left) = FOLDS
    assert torch.equal(right.light, PICTURE.light[:, 320:])
    assert torch.equal(left.light, PICTURE.light[:, :192])


def test_without_a_gap_cells_bridge():
    for train, test in cells.leaking_folds(PICTURE):
        assert train.light.shape == (512, 288)
        assert cells.bridging(train, test)
    with pytest.raises(ValueError, match=r"gap is 0: cells \[\d.*\] lie on both sides of fold 0"):
        cells.folds(PICTURE, gap=0)


def test_whoever_has_seen_all_has_seen_the_test():
    for (train, test), (_, fair) in zip(cells.seen_folds(PICTURE), FOLDS, strict=True):
        assert torch.equal(train.light, PICTURE.light)
        assert torch.equal(test.light, fair.light)


def test_tiles_are_the_picture():
    _, test = FOLDS[0]
    squares = cells.tiles(test.light)
    assert squares.shape == (24, 64, 64)
    assert torch.equal(squares[0], test.light[:64, :64])
    assert torch.equal(squares[4], test.light[64:128, 64:128])  # three to a row
    assert squares.sum() == pytest.approx(test.light.sum().item(), rel=1e-4)


# The nets -----------------------------------------------------------------------------------------------


@pytest.fixture(params=cells.FAMILIES)
def name(request):
    return request.param


def test_all_are_equally_large():
    sizes = {name: cells.parameters(cells.segmenter(name, 0)) for name in cells.FAMILIES}
    assert max(sizes.values()) <= 1.001 * min(sizes.values())
    assert max(sizes.values()) <= cells.BUDGET


def test_a_logit_for_every_pixel(name):
    net = cells.segmenter(name, 0)
    assert net(torch.randn(2, 64, 32)).shape == (2, 64, 32)
    assert cells.said(net, torch.randn(8, 16)).shape == (8, 16)
    assert cells.said(net, torch.randn(3, 8, 16)).shape == (3, 8, 16)


def test_a_picture_does_not_hear_of_its_neighbours(name):
    net, light = cells.segmenter(name, 0).eval(), torch.randn(3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(light)[:1], net(light[:1]), atol=1e-5, rtol=0)


def far_from(net):
    """How much a light in one corner changes the logits in the other, 120 pixels away."""
    dark = torch.zeros(1, 128, 128)
    lit = dark.clone()
    lit[0, :4, :4] = 1
    with torch.no_grad():
        return (net(lit) - net(dark))[0, -4:, -4:].abs().max().item()


def test_who_hears_from_far():
    """Plain and gates are local: 120 pixels away nothing arrives. Squeeze-excitation and CBAM are not."""
    assert far_from(cells.segmenter("plain", 0)) == 0
    assert far_from(cells.segmenter("gates", 0)) == 0
    assert far_from(cells.segmenter("squeeze-excitation", 0)) > 0
    assert far_from(cells.segmenter("CBAM", 0)) > 0


def test_non_local_starts_as_nothing_and_hears_once_it_has_learned():
    net = cells.segmenter("non-local", 0)
    F = torch.randn(1, cells.CHANNELS[-1], 4, 4)
    assert torch.equal(net.attention(F), F)
    assert far_from(net) == 0
    torch.nn.init.normal_(net.attention.W_O)
    assert far_from(net) > 0


def test_gates_start_near_one_half():
    """Sixteen draws: the mean of a fresh gate is within a tenth of ½, where nothing is known."""
    light = PICTURE.light[:64, :64][None]
    for name in "squeeze-excitation", "CBAM":
        with torch.no_grad():
            net = cells.segmenter(name, 0)
            F = torch.randn(16, cells.CHANNELS[0], 8, 8)
            s = net.down_1.attention.weights(F)
            s = torch.cat([each.flatten() for each in s]) if isinstance(s, tuple) else s
        assert abs(s.mean() - 0.5) < 0.1
    net, seen = cells.segmenter("gates", 0), []
    net.skip_2.register_forward_hook(lambda gate, given, _: seen.append(gate.weights(*given)))
    net(light)
    assert abs(seen[0].mean() - 0.5) < 0.2


def test_the_same_seed_gives_the_same_net_and_leaves_other_draws_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (cells.segmenter("plain", seed).down_1.first.weight for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


# Training -----------------------------------------------------------------------------------------------


def test_crops_are_the_same_for_the_same_seed_and_lie_in_the_part():
    train, _ = FOLDS[0]
    light, truth = cells.Crops(train, 3).batch()
    again, _ = cells.Crops(train, 3).batch()
    other, _ = cells.Crops(train, 4).batch()
    assert light.shape == truth.shape == (8, 64, 64)
    assert torch.equal(light, again)
    assert not torch.equal(light, other)
    assert set(truth.unique().tolist()) <= {0, 1}
    assert light.abs().max() <= 1.4 * train.light.abs().max()


def test_a_crop_is_turned_together_with_its_truth():
    """Where the light is the truth itself, it stays so, but for the gain."""
    train, _ = FOLDS[0]
    light, truth = cells.Crops(cells.Cells(train.truth.float(), train.labels), 0).batch()
    for one, of in zip(light, truth, strict=True):
        assert torch.equal((one > 0).float(), of)


def test_the_loss_by_pencil():
    """Two pixels, both ½ sure, one of them cell: ln 2 + 1 − (2 · ½ + 1) / (1 + 1 + 1)."""
    error = cells.loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
    assert error.item() == pytest.approx(np.log(2) + 1 - 2 / 3)


def test_a_trained_row_is_trained_again_bit_for_bit():
    """Twenty steps, twice, on this machine."""
    train, test = FOLDS[1]
    nets = [cells.train(cells.segmenter("CBAM", 2), train, 2, steps=20) for _ in range(2)]
    torch.testing.assert_close(*(net.state_dict() for net in nets), atol=0, rtol=0)
    assert np.array_equal(*(cells.in_tiles(net, test) for net in nets))


# What it is worth ---------------------------------------------------------------------------------------


def test_iou_and_dice_by_pencil():
    """Said 3, true 4, both 2: 2 / 5 and 4 / 7."""
    said = torch.tensor([[[True, True, True], [False, False, False]]])
    truth = torch.tensor([[[False, True, True], [True, True, False]]])
    counts = cells.counts(said, truth)
    assert counts.tolist() == [[2, 3, 4]]
    assert cells.iou(counts) == pytest.approx(2 / 5)
    assert cells.dice(counts) == pytest.approx(4 / 7)
    u = cells.iou(counts)
    assert cells.dice(counts) == pytest.approx(2 * u / (1 + u))
    assert paired.ious(counts) == pytest.approx(2 / 5)
    assert paired.dices(counts) == pytest.approx(4 / 7)


def test_pixels_are_added_up_before_they_are_divided():
    counts = np.array([[1, 1, 1], [0, 9, 0]])
    assert cells.iou(counts) == pytest.approx(1 / 10)  # not the mean of 1 and 0


def test_a_threshold_finds_the_cut():
    """Cells at 0.6 and more, and a speck at 0.3: the first cut between them is the best."""
    light = torch.tensor([[0.0, 0.3, 0.6, 0.9]]).repeat(64, 16)
    part = cells.Cells(light, (light > 0.5).to(torch.uint8))
    assert 0.3 <= cells.threshold(part) < 0.6
    assert cells.iou(cells.by_threshold(part, part)) == 1


def test_the_same_pixels_are_judged_in_tiles_and_in_one():
    net, test = cells.segmenter("plain", 0), FOLDS[0][1]
    assert cells.in_tiles(net, test)[:, 2].sum() == cells.in_one(net, test)[0, 2] == test.truth.sum()


# Pairs --------------------------------------------------------------------------------------------------


def test_students_interval_is_the_paired_t_test_of_scipy():
    source = np.random.default_rng(0)
    a, b = source.normal(size=(2, 8))
    theirs = stats.ttest_rel(a, b)
    assert paired.student(a - b) == pytest.approx((*theirs.confidence_interval(0.95),))
    assert paired.p_value(a - b) == pytest.approx(theirs.pvalue)


def test_student_by_pencil():
    """1, 2, 3: mean 2, deviation 1, and t with two degrees of freedom is 4.3027, in every table."""
    low, high = paired.student(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == (
        pytest.approx(2 - 4.3027 / np.sqrt(3), rel=1e-4),
        pytest.approx(2 + 4.3027 / np.sqrt(3), rel=1e-4),
    )


def test_bootstrap_by_pencil():
    """Two seeds, better by 0 and by 1: their mean is 0, ½ or 1, each end in a quarter of the draws."""
    right, wrong = [[9, 9, 9]], [[0, 9, 9]]
    a, b = np.array([[right, right]]), np.array([[right, wrong]])
    assert paired.differences(a, b).tolist() == [0, 1]
    assert paired.over_seeds_and_tiles(a, b) == (0, 1)


def two_nets():
    """Counts (2 folds, 3 seeds, 5 tiles, 3) of two nets that were drawn."""
    source = np.random.default_rng(1)
    truth = source.integers(50, 99, size=(2, 1, 5)).repeat(3, 1)
    both = [source.integers(20, 50, size=(2, 3, 5)) for _ in range(2)]
    return [np.stack([b, b + 10, truth], -1) for b in both]


def test_differences_pair_by_seed_and_average_the_folds():
    a, b = two_nets()
    wanted = [np.mean([cells.iou(a[f, s]) - cells.iou(b[f, s]) for f in range(2)]) for s in range(3)]
    assert paired.differences(a, b) == pytest.approx(wanted)


def test_bootstrap_over_seeds_and_tiles_is_the_loop():
    """The same by a loop over draws; the two agree as far as their chance goes."""
    a, b = two_nets()
    source, means = np.random.default_rng(3), []
    for _ in range(2000):
        seeds = source.integers(3, size=3)
        tiles = source.integers(5, size=(2, 5))
        gains = [cells.iou(a[f, s][tiles[f]]) - cells.iou(b[f, s][tiles[f]]) for s in seeds for f in range(2)]
        means.append(np.mean(gains))
    low, high = np.quantile(means, [0.025, 0.975])
    wide = high - low
    assert paired.over_seeds_and_tiles(a, b) == pytest.approx((low, high), abs=0.05 * wide)
    same = a.copy()
    assert paired.over_seeds_and_tiles(a, same) == (0, 0)


# What is written down -----------------------------------------------------------------------------------

ROWS = cell_runs.load()


def test_every_row_of_the_plan_is_there_and_no_other():
    """After a change here: remove data/cells.jsonl, and python -m selfattention.trained.cell_runs."""
    assert sorted(ROWS) == sorted(cell_runs.PLAN)
    assert len(cell_runs.SEEDS) >= 8


def test_a_row_holds_what_it_should():
    truth = [cells.tiles(test.truth).sum((1, 2)).tolist() for _, test in FOLDS]
    for (name, fold, _, _, steps), row in ROWS.items():
        assert row["parameters"] == cells.parameters(cells.segmenter(name, 0))
        assert [of for _, _, of in row["tiles"]] == truth[fold]
        assert row["one"][0][2] == sum(truth[fold])
        assert row["curve"][-1] == [steps, pytest.approx(cells.iou(row["tiles"]), abs=1e-4)]


def test_the_recorded_net_is_worth_what_its_row_says():
    """Its weights are in halves, and that costs a hundredth at most."""
    row = ROWS["plain", 0, 0, "gap", cells.STEPS]
    _, test = FOLDS[0]
    halves = cells.iou(cells.in_tiles(cells.trained(), test))
    assert halves == pytest.approx(cells.iou(row["tiles"]), abs=0.01)


def test_one_row_trained_again():
    """Another machine rounds otherwise, and training amplifies it: three deviations of the other seeds."""
    key = ("plain", 0, 0, "gap", cells.STEPS)
    torch.set_num_threads(1)
    again = cells.iou(cell_runs.row(*key)["tiles"])
    others = paired.ious(cell_runs.counts(ROWS, "plain"))[0]
    assert again == pytest.approx(cells.iou(ROWS[key]["tiles"]), abs=3 * others.std(ddof=1))


# A file of rows -----------------------------------------------------------------------------------------


def test_what_was_interrupted_goes_on(tmp_path):
    path, asked = tmp_path / "rows.jsonl", []

    def run(name, seed):
        if (name, seed) == ("b", 1) and len(asked) < 3:
            raise KeyboardInterrupt
        asked.append((name, seed))
        return {"value": seed + 1}

    plan = [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    with pytest.raises(KeyboardInterrupt):
        row_file.write(path, plan[:2] + plan[3:], run, "rows")
    assert [*row_file.read(path)] == plan[:2]
    row_file.write(path, plan, run, "rows")
    assert asked == plan
    assert row_file.read(path) == {key: {"value": key[1] + 1} for key in plan}
    row_file.write(path, plan, run, "rows")
    assert asked == plan  # nothing is done twice
