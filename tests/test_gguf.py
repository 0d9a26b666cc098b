"""A file in GGUF, written here number by number, is read as it was written."""

import struct

import numpy as np
import pytest

from selfattention.trained import gguf

FLOATS = np.arange(6, dtype="<f4") / 8
INTEGERS = np.arange(-16, 16, dtype=np.int8)
NIBBLES = np.arange(32) % 16


def text(word):
    return struct.pack("<Q", len(word.encode())) + word.encode()


FIELDS = {
    "general.alignment": struct.pack("<II", 4, 64),
    "a.byte": struct.pack("<IB", 0, 200),
    "a.small": struct.pack("<Ib", 1, -100),
    "a.short": struct.pack("<IH", 2, 60_000),
    "a.signed": struct.pack("<Ih", 3, -30_000),
    "a.whole": struct.pack("<Ii", 5, -5),
    "a.float": struct.pack("<If", 6, 0.5),
    "a.truth": struct.pack("<I?", 7, True),
    "a.word": struct.pack("<I", 8) + text("Ġthé"),
    "a.list": struct.pack("<IIQ", 9, 8, 2) + text("one") + text("two"),
    "a.long": struct.pack("<IQ", 10, 2**63),
    "a.far": struct.pack("<Iq", 11, -(2**62)),
    "a.double": struct.pack("<Id", 12, 0.1),
}
SAID = dict(
    zip(FIELDS, [64, 200, -100, 60_000, -30_000, -5, 0.5, True, "Ġthé", ["one", "two"]], strict=False)
)
SAID |= {"a.long": 2**63, "a.far": -(2**62), "a.double": 0.1}
ARRAYS = {  # name: kind, axes from the fastest, bytes
    "floats": (0, (3, 2), FLOATS.tobytes()),
    "eight": (8, (32, 1), struct.pack("<e", 0.25) + INTEGERS.tobytes()),
    "four": (3, (32, 2), 2 * (struct.pack("<ee", 0.5, -3) + bytes(n | (15 - n) << 4 for n in range(16)))),
}


def written(arrays=ARRAYS, magic=b"GGUF", version=3):
    """A file's bytes: header, fields, entries, and each array at a multiple of 64 bytes."""
    entries, numbers = b"", b""
    for name, (kind, axes, raw) in arrays.items():
        numbers += b"\0" * (-len(numbers) % 64)
        entries += text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, len(numbers))
        numbers += raw
    head = struct.pack("<4sIQQ", magic, version, len(arrays), len(FIELDS))
    head += b"".join(text(name) + value for name, value in FIELDS.items()) + entries
    return head + b"\0" * (-len(head) % 64) + numbers


@pytest.fixture
def path(tmp_path):
    (tmp_path / "some.gguf").write_bytes(written())
    return tmp_path / "some.gguf"


def test_every_kind_of_field_is_read(path):
    assert gguf.read(path).fields == SAID


def test_numbers_come_in_float32_and_matrices_as_out_in(path):
    file = gguf.read(path)
    assert {name: file.array(name).dtype for name in ARRAYS} == dict.fromkeys(ARRAYS, np.dtype(np.float32))
    np.testing.assert_array_equal(file.array("floats"), [[0, 1 / 8, 2 / 8], [3 / 8, 4 / 8, 5 / 8]])


def test_eight_bits_are_a_step_times_an_integer(path):
    np.testing.assert_array_equal(gguf.read(path).array("eight"), [np.arange(-16, 16) / 4])


def test_four_bits_are_a_step_times_a_nibble_and_a_smallest(path):
    """The low nibbles of the 16 bytes, here 0 … 15, then the high ones, 15 … 0: 0.5 n − 3."""
    row = [*np.arange(16) / 2 - 3, *np.arange(15, -1, -1) / 2 - 3]
    np.testing.assert_array_equal(gguf.read(path).array("four"), [row, row])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (written(magic=b"GGML"), r"begins with b'GGML', version 3; wanted b'GGUF', version 3"),
        (written(version=2), r"begins with b'GGUF', version 2; wanted"),
        (written({"odd": (2, (32, 1), bytes(18))}), r"arrays of kind 2; wanted \[0, 3, 8\]"),
        (written()[:300], "ends within its header"),
        (b"", "ends within its header"),
    ],
)
def test_another_file_is_refused(tmp_path, content, complaint):
    (tmp_path / "other.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=rf"other.gguf.*{complaint}"):
        gguf.read(tmp_path / "other.gguf")


def test_a_file_that_ends_too_early_says_in_which_array(path):
    path.write_bytes(path.read_bytes()[:-1])
    file = gguf.read(path)
    file.array("eight")
    with pytest.raises(ValueError, match="ends within its array four"):
        file.array("four")
