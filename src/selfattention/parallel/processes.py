"""How processes find one another, and what is said where one of them expects another number of them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist

from selfattention.parallel.links import Link, RankFailed

WANTED = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"


@contextmanager
def joined(*, patience: float = 60.0) -> Iterator[Link]:
    """A link to all processes that `torchrun` has started: gloo, or nccl where every rank has a GPU.

    Waits at most `patience` seconds, for the others to come and then for each message. Leaves the group at
    the end, so that another run may have the port. Where a rank has failed, rank 0 leaves last, if it keeps
    the store in which the others read who it was.
    Raises RuntimeError where the environment names no processes, ValueError where two ranks expect another
    number of them, RankFailed where one does not come.
    """
    missing = [name for name in WANTED if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)} not set; wanted a process of torchrun: "
            "torchrun --standalone --nproc-per-node 2 -m selfattention.parallel"
        )
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    keeps = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = _store(keeps, patience)
    _check_sizes(dist.PrefixStore("selfattention/sizes", store), rank, size, patience)
    local = int(os.environ.get("LOCAL_RANK", rank))
    on_gpu = torch.cuda.is_available() and torch.cuda.device_count() > local
    if on_gpu:
        torch.cuda.set_device(local)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=dist.PrefixStore("selfattention/group", store),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=patience),
    )
    link = Link()
    try:
        yield link
        dist.barrier()  # who keeps the store must not leave while another may look into it
    except BaseException:
        if link.told() is not None:
            _let_the_others_hear(dist.PrefixStore("selfattention/heard", store), rank, size, keeps)
        raise
    finally:
        dist.destroy_process_group()


def _store(keeps, patience):
    """Where ranks leave notes: torchrun keeps it, or rank 0."""
    return dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=keeps,
        wait_for_workers=False,  # they are counted below, by name
        timeout=timedelta(seconds=patience),
    )


def _check_sizes(store, rank, size, patience):
    """Every rank says how many it expects, and looks at what the others have said."""
    if not 0 <= rank < size:
        raise ValueError(f"RANK is {rank}; wanted one below WORLD_SIZE = {size}")
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps the store when it starts again
    store.set(f"{start}/{rank}", str(size))
    until = time.monotonic() + patience
    for other in range(size):
        while not store.check([f"{start}/{other}"]):
            if time.monotonic() > until:
                raise RankFailed(f"rank {other} of {size} has not come within {patience:g} seconds")
            time.sleep(0.02)
        said = int(store.get(f"{start}/{other}"))
        if said != size:
            _let_the_others_see(store, start, rank, max(size, said))
            raise ValueError(
                f"WORLD_SIZE is {size} on rank {rank} and {said} on rank {other}; wanted the same everywhere"
            )


def _let_the_others_see(store, start, rank, ranks):
    """A rank that keeps the store and ends would take away what the others have still to read."""
    store.set(f"{start}/{rank}/has seen", "")
    until = time.monotonic() + 5
    while time.monotonic() < until:
        came = [other for other in range(ranks) if store.check([f"{start}/{other}"])]
        if rank != 0 or (len(came) > 1 and all(store.check([f"{start}/{other}/has seen"]) for other in came)):
            return
        time.sleep(0.02)


def _let_the_others_hear(store, rank, size, keeps):
    """Whoever keeps the store stays until all but one have read in it who that was, or for five seconds."""
    with suppress(RuntimeError):  # it is gone already
        store.set(str(rank), "")
        until = time.monotonic() + 5
        while keeps and time.monotonic() < until:
            if sum(store.check([str(other)]) for other in range(size)) >= size - 1:
                return
            time.sleep(0.02)
