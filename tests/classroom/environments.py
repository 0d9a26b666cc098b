"""Environments to try the course in: the wheel, some extras, the pins, and nothing of the repository."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import students
from nbclient import NotebookClient

CONSTRAINTS = ("requirements.txt", "constraints.txt")
KERNEL = "of-the-wheel"
PIP = ("-I", "-m", "pip", "--no-cache-dir")  # -I: no PYTHONPATH of who runs this


def made(folder):
    """An environment without anything, its Python, and the wheel that is to be put there."""
    environment, wheel = folder / "venv", folder / "wheel"
    wheel.mkdir(parents=True)
    students.wheel(wheel)
    (built,) = wheel.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"), built


def installed(folder, *wanted):
    """The Python of a new environment that has the wheel, with the extras that `wanted` begins with."""
    python, wheel = made(folder)
    extras, *libraries = wanted
    subprocess.run(
        [python, *PIP, "install", "--quiet", f"{wheel}{extras}", *libraries, *pins(folder)], check=True
    )
    return python


def pins(folder):
    """Both files of pins, as constraints: what is said of this package itself is left out."""
    options = []
    for name in CONSTRAINTS:
        lines = (students.ROOT / name).read_text(encoding="utf-8").splitlines()
        (folder / name).write_text(
            "\n".join(line for line in lines if not line.startswith("-e ")), encoding="utf-8"
        )
        options += ["-c", folder / name]
    return options


def versions(python):
    """Library -> its release, of everything in an environment."""
    command = [python, *PIP, "list", "--format=json"]
    listed = subprocess.run(command, capture_output=True, check=True)
    return {one["name"]: one["version"] for one in json.loads(listed.stdout)}


@contextmanager
def kernel_of(python, folder, monkeypatch):
    """Notebooks run by that Python, with nothing set that a student has not set."""
    about = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    there = Path(folder) / "kernels" / KERNEL
    there.mkdir(parents=True)
    (there / "kernel.json").write_text(json.dumps(about | {"display_name": KERNEL, "language": "python"}))
    with monkeypatch.context() as patched:
        for name in ("PYTHONPATH", "IPYTHONDIR", *(f"{of}_NUM_THREADS" for of in ("OMP", "OPENBLAS", "MKL"))):
            patched.delenv(name, raising=False)
        patched.setenv("JUPYTER_PATH", str(folder))
        yield


def ran(notebook, folder):
    """Run a notebook in a folder; the seconds on the clock, and those that the processors worked."""
    began, worked = perf_counter(), processor_time()
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, kernel_name=KERNEL, timeout=600, startup_timeout=600, resources=where, coalesce_streams=True
    )
    client.execute()
    return {
        "seconds": round(perf_counter() - began, 1),
        "processor seconds": round(processor_time() - worked, 1),
    }


def processor_time():
    """Of the processes that this one has waited for: what does not depend on who else is at work."""
    spent = os.times()
    return spent.children_user + spent.children_system


def texts(cell):
    """What a cell printed and showed as text."""
    shown = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", [])]
    return "".join(text for text in shown if not text.startswith("<Figure"))
