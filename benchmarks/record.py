"""What is kept of a race: medians with quartiles, exponents, and the file of all that."""

import json
from dataclasses import asdict

import numpy as np

HOW = (
    "Each candidate runs in a process of its own and is stopped while others run. In every round each runs "
    "once, for at least 20 ms, after a call that is not timed (unless it takes over a second). Seconds are "
    "those of one call: the process's CPU time with one thread, wall time with two. A ratio is that over "
    "the mean of the yardstick's (sdpa) in this round and the next. Given are medians and quartiles over "
    "the rounds. Inputs are standard normal, float32. The error is the largest absolute difference from the "
    "definition in float64, over all answers: O, and dQ, dK, dV where there is a backward pass. Peak memory "
    "is what one call adds to the process at its peak, answers included (VmHWM less VmRSS, after "
    "malloc_trim and clear_refs, with one malloc arena)."
)

BUSY = 0.1


HEADING = "name", "backward", "passes", "n"  # stands in every row


def heading(workload, threads):
    return {"workload": workload.name, "pass": workload.passes, "n": workload.n, "threads": threads}


def shape(workload):
    """What `heading` leaves out."""
    sizes = {key: value for key, value in asdict(workload).items() if key not in HEADING}
    return sizes | {"m": "n" if workload.m == workload.n else workload.m}


def statistics(times, yardstick):
    """Medians, with the quartiles beside them."""
    times, yardstick = times[: len(yardstick) - 1], np.array(yardstick)
    ratios = times / ((yardstick[1:] + yardstick[:-1]) / 2)
    low, middle, high = (significant(x) for x in np.quantile(times, [0.25, 0.5, 0.75]))
    q1, ratio, q3 = (significant(x) for x in np.quantile(ratios, [0.25, 0.5, 0.75]))
    return {
        "seconds": middle,
        "quartiles": [low, high],
        "ratio": ratio,
        "ratio_quartiles": [q1, q3],
        "rounds": len(times),
    }


def reached(workload, row, limits):
    """What share of which limit a candidate has reached: of reading for decoding, of products else.

    Products that nobody sees count for nothing. The limit is that of its arithmetic: vectors, or tiles.
    """
    if workload.n == 1:
        name, rate = "read_gbps", workload.read() / row["seconds"]
    else:
        tiled = row["candidate"] == "matrix_tiled" and limits["six_products_gflops"]
        name, rate = "six_products_gflops" if tiled else "tile_gflops", workload.flops() / row["seconds"]
    return {"limit": name, "share": significant(rate / 1e9 / limits[name] / row["threads"])}


def significant(x):
    return float(f"{x:.3g}")


def undisturbed(result):
    """The result without wall times, which become "not measured", if the machine was too busy for them.

    CPU time does not see who else was there. Wall time does, and with others taking more than BUSY of the
    machine it says more about them than about the candidates.
    """
    share = result["share_of_others"]
    if share is None or share <= BUSY:
        return result
    why = f"other processes took {share:.0%} of the machine, and this is wall time"
    kept = [row for row in result["rows"] if row["threads"] == 1]
    lost = len(result["rows"]) - len(kept)
    everything = dict.fromkeys(("workload", "pass", "n", "candidate"), "all") | {"threads": 2}
    said = [everything | {"why": f"{lost} rows: {why}"}] if lost else []
    return result | {"rows": kept, "not_measured": result["not_measured"] + said}


def memory_exponents(rows):
    """Candidate -> the power of n that its peak memory grows with: a line through log peak over log n."""
    peaks = {}
    for row in rows:
        dense = (row["workload"], row["pass"], row["threads"]) == ("dense", "forward", 1)
        if dense and row["n"] >= 512 and row["peak_mb"]:
            peaks.setdefault(row["candidate"], []).append((row["n"], row["peak_mb"]))
    return {name: slope(np.log(points)) for name, points in peaks.items() if len(points) >= 3}


def slope(points):
    return round(float(np.polyfit(*points.T, 1)[0]), 2)


def written(result):
    """JSON with a line for each row, so that a diff of two races can be read."""
    head = {key: value for key, value in result.items() if not isinstance(value, list)}
    lists = {key: value for key, value in result.items() if isinstance(value, list)}
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    for key, rows in lists.items():
        lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
        text += f',\n "{key}": [\n  {lines}\n ]' if rows else f',\n "{key}": []'
    return text + "\n}\n"
