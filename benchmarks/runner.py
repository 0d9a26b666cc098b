"""A worker, seen from the race: asked, answering, and stopped while others run."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from machine import environment

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 300  # seconds for one answer, a compilation included


class Runner:
    """One process per candidate. Between its turns it is stopped by a signal: the threads that BLAS and
    OpenMP leave spinning after a call would otherwise take the processor from whoever is next.
    """

    def __init__(self, name, threads, worker=WORKER):
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (`close` closes it)
        self.process = subprocess.Popen(
            [sys.executable, worker, name],
            env=os.environ | environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            encoding="utf-8",
        )

    def ask(self, do, **request):
        self.send(do, **request)
        return self.receive()

    def send(self, do, **request):
        self._signal(signal.SIGCONT)
        with suppress(BrokenPipeError):  # it has ended; `receive` will say so
            self.process.stdin.write(json.dumps({"do": do} | request) + "\n")
            self.process.stdin.flush()

    def receive(self):
        """The answer; {"failed": why} where there is none."""
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            return {"failed": f"its process ended, or was ended after {PATIENCE} s: {self._last_words()}"}
        self._signal(signal.SIGSTOP)
        return json.loads(line)

    def alive(self):
        return self.process.poll() is None

    def close(self):
        self.process.kill()  # it holds nothing worth saving, and a stopped process hears nothing else
        self.process.wait()
        for stream in self.process.stdin, self.process.stdout, self.log:
            with suppress(BrokenPipeError):  # a request that nobody read
                stream.close()

    def _signal(self, which):
        if self.alive():
            self.process.send_signal(which)

    def _last_words(self):
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or ["without a word"])[-1]
