"""Run the notebooks and write what they print back into them, the same bytes each time.

    python notebooks/execute.py            every chapter, and the pages before them
    python notebooks/execute.py 05 08      chapters 05 and 08
    python notebooks/execute.py entry_zh   that page

A changed line in a diff of a notebook is then a changed result.
"""

import atexit
import base64
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
TEMPLATE = HERE / "template.ipynb"
# The picture of the landing page and of the README is the first chapter's.
COVER, COVER_CHAPTER, COVER_CELL = HERE.parent / "book/_static/formula.png", "01_formula", "path-figure"
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


# One thread in every kernel: a sum does not depend on the number of cores, and two kernels that run
# side by side do not fight over them.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def _of_two_pixels():
    """Let every kernel that this process starts draw two pixels where a page asks for one."""
    folder = Path(tempfile.mkdtemp(prefix="kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "profile_default").mkdir()
    settings = "get_config().InlineBackend.figure_formats = {'retina'}\n"
    (folder / "profile_default/ipython_kernel_config.py").write_text(settings, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(folder)


_of_two_pixels()


def chapters():
    """The chapters' notebooks, in reading order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def entries():
    """The way in for whoever has met the formula elsewhere: one page, once in each language."""
    return sorted(HERE.glob("entry_*.ipynb"))


def executed(path):
    """A fresh run of the notebook at `path`, stripped of all that differs from run to run."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(KERNEL)
    client = NotebookClient(
        notebook,
        timeout=120,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # the kernel warns of its own transport
        resources={"metadata": {"path": HERE}},
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(KERNEL)  # the kernel added its own version
    for output in _outputs_with_pictures(notebook):
        output.data["image/png"] = base64.b64encode(in_few_colours(_png(output))).decode()
        del output.metadata["image/png"]["height"]  # a phone makes a picture narrower, and so lower
    return notebook


def _outputs_with_pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if "image/png" in output.get("data", {})]


def _png(output):
    return base64.b64decode(output.data["image/png"])


def in_few_colours(png):
    """The picture in 128 colours: areas within a few levels of 255 of their own, edges of lines mostly.

    In two steps: of all the colours that edges have, Pillow would choose 128 so that a grey turns pink.
    """
    drawn = Image.open(io.BytesIO(png)).convert("RGB")
    more = drawn.quantize(256, dither=Image.Dither.NONE).convert("RGB")
    few = more.quantize(128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    written = io.BytesIO()
    few.save(written, "png", optimize=True)
    return written.getvalue()


def picture(notebook, cell_id):
    """The PNG that a cell of a notebook drew."""
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    (output,) = _outputs_with_pictures(nbformat.from_dict({"cells": [cell]}))
    return _png(output)


def main(wanted):
    paths = [
        path
        for path in [*entries(), *chapters(), TEMPLATE]
        if not wanted or path.stem[:2] in wanted or path.stem in wanted
    ]
    for count, path in enumerate(paths, start=1):
        began = time.perf_counter()
        notebook = executed(path)
        nbformat.write(notebook, path)
        if path.stem == COVER_CHAPTER:
            COVER.write_bytes(picture(notebook, COVER_CELL))
        print(f"[{count}/{len(paths)}] {path.stem}  {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
