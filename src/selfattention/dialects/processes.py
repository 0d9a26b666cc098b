"""What a process says, a line of JSON at a time, until it has said all, is silent too long, or dies."""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Any


class Ended(Exception):
    """How a process ended that did not say everything: its code, signal or silence, and its last words."""

    def __init__(self, why: str, words: str):
        super().__init__(why)
        self.why, self.words = why, words


def lines_of(command: list[str], environment: Mapping[str, str], start: float, limit: float) -> Iterator[Any]:
    """Every line, read as JSON: the first within `start` seconds, each other within `limit`.

    Raises Ended, after the last line, unless the process ends with 0.
    """
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines, errors = queue.Queue(), []
    listeners = [
        threading.Thread(target=_listen, args=(process.stdout, lines.put), daemon=True),
        threading.Thread(target=_listen, args=(process.stderr, errors.append), daemon=True),
    ]
    for listener in listeners:
        listener.start()
    patience = start
    try:
        while (line := lines.get(timeout=patience)) is not None:
            yield json.loads(line)
            patience = limit
        code = process.wait()
        why = f"ended with {code}" if code >= 0 else f"ended by signal {-code}"
    except queue.Empty:
        why = f"nothing for {patience:.0f} s"
    finally:
        process.kill()
        process.wait()
        for listener, pipe in zip(listeners, (process.stdout, process.stderr), strict=True):
            listener.join()
            pipe.close()
    if why != "ended with 0":
        raise Ended(why, "".join(filter(None, errors)).strip())


def _listen(stream, put):
    for line in stream:
        put(line)
    put(None)
