"""Read a GGUF file: what it says of itself, and its arrays in float32.

GGUF is one file of named fields and named arrays, most of them quantised: 32 neighbouring numbers of a
row share a step (Q8_0), or a step and a smallest number (Q4_1). Source: `docs/gguf.md` of ggml.

The package `gguf` reads more kinds and takes 3.5 s for the model of chapter 15, where these lines take
1 s: it makes four arrays of each of 98,000 strings. It is the witness of `make witness`.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SCALARS = dict(enumerate(["B", "b", "H", "h", "I", "i", "f", "?"])) | {10: "Q", 11: "q", 12: "d"}
STRING, LIST = 8, 9


@dataclass(frozen=True)
class Stored:
    """One array of a file: how its numbers are kept, (out, in), and where they begin."""

    kind: int
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class File:
    """A file's fields and arrays by name; the numbers stay on disk until `array` asks for them."""

    path: Path
    fields: dict[str, Any]
    stored: dict[str, Stored]

    def array(self, name: str) -> np.ndarray:
        """The array of this name, float32, as the file turns it: (out, in) for a matrix.

        Raises KeyError for a name that the file lacks, ValueError where numbers are missing.
        """
        stored = self.stored[name]
        kind, count = KINDS[stored.kind], math.prod(stored.shape)
        raw = np.fromfile(self.path, np.uint8, count // kind.numbers * kind.bytes, offset=stored.offset)
        if raw.size * kind.numbers != count * kind.bytes:
            raise ValueError(f"{self.path} ends within its array {name}")
        return kind.read(raw.reshape(-1, kind.bytes)).reshape(stored.shape)


def read(path: str | Path) -> File:
    """The `File` at a path, version 3, its arrays of the kinds that are known here.

    Raises ValueError, naming the file, where it is another or ends too early.
    """
    with open(path, "rb") as file:
        try:
            return _read(Path(path), file)
        except struct.error:
            raise ValueError(f"{path} ends within its header; wanted a whole GGUF file") from None


def _read(path, file):
    magic, version, arrays, fields = struct.unpack("<4sIQQ", file.read(24))
    if (magic, version) != (b"GGUF", 3):
        raise ValueError(f"{path} begins with {magic!r}, version {version}; wanted b'GGUF', version 3")
    said = {_text(file): _value(file, _number(file, "I")) for _ in range(fields)}
    entries = [_entry(file) for _ in range(arrays)]
    unknown = {stored.kind for _, stored in entries} - KINDS.keys()
    if unknown:
        raise ValueError(f"{path} has arrays of kind {min(unknown)}; wanted {[*KINDS]}: F32, Q4_1, Q8_0")
    alignment = said.get("general.alignment", 32)
    start = -(-file.tell() // alignment) * alignment
    return File(path, said, {name: Stored(s.kind, s.shape, start + s.offset) for name, s in entries})


def _entry(file):
    """A name, and what stands there; the file counts axes from the fastest, and offsets from its numbers."""
    name = _text(file)
    axes = [_number(file, "Q") for _ in range(_number(file, "I"))]
    return name, Stored(_number(file, "I"), tuple(reversed(axes)), _number(file, "Q"))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _text(file)
    if kind == LIST:
        kind, count = struct.unpack("<IQ", file.read(12))
        return [_value(file, kind) for _ in range(count)]
    return _number(file, SCALARS[kind])


def _number(file, code):
    return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]


def _text(file):
    return file.read(_number(file, "Q")).decode()


def _float32(blocks):
    return blocks.view("<f4").astype(np.float32)


def _q4_1(blocks):
    """step · nibble + smallest: two halves, then 16 bytes of which the low nibbles come first."""
    step, smallest = _halves(blocks[:, :4])
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    numbers = nibbles.astype(np.float32)
    numbers *= step
    numbers += smallest
    return numbers


def _q8_0(blocks):
    """step · integer: a half, then 32 integers from −128 to 127."""
    (step,) = _halves(blocks[:, :2])
    return step * blocks[:, 2:].view(np.int8)


def _halves(columns):
    """The float16 numbers in these bytes, a column (blocks, 1) for each."""
    return np.ascontiguousarray(columns).view("<f2").astype(np.float32).T[..., None]


@dataclass(frozen=True)
class Kind:
    """So many numbers in so many bytes, and what reads them: (blocks, bytes) to (blocks, numbers)."""

    numbers: int
    bytes: int
    read: Callable[[np.ndarray], np.ndarray]


KINDS = {0: Kind(1, 4, _float32), 3: Kind(32, 20, _q4_1), 8: Kind(32, 34, _q8_0)}
