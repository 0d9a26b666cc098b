"""ncnn on a processor: its layer SDPA, one sample at a time."""

import tempfile
from pathlib import Path

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, words


def _attention(asked: Asked) -> Call:
    given = {"q": asked.Q, "k": asked.K, "v": asked.V}
    mask = asked.bias if asked.literal is None else asked.literal
    if mask is not None:
        given["bias"] = mask[0, 0]
    options = {"scale": asked.scale}

    def function(*arrays, scale=None):
        arrays = [X[0] if X.ndim == 4 else X for X in arrays]
        return _run([np.ascontiguousarray(X, np.float32) for X in arrays], scale)[None]

    return Call(function, "SDPA", given, options)


def _run(arrays, scale):
    import ncnn

    names = ["q", "k", "v", "m"][: len(arrays)]
    lines = ["7767517", f"{len(names) + 1} {len(names) + 1}"]
    lines += [f"Input in_{name} 0 1 {name}" for name in names]
    lines += [f"SDPA sdpa {len(names)} 1 {' '.join(names)} out 5={len(names) - 3}"]
    if scale is not None:
        lines[-1] += f" 6={scale:e}"
    with tempfile.TemporaryDirectory() as folder:
        param, weights = Path(folder, "one.param"), Path(folder, "one.bin")
        param.write_text("\n".join([*lines, ""]), "utf-8")
        weights.write_bytes(bytes(4))
        net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
        if net.load_param(str(param)) or net.load_model(str(weights)):
            raise RuntimeError("the model does not load")
        extractor = net.create_extractor()
        held = [ncnn.Mat(X).clone() for X in arrays]
        for name, X in zip(names, held, strict=True):
            extractor.input(name, X)
        code, O = extractor.extract("out")
        if code:
            raise RuntimeError(f"extract returns {code}")
        return np.array(O)


LIBRARY = Library(
    title="ncnn",
    packages=("ncnn==1.0.20261020", "numpy==2.4.6"),
    doors=(
        Door(
            "SDPA", _attention, words("bias, literal, scale, grouped, d_v") - {"half", "masks of any dtype"}
        ),
    ),
    reports=("ncnn",),
    module="ncnn",
)
