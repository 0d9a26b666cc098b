"""Matrix tiles: where they run, where they refuse, and that no environment ends the process."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
import torch

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS, numpy_tiled

WHY_NOT = IMPLEMENTATIONS["matrix_tiled"].why_not()
here = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

ASK = """
from selfattention.implementations import IMPLEMENTATIONS
print(IMPLEMENTATIONS["matrix_tiled"].why_not())
"""

COMPUTE = """
import numpy as np
from selfattention.implementations import IMPLEMENTATIONS, numpy_direct
from selfattention.masks import causal

def off():
    "By how much matrix tiles differ from the formula in float64."
    Q, K, V = np.random.default_rng(0).standard_normal((3, 2, 70, 24), dtype=np.float32)
    O, _ = IMPLEMENTATIONS["matrix_tiled"].load().attention(Q, K, V, mask=causal)
    exact, _ = numpy_direct.attention(*(X.astype(np.float64) for X in (Q, K, V)), mask=causal)
    return abs(O - exact).max()
"""


def run(program, **environment):
    """What a program prints in a process of its own, which must end as it should."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"])
def test_numba_told_to_compile_for_another_processor_is_a_reason(name):
    """LLVM would end the process: it has no such instructions for that one."""
    value = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2"}[name]
    said = run(ASK, **{name: value})
    assert "NUMBA_CPU_NAME" in said or "no matrix tiles" in said or "Linux on x86-64" in said


@here
def test_without_a_compiler_there_are_no_tiles():
    assert run(ASK, NUMBA_DISABLE_JIT="1") == "NUMBA_DISABLE_JIT is set: nothing would be compiled"


@here
def test_the_system_may_refuse():
    """As it does where a thread keeps too small a stack for signals: tiles would not fit onto it."""
    small_stack = """
        import ctypes, mmap
        libc = ctypes.CDLL(None, use_errno=True)
        class Stack(ctypes.Structure):
            _fields_ = [("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
        room = mmap.mmap(-1, 8192)
        place = ctypes.addressof(ctypes.c_char.from_buffer(room))
        assert libc.sigaltstack(ctypes.byref(Stack(place, 0, 8192)), None) == 0
    """
    said = run(textwrap.dedent(small_stack) + ASK)
    assert said == "the system does not lend its matrix tiles to this process"


@pytest.mark.parametrize(
    ("system", "machine", "said"),
    [("darwin", "arm64", "this is darwin on arm64"), ("linux", "aarch64", "this is linux on aarch64")],
)
def test_other_systems_are_told_apart(monkeypatch, system, machine, said):
    tiles_here = pytest.importorskip("selfattention.implementations.tiles_here")
    monkeypatch.setattr(tiles_here.sys, "platform", system)
    monkeypatch.setattr(tiles_here.platform, "machine", lambda: machine)
    assert said in tiles_here.why_not()


def test_a_processor_without_tiles_is_told(monkeypatch):
    tiles_here = pytest.importorskip("selfattention.implementations.tiles_here")
    monkeypatch.setattr(tiles_here.sys, "platform", "linux")
    monkeypatch.setattr(tiles_here.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(tiles_here.binding, "get_host_cpu_features", lambda: {"avx512f": True})
    assert tiles_here.why_not() == "the processor has no matrix tiles: amx-tile, amx-bf16 missing"


@here
def test_in_a_thread_that_did_not_ask():
    program = """
        from threading import Thread
        from selfattention.implementations import IMPLEMENTATIONS
        IMPLEMENTATIONS["matrix_tiled"].load()
        found = []
        thread = Thread(target=lambda: found.append(off()))
        thread.start(); thread.join()
        assert found[0] < 1e-6
    """
    run(COMPUTE + textwrap.dedent(program))


@here
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_in_a_process_made_by(way, tmp_path):
    """Before the parent has computed with tiles, and after."""
    program = f"""
        from multiprocessing import get_context

        def main():
            for _ in range(2):
                with get_context("{way}").Pool(1) as pool:
                    assert pool.apply(off) < 1e-6
                assert off() < 1e-6

        if __name__ == "__main__":
            main()
    """
    file = tmp_path / "program.py"  # a process made by spawn reads it again
    file.write_text(COMPUTE + textwrap.dedent(program), encoding="utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def passes(Q, K, V, dO, **options):
    module = IMPLEMENTATIONS["matrix_tiled"].load()
    O, L = module.attention(Q, K, V, **options)
    return O, L, *module.attention_backward(dO, Q, K, V, O, L, **options)


def drawn(h, n, m, d_k, d_v, g=None):
    rng, g = np.random.default_rng(0), g or h
    shapes = (h, n, d_k), (g, m, d_k), (g, m, d_v), (h, n, d_v)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


@here
def test_threads_agree_to_the_last_bit():
    inputs = drawn(2, 200, 200, 64, 64)
    alone = passes(*inputs, mask=masks.causal)
    with ThreadPoolExecutor(4) as pool:
        for came in pool.map(lambda _: passes(*inputs, mask=masks.causal), range(8)):
            for ours, theirs in zip(came, alone, strict=True):
                np.testing.assert_array_equal(ours, theirs)


@here
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_runs_and_threads(threads, monkeypatch):
    """Small blocks, the masks of few queries at a time, and threads that share the keys of one head."""
    module = IMPLEMENTATIONS["matrix_tiled"].load()
    for name, value in {"THREADS": threads, "ALONE": 0, "AT_A_TIME": 64, "SPELT_OUT_BYTES": 1}.items():
        monkeypatch.setattr(module.numba_blocks, name, value)
    monkeypatch.setattr(module, "ROWS", 64)
    for mask, g, n in ("causal", 1, 1023), ("array", 2, 151), ("bottom_right", 2, 151), ("none", 2, 65):
        case = oracle.Case(b=1, h=2, g=g, n=n, m=1024, d_k=8, d_v=8, mask=mask)
        assert_within(case)


def assert_within(case):
    """Every answer has at most the error that the contract allows."""
    Q, K, V, dO, bias = (None if x is None else x.astype(np.float32) for x in case.inputs())
    sink = None if case.sink is None else case.sinks().astype(np.float32)
    came = passes(Q, K, V, dO, mask=case.rule(), bias=bias, softcap=case.softcap, sink=sink)
    exact, budgets = oracle.truth(case, torch.float32), oracle.budget(case, torch.float32)
    for name, ours, truth, budget in zip(oracle.NAMES, came, exact, budgets, strict=True):
        assert oracle.error(ours.astype(np.float64), truth) <= budget, (name, str(case))


WIDTHS = [(1, 1), (8, 24), (31, 33), (32, 32), (64, 64), (96, 16), (128, 256), (192, 128), (256, 7)]


@here
@pytest.mark.parametrize(("d_k", "d_v"), WIDTHS)
@pytest.mark.parametrize(("n", "m"), [(17, 3), (31, 65), (64, 64), (33, 130), (130, 63)])
def test_any_width_and_length(d_k, d_v, n, m):
    assert_within(oracle.Case(b=1, h=2, g=1, n=n, m=m, d_k=d_k, d_v=d_v, mask="bottom_right"))


@here
@pytest.mark.parametrize("size", [2.0**-110, 2.0**-70, 1e-30, 1e30, 2.0**90])
@pytest.mark.parametrize("which", ["values", "queries", "keys", "gradients"])
def test_numbers_of_unusual_size(which, size):
    """Pieces of tiny numbers would be zeros: they are computed with in other units, powers of two.

    They may be off by some thirty roundings of the largest number, as products of that depth are.
    """
    Q, K, V, dO = drawn(1, 40, 70, 32, 32)
    size, other = np.float32(size), np.float32(1 / size) if which != "values" else np.float32(1)
    if which == "values":
        V = V * size
    elif which == "gradients":
        dO = dO * size
    else:
        Q, K = (Q * size, K * other) if which == "queries" else (Q * other, K * size)
    came = passes(Q, K, V, dO)
    wide = [X.astype(np.float64) for X in (Q, K, V, dO)]
    O, L = numpy_tiled.attention(*wide[:3])
    exact = O, L, *numpy_tiled.attention_backward(wide[3], *wide[:3], O, L)
    for name, ours, truth in zip(oracle.NAMES, came, exact, strict=True):
        np.testing.assert_allclose(ours, truth, rtol=0, atol=4e-6 * abs(truth).max(), err_msg=name)


@here
@pytest.mark.parametrize("which", [0, 1, 2], ids=["query", "key", "value"])
def test_a_nan_of_all_ones_stays_one(which):
    """Rounding adds 0x8000 to its bits: the sum is −0, and no product would show that it was there."""
    inputs = drawn(1, 40, 70, 32, 32)
    inputs[which][0, 5, 7] = np.uint32(0x7FFFFFFF).view(np.float32)
    O, L = IMPLEMENTATIONS["matrix_tiled"].load().attention(*inputs[:3])
    rows = np.arange(40) == 5 if which == 0 else np.ones(40, bool)
    assert (np.isnan(O[0]).all(-1) == rows).all()
    assert (np.isnan(L[0]) == rows).all()
