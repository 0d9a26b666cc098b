"""One candidate in a process of its own: a request is a line of JSON on stdin, and so is its answer.

    {"do": "prepare", "workload": {...}, "exact": "FILE.npz"}   -> {"seconds": ..., "error": ...}
    {"do": "time", "repeats": 3}                                -> {"cpu": ..., "wall": ...}, of one call
    {"do": "memory"}                                            -> {"peak_mb": ...}
    {"do": "limits"}                                            -> {"matmul_gflops": ..., ...}

Whatever goes wrong is an answer too: {"failed": "ValueError: ..."}.
"""

import ctypes
import json
import os
import signal
import sys
import time

import machine
import numpy as np
from candidates import find
from workloads import Workload

LONG = 1.0  # seconds; a call that takes longer is not repeated to be warm


class Worker:
    """Holds the prepared call between requests."""

    def __init__(self, name):
        self.name, self.run, self.warm = name, None, True

    def prepare(self, workload, exact):
        """Build the call, compare its answer with the float64 one, and see how long it takes."""
        self.run = None  # let go of the last workload's arrays first
        self.run, read = self.prepared(workload)
        error = largest_error(read(self.run()), exact)
        self.warm = True
        seconds = min(self.time(1).values())  # other processes make the wall's longer, threads the CPU's
        self.warm = seconds < LONG
        return {"seconds": seconds, "error": error}

    def prepared(self, workload):
        workload = Workload(**workload)
        return find(self.name, workload).prepare(workload)

    def time(self, repeats):
        """Seconds of one call: of this process, all its threads together, and on the wall.

        A call before the clock starts: while this process was stopped, its memory may have gone back
        to the system, and on a virtual machine to the host. Getting it again has taken longer than
        the formula.
        """
        if self.warm:
            self.run()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            self.run()
        return {
            "cpu": (time.process_time() - cpu) / repeats,
            "wall": (time.perf_counter() - wall) / repeats,
        }

    def memory(self):
        return {"peak_mb": machine.peak_megabytes(self.run)}

    def limits(self):
        return machine.limits()


def largest_error(answers, exact):
    """max abs difference over all arrays of an answer; None for a call that answers nothing."""
    if answers is None:
        return None
    with np.load(exact) as expected:
        pairs = list(zip(answers, expected.values(), strict=True))
        error = max(float(np.abs(a - b).max()) for a, b in pairs if _same_shape(a, b))
    if not np.isfinite(error):
        raise ValueError("its answer is not finite")
    return float(f"{error:.3g}")


def _same_shape(a, b):
    if a.shape != b.shape:
        raise ValueError(f"its answer has shape {a.shape}; wanted {b.shape}")
    return True


def root(error):
    """The first cause, without the layers that have passed it on."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return f"{type(error).__name__}: {error}"


def private_stdout():
    """Our end of the line; what a library prints goes to stderr, where it cannot be taken for an answer."""
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return mine


def end_with_parent():
    """A process that the race has stopped could not see its parent go; Linux ends it then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


def main(of=Worker):
    end_with_parent()
    answers, worker = private_stdout(), of(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # whatever a peer raises is a result of the race
            answer = {"failed": root(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
