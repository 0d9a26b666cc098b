"""Processes on this machine that stay: each runs what all are given, and one hears what every rank has::

    with workers(2) as ranks:
        ranks.run(function, *arguments)  # function(link, *arguments) on every rank: their answers, by rank

For a notebook or a test, which `torchrun` does not start. A function travels by its name: it has to stand in
a module that the processes can import, and a cell is none.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist

from selfattention.parallel.links import Link, RankFailed

LEAVING = 5  # seconds to end of one's own accord
# Where it can be, processes are forked from one that has loaded torch, once.
_WAY = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT: Any = multiprocessing.get_context(_WAY)
_LOADED = [f"selfattention.parallel.{name}" for name in ("workers", "all_to_all", "head_parallel", "whole")]


class Workers:
    """p processes joined over gloo; `workers` starts them, and ends them."""

    def __init__(self, p: int, patience: float, folder: str):
        if _WAY == "forkserver":
            _CONTEXT.set_forkserver_preload(_LOADED)
        self.patience = patience
        ends = [_CONTEXT.Pipe() for _ in range(p)]
        self.pipes: list[Connection] = [mine for mine, _ in ends]
        path = str(Path(folder) / "store")
        self.processes = [
            _CONTEXT.Process(target=_serve, args=(theirs, rank, p, patience, path), daemon=True)
            for rank, (_, theirs) in enumerate(ends)
        ]
        for process in self.processes:
            process.start()
        for _, theirs in ends:
            theirs.close()

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `function(link, *arguments)` gives on every rank, by rank; raises what a rank has raised."""
        answers = self.tried(function, *arguments)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def tried(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The same, with the error of each rank that raises one in place of its answer.

        A rank that has ended, or says nothing for twice the group's patience, stands for a RankFailed.
        """
        for pipe in self.pipes:
            pipe.send((function, arguments))
        return [self._answer(rank) for rank in range(len(self.pipes))]

    def _answer(self, rank):
        try:
            if self.pipes[rank].poll(2 * self.patience):
                return self.pipes[rank].recv()
        except (EOFError, ConnectionError):
            return RankFailed(f"rank {rank} has ended without a word")
        return RankFailed(f"rank {rank} says nothing")

    def close(self) -> None:
        """End the processes, whether they listen or not."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(LEAVING)
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def workers(p: int, *, patience: float = 60.0) -> Iterator[Workers]:
    """p processes of one thread each, for as long as the block runs; `patience` is seconds for a message.

    Raises ValueError where p is no positive integer.
    """
    if p < 1:
        raise ValueError(f"p is {p}; wanted a positive integer")
    with tempfile.TemporaryDirectory() as folder:
        running = Workers(p, patience, folder)
        try:
            yield running
        finally:
            running.close()


def _serve(pipe, rank, p, patience, path):
    """What a process does: wait for a function, run it, answer with what it gives or raises."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(path, p),
        rank=rank,
        world_size=p,
        timeout=timedelta(seconds=patience),
    )
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            os._exit(0)  # a group that a rank has left cannot be taken down in good order
        try:
            answer = function(Link(), *arguments)
        except Exception as error:
            answer = error
        try:
            pipe.send(answer)
        except OSError:  # nobody listens any more
            os._exit(0)
