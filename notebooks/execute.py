"""Run the notebooks and write what they print back into them, the same bytes each time.

    python notebooks/execute.py            every chapter
    python notebooks/execute.py 05 08      chapters 05 and 08

A changed line in a diff of a notebook is then a changed result.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def chapters():
    """The chapters' notebooks, in reading order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def executed(path):
    """A fresh run of the notebook at `path`, stripped of all that differs from run to run."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(KERNEL)
    NotebookClient(
        notebook, timeout=120, record_timing=False, resources={"metadata": {"path": HERE}}
    ).execute()
    notebook.metadata = nbformat.from_dict(KERNEL)  # the kernel added its own version
    return notebook


def main(wanted):
    paths = [path for path in chapters() if not wanted or path.name[:2] in wanted]
    for count, path in enumerate(paths, start=1):
        began = time.perf_counter()
        nbformat.write(executed(path), path)
        print(f"[{count}/{len(paths)}] {path.stem}  {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
