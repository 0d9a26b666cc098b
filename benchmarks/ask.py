"""What the shorter races are asked on the command line, and where their results go."""

import argparse
import shlex
from pathlib import Path

from record import written


def arguments(script, about, quick, result):
    """--quick and --output, and `command`: what would measure the same again, wherever it is written."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--output", type=Path, help=f"the file to write; of a whole race {result.name}")
    asked = parser.parse_args()
    asked.command = shlex.join(["python", f"benchmarks/{script}", *["--quick"] * asked.quick])
    return asked


def keep(result, asked, file):
    """Write it where it was asked for, and a whole race to its own file."""
    output = asked.output or (None if asked.quick else file)
    if output:
        output.write_text(written(result), encoding="utf-8")
        print(f"written: {output}")
