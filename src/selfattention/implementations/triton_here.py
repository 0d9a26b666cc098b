"""Triton as it can run here: compiled where there is a CUDA device, by its interpreter where there is none.

Triton decides when it is imported, once for the whole process. So this module imports it for all of
ours, and asks for the interpreter first where nothing else could run. Triton exists for Linux only.
"""

import os
import sys

from selfattention.extras import needed

with needed():
    import torch

if "triton" not in sys.modules and not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

with needed():
    import triton
    import triton.language as tl

INTERPRETED = not isinstance(tl.max, triton.JITFunction)
"""Do kernels run in the interpreter, on the CPU?"""


def why_not(device):
    """Why a kernel cannot run on the device, in words; None where it can."""
    if device == "cuda" and INTERPRETED:
        return "TRITON_INTERPRET is set: nothing would be compiled"
    if device == "cpu" and not INTERPRETED:
        return "Triton compiles for the GPU in this process; TRITON_INTERPRET=1 would run its interpreter"
    return None


__all__ = ["INTERPRETED", "tl", "triton", "why_not"]
