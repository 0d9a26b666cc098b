"""The committed pictures are the ones that the notebooks draw: run again, compare pixels."""

import base64
import io

import language
import nbformat
import numpy as np
import pytest
from execute import chapters, executed
from matplotlib.image import imread

# A digit that changes in a drawing alters dozens of pixels; another machine's last bit of a
# float32 sum, the antialiasing of a few. One pixel in a thousand lies between the two.
VISIBLE = 0.1
SHARE_OF_PIXELS = 1e-3


def pictures(notebook):
    """Cell id and pixels of every picture in a notebook."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield cell.id, imread(io.BytesIO(base64.b64decode(output.data["image/png"])))


def differing(a, b):
    """The share of pixels in which two pictures visibly differ; 1 where their sizes do."""
    return (np.abs(a - b).max(-1) > VISIBLE).mean() if a.shape == b.shape else 1.0


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_pictures_are_what_the_notebook_draws(path):
    if language.needs_it(path):
        language.needed()
    committed = list(pictures(nbformat.read(path, as_version=4)))
    drawn = list(pictures(executed(path)))
    assert [name for name, _ in drawn] == [name for name, _ in committed]
    changed = {
        name: f"{differing(a, b):.2%} of the pixels differ"
        for (name, a), (_, b) in zip(committed, drawn, strict=True)
        if differing(a, b) > SHARE_OF_PIXELS
    }
    assert changed == {}


def test_a_changed_number_in_a_picture_is_seen():
    """The check itself: one digit of one cell's number, 8 × 6 pixels of a 300 × 150 picture."""
    a = np.ones((150, 300, 4))
    b = a.copy()
    b[70:78, 100:106, :3] = 0
    assert differing(a, b) > SHARE_OF_PIXELS
    assert differing(a, a) == 0
    assert differing(a, a[:-1]) == 1
