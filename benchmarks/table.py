"""What the race prints: how far it is, then who took how long."""

import sys
from itertools import groupby

from candidates import ATTENTION, Ours

MINE = {name for name, candidate in ATTENTION.items() if isinstance(candidate, Ours)} | {"modules"}


def progress(share, text):
    """A bar on stderr, drawn over the last one."""
    filled, end = round(30 * share), "\n" if share == 1 else ""
    print(f"\r[{'█' * filled}{'·' * (30 - filled)}] {text:60}", end=end, file=sys.stderr, flush=True)


def table(result):
    """Every race of the result; then the memory, the limits, and who was not there."""
    races = [one_race(list(rows)) for _, rows in groupby(result["rows"], title)]
    return "\n\n".join([*races, "\n".join(summary(result))])


def title(row):
    unit = "CPU time" if row["threads"] == 1 else "wall time"
    return f"{row['workload']}, {row['pass']}, {unit} on {row['threads']} thread{'s' * (row['threads'] > 1)}"


def one_race(rows):
    """A line for each candidate, a column for each n: its time over the yardstick's."""
    sizes = sorted({row["n"] for row in rows})
    cells = {(row["candidate"], row["n"]): row for row in rows}
    lines = [title(rows[0]), line("time over SDPA's, n =", sizes, "largest error", "MB, last n")]
    for name in dict.fromkeys(row["candidate"] for row in rows):
        own = [cells.get((name, n)) for n in sizes]
        there = [row for row in own if row]
        worst = max((row["error"] for row in there if row["error"] is not None), default=None)
        lines.append(
            line(name, map(ratio, own), "–" if worst is None else f"{worst:.1e}", there[-1]["peak_mb"])
        )
    return "\n".join([*lines, *ours_over(rows, sizes)])


def line(name, columns, error, memory):
    memory = "–" if memory is None else memory
    return f"{name:29}" + "".join(f"{column:>18}" for column in columns) + f"{error:>15}{memory:>13}"


def ratio(row):
    low, high = row["ratio_quartiles"] if row else (0, 0)
    return f"{row['ratio']:.3g} ({low:.3g}–{high:.3g})" if row else "–"


def ours_over(rows, sizes):
    """The fastest of ours over the fastest of the others; of a block, over what people call, too."""
    names = {row["candidate"] for row in rows}
    peers = {"the best peer": names - MINE, "nn_mha": names & {"nn_mha"}}
    for about, them in peers.items():
        if them and names & MINE:
            factors = [fastest(rows, n, MINE) / fastest(rows, n, them) for n in sizes]
            yield line(f"our best / {about}", [f"{factor:.2f}" for factor in factors], "", "")


def fastest(rows, n, names):
    seconds = [row["seconds"] for row in rows if row["n"] == n and row["candidate"] in names]
    return min(seconds, default=float("nan"))


def summary(result):
    yield "One thread's limits: " + ", ".join(f"{name} {rate}" for name, rate in result["limits"].items())
    for row in result["rows"]:
        if (row["workload"], row["pass"], row["n"], row["threads"]) == ("dense", "forward", 2048, 1):
            yield f"  {row['candidate']:20} {row['share']:4.0%} of {row['limit']}, dense n = 2048"
    for name, exponent in result["memory_exponent"].items():
        yield f"  {name:20} peak memory, dense, grows as n^{exponent}"
    for name, why in result["absent"].items():
        yield f"absent: {name}: {why}"
    for row in result["not_measured"]:
        where = f"{row['workload']}, {row['pass']}, n = {row['n']}"
        yield f"not measured: {row['candidate']}, {where}: {row['why']}"
    if result["share_of_others"]:
        yield f"Other processes took {result['share_of_others']:.0%} of this machine meanwhile."
