"""Messages between the ranks of a group, and what becomes of them when a rank does not answer.

This is all that the package knows of `torch.distributed`. What a group would let pass cannot happen here:

- a message is made of positions, not of memory: whatever the strides, it is laid out in order first;
- both sides know its length and dtype beforehand, from the shapes that all ranks have agreed on;
- what is sent must not change before it has arrived: whoever changes it gets an error;
- sending and receiving are begun together, so that no rank waits for another that waits for it;
- a rank that is gone ends the others with a `RankFailed` that names it and the step, on every rank.
"""

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from selfattention.extras import needed

with needed():
    import torch
    import torch.distributed as dist
    from torch import Tensor
    from torch.distributed.device_mesh import DeviceMesh

LOOK_AROUND = 0.2  # seconds of waiting after which a rank asks whether another has failed
FAILED = "selfattention/failed"  # where the first one to notice writes down who and when
STORE_GONE = "gone is the store, which rank 0 keeps unless torchrun does"
_calls: Counter[str] = Counter()  # how many calls each group has seen, the same on every rank


class RankFailed(RuntimeError):
    """A rank that does not answer, or has said why it gave up. The group is of no use afterwards."""


class Link:
    """A rank's end of a group, `ProcessGroup` or `DeviceMesh` of one dimension, and a count of what passes.

    `sent` and `received` count bytes of numbers, `agreed` those of the questions before a call; `in_flight`
    bytes of messages that are on their way, and `most_in_flight` their maximum; `waited` seconds.
    A rank that waits long looks into the group's store: whoever keeps that leaves last, as in `joined`.
    """

    def __init__(self, group: "dist.ProcessGroup | DeviceMesh | None" = None):
        self.group = _group_of(group)
        self.rank, self.size = self.group.rank(), self.group.size()
        self.store = self.group.get_group_store()
        backend = dist.get_backend(self.group)
        self.device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else "cpu"
        self.sent = self.received = self.agreed = self.in_flight = self.most_in_flight = 0
        self.waited = 0.0

    @classmethod
    def of(cls, group: "Link | dist.ProcessGroup | DeviceMesh | None") -> "Link":
        """The link itself, or one to the group; None is the group of all processes."""
        return group if isinstance(group, Link) else cls(group)

    def call(self) -> int:
        """The number of a new call, by which its messages are told from those of others."""
        _calls[self.group.group_name] += 1
        return _calls[self.group.group_name]

    def start(
        self,
        step: str,
        call: int,
        send: Mapping[int, Tensor],
        receive: Mapping[int, Sequence[int] | Tensor],
        like: Tensor,
    ) -> "Moving":
        """Begin to send these tensors, and to receive others, by rank; dtype that of `like`.

        Those have these shapes, or come into these contiguous tensors, whose numbers are lost.
        `step` is what an error calls it. What is empty is not sent. Raises ValueError for another dtype.
        """
        for peer, tensor in send.items():
            if tensor.dtype != like.dtype:
                raise ValueError(f"{step} sends rank {peer} {tensor.dtype}; wanted {like.dtype}")
        out = {peer: tensor.detach().contiguous() for peer, tensor in send.items() if tensor.numel()}
        into = {
            peer: room if isinstance(room, Tensor) else like.new_empty(tuple(room))
            for peer, room in receive.items()
        }
        moving = Moving(self, step, out, into)
        moving.begin(call % 2**20)
        self.in_flight += moving.bytes
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return moving

    @contextlib.contextmanager
    def telling(self, step: str) -> Iterator[None]:
        """Around what a rank computes: if it fails, the others are told, and do not wait for it."""
        try:
            yield
        except RankFailed:
            raise
        except BaseException as error:
            self._write_down(f"rank {self.rank} failed in {step}: {type(error).__name__}: {error}")
            raise

    @contextlib.contextmanager
    def blaming(self, step: str, peer: int) -> Iterator[None]:
        """Around a message: what goes wrong with it is the fault of this peer, or of whom the store names."""
        try:
            yield
        except RuntimeError as error:
            raise self.failure(step, peer, error) from error

    def failure(self, step: str, peer: int, error: BaseException) -> RankFailed:
        """What has happened: what the first to notice has written down, or else what this rank has seen."""
        late = "imed out" in str(error)
        seen = f"rank {peer} {'has not come to' if late else 'is gone in'} {step}"
        return RankFailed(f"{self._write_down(seen)}; rank {self.rank} was in {step}")

    def _write_down(self, what):
        """Who was first, of all ranks: their failure is the cause, others follow from it."""
        try:
            return self.store.compare_set(FAILED, "", what).decode()
        except RuntimeError:
            return f"{what}; {STORE_GONE}"

    def told(self) -> str | None:
        """Who has failed, if some rank has noticed, or that nobody could say so any more."""
        try:
            return self.store.get(FAILED).decode() if self.store.check([FAILED]) else None
        except RuntimeError:
            return STORE_GONE


class Moving:
    """Messages on their way; `wait` gives what has come, by rank, once all has come and gone."""

    def __init__(self, link, step, out, into):
        self.link, self.step, self.out, self.into = link, step, out, into
        self.ways = [(dist.isend, peer, tensor) for peer, tensor in out.items()]
        self.ways += [(dist.irecv, peer, tensor) for peer, tensor in into.items() if tensor.numel()]
        self.peers = [peer for _, peer, _ in self.ways]
        self.on_processor = all(tensor.device.type == "cpu" for _, _, tensor in self.ways)
        self.works: list[dist.Work] = []
        self.versions = {peer: _version(tensor) for peer, tensor in out.items()}
        self.bytes = sum(map(_bytes, (*out.values(), *into.values())))

    def begin(self, tag: int) -> None:
        """All at once where nccl would have one wait for the other; else one by one, to name a peer."""
        operations = [
            dist.P2POp(way, tensor.view(-1), group=self.link.group, group_peer=peer, tag=tag)
            for way, peer, tensor in self.ways
        ]
        together = [[one] for one in operations] if self.on_processor else [operations]
        for batch, peer in zip(together, self.peers, strict=False):
            with self.link.blaming(self.step, peer):
                self.works += dist.batch_isend_irecv(batch)

    def wait(self) -> dict[int, Tensor]:
        """The tensors that have come. Raises RankFailed, or RuntimeError where one was changed meanwhile."""
        began = time.monotonic()
        if self.on_processor:
            self._wait_and_look_around()
        else:  # a stream waits, not the processor, and it must be the caller's
            for peer, work in zip(self.peers, self.works, strict=True):
                with self.link.blaming(self.step, peer):
                    work.wait()
        for peer, tensor in self.out.items():
            if _version(tensor) != self.versions[peer]:
                raise RuntimeError(f"what {self.step} sends to rank {peer} was changed before it had arrived")
        self.link.waited += time.monotonic() - began
        self.link.in_flight -= self.bytes
        self.link.sent += sum(map(_bytes, self.out.values()))
        self.link.received += sum(map(_bytes, self.into.values()))
        return self.into

    def _wait_and_look_around(self):
        """A thread waits, for nothing else can: a message cannot be asked whether it has come."""
        failed, done = [], threading.Event()
        threading.Thread(target=self._wait_for_all, args=(failed, done), daemon=True).start()
        while not done.wait(LOOK_AROUND):
            told = self.link.told()
            if told is not None and not done.is_set():
                raise RankFailed(f"{told}; rank {self.link.rank} was in {self.step}")
        if failed:
            peer, error = failed[0]
            raise self.link.failure(self.step, peer, error) from error

    def _wait_for_all(self, failed, done):
        for peer, work in zip(self.peers, self.works, strict=True):
            try:
                work.wait()
            except RuntimeError as error:
                failed.append((peer, error))
                break
        done.set()


def _group_of(group):
    if isinstance(group, DeviceMesh):
        if group.ndim != 1:
            named = group.mesh_dim_names or tuple(range(group.ndim))
            raise ValueError(f"group is a mesh of dimensions {named}; wanted one of them: mesh[name]")
        return group.get_group()
    if group is None and dist.is_initialized():
        return dist.group.WORLD
    if not isinstance(group, dist.ProcessGroup):
        what = "None, and no processes have been joined" if group is None else f"a {type(group).__name__}"
        raise TypeError(f"group is {what}; wanted a ProcessGroup or a DeviceMesh that this rank belongs to")
    return group


def _version(tensor):
    """How often it was changed in place; inference mode does not count."""
    return None if tensor.is_inference() else tensor._version


def _bytes(tensor):
    return math.prod(tensor.shape) * tensor.element_size()
