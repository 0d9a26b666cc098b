"""The race over pictures: attention over a whole map of places, and in Swin's shifted windows.

    python benchmarks/vision.py              some five minutes; writes data/vision.json
    python benchmarks/vision.py --quick      a minute; prints, and writes only with --output FILE

One thread, float32, beside torch's fused kernel; `windows` says what is asked and who takes part. Chapter 17
prints the bars of the file.
"""

from pathlib import Path

import race
import table
from ask import arguments, keep
from record import significant
from windows import TAKE_PART, Windows
from workloads import Workload

RESULT = Path(__file__).parents[1] / "src/selfattention/data/vision.json"
PLACES = 96 * 96
# Asked of numba_tiled: at most so many times the yardstick's time, or numpy_direct's memory.
BARS = [
    ("map", "forward", "ratio", 0.88),
    ("map", "forward+backward", "ratio", 0.92),
    ("map", "forward", "memory", 0.02),
    ("windows", "forward", "ratio", 0.95),
    ("layer", "forward", "ratio", 0.9),
]


def jobs(places=PLACES):
    """(threads, workload), all that is asked."""
    one = [Workload("map", places, places, h=1, g=1, d_k=32, d_v=32, backward=both) for both in (False, True)]
    return [(1, workload) for workload in (*one, Windows("windows"), Windows("layer"), Windows("rule"))]


class Race(race.Race):
    """The race with other workers; the direct formula goes no further than the forward pass of a map."""

    script = Path(__file__).with_name("windows.py")

    def who_takes_part(self, workload, threads):
        names = TAKE_PART[workload.name]
        return [name for name in names if workload.passes == "forward" or name != "numpy_direct"]


def bars(rows):
    """What was asked for, and what was reached."""
    found = {(row["workload"], row["pass"], row["candidate"]): row for row in rows}
    for workload, passes, what, wanted in BARS:
        row = found[workload, passes, "numba_tiled"]
        if what == "memory":
            direct = found[workload, passes, "numpy_direct"]["peak_mb"]
            reached = significant(row["peak_mb"] / direct) if direct else None
        else:
            reached = row["ratio"]
        if reached is not None:  # not every system can be asked for a call's memory
            where = {"workload": workload, "pass": passes, "n": row["n"], "bar": what}
            yield where | {"wanted": wanted, "reached": reached, "met": reached <= wanted}


def verdict(bar):
    said = "met" if bar["met"] else "NOT MET"
    over = "numpy_direct's memory" if bar["bar"] == "memory" else "sdpa's time"
    return f"{bar['workload']}, {bar['pass']}: {bar['reached']:.3g} of {over}, wanted {bar['wanted']}: {said}"


def run(asked_for, *, seconds, rounds, command="", report=print):
    result = race.run(asked_for, seconds=seconds, rounds=rounds, command=command, report=report, of=Race)
    return result | {"about": __doc__.splitlines()[0], "bars": list(bars(result["rows"]))}


def main():
    asked = arguments("vision.py", __doc__, "a smaller map, few rounds", RESULT)
    effort = {"seconds": 0.5, "rounds": 3} if asked.quick else {"seconds": 8, "rounds": 7}
    result = run(jobs(48 * 48) if asked.quick else jobs(), **effort, command=asked.command)
    print(table.table(result), *map(verdict, result["bars"]), sep="\n")
    keep(result, asked, RESULT)


if __name__ == "__main__":
    main()
