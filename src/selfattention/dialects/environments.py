"""One environment a library, in the cache folder: what is asked must not depend on what is installed here.

pip installs wheels only, of the versions that the adapter pins, and npm runs no scripts; their own settings
hold (index, proxy, certificates). An environment whose pins have changed is made again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from selfattention.cache_folder import folder
from selfattention.dialects.asking import Library

SOURCES = str(Path(__file__).parents[2])
PIP = "-m", "pip", "install", "--quiet", "--only-binary", ":all:"
NPM = "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"


class NotInstalled(Exception):
    """A library that cannot be had, and why, in pip's words."""


def place() -> Path:
    """The folder of the environments and of the answers."""
    return folder() / "dialects"


def python_of(name: str, library: Library) -> str:
    """The interpreter to ask it with, after having installed it where it is not.

    Raises NotInstalled, with the last line of what pip said.
    """
    if not library.packages:
        return sys.executable
    where = place() / name
    python, mark = where / "bin/python", where / "installed"
    pins = "\n".join((*library.packages, *library.npm))
    if mark.exists() and mark.read_text("utf-8") == pins:
        return str(python)
    shutil.rmtree(where, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(where)])
    _run([str(python), *PIP, *library.packages])
    if library.npm:
        _run([*NPM, "--prefix", str(where), *library.npm])
    _run([str(python), "-c", f"import {library.module}"])
    mark.write_text(pins, "utf-8")
    return str(python)


def surroundings(library: Library) -> dict[str, str]:
    """The variables of the process that asks: one thread, no accelerator, this package's sources."""
    return (
        os.environ
        | {"PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        | library.settings
    )


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or [f"{command[0]} says nothing"])[-1])
