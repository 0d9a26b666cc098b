"""Layers with projections of their own, and what holds a dialect: called by trial, explained, compared."""

import inspect
import json
import subprocess
import sys
import textwrap
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from strange_layers import MISTAKEN, RIGHT, UNKNOWN

from selfattention import examine, formulas, modules
from selfattention.dialects import QUESTIONS, answers
from selfattention.examining.report import Status


def told(said):
    """All that a verdict says, in one line."""
    return " ".join(str(said).split())


# Layers.


@pytest.mark.parametrize(("layer", "words"), RIGHT, ids=lambda x: getattr(x, "__name__", ""))
def test_a_right_layer_is_called_right_however_it_keeps_its_weights(layer, words):
    said = examine(layer)
    assert said, said
    for each in words:
        assert each in told(said), said


@pytest.mark.parametrize(("layer", "names"), MISTAKEN, ids=lambda x: getattr(x, "__name__", ""))
def test_a_mistake_inside_a_layer_is_named(layer, names):
    said = examine(layer)
    assert said.status is Status.MISTAKE, said
    assert len(said.names[0]) == len(names), said
    for each in names:
        assert any(each in name for name in said.names[0]), said


@pytest.mark.parametrize(("layer", "why"), UNKNOWN, ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_no_known_attention_is_neither_right_nor_blamed(layer, why):
    said = examine(layer)
    assert said.status is Status.CANNOT_TELL, said
    assert why in told(said), said


@pytest.mark.parametrize("first", [True, False], ids=["batch first", "tokens first"])
def test_pytorchs_own_layer_makes_no_mistake(first):
    said = examine(torch.nn.MultiheadAttention(24, 3, batch_first=first))
    assert said, said
    assert ("each (batch, n, d)" if first else "each (n, batch, d)") in told(said)
    assert "key_padding_mask: (batch, m), True = hidden." in told(said)
    assert said.readings["empty-row"] == {"": "NaN"}


def test_the_layer_of_the_course_makes_no_mistake():
    said = examine(modules.MultiHeadAttention(24, 3))
    assert said, said


def test_an_instance_is_examined_where_it_is_and_stays_as_it_was():
    layer = torch.nn.MultiheadAttention(12, 2, dropout=0.5).train()
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    assert examine(layer)
    assert layer.training
    for name, p in layer.named_parameters():
        assert torch.equal(p, before[name]), name


# What the formula leaves open.


def filled(q, k, v, mask=None):
    S = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return torch.softmax(S if mask is None else S.masked_fill(mask == 0, -1e9), -1) @ v


def test_every_reading_is_one_of_its_questions_and_names_who_shares_it():
    said = examine(filled)
    assert said.readings["empty-row"][""] == "mean of all keys"
    assert said.readings["mask-of-booleans"][""] == "what is 1 may be seen"
    for question, variants in said.readings.items():
        for reading in variants.values():
            assert reading in {*QUESTIONS[question].readings, "refused", "none of these"}
    shares = [
        a for a in answers() if (a.question, a.variant, a.reading) == ("empty-row", "", "mean of all keys")
    ]
    assert f"empty-row: mean of all keys; float16: refused (like {shares[0].library.title()}" in told(said)


def test_pytorchs_function_reads_as_it_was_recorded():
    said = examine(torch.nn.functional.scaled_dot_product_attention, expect="torch")
    assert said, said
    assert "As torch in all" in told(said)
    recorded = {
        (a.question, a.variant): a.reading
        for a in answers()
        if (a.library, a.door) == ("torch", "scaled_dot_product_attention")
    }
    for question, variants in said.readings.items():
        for variant, reading in variants.items():
            assert reading == recorded[question, variant], (question, variant)


def test_another_dialect_is_a_mistake_and_the_first_difference_is_named():
    said = examine(filled, expect="torch")
    assert said.status is Status.MISTAKE
    assert said.title == "✗ filled: not as torch: empty-row is 'mean of all keys'; wanted 'zeros'."
    assert examine(filled, expect="nobody").status is Status.CANNOT_TELL


def test_a_file_holds_a_function_to_what_it_was(tmp_path):
    path = tmp_path / "was.json"
    path.write_text(examine(filled).as_json(), encoding="utf-8")
    assert examine(filled, expect=str(path))
    was = json.loads(path.read_text(encoding="utf-8"))
    was["readings"]["empty-row"][""] = "NaN"
    path.write_text(json.dumps(was), encoding="utf-8")
    assert examine(filled, expect=str(path)).status is Status.MISTAKE
    path.write_text("{}", encoding="utf-8")
    said = examine(filled, expect=str(path))
    assert said.status is Status.CANNOT_TELL
    assert "has no readings" in told(said)


def test_the_command_ends_with_1_where_a_dialect_is_another(tmp_path):
    (tmp_path / "mine.py").write_text(f"import torch\n\n{inspect.getsource(filled)}", encoding="utf-8")
    command = [sys.executable, "-m", "selfattention.examine", "mine.py:filled", "--expect"]
    for library, status in (("torch", 1), ("nobody", 2)):
        done = subprocess.run([*command, library], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr


FIXTURE = """
pytest_plugins = ["selfattention.examining.fixture"]
"""
HELD = """
def test_attention(examined):
    from mine import {0}
    examined({0}, expect="torch")
"""


def test_the_fixture_holds_somebodys_attention_in_five_lines(tmp_path):
    module = "import torch\nfrom torch.nn.functional import scaled_dot_product_attention\n\n"
    (tmp_path / "mine.py").write_text(module + inspect.getsource(filled), encoding="utf-8")
    (tmp_path / "conftest.py").write_text(FIXTURE, encoding="utf-8")
    for name in "filled", "scaled_dot_product_attention":
        (tmp_path / f"test_{name}.py").write_text(HELD.format(name), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        ".",
        "-c",
        "none.ini",
    ]
    (tmp_path / "none.ini").write_text("[pytest]\n", encoding="utf-8")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "empty-row is 'mean of all keys'" in done.stdout


def test_the_five_lines_are_those_of_the_documentation():
    from selfattention.examining import fixture

    body = textwrap.dedent(fixture.__doc__.partition("::")[2].partition("`examined`")[0])
    lines = [line for line in body.splitlines() if line.strip()]
    assert len(lines) == 4
    assert lines[0] == FIXTURE.strip()
    assert lines[1] == HELD.strip().splitlines()[0]


# Arrays of other libraries, and bad input.


class Foreign:
    """An array that is none of NumPy's: it can be made one, and that is all that is known of it."""

    def __init__(self, inside):
        self.inside = inside

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.inside, dtype)


def test_what_gives_arrays_of_another_kind_is_judged_by_their_numbers():
    def foreign(q, k, v):
        return Foreign(formulas.attention(np.asarray(q), np.asarray(k), np.asarray(v)))

    assert examine(foreign)


IN_JAX = """
import jax
import jax.numpy as jnp


@jax.jit
def attention(q, k, v):
    assert isinstance(q, jax.Array)
    S = q @ jnp.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5
    return jax.nn.softmax(S) @ v
"""


def test_jax_arrays_go_in_and_come_out(tmp_path):
    """In a process of its own: a fork of one that has loaded JAX, with its threads, may wait for ever."""
    if find_spec("jax") is None:
        pytest.skip("JAX is not installed; Foreign stands in for its arrays")
    path = tmp_path / "in_jax.py"
    path.write_text(IN_JAX, encoding="utf-8")
    command = [sys.executable, "-m", "selfattention.examine", f"{path}:attention"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jax arrays" in " ".join(done.stdout.split())


class Asking(torch.nn.Module):
    def __init__(self, d_model, colour):
        super().__init__()
        self.qkv = torch.nn.Linear(d_model, 3 * d_model)

    def forward(self, x):
        return x


class OnAGraphicsCard(torch.nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.qkv = torch.nn.Linear(d_model, 3 * d_model)

    def forward(self, x):
        raise RuntimeError("Found no NVIDIA driver on your system")


def of_strings(q, k, v):
    return "attention"


def of_nan(q, k, v):
    return np.full((*q.shape[:-1], v.shape[-1]), np.nan)


def of_one_shape(q, k, v):
    if q.shape != (4, 4):
        raise ValueError("only 4 × 4")
    return formulas.attention(q, k, v)


def of_zeros(q, k, v):
    return np.zeros((*q.shape[:-1], v.shape[-1]))


def test_a_constant_is_wrong_and_has_no_name():
    said = examine(of_zeros)
    assert said.status is Status.MISTAKE
    assert not any(said.names)


class Forward:
    """No `__call__`, as in courses that write layers in NumPy."""

    def __init__(self, d_model):
        self.d_model = d_model

    def forward(self, q, k, v):
        return formulas.attention(q, k, v)


@pytest.mark.parametrize("thing", [Forward, Forward(3)], ids=["class", "object"])
def test_a_method_forward_is_what_is_called(thing):
    assert examine(thing)


class TrainsOtherwise(torch.nn.Module):
    """Warns, prints, writes into its tokens, and doubles its heads in training."""

    def __init__(self, dim):
        super().__init__()
        self.num_heads = 3
        self.qkv, self.out = torch.nn.Linear(dim, 3 * dim), torch.nn.Linear(dim, dim)

    def forward(self, x):
        warnings.warn("a word", stacklevel=1)
        print("a word")
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (3, -1)).transpose(1, 2) for part in parts)
        H = torch.nn.functional.scaled_dot_product_attention(q, k, v) * (1 + self.training)
        x.zero_()
        return self.out(H.transpose(1, 2).flatten(2))


def test_what_a_layer_does_besides_is_said(capsys):
    said = examine(TrainsOtherwise)
    assert said, said
    assert "In training mode, with dropout of 0, it gives other numbers." in told(said)
    assert "writes into an array" in told(said)
    assert not capsys.readouterr().out


def of_fives(a, b, c, d, e, f, g):
    return a


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (7, ["int cannot be called", "wanted a function"]),
        (Asking, ["nobody told what colour is", "give a layer that is built"]),
        (OnAGraphicsCard, ["forward(x)", "no NVIDIA driver"]),
        (of_strings, ["of_strings(q, k, v) gave no output of a shape that fits"]),
        (of_fives, ["nobody told which of of_fives(a, b, c, d, e, f, g)"]),
        ("nowhere.py:attention", ["there is no module nowhere.py"]),
        ("attention", ["wanted package.module:name or file.py:name"]),
        (torch.nn.MultiheadAttention(24, 3, device="meta"), ["on the device meta", ".to('cpu')"]),
        (of_nan, ["is NaN or ∞"]),
        (of_one_shape, ["right on 1 inputs", "only 4 × 4"]),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_bad_input_gets_a_sentence_and_is_no_mistake(thing, words):
    said = examine(thing)
    assert said.status is Status.CANNOT_TELL, said
    for each in words:
        assert each in told(said), said
