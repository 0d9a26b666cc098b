"""How time and memory grow with n, and what each rung of the NumPy ladder buys. One thread.

    python benchmarks/growth.py            a few minutes; writes results/growth-cpu.json
    python benchmarks/growth.py --quick    seconds; prints and writes nothing

Chapter 13 draws its figures from the file. The candidates run in turn, each between two runs of the
yardstick, so that a busy machine slows all alike; what counts is the processor's time for this process.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read by the libraries when they are imported, so before that

import argparse  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from datetime import date  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from selfattention.implementations import numpy_direct, numpy_tiled, torch_tiled  # noqa: E402
from selfattention.masks import causal, everybody  # noqa: E402

torch.set_num_threads(1)

RESULT = Path(__file__).parent / "results/growth-cpu.json"
B, H, D = 1, 8, 64
SIZES = [128, 256, 512, 1024, 2048, 4096]
DIRECT_UP_TO = 2048  # beyond that its matrices take gigabytes
MASKS = {"dense": everybody, "causal": causal}
ENOUGH = 0.01  # seconds a sample should take: shorter calls are repeated
HOW = (
    "One process, one thread. In every round each candidate runs once, between two runs of SDPA. A time is "
    "the process's CPU time for one call; a ratio is that over the mean of the two runs of SDPA beside it. "
    "Of both the file gives the median and the quartiles over the rounds. Inputs are standard normal, "
    "float32. Errors are the largest absolute difference from the formula in float64, over up to 256 rows "
    "of every head. Peak memory is that of one call above what was there before, output included (VmHWM "
    "after malloc_trim and clear_refs)."
)


def inputs(n):
    return np.random.default_rng(0).standard_normal((3, B, H, n, D)).astype(np.float32)


def candidates(n, mask):
    """name -> a call without arguments that returns O."""
    Q, K, V = inputs(n)
    tensors = [torch.from_numpy(array) for array in (Q, K, V)]
    rule = MASKS[mask]
    calls = {
        "sdpa": lambda: scaled_dot_product_attention(*tensors, is_causal=mask == "causal"),
        "numpy_direct": lambda: numpy_direct.attention(Q, K, V, mask=rule)[0],
        "numpy_tiled": lambda: numpy_tiled.attention(Q, K, V, mask=rule)[0],
        "torch_tiled": lambda: torch_tiled.attention(*tensors, mask=rule)[0],
    }
    return calls if n <= DIRECT_UP_TO else {name: calls[name] for name in calls if name != "numpy_direct"}


def ladder(n):
    """From the formula as it stands to `numpy_tiled`, one change a rung; the same call each time."""
    Q, K, V = inputs(n)
    options = {"exp": np.exp, "sum_as_product": False, "scratch": False, "packed": False}
    rungs = {
        "all scores at once": lambda: numpy_direct.attention(Q, K, V)[0],
        "64 × 64 tiles, merged": lambda: merged_states(Q, K, V, 64, 64),
        "256 × 512 tiles, merged": lambda: merged_states(Q, K, V, 256, 512),
        "shift 0: sums": partial(sums, Q, K, V, **options),
    }
    for text, change in {
        "+ 2^x for e^x": {"exp": np.exp2},
        "+ row sums as a product": {"sum_as_product": True},
        "+ one scratch tile": {"scratch": True},
        "+ Kᵀ copied once": {"packed": True},
    }.items():
        options = options | change
        rungs[text] = partial(sums, Q, K, V, **options)
    rungs["the package: + masks, checks"] = lambda: numpy_tiled.attention(Q, K, V)[0]
    rungs["the two products alone"] = lambda: products(Q, K, V)
    tensors = [torch.from_numpy(array) for array in (Q, K, V)]
    return {"sdpa": lambda: scaled_dot_product_attention(*tensors)} | rungs


def merged_states(Q, K, V, rows, columns):
    """The loop around `formulas.tiles`, with a size of tile."""
    before = numpy_tiled.ROWS, numpy_tiled.COLUMNS
    numpy_tiled.ROWS, numpy_tiled.COLUMNS = rows, columns
    O = np.empty_like(V)
    for head, group, tiles in numpy_tiled._heads(Q, K, everybody, None):
        O[head], _ = numpy_tiled._by_states(Q[head], K[group], V[group], D**-0.5, tiles)
    numpy_tiled.ROWS, numpy_tiled.COLUMNS = before
    return O


def sums(Q, K, V, *, exp, sum_as_product, scratch, packed):
    """`numpy_tiled._by_sums` without masks, its tricks one by one."""
    O = np.zeros_like(V)
    rows, columns = numpy_tiled.ROWS, numpy_tiled.COLUMNS
    tile, ones = np.empty(rows * columns, Q.dtype), np.ones(columns, Q.dtype)
    base = math.log2(math.e) if exp is np.exp2 else 1.0
    for head in np.ndindex(B, H):
        q, v, Z = Q[head] * (D**-0.5 * base), V[head], np.zeros(len(Q[head]), Q.dtype)
        kT = numpy_tiled._transposed(K[head]) if packed else K[head].T
        for i in range(0, len(q), rows):
            for j in range(0, len(v), columns):
                shape = len(q[i : i + rows]), len(v[j : j + columns])
                E = tile[: shape[0] * shape[1]].reshape(shape) if scratch else None
                E = np.matmul(q[i : i + rows], kT[:, j : j + columns], out=E)
                E = exp(E, out=E if scratch else None)
                Z[i : i + rows] += E @ ones[: shape[1]] if sum_as_product else E.sum(-1)
                O[head][i : i + rows] += E @ v[j : j + columns]
        O[head] /= Z[:, None]
    return O


def products(Q, K, V):
    """Q Kᵀ and its product with V, tile by tile, and nothing in between: not attention, but its floor."""
    rows, columns = numpy_tiled.ROWS, numpy_tiled.COLUMNS
    S, O = np.empty((rows, columns), Q.dtype), np.empty((rows, D), Q.dtype)
    for head in np.ndindex(B, H):
        for i in range(0, Q.shape[2], rows):
            for j in range(0, K.shape[2], columns):
                np.matmul(Q[head][i : i + rows], K[head][j : j + columns].T, out=S)
                np.matmul(S, V[head][j : j + columns], out=O)


def race(calls, seconds):
    """name -> (CPU seconds of one call, the same over SDPA's): one pair a round, as many as fit.

    Each call stands between two of SDPA, and is compared with their mean: a processor that slows
    down for a while, as those in a cloud do, slows all three.
    """
    repeats, samples = {}, {name: [] for name in calls}
    for name, call in calls.items():
        call()  # the first call allocates and warms up
        repeats[name] = max(1, math.ceil(ENOUGH / cpu_seconds(call, 1)))
    yardstick, began = partial(cpu_seconds, calls["sdpa"], repeats["sdpa"]), time.perf_counter()
    while len(samples["sdpa"]) < 5 or time.perf_counter() - began < seconds:
        before = yardstick()
        for name, call in calls.items():
            own = cpu_seconds(call, repeats[name])
            after = yardstick()
            samples[name].append((own, 2 * own / (before + after)))
            before = after
    return {name: np.array(pairs).T for name, pairs in samples.items()}


def cpu_seconds(call, times):
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times


def summary(seconds, ratios):
    """Medians, with the quartiles."""
    low, middle, high = (significant(x) for x in np.quantile(seconds, [0.25, 0.5, 0.75]))
    quartiles = [round(float(x), 3) for x in np.quantile(ratios, [0.25, 0.75])]
    return {
        "seconds": middle,
        "seconds_quartiles": [low, high],
        "over_sdpa": round(float(np.median(ratios)), 3),
        "over_sdpa_quartiles": quartiles,
        "rounds": len(seconds),
    }


def significant(x):
    return float(f"{x:.3g}")


def error(call, n, mask):
    """The largest difference from the formula in float64, over some rows of every head."""
    Q, K, V = (array.astype(np.float64) for array in inputs(n))
    rows = np.linspace(0, n - 1, min(n, 256)).astype(int)
    S = Q[..., rows, :] @ K.swapaxes(-1, -2) / D**0.5
    S = np.where(MASKS[mask](rows[:, None], np.arange(n)), S, -np.inf)
    A = np.exp(S - S.max(-1, keepdims=True))
    exact = A / A.sum(-1, keepdims=True) @ V
    return significant(np.abs(np.asarray(call())[..., rows, :] - exact).max())


def peak_megabytes(call):
    """What one call adds at its peak to the memory of this process; None where Linux cannot be asked."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left behind would hide what this one takes
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        output = call()
        peak = status("VmHWM") - before
        del output
        return round(peak / 1024, 1)
    except (OSError, AttributeError):
        return None


def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def machine():
    try:
        text = Path("/proc/cpuinfo").read_text()
        cpu = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "cpu": cpu,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "avx512": "avx512f" in text if cpu else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
        "torch": torch.__version__,
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="small sizes, few rounds, nothing written")
    quick = arguments.parse_args().quick
    result = {
        "about": __doc__.splitlines()[0],
        "command": f"python benchmarks/{Path(__file__).name}" + " --quick" * quick,
        "date": date.today().isoformat(),
        "how": HOW,
        "machine": machine(),
        "threads": 1,
        "shape": {"batch": B, "heads": H, "d_k": D, "d_v": D, "dtype": "float32"},
        "growth": [],
        "ladder": {"n": 1024, "rungs": []},
    }
    print(json.dumps(result["machine"], indent=1), flush=True)
    seconds = 0.5 if quick else 8
    for mask in MASKS:
        for n in SIZES[:3] if quick else SIZES:
            calls = candidates(n, mask)
            samples = race(calls, seconds)
            for name, call in calls.items():
                row = {"n": n, "mask": mask, "name": name} | summary(*samples[name])
                row |= {"error": error(call, n, mask), "peak_megabytes": peak_megabytes(call)}
                result["growth"].append(row)
                print(line(f"{mask} n = {n}", row), flush=True)
    n = result["ladder"]["n"]
    calls = ladder(n)
    samples = race(calls, 2 if quick else 20)
    for name, call in calls.items():
        row = {"name": name} | summary(*samples[name])
        row["error"] = None if name == "the two products alone" else error(call, n, "dense")
        result["ladder"]["rungs"].append(row)
        print(line("ladder", row), flush=True)
    if not quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written: {RESULT.relative_to(Path.cwd()) if RESULT.is_relative_to(Path.cwd()) else RESULT}")


def line(where, row):
    low, high = row["over_sdpa_quartiles"]
    accuracy = f"error {row['error']:.1e}" if row["error"] is not None else ""
    memory = f"  {row['peak_megabytes']} MB" if row.get("peak_megabytes") is not None else ""
    return (
        f"{where:16} {row['name']:36} {1000 * row['seconds']:9.2f} ms  × SDPA {row['over_sdpa']:6.2f} "
        f"({low:.2f}–{high:.2f}, {row['rounds']} rounds)  {accuracy}{memory}"
    )


if __name__ == "__main__":
    sys.exit(main())
