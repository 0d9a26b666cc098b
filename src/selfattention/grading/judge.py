"""The process that judges: it has the exercises, runs nothing of the notebook's, and believes numbers."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selfattention.exercises.diagnosis import Exercise, Kind, Verdict
from selfattention.grading import channel
from selfattention.masks import Rule, Says

RUNS = 5  # how often a notebook is begun again, each time without a cell that ended its process
START = 120  # seconds that Python and IPython may take to start


class Ended(BaseException):
    """The notebook's process answers no more. No `Exception`, which a check would take for the answer's."""


class Beyond(Exception):
    """What cannot be graded at all: a file that is no notebook, an exercise that nobody knows."""


@dataclass
class Graded:
    """What became of a notebook: a verdict for each exercise, or None where no answer was handed in."""

    verdicts: dict[str, Verdict | None]
    notes: list[str] = field(default_factory=list)  # what else happened
    unjudged: set[str] = field(default_factory=set)  # a library is missing here, say


def code(path):
    """The sources of a notebook's code cells, those of the book's own solutions left out.

    Raises `Beyond` if the file is no notebook.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        own = [cell for cell in cells if "solution" not in cell["metadata"].get("tags", [])]
        return ["".join(cell["source"]) for cell in own if cell["cell_type"] == "code"]
    except OSError as error:
        raise Beyond(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Beyond(f"{path} is no notebook: wanted JSON with cells, nbformat 4") from None


def chapter(exercise):
    return exercise.solution.__module__.rpartition(".")[2]


def asked(exercises, names, sources):
    """The exercises to grade: those named, alone or by chapter; else all of each chapter that is asked about.

    So an exercise does not drop out of the sum because somebody deletes its cell.
    """
    chapters = {chapter(exercise) for exercise in exercises.values()}
    for name in names:
        if name not in exercises and name not in chapters:
            raise Beyond(f"no exercise and no chapter {name}; wanted one of {', '.join(sorted(chapters))}")
    text = "\n".join(sources)
    wanted = set(names) or {chapter(e) for name, e in exercises.items() if f"check.{name}(" in text}
    if not wanted:
        raise Beyond("the notebook asks about no exercise of the course; --of names those to grade")
    return {name: e for name, e in exercises.items() if name in wanted or chapter(e) in wanted}


def grade(
    path, exercises: dict[str, Exercise], names=(), seconds=120, progress=lambda cells: cells
) -> Graded:
    """Run the notebook, and judge what it hands in; the last answer to an exercise counts.

    `seconds` is how long a cell may take. One that takes longer, or ends the process, is left out of a new
    run. Raises `Beyond` where there is nothing to grade.
    """
    sources = code(path)
    graded = Graded(dict.fromkeys(asked(exercises, names, sources)))
    left_out = []
    while len(left_out) < RUNS:
        with Process(Path(path).resolve().parent, exercises, graded) as process:
            for number in progress(range(len(sources))):
                if number in left_out:
                    continue
                try:
                    failed = process.run(sources[number], seconds)
                except Ended as ended:
                    graded.notes.append(f"code cell {number + 1}: {ended}")
                    left_out.append(number)
                    break
                if failed:
                    graded.notes.append(f"code cell {number + 1} stopped with {failed}")
            else:
                break
        graded.notes = [note for note in graded.notes if " stopped with " not in note]
    else:
        graded.notes.append(f"given up after {RUNS} runs; what comes later was not looked at")
    return graded


class Process:
    """The notebook's process, as the judge sees it."""

    def __init__(self, folder, exercises, graded):
        self.exercises, self.graded = exercises, graded
        self.functions, self.checking = [], None
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "selfattention.grading.student"],
            cwd=folder,  # as in Jupyter, what lies beside a notebook can be read and imported
            env={**one_thread, **os.environ, **self._room()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _room(self):
        """The same packages as here, no windows, and a folder for what IPython keeps."""
        self.kept = tempfile.TemporaryDirectory()
        return {
            "MPLBACKEND": "agg",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "IPYTHONDIR": self.kept.name,
        }

    def _listen(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(b"")

    def __enter__(self):
        self._begin(START)
        if "ready" not in self._receive():
            raise Beyond("the notebook's process did not start; is IPython installed?")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.kept.cleanup()

    # Messages

    def _send(self, **message):
        try:
            self.process.stdin.write(channel.line(message))
            self.process.stdin.flush()
        except OSError:
            raise self._ended("the process ended") from None

    def _begin(self, seconds):
        """From now on so many seconds for all that comes, for a process can also talk without end."""
        self.seconds, self.ends = seconds, time.monotonic() + seconds

    def _receive(self):
        try:
            line = self.lines.get(timeout=max(0, self.ends - time.monotonic()))
        except queue.Empty:
            raise self._ended(f"no end within {self.seconds} s") from None
        if not line:
            raise self._ended("the process ended")
        try:
            return channel.message(line)
        except channel.Unreadable as error:
            raise self._ended(f"it wrote {error}") from None

    def _ended(self, why):
        """The error to raise; the exercise that was being checked hears why."""
        if self.checking in self.graded.verdicts:
            self.graded.verdicts[self.checking] = Verdict(Kind.ERROR, f"✗ No answer: {why}.")
        return Ended(why)

    # What is asked of the process, and what it asks

    def run(self, source, seconds):
        """Run a cell and give its checks their verdicts; what it stopped with, or nothing."""
        self._begin(seconds)
        self.checking = None
        self._send(source=source)
        while "ran" not in (said := self._receive()):
            self._serve(said)
        return str(said["ran"])

    def _serve(self, said):
        """Answer the notebook's process: a check, or a call of a function that it was given."""
        try:
            if "check" in said:
                value = self._check(str(said["check"]), self._read(said.get("answer")))
            else:
                args, names = self._read(said.get("given"))
                value = self.functions[said["call"]](*args, **names)
            answer = {"value": channel.pickled(value, self._stays)}
        except Exception as error:
            answer = {"raised": channel.pickled_error(error)}
        self._send(**answer)

    def _check(self, name, answer):
        if name not in self.exercises:
            raise AttributeError(f"no exercise {name}")
        if self.checking is not None:
            raise RuntimeError("a check inside the answer to another")
        with self._being(name):
            verdict = self._verdict(name, answer)
        if name in self.graded.verdicts:
            self.graded.verdicts[name] = verdict
        return verdict.kind.name, verdict.text

    def _verdict(self, name, answer):
        self.graded.unjudged.discard(name)
        try:
            return self.exercises[name](answer)
        except ModuleNotFoundError as error:  # the answer's own errors are part of its verdict
            self.graded.unjudged.add(name)
            return Verdict(Kind.ERROR, f"✗ Cannot be judged here: {error}.")
        except Exception as error:
            return Verdict(Kind.ERROR, f"✗ Looking at it stopped with {type(error).__name__}: {error}.")

    @contextmanager
    def _being(self, name):
        self.checking = name
        yield
        self.checking = None  # not if the process ended: then `_ended` has wanted to know

    def call(self, number, method, arguments):
        """Call what stayed in the notebook's process; what it does to its arguments happens here, too."""
        self._send(number=number, method=method, given=channel.pickled(arguments, self._stays))
        while True:
            said = self._receive()
            if "returned" in said:
                result, after = self._pair(self._read(said["returned"]))
                _change(arguments, after)
                return result
            if "error" in said:
                raise channel.read_error(said)
            if "ran" in said:
                raise self._ended("it left a check without an answer")
            self._serve(said)

    def _pair(self, returned):
        if not isinstance(returned, list) or len(returned) != 2 or not isinstance(returned[1], list):
            raise self._ended("it wrote an answer that is none")
        return returned

    def _stays(self, function):
        self.functions.append(function)
        return str(len(self.functions) - 1)  # pickle wants text

    def _read(self, value):
        return channel.read(value, lambda number: _function(self, number), lambda *of: _Rule(self, *of))


def _function(process, number):
    def answer(*arguments):
        return process.call(number, "__call__", arguments)

    return answer


class _Rule(Rule):
    """A mask rule that lives in the notebook's process."""

    def __init__(self, process, number, name, ends):
        self.process, self.number, self.name, self.ends = process, number, name, ends

    def __call__(self, i, j):
        return self.process.call(self.number, "__call__", (i, j))

    def tile(self, rows, columns):
        return self.process.call(self.number, "tile", (rows, columns))

    def says(self, rows: range, columns: range) -> Says:
        return self.process.call(self.number, "says", (rows, columns))

    def __repr__(self):
        return self.name

    def __deepcopy__(self, memo):
        return self


def _change(ours, theirs):
    """Do to our arguments what was done to theirs, for the caller of an answer looks at these."""
    for here, there in zip(ours, theirs, strict=False):
        if isinstance(here, np.ndarray) and isinstance(there, np.ndarray):
            if here.shape == there.shape and here.dtype == there.dtype and here.flags.writeable:
                here[...] = there
        elif isinstance(here, dict) and isinstance(there, dict):
            here.clear()
            here.update(there)
        elif isinstance(here, list) and isinstance(there, list):
            here[:] = there
