"""What Numba has compiled is found again, and only if all that it was made of is the same."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.codegen import JITCPUCodegen

import selfattention
from selfattention import cache_folder
from selfattention.implementations import numba_cache
from selfattention.implementations.numba_cache import compiled

FACTOR = 2.0
SQUARE_ROOT = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(("sqrt", ctypes.CDLL(None)))


def times_factor(x):
    return FACTOR * x


def by_address(x):
    return SQUARE_ROOT(x)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Where machine code is kept during a test: an empty folder."""
    monkeypatch.setenv("SELFATTENTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/compiled"


def files(kept):
    return [path for path in kept.rglob("*") if path.is_file()]


def met(function=times_factor, x=3.0):
    """What a kernel answers that this process has not compiled yet, and how often it was found on disk."""
    kernel = compiled()(function)
    return kernel(x), sum(kernel.stats.cache_hits.values())


# In one process ---------------------------------------------------------------------------------------


def test_what_was_compiled_is_found():
    assert met() == (6.0, 0)
    assert met() == (6.0, 1)
    assert met(x=np.float32(3)) == (6.0, 0)  # another signature


def test_a_constant_that_was_set_is_seen(monkeypatch):
    met()
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    assert met() == (15.0, 0)


def test_a_constant_of_what_a_kernel_calls_is_seen(monkeypatch):
    """Through a compiled function, and through what writes instructions."""
    from selfattention.implementations import numba_tiled, register_tiles

    before = numba_cache._constants(numba_tiled._forward)
    for module, name in (register_tiles, "VECTOR_BYTES"), (register_tiles, "HEIGHT"), (numba_tiled, "SLACK"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 8)
            assert numba_cache._constants(numba_tiled._forward) != before
    with monkeypatch.context() as patch:
        patch.setattr(numba_tiled.numba_blocks, "THREADS", 7)  # no constant of compiled code
        assert numba_cache._constants(numba_tiled._forward) == before


def test_another_processor_finds_nothing(monkeypatch):
    """One home for many machines: what is told apart is what the machine says of itself."""
    met()
    with monkeypatch.context() as patch:
        patch.setattr(numba_cache, "get_host_cpu_features", lambda: "+another")
        assert met() == (6.0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(JITCPUCodegen, "_get_host_cpu_name", lambda self: "another")
        assert met() == (6.0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(numba_cache.numba, "__version__", "0.99")
        assert met() == (6.0, 0)
    assert met() == (6.0, 1)


DAMAGES = {
    "empty": lambda content: b"",
    "other": lambda content: b"no machine code",
    "cut": lambda content: content[:-1],
    "short": lambda content: content[:40],
    "shifted": lambda content: content[1:],
    "flipped": lambda content: content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again(kept, damage):
    met()
    (path,) = files(kept)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert met() == (6.0, 0)
    assert met() == (6.0, 1)
    assert files(kept) == [path]


def test_without_a_home_nothing_is_kept(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache_folder, "folder", nowhere)
    assert [met(), met()] == [(6.0, 0)] * 2


@pytest.mark.parametrize("place", [os.devnull, "/proc/nothing/here"])
def test_where_no_folder_can_be_nothing_is_kept(place, monkeypatch):
    monkeypatch.setenv("SELFATTENTION_CACHE", place)
    assert [met(), met()] == [(6.0, 0)] * 2


def test_a_folder_that_became_read_only_still_serves(kept, monkeypatch):
    met()

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(numba_cache, "_write", refused)
    assert met() == (6.0, 1)
    assert met(x=np.float32(3)) == (6.0, 0)
    assert len(files(kept)) == 1


def test_a_full_disk_leaves_nothing_behind(kept, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba_cache.os, "replace", full)
    assert met() == (6.0, 0)
    assert files(kept) == []


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owners here")
def test_a_folder_that_others_could_have_filled_is_not_used(kept, monkeypatch):
    """It is made for its user alone; what another made, or may write to, is as good as none."""
    met()
    assert kept.stat().st_mode & 0o777 == 0o700
    kept.chmod(0o770)
    assert met() == (6.0, 0)
    kept.chmod(0o700)
    assert met() == (6.0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(numba_cache.os, "getuid", lambda: os.geteuid() + 1)
        assert met() == (6.0, 0)
    kept.rename(kept.parent / "elsewhere")
    kept.symlink_to("elsewhere")
    assert met() == (6.0, 0)


def test_a_source_that_changed_since_it_was_loaded_keeps_nothing(kept, monkeypatch):
    """What is in memory is not what stands in the file."""
    monkeypatch.setattr(numba_cache, "LOADED_AT", Path(__file__).stat().st_ctime)
    assert [met(), met()] == [(6.0, 0)] * 2
    assert files(kept) == []


def test_addresses_of_a_process_are_not_kept(kept):
    assert [met(by_address, 9.0), met(by_address, 9.0)] == [(3.0, 0)] * 2
    assert files(kept) == []


def test_only_what_was_used_last_stays(kept):
    met()
    (mine,) = kept.iterdir()
    for age in range(1, 2 * numba_cache.AT_MOST):
        (kept / str(age)).mkdir()
        os.utime(kept / str(age), (1e9 - age, 1e9 - age))
    met(x=np.float32(3))
    left = {path.name for path in kept.iterdir()}
    assert left == {mine.name, *map(str, range(1, numba_cache.AT_MOST))}


def test_a_function_inside_a_function_is_refused():
    factor = 2

    def inner(x):
        return factor * x

    with pytest.raises(TypeError, match="inner has variables of a function around it"):
        compiled()(inner)


# In processes of their own, with a copy of the package ------------------------------------------------

PRODUCT = """
import json, numpy as np
from selfattention.implementations import numba_products as module
X, W = np.ones((1, 4), np.float32), module.Floats(np.ones((3, 4), np.float32).T)
Y = X @ W
print(json.dumps([float(Y.sum()), *(sum(x.values()) for x in module._dots.stats[1:])]))
"""
FORWARD = """
import json, time, numpy as np
from selfattention.implementations import numba_tiled as module
Q = np.random.default_rng(0).standard_normal((1, 2, 64, 32)).astype(np.float32)
start = time.process_time()
O, L = module.attention(Q, Q, Q)
"""
BACKWARD = """
module.attention_backward(O, Q, Q, Q, O, L)
"""
SAY = """
found, not_found = (sum(sum(kernel.stats[i].values()) for kernel in (module._forward, module._backward))
                    for i in (1, 2))
print(json.dumps([O.ravel().tolist(), found, not_found, time.process_time() - start]))
"""


@pytest.fixture
def copy(tmp_path):
    """The package in a folder of its own, to be changed."""
    package = Path(selfattention.__file__).parent
    shutil.copytree(package, tmp_path / "copy/selfattention", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def started(copy, code, **settings):
    environment = {**os.environ, "PYTHONPATH": str(copy), **settings}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], env=environment, text=True, stdout=-1, stderr=-1
    )


def run(*arguments, **settings):
    process = started(*arguments, **settings)
    said, complaint = process.communicate()
    assert (process.returncode, complaint) == (0, "")
    return json.loads(said)


def change(copy, file, old, new):
    path = copy / "selfattention/implementations" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_next_process_finds_it_and_a_changed_line_does_not(copy):
    assert run(copy, PRODUCT) == [12, 0, 1]
    assert run(copy, PRODUCT) == [12, 1, 0]
    change(copy, "numba_products.py", "total += w[j] * x[j]", "total += w[j] * x[j] + 1")
    assert run(copy, PRODUCT) == [24, 0, 1]
    change(copy, "numba_products.py", "total += w[j] * x[j] + 1", "total += w[j] * x[j]")
    assert run(copy, PRODUCT) == [12, 1, 0]


@pytest.mark.parametrize(
    "setting",
    [
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2"},
        {"NUMBA_ENABLE_AVX": "0"},
        {"NUMBA_OPT": "1"},
        {"NUMBA_BOUNDSCHECK": "1"},
    ],
    ids=str,
)
def test_another_processor_or_setting_has_code_of_its_own(copy, setting):
    assert run(copy, PRODUCT) == [12, 0, 1]
    assert run(copy, PRODUCT, **setting) == [12, 0, 1]
    assert run(copy, PRODUCT, **setting) == [12, 1, 0]
    assert run(copy, PRODUCT) == [12, 1, 0]


def test_the_number_of_threads_does_not_matter(copy):
    assert run(copy, PRODUCT, NUMBA_NUM_THREADS="1") == [12, 0, 1]
    assert run(copy, PRODUCT, NUMBA_NUM_THREADS="2") == [12, 1, 0]


def test_processes_that_start_at_once_do_not_meet(copy, kept):
    together = [started(copy, PRODUCT) for _ in range(3)]
    for process in together:
        said, complaint = process.communicate()
        assert (json.loads(said)[0], complaint) == (12, "")
    (path,) = files(kept)
    numba_cache._sound(path.read_bytes())
    assert run(copy, PRODUCT) == [12, 1, 0]


def test_attention_starts_without_compiling_until_its_instructions_change(copy):
    """The line is one of another file than the kernel's: the polynomial that 2^f is computed by."""
    *compiled_now, compiling = run(copy, FORWARD + BACKWARD + SAY)
    *found, loading = run(copy, FORWARD + BACKWARD + SAY)
    assert compiled_now[1:] == [0, 2]
    assert found == [compiled_now[0], 2, 0]
    assert loading < compiling / 5  # seconds of the processor
    change(copy, "register_tiles.py", "interpolate(np.exp2, 5,", "interpolate(np.exp2, 1,")
    rough, *counts, _ = run(copy, FORWARD + SAY)
    assert counts == [0, 1]
    assert abs(np.subtract(rough, found[0])).max() > 1e-3
