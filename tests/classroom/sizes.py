"""`make sizes`: what the course takes on a laptop; writes sizes.json beside this file, in some minutes.

For each size an environment is made in a folder that is thrown away, and the wheel installed there with its
pinned libraries. Counted is what is fetched, and then all files of the environment, those that Python writes
beside its modules included, and pip; of the NumPy chapters, package by package. The clock runs while nothing
is fetched.
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import date
from importlib.metadata import distributions
from pathlib import Path

from environments import PIP, made, pins, processor_time, versions

LOG = Path(__file__).with_name("sizes.json")
SIZES = {  # name -> the extras of the wheel
    "the package alone": "",
    "NumPy chapters": "[light]",
    "with PyTorch": "[light,torch]",
    "everything": "[notebooks]",
}
TAKEN_APART = "NumPy chapters"
SHOWN = ("numpy", "matplotlib", "ipykernel", "torch", "numba", "triton")


def measured(name, folder):
    """Megabytes and seconds of one size, and the releases in it."""
    (python, wheel), fetched = made(folder), folder / "fetched"
    wanted = [f"{wheel}{SIZES[name]}", *pins(folder)]
    subprocess.run([python, *PIP, "download", "--quiet", "--dest", fetched, *wanted], check=True)
    began, worked = time.perf_counter(), processor_time()
    subprocess.run(
        [python, *PIP, "install", "--quiet", "--no-index", "--find-links", fetched, *wanted], check=True
    )
    took, worked = time.perf_counter() - began, processor_time() - worked
    there = versions(python)
    environment = python.parents[1]
    parts = {"packages": packages(environment)} if name == TAKEN_APART else {}
    return {
        "extras": SIZES[name],
        "fetched megabytes": megabytes(every_file(fetched)),
        "megabytes": megabytes(every_file(environment)),
        "seconds": round(took),
        "processor seconds": round(worked),
        "versions": {library: there[library] for library in SHOWN if library in there},
        **parts,
    }


def packages(environment):
    """Package -> its megabytes, and how many of them are what Python compiles beforehand; largest first."""
    (site,) = environment.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages")
    found = {}
    for package in distributions(path=[str(site)]):
        files = {Path(file.locate()).resolve() for file in package.files}
        compiled = [file for file in files if file.suffix == ".pyc"]
        found[package.name] = {"megabytes": megabytes(files, 1), "compiled": megabytes(compiled, 1)}
    return dict(sorted(found.items(), key=lambda one: -one[1]["megabytes"]))


def every_file(folder):
    return [file for file in folder.rglob("*") if file.is_file()]


def megabytes(files, digits=None):
    return round(sum(file.lstat().st_size for file in files if file.exists()) / 1e6, digits)


def main():
    found = {}
    for name in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measured(name, Path(folder))
        print(f"{name}: {found[name]}", flush=True)
    where = {"date": date.today().isoformat(), "python": platform.python_version(), "cores": os.cpu_count()}
    where["system"] = f"{platform.system()} {platform.machine()}"
    LOG.write_text(json.dumps({**where, "sizes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
