"""Figures by night: paper becomes transparent, ink light, a role keeps its colour, letters stay legible."""

import os

import matplotlib.pyplot as plt
import numpy as np
import pytest
from night import at_night, draw, draw_both, names, night_colours, rgb
from PIL import Image

from selfattention.figures import ROLES, SERIES, matrix

PAGE = rgb("#121212")  # the dark theme's own
COLOURED = [*(colour for role, colour in ROLES.items() if role not in "XY"), *SERIES]


def on_the_page(turned):
    """The colours that a reader sees."""
    return PAGE + turned[..., 3:] * (turned[..., :3] - PAGE)


def flat(*colours):
    """What becomes of areas of these colours: (areas, 4)."""
    pixels = np.repeat(np.arange(len(colours)), 40)[None].repeat(40, 0)
    return at_night(np.array(colours, float), pixels)[20, 20::40]


def brightness(colour):
    """The relative luminance of WCAG 2.2."""
    colour = np.asarray(colour, float)
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    high, low = sorted((brightness(a), brightness(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_paper_is_transparent_and_black_is_light():
    paper, black = flat([1, 1, 1], [0, 0, 0])
    assert paper[3] == 0
    assert black[3] == 1
    assert contrast(black[:3], PAGE) > 10


@pytest.mark.parametrize("colour", COLOURED)
def test_what_has_a_meaning_has_its_colour_and_a_tint_its_share(colour):
    day, wanted = rgb(colour), night_colours()[colour]
    whole, half = flat(day, 1 - (1 - day) / 2)
    np.testing.assert_allclose(whole, [*wanted, 1], atol=0.02)
    np.testing.assert_allclose(half, [*wanted, 0.5], atol=0.02)
    assert contrast(on_the_page(whole), PAGE) > 3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A drawing of weights, its night, both as files, and both as pixels."""
    folder = tmp_path_factory.mktemp("night")
    day, night = folder / "drawn.png", folder / "drawn-night.webp"
    fig, axes = plt.subplots(1, 2, figsize=(4, 2), dpi=240)
    matrix(axes[0], np.array([[1.0, 0.1], [0.0, 0.6]]), "A", title="weights")
    axes[0].axvspan(-0.45, 0.9, ymax=-0.05, ymin=-0.12, color="#f0f0f0", linewidth=0, clip_on=False)
    axes[1].imshow(np.random.default_rng(0).random((8, 8)), cmap="gray", vmin=0, vmax=1.1)
    axes[1].axis("off")
    fig.savefig(day, facecolor="white")
    plt.close(fig)
    draw(day, night, photographed=True)
    return day, night, np.asarray(Image.open(day).convert("RGB")) / 255


def cell_and_letters(pixels, i, j):
    """The commonest colour of a cell of the matrix, and the one that its number has."""
    high, wide = pixels.shape[:2]
    top, left = [(0.165, 0.525), (0.09, 0.29)]
    part = pixels[int(high * top[i]) :, int(wide * left[j]) :][: high // 4, : wide // 7]
    colours, counts = np.unique(part.reshape(-1, 3).round(3), axis=0, return_counts=True)
    around = colours[counts.argmax()]
    apart = [contrast(colour, around) * (count > 20) for colour, count in zip(colours, counts, strict=True)]
    return around, max(apart)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_numbers_in_cells_are_legible(drawn, i, j):
    turned = np.asarray(Image.open(drawn[1]).convert("RGBA")) / 255
    _, apart = cell_and_letters(on_the_page(turned), i, j)
    assert apart > 4.5


def test_paper_is_nothing_and_a_faint_band_is_something(drawn):
    _, night, pixels = drawn
    turned = np.asarray(Image.open(night).convert("RGBA")) / 255
    white, band = (np.abs(pixels - level).max(-1) < 0.002 for level in (1, 0xF0 / 255))
    assert min(white.sum(), band.sum()) > 500
    assert turned[white, 3].max() == 0
    assert turned[band, 3].min() > 0.03


def test_photographs_stay_what_they_are(drawn):
    day, night, pixels = drawn
    turned = np.asarray(Image.open(night).convert("RGBA")) / 255
    high, wide = pixels.shape[:2]
    middle = np.s_[high * 2 // 5 : high * 3 // 5, wide * 7 // 10 : wide * 4 // 5]
    np.testing.assert_allclose(on_the_page(turned)[middle], pixels[middle], atol=0.06)  # in 256 colours
    other = night.with_name("ink.webp")
    draw(day, other, photographed=False)
    inked = np.asarray(Image.open(other).convert("RGBA")) / 255
    assert np.abs(on_the_page(inked)[middle] - pixels[middle]).max() > 0.3


def test_by_day_not_a_pixel_is_another(drawn):
    day, _, pixels = drawn
    png = day.with_name("copy.png")
    png.write_bytes(day.read_bytes())
    draw_both(png, photographed=True)
    packed, night = (png.with_name(name) for name in names(png))
    np.testing.assert_array_equal(np.asarray(Image.open(packed).convert("RGB")) / 255, pixels)
    assert packed.stat().st_size < png.stat().st_size
    assert np.asarray(Image.open(night).convert("RGBA"))[..., 3].min() == 0


def test_what_is_newer_than_the_notebook_s_picture_is_kept(drawn):
    png = drawn[0].with_name("kept.png")
    png.write_bytes(drawn[0].read_bytes())
    beside = [png.with_name(name) for name in names(png)]
    for path in beside:
        path.write_bytes(b"kept")
    draw_both(png, photographed=False)
    assert {path.read_bytes() for path in beside} == {b"kept"}
    os.utime(beside[1], (0, 0))
    draw_both(png, photographed=False)
    assert b"kept" not in {path.read_bytes() for path in beside}
