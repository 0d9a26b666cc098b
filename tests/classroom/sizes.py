"""`make sizes`: what the course takes on a laptop; writes sizes.json beside this file, in some minutes.

For each size an environment is made in a folder that is thrown away, and the wheel installed there with its
pinned libraries. Counted is what is fetched, and then all files of the environment, those that Python writes
beside its modules included, and pip. The clock runs while nothing is fetched.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import students

LOG = Path(__file__).with_name("sizes.json")
SIZES = {  # name -> the extras of the wheel
    "the package alone": "",
    "NumPy chapters": "[light]",
    "with PyTorch": "[light,torch]",
    "everything": "[notebooks]",
}
CONSTRAINTS = ("requirements.txt", "constraints.txt")
SHOWN = ("numpy", "matplotlib", "ipykernel", "torch", "numba", "triton")


def measured(extras, folder):
    """Megabytes and seconds of one size, and the releases in it."""
    environment, wheel = folder / "venv", folder / "wheel"
    students.wheel(wheel)
    (built,) = wheel.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip, fetched = [python, "-m", "pip", "--quiet", "--no-cache-dir"], folder / "fetched"
    pins = [word for line in pinned(folder) for word in ("-c", line)]
    subprocess.run([*pip, "download", "--dest", fetched, f"{built}{extras}", *pins], check=True)
    began, worked = time.perf_counter(), processor_time()
    here = ["--no-index", "--find-links", fetched]
    subprocess.run([*pip, "install", *here, f"{built}{extras}", *pins], check=True)
    took, worked = time.perf_counter() - began, processor_time() - worked
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    there = {one["name"]: one["version"] for one in json.loads(listed.stdout)}
    return {
        "extras": extras,
        "fetched megabytes": megabytes(fetched),
        "megabytes": megabytes(environment),
        "seconds": round(took),
        "processor seconds": round(worked),
        "versions": {name: there[name] for name in SHOWN if name in there},
    }


def megabytes(folder):
    """Of all files in a folder, and in those under it."""
    return round(sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6)


def processor_time():
    """Of the processes that this one has waited for: what does not depend on who else is at work."""
    spent = os.times()
    return spent.children_user + spent.children_system


def pinned(folder):
    """Both files of pins, as constraints: what is said of this package itself is left out."""
    for name in CONSTRAINTS:
        lines = (students.ROOT / name).read_text(encoding="utf-8").splitlines()
        pins = folder / name
        pins.write_text("\n".join(line for line in lines if not line.startswith("-e ")), encoding="utf-8")
        yield pins


def main():
    found = {}
    for name, extras in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "wheel").mkdir()
            found[name] = measured(extras, Path(folder))
        print(f"{name}: {found[name]}", flush=True)
    where = {"date": date.today().isoformat(), "python": platform.python_version(), "cores": os.cpu_count()}
    where["system"] = f"{platform.system()} {platform.machine()}"
    LOG.write_text(json.dumps({**where, "sizes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
