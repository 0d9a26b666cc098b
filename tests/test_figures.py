"""The committed pictures are compared with those that the notebooks draw, in the same run as their words."""

import io
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pictures
from execute import in_few_colours
from matplotlib.image import imsave
from PIL import Image

from selfattention.figures import ROLES, devices

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def png(pixels):
    written = io.BytesIO()
    imsave(written, pixels)
    return written.getvalue()


def test_a_changed_number_in_a_picture_is_seen():
    """The check itself: one digit of one cell's number, 8 × 6 pixels of a 300 × 150 picture."""
    a = np.ones((150, 300, 4))
    b = a.copy()
    b[70:78, 100:106, :3] = 0
    assert pictures.differing(a, b) > pictures.SHARE_OF_PIXELS
    assert pictures.differing(a, a) == 0
    assert pictures.differing(a, a[:-1]) == 1
    one, other = png(a), png(b)
    assert not pictures.changed([one, other], [one, other])
    assert "% of the pixels differ" in pictures.changed([one, other], [one, one])
    assert pictures.changed([one], []) == "1 pictures; committed are 0"


def test_few_colours_are_the_colours_that_were_drawn():
    """Tints over one another, of which none may become another tint; of the edges of lines some may."""
    figure, ax = plt.subplots(dpi=200, figsize=(4, 3))
    x = np.linspace(0, 1, 9)
    for k, colour in enumerate(ROLES.values(), 1):
        y = np.exp(-k * x)
        ax.fill_between(x, y * 0.85, y * 1.15, color=colour, alpha=0.2, lw=0)
        ax.plot(x, y, "o-", color=colour)
    written = io.BytesIO()
    figure.savefig(written)
    plt.close(figure)
    many, few = (
        np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), int)
        for picture in (written.getvalue(), in_few_colours(written.getvalue()))
    )
    assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 128
    assert (np.abs(many - few).max(-1) > 12).mean() < 0.02  # .075 in one step, .006 in two


def test_a_cell_of_the_map_in_which_nothing_fits_is_hatched_and_no_other():
    figure, axes = plt.subplots(1, 2, layout="constrained")
    found = {"one": np.array([["ring", "none"], ["heads", "none"]]), "two": np.full((2, 2), "all-to-all")}
    devices.winners(axes, [8, 16], [2**14, 2**15], found, {title: np.array([2**14] * 2) for title in found})
    hatched = [[bool(cell.get_hatch()) for cell in ax.patches] for ax in axes]
    plt.close(figure)
    assert hatched == [[False, True, False, True], [False] * 4]


def test_a_notebook_that_draws_another_picture_fails(tmp_path):
    """Its cell runs as a chapter's does; what it has drawn stands in its output, once of another slope."""
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    source = "%matplotlib inline\nimport matplotlib.pyplot as plt\nlines = plt.plot([0, {}])"
    said = {}
    for slope in (1, 2):
        path = tmp_path / f"drawn_{slope}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.format(1))]), path)
        subprocess.run([sys.executable, "-c", WRITE, path], cwd=NOTEBOOKS, check=True)
        written = nbformat.read(path, as_version=4)
        written.cells[0].source = source.format(slope)
        nbformat.write(written, path)
        pytest = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path]
        how = ["--nbval", "--nbval-current-env"]
        said[slope] = subprocess.run([*pytest, *how, path], capture_output=True, text=True)
    assert said[1].returncode == 0, said[1].stdout + said[1].stderr
    assert said[2].returncode == 1
    assert "of the pixels differ" in said[2].stdout


WRITE = "import sys, nbformat, execute; nbformat.write(execute.executed(sys.argv[1]), sys.argv[1])"
CONFTEST = f"""
import sys
sys.path[:0] = [{str(NOTEBOOKS)!r}, {str(NOTEBOOKS.parent / "tests")!r}]
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("rules", {str(NOTEBOOKS / "conftest.py")!r})
rules = module_from_spec(spec)
spec.loader.exec_module(rules)
pytest_runtest_call = rules.pytest_runtest_call
"""
