"""A colour means one role, for readers of any colour vision: how far apart the roles are."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from colours import VISIONS, ciede2000, lab
from matplotlib.colors import to_rgb
from night import night_colours, rgb

from selfattention.figures import SERIES

CSS = (Path(__file__).parents[1] / "book/_static/book.css").read_text(encoding="utf-8")
SELECTORS = {"light": ":root", "dark": 'html[data-theme="dark"]'}


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ([50, 2.6772, -79.7751], [50, 0, -82.7485], 2.0425),
        ([50, 2.5, 0], [50, 0, -2.5], 4.3065),
        ([50, 2.5, 0], [61, -5, 29], 22.8977),
        ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
        ([22.7233, 20.0904, -46.6940], [23.0331, 14.9730, -42.5619], 2.0373),
    ],
)
def test_the_difference_is_that_of_the_published_pairs(one, other, difference):
    """Table 1 of Sharma et al., pairs 1, 16, 18, 25 and 31."""
    assert ciede2000(one, other) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(other, one) == pytest.approx(difference, abs=5e-5)


def test_white_grey_and_black_look_the_same_to_everybody():
    greys = np.array([[1.0, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0]])
    for vision in VISIONS:
        np.testing.assert_allclose(lab(greys, vision), [[100, 0, 0], [53.39, 0, 0], [0, 0, 0]], atol=0.02)


def palette(theme, ending):
    """Role -> its colour in a theme; X and Y are one, the stream that all is read from and written to."""
    colours = {}
    for selector in (":root", SELECTORS[theme]):
        (block,) = re.findall(rf"^{re.escape(selector)} \{{(.*?)\}}", CSS, re.DOTALL | re.MULTILINE)
        colours |= dict(re.findall(rf"--role-([a-z]){ending}: (#\w{{6}});", block))
    assert colours.pop("y", None) == (None if ending else colours["x"])
    return colours


def nearest(colours, vision):
    """The least difference between two of the colours, and which they are."""
    seen = {role: lab(to_rgb(colour), vision) for role, colour in colours.items()}
    return min((ciede2000(seen[a], seen[b]), a, b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize(
    ("theme", "ending"), [("light", "-text"), ("light", ""), ("dark", "-text"), ("dark", "")]
)
def test_two_roles_are_told_apart(theme, ending, vision):
    """ΔE of at least 15: letters, and what is filled or drawn, in both themes."""
    colours = palette(theme, ending)
    assert sorted(colours) == (sorted("qkvao") if ending else sorted("xqkvsao"))
    assert nearest(colours, vision)[0] >= 15, nearest(colours, vision)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize(("theme", "apart"), [("light", 12), ("dark", 11)])
def test_what_has_no_role_has_no_colour_of_a_role(theme, apart, vision):
    """Programs, methods, layouts: ΔE of 15 between two of them, and nearly as much from every role."""
    at_night = night_colours()
    colours = {colour: rgb(colour) if theme == "light" else at_night[colour] for colour in SERIES}
    assert nearest(colours, vision)[0] >= 15
    roles = [lab(to_rgb(colour), vision) for colour in palette(theme, "").values()]
    series = [lab(to_rgb(colour), vision) for colour in colours.values()]
    assert min(ciede2000(one, role) for one in series for role in roles) >= apart
