"""What the compiler makes of the GPU kernels, for an H100 and without one: see benchmarks/sm90.py."""

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/sm90.py"
COMMITTED = SCRIPT.parents[1] / "src/selfattention/data/kernels-sm90.json"
HALF = ("float16", "bfloat16")

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None or platform.machine() != "x86_64",
    reason="Triton and its assembler are for Linux on x86-64",
)


@pytest.fixture(scope="module")
def fresh():
    """A report made now, in a process of its own: in this one Triton may be an interpreter."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, SCRIPT, "--print"], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)


def name(row):
    return f"{row['kernel']} {row['dtype']} {row['d']} {row['rule']}{' bias' * row['bias']}"


@needs_triton
def test_every_half_precision_kernel_uses_the_tensor_cores_and_spills_nothing(fresh):
    half = [row for row in fresh["rows"] if row["dtype"] in HALF]
    assert {row["dtype"] for row in half} == set(HALF)
    assert {name(row): row["stack_bytes"] for row in half if row["stack_bytes"]} == {}
    assert [name(row) for row in half if not row["wgmma"] + row["mma"]] == []


@needs_triton
def test_up_to_a_width_of_128_all_products_are_those_of_hopper(fresh):
    usual = [row for row in fresh["rows"] if row["dtype"] in HALF and row["d"] <= 128]
    assert [name(row) for row in usual if not row["wgmma"] or row["mma"]] == []


@needs_triton
def test_everything_fits_into_shared_memory(fresh):
    """A program may have 227 KB of it; what wants more is compiled here, and refused by the GPU."""
    assert max(row["shared_bytes"] for row in fresh["rows"]) <= 227 * 1024


@needs_triton
def test_every_shipped_tile_is_compiled(fresh):
    from selfattention.implementations import triton_fused

    tables = {"forward": triton_fused.FORWARD, "queries": triton_fused.QUERIES, "keys": triton_fused.KEYS}
    shipped = {
        (kernel, *vars(tiles).values()) for kernel, table in tables.items() for tiles in table.values()
    }
    parts = ("kernel", "rows", "columns", "num_warps", "num_stages")
    assert shipped == {tuple(row[k] for k in parts) for row in fresh["rows"] if row["dtype"] in HALF}


@needs_triton
def test_float32_is_multiplied_without_tensor_cores(fresh):
    """Their float32 has ten bits of mantissa; the contract's has twenty-three."""
    exact = [row for row in fresh["rows"] if row["dtype"] == "float32"]
    assert {row["d"] for row in exact} == {64, 128}
    assert not any(row["wgmma"] or row["mma"] for row in exact)


@needs_triton
def test_float32_products_on_tensor_cores_are_several_coarse_ones(fresh):
    """Three of TF32, three or six of bfloat16 at half as many instructions each; "ieee" uses none."""
    products = {row["precision"]: row["wgmma"] for row in fresh["products"]}
    one = products["tf32"]
    assert one > 0 == products["ieee"]
    assert products["tf32x3"] == products["bf16x6"] == 3 * one
    assert 2 * products["bf16x3"] == 3 * one
    assert not any(row["mma"] for row in fresh["products"])


@needs_triton
def test_the_committed_report_is_what_the_compiler_says(fresh):
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert fresh["versions"] == committed["versions"]
    assert fresh["rows"] == committed["rows"]
    assert fresh["products"] == committed["products"]
