"""A bar for what takes a while: how far it is, on standard error, where that is a terminal."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

Thing = TypeVar("Thing", covariant=True)


class Countable(Sized, Iterable[Thing], Protocol[Thing]):
    """What has a length and can be gone through."""


def with_bar(things: Countable[Thing], text: str) -> Iterator[Thing]:
    """The things, one after the other, with a bar beside `text` that fills as they are taken."""
    for count, thing in enumerate(things):
        _draw(count / len(things), text)
        yield thing
    _draw(1, text)


def _draw(share, text):
    if not sys.stderr.isatty():
        return
    filled = round(30 * share)
    bar = "█" * filled + "·" * (30 - filled)
    print(f"\r[{bar}] {text}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)
