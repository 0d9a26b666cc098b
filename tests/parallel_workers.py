"""Processes that live long and run many cases: four of them, joined over gloo, with groups of two and three.

They are forked from a server that has loaded torch once. `parallel_cases` holds what they run.
"""

import io
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from selfattention.parallel.__main__ import main
from selfattention.parallel.links import Link, RankFailed
from selfattention.parallel.processes import joined

MOST = 4
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch.distributed", "parallel_workers", "parallel_cases", "selfattention.parallel.__main__"]
)
PATIENCE = 240  # seconds; a case takes less than one, and a busy machine many


class Pool:
    """One process for each rank; `run` gives what a function returns on each of the first p ranks."""

    def __init__(self, folder, ranks=MOST, target=None):
        pairs = [CONTEXT.Pipe() for _ in range(ranks)]
        self.pipes = [mine for mine, _ in pairs]
        self.processes = [
            CONTEXT.Process(
                target=target or serve, args=(theirs, rank, ranks, str(folder / "store")), daemon=True
            )
            for rank, (_, theirs) in enumerate(pairs)
        ]
        for process in self.processes:
            process.start()
        for _, theirs in pairs:
            theirs.close()

    def run(self, p, function, *arguments, each=None):
        """`function(link, *arguments)` on ranks 0 … p − 1, with `each[rank]` behind; the answers by rank."""
        self.start(p, function, *arguments, each=each)
        answers = [self.answer(rank) for rank in range(p)]
        for rank, (error, _) in enumerate(answers):
            assert error is None, f"rank {rank}: {error}"
        return [value for _, value in answers]

    def errors(self, p, function, *arguments, each=None):
        """The errors of a function that must fail on every rank: (type, message) of each."""
        self.start(p, function, *arguments, each=each)
        answers = [self.answer(rank) for rank in range(p)]
        for rank, (error, _) in enumerate(answers):
            assert error is not None, f"rank {rank} came through"
        return [error.splitlines()[-1].partition(": ")[::2] for error, _ in answers]

    def start(self, p, function, *arguments, each=None):
        for rank in range(p):
            more = () if each is None else (each[rank],)
            self.pipes[rank].send((p, function, (*arguments, *more)))

    def answer(self, rank, within=PATIENCE):
        assert self.pipes[rank].poll(within), f"rank {rank} has not answered within {within} seconds"
        return self.pipes[rank].recv()

    def kill(self, rank):
        """This one process, by its id."""
        os.kill(self.processes[rank].pid, signal.SIGKILL)

    def close(self):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def pool(ranks=MOST):
    """Workers for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        workers = Pool(Path(folder), ranks)
        try:
            yield workers
        finally:
            workers.close()


def command(pipe, environment, arguments):
    """`python -m selfattention.parallel` in a process that has loaded it: (exit status, output, errors)."""
    os.environ.update(environment)
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        status = main(arguments)
    pipe.send((status, output.getvalue(), errors.getvalue()))


def group_that_breaks(pipe, environment):
    """Join as the command does. Rank 2 dies, rank 0 writes to it, and rank 1 asks a second later."""
    os.environ.update(environment)
    try:
        with joined() as link:
            if link.rank == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            one = torch.ones(1)
            if link.rank == 0:
                link.start("a message", link.call(), {2: one}, {2: (1,)}, one).wait()
            while link.told() is None:
                time.sleep(0.02)
            time.sleep(1)
            raise RankFailed(link.told())
    except RankFailed as error:
        pipe.send(str(error))


def serve(pipe, rank, ranks, path):
    """What a worker does: wait for a function, run it, answer with (error or None, value)."""
    timeout = timedelta(seconds=PATIENCE)
    store = dist.FileStore(path, ranks)
    serve_with(store, pipe, rank, ranks, timeout)


def serve_from_rank_0(pipe, rank, ranks, path):
    """The same with a store that rank 0 keeps, and that ends with it; `path` ends with its port."""
    timeout, port = timedelta(seconds=PATIENCE), int(Path(path).parent.name)
    serve_with(dist.TCPStore("127.0.0.1", port, ranks, rank == 0, timeout), pipe, rank, ranks, timeout)


def serve_with(store, pipe, rank, ranks, timeout):
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=timeout)
    groups = {p: dist.new_group(list(range(p)), timeout=timeout) for p in range(1, ranks)}
    groups[ranks] = dist.group.WORLD
    while True:
        try:
            p, function, arguments = pipe.recv()
        except EOFError:
            os._exit(0)  # a group that a rank has left cannot be taken down in good order
        try:
            answer = None, function(Link(groups[p]), *arguments)
        except Exception as error:
            answer = "".join(traceback.format_exception_only(error)).strip().replace("\n", " "), None
        try:
            pipe.send(answer)
        except BrokenPipeError:
            os._exit(0)
