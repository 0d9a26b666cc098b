"""Before the first tile: do all ranks mean the same call? If not, every rank says which one differs, in what.

Each rank tells all others, in one message of fixed length, what it is about to do; a rank whose arguments
are refused tells them why. So the length of every later message is known on both sides.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from selfattention.extras import needed

with needed():
    import torch

from selfattention.masks import Rule
from selfattention.parallel.links import STORE_GONE, Link, RankFailed

MESSAGE = 4096  # bytes
SHORT = 120  # letters of any one thing


class Described(Protocol):
    """A rank's arguments, checked, and what every rank must have the same of; "own" may differ."""

    def described(self) -> dict[str, Any]: ...


Arguments = TypeVar("Arguments", bound=Described)


def agreed(
    link: Link, call: int, name: str, checked: Callable[[], Arguments]
) -> tuple[Arguments, list[dict[str, Any]]]:
    """This rank's arguments, as `checked()` takes them or refuses them, and what is "own" to each rank.

    Raises what `checked` raised, and on the other ranks RankFailed with that error; ValueError where two
    ranks differ, with both views; RankFailed where a rank does not answer, or has failed before.
    """
    if (told := link.told()) is not None:
        here = f"rank {link.rank} was in the questions before {name}"
        raise RankFailed(f"{told}; {here if told == STORE_GONE else 'the group is of no use since'}")
    arguments, refused, mine = None, None, {"call": name, "ranks": link.size}
    try:
        arguments = checked()
        mine |= arguments.described()
    except (TypeError, ValueError, ModuleNotFoundError) as error:
        refused, mine["refused"] = error, f"{type(error).__name__}: {error}"[: 8 * SHORT]
    views = _exchanged(link, call, name, mine)
    if refused is not None:
        raise refused
    for rank, view in enumerate(views):
        if "refused" in view:
            raise RankFailed(f"rank {rank} does not take part in {name}: {view['refused']}")
    for what in dict.fromkeys(key for view in views for key in view if key != "own"):
        _check_same(what, [view.get(what) for view in views])
    return cast(Arguments, arguments), [view.get("own", {}) for view in views]


def _check_same(what, said):
    usual = max(said, key=said.count)
    for rank, view in enumerate(said):
        if view != usual:
            both = f"{view} on rank {rank} and {usual} on rank {said.index(usual)}"
            raise ValueError(f"{what} is {both}; wanted the same on every rank")


def _exchanged(link, call, name, mine):
    text = json.dumps(mine).encode()
    assert len(text) <= MESSAGE, f"{name} has more to say than {MESSAGE} bytes"
    page = torch.zeros(MESSAGE, dtype=torch.uint8)
    page[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    page = page.to(link.device)
    others = [rank for rank in range(link.size) if rank != link.rank]
    before = link.sent, link.received, link.most_in_flight
    moving = link.start(
        f"the questions before {name}",
        call,
        dict.fromkeys(others, page),
        dict.fromkeys(others, (MESSAGE,)),
        page,
    )
    pages = moving.wait()
    link.agreed += MESSAGE * len(others)
    link.sent, link.received, link.most_in_flight = before
    return [mine if rank == link.rank else _read(pages[rank]) for rank in range(link.size)]


def _read(page):
    return json.loads(bytes(page.cpu().tolist()).rstrip(b"\0"))


def of_rule(rule: Rule | None) -> str:
    """A rule in words, with a fingerprint of all that it is made of: two that look alike may differ."""
    if rule is None:
        return "none"
    return f"{repr(rule)[:SHORT]} ({_fingerprint(rule)})"


def of_numbers(array: torch.Tensor) -> str:
    """The shape of an array that every rank must have the same of, with a fingerprint of its numbers."""
    return f"{list(array.shape)} ({_fingerprint(array)})"


def _fingerprint(thing):
    return blake2b(repr(_made_of(thing)).encode(), digest_size=6).hexdigest()


def _made_of(thing):
    if isinstance(thing, np.ndarray):
        return thing.dtype.str, thing.shape, blake2b(np.ascontiguousarray(thing)).hexdigest()
    if isinstance(thing, torch.Tensor):
        return _made_of(thing.numpy(force=True))
    if isinstance(thing, Rule):
        held = {}
        with suppress(TypeError):
            held = vars(thing)
        return type(thing).__qualname__, [(name, _made_of(value)) for name, value in sorted(held.items())]
    return getattr(thing, "__qualname__", None) or repr(thing)
