"""`make kills`: two hundred times a rank of a ring is killed, at a moment and in a place drawn by chance.

    python tests/kills/kills.py                200 of them, some minutes; writes data/kills.json
    python tests/kills/kills.py --times 5      a few; prints only

Every time two to four new processes join, and compute one ring after the other, forward and back, each
beside the right answer, until one of them is killed by its id. By turns the store is a file, which outlives
everybody, or kept by rank 0, as where nobody else keeps it. What the survivors say, how long it takes them,
whether an answer was wrong and whether a process was left over is counted; tests/test_kills.py holds the log
to what is claimed.
"""

import argparse
import ast
import hashlib
import io
import json
import multiprocessing
import os
import platform
import random
import re
import signal
import socket
import sys
import time
import tokenize
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import torch.distributed as dist

from selfattention import masks, parallel
from selfattention.implementations import torch_direct
from selfattention.parallel import shards as cuts
from selfattention.parallel.processes import joined
from selfattention.parallel.ring import ring
from selfattention.trained.progress import with_bar

HERE = Path(__file__).parent
FOR_PAGES = "surprises.py", "whole.py", "workers.py"  # what notebooks start; a rank that is killed is none
LOG = HERE.parents[1] / "src/selfattention/data/kills.json"  # chapter 16 prints its totals
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch.distributed", "selfattention.parallel.ring"])
SOON = 15  # seconds in which every survivor has to say what has happened
LATEST = 1.5  # seconds after all have come: the last moment for a kill
OURS, RANK_0 = "this process", "rank 0"  # who keeps the store
NEAR = 1e-12  # of the right answer, in float64
STEP = re.compile(r"(step \d+ of ring( backward)?|the questions before ring)")
"""What an error calls the places where a rank can be when it hears of another."""


# One rank -----------------------------------------------------------------------------------------------


def rank_of(told, pipe):
    """Join, say so, and compute until an error comes; say what it was, and how many answers were right."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(told["port"])}
    os.environ |= {"RANK": str(told["rank"]), "WORLD_SIZE": str(told["p"])}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = str(told["store"] == OURS)
    answers = {"right": 0, "wrong": 0}
    try:
        with joined() as link:
            case = Case(told, link)
            pipe.send("here")
            while True:
                answers["right" if case.near() else "wrong"] += 1
    except BaseException as error:
        pipe.send(answers | {"error": type(error).__name__, "said": str(error)})


class Case:
    """A causal ring of zig-zag shards, its own rows, and what is right for them, O and three gradients."""

    def __init__(self, told, link):
        rng = torch.Generator().manual_seed(told["seed"])
        self.link, n = link, told["tokens"]
        whole = [torch.randn(4, n, 8, generator=rng, dtype=torch.float64) for _ in range(4)]
        self.shards = cuts.zigzag(n, link.size)
        mine = [i for span in self.shards[link.rank] for i in span]
        self.own = [array[:, mine].clone() for array in whole]
        self.right = [
            array[:, mine] for array in both_ways(torch_direct.attention, *whole, mask=masks.causal)
        ]

    def near(self):
        """Whether the ring says so."""
        ours = both_ways(ring, *self.own, group=self.link, shards=self.shards, mask=masks.causal)
        return all(
            bool((one - other).abs().max() < NEAR) for one, other in zip(ours, self.right, strict=True)
        )


def both_ways(attend, Q, K, V, dO, **how):
    leaves = [array.detach().requires_grad_() for array in (Q, K, V)]
    O, _ = attend(*leaves, **how)
    return [O.detach(), *torch.autograd.grad(O, leaves, dO)]


# Two hundred times --------------------------------------------------------------------------------------


def kill_one(chance, number):
    """One group, one kill: what was done, and what came of it."""
    p = chance.choice((2, 3, 4))
    drawn = {"p": p, "killed": chance.randrange(p), "after": round(chance.uniform(0, LATEST), 3)}
    drawn |= {"tokens": chance.choice((16, 64, 256)), "store": (OURS, RANK_0)[number % 2]}
    store = dist.TCPStore("127.0.0.1", 0, is_master=True) if drawn["store"] == OURS else None
    port = store.port if store else free_port()
    processes, pipes = started(drawn | {"seed": number, "port": port})
    try:
        for pipe in pipes:
            assert pipe.poll(60), "a rank has not come"
            assert pipe.recv() == "here"
        time.sleep(drawn["after"])
        began = time.monotonic()
        os.kill(processes[drawn["killed"]].pid, signal.SIGKILL)
        survivors = [rank for rank in range(p) if rank != drawn["killed"]]
        said = {rank: answer_of(pipes[rank], began + SOON) for rank in survivors}
        seconds = time.monotonic() - began
    finally:
        left = ended(processes)
    return drawn | judged(said, drawn["killed"]) | {"seconds": round(seconds, 2), "orphans": left}


def started(told):
    processes, pipes = [], []
    for rank in range(told["p"]):
        mine, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=rank_of, args=(told | {"rank": rank}, theirs))
        process.start()
        theirs.close()
        processes.append(process)
        pipes.append(mine)
    return processes, pipes


def answer_of(pipe, until):
    """What a survivor says, or None: it hangs."""
    if not pipe.poll(max(0, until - time.monotonic())):
        return None
    try:
        return pipe.recv()
    except EOFError:
        return {"error": "none", "said": "it ended without a word", "right": 0, "wrong": 0}


def ended(processes):
    """How many are still there when they have had five seconds to go; those end now, by their ids."""
    until = time.monotonic() + 5
    for process in processes:
        process.join(max(0, until - time.monotonic()))
    left = [process for process in processes if process.is_alive()]
    for process in left:
        process.kill()
        process.join()
    return len(left)


def judged(said, killed):
    """Hangs, wrong answers, and survivors whose error does not name the rank and a step."""
    answers = [answer for answer in said.values() if answer]
    named = [
        answer["error"] == "RankFailed" and f"rank {killed}" in answer["said"] and STEP.search(answer["said"])
        for answer in answers
    ]
    return {
        "hangs": len(said) - len(answers),
        "right": sum(answer["right"] for answer in answers),
        "wrong": sum(answer["wrong"] for answer in answers),
        "unnamed": [answer["said"] for answer, good in zip(answers, named, strict=True) if not good],
        "said": answers[0]["said"] if answers else None,
    }


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def fingerprint():
    """Of what `parallel` does: its sources without comments, docstrings and empty lines."""
    digest = hashlib.sha256()
    for path in sorted(Path(parallel.__file__).parent.glob("*.py")):
        if path.name in FOR_PAGES:
            continue
        digest.update("\n".join(lines_that_do(path.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()


def lines_that_do(text):
    """The lines of a source, each up to its comment; docstrings and what is empty left out."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            words = node.body[0]
            lines[words.lineno - 1 : words.end_lineno] = [""] * (words.end_lineno - words.lineno + 1)
    return [line.rstrip() for line in lines if line.strip()]


def written(log):
    """JSON with a line for each kill."""
    head = json.dumps({key: value for key, value in log.items() if key != "kills"}, indent=1)
    lines = ",\n  ".join(json.dumps(kill, ensure_ascii=False) for kill in log["kills"])
    return head.removesuffix("\n}") + f',\n "kills": [\n  {lines}\n ]\n}}\n'


def totals(kills):
    counts = {key: sum(kill[key] for kill in kills) for key in ("hangs", "orphans", "right", "wrong")}
    counts["unnamed"] = sum(len(kill["unnamed"]) for kill in kills)
    return {"times": len(kills)} | counts | {"longest": max(kill["seconds"] for kill in kills)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # or every survivor prints the library's stack
    chance = random.Random(asked.seed)
    kills = [kill_one(chance, number) for number in with_bar(range(asked.times), "killed")]
    where = {"python": platform.python_version(), "torch": version("torch"), "sources": fingerprint()}
    log = {"date": date.today().isoformat(), "seed": asked.seed, "cores": os.cpu_count(), "versions": where}
    log |= {"totals": totals(kills), "kills": kills}
    print(json.dumps(log["totals"], indent=1))
    for kill in kills:
        for said in kill["unnamed"]:
            print(said, file=sys.stderr)
    if asked.times == parser.get_default("times"):
        LOG.write_text(written(log), encoding="utf-8")
        print(f"written: {LOG.relative_to(HERE.parents[1])}")


if __name__ == "__main__":
    main()
