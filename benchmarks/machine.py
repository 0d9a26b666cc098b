"""The machine of the race: its name, its limits, what a call takes of its memory."""

import ctypes
import gc
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

LIBRARIES = "numpy", "torch", "numba", "onnxruntime", "onnx", "jax", "transformers"


def environment(threads):
    """What the libraries read when they start: how many threads they may have."""
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"
    alone = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    # One arena: malloc_trim cannot give back the top of another, and peaks would be read too low.
    settings = dict.fromkeys(names, str(threads)) | {"MALLOC_ARENA_MAX": "1"}
    settings["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # or compilers stay behind in processes of their own
    return settings | ({"XLA_FLAGS": alone} if threads == 1 else {})


def cpu_model():
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions():
    """Of Python and of every library that takes part; None for one that is not installed."""
    found = {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return found | {"numpy_blas": f"{blas['name']} {blas['version']}"}


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def limits():
    """One thread's best: of matrix products, in GFLOP/s, and of reading memory, in GB/s; on random numbers.

    NumPy's product of large matrices, and that of one tile that never leaves the first-level cache,
    which does nothing but multiply and add: no attention can do its products faster with vectors. The same
    on matrix tiles, where they are: of bfloat16, and of float32 as six products of pieces.
    """
    A, C = _drawn(2, 2048, 2048), np.empty((2048, 2048), np.float32)
    x = _drawn(2**26)  # 256 MiB: more than most caches hold
    return {
        "matmul_gflops": round(2 * 2048**3 / _seconds(lambda: np.matmul(A[0], A[1], out=C)) / 1e9, 1),
        "tile_gflops": round(_tile_flops_per_second() / 1e9, 1),
        **_matrix_tiles(),
        "read_gbps": round(x.nbytes / _seconds(lambda: x @ x) / 1e9, 1),
    }


def _tile_flops_per_second(times=10**5):
    from numba import njit  # here, since the processes of most candidates do without it

    from selfattention.implementations.register_tiles import HEIGHT, product, tile_width

    tiles = _drawn(3, tile_width(np.ones(1, np.float32)) ** 2)

    @njit
    def multiply(C, A, B):
        width = tile_width(C)
        for _ in range(times):
            product(C, 0, width, A, 0, width, 1, B, 0, width, width)

    return 2 * times * HEIGHT * tiles.shape[1] / _seconds(lambda: multiply(*tiles))


def _drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _matrix_tiles(times=10**5):
    """Rates of `tile_products`, on tiles that stay in the first-level cache; None where there are none."""
    from selfattention.implementations import IMPLEMENTATIONS

    names = "bfloat16_tiles_gflops", "six_products_gflops"
    if IMPLEMENTATIONS["matrix_tiled"].why_not():
        return dict.fromkeys(names)
    from numba import njit

    from selfattention.implementations import numba_blocks as blocks
    from selfattention.implementations import tile_products as tiles

    X, C = (
        blocks.scratch.py_func(size, np.empty(1, dtype))
        for size, dtype in ((4 * tiles.PILE, np.uint16), (4 * tiles.SQUARE, np.float32))
    )
    X[:], deep = _drawn(len(X)).view(np.uint32) >> 16, 2  # numbers of bfloat16, as bits

    def rate(product):
        @njit
        def multiply(settings, C, X):
            tiles.configure(settings)
            for _ in range(times):
                product(C, 0, X, 0, 2 * tiles.PILE, tiles.PILE, X, 0, 2 * tiles.PILE, tiles.PILE, deep)
            tiles.release()

        flops = 2 * times * (2 * tiles.SIDE) ** 2 * deep * tiles.DEPTH
        return round(flops / _seconds(lambda: multiply(tiles.settings(), C, X)) / 1e9, 1)

    return dict(zip(names, (rate(tiles.bfloat16_product), rate(tiles.product)), strict=True))


def _seconds(call, times=7):
    """The median of the process's CPU time."""
    call()
    samples = []
    for _ in range(times):
        began = time.process_time()
        call()
        samples.append(time.process_time() - began)
    return float(np.median(samples))


def peak_megabytes(call):
    """What one call adds at its peak to the memory of this process; None where only Linux could say.

    A library that keeps its memory from call to call gives its call a `release`, asked first.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    getattr(call, "release", gc.collect)()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left behind would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5: forget the peak so far
    before = _kilobytes("VmRSS")
    answer = call()
    peak = _kilobytes("VmHWM") - before
    del answer
    return round(peak / 1024, 1)


def resident_megabytes():
    """What this process holds in memory, in MB of 10⁶ bytes; None where only Linux could say."""
    if not Path("/proc/self/status").exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return round(_kilobytes("VmRSS") * 1024 / 1e6, 1)


def _kilobytes(key):
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def seconds_of_others():
    """Processor time that went to anyone but this process and those it has started and seen end."""
    if not Path("/proc/stat").exists():
        return None
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _waiting, *rest = map(int, fields)  # rest: interrupts, and a busy host's
    everyone = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return everyone - sum(os.times()[:4])
