"""The process that runs a notebook: `python -m selfattention.grading.student`, started by the judge.

Its `selfattention.check` hands every answer to the judge and passes on what the judge says.
"""

import os
import sys
from types import ModuleType

import numpy as np

from selfattention import extras
from selfattention.exercises.diagnosis import Kind, Verdict, untouched, where
from selfattention.grading import channel


class Line:
    """The way to the judge, and what the judge may call here by number."""

    def __init__(self, came, goes):
        self.came, self.goes = came, goes
        self.kept = []

    def send(self, **message):
        self.goes.write(channel.line(message))
        self.goes.flush()

    def receive(self):
        line = self.came.readline()
        if not line:
            os._exit(0)  # the judge is gone
        return channel.message(line)

    def stays(self, value):
        self.kept.append(value)
        return len(self.kept) - 1

    def written(self, value):
        return {"ellipsis": True} if untouched(value) else channel.written(value, self.stays)

    def function(self, number):
        """One of the judge's functions, to be called from here."""

        def asked(*args, **names):
            given = channel.written([list(args), names], self.stays)
            return self.answered(call=int(number), given=given)

        return asked

    def answered(self, **question):
        """What the judge says to a question. Until it does, it may call what stayed here."""
        self.send(**question)
        while True:
            said = self.receive()
            if "value" in said:
                return channel.unpickled(said["value"], self.function)
            if "raised" in said:
                raise channel.unpickled(said["raised"], self.function)
            self._call(**said)

    def _call(self, number, method, given):
        try:
            arguments = channel.unpickled(given, self.function)
            with np.errstate(all="ignore"):  # as in a check in the notebook
                result = getattr(self.kept[number], method)(*arguments)
            returned = channel.written([result, list(arguments)], self.stays)
        except BaseException as error:  # SystemExit, too, is an answer's own
            self.send(**channel.written_error(error, where(error)))
        else:
            self.send(returned=returned)


class Check(ModuleType):
    """What the notebook imports as `selfattention.check`. It has no solutions to show."""

    def __init__(self, line):
        super().__init__("selfattention.check", "Answers given here are judged in another process.")
        self._line = line

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def handed_in(answer):
            kind, text = self._line.answered(check=name, answer=self._line.written(answer))
            verdict = Verdict(Kind[kind])
            verdict.text = text
            return verdict

        return handed_in


def alone(line):
    """The package without the exercises, and with a `check` that asks the judge."""
    import selfattention

    for name in [name for name in sys.modules if name.startswith("selfattention.exercises")]:
        del sys.modules[name]
    del selfattention.exercises
    sys.modules["selfattention.exercises"] = None  # whoever imports it is told that there is none
    sys.modules["selfattention.check"] = selfattention.check = Check(line)


def shell():
    """What runs cells as a notebook does: magics, last expressions, sources that can be looked up."""
    with extras.needed():
        from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """`%matplotlib inline` asks for it; there are no windows here."""

    shell = Shell.instance()
    shell.history_manager.enabled = False
    return shell


def main():
    came, goes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # nobody answers `input()`
    os.dup2(null, 1)  # what a cell prints is no message
    line = Line(came, goes)
    alone(line)
    cells = shell()
    line.send(ready=True)
    while True:
        ran = cells.run_cell(line.receive()["source"], store_history=False)
        failed = ran.error_before_exec or ran.error_in_exec
        line.send(ran=f"{type(failed).__name__}: {failed}" if failed else "")


if __name__ == "__main__":
    main()
