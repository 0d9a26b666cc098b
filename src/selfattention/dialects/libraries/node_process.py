"""Node, for libraries in JavaScript: arrays go out and come back as JSON, one process for each call."""

import json
import subprocess
import sys

import numpy as np

from selfattention.dialects.asking import Call, shown


class ScriptCall(Call):
    """A call whose line is JavaScript: options stand in an object behind the operands."""

    @property
    def line(self) -> str:
        """The call, as one writes it there."""
        options = (f"{name}: {_literal(name, value)}" for name, value in self._said().items())
        behind = f"{{{', '.join(options)}}}" if self._said() else ""
        return f"{self.written}({', '.join(filter(None, [*self.operands, behind]))})"


def _literal(name, value):
    return str(value).lower() if isinstance(value, bool) else shown(name, value)


class JavaScriptError(Exception):
    """What the library threw, by its own class and words."""


def run(script: str, given: dict):
    """What `script` prints, told what is `given`; it runs where npm has installed the library.

    Raises a JavaScriptError with what it threw, by the name of its class there.
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
        kind, _, words = said["thrown"].partition(": ")
        raise type(kind, (JavaScriptError,), {})(words)
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
