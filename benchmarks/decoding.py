"""The race of decoding: the language model of chapter 15 on our attention, and on transformers'.

    python benchmarks/decoding.py              some ten minutes; writes data/decoding.json
    python benchmarks/decoding.py --quick      a minute or two; prints, and writes only with --output FILE

One thread, the same weights in float32, the same story; `speakers` says who takes part and what is asked.
`make bench` installs transformers, without which there is no yardstick. The figures of chapter 15 come
from the file.
"""

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import machine
import race
import table
from ask import arguments, keep
from record import significant, statistics
from runner import Runner

RESULT = Path(__file__).parents[1] / "src/selfattention/data/decoding.json"
SPEAKERS = Path(__file__).with_name("speakers.py")
YARDSTICK = "transformers sdpa"
FLOATS = YARDSTICK, "numpy_direct", "numba_tiled"
DECODING = *FLOATS, "numba_tiled, int8", "reading", "reading, int8"
PRODUCTS = YARDSTICK, "numpy_direct, X @ W", "numpy_direct", "numba_tiled", "numba_tiled, int8"
JOBS = [
    ("decode", 64, DECODING),
    ("decode", 1024, DECODING),
    ("prefill", 512, FLOATS),
    *(("products", n, PRODUCTS) for n in (1, 2, 4, 8, 16, 32, 64)),
]
SMALL = ("decode", 64), ("decode", 1024), ("prefill", 512), ("products", 1), ("products", 8)
UNITS = {"decode": "a token", "prefill": "a prompt", "products": "for all matrices"}
REPEATS = {"decode": 6, "prefill": 1, "products": 2}
# Asked of us: so many times the yardstick's tokens a second; what no candidate passes is in the last column.
BARS = [
    ("decode", 64, "numba_tiled", 1.35, "reading"),
    ("decode", 1024, "numba_tiled", 1.45, "reading"),
    ("decode", 64, "numpy_direct", 1.35, "reading"),
    ("decode", 1024, "numpy_direct", 1.45, "reading"),
    ("prefill", 512, "numba_tiled", 1.15, "tile_gflops"),
    ("prefill", 512, "numpy_direct", 1.15, "tile_gflops"),
    ("decode", 64, "numba_tiled, int8", 2.2, "reading, int8"),
    ("decode", 1024, "numba_tiled, int8", 2.2, "reading, int8"),
]
MEMORY = 1.15  # times weights and cache: the bar for the whole process
# Products of 512 tokens with the matrices of 30 layers, and of the last with the head: prefill's least work.
PREFILL_GFLOP = 2e-9 * (512 * 30 * 576 * (960 + 576 + 3 * 1536) + 576 * 49_152)
HOW = (
    "Each candidate runs in a process of its own and is stopped while others run. In every round each runs "
    "once, after a call that is not timed; seconds are CPU time of one token (decode), one prompt (prefill) "
    "or one product with every matrix (products). A ratio is that over the mean of the yardstick's in this "
    "round and the next. Given are medians and quartiles over the rounds. The error is the largest absolute "
    "difference of the last token's logits from those in float64. `rss_mb` is what the whole process held "
    "afterwards, `held_mb` weights and cache. `reading` reads as many bytes as a token must, and no more."
)


def run(jobs, *, rounds, seconds, command, report=print):
    """The result: every job's candidates in turn, so many rounds and seconds at least."""
    began, before = time.perf_counter(), machine.seconds_of_others()
    result = {"about": __doc__.splitlines()[0], "command": command, "date": date.today().isoformat()}
    result |= {
        "cpu": machine.cpu_model(),
        "cores": os.cpu_count(),
        "versions": machine.versions(),
        "how": HOW,
    }
    result |= {"limits": race.limits(), "load": os.getloadavg()}
    report(result["cpu"], result["limits"])
    rows = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        runners = started({name for *_, names in jobs for name in names}, stack)
        exact(folder, jobs)
        for done, (workload, n, names) in enumerate(jobs):
            table.progress(done / len(jobs), f"{workload}, n = {n}")
            file = None if workload == "products" else f"{folder}/{workload}-{n}.npy"
            crew = {name: runners[name] for name in names}
            rows += measured(crew, workload, n, file, rounds, seconds)
    result["seconds"] = round(time.perf_counter() - began)
    table.progress(1, f"{result['seconds']} s")
    result["share_of_others"] = race.share_of_others(before, result["seconds"])
    return result | {"rows": rows, "bars": bars(rows, result["limits"])}


def started(names, stack):
    """name -> a process with its model loaded."""
    runners = {}
    for name in sorted(names):
        runners[name] = Runner(name, 1, SPEAKERS)
        stack.callback(runners[name].close)
        answer(name, runners[name].ask("load"))
    return runners


def exact(folder, jobs):
    """The float64 logits, in files; a process that is gone afterwards, with its gigabyte."""
    runner = Runner("exact", 1, SPEAKERS)
    asked = [(workload, n) for workload, n, _ in jobs if workload != "products"]
    try:
        answer("exact", runner.ask("answers", folder=folder, jobs=asked))
    finally:
        runner.close()


def measured(crew, workload, n, file, rounds, seconds):
    """A row for each of the crew."""
    ready = {}
    for name, runner in crew.items():
        kept = None if name.startswith("reading") else file
        ready[name] = answer(name, runner.ask("prepare", workload=workload, n=n, exact=kept))
    samples, began = {name: [] for name in crew}, time.perf_counter()
    while len(samples[YARDSTICK]) < rounds or time.perf_counter() - began < seconds:
        for name, runner in crew.items():
            samples[name].append(cpu_seconds(name, runner, workload))
    samples[YARDSTICK].append(cpu_seconds(YARDSTICK, crew[YARDSTICK], workload))
    heading = {"workload": workload, "pass": "forward", "n": n, "threads": 1}
    for name, times in samples.items():
        row = heading | {"candidate": name} | statistics(times, samples[YARDSTICK])
        row["error"] = ready[name]["error"]
        yield row if workload == "products" else row | answer(name, crew[name].ask("memory"))


def cpu_seconds(name, runner, workload):
    return answer(name, runner.ask("time", repeats=REPEATS[workload]))["cpu"]


def answer(name, given):
    if "failed" in given:
        raise RuntimeError(f"{name}: {given['failed']}")
    return given


def bars(rows, limits):
    """What was asked for, what was reached, and what this machine would allow."""
    found = {(row["workload"], row["n"], row["candidate"]): row for row in rows}
    judged = []
    for workload, n, name, wanted, limit in BARS:
        if row := found.get((workload, n, name)):
            reached, (high, low) = 1 / row["ratio"], (1 / ratio for ratio in row["ratio_quartiles"])
            yardstick = found[workload, n, YARDSTICK]["seconds"]
            floor = (
                PREFILL_GFLOP / limits[limit]
                if workload == "prefill"
                else found[workload, n, limit]["seconds"]
            )
            judged.append(
                {
                    "bar": "times the yardstick's tokens a second",
                    "workload": workload,
                    "n": n,
                    "candidate": name,
                }
                | {"wanted": wanted, "reached": significant(reached)}
                | {"quartiles": [significant(low), significant(high)], "met": reached >= wanted}
                | {"limit": limit, "limit_allows": significant(yardstick / floor)}
            )
    for (workload, n, name), row in found.items():
        if workload == "decode" and name in ("numpy_direct", "numba_tiled") and row["rss_mb"]:
            share = row["rss_mb"] / row["held_mb"]
            judged.append(
                {"bar": "memory of the process over weights and cache", "workload": workload, "n": n}
                | {"candidate": name, "wanted": MEMORY, "reached": significant(share), "met": share <= MEMORY}
            )
    return judged


def quick():
    return [(workload, n, names) for workload, n, names in JOBS if (workload, n) in SMALL]


def text(result):
    """The rows of every race, and the bars under them."""
    lines = []
    for workload, n, _ in JOBS:
        rows = [row for row in result["rows"] if (row["workload"], row["n"]) == (workload, n)]
        if rows:
            unit = UNITS[workload]
            lines += [
                "",
                f"{workload}, n = {n}: milliseconds {unit}, CPU time on 1 thread; over {YARDSTICK}'s",
            ]
            lines += map(line, rows)
    lines += ["", *map(verdict, result["bars"])]
    if result["share_of_others"]:
        lines.append(f"Other processes took {result['share_of_others']:.0%} of this machine meanwhile.")
    return "\n".join(lines)


def line(row):
    low, high = row["ratio_quartiles"]
    memory = f"{row['rss_mb']:8.0f} MB of {row['held_mb']:.0f}" if row.get("rss_mb") else ""
    error = "" if row["error"] is None else f"  error {row['error']:.1e}"
    times = f"{1e3 * row['seconds']:9.2f}   {row['ratio']:.3g} ({low:.3g}–{high:.3g})"
    return f"  {row['candidate']:20}{times:36}{memory}{error}"


def verdict(bar):
    said = "met" if bar["met"] else "NOT MET"
    allows = f"; {bar['limit']} allows {bar['limit_allows']}" if "limit" in bar else ""
    where = f"{bar['workload']}, n = {bar['n']}, {bar['candidate']}"
    return f"{where}: {bar['bar']}: {bar['reached']:.3g}, wanted {bar['wanted']}: {said}{allows}"


def main():
    asked = arguments("decoding.py", __doc__, "few rounds, and products with 1 and 8 rows", RESULT)
    if find_spec("transformers") is None:
        sys.exit("transformers is not installed, and it is the yardstick: pip install -e '.[peers]'")
    effort = {"seconds": 0, "rounds": 3} if asked.quick else {"seconds": 0, "rounds": 7}
    result = run(quick() if asked.quick else JOBS, **effort, command=asked.command)
    print(text(result))
    keep(result, asked, RESULT)


if __name__ == "__main__":
    main()
