"""Node, for libraries in JavaScript: arrays go out and come back as JSON, one process for each call."""

import json
import subprocess
import sys

import numpy as np


class JavaScriptError(Exception):
    """What the library threw, by its own class and words."""


def run(script: str, given: dict):
    """What `script` prints, told what is `given`; it runs where npm has installed the library.

    Raises JavaScriptError with what it threw.
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", READ + script],
        input=json.dumps(given),
        cwd=sys.prefix,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        raise JavaScriptError((done.stderr.strip().splitlines() or ["nothing was said"])[-1])
    said = json.loads(done.stdout.splitlines()[-1])
    if "thrown" in said:
        raise JavaScriptError(said["thrown"])
    return np.array([float(x) for x in said["data"]], np.float64).reshape(said["dims"])


def packed(X: np.ndarray) -> dict:
    """An array as JSON can say it: numbers in a row, NaN and ∞ as strings."""
    numbers = [x if np.isfinite(x) else str(x) for x in X.ravel().astype(float).tolist()]
    return {"type": X.dtype.name, "dims": list(X.shape), "data": numbers}


READ = """
import fs from 'fs';
const given = JSON.parse(fs.readFileSync(0, 'utf8'));
const said = {nan: NaN, inf: Infinity, '-inf': -Infinity};
const numbers = array => array.data.map(x => said[x] ?? x);
const tell = (dims, data) =>
  console.log(JSON.stringify({dims, data: Array.from(data, x => String(Number(x)))}));
const thrown = error =>
  console.log(JSON.stringify({thrown: `${error.name ?? 'thrown'}: ${error.message ?? error}`}));
"""
