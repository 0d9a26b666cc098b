"""What it costs to split a weight in three, by its size: a denormal rest is a detour for the processor.

    python benchmarks/splitting.py    seconds; writes data/splitting.json, from which chapter 14 draws

One thread, CPU time. Done are the steps of `formulas.truncated_pieces`, in buffers that stay in the nearest
cache: NumPy's new arrays would take longer than the steps. In every round each size is split once, and so are
zeros; a ratio is that to the weights near 1 of the same round. Given are medians and quartiles.
"""

import time
from datetime import date
from pathlib import Path

import machine
import numpy as np
from record import significant, written

from selfattention.formulas import truncated_pieces

RESULT = Path(__file__).parents[1] / "src/selfattention/data/splitting.json"
POWERS = range(0, -145, -4)
WEIGHTS, TIMES, ROUNDS = 4096, 32, 61
UPPER = np.uint32(0xFFFF0000)


def split(X, pieces, rest):
    """The three pieces of X into the three buffers, by way of the fourth."""
    np.copyto(rest, X)
    for piece in pieces:
        np.bitwise_and(rest.view(np.uint32), UPPER, out=piece.view(np.uint32))
        np.subtract(rest, piece, out=rest)


def weights():
    """Some of each size, by its power of two; and zeros."""
    near_one = np.random.default_rng(0).uniform(1, 2, size=WEIGHTS)
    sizes = {power: (near_one * 2.0**power).astype(np.float32) for power in POWERS}
    return sizes | {"zeros": np.zeros(WEIGHTS, np.float32)}


def seconds(X, pieces, rest):
    began = time.process_time_ns()
    for _ in range(TIMES):
        split(X, pieces, rest)
    return (time.process_time_ns() - began) / 1e9 / TIMES


def measured(sizes):
    """Seconds of a split by the size of the weights, a number for each round."""
    *pieces, rest = np.empty((4, WEIGHTS), np.float32)
    split(sizes[0], pieces, rest)
    np.testing.assert_array_equal(pieces, truncated_pieces(sizes[0]))
    rounds = [{size: seconds(X, pieces, rest) for size, X in sizes.items()} for _ in range(1 + ROUNDS)]
    return {size: np.array([found[size] for found in rounds[1:]]) for size in sizes}


def main():
    times = measured(weights())
    rows = []
    for size, found in times.items():
        low, ratio, high = (significant(x) for x in np.quantile(found / times[0], [0.25, 0.5, 0.75]))
        rows.append({"power": size, "ratio": ratio, "ratio_quartiles": [low, high]})
    about = {
        "about": "Time to split weights from 2^power to 2^(power + 1), or zeros, over that of weights near 1",
        "command": "python benchmarks/splitting.py",
        "date": date.today().isoformat(),
        "cpu": machine.cpu_model(),
        "weights": WEIGHTS,
        "rounds": ROUNDS,
        "nanoseconds_a_weight": significant(np.median(times[0]) / WEIGHTS * 1e9),
    }
    RESULT.write_text(written(about | {"rows": rows}), encoding="utf-8")


if __name__ == "__main__":
    main()
