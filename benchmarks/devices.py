"""The race of several processes with one: attention divided by heads, in a ring, by all-to-all.

    python benchmarks/devices.py              some six minutes; writes data/devices.json
    python benchmarks/devices.py --quick      a minute; prints, and writes only with --output FILE

Every rank is a process of one thread on a core of its own, as long as there are cores; with more ranks some
share one. Chapter 16 draws its figures from the file, and calibrates its cost model by it.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import machine
import numpy as np
import race
import table
from ask import arguments, keep
from ranks import Case
from record import significant, statistics
from runner import Runner

from selfattention.formulas import (
    attention_flops,
    contiguous_work,
    exposed_seconds,
    ring_seconds,
    ring_words,
    shard_start,
    shared_rate,
    zigzag_work,
)
from selfattention.parallel.ring import KEYS

RESULT = Path(__file__).parents[1] / "src/selfattention/data/devices.json"
RANKS = Path(__file__).with_name("ranks.py")
ALONE, TOGETHER = "one process", "ring, all heads at once"

DENSE, CAUSAL = Case(), Case(mask="causal", layout="zigzag")
BOTH_WAYS, BLOCK, SMALL = Case(backward=True), Case(way="heads", n=2048, h=16, g=16), Case(n=1024)
# Workload, what one process does, and by whom it is divided: name, ranks, how.
JOBS = [
    (
        "dense",
        DENSE,
        [
            ("apart", 2, replace(DENSE, way="apart")),
            *(("ring", p, DENSE) for p in (2, 3, 4)),
            ("ring that waits", 2, replace(DENSE, waits=True)),
            (TOGETHER, 2, replace(DENSE, queries=DENSE.h * DENSE.n)),
            *(("all-to-all", p, replace(DENSE, way="all-to-all")) for p in (2, 3, 4)),
        ],
    ),
    (
        "causal",
        CAUSAL,
        [
            *(("ring", p, CAUSAL) for p in (2, 3, 4)),
            ("ring, contiguous", 2, replace(CAUSAL, layout="contiguous")),
        ],
    ),
    ("forward and backward", BOTH_WAYS, [("ring", 2, BOTH_WAYS)]),
    ("block", BLOCK, [("heads", p, BLOCK) for p in (2, 3, 4)]),
    ("short", SMALL, [("ring", 2, SMALL), ("ring that waits", 2, replace(SMALL, waits=True))]),
]
SIZES = 2**12, 2**24  # bytes of a message
# Asked of two ranks: at most this part of one process's time, or of another candidate's.
BARS = [
    ("dense", "ring", ALONE, 0.52),
    ("causal", "ring", ALONE, 0.56),
    ("causal", "ring", "ring, contiguous", 0.75),
    ("forward and backward", "ring", ALONE, 0.56),
    ("block", "heads", ALONE, 0.56),
    ("dense", "all-to-all", ALONE, 0.58),
]
LONG, MORE = 2048, 5  # tokens from which a call is long enough for few rounds; else so many times as many
MEMORY = 0.55  # of one process's peak: asked of a rank of two
MODELLED = "ring", "all-to-all", "heads"
HOW = (
    "Every rank is a process of one thread, rank r on core r mod the number of cores. Between its turns a "
    "process is stopped. In every round one process and each of the groups runs once, a group from a barrier "
    "on until its slowest rank is done: seconds are wall time. A ratio is that over the mean of one "
    "process's in this round and the next. Given are medians and quartiles over the rounds. `cpu` and "
    "`waited` are medians of the slowest rank's seconds, `sent` the bytes of the rank that sends most. The "
    "error is the largest absolute difference from one process, float32, standard normal inputs. `apart` "
    "divides the queries and sends nothing: every rank has all keys. A message goes around a ring of two, "
    "all at once. Peak memory is what arrays and call add to a process (VmHWM less VmRSS, as in race.py); of "
    "ranks the largest. Its arrays are inputs, state and answer, what travels, and what the implementation "
    "copies of the queries that it is given; without a tile's scores, and what the allocator cannot reuse."
)
TORCHRUN = "--tokens 1024 --d-model 256 --heads 8"


class Crews:
    """Groups of ranks by their number, made when they are first asked."""

    def __init__(self, folder):
        self.folder, self.crews = Path(folder), {}

    def ask(self, p, do, **request):
        """The answers of all ranks, which are asked at once."""
        crew = self.crews.setdefault(p, []) or self._made(p)
        for runner in crew:
            runner.send(do, **request)
        answers = [runner.receive() for runner in crew]
        for rank, answer in enumerate(answers):
            if "failed" in answer:
                raise RuntimeError(f"rank {rank} of {p}: {answer['failed']}")
        return answers

    def _made(self, p):
        store = str(self.folder / f"store-{p}")
        told = [json.dumps({"rank": rank, "p": p, "store": store}) for rank in range(p)]
        self.crews[p] += [Runner(one, 1, RANKS) for one in told]
        return self.crews[p]

    def forget(self):
        for p in self.crews:
            self.ask(p, "forget")

    def close(self):
        for crew in self.crews.values():
            for runner in crew:
                runner.close()


def run(jobs, *, rounds, command, report=print):
    """The result: in every job one process and all groups in turn, so many rounds."""
    began, before = time.perf_counter(), machine.seconds_of_others()
    result = {"about": __doc__.splitlines()[0], "command": command, "date": date.today().isoformat()}
    result |= {"cpu": machine.cpu_model(), "cores": os.cpu_count(), "versions": machine.versions()}
    result |= {"how": HOW, "load": os.getloadavg()}
    report(result["cpu"], f"{result['cores']} cores, load {result['load'][0]:.1f}")
    rows = []
    with ExitStack() as stack:
        crews = Crews(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(crews.close)
        for done, (workload, alone, candidates) in enumerate(jobs):
            table.progress(done / (len(jobs) + 1), f"{workload}, n = {alone.n}")
            rows += measured(crews, workload, alone, candidates, rounds)
        table.progress(len(jobs) / (len(jobs) + 1), "messages and memory")
        messages, memory = list(message_rows(crews, rounds)), list(memory_rows(crews))
    result["seconds"] = round(time.perf_counter() - began)
    result["share_of_others"] = race.share_of_others(before, time.perf_counter() - began)
    result["model"] = model(rows, messages, result["cores"])
    result |= {"rows": rows, "messages": messages, "memory": memory}
    result |= {"predictions": list(predictions(rows, result["model"])), "bars": list(bars(rows, memory))}
    return result | {"torchrun": torchrun()}


def measured(crews, workload, alone, candidates, rounds):
    """A row for one process and one for every group."""
    errors = {}
    everyone = [(ALONE, 1, alone), *candidates]
    for name, p, case in everyone:
        answers = crews.ask(p, "prepare", name=name, case=asdict(case))
        errors[name, p] = max((answer["error"] for answer in answers), key=lambda error: error or 0)
    samples = {(name, p): [] for name, p, _ in everyone}
    for _ in range(rounds if alone.n >= LONG else MORE * rounds):
        for (name, p), taken in samples.items():
            taken.append(crews.ask(p, "time", name=name))
    samples[ALONE, 1].append(crews.ask(1, "time", name=ALONE))
    crews.forget()
    walls = {key: [slowest(answers, "wall") for answers in taken] for key, taken in samples.items()}
    for name, p, case in everyone:
        taken = samples[name, p]
        row = {"workload": workload, "n": case.n, "p": p, "candidate": name}
        row |= statistics(walls[name, p], walls[ALONE, 1])
        row["cpu"], row["waited"] = (median(taken, key) for key in ("cpu", "waited"))
        row |= {"sent": slowest(taken[0], "sent"), "flops": flops(case, p), "error": errors[name, p]}
        row["over"] = {other: over(walls[name, p], walls[other, 2]) for other in rivals(workload, name, p)}
        yield row


def rivals(workload, name, p):
    """Whom else two ranks are held against: whom a bar names, and in the same job two that send nothing."""
    named = [other for job, who, other, _ in BARS if (job, who) == (workload, name) and other != ALONE]
    apart = ["apart"] if workload == "dense" and name != "apart" else []
    return named + apart if p == 2 else []


def slowest(answers, key):
    return max(answer[key] for answer in answers)


def median(taken, key):
    return significant(np.median([slowest(answers, key) for answers in taken]))


def over(ours, theirs):
    """Median and quartiles of the ratios, round by round."""
    ratios = np.array(ours) / np.array(theirs)
    return [significant(x) for x in np.quantile(ratios, [0.25, 0.5, 0.75])]


def flops(case, p):
    """Operations of the rank that has the most to do, without those of the softmax."""
    n, h, d = case.n, case.h, case.d
    passes = 3.5 if case.backward else 1  # two products forward, five on the way back
    per_head = attention_flops(n, n, d, d)
    if case.way in ("heads", "all-to-all"):
        groups = max(b - a for a, b in pairwise(shard_start(case.g, p, rank) for rank in range(p + 1)))
        heads = groups * (h // case.g)
        block = 2 * n * h * d * (2 * heads + 2 * groups) * d if case.way == "heads" else 0
        return passes * (heads * per_head + block)
    if case.mask == "causal":
        shares = zigzag_work if case.layout == "zigzag" else contiguous_work
        return passes * h * attention_flops(1, max(shares(n, p, rank) for rank in range(p)), d, d)
    own = max(b - a for a, b in pairwise(shard_start(n, p, rank) for rank in range(p + 1)))
    return passes * h * attention_flops(own, n, d, d)


def message_rows(crews, rounds):
    """Seconds of a small and of a large message between two, sent and received at once."""
    for size in SIZES:
        taken = [slowest(crews.ask(2, "message", size=size, times=10), "wall") for _ in range(2 * rounds)]
        low, middle, high = (significant(x) for x in np.quantile(taken, [0.25, 0.5, 0.75]))
        yield {"bytes": size, "seconds": middle, "quartiles": [low, high]}


def memory_rows(crews):
    """The peak of one process, by tiles and by the formula, and of a rank; and what the arrays alone are."""
    for name, p, case in (
        (ALONE, 1, DENSE),
        ("one process, by the formula", 1, replace(DENSE, alone="direct")),
        *(("ring", p, DENSE) for p in (2, 3, 4)),
        (TOGETHER, 2, replace(DENSE, queries=DENSE.h * DENSE.n)),
    ):
        peak = max(answer["peak_mb"] for answer in crews.ask(p, "memory", case=asdict(case)))
        yield {"n": case.n, "p": p, "candidate": name, "peak_mb": peak, "arrays_mb": arrays(name, p, case)}


def arrays(name, p, case):
    """Megabytes (MiB) of the arrays that a rank, or one process, holds beside the scores of a tile.

    The implementation makes three more of as many queries and heads as it is given: scaled Q, Õ, and O. One
    process gives it all of them; a rank some at a time, beside Q and O of all its own.
    """
    n, h, d = -(-case.n // p), case.h, case.d
    if name in ("ring", TOGETHER):
        piece = -(-n // -(-n // KEYS))
        words = ring_words(n, n, piece, h, case.g, d, d) + 3 * min(n * h, case.queries) * d
    elif case.alone == "direct":
        words = n * h * (2 * d + 2) + n * case.g * 2 * d + h * n * n
    else:
        words = n * h * (4 * d + 3) + n * case.g * 2 * d
    return round(4 * words / 2**20, 1)


def model(rows, messages, cores):
    """What the cost model is told of this machine: of all that it predicts it has seen the short ring alone.

    That one's time is in the overlap; rates are those of one process and of bare messages.
    """
    small, large = messages
    speed = (large["bytes"] - small["bytes"]) / (large["seconds"] - small["seconds"])
    told = {"devices": cores, "latency": small["seconds"], "bytes_per_second": significant(speed)}
    alone = [row for row in rows if row["candidate"] == ALONE]
    told["flops_per_second"] = {row["workload"]: significant(row["flops"] / row["seconds"]) for row in alone}
    return told | {"overlap": overlap(rows, told)}


def overlap(rows, told):
    """The part of the shorter that is hidden, where messages are a large part: what waiting adds, over it."""
    found = {(row["workload"], row["candidate"]): row for row in rows}
    ring, waits = found["short", "ring"], found["short", "ring that waits"]
    computing = ring["flops"] / (2 * told["flops_per_second"]["short"])
    sending = told["latency"] + ring["sent"] / told["bytes_per_second"]
    saved = (waits["ratio"] - ring["ratio"]) * found["short", ALONE]["seconds"]
    return significant(min(1, max(0, saved / min(computing, sending))))


def predictions(rows, told):
    """What the model says of every group, beside what was measured."""
    for row in rows:
        if row["candidate"] in MODELLED:
            p, devices = row["p"], told["devices"]
            rank = {"flops": row["flops"], "sent_bytes": row["sent"], "latency": told["latency"]}
            rank["flops_per_second"] = shared_rate(told["flops_per_second"][row["workload"]], p, devices)
            rank["bytes_per_second"] = shared_rate(told["bytes_per_second"], p, devices)
            ring = row["candidate"] == "ring"
            seconds = ring_seconds(p, **rank, overlap=told["overlap"]) if ring else exposed_seconds(p, **rank)
            names = {key: row[key] for key in ("workload", "candidate", "p")}
            yield names | {
                "predicted": significant(seconds),
                "measured": row["seconds"],
                "off": round(seconds / row["seconds"] - 1, 3),
            }


def bars(rows, memory):
    """What was asked for, what was reached, and a yardstick of the same run.

    Over one process that is what two reach that send nothing: no limit, for it varies as they do. Over
    other shards, the work of the rank that has most. Of memory, a rank's arrays over the same peak, under
    which nobody comes who keeps and copies as much.
    """
    found = {(row["workload"], row["candidate"]): row for row in rows if row["p"] <= 2}
    for workload, name, other, wanted in BARS:
        row = found[workload, name]
        low, reached, high = row["over"][other] if other != ALONE else with_median(row)
        bar = {"bar": f"seconds over those of {other}", "workload": workload, "candidate": name, "p": 2}
        bar |= {"wanted": wanted, "reached": reached, "quartiles": [low, high], "met": reached <= wanted}
        if other == ALONE:
            yardstick, reaches = "apart, dense", found["dense", "apart"]["ratio"]
        else:
            yardstick, reaches = "operations", significant(row["flops"] / found[workload, other]["flops"])
        yield bar | {"yardstick": yardstick, "yardstick_reaches": reaches}
    peaks = {(row["candidate"], row["p"]): row for row in memory}
    rank = peaks["ring", 2]
    for other in ALONE, "one process, by the formula":
        share = significant(rank["peak_mb"] / peaks[other, 1]["peak_mb"])
        bar = {"bar": f"peak memory over that of {other}", "workload": "dense", "candidate": "ring", "p": 2}
        bar |= {"wanted": MEMORY, "reached": share, "met": share <= MEMORY}
        alone = significant(rank["arrays_mb"] / peaks[other, 1]["peak_mb"])
        yield bar | {"yardstick": "a rank's arrays over that peak", "yardstick_reaches": alone}


def with_median(row):
    low, high = row["ratio_quartiles"]
    return low, row["ratio"], high


def torchrun():
    """What the command prints, as chapter 16 shows it; the place of the program is nobody's business."""
    words = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "selfattention.parallel"]
    words += TORCHRUN.split()
    program = Path(sys.executable).with_name("torchrun")
    done = subprocess.run(
        [program, *words[1:]],
        env=os.environ | machine.environment(1),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"torchrun ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return {"command": shlex.join(words), "output": done.stdout.rstrip().splitlines()}


def quick():
    """The jobs with a quarter of the tokens."""
    return [
        (workload, shorter(alone), [(name, p, shorter(case)) for name, p, case in candidates])
        for workload, alone, candidates in JOBS
    ]


def shorter(case):
    return replace(case, n=max(case.n // 4, 512))


def text(result):
    """The rows of every job, messages, memory, and the bars under them."""
    lines = [f"Other processes took {result['share_of_others'] or 0:.0%} of this machine meanwhile."]
    predicted = {(row["workload"], row["candidate"], row["p"]): row for row in result["predictions"]}
    for row in result["rows"]:
        if row["candidate"] == ALONE:
            lines += [
                "",
                f"{row['workload']}, n = {row['n']}: seconds; over those of one process; as predicted",
            ]
        low, high = row["ratio_quartiles"]
        times = f"{row['seconds']:8.4g}   {row['ratio']:.3f} ({low:.3f}–{high:.3f})"
        said = predicted.get((row["workload"], row["candidate"], row["p"]))
        model = f"{said['predicted']:8.4g} ({said['off']:+.0%})" if said else ""
        lines.append(f"  {row['candidate']:18}{row['p']:3}{times:34}{model}")
    lines += [
        "",
        *(f"{row['bytes']:>10,} bytes: {1e3 * row['seconds']:.3g} ms" for row in result["messages"]),
    ]
    lines += [
        f"{row['candidate']}, {row['p']}: {row['peak_mb']} MB, of which arrays {row['arrays_mb']}"
        for row in result["memory"]
    ]
    return "\n".join([*lines, "", *map(verdict, result["bars"]), "", *result["torchrun"]["output"]])


def verdict(bar):
    said = "met" if bar["met"] else "NOT MET"
    where = f"{bar['workload']}, {bar['candidate']}"
    reached = f"{bar['reached']:.3g}, wanted {bar['wanted']}"
    return f"{where}: {bar['bar']}: {reached}: {said}; {bar['yardstick']}: {bar['yardstick_reaches']}"


def main():
    asked = arguments("devices.py", __doc__, "a quarter of the tokens, few rounds", RESULT)
    jobs, rounds = (quick(), 3) if asked.quick else (JOBS, 9)
    result = run(jobs, rounds=rounds, command=asked.command)
    print(text(result))
    keep(result, asked, RESULT)


if __name__ == "__main__":
    main()
