"""The examined function, as the examiner has it: in another process, one call at a time."""

import contextlib
import multiprocessing
import sys
import warnings
from dataclasses import dataclass

import numpy as np

from selfattention.examining import stranger
from selfattention.examining.building import can_be_called
from selfattention.examining.roles import Argument
from selfattention.grading import channel

STARTING = 30  # seconds for a module to be imported
ENDS = 3  # how often the process may end, or be ended, before nothing more is asked


class Beyond(Exception):
    """What cannot be examined, and what would help: a sentence or two."""


@dataclass(frozen=True)
class Answer:
    """What a call came to: arrays, in the order in which they were returned, or an error."""

    arrays: tuple[np.ndarray | None, ...] = ()
    error: str = ""
    changed: bool = False  # whether an argument is no longer what it was
    seconds: float = 0.0  # of a processor, however busy it is


class Stranger:
    """A process that has the function. A context manager; its description is known inside."""

    def __init__(self, target, seconds=10):
        if not isinstance(target, str) and not can_be_called(target):
            raise Beyond(
                f"{type(target).__name__} cannot be called; wanted a function, or package.module:name"
            )
        self.target, self.seconds = target, seconds
        self.ends, self.ended = 0, ""

    def __enter__(self):
        self._start()
        said = self._hear(STARTING)
        if said is None:
            raise Beyond(f"no answer within {STARTING} s of its import, or it ended the process")
        if "cannot" in said:
            self.__exit__()
            raise Beyond(str(said["cannot"]))
        self._know(said)
        return self

    def _know(self, said):
        self.name, self.words, self.library = (str(said[x]) for x in ("name", "words", "library"))
        self.arguments = [
            Argument(str(name), bool(required), bool(by_name), bool(many), default)
            for name, required, by_name, many, default in said["arguments"]
        ]
        self.layer = said.get("layer")  # of a torch.nn.Module: its parameters, and how it was built

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()
        self.line.close()

    def _start(self):
        ways = multiprocessing.get_all_start_methods()
        way = "fork" if "fork" in ways else "spawn"
        context = multiprocessing.get_context(way)
        self.line, theirs = context.Pipe()
        inherited = [self.line] if way == "fork" else []
        self.process = context.Process(
            target=stranger.serve, args=(self.target, theirs, *inherited), daemon=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of forks beside threads: one thread computes
            self.process.start()
        theirs.close()

    def _hear(self, seconds):
        """A message; None if none came in time, or none that it writes by itself: `ended` says which.

        A closed pipe says that the process ended before the system counts it among the dead.
        """
        self.ended = f"no answer within {seconds} s"
        try:
            if self.line.poll(seconds):
                return channel.message(self.line.recv_bytes(1 << 28))
        except (EOFError, OSError):
            self.ended = "the process ended"
        except channel.Unreadable as error:
            self.ended = f"what came cannot be read: {error}"
        return None

    def calls(self, requests) -> list[Answer]:
        """What each request comes to; they are sent at once, and the next is answered while one is read."""
        answers, asked = [], False
        while len(answers) < len(requests):
            if self.ends >= ENDS:
                answers.append(
                    Answer(error=f"not asked, for the process has ended {ENDS} times: {self.ended}")
                )
                continue
            if not asked:
                with contextlib.suppress(OSError):  # it is gone: nothing will be heard
                    self.line.send(requests[len(answers) :])
                asked = True
            said = self._hear(self.seconds)
            if said is None:
                answers.append(Answer(error=self.ended))
                self._again()
                asked = False
            else:
                answers.append(_answer(said))
        return answers

    def _again(self):
        """Begin anew, and remember why."""
        why = self.ended
        self.ends += 1
        self.__exit__()
        self._start()
        self._hear(STARTING)
        self.ended = why


class Here(Stranger):
    """The function in this very process, where there can be no other, as in a browser: no call is cut off."""

    def __enter__(self):
        try:
            target = stranger.load(self.target) if isinstance(self.target, str) else self.target
            self.function, how = stranger.made(target)
        except Exception as error:
            raise Beyond(str(error)) from None
        self._know(channel.message(channel.line(stranger.described(self.function, how))))
        return self

    def __exit__(self, *_):
        pass

    def calls(self, requests) -> list[Answer]:
        """What each request comes to."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            said = [stranger.answered(self.function, request) for request in requests]
        return [_answer(channel.message(channel.line(each))) for each in said]


def stranger_of(target, seconds: float) -> Stranger:
    """A process that has the function; where the system has no processes, this one."""
    return (Here if sys.platform == "emscripten" else Stranger)(target, seconds)


def _answer(said):
    if "error" in said:
        return Answer(error=str(said["error"]))
    try:
        read = channel.read(said["result"], lambda number: None, lambda *of: None)
    except (channel.Unreadable, KeyError) as error:
        return Answer(error=f"what came cannot be read: {error}")
    seconds = said.get("seconds", 0.0)
    return Answer(
        tuple(_arrays(read)),
        changed=bool(said.get("changed")),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


def _arrays(result):
    """The arrays of a result, whatever holds them, and None for what is none."""
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple | list) and not _numbers(result):
        for part in result:
            yield from _arrays(part)
    elif isinstance(result, np.ndarray) or _numbers(result):
        array = np.asarray(result)
        yield array if array.dtype.kind in "fiub" else None
    else:
        yield None


def _numbers(result):
    """Lists of lists of numbers, which are an array as well."""
    try:
        return isinstance(result, list) and np.asarray(result).dtype.kind in "fiu"
    except ValueError:
        return False
