"""One rank of a group in a process of its own, or one process alone; asked as `worker` says.

python benchmarks/ranks.py '{"rank": 0, "p": 2, "store": "FILE"}'

{"do": "prepare", "case": {...}}      -> {"error": ...}, against one process, of this rank's rows
{"do": "time"}                        -> {"wall": ..., "cpu": ..., "waited": ..., "sent": ...}, of one call
{"do": "message", "size": ..., "times": ...}   -> {"wall": ...}, of one message around the ring
{"do": "memory", "case": {...}}       -> {"peak_mb": ...}, arrays included
"""

import json
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import machine
import torch
import torch.distributed as dist
import worker

from selfattention import masks
from selfattention.implementations import torch_direct, torch_tiled
from selfattention.parallel import ring as ring_module
from selfattention.parallel import shards as cuts
from selfattention.parallel.all_to_all import all_to_all
from selfattention.parallel.head_parallel import head_parallel, heads_of
from selfattention.parallel.links import Link
from selfattention.parallel.ring import ring

PATIENCE = timedelta(minutes=10)  # a rank that is stopped is no rank that is gone
ALONE = {"tiled": torch_tiled.attention, "direct": torch_direct.attention}
WAYS = {"ring": ring, "all-to-all": all_to_all}
LAYOUTS = {"contiguous": cuts.contiguous, "zigzag": cuts.zigzag}


@dataclass(frozen=True)
class Case:
    """One question to one process and to several. float32, standard normal inputs, one head d wide."""

    way: str = "ring"  # or all-to-all, heads: a block, apart: everybody for himself
    n: int = 8192
    h: int = 8
    g: int = 8
    d: int = 64
    mask: str = "none"
    layout: str = "contiguous"
    backward: bool = False
    waits: bool = False  # for every message as soon as it has begun: no overlap
    queries: int = ring_module.QUERIES  # of all heads, that a ring computes at a time
    alone: str = "tiled"

    def rule(self):
        return masks.causal if self.mask == "causal" else None

    def inputs(self):
        """Q, K, V and dO; of a block X, the four matrices and dY."""
        rng = torch.Generator().manual_seed(0)
        h, g, n, d = self.h, self.g, self.n, self.d
        if self.way != "heads":
            return [
                torch.randn(*shape, generator=rng) for shape in [(h, n, d), (g, n, d), (g, n, d), (h, n, d)]
            ]
        wide = h * d
        shapes = [(n, wide), (wide, wide), (wide, g * d), (wide, g * d), (wide, wide), (n, wide)]
        X, *matrices, dY = (torch.randn(*shape, generator=rng) for shape in shapes)
        return [X, *(W * wide**-0.5 for W in matrices), dY]


class Waiting(Link):
    """A link that waits for each message before anything else is done."""

    def start(self, step, *arguments):
        moving = super().start(step, *arguments)
        came = moving.wait()
        moving.wait = lambda: came
        return moving


class Rank:
    """Holds its end of the group, and the prepared call, between requests."""

    def __init__(self, told):
        told = json.loads(told)
        self.rank, self.p, self.link, self.runs = told["rank"], told["p"], None, {}
        if hasattr(os, "sched_setaffinity"):  # all its threads stay on one core, those that send as well
            os.sched_setaffinity(0, {self.rank % os.cpu_count()})
        if self.p > 1:
            store = dist.FileStore(told["store"], self.p)
            dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.p, timeout=PATIENCE)
            self.link = Link()

    def prepare(self, name, case):
        """The call, tried once; its error is the largest difference from one process, on this rank's rows."""
        case = Case(**case)
        inputs = case.inputs()
        link = self._link(case)
        run, right = (self._heads if case.way == "heads" else self._tokens)(case, link, *inputs)
        self.runs[name] = run, link
        ours = run()
        return {"error": max(map(_largest_difference, ours, right(inputs)), default=None)}

    def forget(self):
        self.runs.clear()
        return {}

    def _link(self, case):
        return None if self.link is None else (Waiting if case.waits else Link)(self.link.group)

    def _tokens(self, case, link, Q, K, V, dO):
        """Attention, forward or both ways, and the same rows out of one process."""
        how = {"mask": case.rule()}
        if self.p == 1:
            return partial(_passes, partial(ALONE[case.alone], **how), case, Q, K, V, dO), lambda inputs: []
        shards = LAYOUTS[case.layout](case.n, self.p)
        mine = [i for span in shards[self.rank] for i in span]
        own = [array[:, mine].clone() for array in (Q, K, V, dO)]
        if case.way == "apart":  # a yardstick: nothing is sent
            return partial(_passes, ALONE[case.alone], case, own[0], K, V, own[3]), lambda inputs: []
        attend = partial(_attend, case, group=link, shards=shards, **how)

        def right(inputs):
            whole = _passes(partial(ALONE[case.alone], **how), case, *inputs)
            return [array[:, mine] for array in whole]

        return partial(_passes, attend, case, *own), right

    def _heads(self, case, link, X, W_Q, W_K, W_V, W_O, dY):
        """A whole block, and the same out of one process."""
        if self.p == 1:
            return partial(_block, case, X, W_Q, W_K, W_V, W_O), lambda inputs: []
        *own, h, g = heads_of(W_Q, W_K, W_V, W_O, case.h, case.g, rank=self.rank, p=self.p)
        own = [W.contiguous() for W in own]
        call = partial(head_parallel, X, *own, h, g, group=link, mask=case.rule())
        return lambda: [call()], lambda inputs: _block(case, *inputs[:-1])

    def time(self, name):
        """One call that begins when all ranks are here."""
        run, link = self.runs[name]
        before = (link.waited, link.sent) if link else (0, 0)
        if link:
            dist.barrier(link.group)
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        after = (link.waited, link.sent) if link else (0, 0)
        return took | {"waited": after[0] - before[0], "sent": after[1] - before[1]}

    def message(self, size, times):
        """Seconds of one message of so many bytes to the rank ahead, while one comes from behind."""
        link, array = self.link, torch.ones(size // 4)
        ahead, behind = (self.rank + 1) % self.p, (self.rank - 1) % self.p
        dist.barrier(link.group)
        began = time.perf_counter()
        for _ in range(times):
            link.start("a message", link.call(), {ahead: array}, {behind: array.shape}, array).wait()
        return {"wall": (time.perf_counter() - began) / times}

    def memory(self, case):
        """What this rank's arrays and the call add to the process at its peak; no rank makes them all."""
        case, link = Case(**case), self.link

        def whole():
            shards = LAYOUTS[case.layout](case.n, self.p)
            n = cuts.tokens(shards[self.rank])
            Q, K, V = (torch.ones(heads, n, case.d) for heads in (case.h, case.g, case.g))
            if self.p == 1:
                return ALONE[case.alone](Q, K, V, mask=case.rule())
            return _attend(case, Q, K, V, group=link, shards=shards, mask=case.rule())

        self.runs.clear()
        return {"peak_mb": machine.peak_megabytes(whole)}


def _attend(case, Q, K, V, **how):
    """O and L of this rank's queries."""
    ring_module.QUERIES = case.queries
    return WAYS[case.way](Q, K, V, **how)


def _passes(attend, case, Q, K, V, dO):
    """O, and where the case goes backward dQ, dK and dV."""
    if not case.backward:
        return [attend(Q, K, V)[0]]
    leaves = [array.detach().requires_grad_() for array in (Q, K, V)]
    O, _ = attend(*leaves)
    return [O.detach(), *torch.autograd.grad(O, leaves, dO)]


def _block(case, X, W_Q, W_K, W_V, W_O):
    """Y in one process."""
    Q, K, V = (
        (X @ W).unflatten(-1, (heads, case.d)).transpose(-3, -2)
        for W, heads in ((W_Q, case.h), (W_K, case.g), (W_V, case.g))
    )
    O, _ = ALONE[case.alone](Q, K, V, mask=case.rule())
    return [O.transpose(-3, -2).flatten(-2) @ W_O]


def _largest_difference(ours, theirs):
    return float(f"{(ours - theirs).abs().max().item():.3g}")


if __name__ == "__main__":
    worker.main(Rank)
