"""Whether matrix tiles can run here: asked before anything is compiled, or the process would end."""

import ctypes
import platform
import sys
from functools import cache

from selfattention.extras import needed

with needed():
    from llvmlite import binding
    from numba import config

WANTED = "amx-tile", "amx-bf16", "avx512f"
ARCH_PRCTL, ASK_FOR_STATE, TILES = 158, 0x1023, 18  # Linux, asm/prctl.h: ARCH_REQ_XCOMP_PERM


def why_not() -> str | None:
    """Why tiles of bfloat16 cannot be multiplied in this process, in words; None where they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        here = f"{sys.platform} on {platform.machine()}"
        return f"matrix tiles are asked for on Linux on x86-64; this is {here}"
    features = binding.get_host_cpu_features()
    missing = [name for name in WANTED if not features.get(name)]
    if missing:
        return f"the processor has no matrix tiles: {', '.join(missing)} missing"
    if config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set: nothing would be compiled"
    if config.CPU_NAME or config.CPU_FEATURES:
        return "Numba is told to compile for another processor, by NUMBA_CPU_NAME or NUMBA_CPU_FEATURES"
    return None if _lent() else "the system does not lend its matrix tiles to this process"


@cache
def _lent():
    """Tiles are 8 kB of state for every thread, which Linux keeps for those who have asked.

    It refuses where a thread has too small a stack for signals to keep them on.
    """
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, ASK_FOR_STATE, TILES) == 0
