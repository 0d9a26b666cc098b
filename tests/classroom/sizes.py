"""`make sizes`: what the course takes on a laptop; writes sizes.json beside this file, in some minutes.

For each size an environment is made in a folder that is thrown away, and the wheel installed there with its
pinned libraries. Counted are all its files, those that Python writes beside its modules included, and pip.
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
    began, worked = time.perf_counter(), processor_time()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = [word for line in pinned(folder) for word in ("-c", line)]
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", f"{built}{extras}", *pins], check=True
    )
    took, worked = time.perf_counter() - began, processor_time() - worked
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    there = {one["name"]: one["version"] for one in json.loads(listed.stdout)}
    return {
        "extras": extras,
        "megabytes": round(sum(f.lstat().st_size for f in environment.rglob("*") if f.is_file()) / 1e6),
        "seconds": round(took),
        "processor seconds": round(worked),
        "versions": {name: there[name] for name in SHOWN if name in there},
    }


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
        print(f"{name}: {found[name]['megabytes']} MB, {found[name]['seconds']} s", flush=True)
    where = {"date": date.today().isoformat(), "python": platform.python_version(), "cores": os.cpu_count()}
    where["system"] = f"{platform.system()} {platform.machine()}"
    LOG.write_text(json.dumps({**where, "sizes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
