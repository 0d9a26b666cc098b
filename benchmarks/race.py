"""The race: every implementation and every peer side by side on this machine, in one run.

    python benchmarks/race.py                   all of it, some 25 minutes; writes data/race-cpu.json
    python benchmarks/race.py --quick           a few minutes; prints, and writes only with --output FILE
    python benchmarks/race.py --only causal     one workload
    python benchmarks/race.py --threads 1       without the rows of two threads; writes the file as well
    python benchmarks/race.py --also mine:attention    with your own function (or module) in it

Chapters 13 and 14 draw their figures from the file. Runs on Linux and macOS; the peers that are
installed take part, the others are named (`make bench` installs them all).
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date
from pathlib import Path

import machine
import numpy as np
import table
import workloads
from candidates import candidates, visitor
from record import (
    HOW,
    heading,
    memory_exponents,
    reached,
    shape,
    significant,
    statistics,
    undisturbed,
    written,
)
from runner import WORKER, Runner

RESULT = Path(__file__).parents[1] / "src/selfattention/data/race-cpu.json"
YARDSTICK = "sdpa"
SAMPLE = 0.02  # seconds a sample should take: shorter calls are repeated


class Race:
    """What has been measured so far, and the workers that are at hand."""

    script = WORKER

    limits = None  # of the machine; without them no row says what share it reaches

    def __init__(self, folder, seconds, rounds, also=()):
        self.folder, self.seconds, self.rounds, self.also = Path(folder), seconds, rounds, also
        self.rows, self.not_measured, self.absent, self.workers = [], [], {}, {}

    def measure(self, workload, threads):
        """All candidates on one workload; rows for those that answer, reasons for the others."""
        crew = self.crew(workload, threads)
        exact = self.exact(workload)
        for worker in crew.values():  # all at once: compilers are slow, and nothing is timed yet
            worker.send("prepare", workload=asdict(workload), exact=str(exact))
        prepared = {name: worker.receive() for name, worker in crew.items()}
        runs = {name: crew[name] for name in prepared if self.works(name, prepared[name], workload, threads)}
        repeats = {name: int(np.ceil(SAMPLE / max(prepared[name]["seconds"], 1e-6))) for name in runs}
        samples = self.rounds_of(runs, repeats, "cpu" if threads == 1 else "wall", workload, threads)
        for name, times in samples.items():
            peak = runs[name].ask("memory")
            if self.works(name, peak, workload, threads):
                row = {"candidate": name} | statistics(times, samples[YARDSTICK])
                row = heading(workload, threads) | row | {"error": prepared[name]["error"]} | peak
                self.rows.append(row | (reached(workload, row, self.limits) if self.limits else {}))

    def rounds_of(self, runs, repeats, clock, workload, threads):
        """name -> the times of all rounds; the yardstick runs once more at the end."""
        samples, began = {name: [] for name in runs}, time.perf_counter()
        while len(samples[YARDSTICK]) < self.rounds or time.perf_counter() - began < self.seconds:
            for name in list(samples):
                answer = runs[name].ask("time", repeats=repeats[name])
                if self.works(name, answer, workload, threads):
                    samples[name].append(answer[clock])
                else:
                    del samples[name]
        samples[YARDSTICK].append(runs[YARDSTICK].ask("time", repeats=repeats[YARDSTICK])[clock])
        return samples

    def works(self, name, answer, workload, threads):
        """Whether that is an answer; if not, why not is kept. Without the yardstick there is no race."""
        if "failed" in answer and name == YARDSTICK:
            raise RuntimeError(f"{workload}: the yardstick fails: {answer['failed']}")
        if "failed" in answer:
            self.leave_out(name, answer["failed"], workload, threads)
        return "failed" not in answer

    def leave_out(self, name, why, workload, threads):
        why = " ".join(why.split())[:300]
        self.not_measured.append(heading(workload, threads) | {"candidate": name, "why": why})

    def crew(self, workload, threads):
        """name -> a worker for everyone who takes part; those of other workloads go home."""
        names = self.who_takes_part(workload, threads)
        wanted = {(name, threads) for name in names}
        self.dismiss(lambda key, worker: key not in wanted or not worker.alive())
        for name in names:
            if (name, threads) not in self.workers:
                self.workers[name, threads] = Runner(name, threads, self.script)
        return {name: self.workers[name, threads] for name in names}

    def who_takes_part(self, workload, threads):
        """Their names, the yardstick first; whoever does not is named with the reason."""
        names = []
        for name, candidate in (candidates(workload) | {name: visitor(name) for name in self.also}).items():
            if candidate.why_not():
                self.absent[name] = candidate.why_not()
            elif candidate.too_large(workload):
                self.leave_out(name, candidate.too_large(workload), workload, threads)
            else:
                names.append(name)
        return names

    def dismiss(self, leaves=lambda key, worker: True):
        for key in [key for key, worker in self.workers.items() if leaves(key, worker)]:
            self.workers.pop(key).close()

    def exact(self, workload):
        """The file with the float64 answer."""
        path = self.folder / f"{workload}.npz"
        if not path.exists():
            np.savez(path, *workload.exact())
        return path


def limits():
    """Measured by a worker, since the number of threads is settled before NumPy is imported."""
    worker = Runner("limits", threads=1)
    try:
        answer = worker.ask("limits")
    finally:
        worker.close()
    if "failed" in answer:
        raise RuntimeError(f"the limits of this machine: {answer['failed']}")
    return answer


def run(jobs, *, seconds, rounds, also=(), command="", report=print, of=Race):
    """The result of a race over jobs, pairs of threads and workload."""
    began, before = time.perf_counter(), machine.seconds_of_others()
    result = {"about": __doc__.splitlines()[0], "command": command, "date": date.today().isoformat()}
    result |= {"cpu": machine.cpu_model(), "cores": os.cpu_count(), "versions": machine.versions()}
    report(json.dumps(result, indent=1, ensure_ascii=False))
    result |= {"how": HOW, "limits": limits()}
    with ExitStack() as stack:
        race = of(stack.enter_context(tempfile.TemporaryDirectory()), seconds, rounds, also)
        race.limits = result["limits"] if of is Race else None
        stack.callback(race.dismiss)
        for done, (threads, workload) in enumerate(jobs):
            table.progress(done / len(jobs), f"{workload}, {threads} thread{'s' * (threads > 1)}")
            race.measure(workload, threads)
    table.progress(1, f"{time.perf_counter() - began:.0f} s")
    result["seconds"] = round(time.perf_counter() - began)
    result["share_of_others"] = share_of_others(before, time.perf_counter() - began)
    result["workloads"] = {workload.name: shape(workload) for _, workload in jobs}
    result |= {"absent": race.absent, "memory_exponent": memory_exponents(race.rows)}
    return result | {"rows": race.rows, "not_measured": race.not_measured}


def share_of_others(before, elapsed):
    """The part of the machine's processor time that went to other processes: how quiet it was."""
    if before is None:
        return None
    return significant((machine.seconds_of_others() - before) / (elapsed * os.cpu_count()))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds")
    parser.add_argument("--only", metavar="WORKLOAD", help="dense, causal, window, documents, …")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="rows of so many threads alone")
    parser.add_argument("--also", metavar="MODULE:FUNCTION", nargs="+", default=[], help="your own function")
    parser.add_argument("--output", type=Path, help=f"the file to write; of a whole race {RESULT.name}")
    return parser.parse_args()


def command(asked):
    """What would measure the same again; where it was written is nobody's business."""
    only = ["--only", asked.only] if asked.only else []
    threads = ["--threads", str(asked.threads)] if asked.threads else []
    also = ["--also", *asked.also] if asked.also else []
    quick = ["--quick"] if asked.quick else []
    return shlex.join(["python", "benchmarks/race.py", *quick, *only, *threads, *also])


def main():
    asked = arguments()
    jobs = workloads.quick() if asked.quick else workloads.full()
    names = {workload.name for _, workload in jobs}
    if asked.only not in {None, *names}:
        sys.exit(f"--only is {asked.only!r}; wanted one of {', '.join(sorted(names))}")
    jobs = [(n, w) for n, w in jobs if asked.only in (None, w.name) and asked.threads in (None, n)]
    effort = {"seconds": 0.5, "rounds": 3} if asked.quick else {"seconds": 3, "rounds": 3}
    result = run(jobs, **effort, also=asked.also, command=command(asked))
    print(table.table(result))
    output = asked.output or (None if asked.quick or asked.only else RESULT)
    if output:
        output.write_text(written(undisturbed(result)), encoding="utf-8")
        print(f"written: {output}")


if __name__ == "__main__":
    main()
