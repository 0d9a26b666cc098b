"""Compile the kernels of triton_fused for an H100 and read what the compiler says. No GPU is needed.

    python benchmarks/sm90.py            writes data/kernels-sm90.json
    python benchmarks/sm90.py --print    writes to the terminal instead

The calls are real, arguments and all, up to the launch: Triton is told of a device of compute capability
9.0, and each kernel is compiled for what it was called with. `registers` are those of a thread, of 255;
`stack_bytes` is where the compiler put what did not fit. Of the instructions for the tensor cores, `wgmma`
counts those of four warps together, whose right factor is a tile in shared memory and whose left one may
be in registers (HGMMA in machine code), and `mma` the older ones of a single warp (HMMA).

`products` asks what one product of two float32 tiles becomes under each `input_precision`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported

import numpy as np
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from selfattention import masks
from selfattention.implementations import triton_fused

RESULT = Path(__file__).parents[1] / "src/selfattention/data/kernels-sm90.json"
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
N = 256  # queries and keys: the machine code is the same for any multiple of 16

IDS = np.arange(N) // 100
RULES = {
    "none": None,
    "causal": masks.causal,
    "mixed": (masks.causal & masks.window(100) & masks.documents(IDS)) | ~masks.padding([30, 200]),
    "table": torch.ones(2, 1, N, N, dtype=torch.bool),
}
CALLS = [  # dtype, d_k = d_v, rule, with a bias
    *[("float16", d, rule, False) for d in (64, 128, 256) for rule in ("none", "causal")],
    *[("float16", d, rule, rule == "table") for d in (64, 128, 256) for rule in ("mixed", "table")],
    *[("float16", d, "causal", False) for d in (17, 80)],  # widths that have to be filled up
    *[("bfloat16", d, "causal", False) for d in (64, 128)],
    *[("float32", d, "causal", False) for d in (64, 128)],
]
PRECISIONS = "tf32", "bf16x3", "tf32x3", "bf16x6", "ieee"  # of a float32 product, the coarsest first


class NoDevice:
    """What Triton asks of a driver before it launches anything."""

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


def compiled_by(call):
    """The kernels that a call would launch, compiled for its arguments: [(How, compiled kernel)]."""
    kernels, run = [], triton.JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        how = next(arg for arg in args if isinstance(arg, triton_fused.How))
        kernels.append((how, run(self, *args, grid=grid, warmup=True, **options)))

    triton.JITFunction.run = compile_only
    try:
        call()
    finally:
        triton.JITFunction.run = run
    return kernels


def forward_and_backward(dtype, d, rule, with_bias):
    """One call of each, four query heads in two groups; the results are never computed."""
    Q, K, V = (torch.zeros(2, heads, N, d, dtype=getattr(torch, dtype)) for heads in (4, 2, 2))
    options = {"mask": RULES[rule], "bias": torch.zeros(N, N) if with_bias else None}
    O, L = triton_fused.attention(Q, K, V, **options)
    triton_fused.attention_backward(O, Q, K, V, O, L, **options)


@triton.jit
def product_kernel(A, B, C, SIZE: tl.constexpr, PRECISION: tl.constexpr):
    """C = A B for one tile of float32."""
    here = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)
    tl.store(C + here, tl.dot(tl.load(A + here), tl.load(B + here), input_precision=PRECISION))


def product_report(precision, size=64):
    """By which instructions a product of float32 is computed, and how many of them."""
    X = torch.zeros(size, size)
    kernel = product_kernel.run(X, X, X, size, precision, grid=(1,), warmup=True)
    return {"precision": precision, **tensor_core_instructions(kernel)}


def tensor_core_instructions(kernel):
    code = disassembled(kernel.asm["cubin"], "-sass")
    return {
        "wgmma": len(re.findall(r"\bHGMMA\b", code)),
        "mma": len(re.findall(r"\bHMMA\b", code)),
    }


def disassembled(cubin, what):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([CUOBJDUMP, what, file.name], capture_output=True, text=True, check=True).stdout


def report(how, kernel):
    """What the compiler made of a kernel."""
    usage = disassembled(kernel.asm["cubin"], "-res-usage")
    usage = {name: int(n) for name, n in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "kernel": kernel.metadata.name.strip("_").removesuffix("_kernel"),
        "rows": how.rows,
        "columns": how.columns,
        "num_warps": how.num_warps,
        "num_stages": how.num_stages,
        "registers": usage["REG"],
        "stack_bytes": usage["STACK"] + usage["LOCAL"],
        "shared_bytes": kernel.metadata.shared,
        **tensor_core_instructions(kernel),
    }


def main(arguments):
    driver.set_active(NoDevice())
    triton_fused.why_not = lambda device: None  # tensors on the CPU are as good: nothing is launched
    rows = []
    for count, (dtype, d, rule, bias) in enumerate(CALLS, start=1):
        print(f"[{count}/{len(CALLS)}] {dtype} {d} {rule}", file=sys.stderr, flush=True)
        for how, kernel in compiled_by(lambda call=(dtype, d, rule, bias): forward_and_backward(*call)):
            rows.append({"dtype": dtype, "d": d, "rule": rule, "bias": bias, **report(how, kernel)})
    result = {
        "command": "python benchmarks/sm90.py",
        "date": date.today().isoformat(),
        "target": "sm_90",
        "versions": {"triton": triton.__version__, "torch": torch.__version__.split("+")[0]},
        "products": [product_report(precision) for precision in PRECISIONS],
        "rows": rows,
    }
    text = json.dumps(result, indent=1) + "\n"
    if arguments == ["--print"]:
        print(text)
    else:
        RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
