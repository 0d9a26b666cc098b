"""Pictures of notebooks compared: what a cell draws, and what stands committed in its output."""

import base64
import io

import numpy as np
from matplotlib.image import imread

# A digit that changes in a drawing alters dozens of pixels; another machine's last bit of a
# float32 sum, the antialiasing of a few. One pixel in a thousand lies between the two.
VISIBLE = 0.1
SHARE_OF_PIXELS = 1e-3


def pngs(outputs):
    """The pictures among a cell's outputs, as bytes."""
    found = [out["data"].get("image/png") for out in outputs if "data" in out]
    return [base64.b64decode(picture) for picture in found if picture]


def differing(a, b):
    """The share of pixels in which two pictures visibly differ; 1 where their sizes do."""
    return (np.abs(a - b).max(-1) > VISIBLE).mean() if a.shape == b.shape else 1.0


def changed(drawn, committed):
    """In which way pictures, lists of PNGs, are others than the committed ones; or nothing."""
    if len(drawn) != len(committed):
        return f"{len(drawn)} pictures; committed are {len(committed)}"
    shares = [differing(*map(_pixels, pair)) for pair in zip(drawn, committed, strict=True)]
    return "; ".join(f"{share:.2%} of the pixels differ" for share in shares if share > SHARE_OF_PIXELS)


def _pixels(png):
    return imread(io.BytesIO(png))[..., :3]
